//! `f32`.

use std::f32::consts::{LN_2, LOG2_E, LOG10_E};
use std::f64::consts::{FRAC_2_PI, FRAC_PI_2};

use super::coefficients::double::{
    HALF_PI_1, HALF_PI_2, HALF_PI_3, HALF_PI_REST, POW_EXP2, POW_LOG2, TWO_OVER_PI,
};
use super::coefficients::single::*;
use super::{Isa, Math, composed, map, softmax};
use crate::cpu::simd::Baseline;

const SIGN: u32 = 1 << 31;
const ONE: u32 = 0x3f80_0000;
/// The bits of 2/3. Significands are taken from `[2/3, 4/3)`, which is as far below one as above.
const TWO_THIRDS: u32 = 0x3f2a_aaab;
/// A number to which adding a small one rounds that to an integer: the integer is then in the low
/// bits, and subtracting this again gives it as a float. (SSE2 has no instruction that rounds.)
pub(super) const ROUND: f32 = 12_582_912.0;
/// As [`ROUND`], in double precision.
const ROUND_64: f64 = 6_755_399_441_055_744.0;
/// `e^-a` is zero from 104 on; in `silu` it is multiplied by `a` before it gets there.
const LAST: f32 = 115.0;
/// The sigmoid is zero up to here.
pub(super) const SIGMOID_FIRST: f32 = -104.5;
/// `e^(-a^2/2)` is zero from here on.
pub(super) const NORMAL_LAST: f32 = 14.5;
/// The terms of `gelu_tanh`: `sqrt(8/pi)`, and that times 0.044715.
const LINEAR: f32 = 1.595_769;
const CUBIC: f32 = 0.071_354_814;
/// `LINEAR a + CUBIC a^3` has passed [`LAST`] here.
const CUBIC_LAST: f32 = 11.0;
/// `(expm1(2 r) - 2 r) / r^2`.
const EXPM1_DOUBLED: [f32; 5] =
    [4.0 * EXPM1[0], 8.0 * EXPM1[1], 16.0 * EXPM1[2], 32.0 * EXPM1[3], 64.0 * EXPM1[4]];
/// `(expm1(-r / 2) + r / 2) / r^2`.
const EXPM1_HALVED: [f32; 5] =
    [EXPM1[0] / 4.0, EXPM1[1] / -8.0, EXPM1[2] / 16.0, EXPM1[3] / -32.0, EXPM1[4] / 64.0];
/// See [`Math::trig_is_large`].
const TRIG_LIMIT: f32 = (1 << 28) as f32;

#[inline(always)]
fn fma<I: Isa>(a: f32, b: f32, c: f32) -> f32 {
    I::mul_add_f32(a, b, c)
}

#[inline(always)]
fn fma_64<I: Isa>(a: f64, b: f64, c: f64) -> f64 {
    I::mul_add_f64(a, b, c)
}

#[inline(always)]
fn horner<I: Isa, const N: usize>(x: f32, coefficients: &[f32; N]) -> f32 {
    let mut sum = coefficients[N - 1];
    for i in (0..N - 1).rev() {
        sum = fma::<I>(sum, x, coefficients[i]);
    }
    sum
}

#[inline(always)]
fn horner_64<I: Isa, const N: usize>(x: f64, coefficients: &[f64; N]) -> f64 {
    let mut sum = coefficients[N - 1];
    for i in (0..N - 1).rev() {
        sum = fma_64::<I>(sum, x, coefficients[i]);
    }
    sum
}

/// The smaller one; `x` if it is NaN, unlike `f32::min`, and so one instruction on x86.
#[inline(always)]
fn at_most(x: f32, limit: f32) -> f32 {
    if limit < x { limit } else { x }
}

#[inline(always)]
fn at_least(x: f32, limit: f32) -> f32 {
    if limit > x { limit } else { x }
}

/// `y` with the sign of `x` added. For odd functions, whose sum of terms loses the sign of zero.
#[inline(always)]
fn or_sign(y: f32, x: f32) -> f32 {
    f32::from_bits(y.to_bits() | (x.to_bits() & SIGN))
}

