//! The models that the benches run: an MLP, a small convolutional network, transformers.

mod transformer;

use kiln::prelude::*;
use kiln::tensor::op::Activation;

// Each bench uses its part.
#[allow(unused_imports)]
pub use transformer::{Block, Gpt, GptSize, tokens, train_gpt};

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
