//! The Kiln side of every workload; `torch_side.py` has the same under the same names.

use std::hint::black_box;

use kiln::nn::LstmConfig;
use kiln::prelude::*;
use kiln::tensor::op::{Activation, Conv2dOptions};

use crate::models::{Block, Cnn, Gpt, Mlp, tokens, train_gpt};
use crate::resnet::ResNet18;
use crate::timing::Workload;

/// Makes a workload with its inputs.
pub type Maker = fn() -> Workload;

/// Name and maker of every workload, in the order of the table.
pub const WORKLOADS: &[(&str, Maker)] = &[
    ("add_4elem", || binary([4], |a, b| a + b)),
    ("reshape_1M", || unary([MILLION], |x| x.reshape([1000, 1000]))),
    ("matmul_f32_64", || binary([64, 64], |a, b| a.matmul(b))),
    ("matmul_f32_256", || binary([256, 256], |a, b| a.matmul(b))),
    ("matmul_f32_1024", || binary([1024, 1024], |a, b| a.matmul(b))),
    ("matmul_bf16_1024", || half_binary([1024, 1024], DType::BF16, |a, b| a.matmul(b))),
    ("matmul_bf16_256", || half_binary([256, 256], DType::BF16, |a, b| a.matmul(b))),
    ("matmul_f16_256", || half_binary([256, 256], DType::F16, |a, b| a.matmul(b))),
    ("add_1M", || binary([MILLION], |a, b| a + b)),
    ("mul_scalar_1M", || unary([MILLION], |x| x * 2.0)),
    ("relu_1M", || unary([MILLION], |x| activation::relu(x))),
    ("exp_1M", || unary([MILLION], |x| x.exp())),
    ("tanh_1M", || unary([MILLION], |x| activation::tanh(x))),
    ("sigmoid_1M", || unary([MILLION], |x| activation::sigmoid(x))),
    ("gelu_1M", || unary([MILLION], |x| activation::gelu(x))),
    ("chain_gelu_muladd_1M", || chain(|compute| fuse(compute))),
    ("chain_unfused_1M", || chain(|compute| compute())),
    ("add_bf16_1M", || half_binary([MILLION], DType::BF16, |a, b| a + b)),
    ("add_f16_1M", || half_binary([MILLION], DType::F16, |a, b| a + b)),
    ("exp_bf16_1M", || half_binary([MILLION], DType::BF16, |a, _| a.exp())),
    ("exp_f16_1M", || half_binary([MILLION], DType::F16, |a, _| a.exp())),
    ("sum_1M", || unary([MILLION], |x| x.sum())),
    ("sum_axis0_1M", || unary([1000, 1000], |x| x.sum_dim(0))),
    ("sum_axis1_1M", || unary([1000, 1000], |x| x.sum_dim(1))),
    ("softmax_1000x1000", || unary([1000, 1000], |x| activation::softmax(x, 1))),
    ("layernorm_1000x1000", layernorm),
    ("transpose_copy_1M", || unary([1000, 1000], |x| x.transpose().contiguous())),
    ("linear_gelu_128x1024x4096", linear_gelu),
    ("conv3x3_32x3x32x32_64", || conv([32, 3, 32, 32], 64)),
    ("conv3x3_32x64x32x32_64", || conv([32, 64, 32, 32], 64)),
    ("conv3x3_1x64x56x56_64", || conv([1, 64, 56, 56], 64)),
    ("sdpa_causal_8x8x256x64", sdpa),
    ("resnet18_fwd_1x3x224x224", resnet18),
    ("mlp_tiny_forward_b1", mlp_forward),
    ("train_mlp_tiny_b32", || train_mlp(&[64, 32, 10], 32)),
    ("train_mlp_mnist_b128", || train_mlp(&[784, 512, 512, 10], 128)),
    ("train_cnn_mnist_b64", train_cnn),
    ("encoder_layer_fwd_8x128x384", encoder_layer),
    ("gpt_mini_fwd_8x128", gpt_forward),
    ("train_gpt_mini_8x128", gpt_train),
    ("lstm_fwd_bwd_32x64x256", lstm),
    ("train_mlp_mnist_b128_bf16", || mixed(train_mlp(&[784, 512, 512, 10], 128))),
    ("train_gpt_mini_8x128_bf16", || mixed(gpt_train())),
];

const MILLION: usize = 1_000_000;

fn random<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), &Device::cpu())
}

/// A workload without gradients. Results are dropped inside of the time, as PyTorch does it.
fn forward<R>(mut call: impl FnMut() -> R + 'static) -> Workload {
    Box::new(move |calls| no_grad(|| (0..calls).for_each(|_| drop(black_box(call())))))
}

fn unary<R, const D: usize>(
    shape: [usize; D],
    call: impl Fn(&Tensor<D>) -> R + 'static,
) -> Workload {
    let x = random(shape);
    forward(move || call(black_box(&x)))
}

