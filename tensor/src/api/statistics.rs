//! Variance, covariance and quantiles. Half types are computed in f32.

use super::reduce::wide;
use super::sort::{is_nan, last_number, nonempty_axis};
use crate::error::OrFail;
use crate::op::View;
use crate::shape::{AxisIndex, resolve_axis};
use crate::tensor::{Float, Tensor};
use crate::{AnyTensor, DType, Device, Error, TensorData};

impl<const D: usize> Tensor<D, Float> {
    /// The variance along `dim` with `n - 1` in the denominator: `torch.var`. The axis stays with
    /// extent 1, as in all of these.
    #[track_caller]
    pub fn var(&self, dim: impl AxisIndex) -> Self {
        self.var_correction(dim, 1.0)
    }

    /// The variance along `dim` with `n` in the denominator.
    #[track_caller]
    pub fn var_bias(&self, dim: impl AxisIndex) -> Self {
        self.var_correction(dim, 0.0)
    }

    /// The variance along `dim` with `n - correction` in the denominator.
    #[track_caller]
    pub fn var_correction(&self, dim: impl AxisIndex, correction: f64) -> Self {
        let (variance, _) = self.moments("var", dim, correction);
        Self::from_any(variance.cast(self.dtype()))
    }

    /// The variance with `n - 1` in the denominator, and the mean: `torch.var_mean`.
    #[track_caller]
    pub fn var_mean(&self, dim: impl AxisIndex) -> (Self, Self) {
        self.both("var_mean", dim, 1.0)
    }

    /// The variance with `n` in the denominator, and the mean.
    #[track_caller]
    pub fn var_mean_bias(&self, dim: impl AxisIndex) -> (Self, Self) {
        self.both("var_mean_bias", dim, 0.0)
    }

    #[track_caller]
    fn both(&self, op: &'static str, dim: impl AxisIndex, correction: f64) -> (Self, Self) {
        let (variance, mean) = self.moments(op, dim, correction);
        let typed = |x: AnyTensor| Self::from_any(x.cast(self.dtype()));
        (typed(variance), typed(mean))
    }

    /// The standard deviation along `dim` with `n - 1` in the denominator: `torch.std`.
    #[track_caller]
    pub fn std(&self, dim: impl AxisIndex) -> Self {
        self.std_correction(dim, 1.0)
    }

    /// The standard deviation along `dim` with `n` in the denominator.
    #[track_caller]
    pub fn std_bias(&self, dim: impl AxisIndex) -> Self {
        self.std_correction(dim, 0.0)
    }

    /// The standard deviation along `dim` with `n - correction` in the denominator. The gradient
    /// where it is zero is zero.
    #[track_caller]
    pub fn std_correction(&self, dim: impl AxisIndex, correction: f64) -> Self {
        let (variance, _) = self.moments("std", dim, correction);
        // The root of zero has no slope.
        let zero = variance.equal_scalar(0);
        let root = variance.ones_like().select_where(&zero, &variance).sqrt();
        let deviation = variance.zeros_like().select_where(&zero, &root);
        Self::from_any(deviation.cast(self.dtype()))
    }

    /// Variance and mean, in which they are computed.
    #[track_caller]
    fn moments(
        &self,
        op: &'static str,
        dim: impl AxisIndex,
        correction: f64,
    ) -> (AnyTensor, AnyTensor) {
        let axis = resolve_axis(op, dim, D).or_fail();
        let x = Self::from_any(wide(self.as_any()));
        let degrees = (x.shape()[axis] as f64 - correction).max(0.0);
        let mean = x.mean_dim(axis);
        let variance = x.sub(&mean).square().sum_dim(axis).div_scalar(degrees);
        (variance.into_any(), mean.into_any())
    }

    /// The covariance of columns over the observations along `dim`, with `n - correction` in the
    /// denominator. `dim` becomes the first axis, and the last two are multiplied: `[variables,
    /// observations]` with `dim` 1, or `[observations, variables]` with `dim` 0, gives
    /// `[variables, variables]`, as `torch.cov`.
    #[track_caller]
    pub fn cov(&self, dim: impl AxisIndex, correction: usize) -> Self {
        let axis = resolve_axis("cov", dim, D).or_fail();
        let x = Self::from_any(wide(self.as_any()));
        let degrees = (x.shape()[axis] as f64 - correction as f64).max(0.0);
        let centered = x.sub(x.mean_dim(axis)).swap_dims(axis, 0);
        Self::from_any(
            centered.transpose().matmul(&centered).div_scalar(degrees).as_any().cast(self.dtype()),
        )
    }

    /// The `q`-th quantile along `dim`, which stays with extent 1: `torch.quantile`. NaN where an
    /// entry is NaN. Panics on an empty axis, and if `q` is not in 0 to 1.
    ///
    /// ```
    /// use kiln_tensor::{QuantileInterpolation, Tensor};
    /// let x = Tensor::<1>::from([4.0, 1.0, 3.0, 2.0]);
    /// let median = x.quantile(0.5, 0, QuantileInterpolation::Linear);
    /// assert_eq!(median.into_scalar::<f32>(), 2.5);
    /// ```
    #[track_caller]
    pub fn quantile(
        &self,
        q: f64,
        dim: impl AxisIndex,
        interpolation: QuantileInterpolation,
    ) -> Self {
        Self::from_any(quantiles("quantile", self, &one(q), dim, interpolation, false))
    }

