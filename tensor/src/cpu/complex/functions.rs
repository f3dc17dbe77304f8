//! Functions of complex numbers, in double precision.
//!
//! Single precision is computed here as well and rounded once. Infinities, NaN and signed zeros
//! follow Annex G of C99, branch cuts lie where it puts them, and nothing over- or underflows on
//! the way to a result that does not.

use num_complex::Complex;

pub(super) type C = Complex<f64>;

fn c(re: f64, im: f64) -> C {
    C::new(re, im)
}

/// `x * 2^power`, for powers of any size. Three equal steps: only the last can round.
fn scale(x: f64, power: i32) -> f64 {
    let step = |power: i32| f64::from_bits(((power.clamp(-1022, 1023) + 1023) as u64) << 52);
    let third = power / 3;
    x * step(third) * step(third) * step(power - 2 * third)
}

/// The power of two just below the larger part; zero for numbers that are zero or not finite.
fn exponent(z: C) -> i32 {
    let size = z.re.abs().max(z.im.abs());
    if size == 0.0 || !size.is_finite() {
        return 0;
    }
    let bits = |x: f64| (x.to_bits() >> 52) as i32;
    // Subnormal numbers are brought into the normal range first.
    if size < f64::MIN_POSITIVE {
        bits(size * 2f64.powi(54)) - 1023 - 54
    } else {
        bits(size) - 1023
    }
}

fn scaled(z: C, power: i32) -> C {
    c(scale(z.re, power), scale(z.im, power))
}

/// The quotient of both numbers brought near 1, scaled back at the end. Zero and infinite divisors
/// go through Smith's formula, which gives what PyTorch gives.
pub(super) fn div(a: C, b: C) -> C {
    let size = b.re.abs().max(b.im.abs());
    if size == 0.0 || size.is_infinite() {
        return smith(a, b);
    }
    if moderate(a) && moderate(b) {
        return quotient(a, b);
    }
    let (above, below) = (exponent(a), exponent(b));
    scaled(quotient(scaled(a, -above), scaled(b, -below)), above - below)
}

/// Whether no square of the parts leaves the normal numbers.
fn moderate(z: C) -> bool {
    let within = |x: f64| x == 0.0 || (1e-100..1e100).contains(&x.abs());
    within(z.re) && within(z.im)
}

#[inline(always)]
fn quotient(a: C, b: C) -> C {
    let norm = b.re * b.re + b.im * b.im;
    c((a.re * b.re + a.im * b.im) / norm, (a.im * b.re - a.re * b.im) / norm)
}

fn smith(a: C, b: C) -> C {
    let (re, im) = (b.re.abs(), b.im.abs());
    if re == 0.0 && im == 0.0 {
        c(a.re / re, a.im / im)
    } else if re >= im {
        let ratio = b.im / b.re;
        let factor = 1.0 / (b.re + b.im * ratio);
        c((a.re + a.im * ratio) * factor, (a.im - a.re * ratio) * factor)
    } else {
        let ratio = b.re / b.im;
        let factor = 1.0 / (b.re * ratio + b.im);
        c((a.re * ratio + a.im) * factor, (a.im * ratio - a.re) * factor)
    }
}

/// Division of numbers whose squares fit an `f64`, as those of `f32` do.
#[inline(always)]
pub(super) fn div_narrow(a: C, b: C) -> C {
    let size = b.re.abs().max(b.im.abs());
    if size > 0.0 && size.is_finite() { quotient(a, b) } else { smith(a, b) }
}

pub(super) fn exp(z: C) -> C {
    if z.im == 0.0 {
        return c(z.re.exp(), z.im);
    }
    if z.re.is_infinite() && !z.im.is_finite() {
        return if z.re < 0.0 { c(0.0, 0f64.copysign(z.im)) } else { c(z.re, f64::NAN) };
    }
    let (sin, cos) = z.im.sin_cos();
    if z.re > 709.0 && z.re.is_finite() {
        // The size alone may overflow where a part does not.
        let half = (z.re / 2.0).exp();
        return c(half * cos * half, half * sin * half);
    }
    let size = z.re.exp();
    c(size * cos, size * sin)
}

pub(super) fn exp_m1(z: C) -> C {
    if z.im == 0.0 {
        return c(z.re.exp_m1(), z.im);
    }
    let half = (z.im / 2.0).sin();
    let re = z.re.exp_m1() * z.im.cos() - 2.0 * half * half;
    c(re, exp(z).im)
}

/// The logarithm of the absolute value.
fn log_abs(z: C) -> f64 {
    let (a, b) = (z.re.abs(), z.im.abs());
    let (large, small) = if a > b { (a, b) } else { (b, a) };
    if !(1e-150..1e150).contains(&large) {
        if large == 0.0 || !large.is_finite() || small.is_nan() {
            return a.hypot(b).ln();
        }
        let power = exponent(z);
        let near = scaled(z, -power);
        return near.re.hypot(near.im).ln() + power as f64 * std::f64::consts::LN_2;
    }
    let size = a.hypot(b);
    if !(0.7..1.5).contains(&size) {
        return size.ln();
    }
    // Near 1 the logarithm is as small as what rounding took from the squares.
    let (square, other) = (large * large, small * small);
    let lost = large.mul_add(large, -square) + small.mul_add(small, -other);
    0.5 * ((square - 1.0) + other + lost).ln_1p()
}

pub(super) fn ln(z: C) -> C {
    c(log_abs(z), z.im.atan2(z.re))
}

pub(super) fn ln_1p(z: C) -> C {
    if z.re.hypot(z.im) >= 0.5 || z.re.is_nan() || z.im.is_nan() {
        return ln(c(1.0 + z.re, z.im));
    }
    let angle = z.im.atan2(1.0 + z.re);
    let r = z.re * (2.0 + z.re) + z.im * z.im;
    if r == 0.0 { c(z.re, angle) } else { c(0.5 * r.ln_1p(), angle) }
}

