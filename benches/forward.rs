//! Forward passes without a tape: an MLP, a convolutional network, a transformer block.
//!
//! `cargo bench --bench forward` prints for each model the least, likely and largest time of one
//! batch, and how it changed since the last run; it takes about 20 seconds.

// Each bench uses its part.
#[allow(dead_code)]
mod models;

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use kiln::prelude::*;
use models::{Block, Cnn, Mlp};

fn random<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), &Device::cpu())
}

fn forward(c: &mut Criterion) {
    let device = Device::cpu();
    let mut group = c.benchmark_group("forward");

    let (model, x) = (Mlp::new(&[784, 512, 512, 10], &device), random([128, 784]));
    group.bench_function("mlp_b128", |b| {
        b.iter(|| no_grad(|| drop(black_box(model.forward(black_box(&x))))));
    });

    let (model, x) = (Cnn::new(&device), random([64, 1, 28, 28]));
    group.bench_function("cnn_b64", |b| {
        b.iter(|| no_grad(|| drop(black_box(model.forward(black_box(&x))))));
    });

    let (model, x) = (Block::new(&device), random([8, 128, 384]));
    group.bench_function("block_8x128", |b| {
        b.iter(|| no_grad(|| drop(black_box(model.forward(black_box(&x))))));
    });
    group.finish();
}

fn config() -> Criterion {
    Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .nresamples(10_000)
        .measurement_time(Duration::from_secs(3))
}

criterion_group! {
    name = benches;
    config = config();
    targets = forward
}
criterion_main!(benches);
