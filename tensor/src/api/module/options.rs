//! How the functions of this module do their work.

use crate::op::ConvOptions;
use crate::op::check::non_zero;

/// [`ConvOptions`] with another padding at the end of each axis than at its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PaddedConvOptions<const N: usize> {
    /// How the kernel moves; its padding is that at the start of each axis.
    pub options: ConvOptions<N>,
    /// Zeros at the end of each axis, if they are not as many as at the start.
    pub padding_end: Option<[usize; N]>,
}

impl<const N: usize> PaddedConvOptions<N> {
    /// All values. Panics if stride, dilation or groups are zero.
    #[track_caller]
    pub fn asymmetric(
        stride: [usize; N],
        padding_start: [usize; N],
        padding_end: [usize; N],
        dilation: [usize; N],
        groups: usize,
    ) -> Self {
        let options = ConvOptions::new(stride, padding_start, dilation, groups);
        Self { options, padding_end: (padding_start != padding_end).then_some(padding_end) }
    }

    /// Whether the two ends of an axis differ.
    pub fn is_asymmetric(&self) -> bool {
        self.padding_end.is_some()
    }
}

impl<const N: usize> From<ConvOptions<N>> for PaddedConvOptions<N> {
    fn from(options: ConvOptions<N>) -> Self {
        Self { options, padding_end: None }
    }
}

/// How a transposed convolution spreads its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConvTransposeOptions<const N: usize> {
    /// Distance at which neighbouring inputs are spread.
    pub stride: [usize; N],
    /// What the convolution that this is the transpose of adds on both sides: so much is cut off.
    pub padding: [usize; N],
    /// Added to the extent of the output at its end.
    pub padding_out: [usize; N],
    /// Distance of neighbouring kernel elements.
    pub dilation: [usize; N],
    /// Channels are cut into this many groups that are convolved apart.
    pub groups: usize,
}

impl<const N: usize> ConvTransposeOptions<N> {
    /// All values. Panics if stride, dilation or groups are zero.
    #[track_caller]
    pub fn new(
        stride: [usize; N],
        padding: [usize; N],
        padding_out: [usize; N],
        dilation: [usize; N],
        groups: usize,
    ) -> Self {
        non_zero("conv_transpose_options", "stride", &stride);
        non_zero("conv_transpose_options", "dilation", &dilation);
        non_zero("conv_transpose_options", "groups", &[groups]);
        Self { stride, padding, padding_out, dilation, groups }
    }
}

impl<const N: usize> Default for ConvTransposeOptions<N> {
    fn default() -> Self {
        Self::new([1; N], [0; N], [0; N], [1; N], 1)
    }
}

/// How the kernel of a deformable convolution moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DeformConvOptions<const N: usize> {
    /// Distance of neighbouring windows.
    pub stride: [usize; N],
    /// Zeros added on both sides.
    pub padding: [usize; N],
    /// Distance of neighbouring kernel elements before they are moved.
    pub dilation: [usize; N],
    /// Channels are cut into this many groups that are convolved apart.
    pub weight_groups: usize,
    /// Channels are cut into this many groups with offsets of their own.
    pub offset_groups: usize,
}

impl<const N: usize> DeformConvOptions<N> {
    /// All values. Panics if stride, dilation or one of the groups are zero.
    #[track_caller]
    pub fn new(
        stride: [usize; N],
        padding: [usize; N],
        dilation: [usize; N],
        weight_groups: usize,
        offset_groups: usize,
    ) -> Self {
        non_zero("deform_conv_options", "stride", &stride);
        non_zero("deform_conv_options", "dilation", &dilation);
        non_zero("deform_conv_options", "weight groups", &[weight_groups]);
        non_zero("deform_conv_options", "offset groups", &[offset_groups]);
        Self { stride, padding, dilation, weight_groups, offset_groups }
    }
}

/// How the windows of `unfold4d` and `fold4d` move; `[height, width]` each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UnfoldOptions {
    /// Distance of neighbouring windows.
    pub stride: [usize; 2],
    /// Zeros added on both sides.
    pub padding: [usize; 2],
    /// Distance of neighbouring elements of a window.
    pub dilation: [usize; 2],
}

impl UnfoldOptions {
    /// All values. Panics if stride or dilation are zero.
    #[track_caller]
    pub fn new(stride: [usize; 2], padding: [usize; 2], dilation: [usize; 2]) -> Self {
        non_zero("unfold_options", "stride", &stride);
        non_zero("unfold_options", "dilation", &dilation);
        Self { stride, padding, dilation }
    }
}

/// What stands between the pixels of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InterpolateMode {
    /// The pixel before: PyTorch's `nearest`. In `grid_sample_2d` the nearest one.
    Nearest,
    /// The pixel whose centre is nearest: PyTorch's `nearest-exact`.
    NearestExact,
    /// A straight line along each axis: PyTorch's `linear`, `bilinear`, `trilinear`.
    Bilinear,
    /// A cubic through four pixels along each axis (Keys 1981, with -0.75).
    Bicubic,
    /// A windowed sinc over six pixels along each axis (Duchon 1979).
    Lanczos3,
}

/// How an image is interpolated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct InterpolateOptions {
    /// What stands between pixels.
    pub mode: InterpolateMode,
    /// Whether the centres of the corner pixels coincide; else their outer edges do. The two
    /// nearest modes have no such choice.
    pub align_corners: bool,
}

impl InterpolateOptions {
    /// With aligned corners.
    pub fn new(mode: InterpolateMode) -> Self {
        Self { mode, align_corners: true }
    }

    /// With aligned corners or not.
    pub fn with_align_corners(self, align_corners: bool) -> Self {
        Self { align_corners, ..self }
    }
}

/// What stands outside of an image that is sampled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum GridSamplePaddingMode {
    /// Zeros.
    #[default]
    Zeros,
    /// The nearest pixel of the image.
    Border,
    /// The image, mirrored at its border as often as needed.
    Reflection,
}

/// How an image is sampled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GridSampleOptions {
    /// What stands between pixels: nearest, bilinear or bicubic.
    pub mode: InterpolateMode,
    /// What stands outside.
    pub padding_mode: GridSamplePaddingMode,
    /// Whether -1 and 1 are the centres of the outermost pixels; else they are their outer edges.
    pub align_corners: bool,
}

impl Default for GridSampleOptions {
    fn default() -> Self {
        Self::new(InterpolateMode::Bilinear)
    }
}

impl From<InterpolateMode> for GridSampleOptions {
    fn from(mode: InterpolateMode) -> Self {
        Self::new(mode)
    }
}

impl GridSampleOptions {
    /// With zeros outside and -1 and 1 at the outer edges.
    pub fn new(mode: InterpolateMode) -> Self {
        Self { mode, padding_mode: GridSamplePaddingMode::Zeros, align_corners: false }
    }

    /// With something else outside.
    pub fn with_padding_mode(self, padding_mode: GridSamplePaddingMode) -> Self {
        Self { padding_mode, ..self }
    }

    /// With -1 and 1 at the centres of the outermost pixels or not.
    pub fn with_align_corners(self, align_corners: bool) -> Self {
        Self { align_corners, ..self }
    }
}

/// How attention weighs its keys.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct AttentionModuleOptions {
    /// What the scores are multiplied by; `1 / sqrt(d)` if not set.
    pub scale: Option<f64>,
    /// Scores become `softcap * tanh(score / softcap)` before any mask (Gemma 2, 2024).
    pub softcap: Option<f64>,
    /// Whether a query sees only the keys up to its own position. With fewer queries than keys the
    /// last query sees all keys.
    pub is_causal: bool,
}
