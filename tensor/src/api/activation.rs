//! Activation functions, as in `torch.nn.functional`.

use crate::error::OrFail;
use crate::op::{BinaryKind, Softmax, UnaryKind};
use crate::shape::{AxisIndex, resolve_axis};
use crate::tensor::Tensor;

macro_rules! activations {
    ($($(#[$doc:meta])* $name:ident: $kind:ident;)*) => {$(
        $(#[$doc])*
        #[track_caller]
        pub fn $name<const D: usize>(x: impl AsRef<Tensor<D>>) -> Tensor<D> {
            Tensor::from_any(x.as_ref().as_any().unary(UnaryKind::$kind))
        }
    )*};
}

activations! {
    /// `max(x, 0)`; its derivative at 0 is 0.
    relu: Relu;
    /// `x * Phi(x)`, exact by the error function (Hendrycks & Gimpel 2016).
    ///
    /// ```
    /// use kiln_tensor::{Tensor, activation};
    /// let y = activation::gelu(Tensor::<1>::from([1.0]));
    /// assert!((y.into_scalar::<f64>() - 0.841345).abs() < 1e-6);
    /// ```
    gelu: Gelu;
    /// GELU approximated with tanh, as GPT-2 uses it: `torch.nn.functional.gelu(approximate="tanh")`.
    gelu_approximate: GeluTanh;
    /// `x * sigmoid(x)`, also called swish.
    silu: Silu;
    /// `1 / (1 + exp(-x))`.
    sigmoid: Sigmoid;
    /// The hyperbolic tangent.
    tanh: Tanh;
}

macro_rules! composed {
    ($($(#[$doc:meta])* $name:ident($($argument:ident),*) = |$x:ident| $value:expr;)*) => {$(
        $(#[$doc])*
        #[track_caller]
        pub fn $name<const D: usize>(x: impl AsRef<Tensor<D>>, $($argument: f64),*) -> Tensor<D> {
            let $x = x.as_ref().as_any();
            Tensor::from_any($value)
        }
    )*};
}

composed! {
    /// `x` above 0, `negative_slope * x` below.
    leaky_relu(negative_slope) = |x| x.leaky_relu(negative_slope);
    /// `x` between 0 and 6, else the nearer of them.
    relu6() = |x| x.hardtanh(0.0, 6.0);
    /// `x` between `min` and `max`, else the nearer of them.
    hardtanh(min, max) = |x| x.hardtanh(min, max);
    /// `alpha x + beta` between 0 and 1, else the nearer of them. PyTorch's `hardsigmoid` has
    /// `alpha` 1/6 and `beta` 1/2.
    hard_sigmoid(alpha, beta) = |x| x.hard_sigmoid(alpha, beta);
    /// 0 below -3, `x` above 3, `x (x + 3) / 6` between: `hardswish`.
    hard_swish() = |x| x.hard_swish();
    /// 0 from `-lambda` to `lambda`, `x` beyond: `hardshrink`.
    hard_shrink(lambda) = |x| x.shrink(lambda, 0.0);
    /// 0 from `-lambda` to `lambda`, beyond it `x` moved by `lambda` toward zero: `softshrink`.
    soft_shrink(lambda) = |x| x.shrink(lambda, lambda);
    /// 0 from `-lambda` to `lambda`, beyond it `x` moved by `bias` toward zero.
    shrink(lambda, bias) = |x| x.shrink(lambda, bias);
    /// `x - tanh(x)`.
    tanhshrink() = |x| x.sub(&x.tanh());
    /// `x` where it is larger than `threshold`, else `value`.
    threshold(threshold, value) = |x| x.threshold(threshold, value);
    /// `x` where it is larger than `alpha`, else 0.
    thresholded_relu(alpha) = |x| x.threshold(alpha, 0.0);
    /// `x` above 0, `alpha (e^x - 1)` below.
    elu(alpha) = |x| x.elu(alpha, 1.0);
    /// `x` above 0, `alpha (e^(x / alpha) - 1)` below. Panics if `alpha` is 0.
    celu(alpha) = |x| {
        if alpha == 0.0 {
            let rule = "alpha must not be 0".into();
            crate::fail(crate::Error::Argument { op: "celu", rule });
        }
        x.elu(alpha, alpha)
    };
    /// The self-normalising [`elu`] of Klambauer et al. (2017).
    selu() = |x| x.elu(1.673_263_242_354_377_2, 1.0).mul_scalar(1.050_700_987_355_480_5);
    /// `log(1 + e^(beta x)) / beta`, a smooth [`relu`]. Panics if `beta` is 0.
    softplus(beta) = |x| match beta {
        0.0 => {
            let rule = "beta must not be 0".into();
            crate::fail(crate::Error::Argument { op: "softplus", rule })
        }
        1.0 => x.softplus(),
        beta => x.mul_scalar(beta).softplus().div_scalar(beta),
    };
    /// [`softplus`], and `x` itself where `beta x` is above `threshold`:
    /// `torch.nn.functional.softplus`, whose `threshold` is 20 unless said otherwise.
    softplus_with_threshold(beta, threshold) = |x| {
        let (scaled, soft) = (x.mul_scalar(beta), softplus(Tensor::<D>::from_any(x.clone()), beta));
        x.select_where(&scaled.compare(BinaryKind::Greater, threshold), soft.as_any())
    };
    /// `x / (1 + |x|)`.
    softsign() = |x| x.div(&x.abs().add_scalar(1));
    /// `x tanh(softplus(x))` (Misra 2019).
    mish() = |x| x.mish();
    /// `log(sigmoid(x))`, accurate on both sides: `logsigmoid`.
    log_sigmoid() = |x| x.log_sigmoid();
}

/// `x` above 0, `alpha * x` below, with one `alpha` (`[1]`) or one for each channel, axis 1
/// (`[channels]`).
#[track_caller]
pub fn prelu<const D: usize>(x: impl AsRef<Tensor<D>>, alpha: impl AsRef<Tensor<1>>) -> Tensor<D> {
    Tensor::from_any(x.as_ref().as_any().prelu(alpha.as_ref().as_any()))
}

/// The first half along `dim` times the sigmoid of the second. Panics if the extent is odd.
#[track_caller]
pub fn glu<const D: usize>(x: impl AsRef<Tensor<D>>, dim: impl AxisIndex) -> Tensor<D> {
    let axis = resolve_axis("glu", dim, D).or_fail();
    Tensor::from_any(x.as_ref().as_any().glu(axis))
}

/// [`softmax`] of `-x`.
#[track_caller]
pub fn softmin<const D: usize>(x: impl AsRef<Tensor<D>>, dim: impl AxisIndex) -> Tensor<D> {
    softmax(x.as_ref().neg(), dim)
}

/// `e^x / (1 + sum(e^x))` along `dim`: all results are small where all inputs are.
#[track_caller]
pub fn quiet_softmax<const D: usize>(x: impl AsRef<Tensor<D>>, dim: impl AxisIndex) -> Tensor<D> {
    let axis = resolve_axis("quiet_softmax", dim, D).or_fail();
    Tensor::from_any(x.as_ref().as_any().quiet_softmax(axis))
}

/// Softmax along `dim`: see [`Softmax`]. Panics if `dim` is out of range.
///
/// ```
/// use kiln_tensor::{Tensor, activation};
/// let y = activation::softmax(Tensor::<2>::from([[1.0, 1.0, 1.0, 1.0]]), 1);
/// assert_eq!(y.into_data().to_vec::<f32>()?, [0.25; 4]);
/// # Ok::<(), kiln_tensor::Error>(())
/// ```
#[track_caller]
pub fn softmax<const D: usize>(x: impl AsRef<Tensor<D>>, dim: impl AxisIndex) -> Tensor<D> {
    normalize(x.as_ref(), dim, false)
}

/// The logarithm of [`softmax`], accurate where that underflows.
#[track_caller]
pub fn log_softmax<const D: usize>(x: impl AsRef<Tensor<D>>, dim: impl AxisIndex) -> Tensor<D> {
    normalize(x.as_ref(), dim, true)
}

#[track_caller]
fn normalize<const D: usize>(x: &Tensor<D>, dim: impl AxisIndex, log: bool) -> Tensor<D> {
    let axis = resolve_axis("softmax", dim, D).or_fail();
    x.apply(Softmax { axis, log }, &[])
}
