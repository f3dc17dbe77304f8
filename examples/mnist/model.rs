//! The network: that of PyTorch's MNIST example.

use kiln::prelude::*;
use kiln::tensor::op::Activation;

/// Two convolutions, a pooling and two linear layers.
#[derive(Module, Clone, Debug)]
pub struct Net {
    conv1: Conv2d,
    conv2: Conv2d,
    pool: MaxPool2d,
    dropout1: Dropout,
    fc1: Linear,
    dropout2: Dropout,
    fc2: Linear,
}

impl Net {
    pub fn new(device: &Device) -> Self {
        Self {
            conv1: Conv2dConfig::new([1, 32], [3, 3]).init(device),
            conv2: Conv2dConfig::new([32, 64], [3, 3]).init(device),
            pool: MaxPool2dConfig::new([2, 2]).init(),
            dropout1: DropoutConfig::new(0.25).init(),
            fc1: LinearConfig::new(64 * 12 * 12, 128).init(device),
            dropout2: DropoutConfig::new(0.5).init(),
            fc2: LinearConfig::new(128, 10).init(device),
        }
    }

    /// `[n, 1, 28, 28]` to logits `[n, 10]`.
    pub fn forward(&self, images: &Tensor<4>) -> Tensor<2> {
        let x = activation::relu(self.conv1.forward(images)); // [n, 32, 26, 26]
        let x = activation::relu(self.conv2.forward(&x)); // [n, 64, 24, 24]
        let x = self.dropout1.forward(&self.pool.forward(&x)); // [n, 64, 12, 12]
        let x = self.fc1.forward_activation(&x.flatten::<2>(1, 3), Activation::Relu);
        self.fc2.forward(&self.dropout2.forward(&x))
    }
}