fn binary<R, const D: usize>(
    shape: [usize; D],
    call: impl Fn(&Tensor<D>, &Tensor<D>) -> R + 'static,
) -> Workload {
    let (a, b) = (random(shape), random(shape));
    forward(move || call(black_box(&a), black_box(&b)))
}

/// As [`binary`], in a half type.
fn half_binary<const D: usize>(
    shape: [usize; D],
    dtype: DType,
    call: impl Fn(&Tensor<D>, &Tensor<D>) -> Tensor<D> + 'static,
) -> Workload {
    let (a, b) = (random(shape).cast(dtype), random(shape).cast(dtype));
    forward(move || call(black_box(&a), black_box(&b)))
}

/// `gelu(a b + c) d`.
fn chain(compute: fn(&dyn Fn() -> Tensor<1>) -> Tensor<1>) -> Workload {
    let [a, b, c, d] = [(); 4].map(|()| random([MILLION]));
    forward(move || compute(&|| activation::gelu(black_box(&a) * &b + &c) * &d))
}

/// A training step in bf16 where that is precise enough.
fn mixed(mut step: Workload) -> Workload {
    Box::new(move |calls| autocast(DType::BF16, || step(calls)))
}

fn layernorm() -> Workload {
    let layer = LayerNormConfig::new([1000]).init(&Device::cpu());
    unary([1000, 1000], move |x| layer.forward(x))
}

fn linear_gelu() -> Workload {
    let layer = LinearConfig::new(1024, 4096).init(&Device::cpu());
    unary([128, 1024], move |x| layer.forward_activation(x, Activation::Gelu))
}

/// A 3x3 convolution with padding 1 and a bias.
fn conv(shape: [usize; 4], channels: usize) -> Workload {
    let (weight, bias) = (random([channels, shape[1], 3, 3]), random([channels]));
    let options = Conv2dOptions { padding: [1, 1], ..Conv2dOptions::default() };
    unary(shape, move |x| module::conv2d(x, &weight, Some(bias.clone()), options))
}

/// Causal attention of 8 batches of 8 heads over 256 positions of 64.
fn sdpa() -> Workload {
    let [q, k, v] = [(); 3].map(|()| random([8, 8, 256, 64]));
    forward(move || {
        module::scaled_dot_product_attention(black_box(&q), &k, &v, None, 0.0, true, None)
    })
}

fn resnet18() -> Workload {
    let mut model = ResNet18::new(&Device::cpu());
    model.eval();
    unary([1, 3, 224, 224], move |x| model.forward(x))
}

fn mlp_forward() -> Workload {
    let model = Mlp::new(&[64, 64, 10], &Device::cpu());
    unary([1, 64], move |x| model.forward(x))
}

/// Training steps: gradients start anew in each, so there is nothing to set to zero.
fn train<M: Module + 'static, const D: usize>(
    mut model: M,
    shape: [usize; D],
    forward: impl Fn(&M, &Tensor<D>) -> Tensor<2> + 'static,
) -> Workload {
    let x = random(shape);
    let classes = Distribution::Uniform(0.0, 10.0);
    let y = Tensor::<1, Int>::random([shape[0]], classes, &Device::cpu());
    let mut optim = AdamConfig::new(1e-3).init();
    Box::new(move |calls| {
        for _ in 0..calls {
            let loss = CrossEntropyLoss::new().forward(&forward(&model, black_box(&x)), &y);
            let grads = loss.backward();
            optim.step(&mut model, grads);
        }
    })
}

/// One layer over 32 sequences of 64 steps, and the gradients of its parameters.
fn lstm() -> Workload {
    let layer = LstmConfig::new(256, 256, true).init(&Device::cpu());
    let x = random([32, 64, 256]);
    Box::new(move |calls| {
        (0..calls).for_each(|_| drop(layer.forward(black_box(&x), None).0.sum().backward()));
    })
}

fn train_mlp(sizes: &[usize], batch: usize) -> Workload {
    train(Mlp::new(sizes, &Device::cpu()), [batch, sizes[0]], Mlp::forward)
}

fn train_cnn() -> Workload {
    train(Cnn::new(&Device::cpu()), [64, 1, 28, 28], Cnn::forward)
}

fn encoder_layer() -> Workload {
    let mut model = Block::new(&Device::cpu());
    model.eval();
    unary([8, 128, 384], move |x| model.forward(x))
}

fn gpt_forward() -> Workload {
    let mut model = Gpt::new(&Device::cpu());
    model.eval();
    let tokens = tokens();
    forward(move || model.forward(black_box(&tokens)))
}

fn gpt_train() -> Workload {
    let mut step = train_gpt();
    Box::new(move |calls| (0..calls).for_each(|_| step()))
}
