//! Results whose size depends on the values: positions, choices by mask, distinct values, counts.
//! Each waits for the device to learn that size.

use crate::op::{Axes, BinaryKind, Meta, ReduceKind, ScanKind, SelectBackward};
use crate::tensor::{Bool, Int, Kind, Numeric, Ordered, Tensor};
use crate::{AnyTensor, DType, Error, Shape};

impl<const D: usize, K: Kind> Tensor<D, K> {
    /// The positions of all elements that are true, or not zero, in row-major order: `[count, D]`,
    /// as `torch.nonzero`.
    #[track_caller]
    pub fn argwhere(&self) -> Tensor<2, Int> {
        Tensor::from_any(self.as_any().nonzero())
    }

    /// The positions of all elements that are true, or not zero, as one tensor of indices for each
    /// axis: `torch.nonzero` with `as_tuple=True`.
    #[track_caller]
    pub fn nonzero(&self) -> Vec<Tensor<1, Int>> {
        let positions = self.as_any().nonzero(); // [count, D]
        let count = positions.shape()[0];
        (0..D).map(|i| Tensor::from_any(positions.narrow(1, i, 1).reshape([count]))).collect()
    }

    /// The elements where `mask` is true, in row-major order: `torch.masked_select`. Both broadcast
    /// to one shape.
    ///
    /// ```
    /// use kiln_tensor::Tensor;
    /// let x = Tensor::<2>::from([[1.0, -2.0], [-3.0, 4.0]]);
    /// let positive = x.mask_select(x.greater_elem(0));
    /// assert_eq!(positive.to_data().to_vec::<f32>()?, [1.0, 4.0]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    #[track_caller]
    pub fn mask_select(&self, mask: impl AsRef<Tensor<D, Bool>>) -> Tensor<1, K> {
        let (x, mask) = (self.as_any(), mask.as_ref().as_any());
        let shape = common("mask_select", x, mask);
        Tensor::from_any(x.expand(shape).mask_select(&mask.expand(shape)))
    }

    /// The distinct elements in rising order: `torch.unique`. NaN is different from NaN.
    #[track_caller]
    pub fn unique(&self) -> Tensor<1, K> {
        let sorted = self.as_any().reshape([self.num_elements()]).sort(0, false);
        Tensor::from_any(Runs::of(&sorted[0]).values(&sorted[0]))
    }

    /// The distinct elements in rising order; for each element of this tensor the index of its like
    /// among them; and how often each occurs: `torch.unique` with `return_inverse` and
    /// `return_counts`.
    ///
    /// ```
    /// use kiln_tensor::{Int, Tensor};
    /// let x = Tensor::<1, Int>::from([7, 3, 7]);
    /// let (values, inverse, counts) = x.unique_inverse_counts();
    /// assert_eq!(values.to_data().to_vec::<i64>()?, [3, 7]);
    /// assert_eq!(inverse.to_data().to_vec::<i64>()?, [1, 0, 1]);
    /// assert_eq!(counts.to_data().to_vec::<i64>()?, [1, 2]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    #[track_caller]
    pub fn unique_inverse_counts(&self) -> (Tensor<1, K>, Tensor<D, Int>, Tensor<1, Int>) {
        let n = self.num_elements();
        let [sorted, places] = self.as_any().reshape([n]).sort(0, false);
        let runs = Runs::of(&sorted);
        // Each place is there once: adding to zeros puts each number there.
        let inverse = runs.inverse().gather_backward(0, Shape::new([n]), &places);
        let inverse = inverse.reshape(self.shape());
        (
            Tensor::from_any(runs.values(&sorted)),
            Tensor::from_any(inverse),
            Tensor::from_any(runs.counts()),
        )
    }

    /// The elements in row-major order, with one of each run of equals:
    /// `torch.unique_consecutive`.
    #[track_caller]
    pub fn unique_consecutive(&self) -> Tensor<1, K> {
        let x = self.as_any().reshape([self.num_elements()]);
        Tensor::from_any(Runs::of(&x).values(&x))
    }

    /// As [`Tensor::unique_consecutive`], for each element of this tensor the index of its run, and
    /// the lengths of the runs.
    #[track_caller]
    pub fn unique_consecutive_inverse_counts(
        &self,
    ) -> (Tensor<1, K>, Tensor<D, Int>, Tensor<1, Int>) {
        let x = self.as_any().reshape([self.num_elements()]);
        let runs = Runs::of(&x);
        let inverse = runs.inverse().reshape(self.shape());
        (
            Tensor::from_any(runs.values(&x)),
            Tensor::from_any(inverse),
            Tensor::from_any(runs.counts()),
        )
    }
}

/// The shape to which both broadcast.
#[track_caller]
fn common(op: &'static str, a: &AnyTensor, b: &AnyTensor) -> Shape {
    a.shape().broadcast(&b.shape()).unwrap_or_else(|| {
        let rule = "they do not broadcast to one shape".into();
        crate::fail(Error::Shape { op, shapes: vec![a.shape(), b.shape()], rule })
    })
}

