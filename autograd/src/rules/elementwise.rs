//! Gradients of elementwise operations.

use kiln_tensor::op::{
    Activation, ActivationBackward, Binary, BinaryKind, BinaryScalar, UnaryKind,
};
use kiln_tensor::{AnyTensor, Scalar};

use super::{Context, Results};

pub(super) fn unary(kind: UnaryKind, cx: &mut Context<'_>, dy: &AnyTensor) -> AnyTensor {
    use std::f64::consts::{FRAC_2_SQRT_PI, LN_2, LN_10};
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
        UnaryKind::ExpM1 => dy.mul(&cx.output(0).add_scalar(1)),
        UnaryKind::Log => dy.div(&cx.input(0)),
        UnaryKind::Log2 => dy.div(&cx.input(0)).mul_scalar(1.0 / LN_2),
        UnaryKind::Log10 => dy.div(&cx.input(0)).mul_scalar(1.0 / LN_10),
        UnaryKind::Log1p => dy.div(&cx.input(0).add_scalar(1)),
        UnaryKind::Sin => dy.mul(&cx.input(0).cos()),
        UnaryKind::Cos => dy.mul(&cx.input(0).sin()).neg(),
        UnaryKind::Tan => dy.div(&cx.input(0).cos().square()),
        UnaryKind::Erf => dy.mul(&cx.input(0).square().neg().exp()).mul_scalar(FRAC_2_SQRT_PI),
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

pub(super) fn binary_scalar(op: &BinaryScalar, cx: &mut Context<'_>, dy: &AnyTensor) -> AnyTensor {
    let c = op.scalar;
    match (op.kind, op.reversed) {
        (BinaryKind::Add, _) | (BinaryKind::Sub, false) | (BinaryKind::Rem, false) => dy.clone(),
        (BinaryKind::Sub, true) => dy.neg(),
        (BinaryKind::Mul, _) => dy.mul_scalar(c),
        (BinaryKind::Div, false) => dy.div_scalar(c),
        (BinaryKind::Div, true) => dy.mul_scalar(c).div(&cx.input(0).square()).neg(),
        (BinaryKind::Rem, true) => {
            let quotient = cx.input(0).apply(BinaryScalar { kind: BinaryKind::Div, ..*op }, &[]);
            dy.mul(&quotient.floor()).neg()
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
        // A bound that is just reached lets the gradient through, as `torch.clamp` does.
        (BinaryKind::Max, _) => {
            let above = BinaryScalar { kind: BinaryKind::GreaterEqual, scalar: c, reversed: false };
            dy.mul(&cx.input(0).apply(above, &[]).cast(dy.dtype()))
        }
        (BinaryKind::Min, _) => dy.mul(&cx.input(0).lower_equal_scalar(c).cast(dy.dtype())),
        (kind, _) => unreachable!("{kind:?} is never recorded"),
    }
}
