//! Reductions. `_dim` keeps the reduced axis with extent 1; without it, all elements are combined
//! into a tensor of one element.

use crate::error::OrFail;
use crate::op::{Axes, ReduceKind};
use crate::shape::{AxisIndex, resolve_axis};
use crate::tensor::{Bool, Float, Int, Kind, Numeric, Tensor};

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
}

macro_rules! reductions {
    ($($(#[$doc:meta])* $name:ident, $dim:ident: $kind:ident;)*) => {$(
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
    )*};
}

impl<const D: usize, K: Numeric> Tensor<D, K> {
    reductions! {
        /// The sum of all elements.
        sum, sum_dim: Sum;
        /// The mean of all elements; of integers cut toward zero.
        mean, mean_dim: Mean;
        /// The product of all elements.
        prod, prod_dim: Prod;
        /// The largest element; NaN if there is one. Panics on an empty tensor.
        max, max_dim: Max;
        /// The smallest element; NaN if there is one. Panics on an empty tensor.
        min, min_dim: Min;
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
}

impl<const D: usize> Tensor<D, Float> {
    /// The variance along `axis` with `n - 1` in the denominator, as `torch.var`.
    #[track_caller]
    pub fn var(&self, axis: impl AxisIndex) -> Self {
        self.squares(axis, 1)
    }

    /// The variance along `axis` with `n` in the denominator.
    #[track_caller]
    pub fn var_bias(&self, axis: impl AxisIndex) -> Self {
        self.squares(axis, 0)
    }

    #[track_caller]
    fn squares(&self, axis: impl AxisIndex, correction: usize) -> Self {
        let axis = resolve_axis("var", axis, D).or_fail();
        let n = self.shape()[axis] as f64 - correction as f64;
        self.sub(self.mean_dim(axis)).square().sum_dim(axis).div_scalar(n.max(0.0))
    }
}

impl<const D: usize> Tensor<D, Bool> {
    /// Whether any element is true.
    pub fn any(&self) -> Tensor<1, Bool> {
        self.reduce_all(ReduceKind::Any)
    }

    /// Whether any element along `axis` is true; the axis stays with extent 1.
    #[track_caller]
    pub fn any_dim(&self, axis: impl AxisIndex) -> Self {
        self.reduce_axis(ReduceKind::Any, "any_dim", axis)
    }

    /// Whether all elements are true.
    pub fn all(&self) -> Tensor<1, Bool> {
        self.reduce_all(ReduceKind::All)
    }

    /// Whether all elements along `axis` are true; the axis stays with extent 1.
    #[track_caller]
    pub fn all_dim(&self, axis: impl AxisIndex) -> Self {
        self.reduce_axis(ReduceKind::All, "all_dim", axis)
    }
}
