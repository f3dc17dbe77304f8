//! Statistics of batch normalisation after averaging are those of PyTorch's `update_bn`.
//! `fixtures/update_bn.py` says how the numbers were made.

use std::path::Path;

use kiln_nn::{
    BatchNormConfig, Dropout, DropoutConfig, LinearConfig, Module, Sequential, StateDict, Tanh,
};
use kiln_optim::update_bn;
use kiln_tensor::{Device, Tensor, Tolerance};

fn part(fixture: &StateDict, prefix: &str) -> StateDict {
    let mut state = StateDict::default();
    for (name, data) in fixture.iter() {
        if let Some(path) = name.strip_prefix(prefix) {
            state.insert(path, data.clone());
        }
    }
    state
}

#[test]
fn statistics_are_means_over_the_batches_and_nothing_else_changes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let fixture = StateDict::load(folder.join("update_bn.safetensors")).unwrap();
    let device = Device::cpu();
    let mut model = Sequential::new()
        .add(LinearConfig::new(3, 4).init(&device))
        .add(BatchNormConfig::new(4).init(&device))
        .add(Tanh::new())
        .add(BatchNormConfig::new(4).with_momentum(Some(0.3)).init(&device));
    assert!(model.load_state_dict(&part(&fixture, "state.")).is_complete());
    model.eval();
    let batches = [0, 1, 2]
        .map(|i| Tensor::<2>::from_data(fixture.get(&format!("x{i}")).unwrap().clone(), &device));
    let count = update_bn(&mut model, &batches, |model, batch| {
        let y: Tensor<2> = model.forward(batch);
        assert!(y.as_any().tracked().is_none(), "no gradients");
    });
    assert_eq!(count, 2);
    let state = model.state_dict();
    for (path, expected) in part(&fixture, "after.").iter() {
        println!("{path}");
        let found = state.get(path).unwrap();
        found.assert_approx_eq::<f32>(expected, Tolerance::rel_abs(1e-5, 1e-5));
    }
    // Still in evaluation.
    let _: Tensor<2> = model.forward(&batches[0]);
    assert_eq!(model.state_dict().get("1.running_mean"), state.get("1.running_mean"));
    model.train();
    let _: Tensor<2> = model.forward(&batches[0]);
    assert_ne!(model.state_dict().get("1.running_mean"), state.get("1.running_mean"));
}

#[test]
fn a_model_without_batch_normalisation_computes_no_batch() {
    let mut model: Dropout = DropoutConfig::new(0.5).init();
    assert_eq!(update_bn(&mut model, [1, 2], |_, _| panic!("not needed")), 0);
}

#[test]
fn momentum_stays_what_it_was() {
    let mut model = BatchNormConfig::new(2).with_momentum(Some(0.25)).init(&Device::cpu());
    let batch = Tensor::<2>::from([[1.0, 2.0], [3.0, 4.0]]);
    update_bn(&mut model, [batch], |model, batch| drop(model.forward(&batch)));
    assert_eq!(model.momentum, Some(0.25));
}
