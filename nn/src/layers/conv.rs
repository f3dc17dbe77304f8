//! Convolution of images.

use kiln_tensor::op::Conv2dOptions;
use kiln_tensor::{Device, Tensor, module};

use super::layer;
use crate::{Initializer, Module, Param};

/// What a [`Conv2d`] is made of.
#[derive(Clone, Debug)]
pub struct Conv2dConfig {
    channels: [usize; 2],
    kernel: [usize; 2],
    options: Conv2dOptions,
    bias: bool,
    initializer: Initializer,
}

impl Conv2dConfig {
    /// From `channels[0]` to `channels[1]` channels with a `kernel[0]` x `kernel[1]` kernel, with a
    /// bias; stride 1, no padding.
    pub fn new(channels: [usize; 2], kernel: [usize; 2]) -> Self {
        let initializer = Initializer::layer_default();
        Self { channels, kernel, options: Conv2dOptions::default(), bias: true, initializer }
    }

    /// Distance of neighbouring windows.
    pub fn with_stride(mut self, stride: [usize; 2]) -> Self {
        self.options.stride = stride;
        self
    }

    /// Zeros added on both sides.
    pub fn with_padding(mut self, padding: [usize; 2]) -> Self {
        self.options.padding = padding;
        self
    }

    /// Distance of neighbouring kernel elements.
    pub fn with_dilation(mut self, dilation: [usize; 2]) -> Self {
        self.options.dilation = dilation;
        self
    }

    /// Groups of channels that are convolved apart.
    pub fn with_groups(mut self, groups: usize) -> Self {
        self.options.groups = groups;
        self
    }

    /// With or without a bias.
    pub fn with_bias(mut self, bias: bool) -> Self {
        self.bias = bias;
        self
    }

    /// Other first values than PyTorch's; the bias starts with them too.
    pub fn with_initializer(mut self, initializer: Initializer) -> Self {
        self.initializer = initializer;
        self
    }

    /// Makes the layer. Panics if the groups do not divide both numbers of channels.
    #[track_caller]
    pub fn init(&self, device: &Device) -> Conv2d {
        let ([input, output], [kh, kw]) = (self.channels, self.kernel);
        let groups = self.options.groups;
        if groups == 0 || input % groups != 0 || output % groups != 0 {
            let rule = format!("{groups} groups do not divide {input} and {output} channels");
            kiln_tensor::fail(kiln_tensor::Error::Argument { op: "conv2d", rule });
        }
        let fan_in = input / groups * kh * kw;
        let init = &self.initializer;
        let bias = || init.init_with_fan::<1>([output], fan_in, output, device).into();
        Conv2d {
            weight: init.init::<4>([output, input / groups, kh, kw], device).into(),
            bias: self.bias.then(bias),
            options: self.options,
        }
    }
}

/// `torch.nn.Conv2d`. `[n, in, h, w]` to `[n, out, oh, ow]`.
///
/// ```
/// use kiln_nn::Conv2dConfig;
/// use kiln_tensor::{Device, Tensor};
/// let layer = Conv2dConfig::new([3, 8], [3, 3]).with_padding([1, 1]).init(&Device::cpu());
/// let y = layer.forward(&Tensor::zeros([2, 3, 16, 16], &Device::cpu()));
/// assert_eq!(y.dims(), [2, 8, 16, 16]);
/// ```
#[derive(Clone, Debug, Module)]
pub struct Conv2d {
    /// `[out, in / groups, kh, kw]`
    pub weight: Param<Tensor<4>>,
    /// `[out]`
    pub bias: Option<Param<Tensor<1>>>,
    /// How the kernel moves.
    #[module(skip)]
    pub options: Conv2dOptions,
}

impl Conv2d {
    /// Panics if `x` has other channels than the weight, or is smaller than the kernel.
    #[track_caller]
    pub fn forward(&self, x: &Tensor<4>) -> Tensor<4> {
        module::conv2d(x, &self.weight, self.bias.as_deref().cloned(), self.options)
    }
}

layer!(Conv2d);