/// `x = n ln(2) + r` by the method of Cody and Waite.
struct Reduced {
    /// `n + bias + ROUND`.
    shifted: f32,
    /// `x - n LN2_HI`, exact.
    high: f32,
    /// What is to be subtracted from `high`.
    low: f32,
}

#[inline(always)]
fn reduce<I: Isa>(x: f32, bias: f32) -> Reduced {
    let shifted = fma::<I>(x, LOG2_E, ROUND + bias);
    let n = shifted - (ROUND + bias);
    Reduced { shifted, high: fma::<I>(n, -LN2_HI, x), low: n * LN2_LO }
}

impl Reduced {
    #[inline(always)]
    fn exp<I: Isa>(&self, less: f32) -> f32 {
        let r = self.high - (self.low + less);
        fma::<I>(r, fma::<I>(r, horner::<I, _>(r, &EXPM1), 1.0), 1.0)
    }

    #[inline(always)]
    fn exp_m1<I: Isa>(&self) -> f32 {
        let r = self.high - self.low;
        self.high + fma::<I>(r * r, horner::<I, _>(r, &EXPM1), -self.low)
    }

    /// `2^n` for a bias of 127 and an `n` that needs no more than that.
    #[inline(always)]
    fn power(&self) -> f32 {
        f32::from_bits(self.shifted.to_bits() << 23)
    }
}

/// A bias that lets [`Decay`] halve the exponent.
const HALVES: f32 = 254.0;

/// `mantissa 2^n`, where the power may be below the range of `f32`.
struct Decay {
    mantissa: f32,
    first: f32,
    second: f32,
}

impl Decay {
    #[inline(always)]
    fn of(reduced: &Reduced, mantissa: f32) -> Decay {
        let bits = reduced.shifted.to_bits();
        let half = bits >> 1;
        Decay {
            mantissa,
            first: f32::from_bits(half << 23),
            second: f32::from_bits(bits.wrapping_sub(half) << 23),
        }
    }

    #[inline(always)]
    fn new<I: Isa>(a: f32) -> Decay {
        let reduced = reduce::<I>(-a, HALVES);
        Decay::of(&reduced, reduced.exp::<I>(0.0))
    }

    /// The square is taken in two pieces: its rounding error would be one of `e^..` times `a^2`.
    #[inline(always)]
    fn normal<I: Isa>(a: f32) -> Decay {
        if !fused::<I>() {
            let cut = f32::from_bits(a.to_bits() & 0xffff_f000);
            let rest = (a - cut) * (0.5 * (a + cut));
            let reduced = reduce::<I>(-0.5 * (cut * cut), HALVES);
            return Decay::of(&reduced, reduced.exp::<I>(rest));
        }
        let square = a * a;
        let rounding = fma::<I>(a, a, -square);
        // As `reduce` and `exp`, for `-2` times the argument.
        let shifted = fma::<I>(square, -0.5 * LOG2_E, ROUND + HALVES);
        let n = shifted - (ROUND + HALVES);
        let r = fma::<I>(n, 2.0 * LN2_LO, fma::<I>(n, 2.0 * LN2_HI, square)) + rounding;
        let exp = fma::<I>(r, horner::<I, _>(r, &EXPM1_HALVED), -0.5);
        Decay::of(&Reduced { shifted, high: r, low: 0.0 }, fma::<I>(r, exp, 1.0))
    }

    /// `1 / first`.
    #[inline(always)]
    fn inverse_of_first(&self) -> f32 {
        f32::from_bits((2 * ONE).wrapping_sub(self.first.to_bits()))
    }

    /// The product with `factor`; rounded twice only if it is subnormal, where the first power of
    /// two does not yet leave the range.
    #[inline(always)]
    fn times(&self, factor: f32) -> f32 {
        self.mantissa * factor * self.first * self.second
    }
}

