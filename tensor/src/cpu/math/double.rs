//! `f64`.

use std::f64::consts::SQRT_2;

use super::coefficients::double::*;
use super::{Isa, Math, composed, softmax};

const SIGN: u64 = 1 << 63;
const TWO_THIRDS: u64 = 0x3fe5_5555_5555_5555;
const EXPONENT: u64 = 0x7ff << 52;
const BIAS: u64 = 1023 << 52;
/// 2^52, whose low bits are the integer that is added.
const INTEGER: u64 = 0x4330_0000_0000_0000;
/// As in `single`.
const ROUND: f64 = 6_755_399_441_055_744.0;
/// `e^-a` is zero from 746 on; in `silu` it is multiplied by `a` before it gets there.
const LAST: f64 = 760.0;
/// The sigmoid is zero up to here.
const SIGMOID_FIRST: f64 = -746.0;
/// `e^(-a^2/2)` is zero from here on.
const NORMAL_LAST: f64 = 39.0;
/// The terms of `gelu_tanh`: `sqrt(8/pi)`, and that times 0.044715.
const LINEAR: f64 = 1.595_769_121_605_730_8;
const CUBIC: f64 = 0.044_715 * LINEAR;
/// `LINEAR a + CUBIC a^3` has passed [`LAST`] here.
const CUBIC_LAST: f64 = 22.0;

#[inline(always)]
fn fma<I: Isa>(a: f64, b: f64, c: f64) -> f64 {
    I::mul_add_f64(a, b, c)
}

#[inline(always)]
fn horner<I: Isa, const N: usize>(x: f64, coefficients: &[f64; N]) -> f64 {
    let mut sum = coefficients[N - 1];
    for i in (0..N - 1).rev() {
        sum = fma::<I>(sum, x, coefficients[i]);
    }
    sum
}

#[inline(always)]
fn at_most(x: f64, limit: f64) -> f64 {
    if limit < x { limit } else { x }
}

#[inline(always)]
fn at_least(x: f64, limit: f64) -> f64 {
    if limit > x { limit } else { x }
}

#[inline(always)]
fn or_sign(y: f64, x: f64) -> f64 {
    f64::from_bits(y.to_bits() | (x.to_bits() & SIGN))
}

/// As in `single`.
struct Reduced {
    shifted: f64,
    high: f64,
    low: f64,
}

#[inline(always)]
fn reduce<I: Isa>(x: f64, bias: f64) -> Reduced {
    let shifted = fma::<I>(x, std::f64::consts::LOG2_E, ROUND + bias);
    let n = shifted - (ROUND + bias);
    Reduced { shifted, high: fma::<I>(n, -LN2_HI, x), low: n * LN2_LO }
}

impl Reduced {
    #[inline(always)]
    fn exp<I: Isa>(&self, less: f64) -> f64 {
        let low = self.low + less;
        let r = self.high - low;
        1.0 + (self.high + fma::<I>(r * r, horner::<I, _>(r, &EXPM1), -low))
    }

    #[inline(always)]
    fn exp_m1<I: Isa>(&self) -> f64 {
        let r = self.high - self.low;
        self.high + fma::<I>(r * r, horner::<I, _>(r, &EXPM1), -self.low)
    }
}

const HALVES: f64 = 2046.0;

/// As in `single`.
struct Decay {
    mantissa: f64,
    first: f64,
    second: f64,
}

impl Decay {
    #[inline(always)]
    fn of<I: Isa>(reduced: &Reduced, less: f64) -> Decay {
        let bits = reduced.shifted.to_bits();
        let half = bits >> 1;
        Decay {
            mantissa: reduced.exp::<I>(less),
            first: f64::from_bits(half << 52),
            second: f64::from_bits(bits.wrapping_sub(half) << 52),
        }
    }

    #[inline(always)]
    fn new<I: Isa>(a: f64) -> Decay {
        Decay::of::<I>(&reduce::<I>(-a, HALVES), 0.0)
    }

    #[inline(always)]
    fn normal<I: Isa>(a: f64) -> Decay {
        let cut = f64::from_bits(a.to_bits() & 0xffff_ffff_f800_0000);
        let rest = (a - cut) * (0.5 * (a + cut));
        Decay::of::<I>(&reduce::<I>(-0.5 * (cut * cut), HALVES), rest)
    }

    /// As in `single`.
    #[inline(always)]
    fn inverse_of_first(&self) -> f64 {
        f64::from_bits((2 * BIAS).wrapping_sub(self.first.to_bits()))
    }

    #[inline(always)]
    fn times(&self, factor: f64) -> f64 {
        self.mantissa * factor * self.first * self.second
    }
}

