//! Special functions in f64, from definitions and plain series.

use super::scalar::erf;
use crate::DType;

/// Bisection.
pub(super) fn erf_inv(x: f64) -> f64 {
    let (mut low, mut high) = (-6.0, 6.0);
    for _ in 0..200 {
        let middle = (low + high) / 2.0;
        if erf(middle) < x {
            low = middle;
        } else {
            high = middle;
        }
    }
    (low + high) / 2.0
}

/// `zeta(s) - 1` for whole `s >= 2`: terms one by one, the rest by its integral and two corrections.
fn zeta_less_one(s: i32) -> f64 {
    polygamma_sum(s, 2.0)
}

/// `sum_k 1 / (x + k)^s`.
fn polygamma_sum(s: i32, x: f64) -> f64 {
    let last = x + 1000.0;
    let order = f64::from(s);
    let rest =
        last.powi(1 - s) / (order - 1.0) + last.powi(-s) / 2.0 + order / 12.0 * last.powi(-s - 1);
    (0..1000).rev().fold(rest, |sum, k| sum + (x + f64::from(k)).powi(-s))
}

const EULER: f64 = 0.577_215_664_901_532_9;

/// The series of `lgamma(1 + z)` about 0 (Abramowitz & Stegun 6.1.33), for the part of `x` near 1;
/// the recurrence leads there.
pub(super) fn lgamma(x: f64) -> f64 {
    let (base, factor) = near_one(x);
    let z = base - 1.0;
    let series = (2..60)
        .rev()
        .fold(0.0, |sum, k| sum + (-1f64).powi(k) * zeta_less_one(k) * z.powi(k) / f64::from(k));
    let product: f64 = factor.iter().product();
    let value = -base.ln() + z * (1.0 - EULER) + series;
    if x >= 1.0 { value + product.ln() } else { value - product.abs().ln() }
}

/// The derivative of [`lgamma`], term by term.
pub(super) fn digamma(x: f64) -> f64 {
    let (base, factors) = near_one(x);
    let z = base - 1.0;
    let series =
        (2..60).rev().fold(0.0, |sum, k| sum + (-1f64).powi(k) * zeta_less_one(k) * z.powi(k - 1));
    let value = -1.0 / base + 1.0 - EULER + series;
    let sum: f64 = factors.iter().map(|factor| 1.0 / factor).sum();
    if x >= 1.0 { value + sum } else { value - sum }
}

/// The number within 1/2 of 1 that differs from `x` by a whole one, and the factors by which their
/// gamma functions differ.
fn near_one(x: f64) -> (f64, Vec<f64>) {
    let (mut base, mut factors) = (x, Vec::new());
    while base > 1.5 {
        base -= 1.0;
        factors.push(base);
    }
    while base < 0.5 {
        factors.push(base);
        base += 1.0;
    }
    (base, factors)
}

/// The definition as a sum; below zero by the recurrence.
pub(super) fn polygamma(n: i32, x: f64) -> f64 {
    let factorial: f64 = (1..=n).map(f64::from).product();
    let (mut x, mut below) = (x, 0.0);
    while x < 0.5 {
        below += x.powi(-n - 1);
        x += 1.0;
    }
    (-1f64).powi(n + 1) * factorial * (below + polygamma_sum(n + 1, x))
}

/// One bit at a time, in a number of the dtype's width.
pub(super) fn shift(left: bool, dtype: DType, x: i64, by: i64) -> i64 {
    let width = 8 * dtype.size() as i64;
    let by = if (0..width).contains(&by) { by } else { width };
    (0..by).fold(x, |x, _| if left { x.wrapping_mul(2) } else { x.div_euclid(2) })
}
