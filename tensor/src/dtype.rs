//! Element types: [`DType`] at run time, [`Element`] at compile time.

use half::{bf16, f16};
use num_complex::Complex;

/// The type of a tensor's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DType {
    /// True or false, one byte each.
    Bool,
    /// 8-bit unsigned integer.
    U8,
    /// 8-bit signed integer.
    I8,
    /// 16-bit unsigned integer.
    U16,
    /// 16-bit signed integer.
    I16,
    /// 32-bit unsigned integer.
    U32,
    /// 32-bit signed integer.
    I32,
    /// 64-bit unsigned integer.
    U64,
    /// 64-bit signed integer, the default of int tensors.
    I64,
    /// 16-bit float with 11 significant bits (IEEE 754 half precision).
    F16,
    /// 16-bit float with the exponent of `f32` and 8 significant bits.
    BF16,
    /// 32-bit float, the default of float tensors.
    F32,
    /// 64-bit float.
    F64,
    /// Complex number of two `f32`, real part first; the default of complex tensors.
    Complex64,
    /// Complex number of two `f64`, real part first.
    Complex128,
}

impl DType {
    /// Every dtype: bool, integers, floats, complex numbers.
    pub const ALL: [DType; 15] = [
        DType::Bool,
        DType::U8,
        DType::I8,
        DType::U16,
        DType::I16,
        DType::U32,
        DType::I32,
        DType::U64,
        DType::I64,
        DType::F16,
        DType::BF16,
        DType::F32,
        DType::F64,
        DType::Complex64,
        DType::Complex128,
    ];

    /// Bytes of one element.
    #[inline]
    pub const fn size(self) -> usize {
        match self {
            DType::Bool | DType::U8 | DType::I8 => 1,
            DType::U16 | DType::I16 | DType::F16 | DType::BF16 => 2,
            DType::U32 | DType::I32 | DType::F32 => 4,
            DType::U64 | DType::I64 | DType::F64 | DType::Complex64 => 8,
            DType::Complex128 => 16,
        }
    }

    /// Whether this is a floating-point type (complex is none).
    #[inline]
    pub const fn is_float(self) -> bool {
        matches!(self, DType::F16 | DType::BF16 | DType::F32 | DType::F64)
    }

    /// Whether this is an integer type (bool is none).
    #[inline]
    pub const fn is_int(self) -> bool {
        self.is_unsigned() || self.is_signed_int()
    }

    /// Whether this is an integer type without negative numbers.
    #[inline]
    pub const fn is_unsigned(self) -> bool {
        matches!(self, DType::U8 | DType::U16 | DType::U32 | DType::U64)
    }

    const fn is_signed_int(self) -> bool {
        matches!(self, DType::I8 | DType::I16 | DType::I32 | DType::I64)
    }

    /// Whether this is a type of complex numbers.
    #[inline]
    pub const fn is_complex(self) -> bool {
        matches!(self, DType::Complex64 | DType::Complex128)
    }

    /// Whether a gradient can flow through numbers of this type: floats and complex numbers.
    #[inline]
    pub const fn is_differentiable(self) -> bool {
        self.is_float() || self.is_complex()
    }

    /// The type of the real and imaginary parts of a complex type; any other type is its own.
    pub const fn real(self) -> DType {
        match self {
            DType::Complex64 => DType::F32,
            DType::Complex128 => DType::F64,
            real => real,
        }
    }

    /// The complex type whose parts hold numbers of this type: two `f32` for all but `f64`.
    pub const fn complex(self) -> DType {
        match self {
            DType::F64 | DType::Complex128 => DType::Complex128,
            _ => DType::Complex64,
        }
    }

    /// The type of the result when both take part in one operation, as `torch.promote_types`:
    /// the wider of one family, complex over float over int over bool, f32 for f16 with bf16, and
    /// for an unsigned with a signed integer the next wider signed one. (There is none for u64,
    /// which becomes i64: numbers from 2^63 on wrap.)
    pub fn promote(self, other: DType) -> DType {
        let (low, high) = if self < other { (self, other) } else { (other, self) };
        match (low, high) {
            (DType::F16, DType::BF16) => DType::F32,
            (DType::F64, DType::Complex64) => DType::Complex128,
            (a, b) if a.is_unsigned() && b.is_signed_int() && a.size() < b.size() => b,
            (a, b) if a.is_unsigned() && b.is_signed_int() => wider_signed(a),
            (a, b) if a.is_signed_int() && b.is_unsigned() => wider_signed(b),
            (_, b) => b,
        }
    }

