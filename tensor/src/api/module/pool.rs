//! Pooling over windows of one, two and three axes.

use crate::op::{AvgPool2d, MaxPool2d, Pool2dOptions};
use crate::tensor::{Int, Tensor};
use crate::{AnyTensor, DType, Error};

use super::conv::{line, row};

/// The largest elements and their i64 indices in the flattened picture.
#[track_caller]
fn largest(x: &AnyTensor, options: Pool2dOptions) -> (AnyTensor, AnyTensor) {
    let mut outputs = x.apply_all(MaxPool2d { options }, &[]).into_iter();
    let mut next = || outputs.next().expect("two outputs");
    (next(), next().cast(DType::I64))
}

fn options_1d(kernel: usize, stride: usize, padding: usize, ceil_mode: bool) -> Pool2dOptions {
    Pool2dOptions {
        kernel: [1, kernel],
        stride: [1, stride],
        padding: [0, padding],
        dilation: [1, 1],
        ceil_mode,
    }
}

/// The largest element of each window: `torch.nn.functional.max_pool1d`. `[n, c, l]` to
/// `[n, c, ol]`.
#[track_caller]
pub fn max_pool1d(
    x: impl AsRef<Tensor<3>>,
    kernel_size: usize,
    stride: usize,
    padding: usize,
    dilation: usize,
    ceil_mode: bool,
) -> Tensor<3> {
    max_pool1d_with_indices(x, kernel_size, stride, padding, dilation, ceil_mode).0
}

/// [`max_pool1d`] with the index of each maximum.
#[track_caller]
pub fn max_pool1d_with_indices(
    x: impl AsRef<Tensor<3>>,
    kernel_size: usize,
    stride: usize,
    padding: usize,
    dilation: usize,
    ceil_mode: bool,
) -> (Tensor<3>, Tensor<3, Int>) {
    let options = options_1d(kernel_size, stride, padding, ceil_mode);
    let options = Pool2dOptions { dilation: [1, dilation], ..options };
    let (y, index) = largest(&row(x.as_ref().as_any()), options);
    (Tensor::from_any(line(&y)), Tensor::from_any(line(&index)))
}

/// The largest element of each window: `torch.nn.functional.max_pool2d`, see [`MaxPool2d`].
/// `[n, c, h, w]` to `[n, c, oh, ow]`.
///
/// The border that `padding` adds never wins. With `ceil_mode` a last window may hang over the end.
///
/// ```
/// use kiln_tensor::{Tensor, module::max_pool2d};
/// let x = Tensor::<4>::from([[[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]]]);
/// let y = max_pool2d(x, [2, 2], [2, 2], [0, 0], [1, 1], true);
/// assert_eq!(y.into_data().to_vec::<f32>()?, [5.0, 6.0]);
/// # Ok::<(), kiln_tensor::Error>(())
/// ```
#[track_caller]
pub fn max_pool2d(
    x: impl AsRef<Tensor<4>>,
    kernel_size: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 2],
    dilation: [usize; 2],
    ceil_mode: bool,
) -> Tensor<4> {
    let options = Pool2dOptions { kernel: kernel_size, stride, padding, dilation, ceil_mode };
    x.as_ref().apply(MaxPool2d { options }, &[])
}

/// [`max_pool2d`] with the index of each maximum in its flattened picture.
#[track_caller]
pub fn max_pool2d_with_indices(
    x: impl AsRef<Tensor<4>>,
    kernel_size: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 2],
    dilation: [usize; 2],
    ceil_mode: bool,
) -> (Tensor<4>, Tensor<4, Int>) {
    let options = Pool2dOptions { kernel: kernel_size, stride, padding, dilation, ceil_mode };
    let (y, index) = largest(x.as_ref().as_any(), options);
    (Tensor::from_any(y), Tensor::from_any(index))
}

