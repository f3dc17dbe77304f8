//! Operations that compute each output element from the input elements at the same index.

use smallvec::{SmallVec, smallvec};

use super::{Keeps, Meta, Metas, Operation, check, one};
use crate::{AnyTensor, DType, Error, Result, Scalar};

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
    /// -1, 0 or 1.
    Sign,
    Square,
    /// Logical not of bools, bitwise not of integers.
    Not,
    Recip,
    Sqrt,
    Rsqrt,
    Exp,
    ExpM1,
    Log,
    Log2,
    Log10,
    Log1p,
    Sin,
    Cos,
    Tan,
    Erf,
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
    pub const ALL: [UnaryKind; 29] = {
        use UnaryKind::*;
        [
            Neg, Abs, Sign, Square, Not, Recip, Sqrt, Rsqrt, Exp, ExpM1, Log, Log2, Log10, Log1p,
            Sin, Cos, Tan, Erf, Floor, Ceil, Round, Trunc, Relu, Sigmoid, Tanh, Gelu, GeluTanh,
            Silu, Softplus,
        ]
    };

    /// Whether integers are accepted.
    const fn on_ints(self) -> bool {
        use UnaryKind::*;
        matches!(self, Neg | Abs | Sign | Square | Not | Relu)
    }

    const fn name(self) -> &'static str {
        use UnaryKind::*;
        match self {
            Neg => "neg",
            Abs => "abs",
            Sign => "sign",
            Square => "square",
            Not => "not",
            Recip => "recip",
            Sqrt => "sqrt",
            Rsqrt => "rsqrt",
            Exp => "exp",
            ExpM1 => "expm1",
            Log => "log",
            Log2 => "log2",
            Log10 => "log10",
            Log1p => "log1p",
            Sin => "sin",
            Cos => "cos",
            Tan => "tan",
            Erf => "erf",
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
            UnaryKind::Not => !x.dtype.is_float(),
            kind => x.dtype.is_float() || (x.dtype.is_int() && kind.on_ints()),
        };
        if !accepted {
            return Err(check::dtype_error(self.name(), inputs, "not defined for this dtype"));
        }
        Ok(one(*x))
    }

    fn keeps(&self, _: u32) -> Keeps {
        use UnaryKind::*;
        match self.kind {
            Neg | Sign | Not | Floor | Ceil | Round | Trunc => Keeps::NOTHING,
            Recip | Sqrt | Rsqrt | Exp | ExpM1 | Relu | Sigmoid | Tanh => Keeps::OUTPUT,
            Abs | Square | Log | Log2 | Log10 | Log1p | Sin | Cos | Tan | Erf => Keeps::INPUT,
            Gelu | GeluTanh | Silu | Softplus => Keeps::INPUT,
        }
    }

    fn flops(&self, _: &[Meta], outputs: &[Meta]) -> u64 {
        use UnaryKind::*;
        let each = match self.kind {
            Neg | Abs | Sign | Square | Not | Recip | Sqrt | Rsqrt => 1,
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
        use super::samples::{bool, float, float_in, int};
        for kind in UnaryKind::ALL {
            use UnaryKind::*;
            let op = Unary { kind };
            match kind {
                Not => samples.rough(op, [bool([3, 5])]),
                Log | Log2 | Log10 | Sqrt | Rsqrt | Recip => {
                    samples.case(op, [float_in([3, 5], 0.1, 3.0)])
                }
                Log1p => samples.case(op, [float_in([3, 5], -0.8, 3.0)]),
                // Tangent is smooth, but its third derivative near pi/2 is beyond differences.
                Tan => samples.case(op, [float_in([3, 5], -1.2, 1.2)]),
                _ => samples.case(op, [float([3, 5])]),
            }
            if kind.on_ints() {
                samples.rough(op, [int([3, 5], -9, 9)]);
            }
        }
        for shape in [vec![0, 4], vec![1], vec![1031], vec![2, 3, 4, 5]] {
            samples.case(Unary { kind: UnaryKind::Exp }, [float(shape)]);
        }
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

/// A function of two elements; the inputs broadcast against each other.
///
/// Inputs: two tensors of one dtype. Result: the broadcast shape; the same dtype, or bool for a
/// comparison.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Binary {
    /// The function.
    pub kind: BinaryKind,
}

/// The functions of [`Binary`] and [`BinaryScalar`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum BinaryKind {
    Add,
    Sub,
    Mul,
    /// Integers are cut toward zero, and division by zero is an error.
    Div,
    /// Remainder with the sign of the divisor, as `torch.remainder`.
    Rem,
    Pow,
    /// NaN if either is NaN.
    Max,
    /// NaN if either is NaN.
    Min,
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    /// Logical for bools, bitwise for integers.
    And,
    /// Logical for bools, bitwise for integers.
    Or,
    /// Logical for bools, bitwise for integers.
    Xor,
}