/// See [`composed`]. All coefficients are positive, so a ratio loses little to rounding; the
/// polynomial in `1 / (4 + a)` that `f64` has would lose 6 units. Even and odd powers apart make
/// shorter chains of roundings.
#[inline(always)]
fn tail<I: Isa>(a: f32) -> f32 {
    let (top, bottom, square) = (&TAIL_TOP, &TAIL_BOTTOM, a * a);
    let top_even = horner::<I, 3>(square, &[top[0], top[2], top[4]]);
    let top_odd = horner::<I, 2>(square, &[top[1], top[3]]);
    let bottom_even = horner::<I, 3>(square, &[bottom[0], bottom[2], bottom[4]]);
    let bottom_odd = horner::<I, 3>(square, &[bottom[1], bottom[3], bottom[5]]);
    fma::<I>(a, top_odd, top_even) / fma::<I>(a, bottom_odd, bottom_even)
}

/// Exponent and significand less one of a positive number.
#[inline(always)]
fn log_parts(x: f32) -> (f32, f32) {
    let tiny = x < f32::MIN_POSITIVE;
    let scaled = if tiny { x * 8_388_608.0 } else { x };
    let bits = scaled.to_bits();
    let exponent = (bits.wrapping_sub(TWO_THIRDS) as i32) >> 23;
    let significand = f32::from_bits(bits.wrapping_sub((exponent << 23) as u32));
    let exponent = exponent as f32 - if tiny { 23.0 } else { 0.0 };
    (exponent, significand - 1.0)
}

/// `y`, or the logarithm of `x` where that is not a finite number.
#[inline(always)]
fn log_special(x: f32, y: f32) -> f32 {
    let y = if x < f32::INFINITY { y } else { x };
    let below = if x == 0.0 { f32::NEG_INFINITY } else { f32::NAN };
    // Not `x > 0`: NaN is to pass.
    if x <= 0.0 { below } else { y }
}

/// `exponent ln(2) + ln(1 + f)`.
#[inline(always)]
fn ln_of<I: Isa>(exponent: f32, f: f32) -> f32 {
    let small = fma::<I>(f * f, horner::<I, _>(f, &LN), exponent * LN2_LO);
    fma::<I>(exponent, LN2_HI, f + small)
}

#[inline(always)]
fn ln_1p_unit<I: Isa>(e: f32) -> f32 {
    let upper = e > 1.0 / 3.0;
    let f = if upper { fma::<I>(e, 0.5, -0.5) } else { e };
    ln_of::<I>(if upper { 1.0 } else { 0.0 }, f)
}

/// Whether multiply-add rounds once: a constant after inlining.
#[inline(always)]
fn fused<I: Isa>() -> bool {
    fma::<I>(1.0 + f32::EPSILON, 1.0 - f32::EPSILON, -1.0) != 0.0
}

/// Whether code for this set is compiled for AVX-512, and so runs only where `simd::level` found it:
/// a constant. Whatever has registers of this width is AVX-512.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn is_avx512<I: Isa>() -> bool {
    I::F32_LANES == crate::cpu::simd::Avx512::F32_LANES
}

/// `x` less the nearest multiple of pi/2, and the multiple modulo `2^32`.
///
/// In double precision. Without fused multiply-add, the pieces of pi/2 are short enough that for
/// `|x| <= 2^28` all products and differences but the last are exact. So the remainder is good to
/// all bits of an `f32` however small it is.
#[inline(always)]
fn quadrant<I: Isa>(x: f32) -> (f32, u32) {
    let x = f64::from(x);
    let shifted = fma_64::<I>(x, FRAC_2_PI, ROUND_64);
    let n = shifted - ROUND_64;
    let r = if fused::<I>() {
        fma_64::<I>(n, -FRAC_PI_2, x)
    } else {
        fma_64::<I>(n, -HALF_PI_2, fma_64::<I>(n, -HALF_PI_1, x))
    };
    let r = fma_64::<I>(n, if fused::<I>() { -HALF_PI_REST } else { -HALF_PI_3 }, r);
    (r as f32, shifted.to_bits() as u32)
}

