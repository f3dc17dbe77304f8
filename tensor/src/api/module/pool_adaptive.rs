//! Pooling to a given size: output `i` covers the entries from `floor(i n / out)` to
//! `ceil((i + 1) n / out)`, so windows may differ by one and overlap.
//!
//! The axes are pooled one after the other, which gives the same means and maxima.

use crate::error::OrFail;
use crate::tensor::{Int, Tensor};
use crate::{AnyTensor, Device, TensorData};

/// The windows of one axis, all as long as the longest: `[out, longest]`.
struct Cover {
    starts: Vec<i64>,
    ends: Vec<i64>,
    longest: usize,
}

impl Cover {
    fn new(extent: usize, out: usize) -> Self {
        let starts: Vec<i64> = (0..out).map(|i| (i * extent / out) as i64).collect();
        let ends: Vec<i64> = (0..out).map(|i| ((i + 1) * extent).div_ceil(out) as i64).collect();
        let longest = starts.iter().zip(&ends).map(|(start, end)| end - start).max();
        Self { longest: longest.unwrap_or(0) as usize, starts, ends }
    }

    fn out(&self) -> usize {
        self.starts.len()
    }

    /// The windows of `axis` of `x`, short ones with their last entry repeated:
    /// `[.., n, ..]` to `[.., out, longest, ..]`.
    #[track_caller]
    fn windows(&self, x: &AnyTensor, axis: usize) -> AnyTensor {
        let index = self.starts.iter().zip(&self.ends).flat_map(|(&start, &end)| {
            (start..start + self.longest as i64).map(move |at| at.min(end - 1))
        });
        let index = host(index.collect(), [self.out() * self.longest], x.device());
        let mut dims = x.shape().to_vec();
        dims[axis] = self.out();
        dims.insert(axis + 1, self.longest);
        x.select(axis, &index).reshape(dims)
    }

    /// `values` of each window, `[out, k]`, as `[out, k, 1, ..]` to meet `rest` trailing axes.
    fn aligned(&self, values: Vec<i64>, k: usize, rest: usize, device: Device) -> AnyTensor {
        let mut dims = vec![self.out(), k];
        dims.resize(2 + rest, 1);
        host(values, dims, device)
    }
}

#[track_caller]
fn host(values: Vec<i64>, shape: impl Into<crate::Shape>, device: Device) -> AnyTensor {
    AnyTensor::from_data(&TensorData::new(values, shape.into()), &device).or_fail()
}

#[track_caller]
fn mean(x: &AnyTensor, axis: usize, out: usize) -> AnyTensor {
    let extent = x.shape()[axis];
    if extent == out {
        return x.clone();
    }
    let cover = Cover::new(extent, out);
    let rest = x.rank() - axis - 1;
    let windows = cover.windows(x, axis);
    let counts = cover.starts.iter().zip(&cover.ends).map(|(start, end)| end - start).collect();
    let counts = cover.aligned(counts, 1, rest, x.device());
    let steps = (0..out).flat_map(|_| 0..cover.longest as i64).collect();
    let outside = cover.aligned(steps, cover.longest, rest, x.device());
    let outside = outside.binary(crate::op::BinaryKind::GreaterEqual, &counts);
    let zero = AnyTensor::full(crate::op::Meta::new([], x.dtype()), 0, x.device());
    let sums = zero.select_where(&outside, &windows).sum_axis(axis + 1);
    let means = sums.div(&counts.cast(x.dtype()));
    means.reshape(x.shape().with(axis, out))
}

/// The largest of each window of `axis`, and where in `axis` and all later axes, whose original
/// extents multiply to `inner`, it was; `index` says so for those later axes.
#[track_caller]
fn largest(
    x: &AnyTensor,
    index: Option<AnyTensor>,
    axis: usize,
    out: usize,
    inner: usize,
) -> (AnyTensor, AnyTensor) {
    let cover = Cover::new(x.shape()[axis], out);
    let rest = x.rank() - axis - 1;
    let windows = cover.windows(x, axis);
    let first = windows.detach().arg_reduce(true, axis + 1);
    let shape = x.shape().with(axis, out);
    let starts = cover.aligned(cover.starts.clone(), 1, rest, x.device());
    let mut at = first.add(&starts).mul_scalar(inner as i64);
    if let Some(index) = index {
        at = at.add(&cover.windows(&index, axis).gather(axis + 1, &first));
    }
    (windows.gather(axis + 1, &first).reshape(shape), at.reshape(shape))
}

#[track_caller]
fn means<const D: usize, const N: usize>(
    op: &'static str,
    x: &Tensor<D>,
    size: [usize; N],
) -> Tensor<D> {
    check(op, x, size);
    let y = (0..N).fold(x.as_any().clone(), |x, axis| mean(&x, D - N + axis, size[axis]));
    Tensor::from_any(y)
}

