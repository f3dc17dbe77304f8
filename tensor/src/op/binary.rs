//! Functions of two elements, or of an element and a number.

use super::{Keeps, Meta, Metas, Operation, check, one};
use crate::{DType, Error, Result, Scalar};

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

    /// Whether this is defined for complex numbers.
    const fn on_complex(self) -> bool {
        use BinaryKind::*;
        matches!(self, Add | Sub | Mul | Div | Pow | Equal | NotEqual)
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
            dtype if dtype.is_complex() => self.on_complex(),
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
        use super::samples::{bool, complex, complex_in, float, float_in, int};
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
        let zero = x.dtype.is_int() && self.scalar.to_i64() == 0;
        if zero && !self.reversed && matches!(self.kind, BinaryKind::Div | BinaryKind::Rem) {
            return Err(Error::Argument { op: self.name(), rule: "division by zero".into() });
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
        use super::samples::{complex_in, float, float_in, int};
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
