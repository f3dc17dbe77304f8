//! Ten steps are five steps, a file, and five steps of a fresh optimizer, to the last bit.

use kiln_autograd::Autograd;
use kiln_nn::{Linear, LinearConfig, Module, StateDict};
use kiln_optim::*;
use kiln_tensor::{DType, Device, Tensor, TensorData};

fn layer() -> Linear {
    let device = Device::cpu();
    device.seed(3);
    LinearConfig::new(3, 4).init(&device)
}

fn loss(model: &Linear) -> Tensor<1> {
    let rows = [[1.0, -2.0, 0.5], [0.3, 0.7, -1.1]];
    let x = Tensor::<2>::from(rows).cast(model.weight.dtype());
    (model.forward(&x).square().square() + model.forward(&x)).sum().cast(DType::F32)
}

fn values(model: &Linear) -> Vec<Vec<f64>> {
    let params = model.named_params();
    params.iter().map(|(_, param)| param.to_data().unwrap().iter::<f64>().collect()).collect()
}

fn train<O: Optimizer>(model: &mut Linear, optim: &mut O, steps: std::ops::Range<usize>) {
    for step in steps {
        // A rate that changes, and a parameter that joins later.
        optim.set_lr(0.02 / (1.0 + step as f64));
        model.bias.set_trainable(step >= 2);
        let grads = loss(model).backward();
        optim.step(model, grads);
    }
}

fn file(name: &str, state: &StateDict) -> StateDict {
    let path = std::env::temp_dir().join(format!("kiln_resume_{}_{name}", std::process::id()));
    state.save(&path).unwrap();
    let loaded = StateDict::load(&path).unwrap();
    std::fs::remove_file(path).unwrap();
    loaded
}

fn check<O: Optimizer>(name: &str, new: impl Fn() -> O, dtype: DType) {
    let start = || {
        let mut model = layer();
        model.weight = model.weight.cast(dtype).into();
        model.bias = model.bias.map(|bias| bias.cast(dtype).into());
        model
    };
    let (mut whole, mut optim) = (start(), new());
    train(&mut whole, &mut optim, 0..10);
    let (mut half, mut optim) = (start(), new());
    train(&mut half, &mut optim, 0..5);
    let state = file(name, &optim.state_dict());
    let mut fresh = new();
    fresh.load_state_dict(&half, &state).unwrap();
    assert_eq!(fresh.lr(), optim.lr(), "{name}");
    train(&mut half, &mut fresh, 5..10);
    assert_eq!(values(&half), values(&whole), "{name} in {dtype}");
    // In bf16 small steps are lost.
    assert!(dtype == DType::BF16 || values(&whole) != values(&start()));
    for (entry, data) in state.iter().filter(|(entry, _)| entry.contains("exp_avg")) {
        let half = dtype == DType::BF16;
        assert_eq!(data.dtype(), if half { DType::F32 } else { dtype }, "{entry}");
    }
}

fn both<O: Optimizer>(name: &str, new: impl Fn() -> O) {
    for dtype in [DType::F32, DType::BF16, DType::F64] {
        check(name, &new, dtype);
    }
}

#[test]
fn every_optimizer_resumes_bit_equal() {
    both("sgd", || SgdConfig::new(0.02).init());
    both("momentum", || SgdConfig::new(0.02).with_momentum(0.9).with_nesterov(true).init());
    both("adam", || AdamConfig::new(0.02).init());
    both("amsgrad", || AdamConfig::new(0.02).with_amsgrad(true).init());
    both("adamw", || {
        let optim = AdamWConfig::new(0.02).init();
        optim.with_group("bias", |settings| settings.with_weight_decay(0.0).with_beta_1(0.5))
    });
    both("adamax", || AdamaxConfig::new(0.02).init());
    both("nadam", || NAdamConfig::new(0.02).init());
    both("radam", || RAdamConfig::new(0.02).with_beta_2(0.5).init());
    both("adagrad", || AdagradConfig::new(0.02).with_lr_decay(0.1).init());
    both("adadelta", || AdadeltaConfig::new(0.02).init());
    both("rmsprop", || RmsPropConfig::new(0.02).with_centered(true).with_momentum(0.5).init());
    both("rprop", || RpropConfig::new(0.02).init());
    both("asgd", || AsgdConfig::new(0.02).with_t0(2.0).init());
    both("adafactor", || AdafactorConfig::new(0.02).init());
    both("lion", || LionConfig::new(0.02).init());
    both("adan", || AdanConfig::new(0.02).init());
    both("lamb", || LambConfig::new(0.02).init());
}