#[track_caller]
fn maxima<const D: usize, const N: usize>(
    op: &'static str,
    x: &Tensor<D>,
    size: [usize; N],
) -> (Tensor<D>, Tensor<D, Int>) {
    check(op, x, size);
    let (mut y, mut index, mut inner) = (x.as_any().clone(), None, 1);
    for axis in (D - N..D).rev() {
        let (values, at) = largest(&y, index, axis, size[axis + N - D], inner);
        (y, index) = (values, Some(at));
        inner *= x.dims()[axis];
    }
    (Tensor::from_any(y), Tensor::from_any(index.expect("an axis")))
}

#[track_caller]
fn check<const D: usize, const N: usize>(op: &'static str, x: &Tensor<D>, size: [usize; N]) {
    if x.dims()[D - N..].contains(&0) || size.contains(&0) {
        let rule = format!("neither the image nor the output {size:?} may be empty");
        crate::fail(crate::Error::Shape { op, shapes: vec![x.shape()], rule });
    }
}

/// Means over windows that cover `[n, c, l]` evenly, to `[n, c, output_size]`:
/// `torch.nn.functional.adaptive_avg_pool1d`.
#[track_caller]
pub fn adaptive_avg_pool1d(x: impl AsRef<Tensor<3>>, output_size: usize) -> Tensor<3> {
    means("adaptive_avg_pool1d", x.as_ref(), [output_size])
}

/// Means over windows that cover `[n, c, h, w]` evenly, to `[n, c, output_size..]`:
/// `torch.nn.functional.adaptive_avg_pool2d`.
///
/// ```
/// use kiln_tensor::{Tensor, module::adaptive_avg_pool2d};
/// let x = Tensor::<4>::from([[[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]]]);
/// let y = adaptive_avg_pool2d(x, [1, 2]);
/// assert_eq!(y.into_data().to_vec::<f32>()?, [3.0, 4.0]);
/// # Ok::<(), kiln_tensor::Error>(())
/// ```
#[track_caller]
pub fn adaptive_avg_pool2d(x: impl AsRef<Tensor<4>>, output_size: [usize; 2]) -> Tensor<4> {
    means("adaptive_avg_pool2d", x.as_ref(), output_size)
}

/// Means over windows that cover `[n, c, d, h, w]` evenly, to `[n, c, output_size..]`:
/// `torch.nn.functional.adaptive_avg_pool3d`.
#[track_caller]
pub fn adaptive_avg_pool3d(x: impl AsRef<Tensor<5>>, output_size: [usize; 3]) -> Tensor<5> {
    means("adaptive_avg_pool3d", x.as_ref(), output_size)
}

/// Maxima of windows that cover `[n, c, l]` evenly, to `[n, c, output_size]`:
/// `torch.nn.functional.adaptive_max_pool1d`.
#[track_caller]
pub fn adaptive_max_pool1d(x: impl AsRef<Tensor<3>>, output_size: usize) -> Tensor<3> {
    adaptive_max_pool1d_with_indices(x, output_size).0
}

/// [`adaptive_max_pool1d`] with the index of each maximum.
#[track_caller]
pub fn adaptive_max_pool1d_with_indices(
    x: impl AsRef<Tensor<3>>,
    output_size: usize,
) -> (Tensor<3>, Tensor<3, Int>) {
    maxima("adaptive_max_pool1d", x.as_ref(), [output_size])
}

/// Maxima of windows that cover `[n, c, h, w]` evenly, to `[n, c, output_size..]`:
/// `torch.nn.functional.adaptive_max_pool2d`.
#[track_caller]
pub fn adaptive_max_pool2d(x: impl AsRef<Tensor<4>>, output_size: [usize; 2]) -> Tensor<4> {
    adaptive_max_pool2d_with_indices(x, output_size).0
}

/// [`adaptive_max_pool2d`] with the index of each maximum in its flattened picture.
#[track_caller]
pub fn adaptive_max_pool2d_with_indices(
    x: impl AsRef<Tensor<4>>,
    output_size: [usize; 2],
) -> (Tensor<4>, Tensor<4, Int>) {
    maxima("adaptive_max_pool2d", x.as_ref(), output_size)
}

/// Maxima of windows that cover `[n, c, d, h, w]` evenly, to `[n, c, output_size..]`:
/// `torch.nn.functional.adaptive_max_pool3d`.
#[track_caller]
pub fn adaptive_max_pool3d(x: impl AsRef<Tensor<5>>, output_size: [usize; 3]) -> Tensor<5> {
    adaptive_max_pool3d_with_indices(x, output_size).0
}

/// [`adaptive_max_pool3d`] with the index of each maximum in its flattened volume.
#[track_caller]
pub fn adaptive_max_pool3d_with_indices(
    x: impl AsRef<Tensor<5>>,
    output_size: [usize; 3],
) -> (Tensor<5>, Tensor<5, Int>) {
    maxima("adaptive_max_pool3d", x.as_ref(), output_size)
}
