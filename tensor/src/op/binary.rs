//! Functions of two elements, or of an element and a number.

use super::{Keeps, Meta, Metas, Operation, check, one};
use crate::{DType, Result, Scalar};

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
    /// The quotient cut toward minus infinity.
    FloorDiv,
    /// Remainder with the sign of the divisor, as `torch.remainder`.
    Rem,
    /// Remainder with the sign of the dividend, as `torch.fmod`.
    Fmod,
    Pow,
    /// NaN if either is NaN.
    Max,
    /// NaN if either is NaN.
    Min,
    /// The angle of the point whose y is the first and whose x is the second.
    Atan2,
    /// `sqrt(a^2 + b^2)` without overflow.
    Hypot,
    /// The magnitude of the first with the sign of the second.
    CopySign,
    /// `log(e^a + e^b)` without overflow.
    LogAddExp,
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
    /// Integers by as many bits as the second says; 0 if that is negative or all bits leave.
    ShiftLeft,
    /// Integers by as many bits as the second says, with copies of the sign; nothing but copies of
    /// the sign if that is negative or all bits leave.
    ShiftRight,
}

impl BinaryKind {
    /// Every function, for tables and tests.
    pub const ALL: [BinaryKind; 25] = {
        use BinaryKind::*;
        [
            Add,
            Sub,
            Mul,
            Div,
            FloorDiv,
            Rem,
            Fmod,
            Pow,
            Max,
            Min,
            Atan2,
            Hypot,
            CopySign,
            LogAddExp,
            Equal,
            NotEqual,
            Less,
            LessEqual,
            Greater,
            GreaterEqual,
            And,
            Or,
            Xor,
            ShiftLeft,
            ShiftRight,
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
        matches!(self, BinaryKind::And | BinaryKind::Or | BinaryKind::Xor) || self.is_shift()
    }

    /// Whether this is defined for complex numbers.
    const fn on_complex(self) -> bool {
        use BinaryKind::*;
        matches!(self, Add | Sub | Mul | Div | Pow | Equal | NotEqual)
    }

    /// Whether this moves the bits of integers.
    #[inline]
    pub const fn is_shift(self) -> bool {
        matches!(self, BinaryKind::ShiftLeft | BinaryKind::ShiftRight)
    }

    /// Whether this divides: integers can not be divided by zero.
    #[inline]
    pub(crate) const fn divides(self) -> bool {
        use BinaryKind::*;
        matches!(self, Div | FloorDiv | Rem | Fmod)
    }

    /// Whether this is defined for floats only.
    #[inline]
    const fn needs_floats(self) -> bool {
        use BinaryKind::*;
        matches!(self, Atan2 | Hypot | CopySign | LogAddExp)
    }

    /// The same comparison with the operands exchanged.
    pub(crate) const fn mirrored(self) -> Self {
        use BinaryKind::*;
        match self {
            Less => Greater,
            LessEqual => GreaterEqual,
            Greater => Less,
            GreaterEqual => LessEqual,
            kind => kind,
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        use BinaryKind::*;
        match self {
            Add => "add",
            Sub => "sub",
            Mul => "mul",
            Div => "div",
            FloorDiv => "floor_divide",
            Rem => "remainder",
            Fmod => "fmod",
            Pow => "pow",
            Max => "maximum",
            Min => "minimum",
            Atan2 => "atan2",
            Hypot => "hypot",
            CopySign => "copysign",
            LogAddExp => "logaddexp",
            Equal => "equal",
            NotEqual => "not_equal",
            Less => "lower",
            LessEqual => "lower_equal",
            Greater => "greater",
            GreaterEqual => "greater_equal",
            And => "and",
            Or => "or",
            Xor => "xor",
            ShiftLeft => "shift_left",
            ShiftRight => "shift_right",
        }
    }

    #[inline]
    fn result(self, op: &'static str, inputs: &[Meta]) -> Result<DType> {
        let dtype = inputs[0].dtype;
        let accepted = match dtype {
            DType::Bool => (self.is_logical() && !self.is_shift()) || self.is_comparison(),
            dtype if dtype.is_complex() => self.on_complex(),
            dtype if dtype.is_float() => !self.is_logical(),
            _ => !self.needs_floats(),
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

    #[inline]
    fn preserves_meta(&self, dtype: DType, inputs: usize) -> bool {
        inputs == 2 && dtype.is_float() && !self.kind.is_comparison() && !self.kind.is_logical()
    }

    fn keeps(&self, tracked: u32) -> Keeps {
        use BinaryKind::*;
        match self.kind {
            // The derivative by one factor is the other.
            Mul => Keeps { inputs: (tracked & 1) << 1 | (tracked >> 1 & 1), outputs: 0 },
            Div => Keeps { inputs: 0b10 | (tracked >> 1 & 1), outputs: 0 },
            Rem | Fmod | Max | Min => Keeps::INPUTS,
            Atan2 | Hypot | CopySign | LogAddExp => Keeps::INPUTS,
            Pow => Keeps { inputs: 0b11, outputs: 1 },
            _ => Keeps::NOTHING,
        }
    }

    fn flops(&self, _: &[Meta], outputs: &[Meta]) -> u64 {
        let each = match self.kind {
            BinaryKind::Pow | BinaryKind::Atan2 | BinaryKind::LogAddExp => 20,
            _ => 1,
        };
        each * outputs[0].len() as u64
    }

    fn elementwise(&self) -> bool {
        true
    }

    #[cfg(any(test, feature = "samples"))]
    fn samples(samples: &mut super::samples::Samples) {
        use super::samples::{bool, complex, complex_in, float, float_in, int};
        for kind in BinaryKind::ALL {
            use BinaryKind::*;
            let op = Binary { kind };
            if (kind.is_logical() && !kind.is_shift()) || kind.is_comparison() {
                samples.rough(op, [bool([3, 5]), bool([3, 5])]);
            }
            if !matches!(kind, Pow | Equal | NotEqual) && !kind.needs_floats() {
                samples.rough(op, [int([3, 5], -9, 9), int([3, 5], 1, 9)]);
            }
            match kind {
                And | Or | Xor => {}
                ShiftLeft | ShiftRight => {
                    samples.rough(op, [int([30], -9, 9), int([30], -3, 70)]);
                }
                FloorDiv => samples.rough(op, [float([3, 5]), float_in([3, 5], 0.5, 2.0)]),
                CopySign => samples.rough(op, [float([3, 5]), float([3, 5])]),
                // Away from the point where there is no angle.
                Atan2 | Hypot => samples.case(op, [float([3, 5]), float_in([3, 5], 0.5, 2.0)]),
                Equal | NotEqual => samples.rough(op, [int([30], 0, 3), int([30], 0, 3)]),
                Less | LessEqual | Greater | GreaterEqual => {
                    samples.rough(op, [float([3, 5]), float([3, 5])])
                }
                Pow => {
                    samples.case(op, [float_in([3, 5], 0.2, 2.0), float([3, 5])]);
                    samples.rough(op, [int([3, 5], -3, 4), int([3, 5], 0, 4)]);
                }
                // The quotient must stay away from whole numbers, where the remainder jumps.
                Rem | Fmod => {
                    samples.rough(op, [float([3, 5]), float_in([3, 5], 0.5, 2.0)]);
                    samples.case(op, [float_in([6], 0.1, 0.9), float_in([6], 1.0, 2.0)]);
                }
                Div => samples.case(op, [float([3, 5]), float_in([3, 5], 0.5, 2.0)]),
                _ => samples.case(op, [float([3, 5]), float([3, 5])]),
            }
        }
        for kind in BinaryKind::ALL.into_iter().filter(|kind| kind.on_complex()) {
            let op = Binary { kind };
            samples.rough(op, [complex([2, 37]), complex([2, 37])]);
            if !kind.is_comparison() {
                samples.case(op, [complex_in([3, 5], 0.2, 1.5), complex_in([5], 0.5, 1.5)]);
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

impl BinaryScalar {
    /// What a number must obey beside integers. A fraction would have to be cut or the tensor
    /// become one of floats: neither is done behind the user's back. Comparisons are exact.
    fn check_integer(&self, dtype: DType) -> Result<()> {
        let error = |rule: String| Err(check::argument(self.name(), rule));
        if let Scalar::Float(x) = self.scalar
            && !self.kind.is_comparison()
            && x as i64 as f64 != x
        {
            return error(format!(
                "{x} is no integer, but the tensor is {dtype}; convert it with `float()`"
            ));
        }
        match self.scalar.to_i64() {
            0 if self.kind.divides() && !self.reversed => error("division by zero".into()),
            power if power < 0 && self.kind == BinaryKind::Pow && !self.reversed => error(format!(
                "the power {power} of integers is no integer; convert the tensor with `float()`"
            )),
            _ => Ok(()),
        }
    }
}

impl Operation for BinaryScalar {
    fn name(&self) -> &'static str {
        self.kind.name()
    }

    #[inline]
    fn infer(&self, inputs: &[Meta]) -> Result<Metas> {
        let [x] = check::arity(self.name(), inputs)?;
        let dtype = self.kind.result(self.name(), inputs)?;
        if matches!(self.scalar, Scalar::Complex(_)) && !x.dtype.is_complex() {
            let rule = "a complex number needs a complex tensor; convert with `to_complex`";
            return Err(check::dtype_error(self.name(), inputs, rule));
        }
        if !x.dtype.is_differentiable() {
            self.check_integer(x.dtype)?;
        }
        Ok(one(Meta { shape: x.shape, dtype }))
    }

    #[inline]
    fn preserves_meta(&self, dtype: DType, inputs: usize) -> bool {
        let real = !matches!(self.scalar, Scalar::Complex(_));
        let kept = !self.kind.is_comparison() && !self.kind.is_logical();
        inputs == 1 && dtype.is_float() && kept && real
    }

    fn keeps(&self, _: u32) -> Keeps {
        use BinaryKind::*;
        match self.kind {
            Div | Rem | Fmod if self.reversed => Keeps::INPUT,
            Max | Min | Atan2 | Hypot | CopySign | LogAddExp => Keeps::INPUT,
            Pow => Keeps { inputs: 1, outputs: self.reversed as u32 },
            _ => Keeps::NOTHING,
        }
    }

    fn elementwise(&self) -> bool {
        true
    }

    #[cfg(any(test, feature = "samples"))]
    fn samples(samples: &mut super::samples::Samples) {
        use super::samples::{complex_in, float, float_in, int};
        use BinaryKind::*;
        for kind in BinaryKind::ALL {
            for reversed in [false, true] {
                let op = BinaryScalar { kind, scalar: Scalar::Float(1.5), reversed };
                match kind {
                    And | Or | Xor | ShiftLeft | ShiftRight => {}
                    Pow => samples.case(op, [float_in([3, 5], 0.2, 2.0)]),
                    Rem | Fmod if reversed => samples.case(op, [float_in([7], 2.0, 2.9)]),
                    Rem | Fmod => samples.case(op, [float_in([7], 0.1, 1.4)]),
                    Atan2 | Hypot | LogAddExp => samples.case(op, [float([3, 5])]),
                    Div => samples.case(op, [float_in([7], 0.5, 2.0)]),
                    Add | Sub | Mul | Max | Min => samples.case(op, [float([3, 5])]),
                    _ => samples.rough(op, [float([3, 5])]),
                }
                if !matches!(kind, Pow) && !kind.needs_floats() {
                    let op = BinaryScalar { kind, scalar: Scalar::Int(2), reversed };
                    samples.rough(op, [int([7], 1, 9)]);
                }
                if kind.is_comparison() {
                    for limit in [2.5, -2.0, 1e30, f64::NAN] {
                        let op = BinaryScalar { kind, scalar: Scalar::Float(limit), reversed };
                        samples.rough(op, [int([7], -9, 9)]);
                    }
                }
            }
        }
        let number = Scalar::Complex(num_complex::Complex::new(0.5, -0.75));
        for kind in BinaryKind::ALL.into_iter().filter(|kind| kind.on_complex()) {
            for (scalar, reversed) in [(number, false), (number, true), (Scalar::Float(1.5), true)]
            {
                let op = BinaryScalar { kind, scalar, reversed };
                match kind.is_comparison() {
                    true => samples.rough(op, [complex_in([7], 0.2, 1.5)]),
                    false => samples.case(op, [complex_in([7], 0.2, 1.5)]),
                }
            }
        }
        for power in [0, 1, 2, 3] {
            let op = BinaryScalar { kind: Pow, scalar: Scalar::Int(power), reversed: false };
            samples.case(op, [float([3, 5])]);
            samples.case(op, [complex_in([7], 0.2, 1.5)]);
        }
    }
}
