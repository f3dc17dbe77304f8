//! The models that the benches run: an MLP, a small convolutional network, a transformer block.

use kiln::prelude::*;
use kiln::tensor::op::Activation;

/// Linear layers with ReLU between them.
#[derive(Clone, Debug, Module)]
pub struct Mlp {
    layers: Vec<Linear>,
}

impl Mlp {
    /// Layers between these numbers of features.
    pub fn new(sizes: &[usize], device: &Device) -> Self {
        let layer = |pair: &[usize]| LinearConfig::new(pair[0], pair[1]).init(device);
        Self { layers: sizes.windows(2).map(layer).collect() }
    }

    /// `[n, first size]` to `[n, last size]`.
    pub fn forward(&self, x: &Tensor<2>) -> Tensor<2> {
        let (last, hidden) = self.layers.split_last().expect("at least one layer");
        let relu = |x: Tensor<2>, layer: &Linear| layer.forward_activation(&x, Activation::Relu);
        last.forward(&hidden.iter().fold(x.clone(), relu))
    }
}

/// Two convolutions, a pooling and two linear layers: the network of PyTorch's MNIST example
/// without its dropout.
#[derive(Clone, Debug, Module)]
pub struct Cnn {
    conv1: Conv2d,
    conv2: Conv2d,
    pool: MaxPool2d,
    fc1: Linear,
    fc2: Linear,
}

impl Cnn {
    /// For images of 1x28x28 and 10 classes.
    pub fn new(device: &Device) -> Self {
        Self {
            conv1: Conv2dConfig::new([1, 32], [3, 3]).init(device),
            conv2: Conv2dConfig::new([32, 64], [3, 3]).init(device),
            pool: MaxPool2dConfig::new([2, 2]).init(),
            fc1: LinearConfig::new(64 * 12 * 12, 128).init(device),
            fc2: LinearConfig::new(128, 10).init(device),
        }
    }

    /// `[n, 1, 28, 28]` to `[n, 10]`.
    pub fn forward(&self, x: &Tensor<4>) -> Tensor<2> {
        let x = activation::relu(self.conv1.forward(x));
        let x = activation::relu(self.conv2.forward(&x));
        let x = self.pool.forward(&x).flatten::<2>(1, 3);
        let x = self.fc1.forward_activation(&x, Activation::Relu);
        self.fc2.forward(&x)
    }
}

/// A transformer block that normalises before each of its halves: attention, then a GELU MLP
/// (Xiong et al. 2020). Every token sees every other.
#[derive(Clone, Debug, Module)]
pub struct Block {
    norm1: LayerNorm,
    qkv: Linear,
    proj: Linear,
    norm2: LayerNorm,
    up: Linear,
    down: Linear,
    #[module(skip)]
    heads: usize,
}

impl Block {
    /// `width` features in `heads` heads, and an MLP of `hidden` features.
    pub fn new(width: usize, heads: usize, hidden: usize, device: &Device) -> Self {
        let linear = |inputs, outputs| LinearConfig::new(inputs, outputs).init(device);
        let norm = || LayerNormConfig::new([width]).init(device);
        Self {
            norm1: norm(),
            qkv: linear(width, 3 * width),
            proj: linear(width, width),
            norm2: norm(),
            up: linear(width, hidden),
            down: linear(hidden, width),
            heads,
        }
    }

    /// `[n, tokens, width]` to the same shape.
    pub fn forward(&self, x: &Tensor<3>) -> Tensor<3> {
        let x = self.attention(&self.norm1.forward(x)) + x;
        let hidden = self.up.forward_activation(&self.norm2.forward(&x), Activation::Gelu);
        self.down.forward(&hidden) + &x
    }

    fn attention(&self, x: &Tensor<3>) -> Tensor<3> {
        let [n, tokens, width] = x.dims();
        let size = width / self.heads;
        let qkv = self.qkv.forward(x).reshape([n, tokens, 3, self.heads, size]);
        // [3, n, heads, tokens, size]
        let qkv = qkv.permute([2, 0, 3, 1, 4]);
        let part = |i| qkv.narrow(0, i, 1).squeeze_dim::<4>(0);
        // Scaling the queries takes a quarter of the work of scaling the scores.
        let (q, k, v) = (part(0) * (size as f64).powf(-0.5), part(1), part(2));
        let mixed = activation::softmax(q.matmul(k.transpose()), -1).matmul(v);
        // [n, tokens, heads, size] to [n, tokens, width]
        self.proj.forward(&mixed.swap_dims(1, 2).reshape([n, tokens, width]))
    }
}
