//! Functions of each element and one number.

use super::binary::BinaryKind;
use super::{Keeps, Meta, Metas, Operation, check, one};
use crate::{DType, Result, Scalar};

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
