//! One number of any type.

use half::{bf16, f16};
use num_complex::Complex;

use crate::Element;

/// One number of any type, as an argument of an operation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scalar {
    /// A float.
    Float(f64),
    /// An integer.
    Int(i64),
    /// True or false.
    Bool(bool),
    /// A complex number.
    Complex(Complex<f64>),
}

impl Scalar {
    /// The number as a float: of a complex one the real part.
    #[inline]
    pub fn to_f64(self) -> f64 {
        match self {
            Scalar::Float(x) => x,
            Scalar::Int(x) => x as f64,
            Scalar::Bool(x) => x as u8 as f64,
            Scalar::Complex(x) => x.re,
        }
    }

    /// The number as an integer; a float is cut toward zero, and of a complex one the real part.
    #[inline]
    pub fn to_i64(self) -> i64 {
        match self {
            Scalar::Float(x) => x as i64,
            Scalar::Int(x) => x,
            Scalar::Bool(x) => x as i64,
            Scalar::Complex(x) => x.re as i64,
        }
    }

    /// The number as a complex one.
    #[inline]
    pub fn to_complex(self) -> Complex<f64> {
        match self {
            Scalar::Complex(x) => x,
            real => Complex::new(real.to_f64(), 0.0),
        }
    }
}

impl From<Complex<f32>> for Scalar {
    fn from(value: Complex<f32>) -> Self {
        Scalar::Complex(value.to_complex())
    }
}

impl From<Complex<f64>> for Scalar {
    fn from(value: Complex<f64>) -> Self {
        Scalar::Complex(value)
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
scalar_from!(Int as i64: i64 i32 i16 i8 u32 u16 u8 isize);

impl From<u64> for Scalar {
    /// A number beyond `i64` becomes a float, rounded.
    #[inline]
    fn from(value: u64) -> Self {
        i64::try_from(value).map_or(Scalar::Float(value as f64), Scalar::Int)
    }
}

impl From<usize> for Scalar {
    #[inline]
    fn from(value: usize) -> Self {
        (value as u64).into()
    }
}
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
