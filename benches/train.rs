//! One training step: forward, loss, backward and the update of Adam.
//!
//! `cargo bench --bench train` prints for each model the least, likely and largest time of one
//! step, and how it changed since the last run; it takes about 45 seconds.

// Each bench uses its part.
#[allow(dead_code)]
mod models;

use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use kiln::prelude::*;
use models::{Block, Cnn, Mlp};

fn random<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), &Device::cpu())
}

/// A class from 0 to 9 for each item.
fn classes(n: usize) -> Tensor<1, Int> {
    Tensor::random([n], Distribution::Uniform(0.0, 10.0), &Device::cpu())
}

/// Benches a step of `model` with the loss that `loss` computes.
fn step<M: Module>(c: &mut Criterion, name: &str, mut model: M, loss: impl Fn(&M) -> Tensor<1>) {
    let mut optim = AdamConfig::new(1e-3).init();
    c.benchmark_group("train").bench_function(name, |b| {
        b.iter(|| {
            let grads = loss(&model).backward();
            optim.step(&mut model, grads);
        });
    });
}

fn train(c: &mut Criterion) {
    let device = Device::cpu();
    let entropy = CrossEntropyLoss::new();

    let (x, y) = (random([128, 784]), classes(128));
    let model = Mlp::new(&[784, 512, 512, 10], &device);
    step(c, "mlp_b128", model, |model| entropy.forward(&model.forward(&x), &y));

    let (x, y) = (random([64, 1, 28, 28]), classes(64));
    step(c, "cnn_b64", Cnn::new(&device), |model| entropy.forward(&model.forward(&x), &y));

    let (x, y) = (random([8, 128, 384]), random([8, 128, 384]));
    let model = Block::new(&device);
    step(c, "block_8x128", model, |model| {
        MseLoss::new().forward(model.forward(&x), &y, Reduction::Mean)
    });
}

/// The parts of a step that the dense gradient of an embedding costs: 1024 of the 30,522 rows of
/// BERT's vocabulary are looked up.
fn embedding(c: &mut Criterion) {
    let device = Device::cpu();
    let mut model = EmbeddingConfig::new(30_522, 256).init(&device);
    let mut optim = AdamConfig::new(1e-3).init();
    let tokens = Tensor::<2, Int>::random([8, 128], Distribution::Uniform(0.0, 30_522.0), &device);
    let mut group = c.benchmark_group("embedding_30522x256");
    group.bench_function("zero_table", |b| {
        b.iter(|| Tensor::<2>::zeros([30_522, 256], &device));
    });
    group.bench_function("backward", |b| {
        let loss = model.forward::<2, 3>(&tokens).sum();
        b.iter(|| Backward::new().retain_graph().run(&loss));
    });
    group.bench_function("step", |b| {
        b.iter(|| {
            let grads = model.forward::<2, 3>(&tokens).sum().backward();
            optim.step(&mut model, grads);
        });
    });
}

fn config() -> Criterion {
    Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_secs(1))
        .nresamples(10_000)
        .measurement_time(Duration::from_secs(5))
}

criterion_group! {
    name = benches;
    config = config();
    targets = train, embedding
}
criterion_main!(benches);