impl BinaryKind {
    /// Every function, for tables and tests.
    pub const ALL: [BinaryKind; 17] = {
        use BinaryKind::*;
        [
            Add,
            Sub,
            Mul,
            Div,
            Rem,
            Pow,
            Max,
            Min,
            Equal,
            NotEqual,
            Less,
            LessEqual,
            Greater,
            GreaterEqual,
            And,
            Or,
            Xor,
        ]
    };

    /// Whether the result is bool whatever the inputs are.
    #[inline]
    pub const fn is_comparison(self) -> bool {
        use BinaryKind::*;
        matches!(self, Equal | NotEqual | Less | LessEqual | Greater | GreaterEqual)
    }

    /// Whether this works on bits.
    #[inline]
    pub const fn is_logical(self) -> bool {
        matches!(self, BinaryKind::And | BinaryKind::Or | BinaryKind::Xor)
    }

    const fn name(self) -> &'static str {
        use BinaryKind::*;
        match self {
            Add => "add",
            Sub => "sub",
            Mul => "mul",
            Div => "div",
            Rem => "remainder",
            Pow => "pow",
            Max => "maximum",
            Min => "minimum",
            Equal => "equal",
            NotEqual => "not_equal",
            Less => "lower",
            LessEqual => "lower_equal",
            Greater => "greater",
            GreaterEqual => "greater_equal",
            And => "and",
            Or => "or",
            Xor => "xor",
        }
    }

    #[inline]
    fn result(self, op: &'static str, inputs: &[Meta]) -> Result<DType> {
        let dtype = inputs[0].dtype;
        let accepted = match dtype {
            DType::Bool => self.is_logical() || self.is_comparison(),
            dtype => dtype.is_int() || !self.is_logical(),
        };
        if !accepted {
            return Err(check::dtype_error(op, inputs, "not defined for this dtype"));
        }
        Ok(if self.is_comparison() { DType::Bool } else { dtype })
    }
}

