//! Reductions. `_dim` and `_dims` keep the reduced axes with extent 1; without them, all elements
//! are combined into a tensor of one element.
//!
//! Half types are combined in f32. Integers keep their dtype, and sums and products of them wrap
//! (PyTorch makes them i64: cast first for that).

use super::sort::is_nan;
use crate::error::OrFail;
use crate::op::{Axes, ReduceKind};
use crate::shape::{AxisIndex, resolve_axis};
use crate::tensor::{Bool, Float, Int, Kind, Numeric, Ordered, Tensor};
use crate::{AnyTensor, DType};

impl<const D: usize, K: Kind> Tensor<D, K> {
    #[track_caller]
    fn reduce_all(&self, kind: ReduceKind) -> Tensor<1, K> {
        Tensor::from_any(self.as_any().reduce(kind, Axes::all(D)).reshape([1]))
    }

    #[track_caller]
    fn reduce_axis(&self, kind: ReduceKind, op: &'static str, axis: impl AxisIndex) -> Self {
        let axis = resolve_axis(op, axis, D).or_fail();
        Self::from_any(self.as_any().reduce(kind, Axes::single(axis)))
    }

    #[track_caller]
    fn reduce_axes<I: AxisIndex + Copy>(
        &self,
        kind: ReduceKind,
        op: &'static str,
        axes: &[I],
    ) -> Self {
        Self::from_any(self.as_any().reduce(kind, resolve_axes(op, axes, D)))
    }
}

#[track_caller]
fn resolve_axes<I: AxisIndex + Copy>(op: &'static str, axes: &[I], rank: usize) -> Axes {
    axes.iter().map(|&axis| resolve_axis(op, axis, rank).or_fail()).collect()
}

