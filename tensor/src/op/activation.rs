//! Activations: functions of one element with a fused derivative.

use smallvec::{SmallVec, smallvec};

use super::{Keeps, Meta, Metas, Operation, UnaryKind, check, one};
use crate::{AnyTensor, Result, Scalar};

/// A function of one element that follows a product or a layer, and whose derivative is one fused
/// pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Activation {
    Relu,
    Sigmoid,
    Tanh,
    Gelu,
    GeluTanh,
    Silu,
    Softplus,
}

impl Activation {
    /// Every activation.
    pub const ALL: [Activation; 7] = [
        Activation::Relu,
        Activation::Sigmoid,
        Activation::Tanh,
        Activation::Gelu,
        Activation::GeluTanh,
        Activation::Silu,
        Activation::Softplus,
    ];

    /// The function as an operation of its own.
    pub const fn unary(self) -> UnaryKind {
        match self {
            Activation::Relu => UnaryKind::Relu,
            Activation::Sigmoid => UnaryKind::Sigmoid,
            Activation::Tanh => UnaryKind::Tanh,
            Activation::Gelu => UnaryKind::Gelu,
            Activation::GeluTanh => UnaryKind::GeluTanh,
            Activation::Silu => UnaryKind::Silu,
            Activation::Softplus => UnaryKind::Softplus,
        }
    }

    /// Whether the derivative is computed from the output. Otherwise it needs the input, and a
    /// fused layer that forgets it can not be differentiated.
    pub const fn derivative_from_output(self) -> bool {
        matches!(self, Activation::Relu | Activation::Sigmoid | Activation::Tanh)
    }
}

/// The gradient of an [`Activation`] in one pass: `dx = dy * f'(x)`.
///
/// Inputs: the activation's output `y` or input `x` (see [`Activation::derivative_from_output`]),
/// and `dy`; all of one shape and float dtype, as the result.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ActivationBackward {
    /// The activation.
    pub activation: Activation,
}

impl Operation for ActivationBackward {
    fn name(&self) -> &'static str {
        "activation_backward"
    }

    fn infer(&self, inputs: &[Meta]) -> Result<Metas> {
        let [saved, _] = check::arity(self.name(), inputs)?;
        check::floats(self.name(), inputs)?;
        check::same_shape(self.name(), inputs)?;
        Ok(one(*saved))
    }

    fn keeps(&self, _: u32) -> Keeps {
        Keeps::INPUTS
    }

    fn flops(&self, _: &[Meta], outputs: &[Meta]) -> u64 {
        10 * outputs[0].len() as u64
    }

    fn elementwise(&self) -> bool {
        true
    }

    fn decompose(&self, inputs: &[&AnyTensor]) -> Option<SmallVec<[AnyTensor; 1]>> {
        let (saved, dy) = (inputs[0], inputs[1]);
        let slope = match self.activation {
            Activation::Relu => {
                let zero = Scalar::Float(0.0);
                return Some(smallvec![dy.mul(&saved.greater_scalar(zero).cast(dy.dtype()))]);
            }
            Activation::Sigmoid => saved.mul(&saved.neg().add_scalar(1.0)),
            Activation::Tanh => saved.square().neg().add_scalar(1.0),
            // Phi(x) + x phi(x)
            Activation::Gelu => {
                let cdf = saved.mul_scalar(0.5f64.sqrt()).erf().add_scalar(1.0).mul_scalar(0.5);
                let density = saved.square().mul_scalar(-0.5).exp();
                let density = density.mul_scalar(1.0 / (2.0 * std::f64::consts::PI).sqrt());
                cdf.add(&saved.mul(&density))
            }
            // y = x/2 (1 + t), t = tanh(u), u = c (x + a x^3)
            Activation::GeluTanh => {
                let (c, a) = ((2.0 / std::f64::consts::PI).sqrt(), 0.044715);
                let cube = saved.square().mul(saved);
                let t = saved.add(&cube.mul_scalar(a)).mul_scalar(c).tanh();
                let du = saved.square().mul_scalar(3.0 * a).add_scalar(1.0).mul_scalar(c);
                let dt = t.square().neg().add_scalar(1.0).mul(&du);
                t.add_scalar(1.0).add(&saved.mul(&dt)).mul_scalar(0.5)
            }
            // s (1 + x (1 - s))
            Activation::Silu => {
                let s = saved.sigmoid();
                s.mul(&saved.mul(&s.neg().add_scalar(1.0)).add_scalar(1.0))
            }
            Activation::Softplus => saved.sigmoid(),
        };
        Some(smallvec![dy.mul(&slope)])
    }

    #[cfg(any(test, feature = "samples"))]
    fn samples(samples: &mut super::samples::Samples) {
        use super::samples::float;
        for activation in Activation::ALL {
            samples.case(ActivationBackward { activation }, [float([3, 5]), float([3, 5])]);
        }
    }
}
