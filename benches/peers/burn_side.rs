//! The Burn side of the comparison, on its CPU backend `flex`. By hand:
//!
//! ```text
//! echo matmul_f32_256 | RAYON_NUM_THREADS=2 target/peers/release/burn_side
//! ```

mod serve;

use std::hint::black_box;

use burn::module::{Initializer, Module};
use burn::nn::attention::generate_autoregressive_mask;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::transformer::{
    TransformerEncoder, TransformerEncoderConfig, TransformerEncoderInput, TransformerEncoderLayer,
};
use burn::nn::{
    Embedding, EmbeddingConfig, LayerNorm, LayerNormConfig, Linear, LinearConfig, LstmConfig,
};
use burn::optim::{AdamConfig, AdamWConfig, GradientsParams, ModuleOptimizer};
use burn::tensor::module::{attention, conv2d};
use burn::tensor::ops::{AttentionModuleOptions, ConvOptions};
use burn::tensor::{Device, Distribution, Int, Tensor, activation};
use serve::Workload;

fn main() -> std::io::Result<()> {
    serve::serve(workload)
}

const MILLION: usize = 1_000_000;

fn workload(name: &str) -> Option<Workload> {
    Some(match name {
        "add_4elem" => binary([4], |a, b| a + b),
        "reshape_1M" => unary([MILLION], |x| x.reshape([1000, 1000])),
        "matmul_f32_64" => binary([64, 64], Tensor::<2>::matmul),
        "matmul_f32_256" => binary([256, 256], Tensor::<2>::matmul),
        "matmul_f32_1024" => binary([1024, 1024], Tensor::<2>::matmul),
        "add_1M" => binary([MILLION], |a, b| a + b),
        "mul_scalar_1M" => unary([MILLION], |x| x * 2.0),
        "relu_1M" => unary([MILLION], activation::relu),
        "exp_1M" => unary([MILLION], Tensor::exp),
        "tanh_1M" => unary([MILLION], activation::tanh),
        "sigmoid_1M" => unary([MILLION], activation::sigmoid),
        "gelu_1M" => unary([MILLION], activation::gelu),
        "sum_1M" => unary([MILLION], Tensor::sum),
        "sum_axis0_1M" => unary([1000, 1000], |x| x.sum_dim(0)),
        "sum_axis1_1M" => unary([1000, 1000], |x| x.sum_dim(1)),
        "softmax_1000x1000" => unary([1000, 1000], |x| activation::softmax(x, 1)),
        "layernorm_1000x1000" => layernorm(),
        // What makes it copy: the rows of a transposed one can not be viewed as one.
        "transpose_copy_1M" => unary([1000, 1000], |x: Tensor<2>| x.transpose().reshape([MILLION])),
        "linear_gelu_128x1024x4096" => linear_gelu(),
        "conv3x3_32x3x32x32_64" => conv([32, 3, 32, 32], 64),
        "conv3x3_32x64x32x32_64" => conv([32, 64, 32, 32], 64),
        "conv3x3_1x64x56x56_64" => conv([1, 64, 56, 56], 64),
        "sdpa_causal_8x8x256x64" => sdpa(),
        "mlp_tiny_forward_b1" => mlp_forward(),
        "train_mlp_tiny_b32" => train_mlp(&[64, 32, 10], 32),
        "train_mlp_mnist_b128" => train_mlp(&[784, 512, 512, 10], 128),
        "train_cnn_mnist_b64" => train_cnn(),
        "encoder_layer_fwd_8x128x384" => encoder_layer(),
        "gpt_mini_fwd_8x128" => gpt_forward(),
        "train_gpt_mini_8x128" => gpt_train(),
        "lstm_fwd_bwd_32x64x256" => lstm(),
        _ => return None,
    })
}

fn random<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), device)
}

fn integers<const D: usize>(shape: [usize; D], end: f64, device: &Device) -> Tensor<D, Int> {
    Tensor::random(shape, Distribution::Uniform(0.0, end), device)
}

/// A workload without gradients. Results are dropped inside of the time.
fn forward<R>(mut call: impl FnMut() -> R + 'static) -> Workload {
    Box::new(move |calls| (0..calls).for_each(|_| drop(black_box(call()))))
}

