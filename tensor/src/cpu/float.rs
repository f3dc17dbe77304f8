//! The floats that fused kernels compute with.

use std::ops::{Add, AddAssign, Div, Mul, Neg, Sub};

use super::access::Compute;
use super::math::Math;
use super::simd::Isa;

/// `f32` or `f64`.
pub(super) trait Float:
    Compute
    + Math
    + PartialOrd
    + Neg<Output = Self>
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + AddAssign
    + Into<f64>
{
    const ZERO: Self;
    const ONE: Self;
    const LOWEST: Self;
    fn sqrt(self) -> Self;
    /// The larger one, passing over an `other` that is NaN: one instruction.
    fn larger(self, other: Self) -> Self;
    fn fused<I: Isa>(self, b: Self, c: Self) -> Self;
}

macro_rules! float {
    ($type:ty, $mul_add:ident) => {
        impl Float for $type {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            const LOWEST: Self = <$type>::NEG_INFINITY;
            #[inline(always)]
            fn sqrt(self) -> Self {
                self.sqrt()
            }
            #[inline(always)]
            fn larger(self, other: Self) -> Self {
                if other > self { other } else { self }
            }
            #[inline(always)]
            fn fused<I: Isa>(self, b: Self, c: Self) -> Self {
                I::$mul_add(self, b, c)
            }
        }
    };
}
float!(f32, mul_add_f32);
float!(f64, mul_add_f64);
