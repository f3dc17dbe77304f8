//! Twenty steps of every optimizer against PyTorch, the parameters compared after each.
//! `fixtures/optimizers.py` says how the numbers were made.

use std::path::Path;
use std::sync::LazyLock;

use kiln_autograd::Autograd;
use kiln_nn::{Linear, LinearConfig, Module, MseLoss, Reduction, StateDict};
use kiln_optim::{AdamConfig, AdamWConfig, Optimizer, SgdConfig};
use kiln_tensor::{Device, Tensor};

const STEPS: usize = 20;

static FIXTURE: LazyLock<StateDict> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    StateDict::load(folder.join("optimizers.safetensors")).unwrap()
});

fn values(name: &str) -> Vec<f32> {
    FIXTURE.get(name).unwrap().to_vec().unwrap()
}

fn start() -> Linear {
    let mut model = LinearConfig::new(6, 4).init(&Device::cpu());
    let mut state = StateDict::default();
    for path in ["weight", "bias"] {
        state.insert(path, FIXTURE.get(path).unwrap().clone());
    }
    assert!(model.load_state_dict(&state).is_complete());
    model
}

/// Trains as the fixture did; `before` is called before each step. Each parameter must lie within
/// 1e-6 of PyTorch's, relative to the parameter or, for those below one half, to that size, in which
/// the updates are rounded.
fn check<O: Optimizer>(
    name: &str,
    mut optim: O,
    before: impl Fn(usize, &mut Linear, &mut O),
) -> Linear {
    let [x, y] = ["x", "y"].map(|name| {
        let data = FIXTURE.get(name).unwrap().clone();
        Tensor::<2>::from_data(data, &Device::cpu())
    });
    let mut model = start();
    let mut largest = 0.0f32;
    for step in 0..STEPS {
        before(step, &mut model, &mut optim);
        let grads = MseLoss::new().forward(model.forward(&x), &y, Reduction::Mean).backward();
        optim.step(&mut model, grads);
        for (path, param) in model.named_params() {
            let actual = param.to_data().unwrap().to_vec::<f32>().unwrap();
            let n = actual.len();
            let expected = &values(&format!("{name}.{path}"))[step * n..(step + 1) * n];
            for (i, (a, e)) in actual.iter().zip(expected).enumerate() {
                let error = (a - e).abs() / e.abs().max(0.5);
                assert!(error <= 1e-6, "{name}: {path}[{i}] after step {step}: {a}, not {e}");
                largest = largest.max(error);
            }
        }
    }
    println!("{name}: largest error {largest:.1e}");
    model
}

fn plain<O: Optimizer>(name: &str, optim: O) {
    check(name, optim, |_, _, _| {});
}

#[test]
fn sgd() {
    let new = || SgdConfig::new(0.1);
    plain("sgd", new().init());
    plain("sgd.decay", new().with_weight_decay(0.05).init());
    plain("sgd.momentum", new().with_momentum(0.9).init());
    plain("sgd.dampening", new().with_momentum(0.8).with_dampening(0.5).init());
    plain("sgd.nesterov", new().with_momentum(0.9).with_nesterov(true).init());
    let all = new().with_momentum(0.7).with_nesterov(true).with_weight_decay(0.05);
    plain("sgd.all", all.init());
}

#[test]
fn adam() {
    plain("adam", AdamConfig::new(0.01).init());
    plain("adam.decay", AdamConfig::new(0.01).with_weight_decay(0.1).init());
    let options = AdamConfig::new(0.02).with_betas(0.7, 0.95).with_epsilon(1e-3);
    plain("adam.options", options.init());
}

#[test]
fn adamw() {
    plain("adamw", AdamWConfig::new(0.01).init());
    plain("adamw.decay", AdamWConfig::new(0.01).with_weight_decay(0.2).init());
    let options = AdamWConfig::new(0.02).with_betas(0.7, 0.95).with_epsilon(1e-3);
    plain("adamw.options", options.with_weight_decay(0.1).init());
}

#[test]
fn a_new_learning_rate_keeps_the_state() {
    fn halve<O: Optimizer>(step: usize, _: &mut Linear, optim: &mut O) {
        if step == 10 {
            optim.set_lr(optim.lr() / 2.0);
        }
    }
    check("sgd.schedule", SgdConfig::new(0.1).with_momentum(0.9).init(), halve);
    check("adam.schedule", AdamConfig::new(0.02).init(), halve);
}

#[test]
fn a_frozen_parameter_stays_and_goes_on_with_its_state() {
    fn freeze<O: Optimizer>(step: usize, model: &mut Linear, _: &mut O) {
        model.bias.set_trainable(!(5..10).contains(&step));
    }
    for name in ["sgd.frozen", "adam.frozen"] {
        let bias = values(&format!("{name}.bias"));
        assert_eq!(bias[4 * 4..5 * 4], bias[9 * 4..10 * 4], "the fixture froze it");
        assert_ne!(bias[9 * 4..10 * 4], bias[10 * 4..11 * 4]);
    }
    check("sgd.frozen", SgdConfig::new(0.1).with_momentum(0.9).init(), freeze);
    check("adam.frozen", AdamConfig::new(0.01).init(), freeze);
}
