//! Gradients of running totals. Each is a running total from the other end.

use kiln_tensor::AnyTensor;
use kiln_tensor::op::{Axes, LinearRecurrence, ReduceKind, Scan, ScanKind};

use super::{Context, Results};

/// The entries of `axis` one place further on, behind `first`; the last one drops out.
fn delayed(x: &AnyTensor, axis: usize, first: &AnyTensor) -> AnyTensor {
    AnyTensor::cat(&[first, &x.narrow(axis, 0, x.shape()[axis] - 1)], axis)
}

/// As [`delayed`], behind a constant.
fn delayed_by(x: &AnyTensor, axis: usize, first: i64) -> AnyTensor {
    let one = kiln_tensor::op::Meta::new(x.shape().with(axis, 1), x.dtype());
    delayed(x, axis, &AnyTensor::full(one, first, x.device()))
}

pub(super) fn scan(op: &Scan, cx: &mut Context<'_>, dy: &AnyTensor) -> AnyTensor {
    let axis = op.axis;
    if dy.num_elements() == 0 {
        return dy.clone();
    }
    match op.kind {
        ScanKind::Sum => dy.reverse(axis).scan(ScanKind::Sum, axis).reverse(axis),
        // dx[i] = x[0] .. x[i-1] (dy[i] + x[i+1] (dy[i+1] + x[i+2] (..))): without a division, so
        // that zeros are nothing special.
        ScanKind::Prod => {
            let (x, y) = (cx.input(0), cx.output(0));
            let next = delayed_by(&x.reverse(axis), axis, 0);
            let tail = next.linear_recurrence(&dy.reverse(axis), axis).reverse(axis);
            delayed_by(&y, axis, 1).mul(&tail)
        }
        // dx[i] = sum of exp(x[i] - y[j]) dy[j] over j from i on. Nothing overflows if it is
        // carried on from one y to the one before, for they do not fall.
        ScanKind::LogSumExp => {
            let (x, y) = (cx.input(0), cx.output(0));
            let later = y.reverse(axis);
            let ratio = exp_difference(&later, &delayed(&later, axis, &later.narrow(axis, 0, 1)));
            let sums = ratio.linear_recurrence(&dy.reverse(axis), axis).reverse(axis);
            exp_difference(&x, &y).mul(&sums)
        }
        ScanKind::Max | ScanKind::Min => {
            let indices = cx.saved.outputs[1].take().expect("the spec keeps it");
            dy.gather_backward(axis, *cx.shape(0), &indices)
        }
    }
}

/// The product of all other entries along `axes`, for each entry. Without a division, so that it can
/// be differentiated again whatever entries are zero; only of complex numbers there are no running
/// products.
pub(super) fn others(x: &AnyTensor, axes: Axes) -> AnyTensor {
    if x.dtype().is_complex() {
        return quotients(x, axes);
    }
    let (mut lines, mut product) = (x.clone(), None);
    for axis in (0..x.rank()).filter(|&axis| axes.contains(axis) && x.num_elements() > 0) {
        let before = delayed_by(&lines.scan(ScanKind::Prod, axis), axis, 1);
        let reversed = lines.reverse(axis);
        let after = delayed_by(&reversed.scan(ScanKind::Prod, axis), axis, 1).reverse(axis);
        // Those of the same line, times all other lines.
        let others = before.mul(&after);
        product = Some(match product {
            Some(inner) => others.mul(&inner),
            None => others,
        });
        lines = lines.reduce(ReduceKind::Prod, Axes::single(axis));
    }
    product.unwrap_or_else(|| x.ones_like())
}

/// As [`others`]: all over this one, but where that is 0 / 0. Then it is the product of the rest at
/// the only zero, and zero if there are more.
fn quotients(x: &AnyTensor, axes: Axes) -> AnyTensor {
    let is_zero = x.equal_scalar(0);
    let zeros = is_zero.cast(x.dtype()).reduce(ReduceKind::Sum, axes);
    let rest = x.ones_like().select_where(&is_zero, x);
    let product = rest.reduce(ReduceKind::Prod, axes);
    let alone = product.div(&rest).mul(&zeros.equal_scalar(0).cast(x.dtype()));
    let at_zero = product.mul(&zeros.equal_scalar(1).cast(x.dtype()));
    at_zero.select_where(&is_zero, &alone)
}

/// `exp(a - b)`, where equal infinities have no difference.
fn exp_difference(a: &AnyTensor, b: &AnyTensor) -> AnyTensor {
    let equal = a.equal(b);
    let difference = a.sub(b);
    difference.zeros_like().select_where(&equal, &difference).exp()
}

pub(super) fn recurrence(op: &LinearRecurrence, cx: &mut Context<'_>, dh: &AnyTensor) -> Results {
    let axis = op.axis;
    if dh.num_elements() == 0 {
        return cx.two(|| dh.clone(), || dh.clone());
    }
    let a = cx.input(0);
    let next = delayed_by(&a.reverse(axis), axis, 0);
    let g = next.linear_recurrence(&dh.reverse(axis), axis).reverse(axis);
    let h = cx.wants(0).then(|| cx.output(0));
    cx.two(|| g.mul(&delayed_by(h.as_ref().expect("it is wanted"), axis, 0)), || g.clone())
}