pub(super) fn sqrt(z: C) -> C {
    if z.re == 0.0 && z.im == 0.0 {
        return c(0.0, z.im);
    }
    if z.im.is_infinite() {
        return c(f64::INFINITY, z.im);
    }
    if z.re.is_infinite() {
        let none = if z.im.is_nan() { z.im } else { 0.0 };
        return match z.re > 0.0 {
            true => c(z.re, none.copysign(z.im)),
            false => c(none, f64::INFINITY.copysign(z.im)),
        };
    }
    // An even power, so that its root is one as well.
    let power = exponent(z) & !1;
    let near = scaled(z, -power);
    let t = ((near.re.abs() + near.re.hypot(near.im)) * 0.5).sqrt();
    let other = near.im.abs() / (2.0 * t);
    let (re, im) = if z.re >= 0.0 { (t, other) } else { (other, t) };
    scaled(c(re, im.copysign(z.im)), power / 2)
}

pub(super) fn sinh(z: C) -> C {
    if z.im == 0.0 {
        return c(z.re.sinh(), z.im);
    }
    if z.re == 0.0 && !z.im.is_finite() {
        return c(z.re, f64::NAN);
    }
    if z.re.is_infinite() && !z.im.is_finite() {
        return c(z.re, f64::NAN);
    }
    let (sin, cos) = z.im.sin_cos();
    if z.re.abs() > 709.0 && z.re.is_finite() {
        let half = (z.re.abs() / 2.0).exp();
        let sign = 1f64.copysign(z.re);
        return c(sign * (0.5 * half * cos) * half, (0.5 * half * sin) * half);
    }
    c(z.re.sinh() * cos, z.re.cosh() * sin)
}

pub(super) fn cosh(z: C) -> C {
    if z.im == 0.0 {
        return c(z.re.cosh(), z.im * 1f64.copysign(z.re));
    }
    if z.re == 0.0 {
        return c(z.im.cos(), if z.im.is_finite() { z.re * z.im.sin() } else { 0.0 });
    }
    if z.re.is_infinite() && !z.im.is_finite() {
        return c(f64::INFINITY, f64::NAN);
    }
    let (sin, cos) = z.im.sin_cos();
    if z.re.abs() > 709.0 && z.re.is_finite() {
        let half = (z.re.abs() / 2.0).exp();
        let sign = 1f64.copysign(z.re);
        return c((0.5 * half * cos) * half, sign * (0.5 * half * sin) * half);
    }
    c(z.re.cosh() * cos, z.re.sinh() * sin)
}

/// After Kahan 1987, "Branch cuts for complex elementary functions".
pub(super) fn tanh(z: C) -> C {
    let (x, y) = (z.re, z.im);
    if x.is_nan() {
        return c(x, if y == 0.0 { y } else { f64::NAN });
    }
    if x.is_infinite() {
        let side = if y.is_finite() { y.sin() * y.cos() } else { y };
        return c(1f64.copysign(x), 0f64.copysign(side));
    }
    if !y.is_finite() {
        return c(if x == 0.0 { x } else { f64::NAN }, f64::NAN);
    }
    if x.abs() >= 22.0 {
        return c(1f64.copysign(x), 4.0 * y.sin() * y.cos() * (-2.0 * x.abs()).exp());
    }
    let (t, s) = (y.tan(), x.sinh());
    let beta = 1.0 + t * t;
    let rho = (1.0 + s * s).sqrt();
    let below = 1.0 + beta * s * s;
    c(beta * rho * s / below, t / below)
}

/// `i z`.
fn turned(z: C) -> C {
    c(-z.im, z.re)
}

/// `-i z`.
fn turned_back(z: C) -> C {
    c(z.im, -z.re)
}

pub(super) fn sin(z: C) -> C {
    turned_back(sinh(turned(z)))
}

pub(super) fn cos(z: C) -> C {
    cosh(turned(z))
}

pub(super) fn tan(z: C) -> C {
    turned_back(tanh(turned(z)))
}

pub(super) fn sigmoid(z: C) -> C {
    let one = c(1.0, 0.0);
    if z.re >= 0.0 {
        return div(one, one + exp(-z));
    }
    let e = exp(z);
    div(e, one + e)
}

/// `a^b`: by products for small whole exponents, else `exp(b log a)`. `a^0` is 1 for every `a`.
pub(super) fn pow(a: C, b: C) -> C {
    let one = c(1.0, 0.0);
    if b.re == 0.0 && b.im == 0.0 {
        return one;
    }
    if b.im == 0.0 && b.re.trunc() == b.re && b.re.abs() <= 64.0 {
        let (mut rest, mut power, mut product) = (b.re.abs() as u32, a, None);
        loop {
            if rest & 1 == 1 {
                product = Some(product.map_or(power, |product: C| product * power));
            }
            rest >>= 1;
            if rest == 0 {
                break;
            }
            power *= power;
        }
        let product = product.unwrap_or(one);
        return if b.re > 0.0 { product } else { div(one, product) };
    }
    if a.re == 0.0 && a.im == 0.0 && b.re > 0.0 {
        return c(0.0, 0.0);
    }
    let log = ln(a);
    if b.im != 0.0 {
        return exp(b * log);
    }
    // A real exponent: the power of the size needs no logarithm, which would lose digits.
    let size = a.re.hypot(a.im).powf(b.re);
    let (sin, cos) = (b.re * log.im).sin_cos();
    c(size * cos, size * sin)
}

/// The absolute value, without overflow on the way.
pub(super) fn abs(z: C) -> f64 {
    z.re.hypot(z.im)
}
