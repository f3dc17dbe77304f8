//! Recurrent layers.

use kiln_tensor::op::{Recurrent, RecurrentBackward, RecurrentCell};
use kiln_tensor::{AnyTensor, Result};
use smallvec::SmallVec;

use super::decomposition::through_decomposition;
use super::{Context, Results};

/// The gradients of the inputs, given those of the outputs.
pub(super) fn recurrent(
    op: &Recurrent,
    cx: &mut Context<'_>,
    dys: &SmallVec<[Option<AnyTensor>; 1]>,
) -> Result<Results> {
    let lstm = op.cell == RecurrentCell::Lstm;
    // All steps, and the last state.
    let results = if lstm { 3 } else { 2 };
    if dys[results..].iter().any(Option::is_some) {
        return through_decomposition(cx, dys);
    }
    let Some(some) = dys.iter().flatten().next() else {
        return Ok(cx.step.parents.iter().map(|_| None).collect());
    };
    let device = some.device();
    let (w, y) = (cx.input(1), cx.output(0));
    let state = cx.meta(2);
    let steps = kiln_tensor::op::Meta { shape: y.shape(), dtype: y.dtype() };
    let dy = |i: usize| {
        let zeros = || AnyTensor::full(if i == 0 { steps } else { *state }, 0, device);
        dys[i].clone().unwrap_or_else(zeros)
    };
    // Inputs in the order that the operation names.
    let mut rest: SmallVec<[AnyTensor; 10]> = SmallVec::new();
    rest.push(cx.input(2));
    rest.extend(lstm.then(|| cx.input(3)));
    let dys: SmallVec<[AnyTensor; 3]> = (0..results).map(dy).collect();
    rest.push(y);
    match op.cell {
        RecurrentCell::Lstm => rest.extend([cx.output(3), cx.output(4)]),
        RecurrentCell::Gru => rest.push(cx.output(2)),
        RecurrentCell::Tanh | RecurrentCell::Relu => {}
    }
    rest.extend(dys);
    let last = cx.step.parents.len() - 1;
    rest.extend(op.lengths.then(|| cx.input(last)));
    let backward = RecurrentBackward { layer: *op };
    let results = w.apply_all(backward, &rest.iter().collect::<SmallVec<[&AnyTensor; 10]>>());
    Ok(results.into_iter().map(Some).chain(op.lengths.then_some(None)).collect())
}
