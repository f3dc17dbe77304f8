//! Tensors put together and taken apart.

use crate::error::OrFail;
use crate::shape::{AxisIndex, resolve_axis};
use crate::tensor::{Kind, Numeric, Tensor};
use crate::{AnyTensor, Error, Result, Shape};

impl<const D: usize, K: Kind> Tensor<D, K> {
    /// Tensors one after the other along `axis`. Takes a vector, an array or a slice of them.
    #[track_caller]
    pub fn cat(tensors: impl AsRef<[Self]>, axis: impl AxisIndex) -> Self {
        let axis = resolve_axis("cat", axis, D).or_fail();
        let tensors: Vec<_> = tensors.as_ref().iter().map(Tensor::as_any).collect();
        Self::from_any(AnyTensor::cat(&tensors, axis))
    }

    /// Tensors of one shape side by side along a new axis.
    #[track_caller]
    pub fn stack<const D2: usize>(
        tensors: impl AsRef<[Self]>,
        axis: impl AxisIndex,
    ) -> Tensor<D2, K> {
        let (tensors, axis) = (tensors.as_ref(), resolve_axis("stack", axis, D + 1).or_fail());
        if tensors.iter().any(|tensor| tensor.shape() != tensors[0].shape()) {
            let shapes = tensors.iter().map(Tensor::shape).collect();
            let rule = "all shapes must be equal".into();
            crate::fail(Error::Shape { op: "stack", shapes, rule });
        }
        let parts: Vec<Tensor<D2, K>> =
            tensors.iter().map(|tensor| tensor.unsqueeze_dim(axis)).collect();
        Tensor::cat(parts, axis)
    }

    /// The tensor `times` times along `axis`.
    #[track_caller]
    pub fn repeat_dim(&self, axis: impl AxisIndex, times: usize) -> Self {
        let axis = resolve_axis("repeat_dim", axis, D).or_fail();
        let mut sizes = [1; D];
        sizes[axis] = times;
        self.repeat(sizes)
    }

    /// The tensor `sizes[axis]` times along each axis: `torch.tile`.
    ///
    /// ```
    /// use kiln_tensor::{Int, Tensor};
    /// let x = Tensor::<2, Int>::from([[1, 2]]);
    /// assert_eq!(x.repeat(&[2, 2]).into_data().to_vec::<i64>()?, [1, 2, 1, 2, 1, 2, 1, 2]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    #[track_caller]
    pub fn repeat(&self, sizes: impl AsRef<[usize]>) -> Self {
        let sizes = sizes.as_ref();
        if sizes.iter().skip(D).any(|&times| times != 1) {
            let rule = format!("{sizes:?} repeats axes that the tensor does not have");
            crate::fail(Error::Shape { op: "repeat", shapes: vec![self.shape()], rule });
        }
        let repeated = |(axis, &times): (usize, &usize)| (times != 1).then_some((axis, times));
        let mut result = self.as_any().clone();
        for (axis, times) in sizes.iter().enumerate().filter_map(repeated) {
            result = repeat_axis(&result, axis, times).or_fail();
        }
        Self::from_any(result)
    }

    /// As [`Tensor::repeat`].
    #[track_caller]
    pub fn tile(&self, sizes: impl AsRef<[usize]>) -> Self {
        self.repeat(sizes)
    }

    /// At most `chunks` parts along `axis`, all of one extent but for the last, which may be
    /// smaller.
    #[track_caller]
    pub fn chunk(&self, chunks: usize, axis: impl AxisIndex) -> Vec<Self> {
        let axis = resolve_axis("chunk", axis, D).or_fail();
        if chunks == 0 {
            let rule = "at least one chunk is needed".into();
            crate::fail(Error::Argument { op: "chunk", rule });
        }
        self.split(self.shape()[axis].div_ceil(chunks), axis)
    }

    /// Parts of `size` entries along `axis`; the last may be smaller, and no entries give no part.
    #[track_caller]
    pub fn split(&self, size: usize, axis: impl AxisIndex) -> Vec<Self> {
        let axis = resolve_axis("split", axis, D).or_fail();
        let extent = self.shape()[axis];
        if size == 0 && extent > 0 {
            let rule = format!("the size of a part must not be zero, axis {axis} has {extent}");
            crate::fail(Error::Argument { op: "split", rule });
        }
        let part = |start| self.narrow(axis, start, size.min(extent - start));
        (0..extent).step_by(size.max(1)).map(part).collect()
    }

