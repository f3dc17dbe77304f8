//! Elementary functions as straight-line code, so that loops over them vectorise.
//!
//! Every function is a few polynomials, selects and bit operations without branches, tables or
//! calls. Inlined into a kernel's loop it is compiled for the kernel's instruction set, with one
//! element in each lane.
//!
//! The largest errors of `f32` in units in the last place, over at least every 29th argument:
//!
//! | function       | fused multiply-add | without |
//! |----------------|--------------------|---------|
//! | `exp`          | 0.9                | 1.2     |
//! | `exp_m1`       | 1.6                | 1.8     |
//! | `ln`           | 0.9                | 0.9     |
//! | `ln_1p`        | 1.6                | 1.7     |
//! | `log2`         | 1.4                | 1.9     |
//! | `log10`        | 1.4                | 2.2     |
//! | `tanh`         | 1.5                | 1.5     |
//! | `erf`          | 1.5                | 1.7     |
//! | `sigmoid`      | 2.5                | 2.5     |
//! | `silu`         | 3.2                | 3.2     |
//! | `gelu`         | 5.8                | 6.4     |
//! | `softplus`     | 2.0                | 2.0     |
//! | `sin`, `cos`   | 1.6                | 1.6     |
//! | `tan`          | 3.6                | 3.6     |
//! | `pow`          | 0.51               | 0.51    |
//!
//! Units mean nothing where a function crosses zero or where a rounded argument is exponentiated.
//! `gelu_grad`, `gelu_tanh`, `gelu_tanh_grad` and `silu_grad` are within 7 units or, where that is
//! more, `2e-7 |x|`.
//!
//! For AVX-512 there are loops by hand, with tables in registers (`avx512`): `gelu_all` is within 3.0
//! units, `sigmoid_all` within 1.5.
//!
//! NaN stays NaN; infinities, signed zeros and subnormal numbers follow C99, with the limits where
//! C99 has no such function (`gelu(-inf)` is `-0`).
//!
//! `f64` serves to check `f32`: what is not own code there calls the standard library.

#[cfg(target_arch = "x86_64")]
mod avx512;
mod coefficients;
mod double;
mod single;
pub(crate) mod special;
#[cfg(test)]
mod tests;

use super::float::Float;
use super::fold::{LANES, max, total};
use super::simd::Isa;

/// The elementary functions of a float type.
pub(crate) trait Math: Copy {
    /// `e^x`.
    fn exp<I: Isa>(self) -> Self;
    /// `e^x` for `x <= 0`, or zero from where that is no normal number: quicker than [`Math::exp`].
    fn exp_below<I: Isa>(self) -> Self;
    /// `e^x - 1`.
    fn exp_m1<I: Isa>(self) -> Self;
    /// Natural logarithm.
    fn ln<I: Isa>(self) -> Self;
    /// `ln(1 + x)`.
    fn ln_1p<I: Isa>(self) -> Self;
    /// Logarithm to base 2.
    fn log2<I: Isa>(self) -> Self;
    /// Logarithm to base 10.
    fn log10<I: Isa>(self) -> Self;
    /// Hyperbolic tangent.
    fn tanh<I: Isa>(self) -> Self;
    /// Error function.
    fn erf<I: Isa>(self) -> Self;
    /// `1 / (1 + e^-x)`.
    fn sigmoid<I: Isa>(self) -> Self;
    /// `x Phi(x)` with the normal distribution's `Phi`; accurate in the left tail as well.
    fn gelu<I: Isa>(self) -> Self;
    /// Derivative of [`Math::gelu`].
    fn gelu_grad<I: Isa>(self) -> Self;
    /// `x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) / 2`.
    fn gelu_tanh<I: Isa>(self) -> Self;
    /// Derivative of [`Math::gelu_tanh`].
    fn gelu_tanh_grad<I: Isa>(self) -> Self;
    /// `x sigmoid(x)`.
    fn silu<I: Isa>(self) -> Self;
    /// Derivative of [`Math::silu`].
    fn silu_grad<I: Isa>(self) -> Self;
    /// `ln(1 + e^x)`.
    fn softplus<I: Isa>(self) -> Self;
    /// Sine, for arguments that are not [`Math::trig_is_large`]; beyond it the result is
    /// meaningless, and [`Math::sin_large`] must be called.
    fn sin<I: Isa>(self) -> Self;
    /// Cosine, limited as [`Math::sin`].
    fn cos<I: Isa>(self) -> Self;
    /// Tangent, limited as [`Math::sin`].
    fn tan<I: Isa>(self) -> Self;
    /// Whether the argument is beyond the range of [`Math::sin`], [`Math::cos`] and [`Math::tan`]:
    /// `2^28` for `f32`. A loop checks this for a block of elements at a time.
    fn trig_is_large(self) -> bool;
    /// Sine of any argument; a slow call for each element.
    fn sin_large(self) -> Self;
    /// Cosine of any argument; a slow call for each element.
    fn cos_large(self) -> Self;
    /// Tangent of any argument; a slow call for each element.
    fn tan_large(self) -> Self;
    /// `x^y` with the special cases of C99.
    fn pow<I: Isa>(self, y: Self) -> Self;
    /// [`Math::gelu`] of every element: quicker where there is a loop made for the instruction set.
    #[inline(always)]
    fn gelu_all<I: Isa>(x: &[Self], y: &mut [Self]) {
        map(x, y, |x| x.gelu::<I>());
    }
    /// As [`Math::gelu_all`], of [`Math::sigmoid`].
    #[inline(always)]
    fn sigmoid_all<I: Isa>(x: &[Self], y: &mut [Self]) {
        map(x, y, |x| x.sigmoid::<I>());
    }
    /// The softmax of a row of at least 64 numbers.
    fn softmax<I: Isa>(x: &[Self], y: &mut [Self]);
}

