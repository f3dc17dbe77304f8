//! Activation functions, as in `torch.nn.functional`.

use crate::error::OrFail;
use crate::op::{Softmax, UnaryKind};
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
    /// `log(1 + exp(x))`.
    softplus: Softplus;
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
