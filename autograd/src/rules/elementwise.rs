//! Gradients of elementwise operations.

use kiln_tensor::op::{
    Activation, ActivationBackward, Binary, BinaryKind, BinaryScalar, Meta, UnaryKind,
};
use kiln_tensor::{AnyTensor, Scalar};

use super::{Context, Results};

pub(super) fn unary(kind: UnaryKind, cx: &mut Context<'_>, dy: &AnyTensor) -> AnyTensor {
    use std::f64::consts::{FRAC_2_SQRT_PI, LN_2, LN_10};
    // 1 - x^2, without cancelling near its zeros.
    let circle = |x: &AnyTensor| x.neg().add_scalar(1).mul(&x.add_scalar(1));
    let fused = kind.activation().filter(|_| !dy.dtype().is_complex());
    if let Some(activation) = fused {
        let saved = if activation.derivative_from_output() { cx.output(0) } else { cx.input(0) };
        return activation_gradient(activation, saved, dy);
    }
    match kind {
        UnaryKind::Neg => dy.neg(),
        UnaryKind::Conj => dy.conj(),
        UnaryKind::Sigmoid => {
            let y = cx.output(0);
            dy.mul(&y).mul(&y.neg().add_scalar(1))
        }
        UnaryKind::Tanh => dy.mul(&cx.output(0).square().neg().add_scalar(1)),
        UnaryKind::Abs => dy.mul(&cx.input(0).sign()),
        UnaryKind::Square => dy.mul(&cx.input(0).mul_scalar(2)),
        UnaryKind::Recip => dy.mul(&cx.output(0).square()).neg(),
        UnaryKind::Sqrt => dy.mul_scalar(0.5).div(&cx.output(0)),
        UnaryKind::Rsqrt => dy.mul(&cx.output(0).pow_scalar(3)).mul_scalar(-0.5),
        UnaryKind::Exp => dy.mul(&cx.output(0)),
        UnaryKind::Exp2 => dy.mul(&cx.output(0)).mul_scalar(LN_2),
        UnaryKind::ExpM1 => dy.mul(&cx.output(0).add_scalar(1)),
        UnaryKind::Log => dy.div(&cx.input(0)),
        UnaryKind::Log2 => dy.div(&cx.input(0)).mul_scalar(1.0 / LN_2),
        UnaryKind::Log10 => dy.div(&cx.input(0)).mul_scalar(1.0 / LN_10),
        UnaryKind::Log1p => dy.div(&cx.input(0).add_scalar(1)),
        UnaryKind::Sin => dy.mul(&cx.input(0).cos()),
        UnaryKind::Cos => dy.mul(&cx.input(0).sin()).neg(),
        UnaryKind::Tan => dy.div(&cx.input(0).cos().square()),
        UnaryKind::Asin => dy.mul(&circle(&cx.input(0)).rsqrt()),
        UnaryKind::Acos => dy.mul(&circle(&cx.input(0)).rsqrt()).neg(),
        UnaryKind::Atan => dy.div(&cx.input(0).square().add_scalar(1)),
        UnaryKind::Sinh => dy.mul(&cx.input(0).cosh()),
        UnaryKind::Cosh => dy.mul(&cx.input(0).sinh()),
        UnaryKind::Asinh => dy.mul(&cx.input(0).square().add_scalar(1).rsqrt()),
        UnaryKind::Acosh => dy.mul(&circle(&cx.input(0)).neg().rsqrt()),
        UnaryKind::Atanh => dy.div(&circle(&cx.input(0))),
        UnaryKind::Erf => dy.mul(&cx.input(0).square().neg().exp()).mul_scalar(FRAC_2_SQRT_PI),
        UnaryKind::Erfc => dy.mul(&cx.input(0).square().neg().exp()).mul_scalar(-FRAC_2_SQRT_PI),
        UnaryKind::ErfInv => dy.mul(&cx.output(0).square().exp()).mul_scalar(1.0 / FRAC_2_SQRT_PI),
        UnaryKind::Lgamma => dy.mul(&cx.input(0).digamma()),
        UnaryKind::Digamma => dy.mul(&cx.input(0).polygamma(1)),
        UnaryKind::Polygamma(order) => dy.mul(&cx.input(0).polygamma(u64::from(order) + 1)),
        // Constant wherever they are smooth.
        UnaryKind::Sign
        | UnaryKind::Floor
        | UnaryKind::Ceil
        | UnaryKind::Round
        | UnaryKind::Trunc => dy.zeros_like(),
        UnaryKind::Not
        | UnaryKind::Relu
        | UnaryKind::Gelu
        | UnaryKind::GeluTanh
        | UnaryKind::Silu
        | UnaryKind::Softplus => unreachable!("{kind:?} is an activation, or never recorded"),
    }
}