impl Operation for Binary {
    fn name(&self) -> &'static str {
        self.kind.name()
    }

    #[inline]
    fn infer(&self, inputs: &[Meta]) -> Result<Metas> {
        let [a, b] = check::arity(self.name(), inputs)?;
        check::same_dtype(self.name(), inputs)?;
        let dtype = self.kind.result(self.name(), inputs)?;
        let Some(shape) = a.shape.broadcast(&b.shape) else {
            let rule = "aligned at the last axis, extents must be equal or one of them 1";
            return Err(check::shape_error(self.name(), inputs, rule));
        };
        Ok(one(Meta { shape, dtype }))
    }

    fn keeps(&self, tracked: u32) -> Keeps {
        use BinaryKind::*;
        match self.kind {
            // The derivative by one factor is the other.
            Mul => Keeps { inputs: (tracked & 1) << 1 | (tracked >> 1 & 1), outputs: 0 },
            Div => Keeps { inputs: 0b10 | (tracked >> 1 & 1), outputs: 0 },
            Rem | Max | Min => Keeps::INPUTS,
            Pow => Keeps { inputs: 0b11, outputs: 1 },
            _ => Keeps::NOTHING,
        }
    }

    fn flops(&self, _: &[Meta], outputs: &[Meta]) -> u64 {
        let each = if self.kind == BinaryKind::Pow { 20 } else { 1 };
        each * outputs[0].len() as u64
    }

    fn elementwise(&self) -> bool {
        true
    }

    #[cfg(any(test, feature = "samples"))]
    fn samples(samples: &mut super::samples::Samples) {
        use super::samples::{bool, float, float_in, int};
        for kind in BinaryKind::ALL {
            use BinaryKind::*;
            let op = Binary { kind };
            if kind.is_logical() || kind.is_comparison() {
                samples.rough(op, [bool([3, 5]), bool([3, 5])]);
            }
            if kind != Pow && !matches!(kind, Equal | NotEqual) {
                samples.rough(op, [int([3, 5], -9, 9), int([3, 5], 1, 9)]);
            }
            match kind {
                And | Or | Xor => {}
                Equal | NotEqual => samples.rough(op, [int([30], 0, 3), int([30], 0, 3)]),
                Less | LessEqual | Greater | GreaterEqual => {
                    samples.rough(op, [float([3, 5]), float([3, 5])])
                }
                Pow => {
                    samples.case(op, [float_in([3, 5], 0.2, 2.0), float([3, 5])]);
                    samples.rough(op, [int([3, 5], -3, 4), int([3, 5], 0, 4)]);
                }
                // The quotient must stay away from whole numbers, where the remainder jumps.
                Rem => {
                    samples.rough(op, [float([3, 5]), float_in([3, 5], 0.5, 2.0)]);
                    samples.case(op, [float_in([6], 0.1, 0.9), float_in([6], 1.0, 2.0)]);
                }
                Div => samples.case(op, [float([3, 5]), float_in([3, 5], 0.5, 2.0)]),
                _ => samples.case(op, [float([3, 5]), float([3, 5])]),
            }
        }
        let (add, mul) = (Binary { kind: BinaryKind::Add }, Binary { kind: BinaryKind::Mul });
        samples.case(add, [float([2, 1, 4]), float([3, 1])]);
        samples.case(mul, [float([5]), float([2, 3, 5])]);
        samples.case(mul, [float([2, 3, 1]), float([1])]);
        samples.case(add, [float([0, 4]), float([4])]);
        samples.case(mul, [float([1031]), float([2, 1031])]);
    }
}

/// A function of each element and one number.
///
/// `x`: `[..]`. Result: same shape; the same dtype, or bool for a comparison. The number takes the
/// dtype of the tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BinaryScalar {
    /// The function.
    pub kind: BinaryKind,
    /// The number.
    pub scalar: Scalar,
    /// Whether the number is the left operand.
    pub reversed: bool,
}

impl Operation for BinaryScalar {
    fn name(&self) -> &'static str {
        self.kind.name()
    }

    #[inline]
    fn infer(&self, inputs: &[Meta]) -> Result<Metas> {
        let [x] = check::arity(self.name(), inputs)?;
        let dtype = self.kind.result(self.name(), inputs)?;
        let zero = !x.dtype.is_float() && self.scalar.to_i64() == 0;
        if zero && !self.reversed && matches!(self.kind, BinaryKind::Div | BinaryKind::Rem) {
            return Err(Error::Argument { op: self.name(), rule: "division by zero".into() });
        }
        Ok(one(Meta { shape: x.shape, dtype }))
    }

    fn keeps(&self, _: u32) -> Keeps {
        use BinaryKind::*;
        match self.kind {
            Div if self.reversed => Keeps::INPUT,
            Rem if self.reversed => Keeps::INPUT,
            Max | Min => Keeps::INPUT,
            Pow => Keeps { inputs: 1, outputs: self.reversed as u32 },
            _ => Keeps::NOTHING,
        }
    }

    fn elementwise(&self) -> bool {
        true
    }

    #[cfg(any(test, feature = "samples"))]
    fn samples(samples: &mut super::samples::Samples) {
        use super::samples::{float, float_in, int};
        use BinaryKind::*;
        for kind in BinaryKind::ALL {
            for reversed in [false, true] {
                let op = BinaryScalar { kind, scalar: Scalar::Float(1.5), reversed };
                match kind {
                    And | Or | Xor => {}
                    Pow => samples.case(op, [float_in([3, 5], 0.2, 2.0)]),
                    Rem if reversed => samples.case(op, [float_in([7], 2.0, 2.9)]),
                    Rem => samples.case(op, [float_in([7], 0.1, 1.4)]),
                    Div => samples.case(op, [float_in([7], 0.5, 2.0)]),
                    Add | Sub | Mul | Max | Min => samples.case(op, [float([3, 5])]),
                    _ => samples.rough(op, [float([3, 5])]),
                }
                if !matches!(kind, Pow) {
                    let op = BinaryScalar { kind, scalar: Scalar::Int(2), reversed };
                    samples.rough(op, [int([7], 1, 9)]);
                }
            }
        }
        for power in [0, 1, 2, 3] {
            let op = BinaryScalar { kind: Pow, scalar: Scalar::Int(power), reversed: false };
            samples.case(op, [float([3, 5])]);
        }
    }
}

