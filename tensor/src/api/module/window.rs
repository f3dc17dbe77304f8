//! Windows over the axes of an image as axes of their own, and back.

use smallvec::SmallVec;

use super::UnfoldOptions;
use crate::op::View;
use crate::tensor::Tensor;
use crate::{AnyTensor, AxisSlice, Error, Shape};

/// How windows lie along one axis.
#[derive(Clone, Copy)]
pub(super) struct Windows {
    pub kernel: usize,
    pub stride: usize,
    pub dilation: usize,
}

impl Windows {
    /// Extent of a window with its gaps.
    pub fn span(&self) -> usize {
        self.kernel.saturating_sub(1).saturating_mul(self.dilation).saturating_add(1)
    }

    /// Windows that fit an axis of `extent` entries.
    pub fn count(&self, extent: usize) -> Option<usize> {
        let sound = self.kernel > 0 && self.dilation > 0;
        let room = extent.checked_sub(self.span()).filter(|_| sound)?;
        Some(room.checked_div(self.stride)? + 1)
    }

    fn view(&self, axis: usize) -> View {
        View::Unfold { axis, size: self.span(), step: self.stride }
    }

    /// Every `dilation`-th entry of the last of `rank` axes.
    fn taps(&self, rank: usize) -> View {
        let (len, step) = (self.kernel, self.dilation as isize);
        View::Slice(SmallVec::from_buf([AxisSlice { axis: rank - 1, start: 0, len, step }]))
    }

    /// `[.., extent, ..]` to `[.., windows, .., kernel]`.
    #[track_caller]
    pub fn unfold(&self, x: &AnyTensor, axis: usize) -> AnyTensor {
        x.apply(self.view(axis), &[]).apply(self.taps(x.rank() + 1), &[])
    }

    /// The transpose of [`Windows::unfold`]: what overlaps is added. `[.., windows, .., kernel]` to
    /// `[.., extent, ..]`.
    #[track_caller]
    pub fn fold(&self, x: &AnyTensor, axis: usize, extent: usize) -> AnyTensor {
        let (rank, shape) = (x.rank(), x.shape());
        let dense = x.unview(self.taps(rank), shape.with(rank - 1, self.span()));
        dense.unview(self.view(axis), shape.without(rank - 1).with(axis, extent))
    }
}

/// With `before` and `after` zeros added along `axis`.
#[track_caller]
pub(super) fn pad(x: &AnyTensor, axis: usize, before: usize, after: usize) -> AnyTensor {
    if before == 0 && after == 0 {
        return x.clone();
    }
    let len = x.shape()[axis];
    let slice = AxisSlice { axis, start: before, len, step: 1 };
    let shape = x.shape().with(axis, before + len + after);
    x.unview(View::Slice(SmallVec::from_buf([slice])), shape)
}

/// `len` entries along `axis` from `start`, zeros where there are none.
#[track_caller]
pub(super) fn crop(x: &AnyTensor, axis: usize, start: usize, len: usize) -> AnyTensor {
    let extent = x.shape()[axis];
    let start = start.min(extent);
    let inside = len.min(extent - start);
    let part = if inside == extent { x.clone() } else { x.narrow(axis, start, inside) };
    pad(&part, axis, 0, len - inside)
}

fn along(kernel: [usize; 2], options: &UnfoldOptions, axis: usize) -> Windows {
    let (stride, dilation) = (options.stride[axis], options.dilation[axis]);
    Windows { kernel: kernel[axis], stride, dilation }
}

/// The windows of an image as columns: `torch.nn.functional.unfold`. `[n, c, h, w]` to
/// `[n, c * kh * kw, windows]`.
///
/// ```
/// use kiln_tensor::module::{UnfoldOptions, unfold4d};
/// use kiln_tensor::Tensor;
/// let x = Tensor::<4>::from([[[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]]]);
/// let columns = unfold4d(x, [2, 2], UnfoldOptions::new([1, 1], [0, 0], [1, 1]));
/// assert_eq!(columns.into_data().to_vec::<f32>()?, [1.0, 2.0, 2.0, 3.0, 4.0, 5.0, 5.0, 6.0]);
/// # Ok::<(), kiln_tensor::Error>(())
/// ```
#[track_caller]
pub fn unfold4d(
    x: impl AsRef<Tensor<4>>,
    kernel_size: [usize; 2],
    options: UnfoldOptions,
) -> Tensor<3> {
    let x = x.as_ref();
    let [n, c, h, w] = x.dims();
    let [oh, ow] = blocks("unfold4d", x.shape(), [h, w], kernel_size, &options);
    let [ph, pw] = options.padding;
    let padded = pad(&pad(x.as_any(), 2, ph, ph), 3, pw, pw);
    // [n, c, oh, ow, kh, kw]
    let windows = along(kernel_size, &options, 0).unfold(&padded, 2);
    let windows = along(kernel_size, &options, 1).unfold(&windows, 3);
    let columns = windows.permute(&[0, 1, 4, 5, 2, 3]);
    Tensor::from_any(columns.reshape([n, c * kernel_size[0] * kernel_size[1], oh * ow]))
}

/// The image whose windows are the columns, where they overlap their sum:
/// `torch.nn.functional.fold`. `[n, c * kh * kw, windows]` to `[n, c, h, w]` with `output_size`
/// `[h, w]`.
#[track_caller]
pub fn fold4d(
    x: impl AsRef<Tensor<3>>,
    output_size: [usize; 2],
    kernel_size: [usize; 2],
    options: UnfoldOptions,
) -> Tensor<4> {
    let x = x.as_ref();
    let [n, rows, columns] = x.dims();
    let [kh, kw] = kernel_size;
    let [oh, ow] = blocks("fold4d", x.shape(), output_size, kernel_size, &options);
    if rows % (kh * kw) != 0 || columns != oh * ow {
        let rule = format!(
            "an image of {output_size:?} has {oh} x {ow} windows of {kernel_size:?}: expected \
             [n, c * {}, {}]",
            kh * kw,
            oh * ow
        );
        crate::fail(Error::Shape { op: "fold4d", shapes: vec![x.shape()], rule });
    }
    let c = rows / (kh * kw);
    let windows = x.as_any().reshape([n, c, kh, kw, oh, ow]).permute(&[0, 1, 4, 5, 2, 3]);
    let ([h, w], [ph, pw]) = (output_size, options.padding);
    let image = along(kernel_size, &options, 1).fold(&windows, 3, w + 2 * pw);
    let image = along(kernel_size, &options, 0).fold(&image, 2, h + 2 * ph);
    Tensor::from_any(crop(&crop(&image, 2, ph, h), 3, pw, w))
}

#[track_caller]
fn blocks(
    op: &'static str,
    shape: Shape,
    size: [usize; 2],
    kernel: [usize; 2],
    options: &UnfoldOptions,
) -> [usize; 2] {
    [0, 1].map(|axis| {
        let extent = size[axis] + 2 * options.padding[axis];
        along(kernel, options, axis).count(extent).unwrap_or_else(|| {
            let rule = format!("windows of {kernel:?} with {options:?} do not fit {size:?}");
            crate::fail(Error::Shape { op, shapes: vec![shape], rule })
        })
    })
}