#[test]
fn muon_resumes_bit_equal() {
    let run = |stop: bool| {
        let (mut model, mut optim) = (layer(), MuonConfig::new(0.02).init());
        model.bias.set_trainable(false);
        for step in 0..10 {
            if stop && step == 5 {
                let state = file("muon", &optim.state_dict());
                optim = MuonConfig::new(0.02).init();
                optim.load_state_dict(&model, &state).unwrap();
            }
            let grads = loss(&model).backward();
            optim.step(&mut model, grads);
        }
        values(&model)
    };
    assert_eq!(run(true), run(false));
}

#[test]
fn lbfgs_resumes_bit_equal() {
    for search in [LineSearch::None, LineSearch::StrongWolfe] {
        let config = LbfgsConfig::new().with_lr(0.05).with_max_iter(3).with_line_search(search);
        let run = |stop: bool| {
            let (mut model, mut optim) = (layer(), config.init());
            for step in 0..6 {
                if stop && step == 3 {
                    let state = file("lbfgs", &optim.state_dict());
                    optim = config.init();
                    optim.load_state_dict(&model, &state).unwrap();
                }
                optim.step_closure(&mut model, loss);
            }
            values(&model)
        };
        assert_eq!(run(true), run(false));
    }
}

fn stepped() -> (Linear, Adam, StateDict) {
    let (mut model, mut optim) = (layer(), AdamConfig::new(0.1).init());
    train(&mut model, &mut optim, 0..3);
    let state = optim.state_dict();
    (model, optim, state)
}

#[test]
fn the_state_has_pytorchs_names() {
    let (_, _, state) = stepped();
    let names: Vec<&str> = state.iter().map(|(name, _)| name).collect();
    let expected = [
        "lr",
        "weight.step",
        "weight.exp_avg",
        "weight.exp_avg_sq",
        "bias.step",
        "bias.exp_avg",
        "bias.exp_avg_sq",
    ];
    assert_eq!(names, expected);
    let step = |name| state.get(name).unwrap().iter::<i64>().next().unwrap();
    assert_eq!((step("weight.step"), step("bias.step")), (3, 1));
}

#[test]
fn a_state_that_does_not_fit_is_an_error_that_says_where() {
    let (model, mut optim, state) = stepped();
    let without = |gone: &str| {
        let mut left = StateDict::default();
        for (name, data) in state.iter().filter(|(name, _)| *name != gone) {
            left.insert(name, data.clone());
        }
        left
    };
    let mut more = state.clone();
    more.insert("other.exp_avg", TensorData::from([1.0f32]));
    let mut other = state.clone();
    other.insert("weight.exp_avg", TensorData::new(vec![0.0f32; 4], [4]));
    let mut negative = state.clone();
    negative.insert("bias.step", TensorData::new(vec![-1i64], [1]));
    let mut rate = state.clone();
    rate.insert("lr", TensorData::new(vec![f64::NAN], [1]));
    for (state, expected) in [
        (without("lr"), "missing lr"),
        (without("bias.step"), "missing bias.step"),
        (without("weight.exp_avg_sq"), "missing weight.exp_avg_sq"),
        (more, "unexpected other.exp_avg"),
        (other, "weight.exp_avg is [4, 3] but [4] in the file"),
        (negative, "bias.step (found -1)"),
        (rate, "lr must be a number from 0, found NaN"),
    ] {
        let error = optim.load_state_dict(&model, &state).unwrap_err().to_string();
        assert!(error.contains(expected), "{error} without {expected}");
    }
    // Nothing changed.
    let after = optim.state_dict();
    assert!(state.iter().zip(after.iter()).all(|(a, b)| a.0 == b.0 && a.1.bytes() == b.1.bytes()));
}

#[test]
fn a_scaler_resumes() {
    let mut scaler = GradScalerConfig::new().with_scale(8.0).with_interval(3).init();
    let x = Tensor::<1>::from([3.0]).require_grad();
    let step = |scaler: &mut GradScaler, factor: f32| {
        scaler.unscale(scaler.scale(&(&x * factor)).backward());
    };
    for factor in [1.0, f32::INFINITY, 1.0, 1.0] {
        step(&mut scaler, factor);
    }
    let mut fresh = GradScalerConfig::new().with_interval(3).init();
    fresh.load_state_dict(&file("scaler", &scaler.state_dict())).unwrap();
    step(&mut scaler, 1.0);
    step(&mut fresh, 1.0);
    assert_eq!((fresh.current(), fresh.skipped()), (8.0, 1));
    assert_eq!((scaler.current(), scaler.skipped()), (8.0, 1));
    assert!(fresh.load_state_dict(&StateDict::default()).is_err());
}
