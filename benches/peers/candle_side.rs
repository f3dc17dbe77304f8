//! The candle side of the comparison. By hand:
//!
//! ```text
//! echo matmul_f32_256 | RAYON_NUM_THREADS=2 target/peers/release/candle_side
//! ```

mod serve;

use std::hint::black_box;

use candle_core::{D, DType, Device, IndexOp, Module, Result, Shape, Tensor};
use candle_nn::attention::{AttnMask, flash_attn};
use candle_nn::ops::{layer_norm_slow, sigmoid, softmax, softmax_last_dim};
use candle_nn::{
    AdamW, Conv2d, Conv2dConfig, Embedding, Init, LSTMConfig, LayerNorm, Linear, Optimizer,
    ParamsAdamW, RNN, VarBuilder, VarMap, conv2d, layer_norm, linear, loss, lstm,
};
use serve::Workload;

fn main() -> std::io::Result<()> {
    serve::serve(|name| workload(name).expect("the workload can be made"))
}

const CPU: Device = Device::Cpu;
const MILLION: usize = 1_000_000;

fn workload(name: &str) -> Result<Option<Workload>> {
    let workload = match name {
        "add_4elem" => binary(4, |a, b| a + b),
        "reshape_1M" => unary(MILLION, |x| x.reshape((1000, 1000))),
        "matmul_f32_64" => binary((64, 64), Tensor::matmul),
        "matmul_f32_256" => binary((256, 256), Tensor::matmul),
        "matmul_f32_1024" => binary((1024, 1024), Tensor::matmul),
        "add_1M" => binary(MILLION, |a, b| a + b),
        "mul_scalar_1M" => unary(MILLION, |x| x * 2.0),
        "relu_1M" => unary(MILLION, Tensor::relu),
        "exp_1M" => unary(MILLION, Tensor::exp),
        "tanh_1M" => unary(MILLION, Tensor::tanh),
        "sigmoid_1M" => unary(MILLION, sigmoid),
        "gelu_1M" => unary(MILLION, Tensor::gelu_erf),
        "sum_1M" => unary(MILLION, Tensor::sum_all),
        "sum_axis0_1M" => unary((1000, 1000), |x| x.sum_keepdim(0)),
        "sum_axis1_1M" => unary((1000, 1000), |x| x.sum_keepdim(1)),
        "softmax_1000x1000" => unary((1000, 1000), softmax_last_dim),
        "layernorm_1000x1000" => {
            let layer = frozen(|vars| layer_norm(1000, 1e-5, vars))?;
            unary((1000, 1000), move |x| layer.forward(x))
        }
        "transpose_copy_1M" => unary((1000, 1000), |x| x.t()?.contiguous()),
        "linear_gelu_128x1024x4096" => {
            let layer = frozen(|vars| linear(1024, 4096, vars))?;
            unary((128, 1024), move |x| layer.forward(x)?.gelu_erf())
        }
        "conv3x3_32x3x32x32_64" => conv((32, 3, 32, 32), 3),
        "conv3x3_32x64x32x32_64" => conv((32, 64, 32, 32), 64),
        "conv3x3_1x64x56x56_64" => conv((1, 64, 56, 56), 64),
        "sdpa_causal_8x8x256x64" => sdpa(),
        "mlp_tiny_forward_b1" => {
            let model = frozen(|vars| Mlp::new(&[64, 64, 10], vars))?;
            unary((1, 64), move |x| model.forward(x))
        }
        "train_mlp_tiny_b32" => train_mlp(&[64, 32, 10], 32),
        "train_mlp_mnist_b128" => train_mlp(&[784, 512, 512, 10], 128),
        "train_cnn_mnist_b64" => train_classes(Cnn::new, &[64, 1, 28, 28]),
        "encoder_layer_fwd_8x128x384" => {
            let block = frozen(|vars| Block::new(384, 12, None, vars))?;
            unary((8, 128, 384), move |x| block.forward(x))
        }
        "gpt_mini_fwd_8x128" => gpt_forward(),
        "train_gpt_mini_8x128" => gpt_train(),
        "lstm_fwd_bwd_32x64x256" => lstm_step(),
        _ => return Ok(None),
    };
    workload.map(Some)
}