    /// Relative spacing of the type's numbers around 1; zero for types without rounding.
    pub const fn epsilon(self) -> f64 {
        match self {
            DType::F64 | DType::Complex128 => f64::EPSILON,
            DType::F32 | DType::Complex64 => f32::EPSILON as f64,
            DType::F16 => 1.0 / 1024.0,
            DType::BF16 => 1.0 / 128.0,
            _ => 0.0,
        }
    }
}

/// The signed type that holds every number of an unsigned one.
fn wider_signed(unsigned: DType) -> DType {
    match unsigned {
        DType::U8 => DType::I16,
        DType::U16 => DType::I32,
        _ => DType::I64,
    }
}

impl std::fmt::Display for DType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            DType::Bool => "bool",
            DType::U8 => "u8",
            DType::I8 => "i8",
            DType::U16 => "u16",
            DType::I16 => "i16",
            DType::U32 => "u32",
            DType::I32 => "i32",
            DType::U64 => "u64",
            DType::I64 => "i64",
            DType::F16 => "f16",
            DType::BF16 => "bf16",
            DType::F32 => "f32",
            DType::F64 => "f64",
            DType::Complex64 => "complex64",
            DType::Complex128 => "complex128",
        })
    }
}

/// A Rust type that can be an element of a tensor. Sealed: the set is that of [`DType`].
pub trait Element:
    Copy + Send + Sync + Default + PartialEq + std::fmt::Debug + sealed::Sealed + 'static
{
    /// The same type at run time.
    const DTYPE: DType;
    /// Converts as Rust's `as` does; for half types by way of `f32`. The real part of a complex
    /// number.
    fn to_f64(self) -> f64;
    /// Converts as Rust's `as` does, rounding once.
    fn from_f64(value: f64) -> Self;
    /// Converts as Rust's `as` does. The real part of a complex number.
    fn to_i64(self) -> i64;
    /// Converts as Rust's `as` does: integers wrap.
    fn from_i64(value: i64) -> Self;
    /// As a complex number.
    #[inline(always)]
    fn to_complex(self) -> Complex<f64> {
        Complex::new(self.to_f64(), 0.0)
    }
    /// A complex number as this type; a real type takes the real part.
    #[inline(always)]
    fn from_complex(value: Complex<f64>) -> Self {
        Self::from_f64(value.re)
    }
    /// Converts as Rust's `as` does, without a detour that loses digits.
    #[inline(always)]
    fn cast<E: Element>(self) -> E {
        let unsigned = matches!(Self::DTYPE, DType::U64) && !E::DTYPE.is_int();
        if Self::DTYPE.is_complex() {
            E::from_complex(self.to_complex())
        } else if Self::DTYPE.is_float() || unsigned {
            E::from_f64(self.to_f64())
        } else {
            E::from_i64(self.to_i64())
        }
    }
    /// The same type at run time, as [`Element::DTYPE`].
    fn dtype() -> DType {
        Self::DTYPE
    }
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! element {
    ($type:ty, $dtype:ident, |$x:ident| $to_f64:expr, $from_f64:expr, $to_i64:expr, $from_i64:expr
     $(, $to_complex:expr, $from_complex:expr)?) => {
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
            $(
                #[inline(always)]
                fn to_complex(self) -> Complex<f64> {
                    let $x = self;
                    $to_complex
                }
                #[inline(always)]
                fn from_complex($x: Complex<f64>) -> Self {
                    $from_complex
                }
            )?
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
element!(u64, U64, |x| x as f64, x as u64, x as i64, x as u64);
element!(i32, I32, |x| x as f64, x as i32, x as i64, x as i32);
element!(u32, U32, |x| x as f64, x as u32, x as i64, x as u32);
element!(i16, I16, |x| x as f64, x as i16, x as i64, x as i16);
element!(u16, U16, |x| x as f64, x as u16, x as i64, x as u16);
element!(i8, I8, |x| x as f64, x as i8, x as i64, x as i8);
element!(u8, U8, |x| x as f64, x as u8, x as i64, x as u8);
element!(bool, Bool, |x| x as u8 as f64, x != 0.0, x as i64, x != 0);
element!(
    Complex<f32>,
    Complex64,
    |x| x.re as f64,
    Complex::new(x as f32, 0.0),
    x.re as i64,
    Complex::new(x as f32, 0.0),
    Complex::new(x.re as f64, x.im as f64),
    Complex::new(x.re as f32, x.im as f32)
);
element!(
    Complex<f64>,
    Complex128,
    |x| x.re,
    Complex::new(x, 0.0),
    x.re as i64,
    Complex::new(x as f64, 0.0),
    x,
    x
);

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