/// [`quadrant`] for any argument, after Payne and Hanek: only those digits of 2/pi are multiplied
/// that have a part in the result.
#[cold]
#[inline(never)]
fn quadrant_large(x: f32) -> (f32, u32) {
    if !x.trig_is_large() || !x.is_finite() {
        return quadrant::<Baseline>(x);
    }
    let bits = x.to_bits();
    let significand = u128::from((bits & 0x007f_ffff) | 0x0080_0000);
    // |x| = significand 2^power; the digits of 2/pi before number power - 2 give multiples of 4.
    let power = ((bits >> 23) & 0xff) as usize - 150;
    let skipped = power - 2;
    let first = skipped / 32;
    let window = (first..first + 4).fold(0, |window, i| window << 32 | u128::from(TWO_OVER_PI[i]));
    // 96 digits, of which two are before the point, times 24 bits.
    let product = significand * ((window << (skipped % 32)) >> 32);
    const POINT: u32 = 94;
    let rounded = (product + (1 << (POINT - 1))) >> POINT;
    let fraction = product.wrapping_sub(rounded << POINT) as i128;
    let r = (fraction as f64 * (FRAC_PI_2 / (1_u128 << POINT) as f64)) as f32;
    let quarter = rounded as u32;
    if x < 0.0 { (-r, quarter.wrapping_neg()) } else { (r, quarter) }
}

/// Sine and cosine of `|r| <= pi/4`.
#[inline(always)]
fn sin_cos<I: Isa>(r: f32) -> (f32, f32) {
    let square = r * r;
    let sin = fma::<I>(r.abs() * square, horner::<I, _>(square, &SIN), r.abs());
    let half = 0.5 * square;
    let cos = fma::<I>(square * square, horner::<I, _>(square, &COS), 1.0 - half);
    (or_sign(sin, r), cos)
}

#[inline(always)]
fn sin_of<I: Isa>((r, quarter): (f32, u32)) -> f32 {
    let (sin, cos) = sin_cos::<I>(r);
    let y = if quarter & 1 == 0 { sin } else { cos };
    f32::from_bits(y.to_bits() ^ ((quarter << 30) & SIGN))
}

#[inline(always)]
fn tan_of<I: Isa>((r, quarter): (f32, u32)) -> f32 {
    let (sin, cos) = sin_cos::<I>(r);
    let even = quarter & 1 == 0;
    (if even { sin } else { -cos }) / (if even { cos } else { sin })
}

impl Math for f32 {
    #[inline(always)]
    fn exp<I: Isa>(self) -> f32 {
        let x = at_most(at_least(self, -104.5), 89.0);
        let reduced = reduce::<I>(x, HALVES);
        Decay::of(&reduced, reduced.exp::<I>(0.0)).times(1.0)
    }

    #[inline(always)]
    fn exp_below<I: Isa>(self) -> f32 {
        // At -88 the power is 2^-127, for which the bits of zero stand.
        let x = at_least(self, -88.0);
        let shifted = fma::<I>(x, LOG2_E, ROUND + 127.0);
        let n = shifted - (ROUND + 127.0);
        let r = fma::<I>(n, -LN2_LO, fma::<I>(n, -LN2_HI, x));
        let power = f32::from_bits(shifted.to_bits() << 23);
        fma::<I>(r, fma::<I>(r, horner::<I, _>(r, &EXPM1), 1.0), 1.0) * power
    }

    #[inline(always)]
    fn exp_m1<I: Isa>(self) -> f32 {
        // A bias one short of the float's own gives 2^(n - 1), because 2^128 does not exist.
        let reduced = reduce::<I>(at_most(at_least(self, -17.5), 89.0), 126.0);
        let half = reduced.power();
        let y = 2.0 * fma::<I>(half, reduced.exp_m1::<I>(), half - 0.5);
        // Keeps the sign of zero and the last bit of subnormal numbers.
        if self.abs() < 1e-30 { self } else { y }
    }

