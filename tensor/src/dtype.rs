//! Element types: [`DType`] at run time, [`Element`] at compile time, [`Scalar`] for one number.

use half::{bf16, f16};

/// The type of a tensor's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DType {
    /// True or false, one byte each.
    Bool,
    /// 8-bit unsigned integer.
    U8,
    /// 32-bit signed integer.
    I32,
    /// 64-bit signed integer.
    I64,
    /// 16-bit float with 11 significant bits (IEEE 754 half precision).
    F16,
    /// 16-bit float with the exponent of `f32` and 8 significant bits.
    BF16,
    /// 32-bit float, the default of float tensors.
    F32,
    /// 64-bit float.
    F64,
}

impl DType {
    /// Every dtype, in the order in which [`DType::promote`] prefers them.
    pub const ALL: [DType; 8] = [
        DType::Bool,
        DType::U8,
        DType::I32,
        DType::I64,
        DType::F16,
        DType::BF16,
        DType::F32,
        DType::F64,
    ];

    /// Bytes of one element.
    #[inline]
    pub const fn size(self) -> usize {
        match self {
            DType::Bool | DType::U8 => 1,
            DType::F16 | DType::BF16 => 2,
            DType::I32 | DType::F32 => 4,
            DType::I64 | DType::F64 => 8,
        }
    }

    /// Whether this is a floating-point type.
    #[inline]
    pub const fn is_float(self) -> bool {
        matches!(self, DType::F16 | DType::BF16 | DType::F32 | DType::F64)
    }

    /// Whether this is an integer type (bool is none).
    #[inline]
    pub const fn is_int(self) -> bool {
        matches!(self, DType::U8 | DType::I32 | DType::I64)
    }

    /// The type of the result when both take part in one operation, as `torch.promote_types`:
    /// the wider of one family, float over int over bool, and f32 for f16 with bf16.
    pub fn promote(self, other: DType) -> DType {
        match (self, other) {
            (DType::F16, DType::BF16) | (DType::BF16, DType::F16) => DType::F32,
            (a, b) => a.max(b),
        }
    }

    /// Relative spacing of the type's numbers around 1; zero for types without rounding.
    pub const fn epsilon(self) -> f64 {
        match self {
            DType::F64 => f64::EPSILON,
            DType::F32 => f32::EPSILON as f64,
            DType::F16 => 1.0 / 1024.0,
            DType::BF16 => 1.0 / 128.0,
            _ => 0.0,
        }
    }
}

impl std::fmt::Display for DType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            DType::Bool => "bool",
            DType::U8 => "u8",
            DType::I32 => "i32",
            DType::I64 => "i64",
            DType::F16 => "f16",
            DType::BF16 => "bf16",
            DType::F32 => "f32",
            DType::F64 => "f64",
        })
    }
}