macro_rules! reductions {
    ($($(#[$doc:meta])* $name:ident, $dim:ident, $dims:ident: $kind:ident;)*) => {$(
        $(#[$doc])*
        #[track_caller]
        pub fn $name(&self) -> Tensor<1, K> {
            self.reduce_all(ReduceKind::$kind)
        }

        #[doc = concat!("As [`Tensor::", stringify!($name), "`] along one axis, which stays with extent 1.")]
        #[track_caller]
        pub fn $dim(&self, axis: impl AxisIndex) -> Self {
            self.reduce_axis(ReduceKind::$kind, stringify!($dim), axis)
        }

        #[doc = concat!("As [`Tensor::", stringify!($name), "`] along some axes, which stay with extent 1.")]
        #[track_caller]
        pub fn $dims<I: AxisIndex + Copy>(&self, axes: &[I]) -> Self {
            self.reduce_axes(ReduceKind::$kind, stringify!($dims), axes)
        }
    )*};
}

impl<const D: usize, K: Numeric> Tensor<D, K> {
    reductions! {
        /// The sum of all elements.
        sum, sum_dim, sum_dims: Sum;
        /// The mean of all elements; of integers cut toward zero.
        mean, mean_dim, mean_dims: Mean;
        /// The product of all elements.
        prod, prod_dim, prod_dims: Prod;
    }

    /// The sum along some axes, which are removed: `D2` is what is left.
    #[track_caller]
    pub fn sum_dims_squeeze<const D2: usize, I: AxisIndex + Copy>(
        &self,
        axes: &[I],
    ) -> Tensor<D2, K> {
        let axes = resolve_axes("sum_dims_squeeze", axes, D);
        let kept = (0..D).filter(|&axis| !axes.contains(axis));
        let shape: Vec<usize> = kept.map(|axis| self.shape()[axis]).collect();
        Tensor::from_any(self.as_any().reduce(ReduceKind::Sum, axes).reshape(shape))
    }
}

impl<const D: usize, K: Ordered> Tensor<D, K> {
    reductions! {
        /// The largest element; NaN if there is one. Panics on an empty tensor.
        max, max_dim, max_dims: Max;
        /// The smallest element; NaN if there is one. Panics on an empty tensor.
        min, min_dim, min_dims: Min;
    }

    /// The index of the first largest element along `axis`, which stays with extent 1.
    #[track_caller]
    pub fn argmax(&self, axis: impl AxisIndex) -> Tensor<D, Int> {
        let axis = resolve_axis("argmax", axis, D).or_fail();
        Tensor::from_any(self.as_any().arg_reduce(true, axis))
    }

    /// The index of the first smallest element along `axis`, which stays with extent 1.
    #[track_caller]
    pub fn argmin(&self, axis: impl AxisIndex) -> Tensor<D, Int> {
        let axis = resolve_axis("argmin", axis, D).or_fail();
        Tensor::from_any(self.as_any().arg_reduce(false, axis))
    }

    /// The largest entry of `axis`, which stays with extent 1, and the index of the first such:
    /// `torch.max`. The gradient goes to that entry alone, where [`Tensor::max_dim`] shares it among
    /// equal ones.
    #[track_caller]
    pub fn max_dim_with_indices(&self, axis: impl AxisIndex) -> (Self, Tensor<D, Int>) {
        self.extremum("max_dim_with_indices", true, axis)
    }

    /// As [`Tensor::max_dim_with_indices`] of the smallest entry: `torch.min`.
    #[track_caller]
    pub fn min_dim_with_indices(&self, axis: impl AxisIndex) -> (Self, Tensor<D, Int>) {
        self.extremum("min_dim_with_indices", false, axis)
    }

    #[track_caller]
    fn extremum(
        &self,
        op: &'static str,
        max: bool,
        axis: impl AxisIndex,
    ) -> (Self, Tensor<D, Int>) {
        let axis = resolve_axis(op, axis, D).or_fail();
        let indices = self.as_any().arg_reduce(max, axis);
        (Self::from_any(self.as_any().gather(axis, &indices)), Tensor::from_any(indices))
    }

    /// The largest magnitude; NaN if there is one. Panics on an empty tensor.
    #[track_caller]
    pub fn max_abs(&self) -> Tensor<1, K> {
        self.abs().max()
    }

    /// The largest magnitude along `axis`, which stays with extent 1.
    #[track_caller]
    pub fn max_abs_dim(&self, axis: impl AxisIndex) -> Self {
        self.abs().max_dim(axis)
    }

    /// The largest magnitude along some axes, which stay with extent 1.
    #[track_caller]
    pub fn max_abs_dims<I: AxisIndex + Copy>(&self, axes: &[I]) -> Self {
        self.abs().max_dims(axes)
    }

    /// The smallest and the largest element: `torch.aminmax`.
    #[track_caller]
    pub fn aminmax(&self) -> (Tensor<1, K>, Tensor<1, K>) {
        (self.min(), self.max())
    }

    /// The smallest and the largest entry of `axis`, which stays with extent 1.
    #[track_caller]
    pub fn aminmax_dim(&self, axis: impl AxisIndex) -> (Self, Self) {
        let axis = resolve_axis("aminmax_dim", axis, D).or_fail();
        (self.min_dim(axis), self.max_dim(axis))
    }
}

impl<const D: usize> Tensor<D, Float> {
    /// The sum of all elements that are not NaN: `torch.nansum`.
    #[track_caller]
    pub fn nansum(&self) -> Tensor<1> {
        let sum = without_nan(&wide(self.as_any())).reduce(ReduceKind::Sum, Axes::all(D));
        Tensor::from_any(sum.reshape([1]).cast(self.dtype()))
    }

    /// As [`Tensor::nansum`] along one axis, which stays with extent 1.
    #[track_caller]
    pub fn nansum_dim(&self, axis: impl AxisIndex) -> Self {
        let axis = resolve_axis("nansum_dim", axis, D).or_fail();
        Self::from_any(without_nan(&wide(self.as_any())).sum_axis(axis).cast(self.dtype()))
    }

    /// The mean of all elements that are not NaN; NaN if there is none: `torch.nanmean`.
    #[track_caller]
    pub fn nanmean(&self) -> Tensor<1> {
        Tensor::from_any(nanmean(self.as_any(), Axes::all(D)).reshape([1]))
    }

    /// As [`Tensor::nanmean`] along one axis, which stays with extent 1.
    #[track_caller]
    pub fn nanmean_dim(&self, axis: impl AxisIndex) -> Self {
        let axis = resolve_axis("nanmean_dim", axis, D).or_fail();
        Self::from_any(nanmean(self.as_any(), Axes::single(axis)))
    }
}

/// Half types as f32, in which they are computed.
pub(super) fn wide(x: &AnyTensor) -> AnyTensor {
    if x.dtype() == DType::F64 { x.clone() } else { x.cast(DType::F32) }
}

/// Zero in the place of NaN.
#[track_caller]
fn without_nan(x: &AnyTensor) -> AnyTensor {
    x.zeros_like().select_where(&is_nan(x), x)
}

#[track_caller]
fn nanmean(x: &AnyTensor, axes: Axes) -> AnyTensor {
    let (wide, dtype) = (wide(x), x.dtype());
    let count = wide.equal(&wide).cast(wide.dtype()).reduce(ReduceKind::Sum, axes);
    without_nan(&wide).reduce(ReduceKind::Sum, axes).div(&count).cast(dtype)
}

impl<const D: usize, K: Kind> Tensor<D, K> {
    /// This tensor as truth values: a number is true if it is not zero.
    #[track_caller]
    fn truth(&self) -> Tensor<D, Bool> {
        Tensor::from_any(self.as_any().is_nonzero())
    }

    /// Whether any element is true, or not zero: `torch.any`. False of no elements.
    #[track_caller]
    pub fn any(&self) -> Tensor<1, Bool> {
        self.truth().reduce_all(ReduceKind::Any)
    }

    /// As [`Tensor::any`] along one axis, which stays with extent 1.
    #[track_caller]
    pub fn any_dim(&self, axis: impl AxisIndex) -> Tensor<D, Bool> {
        self.truth().reduce_axis(ReduceKind::Any, "any_dim", axis)
    }

    /// As [`Tensor::any`] along some axes, which stay with extent 1.
    #[track_caller]
    pub fn any_dims<I: AxisIndex + Copy>(&self, axes: &[I]) -> Tensor<D, Bool> {
        self.truth().reduce_axes(ReduceKind::Any, "any_dims", axes)
    }

    /// Whether all elements are true, or not zero: `torch.all`. True of no elements.
    #[track_caller]
    pub fn all(&self) -> Tensor<1, Bool> {
        self.truth().reduce_all(ReduceKind::All)
    }

    /// As [`Tensor::all`] along one axis, which stays with extent 1.
    #[track_caller]
    pub fn all_dim(&self, axis: impl AxisIndex) -> Tensor<D, Bool> {
        self.truth().reduce_axis(ReduceKind::All, "all_dim", axis)
    }

    /// As [`Tensor::all`] along some axes, which stay with extent 1.
    #[track_caller]
    pub fn all_dims<I: AxisIndex + Copy>(&self, axes: &[I]) -> Tensor<D, Bool> {
        self.truth().reduce_axes(ReduceKind::All, "all_dims", axes)
    }

    /// How many elements are true, or not zero, as i64: `torch.count_nonzero`.
    #[track_caller]
    pub fn count_nonzero(&self) -> Tensor<1, Int> {
        Tensor::from_any(self.as_any().count_nonzero(Axes::all(D)).reshape([1]))
    }

    /// As [`Tensor::count_nonzero`] along one axis, which stays with extent 1.
    #[track_caller]
    pub fn count_nonzero_dim(&self, axis: impl AxisIndex) -> Tensor<D, Int> {
        let axis = resolve_axis("count_nonzero_dim", axis, D).or_fail();
        Tensor::from_any(self.as_any().count_nonzero(Axes::single(axis)))
    }
}
