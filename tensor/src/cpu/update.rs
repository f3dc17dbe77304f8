//! Optimizer updates: one pass over a parameter, its gradient and its state.

use std::marker::PhantomData;
use std::ops::Range;

use super::access::{pointer, slice};
use super::float::Float;
use super::parallel::{CHUNK, chunks};
use super::simd::{Isa, Kernel, dispatch};
use super::tile::TILE;
use crate::AnyTensor;
use crate::op::{Formula, Number, Rule, Update};

/// One element, computed on with the instructions of `I`.
#[derive(Clone, Copy)]
struct Lane<T, I>(T, PhantomData<I>);

impl<T: Float, I: Isa> Lane<T, I> {
    #[inline(always)]
    fn new(value: T) -> Self {
        Self(value, PhantomData)
    }
}

impl<T: Float, I: Isa> Number for Lane<T, I> {
    #[inline(always)]
    fn add(&self, rhs: &Self) -> Self {
        Self::new(self.0 + rhs.0)
    }
    #[inline(always)]
    fn sub(&self, rhs: &Self) -> Self {
        Self::new(self.0 - rhs.0)
    }
    #[inline(always)]
    fn mul(&self, rhs: &Self) -> Self {
        Self::new(self.0 * rhs.0)
    }
    #[inline(always)]
    fn div(&self, rhs: &Self) -> Self {
        Self::new(self.0 / rhs.0)
    }
    #[inline(always)]
    #[allow(clippy::eq_op)] // NaN differs from itself.
    fn maximum(&self, rhs: &Self) -> Self {
        Self::new(if self.0 > rhs.0 || self.0 != self.0 { self.0 } else { rhs.0 })
    }
    #[inline(always)]
    fn add_scalar(&self, rhs: f64) -> Self {
        Self::new(self.0 + T::from_f64(rhs))
    }
    #[inline(always)]
    fn mul_scalar(&self, rhs: f64) -> Self {
        Self::new(self.0 * T::from_f64(rhs))
    }
    #[inline(always)]
    fn clamp(&self, min: f64, max: f64) -> Self {
        let (min, max) = (T::from_f64(min), T::from_f64(max));
        let above = if self.0 < min { min } else { self.0 };
        Self::new(if above > max { max } else { above })
    }
    #[inline(always)]
    fn abs(&self) -> Self {
        Self::new(if self.0 < T::ZERO { -self.0 } else { self.0 })
    }
    #[inline(always)]
    fn sign(&self) -> Self {
        let positive = if self.0 > T::ZERO { T::ONE } else { T::ZERO };
        Self::new(if self.0 < T::ZERO { -T::ONE } else { positive })
    }
    #[inline(always)]
    fn sqrt(&self) -> Self {
        Self::new(Float::sqrt(self.0))
    }
    #[inline(always)]
    fn mul_add(&self, factor: f64, rhs: &Self) -> Self {
        Self::new(self.0.fused::<I>(T::from_f64(factor), rhs.0))
    }
}

/// Elements that are worked on at a time, in copies on the stack: only there does the compiler know
/// that no two targets overlap, which it must to vectorise the loop.
const BLOCK: usize = 128;

struct Step<'a, T, F, const N: usize> {
    op: &'a Update,
    formula: F,
    grad: &'a [T],
    targets: [&'a mut [T]; N],
}

impl<T: Float, F: Formula, const N: usize> Kernel for Step<'_, T, F, N> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let Step { op, formula, grad, mut targets } = self;
        let mut block = [[T::ZERO; BLOCK]; N];
        for (number, grad) in grad.chunks(BLOCK).enumerate() {
            let (start, len) = (number * BLOCK, grad.len().min(BLOCK));
            for (block, target) in block.iter_mut().zip(&targets) {
                block[..len].copy_from_slice(&target[start..start + len]);
            }
            for i in 0..len {
                let mut values = std::array::from_fn::<_, N, _>(|k| Lane::<T, I>::new(block[k][i]));
                op.step(&formula, &Lane::new(grad[i]), &mut values);
                for (block, value) in block.iter_mut().zip(values) {
                    block[i] = value.0;
                }
            }
            for (block, target) in block.iter().zip(&mut targets) {
                target[start..start + len].copy_from_slice(&block[..len]);
            }
        }
    }
}

