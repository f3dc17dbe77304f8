//! Functions that are computed one element at a time, in f64 for all float types: results of f32
//! carry little more than their final rounding. Elementary ones come from `libm`, the same code on
//! every platform.

use std::f64::consts::{FRAC_2_SQRT_PI, PI};

use crate::op::{BinaryKind, UnaryKind};

pub(crate) fn unary(kind: UnaryKind, x: f64) -> f64 {
    use UnaryKind::*;
    match kind {
        Exp2 => libm::exp2(x),
        Asin => libm::asin(x),
        Acos => libm::acos(x),
        Atan => libm::atan(x),
        Sinh => libm::sinh(x),
        Cosh => libm::cosh(x),
        Asinh => libm::asinh(x),
        Acosh if x < 1.0 => f64::NAN,
        Acosh => libm::acosh(x),
        Atanh => libm::atanh(x),
        Erfc => libm::erfc(x),
        ErfInv => erf_inv(x),
        Lgamma => libm::lgamma(x),
        Digamma => digamma(x),
        Polygamma(order) => polygamma(order as usize, x),
        kind => unreachable!("{kind:?} has a loop of its own"),
    }
}

pub(crate) fn binary(kind: BinaryKind, a: f64, b: f64) -> f64 {
    match kind {
        BinaryKind::FloorDiv => floor_div(a, b),
        BinaryKind::Atan2 => libm::atan2(a, b),
        BinaryKind::Hypot => libm::hypot(a, b),
        kind => unreachable!("{kind:?} has a loop of its own"),
    }
}

/// The whole number `q` for which `a - q b` is the remainder with the sign of `b`: `floor(a / b)`
/// without the rounding of the quotient, as in `torch.floor_divide` and Python's `//`.
fn floor_div(a: f64, b: f64) -> f64 {
    if b == 0.0 {
        return a / b;
    }
    let rest = a % b;
    let mut quotient = (a - rest) / b;
    if rest != 0.0 && (rest < 0.0) != (b < 0.0) {
        quotient -= 1.0;
    }
    if quotient == 0.0 {
        return 0f64.copysign(a / b);
    }
    let floor = quotient.floor();
    if quotient - floor > 0.5 { floor + 1.0 } else { floor }
}

/// Solves `erf(y) = x` by Halley's method from the approximation of Giles (2010), "Approximating
/// the erfinv function", on the side where `x` is known exactly: `erf` near zero, `erfc` beyond.
fn erf_inv(x: f64) -> f64 {
    let a = x.abs();
    if a >= 1.0 || x.is_nan() {
        return if a == 1.0 { x * f64::INFINITY } else { f64::NAN };
    }
    if a < 1e-150 {
        return x / FRAC_2_SQRT_PI;
    }
    let w = -((1.0 - a) * (1.0 + a)).ln();
    let horner = |t: f64, c: &[f64]| c.iter().fold(0.0, |y, &c| y * t + c);
    let mut y = if w < 5.0 {
        a * horner(w - 2.5, &GILES_MIDDLE)
    } else {
        a * horner(w.sqrt() - 3.0, &GILES_TAIL)
    };
    for _ in 0..2 {
        let excess = if a < 0.5 { libm::erf(y) - a } else { (1.0 - a) - libm::erfc(y) };
        let step = excess / (FRAC_2_SQRT_PI * (-y * y).exp());
        y -= step / (1.0 + y * step);
    }
    y.copysign(x)
}

const GILES_MIDDLE: [f64; 9] = [
    2.81022636e-08,
    3.43273939e-07,
    -3.5233877e-06,
    -4.39150654e-06,
    0.00021858087,
    -0.00125372503,
    -0.00417768164,
    0.246640727,
    1.50140941,
];
const GILES_TAIL: [f64; 9] = [
    -0.000200214257,
    0.000100950558,
    0.00134934322,
    -0.00367342844,
    0.00573950773,
    -0.0076224613,
    0.00943887047,
    1.00167406,
    2.83297682,
];

/// The even Bernoulli numbers `B_2, B_4, ..`.
const BERNOULLI: [f64; 10] = [
    1.0 / 6.0,
    -1.0 / 30.0,
    1.0 / 42.0,
    -1.0 / 30.0,
    5.0 / 66.0,
    -691.0 / 2730.0,
    7.0 / 6.0,
    -3617.0 / 510.0,
    43867.0 / 798.0,
    -174611.0 / 330.0,
];