/// A Rust type that can be an element of a tensor. Sealed: the set is that of [`DType`].
pub trait Element:
    Copy + Send + Sync + Default + PartialEq + std::fmt::Debug + sealed::Sealed + 'static
{
    /// The same type at run time.
    const DTYPE: DType;
    /// Converts as Rust's `as` does; for half types by way of `f32`.
    fn to_f64(self) -> f64;
    /// Converts as Rust's `as` does, rounding once.
    fn from_f64(value: f64) -> Self;
    /// Converts as Rust's `as` does.
    fn to_i64(self) -> i64;
    /// Converts as Rust's `as` does: integers wrap.
    fn from_i64(value: i64) -> Self;
    /// The same type at run time, as [`Element::DTYPE`].
    fn dtype() -> DType {
        Self::DTYPE
    }
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! element {
    ($type:ty, $dtype:ident, |$x:ident| $to_f64:expr, $from_f64:expr, $to_i64:expr, $from_i64:expr) => {
        impl sealed::Sealed for $type {}
        impl Element for $type {
            const DTYPE: DType = DType::$dtype;
            #[inline(always)]
            fn to_f64(self) -> f64 {
                let $x = self;
                $to_f64
            }
            #[inline(always)]
            fn from_f64($x: f64) -> Self {
                $from_f64
            }
            #[inline(always)]
            fn to_i64(self) -> i64 {
                let $x = self;
                $to_i64
            }
            #[inline(always)]
            fn from_i64($x: i64) -> Self {
                $from_i64
            }
        }
    };
}

element!(f64, F64, |x| x, x, x as i64, x as f64);
element!(f32, F32, |x| x as f64, x as f32, x as i64, x as f32);
element!(
    f16,
    F16,
    |x| x.to_f64(),
    f16::from_f32(to_odd(x)),
    x.to_f64() as i64,
    f16::from_f32(to_odd(x as f64))
);
element!(
    bf16,
    BF16,
    |x| x.to_f64(),
    bf16::from_f32(to_odd(x)),
    x.to_f64() as i64,
    bf16::from_f32(to_odd(x as f64))
);
element!(i64, I64, |x| x as f64, x as i64, x, x);
element!(i32, I32, |x| x as f64, x as i32, x as i64, x as i32);
element!(u8, U8, |x| x as f64, x as u8, x as i64, x as u8);
element!(bool, Bool, |x| x as u8 as f64, x != 0.0, x as i64, x != 0);

/// `x` as an `f32` that rounds to the same half-precision number as `x` does. Rounding to nearest
/// twice can miss it, and so do the conversions of `half`, which drop the low bits of an `f64`; an
/// `f32` whose last bit is set wherever something was cut off ("rounding to odd", Boldo & Melquiond
/// 2008) keeps what the second rounding needs to know.
#[inline(always)]
pub(crate) fn to_odd(x: f64) -> f32 {
    let nearest = x as f32;
    let bits = nearest.to_bits();
    if nearest as f64 == x || x.is_nan() || bits & 1 == 1 {
        return nearest;
    }
    // The neighbour on the other side of `x`; one further from zero has the next larger bits.
    let above = (nearest as f64).abs() < x.abs();
    f32::from_bits(if above { bits + 1 } else { bits - 1 })
}

/// One number of any type, as an argument of an operation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scalar {
    /// A float.
    Float(f64),
    /// An integer.
    Int(i64),
    /// True or false.
    Bool(bool),
}

impl Scalar {
    /// The number as a float.
    #[inline]
    pub fn to_f64(self) -> f64 {
        match self {
            Scalar::Float(x) => x,
            Scalar::Int(x) => x as f64,
            Scalar::Bool(x) => x as u8 as f64,
        }
    }

    /// The number as an integer; a float is cut toward zero.
    #[inline]
    pub fn to_i64(self) -> i64 {
        match self {
            Scalar::Float(x) => x as i64,
            Scalar::Int(x) => x,
            Scalar::Bool(x) => x as i64,
        }
    }
}

macro_rules! scalar_from {
    ($variant:ident as $target:ty: $($type:ty)*) => {$(
        impl From<$type> for Scalar {
            #[inline]
            fn from(value: $type) -> Self {
                Scalar::$variant(value as $target)
            }
        }
    )*};
}
scalar_from!(Float as f64: f64 f32);
scalar_from!(Int as i64: i64 i32 i16 i8 u64 u32 u16 u8 usize isize);
scalar_from!(Bool as bool: bool);

impl From<f16> for Scalar {
    fn from(value: f16) -> Self {
        Scalar::Float(value.to_f64())
    }
}

impl From<bf16> for Scalar {
    fn from(value: bf16) -> Self {
        Scalar::Float(value.to_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_are_rounded_to_halves_once() {
        // Halfway between two neighbours, and barely more: only bits far down say which way.
        let (tie, tiny) = (1.0 + 2f64.powi(-8), 2f64.powi(-40));
        assert_eq!(<bf16 as Element>::from_f64(tie), bf16::ONE);
        assert_eq!(<bf16 as Element>::from_f64(tie + tiny).to_f64(), 1.0 + 2f64.powi(-7));
        let tie = 1.0 + 2f64.powi(-11);
        assert_eq!(<f16 as Element>::from_f64(tie), f16::ONE);
        assert_eq!(<f16 as Element>::from_f64(tie + tiny).to_f64(), 1.0 + 2f64.powi(-10));
        assert_eq!(<f16 as Element>::from_f64(-tie - tiny).to_f64(), -1.0 - 2f64.powi(-10));
        // The ends of the range.
        assert_eq!(<f16 as Element>::from_f64(65519.999), f16::MAX);
        assert_eq!(<f16 as Element>::from_f64(65520.0), f16::INFINITY);
        assert_eq!(<bf16 as Element>::from_f64(1e300), bf16::INFINITY);
        assert_eq!(<f16 as Element>::from_f64(1e-300).to_bits(), 0);
        assert_eq!(<f16 as Element>::from_f64(-1e-300).to_bits(), 0x8000);
        assert!(<bf16 as Element>::from_f64(f64::NAN).is_nan());
    }
}
