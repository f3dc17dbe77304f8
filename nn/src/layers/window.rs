//! Windows of an image as columns, and back.

use kiln_tensor::module::UnfoldOptions;
use kiln_tensor::{Tensor, module};

use super::layer;
use crate::{Config, Module};

/// What an [`Unfold4d`] is made of.
#[derive(Config, Debug)]
pub struct Unfold4dConfig {
    /// Extent of the window.
    pub kernel_size: [usize; 2],
    /// Distance of neighbouring windows.
    #[config(default = [1, 1])]
    pub stride: [usize; 2],
    /// Distance of neighbouring elements of a window.
    #[config(default = [1, 1])]
    pub dilation: [usize; 2],
    /// Zeros added on both sides.
    #[config(default = [0, 0])]
    pub padding: [usize; 2],
}

impl Unfold4dConfig {
    /// Makes the layer. Panics if stride or dilation are zero.
    #[track_caller]
    pub fn init(&self) -> Unfold4d {
        let options = UnfoldOptions::new(self.stride, self.padding, self.dilation);
        Unfold4d { kernel_size: self.kernel_size, options }
    }
}

/// `torch.nn.Unfold`: the windows of an image as columns. `[n, c, h, w]` to
/// `[n, c * kh * kw, windows]`.
#[derive(Clone, Debug, Module)]
pub struct Unfold4d {
    /// Extent of the window.
    pub kernel_size: [usize; 2],
    /// How the window moves.
    #[module(skip)]
    pub options: UnfoldOptions,
}

impl Unfold4d {
    /// Panics if the window does not fit the image.
    #[track_caller]
    pub fn forward(&self, x: &Tensor<4>) -> Tensor<3> {
        module::unfold4d(x, self.kernel_size, self.options)
    }
}

/// What a [`Fold4d`] is made of.
#[derive(Config, Debug)]
pub struct Fold4dConfig {
    /// Extent of the image.
    pub output_size: [usize; 2],
    /// Extent of the window.
    pub kernel_size: [usize; 2],
    /// Distance of neighbouring windows.
    #[config(default = [1, 1])]
    pub stride: [usize; 2],
    /// Distance of neighbouring elements of a window.
    #[config(default = [1, 1])]
    pub dilation: [usize; 2],
    /// Cut off on both sides.
    #[config(default = [0, 0])]
    pub padding: [usize; 2],
}

impl Fold4dConfig {
    /// Makes the layer. Panics if stride or dilation are zero.
    #[track_caller]
    pub fn init(&self) -> Fold4d {
        let options = UnfoldOptions::new(self.stride, self.padding, self.dilation);
        Fold4d { output_size: self.output_size, kernel_size: self.kernel_size, options }
    }
}

/// `torch.nn.Fold`: the image whose windows are the columns, where they overlap their sum.
/// `[n, c * kh * kw, windows]` to `[n, c, h, w]`.
#[derive(Clone, Debug, Module)]
pub struct Fold4d {
    /// Extent of the image.
    pub output_size: [usize; 2],
    /// Extent of the window.
    pub kernel_size: [usize; 2],
    /// How the window moves.
    #[module(skip)]
    pub options: UnfoldOptions,
}

impl Fold4d {
    /// Panics if the columns are not those of such an image.
    #[track_caller]
    pub fn forward(&self, x: &Tensor<3>) -> Tensor<4> {
        module::fold4d(x, self.output_size, self.kernel_size, self.options)
    }
}

layer!(Unfold4d, Fold4d);