#[inline(always)]
fn map<T: Copy>(x: &[T], y: &mut [T], f: impl Fn(T) -> T) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y = f(x);
    }
}

/// [`Math::softmax`] for any instruction set.
#[inline(always)]
fn softmax<T: Float, I: Isa>(x: &[T], y: &mut [T]) {
    let scale = T::ONE / exponentials::<T, I>(x, max(x), y);
    y.iter_mut().for_each(|y| *y = *y * scale);
}

/// `y = e^(x - max)`, and their sum.
#[inline(always)]
fn exponentials<T: Float, I: Isa>(x: &[T], max: T, y: &mut [T]) -> T {
    let mut lanes = [T::ZERO; LANES];
    let ((blocks, x), (y_blocks, y)) = (x.as_chunks::<LANES>(), y.as_chunks_mut::<LANES>());
    for (x, y) in blocks.iter().zip(y_blocks) {
        for i in 0..LANES {
            y[i] = (x[i] - max).exp_below::<I>();
            lanes[i] += y[i];
        }
    }
    // The exponential of the padding is zero.
    let mut last = [T::LOWEST; LANES];
    last[..x.len()].copy_from_slice(x);
    for i in 0..LANES {
        last[i] = (last[i] - max).exp_below::<I>();
        lanes[i] += last[i];
    }
    y.copy_from_slice(&last[..y.len()]);
    total(lanes)
}

/// What both float types build in the same way. The type supplies, in the scope of the call:
/// `Decay::new::<I>(a)`, which is `e^-a` for `a >= 0` as a number near one and a power of two,
/// `SIGMOID_FIRST`, where the sigmoid has become zero,
/// `Decay::normal::<I>(a)`, the same for `e^(-a^2/2)`, `tail::<I>(a)`, which is
/// `e^(a^2/2) Phi(-a)`, `ln_1p_unit::<I>(e)` for `0 <= e <= 1`, `fma::<I>`, `at_most`, and `LAST`,
/// where `e^-a` has long become zero.
///
/// All of them compute the small side, `f(-|x|)`, and get the other from a symmetry. Powers of two
/// are multiplied last, so that results that are normal numbers keep their precision where `e^-a`
/// is subnormal already.
macro_rules! composed {
    ($float:ident) => {
        #[inline(always)]
        fn sigmoid<I: Isa>(self) -> $float {
            // `1 / (1 + m p q)` with powers of two `p` and `q` is `(1 / p) / (1 / p + m q)`: neither
            // of these is out of range, so a subnormal result is rounded once.
            let decay = Decay::new::<I>(at_most(at_least(self, SIGMOID_FIRST), LAST));
            let inverse = decay.inverse_of_first();
            inverse / fma::<I>(decay.mantissa, decay.second, inverse)
        }

        #[inline(always)]
        fn silu<I: Isa>(self) -> $float {
            let a = at_most(self.abs(), LAST);
            let decay = Decay::new::<I>(a);
            let e = decay.times(1.0);
            // `e` may be subnormal here, but then `1 + e` is one.
            let numerator = if self < 0.0 { decay.times(-a) } else { self };
            numerator / (1.0 + e)
        }

        #[inline(always)]
        fn silu_grad<I: Isa>(self) -> $float {
            let a = at_most(self.abs(), LAST);
            let decay = Decay::new::<I>(a);
            let other = 1.0 / (1.0 + decay.times(1.0));
            let small = decay.times(other * fma::<I>(-a, other, 1.0));
            if self < 0.0 { small } else { 1.0 - small }
        }

        #[inline(always)]
        fn softplus<I: Isa>(self) -> $float {
            let e = Decay::new::<I>(at_most(self.abs(), LAST)).times(1.0);
            let positive = if self < 0.0 { 0.0 } else { self };
            positive + ln_1p_unit::<I>(e)
        }

        #[inline(always)]
        fn gelu<I: Isa>(self) -> $float {
            let a = at_most(self.abs(), NORMAL_LAST);
            let small = Decay::normal::<I>(a).times(a * tail::<I>(a));
            let positive = if self < 0.0 { 0.0 } else { self };
            or_sign(positive - small, self)
        }

        #[inline(always)]
        fn gelu_grad<I: Isa>(self) -> $float {
            const DENSITY: $float =
                0.5 * std::$float::consts::FRAC_2_SQRT_PI * std::$float::consts::FRAC_1_SQRT_2;
            let a = at_most(self.abs(), NORMAL_LAST);
            let small = Decay::normal::<I>(a).times(fma::<I>(-a, DENSITY, tail::<I>(a)));
            if self < 0.0 { small } else { 1.0 - small }
        }

        #[inline(always)]
        fn gelu_tanh<I: Isa>(self) -> $float {
            let a = at_most(self.abs(), CUBIC_LAST);
            let v = a * fma::<I>(a * a, CUBIC, LINEAR);
            let decay = Decay::new::<I>(v);
            let small = decay.times(a) / (1.0 + decay.times(1.0));
            let positive = if self < 0.0 { 0.0 } else { self };
            or_sign(positive - small, self)
        }

        #[inline(always)]
        fn gelu_tanh_grad<I: Isa>(self) -> $float {
            let a = at_most(self.abs(), CUBIC_LAST);
            let v = a * fma::<I>(a * a, CUBIC, LINEAR);
            let slope = a * fma::<I>(a * a, 3.0 * CUBIC, LINEAR);
            let decay = Decay::new::<I>(v);
            let other = 1.0 / (1.0 + decay.times(1.0));
            let small = decay.times(other * fma::<I>(-slope, other, 1.0));
            if self < 0.0 { small } else { 1.0 - small }
        }
    };
}
use composed;
