//! Functions of each element of float tensors, the elementary ones of complex tensors too.

use crate::error::OrFail;
use crate::op::UnaryKind;
use crate::shape::{AxisIndex, resolve_axis};
use crate::tensor::{Differentiable, Float, Tensor};

impl<const D: usize, K: Differentiable> Tensor<D, K> {
    unary! {
        /// One over each element.
        recip: Recip;
        /// The square root.
        sqrt: Sqrt;
        /// One over the square root.
        rsqrt: Rsqrt;
        /// `e^x`.
        exp: Exp;
        /// `2^x`.
        exp2: Exp2;
        /// `e^x - 1`, accurate near zero.
        expm1: ExpM1;
        /// The natural logarithm.
        log: Log;
        /// The logarithm to base 2.
        log2: Log2;
        /// The logarithm to base 10.
        log10: Log10;
        /// `log(1 + x)`, accurate near zero.
        log1p: Log1p;
        /// The sine.
        sin: Sin;
        /// The cosine.
        cos: Cos;
        /// The tangent.
        tan: Tan;
        /// The angle between -pi/2 and pi/2 whose sine is the element; NaN beyond -1..1.
        asin: Asin;
        /// The angle between 0 and pi whose cosine is the element; NaN beyond -1..1.
        acos: Acos;
        /// The angle between -pi/2 and pi/2 whose tangent is the element.
        atan: Atan;
        /// The hyperbolic sine.
        sinh: Sinh;
        /// The hyperbolic cosine.
        cosh: Cosh;
        /// The hyperbolic tangent.
        tanh: Tanh;
        /// The inverse of the hyperbolic sine.
        asinh: Asinh;
        /// The inverse of the hyperbolic cosine; NaN below 1.
        acosh: Acosh;
        /// The inverse of the hyperbolic tangent; NaN beyond -1..1.
        atanh: Atanh;
    }
}

impl<const D: usize> Tensor<D, Float> {
    unary! {
        /// The error function.
        erf: Erf;
        /// `1 - erf(x)`, accurate where that cancels: `torch.erfc`.
        erfc: Erfc;
        /// The inverse of the error function: `torch.erfinv`.
        erfinv: ErfInv;
        /// `log(|Gamma(x)|)`: `torch.lgamma`.
        lgamma: Lgamma;
        /// The derivative of `lgamma`: `torch.digamma`.
        digamma: Digamma;
        /// The next lower whole number.
        floor: Floor;
        /// The next higher whole number.
        ceil: Ceil;
        /// The nearest whole number, halves to even.
        round: Round;
        /// The whole part.
        trunc: Trunc;
    }

    /// The nearest number with this many decimals, halves to an even last one:
    /// `torch.round(x, decimals=decimals)`. An element without further decimals stays as it is.
    ///
    /// ```
    /// use kiln_tensor::Tensor;
    /// let x = Tensor::<1>::from([2.7183, -0.125]).round_to(2);
    /// assert_eq!(x.to_vec::<f32>(), [2.72, -0.12]);
    /// ```
    #[track_caller]
    pub fn round_to(&self, decimals: u32) -> Self {
        let scale = 10f64.powi(i32::try_from(decimals).unwrap_or(i32::MAX));
        let scaled = self.mul_scalar(scale);
        let whole = scaled.round();
        // False where the scaled element is whole and where it overflows; such an element passes no
        // gradient either.
        let differs = whole.sub(&scaled).abs().greater_elem(0);
        self.detach().mask_where(differs, whole.div_scalar(scale))
    }

    /// The derivative of `digamma` of this order, `digamma` itself for order 0: `torch.polygamma`.
    /// Panics if the order is beyond 100.
    #[track_caller]
    pub fn polygamma(&self, order: u64) -> Self {
        Self::from_any(self.as_any().polygamma(order))
    }

    /// The derivative of `digamma`: `polygamma(1)`.
    #[track_caller]
    pub fn trigamma(&self) -> Self {
        self.polygamma(1)
    }

    /// The part behind the point, with the sign of the element: `torch.frac`.
    #[track_caller]
    pub fn frac(&self) -> Self {
        Self::from_any(self.as_any().frac())
    }

