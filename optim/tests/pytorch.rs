//! Twenty steps of every optimizer against PyTorch, the parameters compared after each.
//! `fixtures/optimizers.py` says how the numbers were made.

use std::path::Path;
use std::sync::LazyLock;

use kiln_autograd::Autograd;
use kiln_nn::{Linear, LinearConfig, Module, MseLoss, Reduction, StateDict};
use kiln_optim::{
    AdadeltaConfig, AdafactorConfig, AdagradConfig, AdamConfig, AdamWConfig, AdamaxConfig,
    AdanConfig, AsgdConfig, LambConfig, LionConfig, MuonConfig, MuonRate, NAdamConfig, Optimizer,
    ParamSelect, RAdamConfig, RmsPropConfig, RpropConfig, SgdConfig,
};
use kiln_tensor::{DType, Device, Tensor};

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

/// Trains as the fixture did, in f64 and in f32; `before` is called before each step. Each parameter
/// must lie as near to PyTorch's as the fixture is exact or, in f32, as the rounding of twenty steps
/// allows: relative to the parameter or, for those below one half, to that size, in which the
/// updates are rounded.
fn check<O: Optimizer + Clone>(name: &str, optim: O, before: impl Fn(usize, &mut Linear, &mut O)) {
    for (dtype, tolerance) in [(DType::F64, 1e-7), (DType::F32, 1e-5)] {
        let [x, y] = ["x", "y"].map(|name| {
            let data = FIXTURE.get(name).unwrap().clone();
            Tensor::<2>::from_data(data, (&Device::cpu(), dtype))
        });
        let (mut model, mut optim) = (start(), optim.clone());
        model.weight = model.weight.cast(dtype).into();
        model.bias = model.bias.map(|bias| bias.cast(dtype).into());
        for step in 0..STEPS {
            before(step, &mut model, &mut optim);
            let grads = MseLoss::new().forward(model.forward(&x), &y, Reduction::Mean).backward();
            optim.step(&mut model, grads);
            for (path, param) in model.named_params() {
                let actual: Vec<f64> = param.to_data().unwrap().iter().collect();
                let n = actual.len();
                let expected = &values(&format!("{name}.{path}"))[step * n..(step + 1) * n];
                for (i, (&a, &e)) in actual.iter().zip(expected).enumerate() {
                    let e = e as f64;
                    let error = (a - e).abs() / e.abs().max(0.5);
                    let what = || format!("{name} in {dtype}: {path}[{i}] after step {step}");
                    assert!(error <= tolerance, "{}: {a}, not {e}", what());
                }
            }
        }
    }
}

fn plain<O: Optimizer + Clone>(name: &str, optim: O) {
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
    plain("sgd.maximize", SgdConfig::new(0.01).with_maximize(true).with_weight_decay(0.05).init());
}

#[test]
fn adam() {
    plain("adam", AdamConfig::new(0.01).init());
    plain("adam.decay", AdamConfig::new(0.01).with_weight_decay(0.1).init());
    let options = AdamConfig::new(0.02).with_betas(0.7, 0.95).with_epsilon(1e-3);
    plain("adam.options", options.init());
    plain("adam.amsgrad", AdamConfig::new(0.05).with_beta_2(0.9).with_amsgrad(true).init());
    let up = AdamConfig::new(0.01).with_maximize(true).with_weight_decay(0.1);
    plain("adam.maximize", up.init());
}

#[test]
fn adamw() {
    plain("adamw", AdamWConfig::new(0.01).init());
    plain("adamw.decay", AdamWConfig::new(0.01).with_weight_decay(0.2).init());
    let options = AdamWConfig::new(0.02).with_betas(0.7, 0.95).with_epsilon(1e-3);
    plain("adamw.options", options.with_weight_decay(0.1).init());
    plain("adamw.amsgrad", AdamWConfig::new(0.05).with_beta_2(0.9).with_amsgrad(true).init());
    plain("adamw.maximize", AdamWConfig::new(0.01).with_maximize(true).init());
}