/// `a` where the mask is true, `b` elsewhere; all three broadcast.
///
/// Inputs: a bool mask, `a`, `b` of one dtype. Result: the broadcast shape.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Where;

impl Operation for Where {
    fn name(&self) -> &'static str {
        "where"
    }

    fn infer(&self, inputs: &[Meta]) -> Result<Metas> {
        let [mask, a, b] = check::arity(self.name(), inputs)?;
        check::same_dtype(self.name(), &inputs[1..])?;
        if mask.dtype != DType::Bool {
            return Err(check::dtype_error(self.name(), inputs, "the mask must be bool"));
        }
        let shape = a.shape.broadcast(&b.shape).and_then(|shape| shape.broadcast(&mask.shape));
        let Some(shape) = shape else {
            let rule = "aligned at the last axis, extents must be equal or 1";
            return Err(check::shape_error(self.name(), inputs, rule));
        };
        Ok(one(Meta { shape, dtype: a.dtype }))
    }

    fn keeps(&self, _: u32) -> Keeps {
        Keeps::INPUT
    }

    #[cfg(any(test, feature = "samples"))]
    fn samples(samples: &mut super::samples::Samples) {
        use super::samples::{bool, float, int};
        samples.case(Where, [bool([3, 5]), float([3, 5]), float([3, 5])]);
        samples.case(Where, [bool([3, 1]), float([5]), float([1])]);
        samples.rough(Where, [bool([7]), int([7], -5, 5), int([7], -5, 5)]);
        samples.rough(Where, [bool([7]), bool([7]), bool([7])]);
    }
}

/// The same numbers as another dtype, or, with the same dtype, a contiguous copy. Floats to
/// integers are cut toward zero; anything but zero is true.
///
/// `x`: `[..]` of any dtype and layout. Result: same shape, contiguous.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cast {
    /// The dtype of the result.
    pub dtype: DType,
}

impl Operation for Cast {
    fn name(&self) -> &'static str {
        "cast"
    }

    fn infer(&self, inputs: &[Meta]) -> Result<Metas> {
        let [x] = check::arity(self.name(), inputs)?;
        Ok(one(Meta { shape: x.shape, dtype: self.dtype }))
    }

    fn keeps(&self, _: u32) -> Keeps {
        Keeps::NOTHING
    }

    fn flops(&self, _: &[Meta], _: &[Meta]) -> u64 {
        0
    }

    #[cfg(any(test, feature = "samples"))]
    fn samples(samples: &mut super::samples::Samples) {
        use super::samples::{bool, float, int};
        for dtype in DType::ALL {
            let op = Cast { dtype };
            samples.rough(op, [float([3, 5])]);
            samples.rough(op, [int([3, 5], 0, 100)]);
            samples.rough(op, [bool([3, 5])]);
        }
        samples.case(Cast { dtype: DType::F64 }, [float([3, 5])]);
        samples.case(Cast { dtype: DType::F64 }, [float([0, 2])]);
    }
}
