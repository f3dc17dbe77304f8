//! Elementwise operations on integers and bools: in `u64` for itself, in `i64` for all others.
//! Narrow ones wrap when they are stored.

use super::access::{Compute, Dense};
use super::elementwise::{map, map2, order};
use super::tile::{Operand, tiles};
use crate::op::{Binary, BinaryKind, BinaryScalar, Unary, UnaryKind};
use crate::{AnyTensor, DType, Element, Error, Result, Scalar};

/// The integers that loops compute with.
trait Integer: Compute + PartialEq {
    /// The least number, and the first one above the range.
    const RANGE: (f64, f64);
    const MIN: Self;
    fn unary(kind: UnaryKind, x: &[Self], y: &mut [Self]);
    fn binary(kind: BinaryKind, a: &[Self], b: &[Self], y: &mut [Self]);
}

macro_rules! integer {
    ($type:ident, $range:expr, sign: $sign:expr, abs: $abs:expr, negative: $negative:expr) => {
        impl Integer for $type {
            const RANGE: (f64, f64) = $range;
            const MIN: Self = $type::MIN;

            fn unary(kind: UnaryKind, x: &[Self], y: &mut [Self]) {
                match kind {
                    UnaryKind::Not => map(x, y, |x| !x),
                    UnaryKind::Neg => map(x, y, $type::wrapping_neg),
                    UnaryKind::Abs => map(x, y, $abs),
                    UnaryKind::Sign => map(x, y, $sign),
                    UnaryKind::Square => map(x, y, |x| x.wrapping_mul(x)),
                    UnaryKind::Relu => map(x, y, |x| x.max(0)),
                    kind => unreachable!("{kind:?} of integers"),
                }
            }

            /// No divisor is zero.
            fn binary(kind: BinaryKind, a: &[Self], b: &[Self], y: &mut [Self]) {
                use BinaryKind::*;
                let negative: fn($type) -> bool = $negative;
                // Whether a remainder has another sign than its divisor.
                let crosses = |r: $type, b: $type| r != 0 && negative(r) != negative(b);
                // Bits that are moved out are gone; what moves in from the left is the sign.
                let shift = |b: $type| u32::try_from(b).unwrap_or(u32::MAX);
                let filled = |a: $type| if negative(a) { !0 } else { 0 };
                match kind {
                    Add => map2(a, b, y, $type::wrapping_add),
                    Sub => map2(a, b, y, $type::wrapping_sub),
                    Mul => map2(a, b, y, $type::wrapping_mul),
                    Div => map2(a, b, y, $type::wrapping_div),
                    FloorDiv => map2(a, b, y, |a, b| {
                        let (q, r) = (a.wrapping_div(b), a.wrapping_rem(b));
                        if crosses(r, b) { q - 1 } else { q }
                    }),
                    Fmod => map2(a, b, y, $type::wrapping_rem),
                    Rem => map2(a, b, y, |a, b| {
                        let r = a.wrapping_rem(b);
                        if crosses(r, b) { r + b } else { r }
                    }),
                    // A negative exponent gives the truncated quotient.
                    Pow => map2(a, b, y, |a, b| match (a, u32::try_from(b)) {
                        (_, Ok(exponent)) => a.wrapping_pow(exponent),
                        (1, _) => 1,
                        (a, _) if negative(b) && a.wrapping_add(1) == 0 => {
                            if b & 1 == 0 {
                                1
                            } else {
                                a
                            }
                        }
                        (_, _) if negative(b) => 0,
                        // By squaring, as only bits below 2^64 count.
                        (a, _) => power(a, b),
                    }),
                    Max => map2(a, b, y, $type::max),
                    Min => map2(a, b, y, $type::min),
                    Equal => map2(a, b, y, |a, b| (a == b) as $type),
                    NotEqual => map2(a, b, y, |a, b| (a != b) as $type),
                    Less => map2(a, b, y, |a, b| (a < b) as $type),
                    LessEqual => map2(a, b, y, |a, b| (a <= b) as $type),
                    Greater => map2(a, b, y, |a, b| (a > b) as $type),
                    GreaterEqual => map2(a, b, y, |a, b| (a >= b) as $type),
                    And => map2(a, b, y, |a, b| a & b),
                    Or => map2(a, b, y, |a, b| a | b),
                    Xor => map2(a, b, y, |a, b| a ^ b),
                    ShiftLeft => map2(a, b, y, |a, b| a.checked_shl(shift(b)).unwrap_or(0)),
                    ShiftRight => {
                        map2(a, b, y, |a, b| a.checked_shr(shift(b)).unwrap_or(filled(a)))
                    }
                    Atan2 | Hypot | CopySign | LogAddExp => unreachable!("{kind:?} of integers"),
                }

                fn power(mut base: $type, mut exponent: $type) -> $type {
                    let mut result: $type = 1;
                    while exponent > 0 {
                        if exponent & 1 == 1 {
                            result = result.wrapping_mul(base);
                        }
                        base = base.wrapping_mul(base);
                        exponent >>= 1;
                    }
                    result
                }
            }
        }
    };
}
const TWO_63: f64 = 9_223_372_036_854_775_808.0;
integer!(i64, (-TWO_63, TWO_63), sign: i64::signum, abs: i64::wrapping_abs, negative: |x| x < 0);
integer!(u64, (0.0, 2.0 * TWO_63), sign: |x| (x != 0) as u64, abs: |x| x, negative: |_| false);

