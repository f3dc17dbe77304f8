//! Functions of numbers, in f64.

use super::special;
use crate::DType;
use crate::op::{BinaryKind, UnaryKind};

/// The error function: its Taylor series near zero, the continued fraction of its complement
/// further out (Abramowitz & Stegun 7.1.5 and 7.1.14).
pub(super) fn erf(x: f64) -> f64 {
    let a = x.abs();
    if x.is_nan() || a > 6.0 {
        return if x.is_nan() { x } else { x.signum() };
    }
    if a < 2.5 {
        let (mut term, mut sum) = (x, x);
        for n in 1..80 {
            term *= -x * x / n as f64;
            sum += term / (2 * n + 1) as f64;
        }
        return sum * std::f64::consts::FRAC_2_SQRT_PI;
    }
    let fraction = (1..120).rev().fold(a, |tail, k| a + (k as f64 / 2.0) / tail);
    let complement = (-a * a).exp() / (fraction * std::f64::consts::PI.sqrt());
    x.signum() * (1.0 - complement)
}

pub(super) fn unary(kind: UnaryKind, dtype: DType, x: f64) -> f64 {
    use UnaryKind::*;
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    match kind {
        Neg => -x,
        Abs => x.abs(),
        Conj => unreachable!("conj of real numbers"),
        Sign if x == 0.0 || x.is_nan() => 0.0,
        Sign => x.signum(),
        Square => x * x,
        Not if dtype == DType::Bool => (x == 0.0) as u8 as f64,
        Not => !(x as i64) as f64,
        Recip => 1.0 / x,
        Sqrt => x.sqrt(),
        Rsqrt => 1.0 / x.sqrt(),
        Exp => x.exp(),
        ExpM1 => x.exp_m1(),
        Log => x.ln(),
        Log2 => x.log2(),
        Log10 => x.log10(),
        Log1p => x.ln_1p(),
        Sin => x.sin(),
        Cos => x.cos(),
        Tan => x.tan(),
        Exp2 => x.exp2(),
        Asin => x.asin(),
        Acos => x.acos(),
        Atan => x.atan(),
        Sinh => x.sinh(),
        Cosh => x.cosh(),
        Asinh => x.asinh(),
        Acosh => x.acosh(),
        Atanh => x.atanh(),
        Erf => erf(x),
        Erfc => 1.0 - erf(x),
        ErfInv => special::erf_inv(x),
        Lgamma => special::lgamma(x),
        Digamma => special::digamma(x),
        Polygamma(order) => special::polygamma(order.into(), x),
        Floor => x.floor(),
        Ceil => x.ceil(),
        Round => x.round_ties_even(),
        Trunc => x.trunc(),
        Relu => {
            if x < 0.0 {
                0.0
            } else {
                x
            }
        }
        Sigmoid => sigmoid(x),
        Tanh => x.tanh(),
        Gelu => 0.5 * x * (1.0 + erf(x / 2f64.sqrt())),
        GeluTanh => {
            let u = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
            0.5 * x * (1.0 + u.tanh())
        }
        Silu => x * sigmoid(x),
        Softplus => x.max(0.0) + (-x.abs()).exp().ln_1p(),
    }
}

pub(super) fn binary(kind: BinaryKind, dtype: DType, a: f64, b: f64) -> f64 {
    use BinaryKind::*;
    let truth = |x: bool| x as u8 as f64;
    let (i, j) = (a as i64, b as i64);
    match kind {
        Add => a + b,
        Sub => a - b,
        Mul => a * b,
        Div if dtype.is_float() => a / b,
        Div => (a / b).trunc(),
        FloorDiv => (a / b).floor(),
        Fmod => a - b * (a / b).trunc(),
        Rem => match a % b {
            r if r != 0.0 && (r < 0.0) != (b < 0.0) => r + b,
            r => r,
        },
        Pow => a.powf(b),
        Max if a.is_nan() || b.is_nan() => f64::NAN,
        Max => a.max(b),
        Min if a.is_nan() || b.is_nan() => f64::NAN,
        Min => a.min(b),
        Atan2 => a.atan2(b),
        Hypot => (a * a + b * b).sqrt(),
        CopySign => a.abs() * b.signum(),
        LogAddExp => (a.exp() + b.exp()).ln(),
        Equal => truth(a == b),
        NotEqual => truth(a != b),
        Less => truth(a < b),
        LessEqual => truth(a <= b),
        Greater => truth(a > b),
        GreaterEqual => truth(a >= b),
        And => (i & j) as f64,
        Or => (i | j) as f64,
        Xor => (i ^ j) as f64,
        ShiftLeft | ShiftRight => special::shift(kind == ShiftLeft, dtype, i, j) as f64,
    }
}