fn random(shape: impl Into<Shape>) -> Result<Tensor> {
    Tensor::randn(0f32, 1.0, shape, &CPU)
}

fn integers(shape: impl Into<Shape>, end: f32) -> Result<Tensor> {
    Tensor::rand(0f32, end, shape, &CPU)?.to_dtype(DType::U32)
}

/// Results are dropped inside of the time.
fn repeat<R>(mut call: impl FnMut() -> Result<R> + 'static) -> Result<Workload> {
    Ok(Box::new(move |calls| {
        (0..calls).for_each(|_| drop(black_box(call().expect("the shapes fit"))));
    }))
}

fn unary(
    shape: impl Into<Shape>,
    call: impl Fn(&Tensor) -> Result<Tensor> + 'static,
) -> Result<Workload> {
    let x = random(shape)?;
    repeat(move || call(black_box(&x)))
}

fn binary(
    shape: impl Into<Shape>,
    call: impl Fn(&Tensor, &Tensor) -> Result<Tensor> + 'static,
) -> Result<Workload> {
    let shape = shape.into();
    let (a, b) = (random(shape.clone())?, random(shape)?);
    repeat(move || call(black_box(&a), black_box(&b)))
}

/// A module with random parameters that does not track gradients.
fn frozen<M>(build: impl Fn(VarBuilder) -> Result<M>) -> Result<M> {
    let vars = VarMap::new();
    build(VarBuilder::from_varmap(&vars, DType::F32, &CPU))?;
    let vars = vars.data().lock().expect("no thread panicked");
    let values = vars.iter().map(|(name, var)| (name.clone(), var.as_detached_tensor()));
    build(VarBuilder::from_tensors(values.collect(), DType::F32, &CPU))
}

/// A 3x3 convolution to 64 channels with padding 1 and a bias.
fn conv(shape: impl Into<Shape>, channels: usize) -> Result<Workload> {
    let config = Conv2dConfig { padding: 1, ..Conv2dConfig::default() };
    let layer = frozen(|vars| conv2d(channels, 64, 3, config, vars))?;
    unary(shape, move |x| layer.forward(x))
}

/// Attention of three `[n, tokens, heads, d]` to `[n, heads, tokens, d]`, causal with a mask. The
/// fused one has no gradients; by hand it does.
fn attention(q: &Tensor, k: &Tensor, v: &Tensor, causal: Option<&Tensor>) -> Result<Tensor> {
    let scale = 1.0 / (q.dim(D::Minus1)? as f64).sqrt();
    if !q.track_op() {
        let mask = causal.map_or(AttnMask::None, |_| AttnMask::causal());
        let [q, k, v] = [q, k, v].map(Tensor::contiguous);
        return flash_attn::<f32>(&q?, &k?, &v?, scale as f32, mask, None, None);
    }
    let [q, k, v] = [q, k, v].map(|x| x.transpose(1, 2)?.contiguous());
    let mut scores = (q?.matmul(&k?.t()?)? * scale)?;
    if let Some(mask) = causal {
        scores = scores.broadcast_add(mask)?;
    }
    softmax(&scores, D::Minus1)?.matmul(&v?)
}

/// `[tokens, tokens]`: 0 where a token sees, minus infinity elsewhere.
fn causal_mask(tokens: usize) -> Result<Tensor> {
    let sees = Tensor::tril2(tokens, DType::U32, &CPU)?;
    let zero = Tensor::zeros((tokens, tokens), DType::F32, &CPU)?;
    let hidden = Tensor::full(f32::NEG_INFINITY, (tokens, tokens), &CPU)?;
    sees.where_cond(&zero, &hidden)
}