#[test]
fn adamax_nadam_and_radam() {
    plain("adamax", AdamaxConfig::new(0.02).init());
    let adamax = AdamaxConfig::new(0.02).with_beta_1(0.8).with_beta_2(0.95);
    plain("adamax.decay", adamax.with_weight_decay(0.1).init());
    plain("nadam", NAdamConfig::new(0.02).init());
    let nadam = || NAdamConfig::new(0.02).with_weight_decay(0.1);
    plain("nadam.decay", nadam().with_momentum_decay(0.05).init());
    plain("nadam.decoupled", nadam().with_decoupled_weight_decay(true).init());
    plain("radam", RAdamConfig::new(0.02).init());
    let radam = || RAdamConfig::new(0.02).with_weight_decay(0.1);
    plain("radam.decay", radam().with_beta_1(0.8).with_beta_2(0.95).init());
    plain("radam.decoupled", radam().with_decoupled_weight_decay(true).init());
}

#[test]
fn adagrad_adadelta_and_rmsprop() {
    plain("adagrad", AdagradConfig::new(0.1).init());
    let adagrad = AdagradConfig::new(0.1).with_lr_decay(0.1).with_weight_decay(0.1);
    plain("adagrad.options", adagrad.with_initial_accumulator_value(0.5).init());
    plain("adadelta", AdadeltaConfig::new(1.0).init());
    plain("adadelta.decay", AdadeltaConfig::new(0.5).with_rho(0.8).with_weight_decay(0.1).init());
    plain("rmsprop", RmsPropConfig::new(0.01).init());
    let rmsprop = || RmsPropConfig::new(0.01).with_alpha(0.9);
    plain("rmsprop.momentum", rmsprop().with_momentum(0.8).with_weight_decay(0.1).init());
    plain("rmsprop.centered", rmsprop().with_centered(true).init());
    plain("rmsprop.all", rmsprop().with_centered(true).with_momentum(0.5).init());
}

#[test]
fn rprop_and_asgd() {
    plain("rprop", RpropConfig::new(0.01).init());
    let rprop = RpropConfig::new(0.01).with_eta_minus(0.4).with_eta_plus(1.5);
    plain("rprop.options", rprop.with_min_step(1e-3).with_max_step(0.1).init());
    plain("asgd", AsgdConfig::new(0.1).init());
    let asgd = AsgdConfig::new(0.1).with_lambda(0.05).with_alpha(0.5).with_t0(5.0);
    plain("asgd.options", asgd.with_weight_decay(0.1).init());
}

#[test]
fn adafactor() {
    let epsilon = Some(f32::EPSILON as f64);
    plain("adafactor", AdafactorConfig::new(0.05).with_epsilon_1(epsilon).init());
    let options = AdafactorConfig::new(0.02).with_beta2_decay(-0.5).with_epsilon_1(Some(1e-4));
    let options = options.with_epsilon_2(0.1).with_clip_threshold(1.5).with_weight_decay(0.1);
    plain("adafactor.options", options.init());
}

#[test]
fn muon() {
    let freeze = |_: usize, model: &mut Linear, _: &mut _| {
        model.bias.set_trainable(false);
    };
    check("muon", MuonConfig::new(0.02).init(), freeze);
    let options = MuonConfig::new(0.02).with_weight_decay(0.0).with_momentum(0.8);
    let options = options.with_nesterov(false).with_iterations(3);
    check("muon.options", options.with_rate(MuonRate::MatchRmsAdamW).init(), freeze);
}

#[test]
fn lion_adan_and_lamb_follow_their_papers() {
    plain("lion", LionConfig::new(0.01).init());
    let lion = LionConfig::new(0.01).with_beta_1(0.8).with_beta_2(0.95);
    plain("lion.decay", lion.with_weight_decay(0.1).init());
    plain("adan", AdanConfig::new(0.02).init());
    let adan = AdanConfig::new(0.02).with_beta_1(0.9).with_beta_2(0.8).with_beta_3(0.95);
    plain("adan.decay", adan.with_weight_decay(0.1).init());
    let no_prox = AdanConfig::new(0.02).with_weight_decay(0.1).with_no_prox(true);
    plain("adan.no_prox", no_prox.init());
    plain("lamb", LambConfig::new(0.02).init());
    let lamb = LambConfig::new(0.02).with_beta_1(0.8).with_beta_2(0.95);
    plain("lamb.decay", lamb.with_weight_decay(0.1).init());
}

#[test]
fn groups_have_settings_of_their_own() {
    for select in ["bias".into(), ParamSelect::Vectors] {
        let change = |settings: AdamWConfig| AdamWConfig { lr: 0.005, ..settings };
        let optim = AdamWConfig::new(0.01)
            .init()
            .with_group(select, |settings| change(settings).with_weight_decay(0.0));
        // As a schedule does.
        check("adamw.groups", optim, |_, _, optim| optim.set_lr(0.01));
    }
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
