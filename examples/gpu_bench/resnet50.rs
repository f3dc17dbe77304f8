//! ResNet-50 of He et al., "Deep Residual Learning for Image Recognition" (2015), in the form of
//! torchvision.

use kiln::prelude::*;

/// Three convolutions, and the image added to what they give.
#[derive(Clone, Debug, Module)]
struct Bottleneck {
    layers: [ConvNorm; 3],
    downsample: Option<ConvNorm>,
}

/// A convolution without bias, and a norm of each channel.
#[derive(Clone, Debug, Module)]
struct ConvNorm {
    conv: Conv2d,
    norm: BatchNorm2d,
}

impl ConvNorm {
    fn new(channels: [usize; 2], kernel: usize, stride: usize, device: &Device) -> Self {
        let config = Conv2dConfig::new(channels, [kernel; 2]).with_bias(false);
        let config = config.with_stride([stride; 2]).with_padding([kernel / 2; 2]);
        Self { conv: config.init(device), norm: BatchNorm2dConfig::new(channels[1]).init(device) }
    }

    fn forward(&self, x: &Tensor<4>) -> Tensor<4> {
        self.norm.forward(&self.conv.forward(x))
    }
}

impl Bottleneck {
    /// `width` channels in the middle, four times as many at the end.
    fn new(input: usize, width: usize, stride: usize, device: &Device) -> Self {
        let output = 4 * width;
        let shortcut = || ConvNorm::new([input, output], 1, stride, device);
        Self {
            layers: [
                ConvNorm::new([input, width], 1, 1, device),
                ConvNorm::new([width, width], 3, stride, device),
                ConvNorm::new([width, output], 1, 1, device),
            ],
            downsample: (stride != 1 || input != output).then(shortcut),
        }
    }

    fn forward(&self, x: &Tensor<4>) -> Tensor<4> {
        let [first, second, third] = &self.layers;
        let y = activation::relu(first.forward(x));
        let y = third.forward(&activation::relu(second.forward(&y)));
        activation::relu(match &self.downsample {
            Some(shortcut) => y + shortcut.forward(x),
            None => y + x,
        })
    }
}

/// 50 layers with weights, for 1000 classes.
#[derive(Clone, Debug, Module)]
pub struct ResNet50 {
    stem: ConvNorm,
    pool: MaxPool2d,
    blocks: Vec<Bottleneck>,
    fc: Linear,
}

impl ResNet50 {
    /// With fresh weights.
    pub fn new(device: &Device) -> Self {
        let mut blocks = Vec::new();
        let mut input = 64;
        for (width, count, stride) in [(64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)] {
            for index in 0..count {
                let stride = if index == 0 { stride } else { 1 };
                blocks.push(Bottleneck::new(input, width, stride, device));
                input = 4 * width;
            }
        }
        let pool = MaxPool2dConfig::new([3, 3]).with_strides([2, 2]).with_padding([1, 1]);
        Self {
            stem: ConvNorm::new([3, 64], 7, 2, device),
            pool: pool.init(),
            blocks,
            fc: LinearConfig::new(input, 1000).init(device),
        }
    }

    /// `[n, 3, height, width]` to `[n, 1000]`.
    pub fn forward(&self, x: &Tensor<4>) -> Tensor<2> {
        let x = self.pool.forward(&activation::relu(self.stem.forward(x)));
        let x = self.blocks.iter().fold(x, |x, block| block.forward(&x));
        let [n, channels, _, _] = x.dims();
        self.fc.forward(&x.flatten::<3>(2, 3).mean_dim(2).reshape([n, channels]))
    }
}