/// Causal attention of 8 batches of 8 heads over 256 positions of 64, in the layout it wants.
fn sdpa() -> Result<Workload> {
    let [q, k, v] = [(); 3].map(|()| random((8, 256, 8, 64)));
    let (q, k, v, mask) = (q?, k?, v?, causal_mask(256)?);
    repeat(move || attention(black_box(&q), &k, &v, Some(&mask)))
}

/// Linear layers with ReLU between them.
struct Mlp(Vec<Linear>);

impl Mlp {
    fn new(sizes: &[usize], vars: VarBuilder) -> Result<Self> {
        let layer = |(i, pair): (usize, &[usize])| linear(pair[0], pair[1], vars.pp(i));
        Ok(Self(sizes.windows(2).enumerate().map(layer).collect::<Result<_>>()?))
    }
}

impl Module for Mlp {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (last, hidden) = self.0.split_last().expect("at least one layer");
        let relu = |x: Tensor, layer: &Linear| layer.forward(&x)?.relu();
        last.forward(&hidden.iter().try_fold(x.clone(), relu)?)
    }
}

/// The network of PyTorch's MNIST example without its dropout.
struct Cnn {
    conv1: Conv2d,
    conv2: Conv2d,
    fc1: Linear,
    fc2: Linear,
}

impl Cnn {
    fn new(vars: VarBuilder) -> Result<Self> {
        Ok(Self {
            conv1: conv2d(1, 32, 3, Conv2dConfig::default(), vars.pp("conv1"))?,
            conv2: conv2d(32, 64, 3, Conv2dConfig::default(), vars.pp("conv2"))?,
            fc1: linear(64 * 12 * 12, 128, vars.pp("fc1"))?,
            fc2: linear(128, 10, vars.pp("fc2"))?,
        })
    }
}

impl Module for Cnn {
    /// `[n, 1, 28, 28]` to `[n, 10]`.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.conv1.forward(x)?.relu()?;
        let x = self.conv2.forward(&x)?.relu()?;
        let x = x.max_pool2d(2)?.flatten_from(1)?;
        self.fc2.forward(&self.fc1.forward(&x)?.relu()?)
    }
}

/// Training steps of the model with cross-entropy and Adam: AdamW without weight decay is that.
fn train<M: 'static>(
    build: impl Fn(VarBuilder) -> Result<M>,
    params: ParamsAdamW,
    y: Tensor,
    logits: impl Fn(&M) -> Result<Tensor> + 'static,
) -> Result<Workload> {
    let vars = VarMap::new();
    let model = build(VarBuilder::from_varmap(&vars, DType::F32, &CPU))?;
    let mut optim = AdamW::new(vars.all_vars(), params)?;
    repeat(move || optim.backward_step(&loss::cross_entropy(&logits(&model)?, &y)?))
}

/// Images or features of ten classes.
fn train_classes<M: Module + 'static>(
    build: impl Fn(VarBuilder) -> Result<M>,
    shape: &[usize],
) -> Result<Workload> {
    let (x, y) = (random(shape)?, integers(shape[0], 10.0)?);
    let params = ParamsAdamW { lr: 1e-3, weight_decay: 0.0, ..ParamsAdamW::default() };
    train(build, params, y, move |model| model.forward(black_box(&x)))
}

fn train_mlp(sizes: &[usize], batch: usize) -> Result<Workload> {
    train_classes(|vars| Mlp::new(sizes, vars), &[batch, sizes[0]])
}

/// A block of a transformer: normalisation first, GELU.
struct Block {
    norm1: LayerNorm,
    qkv: Linear,
    proj: Linear,
    norm2: LayerNorm,
    up: Linear,
    down: Linear,
    heads: usize,
    /// Where tokens see only those before them.
    mask: Option<Tensor>,
}

impl Block {
    fn new(width: usize, heads: usize, mask: Option<Tensor>, vars: VarBuilder) -> Result<Self> {
        Ok(Self {
            norm1: layer_norm(width, 1e-5, vars.pp("norm1"))?,
            qkv: linear(width, 3 * width, vars.pp("qkv"))?,
            proj: linear(width, width, vars.pp("proj"))?,
            norm2: layer_norm(width, 1e-5, vars.pp("norm2"))?,
            up: linear(width, 4 * width, vars.pp("up"))?,
            down: linear(4 * width, width, vars.pp("down"))?,
            heads,
            mask,
        })
    }

