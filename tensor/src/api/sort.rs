//! Sorting and selection: order along one axis.

use crate::error::OrFail;
use crate::op::BinaryKind;
use crate::shape::{AxisIndex, resolve_axis};
use crate::tensor::{Float, Int, Kind, Ordered, Tensor};
use crate::{AnyTensor, Error};

/// Values and where they were, typed.
#[track_caller]
pub(super) fn typed<const D: usize, K: Kind>(
    [values, indices]: [AnyTensor; 2],
) -> (Tensor<D, K>, Tensor<D, Int>) {
    (Tensor::from_any(values), Tensor::from_any(indices))
}

impl<const D: usize, K: Kind> Tensor<D, K> {
    /// The entries of `dim` in rising order: `torch.sort`. Equal entries keep their order, and NaN
    /// is larger than every number.
    ///
    /// ```
    /// use kiln_tensor::Tensor;
    /// let x = Tensor::<2>::from([[3.0, 1.0, 2.0], [0.5, 0.5, -1.0]]);
    /// let (sorted, indices) = x.sort_with_indices(1);
    /// assert_eq!(sorted.to_data().to_vec::<f32>()?, [1.0, 2.0, 3.0, -1.0, 0.5, 0.5]);
    /// assert_eq!(indices.to_data().to_vec::<i64>()?, [1, 2, 0, 2, 0, 1]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    #[track_caller]
    pub fn sort(&self, dim: impl AxisIndex) -> Self {
        self.sort_with_indices(dim).0
    }

    /// The entries of `dim` in falling order. Equal entries keep their order, and NaN comes first.
    #[track_caller]
    pub fn sort_descending(&self, dim: impl AxisIndex) -> Self {
        self.sort_descending_with_indices(dim).0
    }

    /// As [`Tensor::sort`], and where each entry was.
    #[track_caller]
    pub fn sort_with_indices(&self, dim: impl AxisIndex) -> (Self, Tensor<D, Int>) {
        typed(self.as_any().sort(resolve_axis("sort", dim, D).or_fail(), false))
    }

    /// As [`Tensor::sort_descending`], and where each entry was.
    #[track_caller]
    pub fn sort_descending_with_indices(&self, dim: impl AxisIndex) -> (Self, Tensor<D, Int>) {
        typed(self.as_any().sort(resolve_axis("sort", dim, D).or_fail(), true))
    }

    /// The indices that would sort `dim` in rising order: `torch.argsort`.
    #[track_caller]
    pub fn argsort(&self, dim: impl AxisIndex) -> Tensor<D, Int> {
        self.sort_with_indices(dim).1
    }

    /// The indices that would sort `dim` in falling order.
    #[track_caller]
    pub fn argsort_descending(&self, dim: impl AxisIndex) -> Tensor<D, Int> {
        self.sort_descending_with_indices(dim).1
    }
}

impl<const D: usize, K: Ordered> Tensor<D, K> {
    /// The `k` largest entries of `dim`, the largest first: `torch.topk`. NaN is larger than every
    /// number; of equal entries the first ones are taken. Panics if there are fewer than `k`.
    #[track_caller]
    pub fn topk(&self, k: usize, dim: impl AxisIndex) -> Self {
        self.topk_with_indices(k, dim).0
    }

    /// As [`Tensor::topk`], and where each entry was.
    #[track_caller]
    pub fn topk_with_indices(&self, k: usize, dim: impl AxisIndex) -> (Self, Tensor<D, Int>) {
        typed(self.as_any().sort_ranks(resolve_axis("topk", dim, D).or_fail(), true, 0, k))
    }

    /// Where the `k` largest entries of `dim` are, the largest first.
    #[track_caller]
    pub fn argtopk(&self, k: usize, dim: impl AxisIndex) -> Tensor<D, Int> {
        self.topk_with_indices(k, dim).1
    }

    /// The `k` smallest entries of `dim`, the smallest first: `torch.topk` with `largest=False`.
    #[track_caller]
    pub fn topk_smallest(&self, k: usize, dim: impl AxisIndex) -> Self {
        self.topk_smallest_with_indices(k, dim).0
    }

    /// As [`Tensor::topk_smallest`], and where each entry was.
    #[track_caller]
    pub fn topk_smallest_with_indices(
        &self,
        k: usize,
        dim: impl AxisIndex,
    ) -> (Self, Tensor<D, Int>) {
        typed(self.as_any().sort_ranks(resolve_axis("topk", dim, D).or_fail(), false, 0, k))
    }

