//! Functions of one element.

use super::{Activation, Keeps, Meta, Metas, Operation, check, one};
use crate::{DType, Result};

/// A function of one element. `x`: `[..]`; result: same shape and dtype (`Not`: bool).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Unary {
    /// The function.
    pub kind: UnaryKind,
}

/// The functions of [`Unary`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum UnaryKind {
    Neg,
    Abs,
    /// The complex conjugate; only for complex numbers.
    Conj,
    /// -1, 0 or 1; NaN counts as 0, as in `torch.sign`.
    Sign,
    Square,
    /// Logical not of bools, bitwise not of integers.
    Not,
    Recip,
    Sqrt,
    Rsqrt,
    Exp,
    Exp2,
    ExpM1,
    Log,
    Log2,
    Log10,
    Log1p,
    Sin,
    Cos,
    Tan,
    Asin,
    Acos,
    Atan,
    Sinh,
    Cosh,
    Asinh,
    Acosh,
    Atanh,
    Erf,
    /// `1 - erf(x)`, accurate where that cancels.
    Erfc,
    /// The inverse of `erf`.
    ErfInv,
    /// `log(|Gamma(x)|)`.
    Lgamma,
    /// The derivative of `lgamma`.
    Digamma,
    /// The derivative of `digamma` of this order, from 1 to [`MAX_POLYGAMMA`].
    Polygamma(u8),
    Floor,
    Ceil,
    /// To the nearest integer, halves to even as IEEE 754 and `torch.round`.
    Round,
    Trunc,
    Relu,
    Sigmoid,
    Tanh,
    /// `x * Phi(x)` (Hendrycks & Gimpel 2016), exact by the error function.
    Gelu,
    /// GELU approximated with tanh, as GPT-2 uses it.
    GeluTanh,
    /// `x * sigmoid(x)`, also called swish.
    Silu,
    /// `log(1 + exp(x))`.
    Softplus,
}

/// The highest order of [`UnaryKind::Polygamma`].
pub const MAX_POLYGAMMA: u8 = 100;

impl UnaryKind {
    /// The same function as an [`Activation`], if it is one.
    pub const fn activation(self) -> Option<Activation> {
        Some(match self {
            UnaryKind::Relu => Activation::Relu,
            UnaryKind::Sigmoid => Activation::Sigmoid,
            UnaryKind::Tanh => Activation::Tanh,
            UnaryKind::Gelu => Activation::Gelu,
            UnaryKind::GeluTanh => Activation::GeluTanh,
            UnaryKind::Silu => Activation::Silu,
            UnaryKind::Softplus => Activation::Softplus,
            _ => return None,
        })
    }

    /// Every function, for tables and tests.
    pub const ALL: [UnaryKind; 46] = {
        use UnaryKind::*;
        [
            Neg,
            Abs,
            Conj,
            Sign,
            Square,
            Not,
            Recip,
            Sqrt,
            Rsqrt,
            Exp,
            Exp2,
            ExpM1,
            Log,
            Log2,
            Log10,
            Log1p,
            Sin,
            Cos,
            Tan,
            Asin,
            Acos,
            Atan,
            Sinh,
            Cosh,
            Asinh,
            Acosh,
            Atanh,
            Erf,
            Erfc,
            ErfInv,
            Lgamma,
            Digamma,
            Polygamma(1),
            Polygamma(2),
            Polygamma(3),
            Floor,
            Ceil,
            Round,
            Trunc,
            Relu,
            Sigmoid,
            Tanh,
            Gelu,
            GeluTanh,
            Silu,
            Softplus,
        ]
    };

    /// Whether integers are accepted.
    const fn on_ints(self) -> bool {
        use UnaryKind::*;
        matches!(self, Neg | Abs | Sign | Square | Not | Relu)
    }

    /// Whether complex numbers are accepted.
    pub const fn on_complex(self) -> bool {
        use UnaryKind::*;
        matches!(self, Neg | Conj | Square | Recip | Sqrt | Rsqrt | Exp | ExpM1 | Log | Log2)
            || matches!(self, Log10 | Log1p | Sin | Cos | Tan | Tanh | Sigmoid)
    }

    const fn name(self) -> &'static str {
        use UnaryKind::*;
        match self {
            Neg => "neg",
            Abs => "abs",
            Conj => "conj",
            Sign => "sign",
            Square => "square",
            Not => "not",
            Recip => "recip",
            Sqrt => "sqrt",
            Rsqrt => "rsqrt",
            Exp => "exp",
            Exp2 => "exp2",
            ExpM1 => "expm1",
            Log => "log",
            Log2 => "log2",
            Log10 => "log10",
            Log1p => "log1p",
            Sin => "sin",
            Cos => "cos",
            Tan => "tan",
            Asin => "asin",
            Acos => "acos",
            Atan => "atan",
            Sinh => "sinh",
            Cosh => "cosh",
            Asinh => "asinh",
            Acosh => "acosh",
            Atanh => "atanh",
            Erf => "erf",
            Erfc => "erfc",
            ErfInv => "erfinv",
            Lgamma => "lgamma",
            Digamma => "digamma",
            Polygamma(_) => "polygamma",
            Floor => "floor",
            Ceil => "ceil",
            Round => "round",
            Trunc => "trunc",
            Relu => "relu",
            Sigmoid => "sigmoid",
            Tanh => "tanh",
            Gelu => "gelu",
            GeluTanh => "gelu_tanh",
            Silu => "silu",
            Softplus => "softplus",
        }
    }
}

