//! Recurrent layers and their gradients, step by step, in smaller operations.

use smallvec::{SmallVec, smallvec};

use super::parts::{RecurrentBackwardParts, RecurrentParts};
use super::{Recurrent, RecurrentCell};
use crate::op::{Axes, Meta, ReduceKind, check};
use crate::{AnyTensor, DType};

/// Entry `i` of the first axis, without that axis.
fn at(x: &AnyTensor, i: usize) -> AnyTensor {
    let shape = x.shape();
    x.narrow(0, i, 1).reshape(&shape[1..])
}

/// Part `i` of the last axis, in parts of `h`.
fn gate(x: &AnyTensor, i: usize, h: usize) -> AnyTensor {
    x.narrow(1, i * h, h)
}

/// Steps as one tensor, in the order of time.
fn stack(mut steps: Vec<AnyTensor>, reverse: bool, empty: Meta, like: &AnyTensor) -> AnyTensor {
    if reverse {
        steps.reverse();
    }
    let steps: Vec<_> = steps.iter().map(|step| step.insert_axis(0)).collect();
    match steps.is_empty() {
        true => AnyTensor::full(empty, 0, like.device()),
        false => AnyTensor::cat(&steps.iter().collect::<Vec<_>>(), 0),
    }
}

/// The steps in the order in which they are taken.
fn order(time: usize, reverse: bool) -> Vec<usize> {
    if reverse { (0..time).rev().collect() } else { (0..time).collect() }
}

/// Which rows take step `t`, `[batch, 1]`; `None` where all do.
fn active(lengths: Option<&AnyTensor>, t: usize) -> Option<AnyTensor> {
    let lengths = lengths?;
    Some(lengths.cast(DType::I64).greater_scalar(t as i64).reshape([lengths.num_elements(), 1]))
}

/// `new` in the rows that take the step, `old` in the others.
fn choose(mask: &Option<AnyTensor>, new: &AnyTensor, old: &AnyTensor) -> AnyTensor {
    mask.as_ref().map_or_else(|| new.clone(), |mask| new.select_where(mask, old))
}

/// `1 - x`
fn rest(x: &AnyTensor) -> AnyTensor {
    x.neg().add_scalar(1)
}

/// `x (1 - x)`, the derivative of a sigmoid.
fn slope(x: &AnyTensor) -> AnyTensor {
    x.mul(&rest(x))
}

pub(super) fn forward(
    op: &Recurrent,
    p: &RecurrentParts<'_, AnyTensor>,
) -> SmallVec<[AnyTensor; 1]> {
    let dtype = p.x.dtype();
    let wide = |x: &AnyTensor| x.cast(check::statistics_dtype(dtype));
    let (x, w) = (wide(p.x), wide(p.w).transpose());
    let ([time, batch, _], h) = (x.shape().dims(), w.shape()[0]);
    let bias = p.bias.map(wide);
    let (mut state, mut cell) = (wide(p.h0), p.c0.map(wide));
    let (mut y, mut gates, mut cells) = (Vec::new(), Vec::new(), Vec::new());
    for t in order(time, op.reverse) {
        let x = at(&x, t);
        let mut u = state.matmul(&w);
        if let Some(bias) = &bias {
            u = u.add(bias);
        }
        let (new, kept) = match op.cell {
            RecurrentCell::Tanh => (x.add(&u).tanh(), None),
            RecurrentCell::Relu => (x.add(&u).relu(), None),
            RecurrentCell::Gru => {
                let sum = |i| gate(&x, i, h).add(&gate(&u, i, h)).sigmoid();
                let (r, z, un) = (sum(0), sum(1), gate(&u, 2, h));
                let n = gate(&x, 2, h).add(&r.mul(&un)).tanh();
                let new = rest(&z).mul(&n).add(&z.mul(&state));
                (new, Some([r, z, n, un]))
            }
            RecurrentCell::Lstm => {
                let sum = |i| gate(&x, i, h).add(&gate(&u, i, h));
                let [i, f, g, o] =
                    [sum(0).sigmoid(), sum(1).sigmoid(), sum(2).tanh(), sum(3).sigmoid()];
                let old = cell.as_ref().expect("an LSTM has cells");
                let c = f.mul(old).add(&i.mul(&g));
                let new = o.mul(&c.tanh());
                let mask = active(p.lengths, t);
                cells.push(choose(&mask, &c, &c.zeros_like()));
                cell = Some(choose(&mask, &c, old));
                (new, Some([i, f, g, o]))
            }
        };
        let mask = active(p.lengths, t);
        if let Some([a, b, c, d]) = kept {
            let all = AnyTensor::cat(&[&a, &b, &c, &d], 1);
            gates.push(choose(&mask, &all, &all.zeros_like()));
        }
        y.push(choose(&mask, &new, &new.zeros_like()));
        state = choose(&mask, &new, &state);
    }
    let meta = |n: usize| Meta::new([time, batch, n], x.dtype());
    let mut outputs: SmallVec<[AnyTensor; 1]> = smallvec![stack(y, op.reverse, meta(h), &x), state];
    outputs.extend(cell);
    let kept = op.cell.kept();
    outputs.extend((kept > 0).then(|| stack(gates, op.reverse, meta(kept * h), &x)));
    outputs.extend(op.cell.has_cells().then(|| stack(cells, op.reverse, meta(h), &x)));
    outputs.iter().map(|output| output.cast(dtype)).collect()
}

