//! Functions of two elements, or of an element and a number.

use super::{Keeps, Meta, Metas, Operation, check, one};
use crate::{DType, Result};

/// A function of two elements; the inputs broadcast against each other.
///
/// Inputs: two tensors of one dtype. Result: the broadcast shape; the same dtype, or bool for a
/// comparison.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Binary {
    /// The function.
    pub kind: BinaryKind,
}

/// The functions of [`Binary`] and [`BinaryScalar`](super::BinaryScalar).
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
    pub(super) const fn on_complex(self) -> bool {
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
    pub(super) const fn needs_floats(self) -> bool {
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
    pub(super) fn result(self, op: &'static str, inputs: &[Meta]) -> Result<DType> {
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
