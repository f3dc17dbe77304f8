//! Cross-entropy, a row of logits at a time.

use super::access::{Dense, Sink, float_type, indices};
use super::float::{Float, max, sum};
use super::parallel::{Shared, rows};
use super::simd::{Isa, Kernel, dispatch};
use crate::{AnyTensor, Result};

/// An exponential is worth about this many plain elements when work is split.
const EXP_COST: usize = 4;

/// The maximum of a row, and `log(sum(exp(x - max)))`.
struct LogSumExp<'a, T>(&'a [T]);

impl<T: Float> Kernel for LogSumExp<'_, T> {
    type Output = (T, T);
    #[inline(always)]
    fn run<I: Isa>(self) -> (T, T) {
        let x = self.0;
        let max = max(x);
        (max, sum(x.len(), |i| (x[i] - max).exp::<I>()).ln::<I>())
    }
}

pub(super) fn cross_entropy(
    [logits, targets]: [&AnyTensor; 2],
    outputs: &[AnyTensor],
) -> Result<()> {
    let [_, classes] = logits.shape().dims();
    let targets = indices("cross_entropy", targets, classes)?;
    float_type!(logits.dtype(), T => {
        let x = Dense::<T>::new(logits);
        // SAFETY: each output is new and used once.
        let [mut losses, mut log_sums] = [0, 1].map(|i| unsafe { Sink::<T>::new(&outputs[i]) });
        let [losses, log_sums] = [&mut losses, &mut log_sums].map(|sink| Shared::new(sink));
        rows(targets.len(), classes * EXP_COST, |range| {
            for row in range {
                let x = &x[row * classes..(row + 1) * classes];
                let (max, log_sum) = dispatch(LogSumExp(x));
                // SAFETY: each row writes its own entries.
                unsafe {
                    losses.set(row, log_sum - (x[targets[row]] - max));
                    log_sums.set(row, log_sum);
                }
            }
        });
    });
    Ok(())
}

/// `dx = softmax(x) dy`.
struct RowBackward<'a, T> {
    x: &'a [T],
    log_sum: T,
    dy: T,
    dx: &'a mut [T],
}

impl<T: Float> Kernel for RowBackward<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let max = max(self.x);
        for (dx, &x) in self.dx.iter_mut().zip(self.x) {
            // The maximum first: the difference is exact where it matters.
            *dx = ((x - max) - self.log_sum).exp::<I>() * self.dy;
        }
    }
}

pub(super) fn cross_entropy_backward(inputs: &[&AnyTensor], dx: &AnyTensor) -> Result<()> {
    let [_, classes] = inputs[0].shape().dims();
    let targets = indices("cross_entropy_backward", inputs[1], classes)?;
    float_type!(inputs[0].dtype(), T => {
        let [x, log_sum, dy] = [0, 2, 3].map(|i| Dense::<T>::new(inputs[i]));
        // SAFETY: `dx` is the only output, and new.
        let mut dx = unsafe { Sink::<T>::new(dx) };
        let out = Shared::new(&mut dx);
        rows(targets.len(), classes * EXP_COST, |range| {
            for row in range {
                let part = row * classes..(row + 1) * classes;
                // SAFETY: rows do not overlap.
                let dx = unsafe { out.part(part.clone()) };
                dispatch(RowBackward { x: &x[part], log_sum: log_sum[row], dy: dy[row], dx: &mut *dx });
                dx[targets[row]] -= dy[row];
            }
        });
    });
    Ok(())
}
