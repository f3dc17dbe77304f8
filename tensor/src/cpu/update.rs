//! Optimizer updates: one pass over a parameter, its gradient and its state.

use super::access::pointer;
use super::float::Float;
use super::parallel::{CHUNK, chunks};
use super::simd::{Isa, Kernel, dispatch};
use super::tile::TILE;
use crate::AnyTensor;
use crate::op::{AdamUpdate, SgdUpdate};

/// Runs `step(grad, targets)` over tiles of all tensors. Targets are read from the inputs after
/// the gradient and written to the outputs, which may be the same memory.
fn tiles<T: Float, const N: usize>(
    inputs: &[&AnyTensor],
    outputs: &[AnyTensor],
    step: impl Fn(&[T], [&mut [T]; N]) + Sync,
) {
    // Targets that are their own result are updated where they lie.
    let in_place = outputs[0].dtype() == T::DTYPE
        && outputs.iter().zip(&inputs[1..]).all(|(output, input)| {
            output.buffer().address() == input.buffer().address() && input.layout().is_contiguous()
        });
    if let (true, Some(grad)) = (in_place, super::access::slice::<T>(inputs[0])) {
        // Nothing goes through a buffer; clearing them takes longer than a small update.
        return chunks(grad.len(), CHUNK, |range| {
            // SAFETY: the range is inside of every tensor, and only this call accesses this part
            // of the targets.
            let targets = std::array::from_fn(|i| unsafe {
                let first = pointer::<T>(&outputs[i]).add(range.start);
                std::slice::from_raw_parts_mut(first, range.len())
            });
            step(&grad[range.clone()], targets);
        });
    }
    let layouts: [_; N] = std::array::from_fn(|i| inputs[1 + i].layout().collapse());
    let grad_layout = inputs[0].layout().collapse();
    chunks(outputs[0].num_elements(), CHUNK, |chunk| {
        let mut grads = [T::ZERO; TILE];
        let mut buffers = [[T::ZERO; TILE]; N];
        for start in chunk.clone().step_by(TILE) {
            let len = TILE.min(chunk.end - start);
            let mut buffers = buffers.iter_mut();
            // SAFETY: the range is inside of every tensor, and only this call accesses this part
            // of the targets.
            unsafe {
                let grad: &[T] = match super::access::slice(inputs[0]) {
                    Some(grad) => &grad[start..start + len],
                    None => {
                        T::read(inputs[0], &grad_layout, start, &mut grads[..len]);
                        &grads[..len]
                    }
                };
                let mut targets: [&mut [T]; N] = std::array::from_fn(|i| {
                    let buffer = &mut buffers.next().expect("one for each target")[..len];
                    if in_place {
                        let first = pointer::<T>(&outputs[i]).add(start);
                        return std::slice::from_raw_parts_mut(first, len);
                    }
                    T::read(inputs[1 + i], &layouts[i], start, buffer);
                    buffer
                });
                step(grad, targets.each_mut().map(|target| &mut **target));
                if !in_place {
                    for (target, output) in targets.iter().zip(outputs) {
                        T::write(target, output, start);
                    }
                }
            }
        }
    });
}

struct Sgd<'a, T> {
    op: &'a SgdUpdate,
    grad: &'a [T],
    param: &'a mut [T],
    momentum: Option<&'a mut [T]>,
}

impl<T: Float> Kernel for Sgd<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let Sgd { op, grad, param, momentum } = self;
        let n = param.len();
        let grad = &grad[..n];
        let [lr, decay, keep] = [op.lr, op.weight_decay, op.momentum].map(T::from_f64);
        let Some(momentum) = momentum else {
            for i in 0..n {
                let g = param[i].fused::<I>(decay, grad[i]);
                param[i] = (-lr).fused::<I>(g, param[i]);
            }
            return;
        };
        let momentum = &mut momentum[..n];
        // The first step starts the momentum with the gradient itself.
        let (old, new) = if op.first { (0.0, 1.0) } else { (op.momentum, 1.0 - op.dampening) };
        let (old, new) = (T::from_f64(old), T::from_f64(new));
        let first = op.first;
        for i in 0..n {
            let g = param[i].fused::<I>(decay, grad[i]);
            let m = if first { g } else { old.fused::<I>(momentum[i], new * g) };
            momentum[i] = m;
            let step = if op.nesterov { keep.fused::<I>(m, g) } else { m };
            param[i] = (-lr).fused::<I>(step, param[i]);
        }
    }
}

pub(super) fn sgd(op: &SgdUpdate, inputs: &[&AnyTensor], outputs: &[AnyTensor]) {
    super::access::float_type!(inputs[0].dtype(), T => {
        if op.momentum == 0.0 {
            tiles::<T, 1>(inputs, outputs, |grad, [param]| {
                dispatch(Sgd { op, grad, param, momentum: None });
            });
        } else {
            tiles::<T, 2>(inputs, outputs, |grad, [param, momentum]| {
                dispatch(Sgd { op, grad, param, momentum: Some(momentum) });
            });
        }
    })
}

struct Adam<'a, T> {
    op: &'a AdamUpdate,
    corrections: (f64, f64),
    grad: &'a [T],
    param: &'a mut [T],
    m: &'a mut [T],
    v: &'a mut [T],
}

impl<T: Float> Kernel for Adam<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let Adam { op, corrections: (step, root), grad, param, m, v } = self;
        let n = param.len();
        let (grad, m, v) = (&grad[..n], &mut m[..n], &mut v[..n]);
        let [step, root, epsilon] = [step, root, op.epsilon].map(T::from_f64);
        let [beta1, beta2] = [op.beta1, op.beta2].map(T::from_f64);
        let [new1, new2] = [1.0 - op.beta1, 1.0 - op.beta2].map(T::from_f64);
        // Decay shrinks the parameter (AdamW) or is a part of the gradient (Adam).
        let (shrink, decay) = if op.decoupled {
            (1.0 - op.lr * op.weight_decay, 0.0)
        } else {
            (1.0, op.weight_decay)
        };
        let (shrink, decay) = (T::from_f64(shrink), T::from_f64(decay));
        for i in 0..n {
            let g = param[i].fused::<I>(decay, grad[i]);
            m[i] = beta1.fused::<I>(m[i], new1 * g);
            v[i] = beta2.fused::<I>(v[i], new2 * g * g);
            let denominator = Float::sqrt(v[i]).fused::<I>(root, epsilon);
            param[i] = param[i] * shrink - step * m[i] / denominator;
        }
    }
}

pub(super) fn adam(op: &AdamUpdate, inputs: &[&AnyTensor], outputs: &[AnyTensor]) {
    // Two powers: as long as the update of a small tile.
    let corrections = op.corrections();
    super::access::float_type!(inputs[0].dtype(), T => {
        tiles::<T, 3>(inputs, outputs, |grad, [param, m, v]| {
            dispatch(Adam { op, corrections, grad, param, m, v });
        });
    })
}