    #[inline(always)]
    fn ln<I: Isa>(self) -> f32 {
        let (exponent, f) = log_parts(self);
        log_special(self, ln_of::<I>(exponent, f))
    }

    /// The exponent comes from the rounded `1 + x`; the significand `2^-exponent (1 + x)` less one
    /// is then formed from `x` itself, with one rounding.
    #[inline(always)]
    fn ln_1p<I: Isa>(self) -> f32 {
        let one_more = 1.0 + self;
        let exponent = (one_more.to_bits().wrapping_sub(TWO_THIRDS) as i32) >> 23;
        let scaled = f32::from_bits(self.to_bits().wrapping_sub((exponent << 23) as u32));
        let power = f32::from_bits((ONE as i32).wrapping_sub(exponent << 23).max(0) as u32);
        let y = ln_of::<I>(exponent as f32, scaled + (power - 1.0));
        or_sign(log_special(one_more, y), self)
    }

    #[inline(always)]
    fn log2<I: Isa>(self) -> f32 {
        let (exponent, f) = log_parts(self);
        let small = f * horner::<I, _>(f, &LOG2);
        log_special(self, exponent + fma::<I>(f, LOG2_E, small))
    }

    #[inline(always)]
    fn log10<I: Isa>(self) -> f32 {
        let (exponent, f) = log_parts(self);
        let small = fma::<I>(f, horner::<I, _>(f, &LOG10), exponent * LOG10_2_LO);
        let y = fma::<I>(exponent, LOG10_2_HI, fma::<I>(f, LOG10_E, small));
        log_special(self, y)
    }

    /// An odd polynomial up to about 1/2, from there on `1 - 2 / (e^2x + 1)`: only small terms are
    /// rounded in either. The latter forgives errors of `e^2x`, hence the reduction in one step.
    #[inline(always)]
    fn tanh<I: Isa>(self) -> f32 {
        let x = at_most(self.abs(), 9.02);
        let shifted = fma::<I>(x, 2.0 * LOG2_E, ROUND + 127.0);
        let n = shifted - (ROUND + 127.0);
        let r = fma::<I>(n, -0.5 * LN_2, x);
        let exp = fma::<I>(r, fma::<I>(r, horner::<I, _>(r, &EXPM1_DOUBLED), 2.0), 1.0);
        let power = f32::from_bits(shifted.to_bits() << 23);
        let outer = 1.0 - 2.0 / fma::<I>(power, exp, 1.0);
        let square = x * x;
        let inner = fma::<I>(x * square, horner::<I, _>(square, &TANH), x);
        or_sign(if x < 0.5625 { inner } else { outer }, self)
    }

    #[inline(always)]
    fn erf<I: Isa>(self) -> f32 {
        let a = at_most(self.abs(), 4.0);
        let inner = fma::<I>(a, horner::<I, _>(a * a, &ERF), a);
        let outer = 1.0 - horner::<I, _>(a - 2.5, &ERFC);
        or_sign(if a < 1.0 { inner } else { outer }, self)
    }

    #[inline(always)]
    fn sin<I: Isa>(self) -> f32 {
        sin_of::<I>(quadrant::<I>(self))
    }

    #[inline(always)]
    fn cos<I: Isa>(self) -> f32 {
        let (r, quarter) = quadrant::<I>(self);
        sin_of::<I>((r, quarter.wrapping_add(1)))
    }

    #[inline(always)]
    fn tan<I: Isa>(self) -> f32 {
        tan_of::<I>(quadrant::<I>(self))
    }

    #[inline(always)]
    fn trig_is_large(self) -> bool {
        self.abs() > TRIG_LIMIT
    }

    #[cold]
    fn sin_large(self) -> f32 {
        sin_of::<Baseline>(quadrant_large(self))
    }

    #[cold]
    fn cos_large(self) -> f32 {
        let (r, quarter) = quadrant_large(self);
        sin_of::<Baseline>((r, quarter.wrapping_add(1)))
    }