/// Runs of equal neighbours in a tensor of one axis.
struct Runs {
    /// Whether a run begins, for each element: `[n]`, bool.
    begins: AnyTensor,
    /// Where the runs begin: `[runs]`.
    starts: AnyTensor,
}

impl Runs {
    #[track_caller]
    fn of(x: &AnyTensor) -> Self {
        let x = x.detach();
        let n = x.num_elements();
        let changes = |x: &AnyTensor| {
            x.narrow(0, 1, n - 1).binary(BinaryKind::NotEqual, &x.narrow(0, 0, n - 1))
        };
        let begins = if n == 0 {
            x.is_nonzero()
        } else {
            let first = AnyTensor::full(Meta::new([1], DType::Bool), true, x.device());
            AnyTensor::cat(&[&first, &changes(&x)], 0)
        };
        let starts = begins.nonzero();
        let starts = starts.reshape([starts.num_elements()]);
        Self { begins, starts }
    }

    fn values(&self, x: &AnyTensor) -> AnyTensor {
        x.select(0, &self.starts)
    }

    /// The index of the run of each element.
    fn inverse(&self) -> AnyTensor {
        self.begins.cast(DType::I64).scan(ScanKind::Sum, 0).sub_scalar(1)
    }

    fn counts(&self) -> AnyTensor {
        let (starts, count) = (&self.starts, self.starts.num_elements());
        if count == 0 {
            return starts.clone();
        }
        let end = AnyTensor::full(
            starts.narrow(0, 0, 1).meta(),
            self.begins.num_elements(),
            starts.device(),
        );
        AnyTensor::cat(&[&starts.narrow(0, 1, count - 1), &end], 0).sub(starts)
    }
}

impl<const D: usize, K: Ordered> Tensor<D, K> {
    /// Where each of `values` would have to be inserted into this tensor, whose last axis is
    /// sorted, to keep it sorted; before equal entries, or with `right` behind them:
    /// `torch.searchsorted`. All but the last axis must be equal. The result has the shape of
    /// `values`; NaN belongs at the end.
    #[track_caller]
    pub fn searchsorted(&self, values: impl AsRef<Tensor<D, K>>, right: bool) -> Tensor<D, Int> {
        Tensor::from_any(self.as_any().search_sorted(values.as_ref().as_any(), right))
    }

    /// Which of the intervals between `boundaries`, which rise, each element lies in: 0 below the
    /// first boundary. A boundary belongs to the interval below it, or with `right` to the one
    /// above: `torch.bucketize`.
    #[track_caller]
    pub fn bucketize(&self, boundaries: impl AsRef<Tensor<1, K>>, right: bool) -> Tensor<D, Int> {
        Tensor::from_any(boundaries.as_ref().as_any().search_sorted(self.as_any(), right))
    }

    /// Whether each element is among the elements of `others`: `torch.isin`. NaN never is.
    #[track_caller]
    pub fn is_in<const D2: usize>(&self, others: impl AsRef<Tensor<D2, K>>) -> Tensor<D, Bool> {
        let others = others.as_ref().as_any();
        let (x, n) = (self.as_any(), others.num_elements());
        if n == 0 {
            let meta = Meta::new(x.shape(), DType::Bool);
            return Tensor::from_any(AnyTensor::full(meta, false, x.device()));
        }
        let [sorted, _] = others.reshape([n]).sort(0, false);
        let place = sorted.search_sorted(x, false).minimum_scalar(n - 1);
        let found = sorted.select(0, &place.reshape([x.num_elements()])).reshape(x.shape());
        Tensor::from_any(found.equal(x))
    }
}

impl Tensor<1, Int> {
    /// How often each number from zero on occurs, up to the largest one, or to `minlength - 1` if
    /// that is more: `torch.bincount`. Panics if a number is negative.
    #[track_caller]
    pub fn bincount(&self, minlength: usize) -> Tensor<1, Int> {
        let ones = AnyTensor::full(Meta::new(self.shape(), DType::I64), 1, self.device());
        Tensor::from_any(counts("bincount", self.as_any(), &ones, minlength))
    }

    /// The sum of the `weights` of each number from zero on: `torch.bincount` with weights.
    #[track_caller]
    pub fn bincount_weighted<K: Numeric>(
        &self,
        weights: impl AsRef<Tensor<1, K>>,
        minlength: usize,
    ) -> Tensor<1, K> {
        let weights = weights.as_ref().as_any();
        Tensor::from_any(counts("bincount_weighted", self.as_any(), weights, minlength))
    }
}

#[track_caller]
fn counts(op: &'static str, x: &AnyTensor, weights: &AnyTensor, minlength: usize) -> AnyTensor {
    if x.shape() != weights.shape() {
        let (shapes, rule) =
            (vec![x.shape(), weights.shape()], "each number needs a weight".into());
        crate::fail(Error::Shape { op, shapes, rule });
    }
    let needed = match x.num_elements() {
        0 => 0,
        _ => x.reduce(ReduceKind::Max, Axes::all(1)).item::<i64>() + 1,
    };
    let extent = minlength.max(needed.max(0) as usize);
    weights.apply(SelectBackward { axis: 0, extent }, &[x])
}
