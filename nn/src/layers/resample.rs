//! Images of another size, and channels as pixels.

use kiln_tensor::module::{InterpolateMode as Mode, InterpolateOptions};
use kiln_tensor::{Error, Tensor, module};

use super::layer;
use crate::{Config, Module};

/// What stands between the pixels of an image that changes its size.
#[derive(Config, Copy, Debug, PartialEq, Eq)]
pub enum InterpolateMode {
    /// The pixel before: PyTorch's `nearest`.
    Nearest,
    /// The pixel whose centre is nearest: PyTorch's `nearest-exact`.
    NearestExact,
    /// A straight line along each axis: PyTorch's `linear`, `bilinear`, `trilinear`.
    Linear,
    /// A cubic through four pixels along each axis: PyTorch's `bicubic`.
    Cubic,
    /// A windowed sinc over six pixels along each axis.
    Lanczos,
}

impl From<InterpolateMode> for Mode {
    fn from(mode: InterpolateMode) -> Self {
        match mode {
            InterpolateMode::Nearest => Mode::Nearest,
            InterpolateMode::NearestExact => Mode::NearestExact,
            InterpolateMode::Linear => Mode::Bilinear,
            InterpolateMode::Cubic => Mode::Bicubic,
            InterpolateMode::Lanczos => Mode::Lanczos3,
        }
    }
}

macro_rules! interpolate {
    ($($(#[$doc:meta])* $layer:ident $config:ident: $rank:literal $size:ty, $factor:ty,
        $function:ident $scaled:ident;)*) => {$(
        #[doc = concat!("What an [`", stringify!($layer), "`] is made of.")]
        #[derive(Config, Debug)]
        pub struct $config {
            /// Extent of the output; this or a factor is needed.
            #[config(default = None, into)]
            pub output_size: Option<$size>,
            /// Factor of the extent, rounded down.
            #[config(default = None, into)]
            pub scale_factor: Option<$factor>,
            /// What stands between pixels.
            #[config(default = InterpolateMode::Nearest)]
            pub mode: InterpolateMode,
            /// Whether the centres of the corner pixels coincide; else, as in PyTorch, their outer
            /// edges do.
            #[config(default = false)]
            pub align_corners: bool,
        }

        impl $config {
            /// Makes the layer. Panics if not just one of output size and factor is given.
            #[track_caller]
            pub fn init(&self) -> $layer {
                let Self { output_size, scale_factor, mode, align_corners } = *self;
                if output_size.is_some() == scale_factor.is_some() {
                    let rule = "either the output size or a factor is needed".into();
                    kiln_tensor::fail(Error::Argument { op: "interpolate", rule });
                }
                $layer { output_size, scale_factor, mode, align_corners }
            }
        }

        $(#[$doc])*
        #[derive(Clone, Debug, Module)]
        pub struct $layer {
            /// Extent of the output.
            pub output_size: Option<$size>,
            /// Factor of the extent.
            #[module(skip)]
            pub scale_factor: Option<$factor>,
            /// What stands between pixels.
            #[module(skip)]
            pub mode: InterpolateMode,
            /// Whether the centres of the corner pixels coincide.
            pub align_corners: bool,
        }

        impl $layer {
            /// Panics if the input or the output is empty.
            #[track_caller]
            pub fn forward(&self, x: &Tensor<$rank>) -> Tensor<$rank> {
                let options = InterpolateOptions::new(self.mode.into())
                    .with_align_corners(self.align_corners);
                match (self.output_size, self.scale_factor) {
                    (Some(size), _) => module::$function(x, size, options),
                    (None, Some(factor)) => module::$scaled(x, factor, options),
                    (None, None) => x.clone(),
                }
            }
        }

        layer!($layer);
    )*};
}

interpolate! {
    /// `torch.nn.Upsample` of sequences, `[n, c, l]`.
    Interpolate1d Interpolate1dConfig: 3 usize, f64, interpolate1d interpolate1d_by;
    /// `torch.nn.Upsample` of images, `[n, c, h, w]`.
    ///
    /// ```
    /// use kiln_nn::{Interpolate2dConfig, InterpolateMode};
    /// use kiln_tensor::{Device, Tensor};
    /// let layer = Interpolate2dConfig::new()
    ///     .with_scale_factor([2.0, 2.0])
    ///     .with_mode(InterpolateMode::Linear)
    ///     .init();
    /// let y = layer.forward(&Tensor::zeros([1, 3, 4, 5], &Device::cpu()));
    /// assert_eq!(y.dims(), [1, 3, 8, 10]);
    /// ```
    Interpolate2d Interpolate2dConfig: 4 [usize; 2], [f64; 2], interpolate interpolate_by;
    /// `torch.nn.Upsample` of volumes, `[n, c, d, h, w]`.
    Interpolate3d Interpolate3dConfig: 5 [usize; 3], [f64; 3], interpolate3d interpolate3d_by;
}

/// What a [`PixelShuffle`] is made of.
#[derive(Config, Debug)]
pub struct PixelShuffleConfig {
    /// Factor of height and width.
    pub upscale_factor: usize,
}

impl PixelShuffleConfig {
    /// Makes the layer.
    pub fn init(&self) -> PixelShuffle {
        PixelShuffle { upscale_factor: self.upscale_factor }
    }
}

/// `torch.nn.PixelShuffle` (Shi et al. 2016): channels moved into pixels. `[n, c * f * f, h, w]` to
/// `[n, c, h * f, w * f]`.
#[derive(Clone, Debug, Module)]
pub struct PixelShuffle {
    /// Factor of height and width.
    pub upscale_factor: usize,
}

impl PixelShuffle {
    /// Panics if the channels are no multiple of the squared factor.
    #[track_caller]
    pub fn forward(&self, x: &Tensor<4>) -> Tensor<4> {
        module::pixel_shuffle(x, self.upscale_factor)
    }
}

/// What a [`PixelUnshuffle`] is made of.
#[derive(Config, Debug)]
pub struct PixelUnshuffleConfig {
    /// Divisor of height and width.
    pub downscale_factor: usize,
}

impl PixelUnshuffleConfig {
    /// Makes the layer.
    pub fn init(&self) -> PixelUnshuffle {
        PixelUnshuffle { downscale_factor: self.downscale_factor }
    }
}

/// `torch.nn.PixelUnshuffle`: pixels moved into channels. `[n, c, h * f, w * f]` to
/// `[n, c * f * f, h, w]`.
#[derive(Clone, Debug, Module)]
pub struct PixelUnshuffle {
    /// Divisor of height and width.
    pub downscale_factor: usize,
}

impl PixelUnshuffle {
    /// Panics if height or width are no multiples of the factor.
    #[track_caller]
    pub fn forward(&self, x: &Tensor<4>) -> Tensor<4> {
        module::pixel_unshuffle(x, self.downscale_factor)
    }
}

layer!(PixelShuffle, PixelUnshuffle);
