//! Pooling to a given extent, pooling by power means, and its undoing.

use kiln_tensor::{Error, Int, Tensor, module};

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

/// What a [`MaxUnpool2d`] is made of.
#[derive(Config, Debug)]
pub struct MaxUnpool2dConfig {
    /// Extent of the window of the pooling.
    pub kernel_size: [usize; 2],
    /// Distance of its windows; the extent of the window if not set.
    #[config(default = None, into)]
    pub strides: Option<[usize; 2]>,
    /// The border that it added on both sides.
    #[config(default = [0, 0])]
    pub padding: [usize; 2],
}

impl MaxUnpool2dConfig {
    /// Makes the layer.
    pub fn init(&self) -> MaxUnpool2d {
        MaxUnpool2d {
            kernel_size: self.kernel_size,
            stride: self.strides.unwrap_or(self.kernel_size),
            padding: self.padding,
        }
    }
}

/// `torch.nn.MaxUnpool2d`: puts maxima back where a [`MaxPool2d`](crate::MaxPool2d) found them,
/// with zeros around.
#[derive(Clone, Debug, Module)]
pub struct MaxUnpool2d {
    /// Extent of the window of the pooling.
    pub kernel_size: [usize; 2],
    /// Distance of its windows.
    pub stride: [usize; 2],
    /// The border that it added on both sides.
    pub padding: [usize; 2],
}

impl MaxUnpool2d {
    /// `x` and `indices` `[n, c, oh, ow]` as from
    /// [`MaxPool2d::forward_with_indices`](crate::MaxPool2d::forward_with_indices). Result:
    /// `[n, c, output_size..]`; without a size, that of the smallest image with these windows.
    #[track_caller]
    pub fn forward(
        &self,
        x: &Tensor<4>,
        indices: &Tensor<4, Int>,
        output_size: Option<[usize; 2]>,
    ) -> Tensor<4> {
        let [_, _, oh, ow] = x.dims();
        let smallest = |count: usize, axis: usize| {
            let reach = count.saturating_sub(1) * self.stride[axis] + self.kernel_size[axis];
            reach.saturating_sub(2 * self.padding[axis])
        };
        let size = output_size.unwrap_or([smallest(oh, 0), smallest(ow, 1)]);
        module::max_unpool2d(x, indices, size)
    }
}