    /// Degrees as radians.
    #[track_caller]
    pub fn deg2rad(&self) -> Self {
        self.mul_scalar(std::f64::consts::PI / 180.0)
    }

    /// Radians as degrees.
    #[track_caller]
    pub fn rad2deg(&self) -> Self {
        self.mul_scalar(180.0 / std::f64::consts::PI)
    }

    /// `log(x / (1 - x))`; with `eps`, of the element clamped to `eps..=1 - eps`: `torch.logit`.
    #[track_caller]
    pub fn logit(&self, eps: Option<f64>) -> Self {
        Self::from_any(self.as_any().logit(eps))
    }

    /// `sin(pi x) / (pi x)`, and 1 at 0: `torch.sinc`.
    #[track_caller]
    pub fn sinc(&self) -> Self {
        Self::from_any(self.as_any().sinc())
    }

    /// `x log(y)`, which is 0 where `x` is 0, unless `y` is NaN: `torch.xlogy`.
    #[track_caller]
    pub fn xlogy(&self, y: impl AsRef<Self>) -> Self {
        Self::from_any(self.as_any().xlogy(y.as_ref().as_any()))
    }

    /// 0 below zero, 1 above, and `values` at zero: `torch.heaviside`.
    #[track_caller]
    pub fn heaviside(&self, values: impl AsRef<Self>) -> Self {
        Self::from_any(self.as_any().heaviside(values.as_ref().as_any()))
    }

    /// NaN, plus and minus infinity replaced: `torch.nan_to_num`. `None` stands for the largest and
    /// the smallest finite number of the dtype.
    ///
    /// ```
    /// use kiln_tensor::Tensor;
    /// let x = Tensor::<1>::from([f32::NAN, 1.0, f32::NEG_INFINITY]);
    /// let y = x.nan_to_num(0.0, None, Some(-9.0));
    /// assert_eq!(y.into_data().to_vec::<f32>()?, [0.0, 1.0, -9.0]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    #[track_caller]
    pub fn nan_to_num(&self, nan: f64, posinf: Option<f64>, neginf: Option<f64>) -> Self {
        Self::from_any(self.as_any().nan_to_num(nan, posinf, neginf))
    }

    /// `self + weight (end - self)` with a weight for each element: `torch.lerp`.
    #[track_caller]
    pub fn lerp(&self, end: impl AsRef<Self>, weight: impl AsRef<Self>) -> Self {
        let (end, weight) = (end.as_ref().as_any(), weight.as_ref().as_any());
        Self::from_any(self.as_any().lerp(end, weight))
    }

    /// As [`Tensor::lerp`] with one weight for all.
    #[track_caller]
    pub fn lerp_scalar(&self, end: impl AsRef<Self>, weight: f64) -> Self {
        Self::from_any(self.as_any().lerp_scalar(end.as_ref().as_any(), weight))
    }

    /// `self + value * a * b`: `torch.addcmul`.
    #[track_caller]
    pub fn addcmul(&self, a: impl AsRef<Self>, b: impl AsRef<Self>, value: f64) -> Self {
        self.add(a.as_ref().mul(b).mul_scalar(value))
    }

    /// `self + value * a / b`: `torch.addcdiv`.
    #[track_caller]
    pub fn addcdiv(&self, a: impl AsRef<Self>, b: impl AsRef<Self>, value: f64) -> Self {
        self.add(a.as_ref().div(b).mul_scalar(value))
    }

    /// `log(sum(e^x))` along `dim`, which stays with extent 1, without overflow:
    /// `torch.logsumexp(keepdim=True)`.
    ///
    /// ```
    /// use kiln_tensor::Tensor;
    /// let x = Tensor::<1>::from([1000.0, 1000.0]);
    /// assert_eq!(x.logsumexp(0).into_scalar::<f32>(), 1000.0 + 2f32.ln());
    /// ```
    #[track_caller]
    pub fn logsumexp(&self, dim: impl AxisIndex) -> Self {
        let axis = resolve_axis("logsumexp", dim, D).or_fail();
        Self::from_any(self.as_any().logsumexp(axis))
    }
}