pub(super) fn backward(
    op: &Recurrent,
    p: &RecurrentBackwardParts<'_, AnyTensor>,
) -> SmallVec<[AnyTensor; 1]> {
    let dtype = p.w.dtype();
    let wide = |x: &AnyTensor| x.cast(check::statistics_dtype(dtype));
    let [w, h0, y, dy] = [p.w, p.h0, p.y, p.dy].map(wide);
    let [c0, kept, cells] = [p.c0, p.gates, p.cells].map(|x| x.map(wide));
    let [time, batch, h] = y.shape().dims();
    let (mut dh, mut dc) = (wide(p.dh), p.dc.map(wide));
    let gates = op.cell.gates();
    // The gradients of what enters the gates from the input and, where that differs, the state.
    let (mut dx, mut du, mut dw) = (Vec::new(), Vec::new(), w.zeros_like());
    let steps = order(time, op.reverse);
    for (i, &t) in steps.iter().enumerate().rev() {
        let mask = active(p.lengths, t);
        // A row whose first step this is comes from the first state.
        let before = |all: &AnyTensor, first: &AnyTensor| match i.checked_sub(1) {
            Some(i) => choose(&active(p.lengths, steps[i]), &at(all, steps[i]), first),
            None => first.clone(),
        };
        let old = before(&y, &h0);
        let all = dh.add(&at(&dy, t));
        let part = |i| gate(&at(kept.as_ref().expect("gates are kept"), t), i, h);
        let (direct, dxs, dus) = match op.cell {
            RecurrentCell::Tanh => {
                let dx = all.mul(&rest(&at(&y, t).square()));
                (all.zeros_like(), dx.clone(), dx)
            }
            RecurrentCell::Relu => {
                let dx = all.mul(&at(&y, t).greater_scalar(0).cast(all.dtype()));
                (all.zeros_like(), dx.clone(), dx)
            }
            RecurrentCell::Gru => {
                let [r, z, n, un] = [0, 1, 2, 3].map(part);
                let dn = all.mul(&rest(&z)).mul(&rest(&n.square()));
                let dr = dn.mul(&un).mul(&slope(&r));
                let dz = all.mul(&old.sub(&n)).mul(&slope(&z));
                let dx = AnyTensor::cat(&[&dr, &dz, &dn], 1);
                let du = AnyTensor::cat(&[&dr, &dz, &dn.mul(&r)], 1);
                (all.mul(&z), dx, du)
            }
            RecurrentCell::Lstm => {
                let [i, f, g, o] = [0, 1, 2, 3].map(part);
                let (cells, c0) = (cells.as_ref(), c0.as_ref());
                let (cells, c0) = (cells.expect("cells are kept"), c0.expect("and the first"));
                let out = at(cells, t).tanh();
                let last = dc.as_ref().expect("an LSTM has cells");
                let d = last.add(&all.mul(&o).mul(&rest(&out.square())));
                let dx = AnyTensor::cat(
                    &[
                        &d.mul(&g).mul(&slope(&i)),
                        &d.mul(&before(cells, c0)).mul(&slope(&f)),
                        &d.mul(&i).mul(&rest(&g.square())),
                        &all.mul(&out).mul(&slope(&o)),
                    ],
                    1,
                );
                dc = Some(choose(&mask, &d.mul(&f), last));
                (all.zeros_like(), dx.clone(), dx)
            }
        };
        let zeros = dxs.zeros_like();
        let (dxs, dus) = (choose(&mask, &dxs, &zeros), choose(&mask, &dus, &zeros));
        dh = choose(&mask, &direct, &dh).add(&dus.matmul(&w));
        dw = dw.add(&dus.transpose().matmul(&old));
        dx.push(dxs);
        du.push(dus);
    }
    let meta = Meta::new([time, batch, gates * h], y.dtype());
    let mut outputs: SmallVec<[AnyTensor; 1]> = smallvec![stack(dx, !op.reverse, meta, &y), dw, dh];
    outputs.extend(dc);
    outputs.extend(op.bias.then(|| {
        let axes: Axes = [0, 1].into_iter().collect();
        stack(du, false, meta, &y).reduce(ReduceKind::Sum, axes).reshape([gates * h])
    }));
    outputs.iter().map(|output| output.cast(dtype)).collect()
}