    #[cold]
    fn tan_large(self) -> f32 {
        tan_of::<Baseline>(quadrant_large(self))
    }

    /// `2^(y log2|x|)` in double precision: `y` multiplies the logarithm's relative error up to the
    /// absolute error of an exponent near 150.
    #[inline(always)]
    fn pow<I: Isa>(self, y: f32) -> f32 {
        const TWO_THIRDS: u64 = 0x3fe5_5555_5555_5555;
        const EXPONENT: u64 = 0x7ff << 52;
        const BIAS: u64 = 1023 << 52;
        /// 2^52, whose low bits are the integer that is added.
        const INTEGER: u64 = 0x4330_0000_0000_0000;
        let a = self.abs();
        let wide = f64::from(a);
        // An integer as a float without a conversion, which 64-bit integers lack before AVX-512.
        let shifted = wide.to_bits().wrapping_sub(TWO_THIRDS).wrapping_add(BIAS);
        let exponent =
            f64::from_bits((shifted >> 52) | INTEGER) - (f64::from_bits(INTEGER) + 1023.0);
        let significand =
            f64::from_bits(wide.to_bits().wrapping_sub((shifted & EXPONENT).wrapping_sub(BIAS)));
        let s = (significand - 1.0) / (significand + 1.0);
        let square = s * s;
        let odd = fma_64::<I>(
            square,
            horner_64::<I, _>(square, &POW_LOG2),
            2.0 * std::f64::consts::LOG2_E,
        );
        let log = fma_64::<I>(s, odd, exponent);
        let log = if a < f32::INFINITY { log } else { wide };
        let log = if a == 0.0 { f64::NEG_INFINITY } else { log };

        let power = f64::from(y) * log;
        let power = if a == 1.0 && y.abs() == f32::INFINITY { 0.0 } else { power };
        let power = if power > 200.0 { 200.0 } else { power };
        let power = if power < -200.0 { -200.0 } else { power };
        let shifted = power + ROUND_64;
        let r = power - (shifted - ROUND_64);
        let near = horner_64::<I, _>(r, &POW_EXP2).to_bits();
        let wide = f64::from_bits(near.wrapping_add(shifted.to_bits() << 52));
        // NaN has no exponent to add to.
        let result = if power.is_nan() { f32::NAN } else { wide as f32 };

        let size = y.abs();
        let aligned = if size < 8_388_608.0 { size + 8_388_608.0 } else { size };
        let integer = size >= 8_388_608.0 || aligned - 8_388_608.0 == size;
        let odd = integer && size < 16_777_216.0 && aligned.to_bits() & 1 == 1;
        let result = if odd { or_sign(result, self) } else { result };
        let result = if self < 0.0 && a < f32::INFINITY && !integer { f32::NAN } else { result };
        if self == 1.0 || y == 0.0 { 1.0 } else { result }
    }

    composed!(f32);

    #[inline(always)]
    fn gelu_all<I: Isa>(x: &[f32], y: &mut [f32]) {
        #[cfg(target_arch = "x86_64")]
        if is_avx512::<I>() {
            // SAFETY: the processor has AVX-512, or this would not run.
            return unsafe { super::avx512::gelu(x, y) };
        }
        map(x, y, |x| x.gelu::<I>());
    }

    #[inline(always)]
    fn sigmoid_all<I: Isa>(x: &[f32], y: &mut [f32]) {
        #[cfg(target_arch = "x86_64")]
        if is_avx512::<I>() {
            // SAFETY: the processor has AVX-512, or this would not run.
            return unsafe { super::avx512::sigmoid(x, y) };
        }
        map(x, y, |x| x.sigmoid::<I>());
    }

    #[inline(always)]
    fn softmax<I: Isa>(x: &[f32], y: &mut [f32]) {
        #[cfg(target_arch = "x86_64")]
        if is_avx512::<I>() {
            // SAFETY: the processor has AVX-512, or this would not run.
            return unsafe { super::avx512::softmax(x, y) };
        }
        softmax::<f32, I>(x, y);
    }
}
