//! The floats that fused kernels compute with, and sums that vectorise.

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
{
    const ZERO: Self;
    const ONE: Self;
    const LOWEST: Self;
    fn sqrt(self) -> Self;
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
            fn fused<I: Isa>(self, b: Self, c: Self) -> Self {
                I::$mul_add(self, b, c)
            }
        }
    };
}
float!(f32, mul_add_f32);
float!(f64, mul_add_f64);

/// Partial results of a fold: as many as keep the vector units busy.
const LANES: usize = 32;

/// Folds `f(i)` for `i` in `0..n` with `join`, over fixed lanes and a fixed tree.
#[inline(always)]
pub(super) fn fold<T: Copy>(
    n: usize,
    start: T,
    f: impl Fn(usize) -> T,
    join: impl Fn(T, T) -> T,
) -> T {
    if n < LANES {
        // The tree alone would take longer.
        return (0..n).fold(start, |total, i| join(total, f(i)));
    }
    let mut lanes = [start; LANES];
    let whole = n - n % LANES;
    let mut i = 0;
    while i < whole {
        for (lane, x) in lanes.iter_mut().enumerate() {
            *x = join(*x, f(i + lane));
        }
        i += LANES;
    }
    for (lane, x) in lanes.iter_mut().enumerate().take(n - whole) {
        *x = join(*x, f(whole + lane));
    }
    tree(lanes, join)
}

/// Joins the lanes in pairs. The widths are constants, so every step is a few vector operations.
#[inline(always)]
fn tree<T: Copy>(mut lanes: [T; LANES], join: impl Fn(T, T) -> T) -> T {
    for width in [16, 8, 4, 2, 1] {
        for lane in 0..width {
            lanes[lane] = join(lanes[lane], lanes[lane + width]);
        }
    }
    lanes[0]
}

/// The sum of `f(x)` over the elements, where `f(pad)` is zero. Whole blocks are computed, the last
/// one padded: for a function as long as an exponential that is much quicker than one by one.
#[inline(always)]
pub(super) fn sum_padded<T: Float>(x: &[T], pad: T, f: impl Fn(T) -> T) -> T {
    let mut lanes = [T::ZERO; LANES];
    let mut add = |block: &[T; LANES]| {
        for (lane, &x) in lanes.iter_mut().zip(block) {
            *lane += f(x);
        }
    };
    let (blocks, tail) = x.as_chunks();
    blocks.iter().for_each(&mut add);
    if !tail.is_empty() {
        let mut block = [pad; LANES];
        block[..tail.len()].copy_from_slice(tail);
        add(&block);
    }
    tree(lanes, |a, b| a + b)
}

/// The sum of `f(i)` for `i` in `0..n`.
#[inline(always)]
pub(super) fn sum<T: Float>(n: usize, f: impl Fn(usize) -> T) -> T {
    fold(n, T::ZERO, f, |a, b| a + b)
}

/// The largest element; NaN if there is one.
#[inline(always)]
#[allow(clippy::eq_op)]
pub(super) fn max<T: Float>(x: &[T]) -> T {
    // Not equal to itself: NaN, which wins.
    fold(x.len(), T::LOWEST, |i| x[i], |a, b| if a > b || a != a { a } else { b })
}