#[inline(always)]
fn tail<I: Isa>(a: f64) -> f64 {
    let t = 4.0 / (4.0 + a);
    t * horner::<I, _>(t - 0.625, &TAIL)
}

/// The standard library's function: here accuracy comes first.
#[inline(always)]
fn ln_1p_unit<I: Isa>(e: f64) -> f64 {
    f64::ln_1p(e)
}

impl Math for f64 {
    #[inline(always)]
    fn exp<I: Isa>(self) -> f64 {
        let x = at_most(at_least(self, -746.0), 710.0);
        Decay::of::<I>(&reduce::<I>(x, HALVES), 0.0).times(1.0)
    }

    #[inline(always)]
    fn exp_below<I: Isa>(self) -> f64 {
        Math::exp::<I>(self)
    }

    #[inline(always)]
    fn exp_m1<I: Isa>(self) -> f64 {
        f64::exp_m1(self)
    }

    /// With `s = f / (2 + f)`, `ln(1 + f) = 2 s + s^3 P(s^2) = f - s (f - s^2 P(s^2))`: the form
    /// on the right rounds only what is small beside `f`.
    #[inline(always)]
    fn ln<I: Isa>(self) -> f64 {
        let tiny = self < f64::MIN_POSITIVE;
        let x = if tiny { self * 18_014_398_509_481_984.0 } else { self };
        let shifted = x.to_bits().wrapping_sub(TWO_THIRDS).wrapping_add(BIAS);
        let bias = f64::from_bits(INTEGER) + if tiny { 1077.0 } else { 1023.0 };
        let exponent = f64::from_bits((shifted >> 52) | INTEGER) - bias;
        let significand =
            f64::from_bits(x.to_bits().wrapping_sub((shifted & EXPONENT).wrapping_sub(BIAS)));
        let f = significand - 1.0;
        let s = f / (2.0 + f);
        let square = s * s;
        let inner = f - square * horner::<I, _>(square, &LN);
        let small = fma::<I>(-s, inner, exponent * LN2_LO);
        let y = fma::<I>(exponent, LN2_HI, f + small);
        let y = if self < f64::INFINITY { y } else { self };
        let below = if self == 0.0 { f64::NEG_INFINITY } else { f64::NAN };
        if self <= 0.0 { below } else { y }
    }

    #[inline(always)]
    fn ln_1p<I: Isa>(self) -> f64 {
        f64::ln_1p(self)
    }

    #[inline(always)]
    fn log2<I: Isa>(self) -> f64 {
        f64::log2(self)
    }

    #[inline(always)]
    fn log10<I: Isa>(self) -> f64 {
        f64::log10(self)
    }

    /// As in `single`.
    #[inline(always)]
    fn tanh<I: Isa>(self) -> f64 {
        let x = at_most(at_least(self, -19.1), 19.1);
        let reduced = reduce::<I>(x + x, 1023.0);
        let power = f64::from_bits(reduced.shifted.to_bits() << 52);
        let p = reduced.exp_m1::<I>();
        or_sign(fma::<I>(power, p, power - 1.0) / fma::<I>(power, p, power + 1.0), self)
    }

    #[inline(always)]
    fn erf<I: Isa>(self) -> f64 {
        let a = at_most(self.abs(), 6.0);
        let inner = fma::<I>(self, horner::<I, _>(self * self, &ERF), self);
        let b = a * SQRT_2;
        let outer = 1.0 - 2.0 * Decay::normal::<I>(b).times(tail::<I>(b));
        or_sign(if a < 1.0 { inner } else { outer }, self)
    }

    #[inline(always)]
    fn sin<I: Isa>(self) -> f64 {
        f64::sin(self)
    }

    #[inline(always)]
    fn cos<I: Isa>(self) -> f64 {
        f64::cos(self)
    }

    #[inline(always)]
    fn tan<I: Isa>(self) -> f64 {
        f64::tan(self)
    }

    #[inline(always)]
    fn trig_is_large(self) -> bool {
        false
    }

    #[cold]
    fn sin_large(self) -> f64 {
        f64::sin(self)
    }

    #[cold]
    fn cos_large(self) -> f64 {
        f64::cos(self)
    }

    #[cold]
    fn tan_large(self) -> f64 {
        f64::tan(self)
    }

    #[inline(always)]
    fn pow<I: Isa>(self, y: f64) -> f64 {
        f64::powf(self, y)
    }

    #[inline(always)]
    fn softmax<I: Isa>(x: &[f64], y: &mut [f64]) {
        softmax::<f64, I>(x, y);
    }

    composed!(f64);
}
