//! Transposed convolutions, which make their input larger.

use kiln_tensor::module::ConvTransposeOptions;
use kiln_tensor::{Device, Tensor, module};

use super::conv::weight_and_bias;
use super::layer;
use super::padding::Extents;
use crate::{Config, Initializer, Module, Param};

macro_rules! transposed_convolution {
    (
        $(#[$doc:meta])*
        layer $layer:ident: rank $rank:literal, axes $axes:ty = $zero:expr, $one:expr,
            function $function:ident;
        config $config:ident;
    ) => {
        #[doc = concat!("What a [`", stringify!($layer), "`] is made of.")]
        #[derive(Config, Debug)]
        pub struct $config {
            /// Channels of the input and of the output.
            pub channels: [usize; 2],
            /// Extent of the kernel.
            pub kernel_size: $axes,
            /// Distance at which neighbouring inputs are spread.
            #[config(default = $one)]
            pub stride: $axes,
            /// Distance of neighbouring kernel elements.
            #[config(default = $one)]
            pub dilation: $axes,
            /// Groups of channels that are convolved apart.
            #[config(default = 1)]
            pub groups: usize,
            /// What is cut off on both sides.
            #[config(default = $zero)]
            pub padding: $axes,
            /// Added to the extent of the output at its end: PyTorch's `output_padding`.
            #[config(default = $zero)]
            pub padding_out: $axes,
            /// With or without a bias.
            #[config(default = true)]
            pub bias: bool,
            /// Other first values than PyTorch's; the bias starts with them too.
            #[config(default = Initializer::layer_default())]
            pub initializer: Initializer,
        }

        impl $config {
            /// Makes the layer. Panics if the groups do not divide both numbers of channels, or a
            /// stride or dilation is zero.
            #[track_caller]
            pub fn init(&self, device: &Device) -> $layer {
                let [input, output] = self.channels;
                let (weight, bias) = weight_and_bias(
                    [input, output],
                    self.groups,
                    &self.kernel_size.array(),
                    self.bias.then_some(output),
                    &self.initializer,
                    device,
                );
                let options = ConvTransposeOptions::new(
                    self.stride.array(),
                    self.padding.array(),
                    self.padding_out.array(),
                    self.dilation.array(),
                    self.groups,
                );
                $layer { weight, bias, options }
            }
        }

        $(#[$doc])*
        #[derive(Clone, Debug, Module)]
        pub struct $layer {
            /// `[in, out / groups, kernel..]`
            pub weight: Param<Tensor<$rank>>,
            /// `[out]`
            pub bias: Option<Param<Tensor<1>>>,
            /// How the kernel moves.
            #[module(skip)]
            pub options: ConvTransposeOptions<{ $rank - 2 }>,
        }

        impl $layer {
            /// Panics if `x` has other channels than the weight.
            #[track_caller]
            pub fn forward(&self, x: &Tensor<$rank>) -> Tensor<$rank> {
                module::$function(x, &self.weight, self.bias.as_deref().cloned(), self.options)
            }
        }

        layer!($layer);
    };
}

transposed_convolution! {
    /// `torch.nn.ConvTranspose1d`. `[n, in, l]` to `[n, out, ol]`.
    layer ConvTranspose1d: rank 3, axes usize = 0, 1, function conv_transpose1d;
    config ConvTranspose1dConfig;
}

transposed_convolution! {
    /// `torch.nn.ConvTranspose2d`. `[n, in, h, w]` to `[n, out, oh, ow]`.
    ///
    /// ```
    /// use kiln_nn::ConvTranspose2dConfig;
    /// use kiln_tensor::{Device, Tensor};
    /// let config = ConvTranspose2dConfig::new([8, 3], [2, 2]).with_stride([2, 2]);
    /// let y = config.init(&Device::cpu()).forward(&Tensor::zeros([1, 8, 5, 6], &Device::cpu()));
    /// assert_eq!(y.dims(), [1, 3, 10, 12]);
    /// ```
    layer ConvTranspose2d: rank 4, axes [usize; 2] = [0, 0], [1, 1], function conv_transpose2d;
    config ConvTranspose2dConfig;
}

transposed_convolution! {
    /// `torch.nn.ConvTranspose3d`. `[n, in, d, h, w]` to `[n, out, od, oh, ow]`.
    layer ConvTranspose3d: rank 5, axes [usize; 3] = [0, 0, 0], [1, 1, 1],
        function conv_transpose3d;
    config ConvTranspose3dConfig;
}