    /// As [`Tensor::quantile`], passing over NaN: `torch.nanquantile`.
    #[track_caller]
    pub fn nanquantile(
        &self,
        q: f64,
        dim: impl AxisIndex,
        interpolation: QuantileInterpolation,
    ) -> Self {
        Self::from_any(quantiles("nanquantile", self, &one(q), dim, interpolation, true))
    }

    /// Several quantiles along `dim`: `[q, ..]`, where the axis is gone and the quantiles come
    /// first, as `torch.quantile` with a tensor has them.
    #[track_caller]
    pub fn quantiles(
        &self,
        q: impl AsRef<Tensor<1>>,
        dim: impl AxisIndex,
        interpolation: QuantileInterpolation,
    ) -> Self {
        self.several("quantiles", q.as_ref(), dim, interpolation, false)
    }

    /// As [`Tensor::quantiles`], passing over NaN.
    #[track_caller]
    pub fn nanquantiles(
        &self,
        q: impl AsRef<Tensor<1>>,
        dim: impl AxisIndex,
        interpolation: QuantileInterpolation,
    ) -> Self {
        self.several("nanquantiles", q.as_ref(), dim, interpolation, true)
    }

    #[track_caller]
    fn several(
        &self,
        op: &'static str,
        q: &Tensor<1>,
        dim: impl AxisIndex,
        interpolation: QuantileInterpolation,
        skip_nan: bool,
    ) -> Self {
        let axis = resolve_axis(op, dim, D).or_fail();
        let result = quantiles(op, self, q.as_any(), axis, interpolation, skip_nan);
        let order: Vec<u8> =
            std::iter::once(axis).chain((0..D).filter(|&i| i != axis)).map(|i| i as u8).collect();
        Self::from_any(result.permute(&order))
    }
}

impl Tensor<2, Float> {
    /// The correlation coefficients of the rows, of which each is a variable and each column an
    /// observation: `torch.corrcoef`. NaN for a row without variance.
    #[track_caller]
    pub fn corrcoef(&self) -> Self {
        let covariance = Tensor::<2>::from_any(wide(self.as_any())).cov(1, 1);
        let deviation = covariance.as_any().apply(View::Diagonal(0, 1), &[]).sqrt();
        let n = deviation.num_elements();
        let scaled = covariance.as_any().div(&deviation.reshape([n, 1]));
        let scaled = Self::from_any(scaled.div(&deviation.reshape([1, n])));
        Self::from_any(scaled.clamp(-1, 1).as_any().cast(self.dtype()))
    }
}

/// What a quantile is that lies between two entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum QuantileInterpolation {
    /// On the straight line between both.
    #[default]
    Linear,
    /// The lower one.
    Lower,
    /// The higher one.
    Higher,
    /// The one whose rank is nearer; of two the even one.
    Nearest,
    /// Halfway.
    Midpoint,
}

/// A tensor of one number.
fn one(q: f64) -> AnyTensor {
    let data = TensorData::new(vec![q], [1]);
    AnyTensor::from_data(&data, &Device::cpu()).or_fail()
}

/// `[.., q, ..]`, with the quantiles in the place of the axis.
#[track_caller]
fn quantiles<const D: usize>(
    op: &'static str,
    x: &Tensor<D>,
    q: &AnyTensor,
    dim: impl AxisIndex,
    interpolation: QuantileInterpolation,
    skip_nan: bool,
) -> AnyTensor {
    let axis = nonempty_axis(op, x, dim);
    // Ranks in f64 are exact up to 2^53 entries.
    let q = q.to_device(&x.device()).or_fail().cast(DType::F64);
    if let Some(wrong) = q.to_data().or_fail().iter::<f64>().find(|q| !(0.0..=1.0).contains(q)) {
        let rule = format!("a quantile lies in 0 to 1, not at {wrong}");
        crate::fail(Error::Argument { op, rule });
    }
    let (count, n) = (q.num_elements(), x.shape()[axis]);
    let [sorted, _] = wide(x.as_any()).sort(axis, false);
    let mut along = [1; D];
    along[axis] = count;
    let q = q.reshape(along);
    let shape = sorted.shape().with(axis, count);
    // The rank of each quantile, and so where it lies between two entries: [.., q, ..].
    let rank = if skip_nan {
        last_number(&sorted, axis).maximum_scalar(0).cast(q.dtype()).mul(&q)
    } else {
        q.mul_scalar(n as f64 - 1.0).expand(shape)
    };
    let entry = |rank: &AnyTensor| sorted.gather(axis, &rank.detach().cast(DType::I64));
    let between = |weight: &AnyTensor| {
        let (low, high) = (entry(&rank.floor()), entry(&rank.ceil()));
        let weight = weight.cast(low.dtype());
        // From the nearer end, so that both ends come out exactly.
        let step = high.sub(&low);
        let from_low = low.add(&step.mul(&weight));
        let from_high = high.sub(&step.mul(&weight.neg().add_scalar(1)));
        from_low.select_where(&weight.binary_scalar(crate::op::BinaryKind::Less, 0.5), &from_high)
    };
    let result = match interpolation {
        QuantileInterpolation::Linear => between(&rank.sub(&rank.floor())),
        QuantileInterpolation::Midpoint => {
            between(&AnyTensor::full(rank.meta(), 0.5, rank.device()))
        }
        QuantileInterpolation::Lower => entry(&rank.floor()),
        QuantileInterpolation::Higher => entry(&rank.ceil()),
        QuantileInterpolation::Nearest => entry(&rank.round()),
    };
    let last = sorted.narrow(axis, n - 1, 1);
    let result =
        if skip_nan { result } else { last.select_where(&is_nan(&last.detach()), &result) };
    result.cast(x.dtype())
}