/// Where nobody else holds the saved value any more, the gradient takes its memory.
pub(super) fn activation_gradient(
    activation: Activation,
    saved: AnyTensor,
    dy: &AnyTensor,
) -> AnyTensor {
    saved.apply_owned(ActivationBackward { activation }, &[dy])
}

pub(super) fn binary(op: &Binary, cx: &mut Context<'_>, dy: &AnyTensor) -> Results {
    let [a_shape, b_shape] = [*cx.shape(0), *cx.shape(1)];
    match op.kind {
        BinaryKind::Add => cx.two(|| dy.sum_to(&a_shape), || dy.sum_to(&b_shape)),
        BinaryKind::Sub => cx.two(|| dy.sum_to(&a_shape), || dy.sum_to(&b_shape).neg()),
        BinaryKind::Mul => cx.two(
            || dy.mul(&cx.input(1)).sum_to(&a_shape),
            || dy.mul(&cx.input(0)).sum_to(&b_shape),
        ),
        BinaryKind::Div => cx.two(
            || dy.div(&cx.input(1)).sum_to(&a_shape),
            || {
                let b = cx.input(1);
                dy.mul(&cx.input(0)).div(&b.square()).neg().sum_to(&b_shape)
            },
        ),
        BinaryKind::Rem => cx.two(
            || dy.sum_to(&a_shape),
            || dy.mul(&cx.input(0).div(&cx.input(1)).floor()).neg().sum_to(&b_shape),
        ),
        BinaryKind::FloorDiv => {
            cx.two(|| dy.zeros_like().sum_to(&a_shape), || dy.zeros_like().sum_to(&b_shape))
        }
        BinaryKind::Fmod => cx.two(
            || dy.sum_to(&a_shape),
            || dy.mul(&cx.input(0).div(&cx.input(1)).trunc()).neg().sum_to(&b_shape),
        ),
        BinaryKind::Atan2 | BinaryKind::Hypot | BinaryKind::CopySign | BinaryKind::LogAddExp => {
            let (a, b) = (cx.input(0), cx.input(1));
            cx.two(
                || dy.mul(&slope(op.kind, &a, &b, true)).sum_to(&a_shape),
                || dy.mul(&slope(op.kind, &a, &b, false)).sum_to(&b_shape),
            )
        }
        BinaryKind::Pow => {
            let y = cx.output(0);
            let (a, b) = (cx.input(0), cx.input(1));
            cx.two(
                || {
                    // 0 to the power of 0 is constant in its base.
                    let slope = b.mul(&a.pow(&b.sub_scalar(1)));
                    let slope = b.zeros_like().select_where(&b.equal_scalar(0), &slope);
                    dy.mul(&slope).sum_to(&a_shape)
                },
                || {
                    // 0 to any power but 0 is constant in its exponent.
                    let slope = y.mul(&a.log());
                    let slope = a.zeros_like().select_where(&a.equal_scalar(0), &slope);
                    dy.mul(&slope).sum_to(&b_shape)
                },
            )
        }
        BinaryKind::Max | BinaryKind::Min => {
            let (a, b) = (cx.input(0), cx.input(1));
            let (larger, smaller) = if op.kind == BinaryKind::Max { (&a, &b) } else { (&b, &a) };
            // A tie gives half to each.
            let half = a.equal(&b).cast(dy.dtype()).mul_scalar(0.5);
            let first = larger.greater(smaller).cast(dy.dtype()).add(&half);
            cx.two(
                || dy.mul(&first).sum_to(&a_shape),
                || dy.mul(&first.neg().add_scalar(1)).sum_to(&b_shape),
            )
        }
        kind => unreachable!("{kind:?} is never recorded"),
    }
}