    /// The `k`-th smallest entry of `dim`, counted from 1, and where it is; the axis stays with
    /// extent 1: `torch.kthvalue`. Panics if there are fewer than `k`.
    #[track_caller]
    pub fn kthvalue(&self, k: usize, dim: impl AxisIndex) -> (Self, Tensor<D, Int>) {
        let axis = resolve_axis("kthvalue", dim, D).or_fail();
        let n = self.shape()[axis];
        if !(1..=n).contains(&k) {
            let rule = format!("k is {k}, but axis {axis} has the ranks 1 to {n}");
            crate::fail(Error::Argument { op: "kthvalue", rule });
        }
        typed(self.as_any().sort_ranks(axis, false, k - 1, 1))
    }

    /// The median of `dim`, which stays with extent 1: of an even number of entries the lower one
    /// in the middle, and NaN if there is one, as `torch.median`. Panics on an empty axis.
    #[track_caller]
    pub fn median(&self, dim: impl AxisIndex) -> Self {
        self.median_with_indices(dim).0
    }

    /// As [`Tensor::median`], and where it is.
    #[track_caller]
    pub fn median_with_indices(&self, dim: impl AxisIndex) -> (Self, Tensor<D, Int>) {
        let axis = nonempty_axis("median", self, dim);
        let x = self.as_any();
        let [value, index] = x.sort_ranks(axis, false, (x.shape()[axis] - 1) / 2, 1);
        if !x.dtype().is_float() {
            return typed([value, index]);
        }
        // The maximum is NaN if any entry is.
        let largest = x.detach().arg_reduce(true, axis);
        let has_nan = is_nan(&x.detach().gather(axis, &largest));
        let index = largest.select_where(&has_nan, &index);
        typed([x.gather(axis, &index), index])
    }

    /// The entry of `dim` that is there most often, the smallest of equally frequent ones, and
    /// where it is last; the axis stays with extent 1: `torch.mode`. Every NaN counts as another
    /// value. Panics on an empty axis.
    #[track_caller]
    pub fn mode(&self, dim: impl AxisIndex) -> (Self, Tensor<D, Int>) {
        let axis = nonempty_axis("mode", self, dim);
        let x = self.as_any();
        let [sorted, places] = x.detach().sort(axis, false);
        // The place of each sorted entry in the run of its equals: the longest run is the mode.
        let n = x.shape()[axis];
        let positions = sorted.positions(axis);
        let same = sorted.narrow(axis, 1, n - 1).equal(&sorted.narrow(axis, 0, n - 1));
        let later = positions.narrow(axis, 1, n - 1);
        let starts = later.zeros_like().select_where(&same, &later);
        let starts = AnyTensor::cat(&[&positions.narrow(axis, 0, 1), &starts], axis);
        let length = positions.sub(&starts.scan_with_indices(true, axis)[0]);
        let index = places.gather(axis, &length.arg_reduce(true, axis));
        typed([x.gather(axis, &index), index])
    }
}

impl<const D: usize> Tensor<D, Float> {
    /// As [`Tensor::median`], passing over NaN; NaN if there is nothing else: `torch.nanmedian`.
    #[track_caller]
    pub fn nanmedian(&self, dim: impl AxisIndex) -> Self {
        self.nanmedian_with_indices(dim).0
    }

    /// As [`Tensor::nanmedian`], and where it is.
    #[track_caller]
    pub fn nanmedian_with_indices(&self, dim: impl AxisIndex) -> (Self, Tensor<D, Int>) {
        let axis = nonempty_axis("nanmedian", self, dim);
        let x = self.as_any();
        let [sorted, places] = x.detach().sort(axis, false);
        let last = last_number(&sorted, axis).maximum_scalar(0);
        // Not below zero, so that the division by two cuts down.
        let index = places.gather(axis, &last.div_scalar(2));
        typed([x.gather(axis, &index), index])
    }
}

/// Which elements are NaN.
pub(super) fn is_nan(x: &AnyTensor) -> AnyTensor {
    x.binary(BinaryKind::NotEqual, x)
}

/// The rank of the largest entry of `axis` that is not NaN; -1 if there is none.
pub(super) fn last_number(x: &AnyTensor, axis: usize) -> AnyTensor {
    let numbers = x.equal(x).cast(crate::DType::I64);
    numbers.sum_axis(axis).sub_scalar(1)
}

/// The axis, which must have entries.
#[track_caller]
pub(super) fn nonempty_axis<const D: usize, K: Kind>(
    op: &'static str,
    x: &Tensor<D, K>,
    dim: impl AxisIndex,
) -> usize {
    let axis = resolve_axis(op, dim, D).or_fail();
    if x.shape()[axis] == 0 {
        let rule = format!("axis {axis} has no entries");
        crate::fail(Error::Shape { op, shapes: vec![x.shape()], rule });
    }
    axis
}
