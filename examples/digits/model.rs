//! The network.

use kiln::prelude::*;

use crate::dataset::CLASSES;

/// Two convolutions, a pooling, one more convolution and a pooling, and a linear layer.
#[derive(Module, Clone, Debug)]
pub struct Net {
    conv1: Conv2d,
    norm1: BatchNorm2d,
    conv2: Conv2d,
    norm2: BatchNorm2d,
    pool: MaxPool2d,
    conv3: Conv2d,
    norm3: BatchNorm2d,
    dropout: Dropout,
    fc: Linear,
}

impl Net {
    pub fn new(device: &Device) -> Self {
        let conv = |channels| Conv2dConfig::new(channels, [3, 3]).with_padding([1, 1]).init(device);
        Self {
            conv1: conv([1, 16]),
            norm1: BatchNorm2dConfig::new(16).init(device),
            conv2: conv([16, 32]),
            norm2: BatchNorm2dConfig::new(32).init(device),
            pool: MaxPool2dConfig::new([2, 2]).init(),
            conv3: conv([32, 64]),
            norm3: BatchNorm2dConfig::new(64).init(device),
            dropout: DropoutConfig::new(0.3).init(),
            fc: LinearConfig::new(64 * 2 * 2, CLASSES).init(device),
        }
    }

    /// `[n, 1, 8, 8]` to logits `[n, 10]`.
    pub fn forward(&self, images: &Tensor<4>) -> Tensor<2> {
        let x = activation::relu(self.norm1.forward(&self.conv1.forward(images)));
        let x = activation::relu(self.norm2.forward(&self.conv2.forward(&x)));
        let x = self.pool.forward(&x); // [n, 32, 4, 4]
        let x = activation::relu(self.norm3.forward(&self.conv3.forward(&x)));
        let x = self.pool.forward(&x); // [n, 64, 2, 2]
        let x = x.flatten::<2>(1, 3);
        self.fc.forward(&self.dropout.forward(&x))
    }
}
