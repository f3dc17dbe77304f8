//! Histograms.

use super::reduce::wide;
use crate::error::OrFail;
use crate::op::{Axes, BinaryKind, Meta, ReduceKind, SelectBackward};
use crate::tensor::{Float, Tensor};
use crate::{AnyTensor, DType, Error, TensorData};

impl<const D: usize> Tensor<D, Float> {
    /// How many elements lie in each of `bins` intervals of one width between `min` and `max`:
    /// `torch.histc`. With `min` equal to `max` these are the least and the largest element.
    /// Elements outside and NaN are not counted; `max` belongs to the last interval.
    #[track_caller]
    pub fn histc(&self, bins: usize, min: f64, max: f64) -> Tensor<1> {
        let range = if min == max { self.range("histc", 1.0) } else { (min, max) };
        Tensor::from_any(self.fill("histc", &self.edges("histc", bins, range), None))
    }

    /// The counts of [`Tensor::histc`] and the `bins + 1` bounds of the intervals:
    /// `torch.histogram`. Without a range it is that of the elements; with `weights` they are
    /// added up instead of counted; as a `density` the integral over the range is one.
    #[track_caller]
    pub fn histogram(
        &self,
        bins: usize,
        range: Option<(f64, f64)>,
        weights: Option<&Self>,
        density: bool,
    ) -> (Tensor<1>, Tensor<1>) {
        let (min, max) = range.unwrap_or_else(|| self.range("histogram", 0.5));
        let half = if min == max { 0.5 } else { 0.0 };
        let edges = self.edges("histogram", bins, (min - half, max + half));
        let mut heights = self.fill("histogram", &edges, weights);
        if density {
            let total = heights.reduce(ReduceKind::Sum, Axes::all(1));
            let widths = edges.narrow(0, 1, bins).sub(&edges.narrow(0, 0, bins));
            heights = heights.div(&total).div(&widths);
        }
        (Tensor::from_any(heights), Tensor::from_any(edges))
    }

    /// The least and the largest element, `margin` apart from their common value if they are equal.
    #[track_caller]
    fn range(&self, op: &'static str, margin: f64) -> (f64, f64) {
        if self.num_elements() == 0 {
            return (0.0, 1.0);
        }
        let (min, max) = self.detach().aminmax();
        let (min, max) = (min.item::<f64>(), max.item::<f64>());
        if !(min.is_finite() && max.is_finite()) {
            let rule = format!("the elements reach from {min} to {max}: say which range");
            crate::fail(Error::Argument { op, rule });
        }
        if min == max { (min - margin, max + margin) } else { (min, max) }
    }

    /// `bins + 1` bounds, of the dtype of this tensor.
    #[track_caller]
    fn edges(&self, op: &'static str, bins: usize, (min, max): (f64, f64)) -> AnyTensor {
        if bins == 0 || !(min.is_finite() && max.is_finite() && min <= max) {
            let rule = format!("{bins} bins from {min} to {max}: bins are needed, and a range");
            crate::fail(Error::Argument { op, rule });
        }
        let width = (max - min) / bins as f64;
        // From the nearer end, so that both come out exactly.
        let edge = |i: usize| match i {
            i if 2 * i <= bins => min + width * i as f64,
            i => max - width * (bins - i) as f64,
        };
        let edges = TensorData::new((0..=bins).map(edge).collect::<Vec<_>>(), [bins + 1]);
        AnyTensor::from_data(&edges.convert_dtype(self.dtype()), &self.device()).or_fail()
    }

    #[track_caller]
    fn fill(&self, op: &'static str, edges: &AnyTensor, weights: Option<&Self>) -> AnyTensor {
        let (n, bins) = (self.num_elements(), edges.num_elements() - 1);
        let x = self.detach().as_any().reshape([n]);
        let (first, last) = (edges.narrow(0, 0, 1), edges.narrow(0, bins, 1));
        let inside = x
            .binary(BinaryKind::GreaterEqual, &first)
            .binary(BinaryKind::And, &x.lower_equal(&last));
        // The last bound belongs to the last bin. What lies outside must be in some bin, for nothing.
        let bin = edges.search_sorted(&x, true).sub_scalar(1).maximum_scalar(0);
        let bin = bin.minimum_scalar(bins - 1);
        let add = SelectBackward { axis: 0, extent: bins };
        let Some(weights) = weights else {
            return inside.cast(DType::I64).apply(add, &[&bin]).cast(self.dtype());
        };
        if weights.shape() != self.shape() {
            let rule = "each element needs a weight".into();
            let shapes = vec![self.shape(), weights.shape()];
            crate::fail(Error::Shape { op, shapes, rule });
        }
        let weights = wide(weights.as_any()).reshape([n]);
        let zero = AnyTensor::full(Meta::new([1], weights.dtype()), 0, self.device());
        weights.select_where(&inside, &zero).apply(add, &[&bin]).cast(self.dtype())
    }
}