/// Runs `$body` with `$T` as the type that integers of `$dtype` are computed in.
macro_rules! integer_type {
    ($dtype:expr, $T:ident => $body:expr) => {
        if $dtype == DType::U64 {
            type $T = u64;
            $body
        } else {
            type $T = i64;
            $body
        }
    };
}

pub(super) fn unary(op: &Unary, x: &AnyTensor, y: &AnyTensor) {
    if x.dtype() == DType::Bool {
        debug_assert_eq!(op.kind, UnaryKind::Not);
        return tiles([Operand::<i64>::new(x, y)], y, |[x], y| map(x, y, |x| (x == 0) as i64));
    }
    integer_type!(x.dtype(), T => {
        tiles([Operand::<T>::new(x, y)], y, |[x], y| T::unary(op.kind, x, y))
    })
}

/// Refuses divisors of zero before anything is written: the output may be an input.
fn check_divisor<T: Integer>(kind: BinaryKind, divisor: &AnyTensor) -> Result<()> {
    if kind.divides() && Dense::<T>::new(divisor).contains(&T::default()) {
        return Err(Error::Argument { op: kind.name(), rule: "division by zero".into() });
    }
    Ok(())
}

fn run<T: Integer>(kind: BinaryKind, operands: [Operand<'_, T>; 2], y: &AnyTensor) {
    tiles(operands, y, |[a, b], y| T::binary(kind, a, b, y));
}

pub(super) fn binary(op: &Binary, [a, b]: [&AnyTensor; 2], y: &AnyTensor) -> Result<()> {
    integer_type!(a.dtype(), T => {
        check_divisor::<T>(op.kind, b)?;
        run::<T>(op.kind, [Operand::new(a, y), Operand::new(b, y)], y);
    });
    Ok(())
}

pub(super) fn binary_scalar(op: &BinaryScalar, x: &AnyTensor, y: &AnyTensor) -> Result<()> {
    integer_type!(x.dtype(), T => {
        if op.reversed {
            check_divisor::<T>(op.kind, x)?;
        }
        let x = Operand::<T>::new(x, y);
        let outside = |number: i64| (number as f64) < T::RANGE.0;
        let limit = match op.scalar {
            Scalar::Float(limit) => Some(limit),
            Scalar::Int(number) if outside(number) => Some(number as f64),
            _ => None,
        };
        match limit.filter(|_| op.kind.is_comparison()) {
            Some(limit) => {
                let kind = if op.reversed { op.kind.mirrored() } else { op.kind };
                let (kind, limit) = comparison::<T>(kind, limit);
                run(kind, [x, Operand::Splat(limit)], y);
            }
            None => {
                let scalar = Operand::Splat(T::from_i64(op.scalar.to_i64()));
                run(op.kind, order(x, scalar, op.reversed), y);
            }
        }
    });
    Ok(())
}

/// The comparison of integers that gives what comparing them with `limit` would give.
fn comparison<T: Integer>(kind: BinaryKind, limit: f64) -> (BinaryKind, T) {
    use BinaryKind::*;
    let (always, never) = ((GreaterEqual, T::MIN), (Less, T::MIN));
    let constant = |truth: bool| if truth { always } else { never };
    let (below, above) = (limit < T::RANGE.0, limit >= T::RANGE.1);
    match kind {
        _ if limit.is_nan() => constant(kind == NotEqual),
        Equal | NotEqual if below || above || limit.fract() != 0.0 => constant(kind == NotEqual),
        Less | LessEqual if below || above => constant(above),
        Greater | GreaterEqual if below || above => constant(below),
        // The next integer above could lie outside of the range, but not below its end.
        Less | GreaterEqual => (kind, T::from_f64(limit.ceil())),
        _ => (kind, T::from_f64(limit.floor())),
    }
}
