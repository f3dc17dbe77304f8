//! Convolutions of sequences, images and volumes.

use kiln_tensor::module::PaddedConvOptions;
use kiln_tensor::{Device, Error, Tensor, module};

use super::layer;
use super::padding::{Extents, Windows};
use crate::{
    Config, Initializer, Module, PaddingConfig1d, PaddingConfig2d, PaddingConfig3d, PaddingMode,
    Param,
};

/// Weight `[first, second / groups, kernel..]` and bias `[bias]` with their first values. Panics
/// if the groups do not divide both numbers of channels.
#[track_caller]
pub(super) fn weight_and_bias<const D: usize>(
    [first, second]: [usize; 2],
    groups: usize,
    kernel: &[usize],
    bias: Option<usize>,
    initializer: &Initializer,
    device: &Device,
) -> (Param<Tensor<D>>, Option<Param<Tensor<1>>>) {
    if groups == 0 || first % groups != 0 || second % groups != 0 {
        let rule = format!("{groups} groups do not divide {first} and {second} channels");
        kiln_tensor::fail(Error::Argument { op: "conv", rule });
    }
    let shape = [&[first, second / groups], kernel].concat();
    let fan_in = shape[1..].iter().product();
    let weight = initializer.init::<D>(shape, device).into();
    let bias = bias.map(|n| initializer.init_with_fan::<1>([n], fan_in, n, device).into());
    (weight, bias)
}

macro_rules! convolution {
    (
        $(#[$doc:meta])*
        layer $layer:ident: rank $rank:literal, axes $axes:ty = $one:expr,
            padding $padding:ident, function $function:ident;
        config $config:ident { $($(#[$channel_doc:meta])* $channel:ident: $kind:ty,)* },
            |$this:ident| $channels:expr;
    ) => {
        #[doc = concat!("What a [`", stringify!($layer), "`] is made of.")]
        #[derive(Config, Debug)]
        pub struct $config {
            $($(#[$channel_doc])* pub $channel: $kind,)*
            /// Extent of the kernel.
            pub kernel_size: $axes,
            /// Distance of neighbouring windows.
            #[config(default = $one)]
            pub stride: $axes,
            /// Distance of neighbouring kernel elements.
            #[config(default = $one)]
            pub dilation: $axes,
            /// Groups of channels that are convolved apart; as many as there are channels for a
            /// depthwise convolution.
            #[config(default = 1)]
            pub groups: usize,
            /// What is added around the input; numbers stand for both sides.
            #[config(default = $padding::Valid, into)]
            pub padding: $padding,
            /// What stands there.
            #[config(default = PaddingMode::Zeros)]
            pub padding_mode: PaddingMode,
            /// With or without a bias.
            #[config(default = true)]
            pub bias: bool,
            /// Other first values than PyTorch's; the bias starts with them too.
            #[config(default = Initializer::layer_default())]
            pub initializer: Initializer,
        }

        impl $config {
            /// Makes the layer. Panics if the groups do not divide both numbers of channels.
            #[track_caller]
            pub fn init(&self, device: &Device) -> $layer {
                let $this = self;
                let [input, output]: [usize; 2] = $channels;
                let (weight, bias) = weight_and_bias(
                    [output, input],
                    self.groups,
                    &self.kernel_size.array(),
                    self.bias.then_some(output),
                    &self.initializer,
                    device,
                );
                $layer {
                    weight,
                    bias,
                    kernel_size: self.kernel_size,
                    stride: self.stride,
                    dilation: self.dilation,
                    groups: self.groups,
                    padding: self.padding,
                    padding_mode: self.padding_mode,
                }
            }
        }

        $(#[$doc])*
        #[derive(Clone, Debug, Module)]
        pub struct $layer {
            /// `[out, in / groups, kernel..]`
            pub weight: Param<Tensor<$rank>>,
            /// `[out]`
            pub bias: Option<Param<Tensor<1>>>,
            /// Extent of the kernel.
            pub kernel_size: $axes,
            /// Distance of neighbouring windows.
            pub stride: $axes,
            /// Distance of neighbouring kernel elements.
            pub dilation: $axes,
            /// Groups of channels that are convolved apart.
            pub groups: usize,
            /// What is added around the input.
            #[module(skip)]
            pub padding: $padding,
            /// What stands there.
            #[module(skip)]
            pub padding_mode: PaddingMode,
        }

        impl $layer {
            /// Panics if `x` has other channels than the weight, or is smaller than the kernel.
            #[track_caller]
            pub fn forward(&self, x: &Tensor<$rank>) -> Tensor<$rank> {
                let windows = Windows::new(self.kernel_size, self.stride, self.dilation);
                let pads = windows.pads(self.padding.pads(), x.dims());
                let bias = self.bias.as_deref().cloned();
                let options = |pads: [(usize, usize); $rank - 2]| {
                    let [start, end] = [pads.map(|pad| pad.0), pads.map(|pad| pad.1)];
                    let Windows { stride, dilation, .. } = windows;
                    PaddedConvOptions::asymmetric(stride, start, end, dilation, self.groups)
                };
                match self.padding_mode {
                    PaddingMode::Zeros => module::$function(x, &self.weight, bias, options(pads)),
                    mode => {
                        let x = x.pad(pads, mode);
                        module::$function(x, &self.weight, bias, options([(0, 0); $rank - 2]))
                    }
                }
            }
        }

        layer!($layer);
    };
}

convolution! {
    /// `torch.nn.Conv1d`. `[n, in, l]` to `[n, out, ol]`.
    layer Conv1d: rank 3, axes usize = 1, padding PaddingConfig1d, function conv1d;
    config Conv1dConfig {
        /// Channels of the input.
        channels_in: usize,
        /// Channels of the output.
        channels_out: usize,
    }, |config| [config.channels_in, config.channels_out];
}

convolution! {
    /// `torch.nn.Conv2d`. `[n, in, h, w]` to `[n, out, oh, ow]`.
    ///
    /// ```
    /// use kiln_nn::{Conv2dConfig, PaddingConfig2d};
    /// use kiln_tensor::{Device, Tensor};
    /// let device = Device::cpu();
    /// let x = Tensor::zeros([2, 3, 16, 16], &device);
    /// let layer = Conv2dConfig::new([3, 8], [3, 3]).with_padding([1, 1]).init(&device);
    /// assert_eq!(layer.forward(&x).dims(), [2, 8, 16, 16]);
    /// let same = Conv2dConfig::new([3, 8], [4, 4]).with_padding(PaddingConfig2d::Same);
    /// assert_eq!(same.init(&device).forward(&x).dims(), [2, 8, 16, 16]);
    /// ```
    layer Conv2d: rank 4, axes [usize; 2] = [1, 1], padding PaddingConfig2d, function conv2d;
    config Conv2dConfig {
        /// Channels of the input and of the output.
        channels: [usize; 2],
    }, |config| config.channels;
}

convolution! {
    /// `torch.nn.Conv3d`. `[n, in, d, h, w]` to `[n, out, od, oh, ow]`.
    layer Conv3d: rank 5, axes [usize; 3] = [1, 1, 1], padding PaddingConfig3d, function conv3d;
    config Conv3dConfig {
        /// Channels of the input and of the output.
        channels: [usize; 2],
    }, |config| config.channels;
}