    /// `[n, tokens, width]` to the same shape.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (n, tokens, width) = x.dims3()?;
        let qkv = self.qkv.forward(&normalize(&self.norm1, x)?)?;
        let qkv = qkv.reshape((n, tokens, 3, self.heads, width / self.heads))?;
        let [q, k, v] = [0, 1, 2].map(|i| qkv.i((.., .., i)));
        let y = attention(&q?, &k?, &v?, self.mask.as_ref())?;
        let y = y.transpose(1, 2)?.reshape((n, tokens, width))?;
        let x = (x + self.proj.forward(&y)?)?;
        let y = self.up.forward(&normalize(&self.norm2, &x)?)?.gelu_erf()?;
        x + self.down.forward(&y)?
    }
}

/// The fast normalisation has no gradients; the other one does.
fn normalize(norm: &LayerNorm, x: &Tensor) -> Result<Tensor> {
    match norm.bias() {
        Some(bias) if x.track_op() => layer_norm_slow(x, norm.weight(), bias, norm.eps() as f32),
        _ => norm.forward(x),
    }
}

/// 256 tokens, 128 positions, 6 blocks of 192 features in 6 heads, a head that is the embedding.
struct Gpt {
    wte: Embedding,
    wpe: Embedding,
    blocks: Vec<Block>,
    norm: LayerNorm,
    head: Linear,
}

impl Gpt {
    fn new(vars: VarBuilder) -> Result<Self> {
        let table = |n, name| -> Result<Embedding> {
            let small = Init::Randn { mean: 0.0, stdev: 0.02 };
            let weight = vars.pp(name).get_with_hints((n, 192), "weight", small)?;
            Ok(Embedding::new(weight, 192))
        };
        let wte = table(256, "wte")?;
        let mask = causal_mask(128)?;
        let block = |i| Block::new(192, 6, Some(mask.clone()), vars.pp(format!("blocks.{i}")));
        Ok(Self {
            head: Linear::new(wte.embeddings().clone(), None),
            wte,
            wpe: table(128, "wpe")?,
            blocks: (0..6).map(block).collect::<Result<_>>()?,
            norm: layer_norm(192, 1e-5, vars.pp("norm"))?,
        })
    }

    /// Logits of the next tokens: `[n, 128]` to `[n * 128, 256]`.
    fn forward(&self, tokens: &Tensor) -> Result<Tensor> {
        let x = self.wte.forward(tokens)?.broadcast_add(self.wpe.embeddings())?;
        let x = self.blocks.iter().try_fold(x, |x, block| block.forward(&x))?;
        self.head.forward(&normalize(&self.norm, &x)?.flatten_to(1)?)
    }
}

fn gpt_forward() -> Result<Workload> {
    let model = frozen(Gpt::new)?;
    let tokens = integers((8, 128), 256.0)?;
    repeat(move || model.forward(black_box(&tokens)))
}

fn gpt_train() -> Result<Workload> {
    let (x, y) = (integers((8, 128), 256.0)?, integers(8 * 128, 256.0)?);
    let params = ParamsAdamW { lr: 3e-4, ..ParamsAdamW::default() };
    train(Gpt::new, params, y, move |model| model.forward(black_box(&x)))
}

/// One layer over 32 sequences of 64 steps, and the gradients of its parameters.
fn lstm_step() -> Result<Workload> {
    let vars = VarMap::new();
    let vars = VarBuilder::from_varmap(&vars, DType::F32, &CPU);
    let layer = lstm(256, 256, LSTMConfig::default(), vars)?;
    let x = random((32, 64, 256))?;
    repeat(move || {
        let states = layer.seq(black_box(&x))?;
        layer.states_to_tensor(&states)?.sum_all()?.backward()
    })
}
