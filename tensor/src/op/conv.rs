//! Two-dimensional convolution and its two gradients.

use super::{Keeps, Meta, Metas, Operation, check, one};
use crate::{Result, Shape};

/// How the kernel moves over an image of `N` axes; `[.., height, width]` each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConvOptions<const N: usize> {
    /// Distance of neighbouring windows.
    pub stride: [usize; N],
    /// Zeros added on both sides.
    pub padding: [usize; N],
    /// Distance of neighbouring kernel elements.
    pub dilation: [usize; N],
    /// Channels are cut into this many groups that are convolved apart.
    pub groups: usize,
}

/// How the kernel moves over a picture; `[height, width]` each.
pub type Conv2dOptions = ConvOptions<2>;

impl<const N: usize> Default for ConvOptions<N> {
    fn default() -> Self {
        Self { stride: [1; N], padding: [0; N], dilation: [1; N], groups: 1 }
    }
}

impl<const N: usize> ConvOptions<N> {
    /// All four. Panics if stride, dilation or groups are zero.
    #[track_caller]
    pub fn new(
        stride: [usize; N],
        padding: [usize; N],
        dilation: [usize; N],
        groups: usize,
    ) -> Self {
        check::non_zero("conv_options", "stride", &stride);
        check::non_zero("conv_options", "dilation", &dilation);
        check::non_zero("conv_options", "groups", &[groups]);
        Self { stride, padding, dilation, groups }
    }
}

impl Conv2dOptions {
    /// Output extent along `axis` (0 height, 1 width), if the kernel fits.
    pub fn output(&self, axis: usize, input: usize, kernel: usize) -> Option<usize> {
        window_count(input, kernel, self.stride[axis], self.padding[axis], self.dilation[axis])
    }

    fn check(&self, op: &'static str, inputs: &[Meta], x: &Shape, w: &Shape) -> Result<Shape> {
        let ([n, c, h, width], [oc, ic, kh, kw]) = (x.dims::<4>(), w.dims::<4>());
        if self.groups == 0 || c != ic * self.groups || oc % self.groups != 0 {
            let rule = format!(
                "with {} groups, {c} input channels need a weight of [out, {c} / {}, ..] with out divisible by {}",
                self.groups, self.groups, self.groups
            );
            return Err(check::shape_error(op, inputs, rule));
        }
        let (Some(oh), Some(ow)) = (self.output(0, h, kh), self.output(1, width, kw)) else {
            let rule = format!("a {kh} x {kw} kernel with {self:?} does not fit the padded image");
            return Err(check::shape_error(op, inputs, rule));
        };
        Shape::try_new(&[n, oc, oh, ow])
    }
}

/// Windows of `kernel` elements, `dilation` apart, that fit an axis of `input` elements.
fn window_count(
    input: usize,
    kernel: usize,
    stride: usize,
    padding: usize,
    dilation: usize,
) -> Option<usize> {
    let span = kernel.checked_sub(1)?.checked_mul(dilation)?.checked_add(1)?;
    let room = padding.checked_mul(2)?.checked_add(input)?.checked_sub(span)?;
    (dilation > 0).then_some(())?;
    Some(room.checked_div(stride)? + 1)
}

/// `torch.nn.functional.conv2d`: `y[n, o, i, j] = bias[o] + sum over c, p, q of
/// x[n, c, i * stride + p * dilation - padding, ..] * w[o, c, p, q]`.
///
/// Inputs: `x` `[n, c, h, w]`, `weight` `[out, c / groups, kh, kw]`, and `bias` `[out]` if there is
/// one; one float dtype. Result: `[n, out, oh, ow]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conv2d {
    /// How the kernel moves.
    pub options: Conv2dOptions,
    /// Whether there is a third input, the bias.
    pub bias: bool,
}

const AXES: &str = "[n, c, h, w]";

impl Operation for Conv2d {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn infer(&self, inputs: &[Meta]) -> Result<Metas> {
        let op = self.name();
        let (x, w) = if self.bias {
            let [x, w, bias] = check::arity(op, inputs)?;
            if w.shape.first().is_none_or(|&out| *bias.shape != [out]) {
                let rule = "the bias must have one value per output channel";
                return Err(check::shape_error(op, inputs, rule));
            }
            (x, w)
        } else {
            let [x, w] = check::arity(op, inputs)?;
            (x, w)
        };
        check::floats(op, inputs)?;
        check::rank(op, x, 4, AXES)?;
        check::rank(op, w, 4, "[out, c / groups, kh, kw]")?;
        let shape = self.options.check(op, inputs, &x.shape, &w.shape)?;
        Ok(one(Meta { shape, dtype: x.dtype }))
    }

    fn keeps(&self, tracked: u32) -> Keeps {
        Keeps { inputs: (tracked & 1) << 1 | (tracked >> 1 & 1), outputs: 0 }
    }

    fn flops(&self, inputs: &[Meta], outputs: &[Meta]) -> u64 {
        product_flops(&outputs[0].shape, &inputs[1].shape)
    }

