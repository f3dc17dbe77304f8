//! Pooling over windows of sequences, images and volumes.

use kiln_tensor::{Error, Int, PadMode, Tensor, module};

use super::layer;
use super::padding::{Windows, symmetric};
use crate::{Config, Module, PaddingConfig1d, PaddingConfig2d, PaddingConfig3d};

/// `x` with what the pooling can not add itself, padding that differs between two sides, and what
/// is left for the pooling to add on both sides.
#[track_caller]
fn padded<const D: usize, const N: usize>(
    x: &Tensor<D>,
    pads: [(usize, usize); N],
    value: f64,
) -> (Tensor<D>, [usize; N]) {
    match symmetric(pads) {
        Some(padding) => (x.clone(), padding),
        None => (x.pad(pads, PadMode::Constant(value)), [0; N]),
    }
}

macro_rules! max_pool {
    (
        $(#[$doc:meta])*
        layer $layer:ident: rank $rank:literal, axes $axes:ty = $one:expr, padding $padding:ident,
            functions $function:ident $with_indices:ident, |$array:ident| $argument:expr;
        config $config:ident: $strides:ident;
    ) => {
        #[doc = concat!("What a [`", stringify!($layer), "`] is made of.")]
        #[derive(Config, Debug)]
        pub struct $config {
            /// Extent of the window.
            pub kernel_size: $axes,
            /// Distance of neighbouring windows; the extent of the window if not set.
            #[config(default = None, into)]
            pub $strides: Option<$axes>,
            /// Border added around the input, at most half the window; it never wins.
            #[config(default = $padding::Valid, into)]
            pub padding: $padding,
            /// Distance of neighbouring elements of the window.
            #[config(default = $one)]
            pub dilation: $axes,
            /// Whether a last window may hang over the end.
            #[config(default = false)]
            pub ceil_mode: bool,
        }

        impl $config {
            /// Makes the layer.
            pub fn init(&self) -> $layer {
                $layer {
                    kernel_size: self.kernel_size,
                    stride: self.$strides.unwrap_or(self.kernel_size),
                    padding: self.padding,
                    dilation: self.dilation,
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
            /// Border added around the input.
            #[module(skip)]
            pub padding: $padding,
            /// Distance of neighbouring elements of the window.
            pub dilation: $axes,
            /// Whether a last window may hang over the end.
            pub ceil_mode: bool,
        }

        impl $layer {
            fn pads(&self, x: &Tensor<$rank>) -> [(usize, usize); $rank - 2] {
                let windows = Windows::new(self.kernel_size, self.stride, self.dilation);
                windows.pads(self.padding.pads(), x.dims())
            }

            /// Panics if the window does not fit the input.
            #[track_caller]
            pub fn forward(&self, x: &Tensor<$rank>) -> Tensor<$rank> {
                let (x, $array) = padded(x, self.pads(x), f64::NEG_INFINITY);
                let Self { kernel_size, stride, dilation, ceil_mode, .. } = *self;
                module::$function(x, kernel_size, stride, $argument, dilation, ceil_mode)
            }

            /// The result of [`forward`](Self::forward), and the place of each maximum in its
            /// flattened channel. Panics if the padding differs between two sides.
            #[track_caller]
            pub fn forward_with_indices(
                &self,
                x: &Tensor<$rank>,
            ) -> (Tensor<$rank>, Tensor<$rank, Int>) {
                let pads = self.pads(x);
                let Some($array) = symmetric(pads) else {
                    let rule = format!("indices need the same padding on both sides: {pads:?}");
                    kiln_tensor::fail(Error::Argument { op: stringify!($function), rule })
                };
                let Self { kernel_size, stride, dilation, ceil_mode, .. } = *self;
                module::$with_indices(x, kernel_size, stride, $argument, dilation, ceil_mode)
            }
        }

        layer!($layer);
    };
}

max_pool! {
    /// `torch.nn.MaxPool1d`: the largest element of each window. `[n, c, l]` to `[n, c, ol]`.
    layer MaxPool1d: rank 3, axes usize = 1, padding PaddingConfig1d,
        functions max_pool1d max_pool1d_with_indices, |padding| padding[0];
    config MaxPool1dConfig: stride;
}

max_pool! {
    /// `torch.nn.MaxPool2d`: the largest element of each window. `[n, c, h, w]` to
    /// `[n, c, oh, ow]`.
    ///
    /// ```
    /// use kiln_nn::MaxPool2dConfig;
    /// use kiln_tensor::{Device, Tensor};
    /// let x = Tensor::zeros([1, 3, 8, 8], &Device::cpu());
    /// assert_eq!(MaxPool2dConfig::new([2, 2]).init().forward(&x).dims(), [1, 3, 4, 4]);
    /// let dense = MaxPool2dConfig::new([3, 3]).with_strides([1, 1]).with_padding([1, 1]).init();
    /// assert_eq!(dense.forward(&x).dims(), [1, 3, 8, 8]);
    /// ```
    layer MaxPool2d: rank 4, axes [usize; 2] = [1, 1], padding PaddingConfig2d,
        functions max_pool2d max_pool2d_with_indices, |padding| padding;
    config MaxPool2dConfig: strides;
}

max_pool! {
    /// `torch.nn.MaxPool3d`: the largest element of each window. `[n, c, d, h, w]` to
    /// `[n, c, od, oh, ow]`.
    layer MaxPool3d: rank 5, axes [usize; 3] = [1, 1, 1], padding PaddingConfig3d,
        functions max_pool3d max_pool3d_with_indices, |padding| padding;
    config MaxPool3dConfig: strides;
}

macro_rules! avg_pool {
    (
        $(#[$doc:meta])*
        layer $layer:ident: rank $rank:literal, axes $axes:ty = $one:expr, padding $padding:ident,
            function $function:ident, |$array:ident| $argument:expr;
        config $config:ident: $strides:ident;
    ) => {
        #[doc = concat!("What an [`", stringify!($layer), "`] is made of.")]
        #[derive(Config, Debug)]
        pub struct $config {
            /// Extent of the window.
            pub kernel_size: $axes,
            /// Distance of neighbouring windows; the extent of the window if not set.
            #[config(default = None, into)]
            pub $strides: Option<$axes>,
            /// Zeros added around the input, at most half the window.
            #[config(default = $padding::Valid, into)]
            pub padding: $padding,
            /// Whether these zeros count as elements.
            #[config(default = true)]
            pub count_include_pad: bool,
            /// Whether a last window may hang over the end.
            #[config(default = false)]
            pub ceil_mode: bool,
            /// What sums are divided by, in the place of the number of elements.
            #[config(default = None, into)]
            pub divisor_override: Option<usize>,
        }

        impl $config {
            /// Makes the layer. Panics if the divisor is zero.
            #[track_caller]
            pub fn init(&self) -> $layer {
                if self.divisor_override == Some(0) {
                    let rule = "divisor_override must not be zero".into();
                    kiln_tensor::fail(Error::Argument { op: stringify!($function), rule });
                }
                $layer {
                    kernel_size: self.kernel_size,
                    stride: self.$strides.unwrap_or(self.kernel_size),
                    padding: self.padding,
                    count_include_pad: self.count_include_pad,
                    ceil_mode: self.ceil_mode,
                    divisor_override: self.divisor_override,
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
            /// Zeros added around the input.
            #[module(skip)]
            pub padding: $padding,
            /// Whether these zeros count as elements.
            pub count_include_pad: bool,
            /// Whether a last window may hang over the end.
            pub ceil_mode: bool,
            /// What sums are divided by, in the place of the number of elements.
            #[module(skip)]
            pub divisor_override: Option<usize>,
        }

        impl $layer {
            /// Panics if the window does not fit the input.
            #[track_caller]
            pub fn forward(&self, x: &Tensor<$rank>) -> Tensor<$rank> {
                let Self { kernel_size, stride, count_include_pad, ceil_mode, .. } = *self;
                let windows = Windows::new(kernel_size, stride, $one);
                let pads = windows.pads(self.padding.pads(), x.dims());
                if let Some(divisor) = self.divisor_override {
                    let (x, padding) = padded(x, pads, 0.0);
                    let $array = padding;
                    let means =
                        module::$function(&x, kernel_size, stride, $argument, true, ceil_mode);
                    let counts = windows.counts(&x, padding, &means);
                    return means * (counts / divisor as f64);
                }
                let means = |x: &Tensor<$rank>, count: bool| {
                    let (x, $array) = padded(x, pads, 0.0);
                    module::$function(x, kernel_size, stride, $argument, count, ceil_mode)
                };
                if count_include_pad || symmetric(pads).is_some() {
                    return means(x, count_include_pad);
                }
                // The share of each window that is not padding.
                means(x, true) / means(&x.detach().ones_like(), true)
            }
        }

        layer!($layer);
    };
}

avg_pool! {
    /// `torch.nn.AvgPool1d`: the mean of each window. `[n, c, l]` to `[n, c, ol]`.
    layer AvgPool1d: rank 3, axes usize = 1, padding PaddingConfig1d, function avg_pool1d,
        |padding| padding[0];
    config AvgPool1dConfig: stride;
}

avg_pool! {
    /// `torch.nn.AvgPool2d`: the mean of each window. `[n, c, h, w]` to `[n, c, oh, ow]`.
    layer AvgPool2d: rank 4, axes [usize; 2] = [1, 1], padding PaddingConfig2d,
        function avg_pool2d, |padding| padding;
    config AvgPool2dConfig: strides;
}

avg_pool! {
    /// `torch.nn.AvgPool3d`: the mean of each window. `[n, c, d, h, w]` to `[n, c, od, oh, ow]`.
    layer AvgPool3d: rank 5, axes [usize; 3] = [1, 1, 1], padding PaddingConfig3d,
        function avg_pool3d, |padding| padding;
    config AvgPool3dConfig: strides;
}