fn unary<R, const D: usize>(
    shape: [usize; D],
    call: impl Fn(Tensor<D>) -> R + 'static,
) -> Workload {
    let x = random(shape, &Device::flex());
    forward(move || call(black_box(&x).clone()))
}

fn binary<R, const D: usize>(
    shape: [usize; D],
    call: impl Fn(Tensor<D>, Tensor<D>) -> R + 'static,
) -> Workload {
    let (a, b) = (random(shape, &Device::flex()), random(shape, &Device::flex()));
    forward(move || call(black_box(&a).clone(), black_box(&b).clone()))
}

fn layernorm() -> Workload {
    let layer = LayerNormConfig::new(1000).init(&Device::flex());
    unary([1000, 1000], move |x: Tensor<2>| layer.forward(x))
}

fn linear_gelu() -> Workload {
    let layer = LinearConfig::new(1024, 4096).init(&Device::flex());
    unary([128, 1024], move |x: Tensor<2>| activation::gelu(layer.forward(x)))
}

/// A 3x3 convolution with padding 1 and a bias.
fn conv(shape: [usize; 4], channels: usize) -> Workload {
    let weight = random([channels, shape[1], 3, 3], &Device::flex());
    let bias = random([channels], &Device::flex());
    let options = ConvOptions::new([1, 1], [1, 1], [1, 1], 1);
    unary(shape, move |x| conv2d(x, weight.clone(), Some(bias.clone()), options.clone()))
}

/// Causal attention of 8 batches of 8 heads over 256 positions of 64.
fn sdpa() -> Workload {
    let [q, k, v] = [(); 3].map(|()| random([8, 8, 256, 64], &Device::flex()));
    let options = AttentionModuleOptions { is_causal: true, ..Default::default() };
    forward(move || attention(black_box(&q).clone(), k.clone(), v.clone(), None, None, options))
}

/// Linear layers with ReLU between them.
#[derive(Module, Debug)]
struct Mlp {
    layers: Vec<Linear>,
}

impl Mlp {
    fn new(sizes: &[usize], device: &Device) -> Self {
        let layer = |pair: &[usize]| LinearConfig::new(pair[0], pair[1]).init(device);
        Self { layers: sizes.windows(2).map(layer).collect() }
    }

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let (last, hidden) = self.layers.split_last().expect("at least one layer");
        last.forward(hidden.iter().fold(x, |x, layer| activation::relu(layer.forward(x))))
    }
}

fn mlp_forward() -> Workload {
    let model = Mlp::new(&[64, 64, 10], &Device::flex());
    unary([1, 64], move |x| model.forward(x))
}

/// The network of PyTorch's MNIST example without its dropout.
#[derive(Module, Debug)]
struct Cnn {
    conv1: Conv2d,
    conv2: Conv2d,
    pool: MaxPool2d,
    fc1: Linear,
    fc2: Linear,
}

impl Cnn {
    fn new(device: &Device) -> Self {
        Self {
            conv1: Conv2dConfig::new([1, 32], [3, 3]).init(device),
            conv2: Conv2dConfig::new([32, 64], [3, 3]).init(device),
            pool: MaxPool2dConfig::new([2, 2]).init(),
            fc1: LinearConfig::new(64 * 12 * 12, 128).init(device),
            fc2: LinearConfig::new(128, 10).init(device),
        }
    }

    /// `[n, 1, 28, 28]` to `[n, 10]`.
    fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let x = activation::relu(self.conv1.forward(x));
        let x = activation::relu(self.conv2.forward(x));
        let x = self.pool.forward(x).flatten::<2>(1, 3);
        let x = activation::relu(self.fc1.forward(x));
        self.fc2.forward(x)
    }
}