    #[cfg(any(test, feature = "samples"))]
    fn samples(samples: &mut super::samples::Samples) {
        use super::samples::float;
        for (x, w, options) in sample_options() {
            let oc = w[0];
            samples.case(Conv2d { options, bias: false }, [float(x), float(w)]);
            samples.case(Conv2d { options, bias: true }, [float(x), float(w), float([oc])]);
        }
        for (x, w, options) in large_sample_options() {
            let inputs = [float(x), float(w), float([w[0]])];
            samples.rough(Conv2d { options, bias: true }, inputs);
        }
    }
}

/// Two per multiply-add: each output element is a sum over one filter.
fn product_flops(y: &Shape, w: &Shape) -> u64 {
    let filter: usize = w[1..].iter().product();
    2 * y.num_elements() as u64 * filter as u64
}

#[cfg(any(test, feature = "samples"))]
fn sample_options() -> Vec<([usize; 4], [usize; 4], Conv2dOptions)> {
    let options =
        |stride, padding, dilation, groups| Conv2dOptions { stride, padding, dilation, groups };
    vec![
        ([2, 3, 5, 6], [4, 3, 3, 2], options([1, 1], [0, 0], [1, 1], 1)),
        ([1, 2, 5, 5], [3, 2, 3, 3], options([1, 1], [1, 1], [1, 1], 1)),
        ([2, 2, 7, 6], [2, 2, 3, 3], options([2, 3], [1, 2], [1, 1], 1)),
        ([1, 2, 7, 7], [2, 2, 3, 2], options([1, 2], [2, 1], [2, 3], 1)),
        ([2, 4, 4, 5], [6, 2, 2, 2], options([1, 1], [1, 0], [1, 1], 2)),
        ([1, 3, 4, 4], [3, 1, 3, 3], options([1, 1], [1, 1], [1, 1], 3)),
        ([2, 3, 3, 3], [2, 3, 1, 1], options([1, 1], [0, 0], [1, 1], 1)),
    ]
}

/// Larger than a tile, and one for each way in which a kernel may compute them.
#[cfg(any(test, feature = "samples"))]
fn large_sample_options() -> Vec<([usize; 4], [usize; 4], Conv2dOptions)> {
    let options =
        |stride, padding, dilation, groups| Conv2dOptions { stride, padding, dilation, groups };
    let same = options([1, 1], [1, 1], [1, 1], 1);
    vec![
        // 3 x 3 with many channels: many tiles, few tiles of many channels, other borders.
        ([2, 40, 17, 19], [33, 40, 3, 3], same),
        ([1, 130, 9, 9], [100, 130, 3, 3], same),
        ([3, 18, 21, 6], [48, 18, 3, 3], options([1, 1], [0, 2], [1, 1], 1)),
        ([1, 32, 16, 13], [64, 16, 3, 3], options([1, 1], [1, 1], [1, 1], 2)),
        ([1, 16, 12, 11], [24, 16, 3, 3], options([1, 1], [3, 0], [1, 1], 1)),
        // 3 x 3 with few channels: groups, more tiles than are computed together, narrow images.
        ([2, 3, 12, 23], [30, 3, 3, 3], same),
        ([1, 4, 10, 20], [32, 2, 3, 3], options([1, 1], [0, 2], [1, 1], 2)),
        ([1, 7, 4, 70], [16, 7, 3, 3], same),
        ([3, 5, 16, 6], [16, 5, 3, 3], options([1, 1], [1, 0], [1, 1], 1)),
        // One pixel, and between its steps none.
        ([2, 24, 5, 7], [40, 24, 1, 1], options([1, 1], [0, 0], [1, 1], 1)),
        ([1, 24, 9, 8], [40, 24, 1, 1], options([2, 3], [0, 0], [1, 1], 1)),
        // Lanes for channels: long sums, several blocks of pixels, strides and gaps.
        ([1, 60, 5, 5], [20, 60, 3, 3], options([2, 2], [1, 1], [1, 1], 1)),
        ([1, 24, 23, 28], [40, 24, 3, 3], options([2, 1], [2, 1], [1, 2], 1)),
        ([2, 16, 6, 6], [24, 8, 2, 4], options([3, 2], [1, 3], [2, 1], 2)),
        // Lanes for pixels: short sums, and few channels in a group.
        ([2, 3, 7, 45], [20, 3, 3, 3], same),
        ([1, 6, 12, 37], [6, 1, 3, 3], options([1, 1], [1, 1], [1, 1], 6)),
        ([2, 6, 13, 36], [12, 1, 3, 5], options([2, 2], [1, 2], [1, 1], 6)),
        ([1, 8, 9, 20], [8, 4, 3, 3], options([1, 3], [0, 1], [2, 1], 2)),
        ([0, 3, 5, 5], [4, 3, 3, 3], same),
    ]
}

