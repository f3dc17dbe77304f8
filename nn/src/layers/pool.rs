//! Pooling over windows of an image.

use kiln_tensor::Tensor;
use kiln_tensor::op::{AvgPool2d as Mean, MaxPool2d as Largest, Pool2dOptions};

use super::layer;
use crate::Module;

/// What a [`MaxPool2d`] is made of.
#[derive(Clone, Debug)]
pub struct MaxPool2dConfig {
    options: Pool2dOptions,
}

impl MaxPool2dConfig {
    /// Windows of `kernel[0]` x `kernel[1]`, side by side.
    pub fn new(kernel: [usize; 2]) -> Self {
        Self { options: Pool2dOptions::new(kernel) }
    }

    /// Distance of neighbouring windows; that of the window if not set.
    pub fn with_strides(mut self, stride: [usize; 2]) -> Self {
        self.options.stride = stride;
        self
    }

    /// Border added on both sides, at most half the window; it never wins.
    pub fn with_padding(mut self, padding: [usize; 2]) -> Self {
        self.options.padding = padding;
        self
    }

    /// Makes the layer.
    pub fn init(&self) -> MaxPool2d {
        MaxPool2d { options: self.options }
    }
}

/// `torch.nn.MaxPool2d`: the largest element of each window. `[n, c, h, w]` to `[n, c, oh, ow]`.
#[derive(Clone, Debug, Module)]
pub struct MaxPool2d {
    /// How the window moves.
    #[module(skip)]
    pub options: Pool2dOptions,
}

impl MaxPool2d {
    /// Panics if the window does not fit the image.
    #[track_caller]
    pub fn forward(&self, x: &Tensor<4>) -> Tensor<4> {
        x.apply(Largest { options: self.options }, &[])
    }
}

/// What an [`AvgPool2d`] is made of.
#[derive(Clone, Debug)]
pub struct AvgPool2dConfig {
    options: Pool2dOptions,
    count_include_pad: bool,
}

impl AvgPool2dConfig {
    /// Windows of `kernel[0]` x `kernel[1]`, side by side.
    pub fn new(kernel: [usize; 2]) -> Self {
        Self { options: Pool2dOptions::new(kernel), count_include_pad: true }
    }

    /// Distance of neighbouring windows; that of the window if not set.
    pub fn with_strides(mut self, stride: [usize; 2]) -> Self {
        self.options.stride = stride;
        self
    }

    /// Zeros added on both sides, at most half the window.
    pub fn with_padding(mut self, padding: [usize; 2]) -> Self {
        self.options.padding = padding;
        self
    }

    /// Whether the zeros of the border count as elements; they do if not set.
    pub fn with_count_include_pad(mut self, count_include_pad: bool) -> Self {
        self.count_include_pad = count_include_pad;
        self
    }

    /// Makes the layer.
    pub fn init(&self) -> AvgPool2d {
        AvgPool2d { options: self.options, count_include_pad: self.count_include_pad }
    }
}

/// `torch.nn.AvgPool2d`: the mean of each window. `[n, c, h, w]` to `[n, c, oh, ow]`.
#[derive(Clone, Debug, Module)]
pub struct AvgPool2d {
    /// How the window moves.
    #[module(skip)]
    pub options: Pool2dOptions,
    /// Whether the zeros of the border count as elements.
    pub count_include_pad: bool,
}

impl AvgPool2d {
    /// Panics if the window does not fit the image.
    #[track_caller]
    pub fn forward(&self, x: &Tensor<4>) -> Tensor<4> {
        let (options, count_include_pad) = (self.options, self.count_include_pad);
        x.apply(Mean { options, count_include_pad }, &[])
    }
}

layer!(MaxPool2d, AvgPool2d);