/// Training steps with cross-entropy. The optimizer takes the model and gives it back.
fn train<M: Module + 'static>(
    model: M,
    mut optim: ModuleOptimizer,
    rate: f64,
    y: Tensor<1, Int>,
    logits: impl Fn(&M) -> Tensor<2> + 'static,
) -> Workload {
    let loss = CrossEntropyLossConfig::new().init(&y.device());
    let mut model = Some(model);
    Box::new(move |calls| {
        for _ in 0..calls {
            let old = model.take().expect("every step puts one back");
            let grads = loss.forward(logits(&old), y.clone()).backward();
            let grads = GradientsParams::from_grads(grads, &old);
            model = Some(optim.step(rate, old, grads));
        }
    })
}

fn train_mlp(sizes: &[usize], batch: usize) -> Workload {
    let device = Device::flex().autodiff();
    let (x, y) = (random([batch, sizes[0]], &device), integers([batch], 10.0, &device));
    let model = Mlp::new(sizes, &device);
    let optim = AdamConfig::new().with_epsilon(1e-8).init();
    train(model, optim, 1e-3, y, move |model| model.forward(black_box(&x).clone()))
}

fn train_cnn() -> Workload {
    let device = Device::flex().autodiff();
    let (x, y) = (random([64, 1, 28, 28], &device), integers([64], 10.0, &device));
    let optim = AdamConfig::new().with_epsilon(1e-8).init();
    train(Cnn::new(&device), optim, 1e-3, y, move |model| model.forward(black_box(&x).clone()))
}

/// Normalisation first, GELU, no dropout.
fn encoder(width: usize, heads: usize, layers: usize) -> TransformerEncoderConfig {
    TransformerEncoderConfig::new(width, 4 * width, heads, layers)
        .with_dropout(0.0)
        .with_norm_first(true)
}

fn encoder_layer() -> Workload {
    let layer = TransformerEncoderLayer::new(&encoder(384, 12, 1), &Device::flex());
    unary([8, 128, 384], move |x| layer.forward(x, None, None))
}

/// 256 tokens, 128 positions, 6 blocks of 192 features in 6 heads, a head that is the embedding.
#[derive(Module, Debug)]
struct Gpt {
    wte: Embedding,
    wpe: Embedding,
    blocks: TransformerEncoder,
    norm: LayerNorm,
}

impl Gpt {
    fn new(device: &Device) -> Self {
        let table = |n| {
            let small = Initializer::Normal { mean: 0.0, std: 0.02 };
            EmbeddingConfig::new(n, 192).with_initializer(small).init(device)
        };
        Self {
            wte: table(256),
            wpe: table(128),
            blocks: encoder(192, 6, 6).init(device),
            norm: LayerNormConfig::new(192).init(device),
        }
    }

    /// Logits of the next tokens: `[n, t]` to `[n * t, 256]`.
    fn forward(&self, tokens: Tensor<2, Int>) -> Tensor<2> {
        let [n, t] = tokens.dims();
        let device = tokens.device();
        let positions = self.wpe.weight.val().narrow(0, 0, t).unsqueeze::<3>();
        let x = self.wte.forward(tokens) + positions;
        let causal = generate_autoregressive_mask(n, t, &device);
        let x = self.blocks.forward(TransformerEncoderInput::new(x).mask_attn(causal));
        let x = self.norm.forward(x).reshape([n * t, 192]);
        x.matmul(self.wte.weight.val().transpose())
    }
}

fn gpt_forward() -> Workload {
    let model = Gpt::new(&Device::flex());
    let tokens = integers([8, 128], 256.0, &Device::flex());
    forward(move || model.forward(black_box(&tokens).clone()))
}

fn gpt_train() -> Workload {
    let device = Device::flex().autodiff();
    let (x, y) = (integers([8, 128], 256.0, &device), integers([8 * 128], 256.0, &device));
    let optim = AdamWConfig::new().with_epsilon(1e-8).with_weight_decay(0.01).init();
    train(Gpt::new(&device), optim, 3e-4, y, move |model| model.forward(black_box(&x).clone()))
}

/// One layer over 32 sequences of 64 steps, and the gradients of its parameters.
fn lstm() -> Workload {
    let device = Device::flex().autodiff();
    let layer = LstmConfig::new(256, 256, true).init(&device);
    let x = random([32, 64, 256], &device);
    forward(move || layer.forward(black_box(&x).clone(), None).0.sum().backward())
}