/// The two steps in which a volume is pooled: each plane, then along the depth.
fn steps(
    kernel: [usize; 3],
    stride: [usize; 3],
    padding: [usize; 3],
    dilation: [usize; 3],
    ceil_mode: bool,
) -> [Pool2dOptions; 2] {
    let plane = |[_, h, w]: [usize; 3]| [h, w];
    let depth = |[d, _, _]: [usize; 3], other| [d, other];
    let plane = Pool2dOptions {
        kernel: plane(kernel),
        stride: plane(stride),
        padding: plane(padding),
        dilation: plane(dilation),
        ceil_mode,
    };
    let depth = Pool2dOptions {
        kernel: depth(kernel, 1),
        stride: depth(stride, 1),
        padding: depth(padding, 0),
        dilation: depth(dilation, 1),
        ceil_mode,
    };
    [plane, depth]
}

/// The largest element of each window: `torch.nn.functional.max_pool3d`. `[n, c, d, h, w]` to
/// `[n, c, od, oh, ow]`.
#[track_caller]
pub fn max_pool3d(
    x: impl AsRef<Tensor<5>>,
    kernel_size: [usize; 3],
    stride: [usize; 3],
    padding: [usize; 3],
    dilation: [usize; 3],
    ceil_mode: bool,
) -> Tensor<5> {
    let x = x.as_ref();
    let steps = steps(kernel_size, stride, padding, dilation, ceil_mode);
    volume(x, steps, |x, options| x.apply(MaxPool2d { options }, &[]))
}

/// [`max_pool3d`] with the index of each maximum in its flattened volume.
#[track_caller]
pub fn max_pool3d_with_indices(
    x: impl AsRef<Tensor<5>>,
    kernel_size: [usize; 3],
    stride: [usize; 3],
    padding: [usize; 3],
    dilation: [usize; 3],
    ceil_mode: bool,
) -> (Tensor<5>, Tensor<5, Int>) {
    let x = x.as_ref();
    let [n, c, d, h, w] = x.dims();
    let [plane, depth] = steps(kernel_size, stride, padding, dilation, ceil_mode);
    let (y, within) = largest(&x.as_any().reshape([n, c * d, h, w]), plane);
    let [_, _, oh, ow] = y.shape().dims();
    let columns = [n, c, d, oh * ow];
    let (y, from) = largest(&y.reshape(columns), depth);
    // `from` points into d x (oh * ow): the plane and the place that it was taken of.
    let od = y.shape()[2];
    let flat = from.reshape([n, c, od * oh * ow]);
    let within = within.reshape([n, c, d * oh * ow]).gather(2, &flat);
    let index = flat.div_scalar((oh * ow).max(1) as i64).mul_scalar((h * w) as i64).add(&within);
    let shape = [n, c, od, oh, ow];
    (Tensor::from_any(y.reshape(shape)), Tensor::from_any(index.reshape(shape)))
}

/// Pools each plane of a volume, then its depth.
#[track_caller]
fn volume(
    x: &Tensor<5>,
    [plane, depth]: [Pool2dOptions; 2],
    pool: impl Fn(&AnyTensor, Pool2dOptions) -> AnyTensor,
) -> Tensor<5> {
    let [n, c, d, h, w] = x.dims();
    let y = pool(&x.as_any().reshape([n, c * d, h, w]), plane);
    let [_, _, oh, ow] = y.shape().dims();
    let y = pool(&y.reshape([n, c, d, oh * ow]), depth);
    let od = y.shape()[2];
    Tensor::from_any(y.reshape([n, c, od, oh, ow]))
}

/// The mean of each window: `torch.nn.functional.avg_pool1d`. `[n, c, l]` to `[n, c, ol]`.
#[track_caller]
pub fn avg_pool1d(
    x: impl AsRef<Tensor<3>>,
    kernel_size: usize,
    stride: usize,
    padding: usize,
    count_include_pad: bool,
    ceil_mode: bool,
) -> Tensor<3> {
    let options = options_1d(kernel_size, stride, padding, ceil_mode);
    let op = AvgPool2d { options, count_include_pad };
    Tensor::from_any(line(&row(x.as_ref().as_any()).apply(op, &[])))
}

