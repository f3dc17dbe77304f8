//! Cross-entropy, a few rows of logits at a time.
//!
//! Each step runs over all rows of a block before the next: exponentials and logarithms then go
//! over one flat slice and fill whole vectors, however few classes there are.

use super::access::{Dense, Sink, float_type, indices};
use super::float::Float;
use super::fold::{max, sum};
use super::parallel::{Shared, rows};
use super::simd::{Isa, Kernel, dispatch};
use crate::{AnyTensor, Result};

/// An exponential is worth about this many plain elements when work is split.
const EXP_COST: usize = 4;
/// Elements of a block: they stay in the first-level cache between its steps.
pub(super) const BLOCK: usize = 4096;

/// `max` and `log(sum(exp(x - max)))` of each row.
struct LogSumExp<'a, T> {
    x: &'a [T],
    classes: usize,
    max: &'a mut [T],
    log_sum: &'a mut [T],
    /// As many elements as `x`.
    exp: &'a mut [T],
}

impl<T: Float> Kernel for LogSumExp<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let LogSumExp { x, classes, max: maxima, log_sum, exp } = self;
        let each_row = x.chunks_exact(classes).zip(exp.chunks_exact_mut(classes));
        for ((x, exp), max_of_row) in each_row.zip(maxima) {
            let max = max(x);
            *max_of_row = max;
            exp.iter_mut().zip(x).for_each(|(exp, &x)| *exp = x - max);
        }
        exp.iter_mut().for_each(|x| *x = x.exp::<I>());
        for (log_sum, exp) in log_sum.iter_mut().zip(exp.chunks_exact(classes)) {
            *log_sum = sum(exp, |x| x);
        }
        log_sum.iter_mut().for_each(|x| *x = x.ln::<I>());
    }
}

pub(super) fn cross_entropy(
    [logits, targets]: [&AnyTensor; 2],
    outputs: &[AnyTensor],
) -> Result<()> {
    let [_, classes] = logits.shape().dims();
    let targets = indices("cross_entropy", targets, classes)?;
    let block = (BLOCK / classes.max(1)).max(1);
    float_type!(logits.dtype(), T => {
        let x = Dense::<T>::new(logits);
        // SAFETY: each output is new and used once.
        let [mut losses, mut log_sums] = [0, 1].map(|i| unsafe { Sink::<T>::new(&outputs[i]) });
        let [losses, log_sums] = [&mut losses, &mut log_sums].map(|sink| Shared::new(sink));
        let blocks = targets.len().div_ceil(block);
        rows(blocks, block * classes * EXP_COST, |range| {
            let mut exp = super::pool::Scratch::<T>::new(block.min(targets.len()) * classes);
            for first in range.map(|i| i * block) {
                let rows = first..targets.len().min(first + block);
                let x = &x[rows.start * classes..rows.end * classes];
                // SAFETY: blocks do not overlap.
                let (losses, log_sum) =
                    unsafe { (losses.part(rows.clone()), log_sums.part(rows.clone())) };
                let (exp, max) = (&mut exp[..x.len()], &mut *losses);
                dispatch(LogSumExp { x, classes, max, log_sum: &mut *log_sum, exp });
                for (row, loss) in losses.iter_mut().enumerate() {
                    // The difference is exact where it matters.
                    let below_max = x[row * classes + targets[rows.start + row]] - *loss;
                    *loss = log_sum[row] - below_max;
                }
            }
        });
    });
    Ok(())
}

/// `dx = softmax(x)` of each row.
struct Probabilities<'a, T> {
    x: &'a [T],
    classes: usize,
    log_sum: &'a [T],
    dx: &'a mut [T],
}

impl<T: Float> Kernel for Probabilities<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let Probabilities { x, classes, log_sum, dx } = self;
        let each_row = x.chunks_exact(classes).zip(dx.chunks_exact_mut(classes));
        for ((x, dx), &log_sum) in each_row.zip(log_sum) {
            let max = max(x);
            dx.iter_mut().zip(x).for_each(|(dx, &x)| *dx = (x - max) - log_sum);
        }
        dx.iter_mut().for_each(|x| *x = x.exp::<I>());
    }
}

pub(super) fn cross_entropy_backward(inputs: &[&AnyTensor], dx: &AnyTensor) -> Result<()> {
    let [_, classes] = inputs[0].shape().dims();
    let targets = indices("cross_entropy_backward", inputs[1], classes)?;
    let block = (BLOCK / classes.max(1)).max(1);
    float_type!(inputs[0].dtype(), T => {
        let [x, log_sum, dy] = [0, 2, 3].map(|i| Dense::<T>::new(inputs[i]));
        // SAFETY: `dx` is the only output, and new.
        let mut dx = unsafe { Sink::<T>::new(dx) };
        let out = Shared::new(&mut dx);
        let blocks = targets.len().div_ceil(block);
        rows(blocks, block * classes * EXP_COST, |range| {
            for first in range.map(|i| i * block) {
                let rows = first..targets.len().min(first + block);
                let part = rows.start * classes..rows.end * classes;
                // SAFETY: blocks do not overlap.
                let dx = unsafe { out.part(part.clone()) };
                let log_sum = &log_sum[rows.clone()];
                dispatch(Probabilities { x: &x[part], classes, log_sum, dx: &mut *dx });
                for (row, dx) in rows.zip(dx.chunks_exact_mut(classes)) {
                    dx.iter_mut().for_each(|dx| *dx *= dy[row]);
                    dx[targets[row]] -= dy[row];
                }
            }
        });
    });
    Ok(())
}