/// Runs the update over all elements. Targets are read from the inputs after the gradient and
/// written to the outputs, which may be the same memory.
fn run<T: Float, const N: usize>(
    op: &Update,
    formula: impl Formula,
    inputs: &[&AnyTensor],
    outputs: &[AnyTensor],
) {
    // Targets that are their own result, in the type computed in, are updated where they lie.
    let in_place: [bool; N] = std::array::from_fn(|k| {
        let (input, output) = (inputs[1 + k], &outputs[k]);
        output.dtype() == T::DTYPE
            && output.buffer().address() == input.buffer().address()
            && input.layout().is_contiguous()
    });
    let part = |k: usize, range: &Range<usize>| {
        // SAFETY: the range is inside of every tensor, and only the call for its chunk accesses
        // this part of the targets.
        unsafe {
            let first = pointer::<T>(&outputs[k]).add(range.start);
            std::slice::from_raw_parts_mut(first, range.len())
        }
    };
    if let (true, Some(grad)) = (in_place == [true; N], slice::<T>(inputs[0])) {
        // Nothing goes through a buffer; clearing them takes longer than a small update.
        return chunks(grad.len(), CHUNK, |range| {
            let targets: [_; N] = std::array::from_fn(|k| part(k, &range));
            dispatch(Step { op, formula, grad: &grad[range], targets });
        });
    }
    let layouts: [_; N] = std::array::from_fn(|k| inputs[1 + k].layout().collapse());
    let grad_layout = inputs[0].layout().collapse();
    chunks(outputs[0].num_elements(), CHUNK, |chunk| {
        let mut grads = [T::ZERO; TILE];
        let mut buffers = [[T::ZERO; TILE]; N];
        for start in chunk.clone().step_by(TILE) {
            let range = start..chunk.end.min(start + TILE);
            let grad = match slice::<T>(inputs[0]) {
                Some(grad) => &grad[range.clone()],
                None => {
                    let grads = &mut grads[..range.len()];
                    // SAFETY: the layout is that of the input, which nobody writes.
                    unsafe { T::read(inputs[0], &grad_layout, start, grads) };
                    grads
                }
            };
            let mut rest = buffers.iter_mut();
            let targets: [_; N] = std::array::from_fn(|k| {
                let buffer = &mut rest.next().expect("one for each target")[..range.len()];
                if in_place[k] {
                    return part(k, &range);
                }
                // SAFETY: the layout is that of the input, of which only this call writes a part.
                unsafe { T::read(inputs[1 + k], &layouts[k], start, buffer) };
                buffer
            });
            dispatch(Step { op, formula, grad, targets });
            for (k, buffer) in buffers.iter().enumerate().filter(|(k, _)| !in_place[*k]) {
                // SAFETY: only this call accesses this part of the output.
                unsafe { T::write(&buffer[..range.len()], &outputs[k], start) };
            }
        }
    });
}

pub(super) fn update(op: &Update, inputs: &[&AnyTensor], outputs: &[AnyTensor]) {
    super::access::float_type!(inputs[1].dtype(), T => match (op.rule, op.states()) {
        (Rule::Scale(rule), _) => run::<T, 1>(op, rule, inputs, outputs),
        (Rule::Sgd(rule), 0) => run::<T, 1>(op, rule, inputs, outputs),
        (Rule::Sgd(rule), _) => run::<T, 2>(op, rule, inputs, outputs),
        (Rule::Adam(rule), 2) => run::<T, 3>(op, rule, inputs, outputs),
        (Rule::Adam(rule), _) => run::<T, 4>(op, rule, inputs, outputs),
        (Rule::Adamax(rule), _) => run::<T, 3>(op, rule, inputs, outputs),
        (Rule::Adagrad(rule), _) => run::<T, 2>(op, rule, inputs, outputs),
        (Rule::Adadelta(rule), _) => run::<T, 3>(op, rule, inputs, outputs),
        (Rule::RmsProp(rule), 1) => run::<T, 2>(op, rule, inputs, outputs),
        (Rule::RmsProp(rule), 2) => run::<T, 3>(op, rule, inputs, outputs),
        (Rule::RmsProp(rule), _) => run::<T, 4>(op, rule, inputs, outputs),
        (Rule::Rprop(rule), _) => run::<T, 3>(op, rule, inputs, outputs),
        (Rule::Asgd(rule), _) => run::<T, 2>(op, rule, inputs, outputs),
        (Rule::Lion(rule), _) => run::<T, 2>(op, rule, inputs, outputs),
        (Rule::Adan(rule), _) => run::<T, 5>(op, rule, inputs, outputs),
    })
}
