//! Elementwise functions that are compositions of others, and the masks of special values.

use crate::op::BinaryKind::{self, And, Greater, Less, NotEqual, Or};
use crate::op::{Meta, UnaryKind};
use crate::{AnyTensor, DType, Scalar};

impl AnyTensor {
    unary! {
        exp2: Exp2, asin: Asin, acos: Acos, atan: Atan, sinh: Sinh, cosh: Cosh, asinh: Asinh,
        acosh: Acosh, atanh: Atanh, erfc: Erfc, erfinv: ErfInv, lgamma: Lgamma, digamma: Digamma,
        softplus: Softplus,
    }

    /// The derivative of `digamma` of this order; `digamma` itself for order 0.
    #[track_caller]
    pub fn polygamma(&self, order: u64) -> Self {
        match order {
            0 => self.digamma(),
            // An order that does not fit is out of range, and the shape rule says so.
            order => self.unary(UnaryKind::Polygamma(u8::try_from(order).unwrap_or(u8::MAX))),
        }
    }

    /// One number of this tensor's dtype and device, of rank 0.
    #[track_caller]
    pub fn scalar_like(&self, value: impl Into<Scalar>) -> Self {
        Self::full(Meta::new([], self.dtype()), value, self.device())
    }

    /// `value` where `mask` is true, `self` elsewhere; no gradient flows where it is true.
    #[track_caller]
    pub fn fill_where(&self, mask: &Self, value: impl Into<Scalar>) -> Self {
        self.scalar_like(value).select_where(mask, self)
    }

    /// A comparison with a number.
    #[track_caller]
    pub(crate) fn compare(&self, kind: BinaryKind, value: impl Into<Scalar>) -> Self {
        self.binary_scalar(kind, value)
    }

    /// Which elements are NaN.
    #[track_caller]
    pub fn is_nan(&self) -> Self {
        self.binary(NotEqual, self)
    }

    /// Which elements are plus or minus infinity.
    #[track_caller]
    pub fn is_inf(&self) -> Self {
        if self.dtype().is_float() {
            self.abs().equal_scalar(f64::INFINITY)
        } else {
            Self::full(Meta::new(self.shape(), DType::Bool), false, self.device())
        }
    }

    /// Which elements are neither NaN nor infinite.
    #[track_caller]
    pub fn is_finite(&self) -> Self {
        if self.dtype().is_float() {
            self.abs().compare(Less, f64::INFINITY)
        } else {
            Self::full(Meta::new(self.shape(), DType::Bool), true, self.device())
        }
    }

    /// Which elements are equal, or both finite with `|self - other| <= atol + rtol |other|`.
    #[track_caller]
    pub fn is_close(&self, other: &Self, rtol: f64, atol: f64) -> Self {
        let float = |x: &Self| if x.dtype().is_float() { x.clone() } else { x.cast(DType::F64) };
        let (a, b) = (float(self), float(other));
        let bound = b.abs().mul_scalar(rtol).add_scalar(atol);
        let near = a.sub(&b).abs().lower_equal(&bound).binary(And, &b.is_finite());
        near.binary(Or, &self.equal(other))
    }

    /// The part behind the point, with the sign of the element.
    #[track_caller]
    pub fn frac(&self) -> Self {
        self.sub(&self.trunc())
    }

    /// `log(x / (1 - x))`; with `eps`, of the element clamped to `eps..=1 - eps`.
    #[track_caller]
    pub fn logit(&self, eps: Option<f64>) -> Self {
        let x = match eps {
            Some(eps) => self.maximum_scalar(eps).minimum_scalar(1.0 - eps),
            None => self.clone(),
        };
        x.div(&x.neg().add_scalar(1)).log()
    }

    /// `sin(pi x) / (pi x)`, and 1 at 0.
    #[track_caller]
    pub fn sinc(&self) -> Self {
        let angle = self.mul_scalar(std::f64::consts::PI);
        // Near 0 by the series of sin(a) / a: it, and not the quotient, has derivatives there.
        let near = angle.abs().compare(Less, 0.5);
        let square = angle.fill_where(&near.logical_not(), 0).square();
        let series = (1..=8).rev().fold(self.ones_like(), |y, k| {
            y.mul(&square).mul_scalar(-1.0 / f64::from(2 * k * (2 * k + 1))).add_scalar(1)
        });
        let far = angle.fill_where(&near, 1);
        series.select_where(&near, &far.sin().div(&far))
    }

    /// `x log(y)`, which is 0 where `x` is 0, unless `y` is NaN.
    #[track_caller]
    pub fn xlogy(&self, y: &Self) -> Self {
        // Where 0 would meet an infinite logarithm, or that of a negative number.
        let ordinary = y.compare(Greater, 0).binary(And, &y.compare(Less, f64::INFINITY));
        let ordinary = ordinary.binary(Or, &y.is_nan());
        let zero = self.equal_scalar(0).binary(And, &ordinary.logical_not());
        self.mul(&y.log().fill_where(&zero, 0))
    }

    /// 0 below zero, 1 above, and `values` at zero.
    #[track_caller]
    pub fn heaviside(&self, values: &Self) -> Self {
        let step = self.compare(Greater, 0).cast(self.dtype());
        values.select_where(&self.equal_scalar(0), &step)
    }

    /// NaN, plus and minus infinity replaced; by default the infinities become the largest and
    /// smallest finite numbers of the dtype.
    #[track_caller]
    pub fn nan_to_num(&self, nan: f64, posinf: Option<f64>, neginf: Option<f64>) -> Self {
        let largest = match self.dtype() {
            DType::F16 => half::f16::MAX.to_f64(),
            DType::BF16 => half::bf16::MAX.to_f64(),
            DType::F32 => f32::MAX.into(),
            DType::F64 => f64::MAX,
            _ => return self.clone(),
        };
        self.fill_where(&self.is_nan(), nan)
            .fill_where(&self.equal_scalar(f64::INFINITY), posinf.unwrap_or(largest))
            .fill_where(&self.equal_scalar(f64::NEG_INFINITY), neginf.unwrap_or(-largest))
    }

    /// `self + weight (end - self)`, computed from the nearer end so that both are met exactly.
    #[track_caller]
    pub fn lerp(&self, end: &Self, weight: &Self) -> Self {
        let way = end.sub(self);
        let from_end = end.sub(&way.mul(&weight.neg().add_scalar(1)));
        let near = weight.abs().compare(Less, 0.5);
        self.add(&way.mul(weight)).select_where(&near, &from_end)
    }

    /// As [`AnyTensor::lerp`] with one weight for all.
    #[track_caller]
    pub fn lerp_scalar(&self, end: &Self, weight: f64) -> Self {
        let way = end.sub(self);
        if weight.abs() < 0.5 {
            self.add(&way.mul_scalar(weight))
        } else {
            end.sub(&way.mul_scalar(1.0 - weight))
        }
    }

    /// `log(sum(exp(x)))` along `axis`, which stays with extent 1, without overflow.
    #[track_caller]
    pub fn logsumexp(&self, axis: usize) -> Self {
        let empty = self.shape().get(axis) == Some(&0);
        if empty {
            return self.sum_axis(axis).log();
        }
        let largest = self.detach().max_axis(axis);
        // Beside an infinity the sum is that, or NaN, whatever is taken away.
        let largest = largest.fill_where(&largest.is_inf(), 0);
        self.sub(&largest).exp().sum_axis(axis).log().add(&largest)
    }
}
