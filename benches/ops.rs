//! Single operations on square matrices of three sizes.
//!
//! `cargo bench --bench ops` prints for each operation and size the least, likely and largest time
//! of one call, and how it changed since the last run; it takes a minute.
//! `cargo bench --bench ops -- matmul` runs those whose name contains `matmul`.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use kiln::prelude::*;

const SIZES: [usize; 3] = [100, 500, 1000];

fn random(n: usize) -> Tensor<2> {
    Tensor::random([n, n], Distribution::Normal(0.0, 1.0), &Device::cpu())
}

/// Benches `work` on a random matrix of each size. The result is dropped inside of the time, as it
/// is in a program.
fn each_size<R>(c: &mut Criterion, name: &str, work: impl Fn(&Tensor<2>) -> R) {
    let mut group = c.benchmark_group(name);
    for n in SIZES {
        let x = random(n);
        group.bench_function(BenchmarkId::from_parameter(format!("{n}x{n}")), |b| {
            b.iter(|| drop(black_box(work(black_box(&x)))));
        });
    }
    group.finish();
}

fn creation(c: &mut Criterion) {
    let device = Device::cpu();
    each_size(c, "zeros", |x| Tensor::<2>::zeros(x.dims(), &device));
    each_size(c, "random_normal", |x| x.random_like(Distribution::Normal(0.0, 1.0)));
}

fn elementwise(c: &mut Criterion) {
    each_size(c, "add", |x| x + x);
    each_size(c, "mul_scalar", |x| x * 2.0);
    each_size(c, "exp", Tensor::exp);
}

fn activations(c: &mut Criterion) {
    each_size(c, "relu", |x| activation::relu(x));
    each_size(c, "tanh", |x| activation::tanh(x));
    each_size(c, "sigmoid", |x| activation::sigmoid(x));
    each_size(c, "gelu", |x| activation::gelu(x));
}

fn reductions(c: &mut Criterion) {
    each_size(c, "sum", Tensor::sum);
    each_size(c, "sum_axis0", |x| x.sum_dim(0));
    each_size(c, "sum_axis1", |x| x.sum_dim(1));
    each_size(c, "argmax_axis1", |x| x.argmax(1));
}

fn matmul(c: &mut Criterion) {
    each_size(c, "matmul", |x| x.matmul(x));
}

fn normalise(c: &mut Criterion) {
    each_size(c, "softmax", |x| activation::softmax(x, 1));
    let device = Device::cpu();
    let layers = SIZES.map(|n| LayerNormConfig::new([n]).init(&device));
    let layer = |n: usize| &layers[SIZES.iter().position(|&size| size == n).expect("a size")];
    each_size(c, "layer_norm", |x| no_grad(|| layer(x.dims()[0]).forward(x)));
}

fn config() -> Criterion {
    Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .nresamples(10_000)
        .measurement_time(Duration::from_millis(800))
}

criterion_group! {
    name = benches;
    config = config();
    targets = creation, elementwise, activations, reductions, matmul, normalise
}
criterion_main!(benches);