/// Where the asymptotic series are exact to the last place.
const FAR: f64 = 12.0;

/// `digamma(x)`: the recurrence `digamma(x) = digamma(x + 1) - 1 / x` up to where the asymptotic
/// series holds (Abramowitz & Stegun 6.3.5 and 6.3.18), and the reflection of negative numbers.
fn digamma(x: f64) -> f64 {
    if x == 0.0 {
        return -1.0 / x;
    }
    if x < 0.0 {
        let part = x - x.floor();
        // Poles; minus infinity has neither a value nor a limit.
        if part == 0.0 || x.is_infinite() {
            return f64::NAN;
        }
        return digamma(1.0 - x) - PI * cot_pi(part);
    }
    let (mut shifted, mut sum) = (x, 0.0);
    while shifted < FAR {
        sum += 1.0 / shifted;
        shifted += 1.0;
    }
    let inverse = 1.0 / (shifted * shifted);
    let series = BERNOULLI
        .iter()
        .enumerate()
        .rev()
        .fold(0.0, |y, (k, b)| (y + b / (2 * (k + 1)) as f64) * inverse);
    shifted.ln() - 0.5 / shifted - series - sum
}

/// The derivative of [`digamma`] of order `n >= 1`, `(-1)^(n + 1) n! sum_k 1 / (x + k)^(n + 1)`.
fn polygamma(n: usize, x: f64) -> f64 {
    let sign = if n % 2 == 1 { 1.0 } else { -1.0 };
    if x.is_nan() || x == f64::NEG_INFINITY {
        return f64::NAN;
    }
    if x <= 0.0 && x == x.floor() {
        return sign * f64::INFINITY;
    }
    if x < 0.0 {
        // (-1)^n polygamma(n, 1 - x) - polygamma(n, x) = pi (d/dx)^n cot(pi x)
        return -sign * polygamma(n, 1.0 - x) - cot_derivative(n, x - x.floor());
    }
    sign * series(n, x)
}

/// `n! sum_k 1 / (x + k)^(n + 1)` for `x > 0`: the first terms, then the rest by the formula of
/// Euler and Maclaurin.
fn series(n: usize, x: f64) -> f64 {
    if x == f64::INFINITY {
        return 0.0;
    }
    // Neither the factorial nor the power may overflow where their quotient does not.
    let power = |x: f64| (1..=n).fold(1.0 / x, |y, k| y * (k as f64 / x));
    let (mut shifted, mut sum) = (x, 0.0);
    // The terms of the formula grow with the order: it starts further out.
    while shifted < FAR + n as f64 {
        sum += power(shifted);
        shifted += 1.0;
    }
    let first = power(shifted);
    let mut tail = first * (shifted / n as f64 + 0.5);
    // With s = n + 1: B_2k / (2k)! * s (s + 1) .. (s + 2k - 2) / shifted^(s + 2k - 1)
    let mut term = first * (n + 1) as f64 / (2.0 * shifted);
    for (k, b) in BERNOULLI.iter().enumerate() {
        tail += b * term;
        let k = 2 * k + 2;
        let rising = (n + k) as f64 * (n + k + 1) as f64;
        term *= rising / ((k + 1) as f64 * (k + 2) as f64 * shifted * shifted);
    }
    sum + tail
}

/// `cot(pi x)` for `0 < x < 1`.
fn cot_pi(x: f64) -> f64 {
    // Both are accurate where the argument is small.
    if x <= 0.25 {
        1.0 / (PI * x).tan()
    } else if x < 0.75 {
        (PI * (0.5 - x)).tan()
    } else {
        -1.0 / (PI * (1.0 - x)).tan()
    }
}

/// `pi (d/dx)^n cot(pi x)` for `0 < x < 1`, as a polynomial in the cotangent, whose derivative is
/// `-pi (1 + cot^2)`.
fn cot_derivative(n: usize, x: f64) -> f64 {
    let mut polynomial = vec![0.0, 1.0];
    for _ in 0..n {
        let mut next = vec![0.0; polynomial.len() + 1];
        for (k, c) in polynomial.iter().enumerate().skip(1) {
            let slope = -PI * k as f64 * c;
            next[k - 1] += slope;
            next[k + 1] += slope;
        }
        polynomial = next;
    }
    let cot = cot_pi(x);
    PI * polynomial.iter().rev().fold(0.0, |y, c| y * cot + c)
}
