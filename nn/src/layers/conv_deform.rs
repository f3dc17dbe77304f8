//! Convolution whose kernel elements move.

use kiln_tensor::module::DeformConvOptions;
use kiln_tensor::{Device, Error, Tensor, module};

use super::conv::weight_and_bias;
use super::padding::{Windows, symmetric};
use crate::{Config, Initializer, Module, PaddingConfig2d, Param};

/// What a [`DeformConv2d`] is made of.
#[derive(Config, Debug)]
pub struct DeformConv2dConfig {
    /// Channels of the input and of the output.
    pub channels: [usize; 2],
    /// Extent of the kernel.
    pub kernel_size: [usize; 2],
    /// Distance of neighbouring windows.
    #[config(default = [1, 1])]
    pub stride: [usize; 2],
    /// Distance of neighbouring kernel elements before they are moved.
    #[config(default = [1, 1])]
    pub dilation: [usize; 2],
    /// Groups of channels that are convolved apart.
    #[config(default = 1)]
    pub weight_groups: usize,
    /// Groups of channels with offsets of their own.
    #[config(default = 1)]
    pub offset_groups: usize,
    /// Zeros added around the input, as many on both sides.
    #[config(default = PaddingConfig2d::Valid, into)]
    pub padding: PaddingConfig2d,
    /// With or without a bias.
    #[config(default = true)]
    pub bias: bool,
    /// Other first values than PyTorch's; the bias starts with them too.
    #[config(default = Initializer::layer_default())]
    pub initializer: Initializer,
}

impl DeformConv2dConfig {
    /// Makes the layer. Panics if the groups do not divide the channels.
    #[track_caller]
    pub fn init(&self, device: &Device) -> DeformConv2d {
        let [input, output] = self.channels;
        if self.offset_groups == 0 || input % self.offset_groups != 0 {
            let rule = format!("{} offset groups do not divide {input}", self.offset_groups);
            kiln_tensor::fail(Error::Argument { op: "deform_conv2d", rule });
        }
        let (weight, bias) = weight_and_bias(
            [output, input],
            self.weight_groups,
            &self.kernel_size,
            self.bias.then_some(output),
            &self.initializer,
            device,
        );
        DeformConv2d {
            weight,
            bias,
            kernel_size: self.kernel_size,
            stride: self.stride,
            dilation: self.dilation,
            weight_groups: self.weight_groups,
            offset_groups: self.offset_groups,
            padding: self.padding,
        }
    }
}

/// `torchvision.ops.DeformConv2d` (Dai et al. 2017; with a mask Zhu et al. 2019): a convolution
/// whose kernel elements are moved from place to place.
#[derive(Clone, Debug, Module)]
pub struct DeformConv2d {
    /// `[out, in / weight_groups, kh, kw]`
    pub weight: Param<Tensor<4>>,
    /// `[out]`
    pub bias: Option<Param<Tensor<1>>>,
    /// Extent of the kernel.
    pub kernel_size: [usize; 2],
    /// Distance of neighbouring windows.
    pub stride: [usize; 2],
    /// Distance of neighbouring kernel elements before they are moved.
    pub dilation: [usize; 2],
    /// Groups of channels that are convolved apart.
    pub weight_groups: usize,
    /// Groups of channels with offsets of their own.
    pub offset_groups: usize,
    /// Zeros added around the input.
    #[module(skip)]
    pub padding: PaddingConfig2d,
}

impl DeformConv2d {
    /// `x` `[n, in, h, w]` to `[n, out, oh, ow]`. `offset`
    /// `[n, 2 * offset_groups * kh * kw, oh, ow]` moves each kernel element down, then right;
    /// `mask` `[n, offset_groups * kh * kw, oh, ow]` weighs it. Panics if the shapes do not fit or
    /// the padding differs between two sides.
    #[track_caller]
    pub fn forward(
        &self,
        x: &Tensor<4>,
        offset: &Tensor<4>,
        mask: Option<&Tensor<4>>,
    ) -> Tensor<4> {
        let windows = Windows::new(self.kernel_size, self.stride, self.dilation);
        let pads = windows.pads(self.padding.pads(), x.dims());
        let Some(padding) = symmetric(pads) else {
            let rule = format!("the padding must be the same on both sides, found {pads:?}");
            kiln_tensor::fail(Error::Argument { op: "deform_conv2d", rule })
        };
        let (groups, parts) = (self.weight_groups, self.offset_groups);
        let options = DeformConvOptions::new(self.stride, padding, self.dilation, groups, parts);
        let bias = self.bias.as_deref().cloned();
        module::deform_conv2d(x, offset, &self.weight, mask.cloned(), bias, options)
    }
}