/// The derivative by the first operand, or else by the second.
fn slope(kind: BinaryKind, a: &AnyTensor, b: &AnyTensor, first: bool) -> AnyTensor {
    match (kind, first) {
        (BinaryKind::Atan2, first) => {
            let square = a.square().add(&b.square());
            // At the origin, where there is no angle, the gradient is zero.
            let square = square.fill_where(&square.equal_scalar(0), 1);
            if first { b.div(&square) } else { a.div(&square).neg() }
        }
        (BinaryKind::Hypot, first) => (if first { a } else { b }).div(&a.binary(kind, b)),
        (BinaryKind::CopySign, true) => a.sign().binary(BinaryKind::CopySign, b).mul(&a.sign()),
        (BinaryKind::CopySign, false) => b.zeros_like(),
        (BinaryKind::LogAddExp, true) => a.sub(b).sigmoid(),
        (BinaryKind::LogAddExp, false) => b.sub(a).sigmoid(),
        (kind, _) => unreachable!("{kind:?} has a rule of its own"),
    }
}

pub(super) fn binary_scalar(op: &BinaryScalar, cx: &mut Context<'_>, dy: &AnyTensor) -> AnyTensor {
    let c = op.scalar;
    match (op.kind, op.reversed) {
        (BinaryKind::Add, _) | (BinaryKind::Sub, false) | (BinaryKind::Rem, false) => dy.clone(),
        (BinaryKind::Fmod, false) => dy.clone(),
        (BinaryKind::FloorDiv, _) => dy.zeros_like(),
        (BinaryKind::Sub, true) => dy.neg(),
        (BinaryKind::Mul, _) => dy.mul_scalar(c),
        (BinaryKind::Div, false) => dy.div_scalar(c),
        (BinaryKind::Div, true) => dy.mul_scalar(c).div(&cx.input(0).square()).neg(),
        (BinaryKind::Rem, true) => {
            let quotient = cx.input(0).apply(BinaryScalar { kind: BinaryKind::Div, ..*op }, &[]);
            dy.mul(&quotient.floor()).neg()
        }
        (BinaryKind::Fmod, true) => {
            let quotient = cx.input(0).apply(BinaryScalar { kind: BinaryKind::Div, ..*op }, &[]);
            dy.mul(&quotient.trunc()).neg()
        }
        (
            BinaryKind::Atan2 | BinaryKind::Hypot | BinaryKind::CopySign | BinaryKind::LogAddExp,
            reversed,
        ) => {
            let x = cx.input(0);
            let number = AnyTensor::full(Meta::new([], x.dtype()), c, x.device());
            let [a, b] = if reversed { [&number, &x] } else { [&x, &number] };
            dy.mul(&slope(op.kind, a, b, !reversed))
        }
        (BinaryKind::Pow, false) if c.to_complex().norm() == 0.0 => dy.zeros_like(),
        (BinaryKind::Pow, false) => {
            let less = match c {
                Scalar::Complex(c) => Scalar::Complex(c - 1.0),
                c => Scalar::Float(c.to_f64() - 1.0),
            };
            dy.mul(&cx.input(0).pow_scalar(less)).mul_scalar(c)
        }
        (BinaryKind::Pow, true) => {
            let log = match dy.dtype().is_complex() {
                true => Scalar::Complex(c.to_complex().ln()),
                false => Scalar::Float(c.to_f64().ln()),
            };
            dy.mul(&cx.output(0)).mul_scalar(log)
        }
        // Constant where the bound is just reached, as `torch.clamp` is.
        (BinaryKind::Max, _) => dy.mul(&cx.input(0).greater_scalar(c).cast(dy.dtype())),
        (BinaryKind::Min, _) => {
            dy.mul(&cx.input(0).binary_scalar(BinaryKind::Less, c).cast(dy.dtype()))
        }
        (kind, _) => unreachable!("{kind:?} is never recorded"),
    }
}
