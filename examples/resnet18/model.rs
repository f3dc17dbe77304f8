//! ResNet-18 of He et al., "Deep Residual Learning for Image Recognition" (2015), with the names of
//! its parameters in torchvision.

use kiln::prelude::*;

/// Two convolutions, and the image added to what they give.
#[derive(Clone, Debug, Module)]
struct BasicBlock {
    conv1: Conv2d,
    bn1: BatchNorm2d,
    conv2: Conv2d,
    bn2: BatchNorm2d,
    downsample: Option<(Conv2d, BatchNorm2d)>,
}

/// A convolution without bias.
fn conv(channels: [usize; 2], kernel: usize, stride: usize, device: &Device) -> Conv2d {
    let config = Conv2dConfig::new(channels, [kernel; 2]).with_bias(false);
    config.with_stride([stride; 2]).with_padding([kernel / 2; 2]).init(device)
}

fn norm(channels: usize, device: &Device) -> BatchNorm2d {
    BatchNorm2dConfig::new(channels).init(device)
}

impl BasicBlock {
    fn new([input, output]: [usize; 2], stride: usize, device: &Device) -> Self {
        let shortcut = || (conv([input, output], 1, stride, device), norm(output, device));
        Self {
            conv1: conv([input, output], 3, stride, device),
            bn1: norm(output, device),
            conv2: conv([output, output], 3, 1, device),
            bn2: norm(output, device),
            downsample: (stride != 1 || input != output).then(shortcut),
        }
    }

    fn forward(&self, x: &Tensor<4>) -> Tensor<4> {
        let y = activation::relu(self.bn1.forward(&self.conv1.forward(x)));
        let y = self.bn2.forward(&self.conv2.forward(&y));
        activation::relu(match &self.downsample {
            Some((conv, norm)) => y + norm.forward(&conv.forward(x)),
            None => y + x,
        })
    }
}

/// 18 layers with weights, for 1000 classes.
#[derive(Clone, Debug, Module)]
pub struct ResNet18 {
    conv1: Conv2d,
    bn1: BatchNorm2d,
    maxpool: MaxPool2d,
    layer1: Vec<BasicBlock>,
    layer2: Vec<BasicBlock>,
    layer3: Vec<BasicBlock>,
    layer4: Vec<BasicBlock>,
    fc: Linear,
}

impl ResNet18 {
    /// With fresh weights.
    pub fn new(device: &Device) -> Self {
        let layer = |input, output, stride| {
            vec![
                BasicBlock::new([input, output], stride, device),
                BasicBlock::new([output, output], 1, device),
            ]
        };
        let maxpool = MaxPool2dConfig::new([3, 3]).with_strides([2, 2]).with_padding([1, 1]);
        Self {
            conv1: conv([3, 64], 7, 2, device),
            bn1: norm(64, device),
            maxpool: maxpool.init(),
            layer1: layer(64, 64, 1),
            layer2: layer(64, 128, 2),
            layer3: layer(128, 256, 2),
            layer4: layer(256, 512, 2),
            fc: LinearConfig::new(512, 1000).init(device),
        }
    }

    /// `[n, 3, height, width]` to `[n, 1000]`.
    pub fn forward(&self, x: &Tensor<4>) -> Tensor<2> {
        let x = activation::relu(self.bn1.forward(&self.conv1.forward(x)));
        let mut x = self.maxpool.forward(&x);
        for block in [&self.layer1, &self.layer2, &self.layer3, &self.layer4].into_iter().flatten()
        {
            x = block.forward(&x);
        }
        let [n, channels, _, _] = x.dims();
        self.fc.forward(&x.flatten::<3>(2, 3).mean_dim(2).reshape([n, channels]))
    }
}
