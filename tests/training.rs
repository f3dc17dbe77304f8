//! Whole trainings against PyTorch: from the same first parameters and with the same batches of
//! digits, the first hundred losses are PyTorch's. `fixtures/training.py` says how they were made.

mod formula;
#[allow(dead_code)]
#[path = "../examples/gpt/model.rs"]
mod gpt;
#[allow(dead_code)]
#[path = "../examples/lstm/model.rs"]
mod lstm;

use std::path::Path;
use std::sync::LazyLock;

use kiln::nn::StateDict;
use kiln::prelude::*;

const BATCH: usize = 32;
/// Of the loss.
const TOLERANCE: f32 = 1e-4;

static FIXTURE: LazyLock<StateDict> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    StateDict::load(folder.join("training.safetensors")).unwrap()
});

#[derive(Module)]
struct Cnn {
    conv1: Conv2d,
    norm: BatchNorm2d,
    conv2: Conv2d,
    fc: Linear,
    #[module(skip)]
    pool: MaxPool2d,
}

impl Cnn {
    fn new(device: &Device) -> Self {
        Self {
            conv1: Conv2dConfig::new([1, 8], [3, 3]).with_padding([1, 1]).init(device),
            norm: BatchNorm2dConfig::new(8).init(device),
            conv2: Conv2dConfig::new([8, 16], [3, 3]).with_padding([1, 1]).init(device),
            fc: LinearConfig::new(64, 10).init(device),
            pool: MaxPool2dConfig::new([2, 2]).init(),
        }
    }

    fn forward(&self, x: &Tensor<4>) -> Tensor<2> {
        let x = activation::relu(self.norm.forward(&self.conv1.forward(x)));
        let x = activation::relu(self.conv2.forward(&self.pool.forward(&x)));
        self.fc.forward(&Flatten::new().forward(&self.pool.forward(&x)))
    }
}

#[derive(Module)]
struct Mlp {
    fc1: Linear,
    fc2: Linear,
}

impl Mlp {
    fn new(device: &Device) -> Self {
        let fc1 = LinearConfig::new(64, 32).init(device);
        Self { fc1, fc2: LinearConfig::new(32, 10).init(device) }
    }

    fn forward(&self, x: &Tensor<4>) -> Tensor<2> {
        let x = Flatten::new().forward(x);
        self.fc2.forward(&activation::relu(self.fc1.forward(&x)))
    }
}

/// Gives `model` the parameters that PyTorch started from.
fn load(name: &str, model: &mut impl Module) {
    let mut state = StateDict::default();
    for (path, data) in FIXTURE.iter() {
        if let Some(path) = path.strip_prefix(name).and_then(|path| path.strip_prefix('.')) {
            state.insert(path, data.clone());
        }
    }
    let report = model.load_state_dict(&state);
    assert!(report.is_complete(), "{name}: {report}");
}

/// Trains `model` and compares the loss of each step. `loss_of` takes images `[32, 1, 8, 8]` of
/// values from 0 to 16, and labels.
fn check<M: Module>(
    name: &str,
    mut model: M,
    loss_of: impl Fn(&M, &Tensor<4>, &Tensor<1, Int>) -> Tensor<1>,
    mut optim: impl Optimizer,
) {
    let device = Device::cpu();
    let images = FIXTURE.get("images").unwrap().convert::<f32>();
    let images = Tensor::<4>::from_data(images, &device);
    let labels = Tensor::<1, Int>::from_data(FIXTURE.get("labels").unwrap().clone(), &device);
    let expected: Vec<f32> = FIXTURE.get(&format!("losses.{name}")).unwrap().to_vec().unwrap();
    assert_eq!(expected.len(), 100);

    let mut largest = 0.0f32;
    for (step, expected) in expected.into_iter().enumerate() {
        let start = step * BATCH % labels.num_elements();
        let (x, y) = (images.narrow(0, start, BATCH), labels.narrow(0, start, BATCH));
        let loss = loss_of(&model, &x, &y);
        let actual: f32 = loss.item();
        optim.step(&mut model, loss.backward());
        let difference = (actual - expected).abs() / expected;
        assert!(difference < TOLERANCE, "{name}: loss {step} is {actual}, PyTorch's {expected}");
        largest = largest.max(difference);
    }
    println!("{name}: largest relative difference {largest:.1e}");
}

fn sgd() -> impl Optimizer {
    SgdConfig::new(0.05).with_momentum(0.9).init()
}

fn adamw() -> impl Optimizer {
    AdamWConfig::new(0.005).init()
}

fn check_cnn(name: &str, optim: impl Optimizer) {
    let mut model = Cnn::new(&Device::cpu());
    load("cnn", &mut model);
    let loss = |model: &Cnn, x: &Tensor<4>, y: &Tensor<1, Int>| {
        CrossEntropyLoss::new().forward(&model.forward(&(x / 16.0)), y)
    };
    check(name, model, loss, optim);
}

fn check_mlp(name: &str, optim: impl Optimizer) {
    let mut model = Mlp::new(&Device::cpu());
    load("mlp", &mut model);
    let loss = |model: &Mlp, x: &Tensor<4>, y: &Tensor<1, Int>| {
        CrossEntropyLoss::new().forward(&model.forward(&(x / 16.0)), y)
    };
    check(name, model, loss, optim);
}

#[test]
fn cnn_with_sgd() {
    check_cnn("cnn.sgd", sgd());
}

#[test]
fn cnn_with_adamw() {
    check_cnn("cnn.adamw", adamw());
}

#[test]
fn mlp_with_sgd() {
    check_mlp("mlp.sgd", sgd());
}

#[test]
fn mlp_with_adamw() {
    check_mlp("mlp.adamw", adamw());
}

/// The GPT of the example, which says what the next pixel is.
#[test]
fn gpt_with_adamw_and_clipping() {
    let mut model = gpt::GptConfig::new(17, 63, 2, 4, 32).init(&Device::cpu());
    formula::fill(&mut model);
    let loss = |model: &gpt::Gpt, x: &Tensor<4>, _: &Tensor<1, Int>| {
        let tokens = x.reshape([BATCH, 64]).int();
        let logits = model.forward(&tokens.narrow(1, 0, 63)).flatten::<2>(0, 1);
        CrossEntropyLoss::new().forward(&logits, &tokens.narrow(1, 1, 63).flatten(0, 1))
    };
    let optim = AdamWConfig::new(0.002).with_betas(0.9, 0.99).with_weight_decay(0.1).init();
    let clipping = GradientClipping::GlobalNorm(1.0);
    check("gpt.adamw", model, loss, optim.with_grad_clipping(clipping));
}

/// The LSTM of the example, which says what the value of the next pixel is.
#[test]
fn lstm_with_adam_and_clipping() {
    let mut model = lstm::Forecaster::new(32, &Device::cpu());
    formula::fill(&mut model);
    let loss = |model: &lstm::Forecaster, x: &Tensor<4>, _: &Tensor<1, Int>| {
        let values = x.reshape([BATCH, 64, 1]) / 16.0;
        let next = model.forward(&values.narrow(1, 0, 63));
        MseLoss::new().forward(next, values.narrow(1, 1, 63), Reduction::Mean)
    };
    let clipping = GradientClipping::GlobalNorm(1.0);
    check("lstm.adam", model, loss, AdamConfig::new(0.005).init().with_grad_clipping(clipping));
}
