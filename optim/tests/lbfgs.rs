//! L-BFGS against PyTorch, in f64: `fixtures/lbfgs.py`.

use std::path::Path;

use kiln_nn::{Linear, LinearConfig, Module, StateDict};
use kiln_optim::{LbfgsConfig, LineSearch};
use kiln_tensor::{DType, Device, Tensor, guard};

fn fixture() -> StateDict {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    StateDict::load(folder.join("lbfgs.safetensors")).unwrap()
}

fn check(name: &str, config: LbfgsConfig) {
    let fixture = fixture();
    let (device, wide) = (Device::cpu(), DType::F64);
    let data = |name: &str| fixture.get(name).unwrap().clone();
    let tensor = |name: &str| Tensor::<2>::from_data(data(name), (&device, wide));
    let values = |key: &str| -> Vec<f64> {
        fixture.get(&format!("{name}.{key}")).unwrap().iter::<f64>().collect()
    };
    let (x, y) = (tensor("x"), tensor("y"));
    let mut model = LinearConfig::new(5, 3).init(&Device::cpu());
    model.weight = tensor("weight").into();
    model.bias = Some(Tensor::<1>::from_data(data("bias"), (&device, wide)).into());
    let loss = |model: &Linear| {
        let error = (model.forward(&x).tanh() - &y).square();
        error.mean() + error.square().mean() + model.weight.square().square().sum() * 0.01
    };
    let mut optim = config.init();
    let (losses, evaluations, weights) = (values("loss"), values("evaluations"), values("weight"));
    for step in 0..10 {
        let before = optim.step_closure(&mut model, loss);
        let near = |a: f64, b: f64| (a - b).abs() <= 1e-7 * b.abs().max(1.0);
        assert!(near(before, losses[step]), "{name}: {before} not {} at {step}", losses[step]);
        assert_eq!(optim.evaluations() as f64, evaluations[step], "{name} at {step}");
        let actual = model.weight.to_data().to_vec::<f64>().unwrap();
        for (a, e) in actual.iter().zip(&weights[step * 15..]) {
            assert!(near(*a, *e), "{name}: weight {a} not {e} after {step}");
        }
    }
}

#[test]
fn without_a_line_search() {
    check("plain", LbfgsConfig::new().with_lr(0.3).with_max_iter(4));
    check("short", LbfgsConfig::new().with_lr(0.3).with_max_iter(6).with_history_size(2));
}

#[test]
fn with_the_strong_wolfe_conditions() {
    let new = || LbfgsConfig::new().with_line_search(LineSearch::StrongWolfe);
    check("wolfe", new().with_max_iter(2));
    check("long", new().with_lr(50.0).with_max_iter(3).with_history_size(3));
    check("few", new().with_lr(0.05).with_max_iter(2).with_max_eval(Some(5)));
}

#[test]
fn frozen_parameters_stay_and_a_change_of_their_number_is_an_error() {
    let mut model = LinearConfig::new(2, 2).init(&Device::cpu());
    model.weight.set_trainable(false);
    let loss = |model: &Linear| {
        let x = Tensor::<2>::ones([3, 2], &Device::cpu());
        (model.forward(&x) - 1.0).square().sum()
    };
    let before = model.weight.to_data();
    let mut optim = LbfgsConfig::new().with_lr(0.01).with_max_iter(2).init();
    optim.step_closure(&mut model, loss);
    assert_eq!(model.weight.to_data(), before);
    model.weight.set_trainable(true);
    let error = guard(|| optim.step_closure(&mut model, loss)).unwrap_err().to_string();
    assert!(error.contains("[6] trainable numbers now, [2] before"), "{error}");
    let mut fresh = LbfgsConfig::new().init();
    let error = fresh.load_state_dict(&model, &optim.state_dict()).unwrap_err().to_string();
    assert!(error.contains("d is [6] but [2] in the file"), "{error}");
}
