//! Pooling to a given extent, and pooling by power means.

use kiln_tensor::{Error, Tensor, module};

use super::layer;
use crate::{Config, Module};

macro_rules! adaptive_pool {
    ($($(#[$doc:meta])* $layer:ident $config:ident: $rank:literal $axes:ty, $function:ident;)*) => {$(
        #[doc = concat!("What an [`", stringify!($layer), "`] is made of.")]
        #[derive(Config, Debug)]
        pub struct $config {
            /// Extent of the output.
            pub output_size: $axes,
        }

        impl $config {
            /// Makes the layer.
            pub fn init(&self) -> $layer {
                $layer { output_size: self.output_size }
            }
        }

        $(#[$doc])*
        #[derive(Clone, Debug, Module)]
        pub struct $layer {
            /// Extent of the output.
            pub output_size: $axes,
        }

        impl $layer {
            /// Panics if an extent of the input or the output is zero.
            #[track_caller]
            pub fn forward(&self, x: &Tensor<$rank>) -> Tensor<$rank> {
                module::$function(x, self.output_size)
            }
        }

        layer!($layer);
    )*};
}

adaptive_pool! {
    /// `torch.nn.AdaptiveAvgPool1d`: means over windows that cover `[n, c, l]` evenly.
    AdaptiveAvgPool1d AdaptiveAvgPool1dConfig: 3 usize, adaptive_avg_pool1d;
    /// `torch.nn.AdaptiveAvgPool2d`: means over windows that cover `[n, c, h, w]` evenly.
    ///
    /// ```
    /// use kiln_nn::AdaptiveAvgPool2dConfig;
    /// use kiln_tensor::{Device, Tensor};
    /// let layer = AdaptiveAvgPool2dConfig::new([1, 1]).init();
    /// let y = layer.forward(&Tensor::zeros([2, 512, 7, 7], &Device::cpu()));
    /// assert_eq!(y.dims(), [2, 512, 1, 1]);
    /// ```
    AdaptiveAvgPool2d AdaptiveAvgPool2dConfig: 4 [usize; 2], adaptive_avg_pool2d;
    /// `torch.nn.AdaptiveAvgPool3d`: means over windows that cover `[n, c, d, h, w]` evenly.
    AdaptiveAvgPool3d AdaptiveAvgPool3dConfig: 5 [usize; 3], adaptive_avg_pool3d;
    /// `torch.nn.AdaptiveMaxPool1d`: maxima of windows that cover `[n, c, l]` evenly.
    AdaptiveMaxPool1d AdaptiveMaxPool1dConfig: 3 usize, adaptive_max_pool1d;
    /// `torch.nn.AdaptiveMaxPool2d`: maxima of windows that cover `[n, c, h, w]` evenly.
    AdaptiveMaxPool2d AdaptiveMaxPool2dConfig: 4 [usize; 2], adaptive_max_pool2d;
    /// `torch.nn.AdaptiveMaxPool3d`: maxima of windows that cover `[n, c, d, h, w]` evenly.
    AdaptiveMaxPool3d AdaptiveMaxPool3dConfig: 5 [usize; 3], adaptive_max_pool3d;
}

macro_rules! lp_pool {
    ($($(#[$doc:meta])* $layer:ident $config:ident: $rank:literal $axes:ty, $strides:ident,
        $function:ident;)*) => {$(
        #[doc = concat!("What an [`", stringify!($layer), "`] is made of.")]
        #[derive(Config, Debug)]
        pub struct $config {
            /// Extent of the window.
            pub kernel_size: $axes,
            /// Distance of neighbouring windows; the extent of the window if not set.
            #[config(default = None, into)]
            pub $strides: Option<$axes>,
            /// The exponent: PyTorch's `norm_type`, which has no default there.
            #[config(default = 2.0)]
            pub p: f64,
            /// Whether a last window may hang over the end.
            #[config(default = false)]
            pub ceil_mode: bool,
        }

        impl $config {
            /// Makes the layer. Panics if `p` is not a positive number.
            #[track_caller]
            pub fn init(&self) -> $layer {
                if !(self.p > 0.0 && self.p.is_finite()) {
                    let rule = format!("p must be a positive number, found {}", self.p);
                    kiln_tensor::fail(Error::Argument { op: stringify!($function), rule });
                }
                $layer {
                    kernel_size: self.kernel_size,
                    stride: self.$strides.unwrap_or(self.kernel_size),
                    p: self.p,
                    ceil_mode: self.ceil_mode,
                }
            }
        }

        $(#[$doc])*
        #[derive(Clone, Debug, Module)]
        pub struct $layer {
            /// Extent of the window.
            pub kernel_size: $axes,
            /// Distance of neighbouring windows.
            pub stride: $axes,
            /// The exponent.
            pub p: f64,
            /// Whether a last window may hang over the end.
            pub ceil_mode: bool,
        }

        impl $layer {
            /// Panics if the window does not fit the input.
            #[track_caller]
            pub fn forward(&self, x: &Tensor<$rank>) -> Tensor<$rank> {
                module::$function(x, self.p, self.kernel_size, self.stride, self.ceil_mode)
            }
        }

        layer!($layer);
    )*};
}

lp_pool! {
    /// `torch.nn.LPPool1d`: `(sum of x^p)^(1 / p)` of each window. `[n, c, l]` to `[n, c, ol]`.
    LpPool1d LpPool1dConfig: 3 usize, stride, lp_pool1d;
    /// `torch.nn.LPPool2d`: `(sum of x^p)^(1 / p)` of each window. `[n, c, h, w]` to
    /// `[n, c, oh, ow]`.
    LpPool2d LpPool2dConfig: 4 [usize; 2], strides, lp_pool2d;
}