impl Operation for Unary {
    fn name(&self) -> &'static str {
        self.kind.name()
    }

    fn infer(&self, inputs: &[Meta]) -> Result<Metas> {
        let [x] = check::arity(self.name(), inputs)?;
        let accepted = match self.kind {
            kind if x.dtype.is_complex() => kind.on_complex(),
            UnaryKind::Not => !x.dtype.is_float(),
            UnaryKind::Conj => false,
            kind => x.dtype.is_float() || (x.dtype.is_int() && kind.on_ints()),
        };
        if !accepted {
            return Err(check::dtype_error(self.name(), inputs, "not defined for this dtype"));
        }
        if let UnaryKind::Polygamma(order) = self.kind
            && !(1..=MAX_POLYGAMMA).contains(&order)
        {
            let rule = format!("the order must be from 1 to {MAX_POLYGAMMA}, found {order}");
            return Err(check::argument(self.name(), rule));
        }
        Ok(one(*x))
    }

    #[inline]
    fn preserves_meta(&self, dtype: DType, inputs: usize) -> bool {
        // A polygamma checks its order.
        let checked =
            matches!(self.kind, UnaryKind::Not | UnaryKind::Conj | UnaryKind::Polygamma(_));
        inputs == 1 && dtype.is_float() && !checked
    }

    fn keeps(&self, _: u32) -> Keeps {
        use UnaryKind::*;
        match self.kind {
            Neg | Conj | Sign | Not | Floor | Ceil | Round | Trunc => Keeps::NOTHING,
            Recip | Sqrt | Rsqrt | Exp | Exp2 | ExpM1 | Relu | Sigmoid | Tanh => Keeps::OUTPUT,
            ErfInv => Keeps::OUTPUT,
            Abs | Square | Log | Log2 | Log10 | Log1p | Sin | Cos | Tan => Keeps::INPUT,
            Asin | Acos | Atan | Sinh | Cosh | Asinh | Acosh | Atanh => Keeps::INPUT,
            Erf | Erfc | Lgamma | Digamma | Polygamma(_) => Keeps::INPUT,
            Gelu | GeluTanh | Silu | Softplus => Keeps::INPUT,
        }
    }

    fn flops(&self, _: &[Meta], outputs: &[Meta]) -> u64 {
        use UnaryKind::*;
        let each = match self.kind {
            Neg | Abs | Conj | Sign | Square | Not | Recip | Sqrt | Rsqrt => 1,
            Floor | Ceil | Round | Trunc | Relu => 1,
            _ => 10,
        };
        each * outputs[0].len() as u64
    }

    fn elementwise(&self) -> bool {
        true
    }

    #[cfg(any(test, feature = "samples"))]
    fn samples(samples: &mut super::samples::Samples) {
        use super::samples::{bool, complex, complex_in, float, float_in, int};
        for kind in UnaryKind::ALL {
            use UnaryKind::*;
            let op = Unary { kind };
            match kind {
                Not => samples.rough(op, [bool([3, 5])]),
                Conj => {}
                Log | Log2 | Log10 | Sqrt | Rsqrt | Recip => {
                    samples.case(op, [float_in([3, 5], 0.1, 3.0)])
                }
                Log1p => samples.case(op, [float_in([3, 5], -0.8, 3.0)]),
                // Tangent is smooth, but its third derivative near pi/2 is beyond differences.
                Tan => samples.case(op, [float_in([3, 5], -1.2, 1.2)]),
                Asin | Acos | Atanh | ErfInv => samples.case(op, [float_in([3, 5], -0.7, 0.7)]),
                Acosh => samples.case(op, [float_in([3, 5], 1.3, 4.0)]),
                Lgamma | Digamma | Polygamma(_) => {
                    samples.case(op, [float_in([3, 5], 0.8, 5.0)]);
                    // Between two poles.
                    samples.case(op, [float_in([7], -1.7, -1.3)]);
                }
                _ => samples.case(op, [float([3, 5])]),
            }
            if kind.on_ints() {
                samples.rough(op, [int([3, 5], -9, 9)]);
            }
            if kind.on_complex() {
                samples.case(op, [complex_in([3, 5], 0.2, 1.5)]);
                samples.rough(op, [complex([2, 37])]);
                samples.rough(op, [complex([0])]);
            }
        }
        for shape in [vec![0, 4], vec![1], vec![1031], vec![2, 3, 4, 5]] {
            samples.case(Unary { kind: UnaryKind::Exp }, [float(shape)]);
        }
    }
}