/// The mean of each window: `torch.nn.functional.avg_pool2d`, see [`AvgPool2d`]. `[n, c, h, w]` to
/// `[n, c, oh, ow]`.
///
/// `count_include_pad` says whether the zeros of the border count as elements. What lies beyond
/// the border, with `ceil_mode`, never does.
#[track_caller]
pub fn avg_pool2d(
    x: impl AsRef<Tensor<4>>,
    kernel_size: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 2],
    count_include_pad: bool,
    ceil_mode: bool,
) -> Tensor<4> {
    let dilation = [1, 1];
    let options = Pool2dOptions { kernel: kernel_size, stride, padding, dilation, ceil_mode };
    x.as_ref().apply(AvgPool2d { options, count_include_pad }, &[])
}

/// The mean of each window: `torch.nn.functional.avg_pool3d`. `[n, c, d, h, w]` to
/// `[n, c, od, oh, ow]`.
#[track_caller]
pub fn avg_pool3d(
    x: impl AsRef<Tensor<5>>,
    kernel_size: [usize; 3],
    stride: [usize; 3],
    padding: [usize; 3],
    count_include_pad: bool,
    ceil_mode: bool,
) -> Tensor<5> {
    let steps = steps(kernel_size, stride, padding, [1; 3], ceil_mode);
    volume(x.as_ref(), steps, |x, options| x.apply(AvgPool2d { options, count_include_pad }, &[]))
}

/// `(sum of x^norm)^(1 / norm)` of each window: `torch.nn.functional.lp_pool1d`.
#[track_caller]
pub fn lp_pool1d(
    x: impl AsRef<Tensor<3>>,
    norm: f64,
    kernel_size: usize,
    stride: usize,
    ceil_mode: bool,
) -> Tensor<3> {
    let x = row(x.as_ref().as_any());
    Tensor::from_any(line(&power_mean(&x, norm, options_1d(kernel_size, stride, 0, ceil_mode))))
}

/// `(sum of x^norm)^(1 / norm)` of each window: `torch.nn.functional.lp_pool2d`.
#[track_caller]
pub fn lp_pool2d(
    x: impl AsRef<Tensor<4>>,
    norm: f64,
    kernel_size: [usize; 2],
    stride: [usize; 2],
    ceil_mode: bool,
) -> Tensor<4> {
    let options = Pool2dOptions { stride, ceil_mode, ..Pool2dOptions::new(kernel_size) };
    Tensor::from_any(power_mean(x.as_ref().as_any(), norm, options))
}

#[track_caller]
fn power_mean(x: &AnyTensor, norm: f64, options: Pool2dOptions) -> AnyTensor {
    let mean = x.pow_scalar(norm).apply(AvgPool2d { options, count_include_pad: true }, &[]);
    // The sum of odd powers may be negative, and is then taken as zero, as PyTorch does.
    let count = (options.kernel[0] * options.kernel[1]) as f64;
    mean.relu().mul_scalar(count).pow_scalar(1.0 / norm)
}

/// Zeros of `output_size` with each element of `x` at its index: `torch.nn.functional.max_unpool2d`.
/// `x` and `indices` `[n, c, oh, ow]` as from [`max_pool2d_with_indices`]. Result: `[n, c, h, w]`.
/// The elements that share an index must be equal, as overlapping windows leave them.
#[track_caller]
pub fn max_unpool2d(
    x: impl AsRef<Tensor<4>>,
    indices: impl AsRef<Tensor<4, Int>>,
    output_size: [usize; 2],
) -> Tensor<4> {
    let (x, indices) = (x.as_ref(), indices.as_ref());
    if x.dims() != indices.dims() {
        let rule = "an index for each element is needed".into();
        let shapes = vec![x.shape(), indices.shape()];
        crate::fail(Error::Shape { op: "max_unpool2d", shapes, rule });
    }
    let ([n, c, oh, ow], [h, w]) = (x.dims(), output_size);
    let flat = |x: &AnyTensor| x.reshape([n, c, oh * ow]);
    let (values, indices) = (flat(x.as_any()), flat(indices.as_any()));
    let sums = |values: &AnyTensor| values.gather_backward(2, [n, c, h * w].into(), &indices);
    let count = sums(&values.detach().ones_like()).maximum_scalar(1);
    Tensor::from_any(sums(&values).div(&count).reshape([n, c, h, w]))
}
