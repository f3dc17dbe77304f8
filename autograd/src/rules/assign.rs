//! Gradients of assignments to views and to places named by indices.

use kiln_tensor::op::{Arange, Assign, IndexingUpdateOp, Scatter};
use kiln_tensor::{AnyTensor, DType, Scalar};
use smallvec::smallvec;

use super::{Context, Results};

/// The old values live on outside of the view, the new ones inside.
pub(super) fn assign(op: &Assign, cx: &Context<'_>, dy: &AnyTensor) -> Results {
    let part = || dy.apply(op.view.clone(), &[]);
    cx.two(|| dy.apply(op.clone(), &[&part().zeros_like()]), part)
}

pub(super) fn scatter(op: &Scatter, cx: &mut Context<'_>, dy: &AnyTensor) -> Results {
    let axis = op.axis;
    let scatter = |x: &AnyTensor, update, index: &AnyTensor, values: &AnyTensor| {
        x.apply(Scatter { axis, update }, &[index, values])
    };
    use IndexingUpdateOp::*;
    let (dx, dvalues) = match op.update {
        Assign => {
            let index = cx.input(1);
            let dx = cx.wants(0).then(|| {
                let zeros = dy.zeros_like().gather(axis, &index);
                scatter(dy, Assign, &index, &zeros)
            });
            // Of several values for one place only the last one arrived.
            let dvalues = cx.wants(2).then(|| {
                let arrived = arrivals(axis, cx, &index).cast(dy.dtype());
                dy.gather(axis, &index).mul(&arrived)
            });
            (dx, dvalues)
        }
        Add => {
            (cx.wants(0).then(|| dy.clone()), cx.wants(2).then(|| dy.gather(axis, &cx.input(1))))
        }
        Mul => {
            // The derivative by one factor is the product of the others: of all over this one,
            // but where that is 0 / 0. Then it is the product of the rest at the only zero, and
            // zero if there are more.
            let (x, index, values) = (cx.input(0), cx.input(1), cx.input(2));
            let zero = |x: &AnyTensor| x.equal_scalar(0).cast(x.dtype());
            let rest = |x: &AnyTensor| x.ones_like().select_where(&x.equal_scalar(0), x);
            let zeros = scatter(&zero(&x), Add, &index, &zero(&values));
            let product = scatter(&rest(&x), Mul, &index, &rest(&values));
            let others = |x: &AnyTensor, zeros: &AnyTensor, product: &AnyTensor| {
                let count = |n: i32| zeros.equal_scalar(n).cast(x.dtype());
                let alone = product.mul(&count(1));
                alone.select_where(&x.equal_scalar(0), &product.div(&rest(x)).mul(&count(0)))
            };
            let dx = cx.wants(0).then(|| dy.mul(&others(&x, &zeros, &product)));
            let dvalues = cx.wants(2).then(|| {
                let at = |x: &AnyTensor| x.gather(axis, &index);
                at(dy).mul(&others(&values, &at(&zeros), &at(&product)))
            });
            (dx, dvalues)
        }
        // Equal extrema share, as in `torch.scatter_reduce`.
        Min | Max => {
            let (x, index, values, y) = (cx.input(0), cx.input(1), cx.input(2), cx.output(0));
            let hit = x.equal(&y).cast(dy.dtype());
            let hits = values.equal(&y.gather(axis, &index)).cast(dy.dtype());
            let share = dy.div(&scatter(&hit, Add, &index, &hits));
            let dx = cx.wants(0).then(|| share.mul(&hit));
            let dvalues = cx.wants(2).then(|| share.gather(axis, &index).mul(&hits));
            (dx, dvalues)
        }
    };
    smallvec![dx, None, dvalues]
}

/// Whether each value is the last one for its place.
fn arrivals(axis: usize, cx: &Context<'_>, index: &AnyTensor) -> AnyTensor {
    let (start, step, len) = (Scalar::Int(0), Scalar::Int(1), index.num_elements());
    let number = Arange { start, step, len, dtype: DType::I64 };
    let number = AnyTensor::create(number, index.device()).reshape(index.shape());
    let meta = kiln_tensor::op::Meta::new(*cx.shape(0), DType::I64);
    let last = AnyTensor::full(meta, -1, index.device());
    let update = IndexingUpdateOp::Assign;
    let last = last.apply(Scatter { axis, update }, &[index, &number]);
    last.gather(axis, index).equal(&number)
}
