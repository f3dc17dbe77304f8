//! Whole trainings against PyTorch: from the same first parameters and with the same batches of
//! digits, the first fifty losses are PyTorch's. `fixtures/training.py` says how they were made.

use std::path::Path;
use std::sync::LazyLock;

use kiln::nn::StateDict;
use kiln::prelude::*;

const BATCH: usize = 32;

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

fn check<M: Module>(
    name: &str,
    mut model: M,
    forward: impl Fn(&M, &Tensor<4>) -> Tensor<2>,
    mut optim: impl Optimizer,
) {
    let device = Device::cpu();
    load(name.split('.').next().unwrap(), &mut model);
    let images = FIXTURE.get("images").unwrap().convert::<f32>();
    let images = Tensor::<4>::from_data(images, &device) / 16.0;
    let labels = Tensor::<1, Int>::from_data(FIXTURE.get("labels").unwrap().clone(), &device);
    let expected: Vec<f32> = FIXTURE.get(&format!("losses.{name}")).unwrap().to_vec().unwrap();
    assert_eq!(expected.len(), 50);

    let mut largest = 0.0f32;
    for (step, expected) in expected.into_iter().enumerate() {
        let start = step * BATCH % labels.num_elements();
        let (x, y) = (images.narrow(0, start, BATCH), labels.narrow(0, start, BATCH));
        let loss = CrossEntropyLoss::new().forward(&forward(&model, &x), &y);
        let actual: f32 = loss.item();
        optim.step(&mut model, loss.backward());
        let difference = (actual - expected).abs() / expected;
        assert!(difference < 1e-4, "{name}: loss {step} is {actual}, PyTorch's {expected}");
        largest = largest.max(difference);
    }
    println!("{name}: largest relative difference {largest:.1e}");
}

#[test]
fn cnn_with_sgd() {
    let optim = SgdConfig::new(0.05).with_momentum(0.9).init();
    check("cnn.sgd", Cnn::new(&Device::cpu()), Cnn::forward, optim);
}

#[test]
fn cnn_with_adamw() {
    check("cnn.adamw", Cnn::new(&Device::cpu()), Cnn::forward, AdamWConfig::new(0.005).init());
}

#[test]
fn mlp_with_sgd() {
    let optim = SgdConfig::new(0.05).with_momentum(0.9).init();
    check("mlp.sgd", Mlp::new(&Device::cpu()), Mlp::forward, optim);
}

#[test]
fn mlp_with_adamw() {
    check("mlp.adamw", Mlp::new(&Device::cpu()), Mlp::forward, AdamWConfig::new(0.005).init());
}