    /// Parts of these extents along `axis`, which add up to its own. Parts without entries are left
    /// out.
    #[track_caller]
    pub fn split_with_sizes(&self, sizes: impl AsRef<[usize]>, axis: impl AxisIndex) -> Vec<Self> {
        let (sizes, axis) = (sizes.as_ref(), resolve_axis("split_with_sizes", axis, D).or_fail());
        let total = sizes.iter().try_fold(0usize, |total, &size| total.checked_add(size));
        if total != Some(self.shape()[axis]) {
            let rule = format!("the sizes {sizes:?} must add up to the extent of axis {axis}");
            crate::fail(Error::Shape { op: "split_with_sizes", shapes: vec![self.shape()], rule });
        }
        let parts = crate::op::cat_parts(sizes.iter().copied());
        let part = |(start, len)| (len > 0).then(|| self.narrow(axis, start, len));
        parts.into_iter().filter_map(part).collect()
    }

    /// The entries of `axis` one by one, which stays with extent 1.
    ///
    /// ```
    /// use kiln_tensor::Tensor;
    /// let x = Tensor::<2>::from([[1.0, 2.0], [3.0, 4.0]]);
    /// let sums: Vec<f32> = x.iter_dim(0).map(|row| row.sum().into_scalar()).collect();
    /// assert_eq!(sums, [3.0, 7.0]);
    /// ```
    #[track_caller]
    pub fn iter_dim<A: AxisIndex>(
        &self,
        axis: A,
    ) -> impl DoubleEndedIterator<Item = Self> + ExactSizeIterator + use<D, K, A> {
        let axis = resolve_axis("iter_dim", axis, D).or_fail();
        let tensor = self.clone();
        (0..self.shape()[axis]).map(move |i| tensor.narrow(axis, i, 1))
    }

    /// The entries moved by `shift` along `axis`; those that leave at one end enter at the other.
    #[track_caller]
    pub fn roll_dim(&self, shift: impl AxisIndex, axis: impl AxisIndex) -> Self {
        let axis = resolve_axis("roll_dim", axis, D).or_fail();
        let extent = self.shape()[axis];
        let shift = match extent {
            0 => 0,
            extent => shift.signed().rem_euclid(extent as isize) as usize,
        };
        if shift == 0 {
            return self.clone();
        }
        let kept = extent - shift;
        Self::cat([self.narrow(axis, kept, shift), self.narrow(axis, 0, kept)], axis)
    }

    /// The entries moved by `shifts[i]` along `axes[i]`, one axis after the other: `torch.roll`.
    ///
    /// ```
    /// use kiln_tensor::{Int, Tensor};
    /// let x = Tensor::<1, Int>::from([0, 1, 2, 3]);
    /// assert_eq!(x.roll(&[-1], &[0]).into_data().to_vec::<i64>()?, [1, 2, 3, 0]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    #[track_caller]
    pub fn roll<S: AxisIndex + Copy, A: AxisIndex + Copy>(
        &self,
        shifts: impl AsRef<[S]>,
        axes: impl AsRef<[A]>,
    ) -> Self {
        let (shifts, axes) = (shifts.as_ref(), axes.as_ref());
        if shifts.len() != axes.len() {
            let rule = format!("{} shifts for {} axes", shifts.len(), axes.len());
            crate::fail(Error::Argument { op: "roll", rule });
        }
        let mut result = self.clone();
        for (&shift, &axis) in shifts.iter().zip(axes) {
            result = result.roll_dim(shift, axis);
        }
        result
    }
}

impl<K: Numeric> Tensor<2, K> {
    /// Matrices one after the other along the diagonal of a larger one, zeros elsewhere:
    /// `torch.block_diag`.
    #[track_caller]
    pub fn block_diag(matrices: impl AsRef<[Self]>) -> Self {
        let matrices = matrices.as_ref();
        let width: usize = matrices.iter().map(|matrix| matrix.dims()[1]).sum();
        let mut left = 0;
        let mut rows = Vec::with_capacity(matrices.len());
        for matrix in matrices {
            let own = matrix.dims()[1];
            rows.push(matrix.pad([(left, width - left - own)], 0));
            left += own;
        }
        Self::cat(rows, 0)
    }
}

/// `times` copies along `axis`, by a view: `[.., n, ..]` to `[.., times, n, ..]`.
fn repeat_axis(x: &AnyTensor, axis: usize, times: usize) -> Result<AnyTensor> {
    let shape = x.shape();
    let repeated = Shape::try_new(&shape.with(axis, shape[axis].saturating_mul(times)))?;
    if times == 0 {
        return Ok(x.narrow(axis, 0, 0));
    }
    if shape[axis] == 1 {
        return Ok(x.expand(repeated));
    }
    if shape.rank() == crate::MAX_RANK {
        // No axis is left for the copies.
        return Ok(AnyTensor::cat(&vec![x; times], axis));
    }
    let copies = x.reshape(shape.inserted(axis, 1)?).expand(shape.inserted(axis, times)?);
    Ok(copies.reshape(repeated))
}