/// The gradient of [`Conv2d`] by its input: each output gradient is spread over the window that it
/// was computed from. As an operation of its own it is the transposed convolution.
///
/// Inputs: `dy` `[n, out, oh, ow]`, `weight` `[out, c / groups, kh, kw]`. Result: `[n, c, h, w]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conv2dInputGrad {
    /// The options of the convolution.
    pub options: Conv2dOptions,
    /// Height and width of its input.
    pub size: [usize; 2],
}

impl Operation for Conv2dInputGrad {
    fn name(&self) -> &'static str {
        "conv2d_input_grad"
    }

    fn infer(&self, inputs: &[Meta]) -> Result<Metas> {
        let op = self.name();
        let [dy, w] = check::arity(op, inputs)?;
        check::floats(op, inputs)?;
        check::rank(op, dy, 4, AXES)?;
        check::rank(op, w, 4, "[out, c / groups, kh, kw]")?;
        let c = w.shape[1] * self.options.groups;
        let x = Shape::try_new(&[dy.shape[0], c, self.size[0], self.size[1]])?;
        if self.options.check(op, inputs, &x, &w.shape)? != dy.shape {
            let rule = format!("{:?} on {x} does not give this output", self.options);
            return Err(check::shape_error(op, inputs, rule));
        }
        Ok(one(Meta { shape: x, dtype: dy.dtype }))
    }

    fn keeps(&self, tracked: u32) -> Keeps {
        Keeps { inputs: (tracked & 1) << 1 | (tracked >> 1 & 1), outputs: 0 }
    }

    fn flops(&self, inputs: &[Meta], _: &[Meta]) -> u64 {
        product_flops(&inputs[0].shape, &inputs[1].shape)
    }

    #[cfg(any(test, feature = "samples"))]
    fn samples(samples: &mut super::samples::Samples) {
        use super::samples::float;
        for (x, w, options) in sample_options() {
            let size = [x[2], x[3]];
            let [oh, ow] = [0, 1].map(|i| options.output(i, size[i], w[2 + i]).expect("it fits"));
            let op = Conv2dInputGrad { options, size };
            samples.case(op, [float([x[0], w[0], oh, ow]), float(w)]);
        }
        for (x, w, options) in large_sample_options() {
            let size = [x[2], x[3]];
            let [oh, ow] = [0, 1].map(|i| options.output(i, size[i], w[2 + i]).expect("it fits"));
            let op = Conv2dInputGrad { options, size };
            samples.rough(op, [float([x[0], w[0], oh, ow]), float(w)]);
        }
    }
}

/// The gradient of [`Conv2d`] by its weight.
///
/// Inputs: `x` `[n, c, h, w]`, `dy` `[n, out, oh, ow]`. Result: `[out, c / groups, kh, kw]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conv2dWeightGrad {
    /// The options of the convolution.
    pub options: Conv2dOptions,
    /// Height and width of the kernel.
    pub kernel: [usize; 2],
}

impl Operation for Conv2dWeightGrad {
    fn name(&self) -> &'static str {
        "conv2d_weight_grad"
    }

    fn infer(&self, inputs: &[Meta]) -> Result<Metas> {
        let op = self.name();
        let [x, dy] = check::arity(op, inputs)?;
        check::floats(op, inputs)?;
        check::rank(op, x, 4, AXES)?;
        check::rank(op, dy, 4, AXES)?;
        let groups = self.options.groups.max(1);
        let [kh, kw] = self.kernel;
        let w = Shape::try_new(&[dy.shape[1], x.shape[1] / groups, kh, kw])?;
        if self.options.check(op, inputs, &x.shape, &w)? != dy.shape {
            let rule =
                format!("{:?} with a {kh} x {kw} kernel does not give this output", self.options);
            return Err(check::shape_error(op, inputs, rule));
        }
        Ok(one(Meta { shape: w, dtype: x.dtype }))
    }

    fn keeps(&self, tracked: u32) -> Keeps {
        Keeps { inputs: (tracked & 1) << 1 | (tracked >> 1 & 1), outputs: 0 }
    }

    fn flops(&self, inputs: &[Meta], outputs: &[Meta]) -> u64 {
        product_flops(&inputs[1].shape, &outputs[0].shape)
    }

    #[cfg(any(test, feature = "samples"))]
    fn samples(samples: &mut super::samples::Samples) {
        use super::samples::float;
        for (x, w, options) in sample_options() {
            let [oh, ow] = [0, 1].map(|i| options.output(i, x[2 + i], w[2 + i]).expect("it fits"));
            let op = Conv2dWeightGrad { options, kernel: [w[2], w[3]] };
            samples.case(op, [float(x), float([x[0], w[0], oh, ow])]);
        }
        for (x, w, options) in large_sample_options() {
            let [oh, ow] = [0, 1].map(|i| options.output(i, x[2 + i], w[2 + i]).expect("it fits"));
            let op = Conv2dWeightGrad { options, kernel: [w[2], w[3]] };
            samples.rough(op, [float(x), float([x[0], w[0], oh, ow])]);
        }
    }
}
