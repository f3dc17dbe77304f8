//! Cross-entropy of logits and class indices.

use smallvec::{SmallVec, smallvec};

use super::{Keeps, Meta, Metas, Operation, check, one};
use crate::{AnyTensor, Result};

/// The loss of each row: `log(sum(exp(logits))) - logits[target]`, as
/// `torch.nn.functional.cross_entropy` with `reduction="none"`.
///
/// Inputs: `logits` `[n, classes]`, `targets` `[n]` in `0..classes`. Results: the losses `[n]` in
/// the dtype of the logits, and `log(sum(exp(logits - max(logits))))` `[n]`, which backward needs:
/// without the maximum it keeps its precision for logits of any size. A target out of range is an
/// error when the operation runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CrossEntropy;

fn check_rows(op: &'static str, inputs: &[Meta], logits: &Meta, targets: &Meta) -> Result<()> {
    check::floats(op, &[*logits])?;
    check::rank(op, logits, 2, "[n, classes]")?;
    check::indices(op, targets)?;
    if *targets.shape != logits.shape[..1] {
        return Err(check::shape_error(op, inputs, "one target per row of logits is needed"));
    }
    Ok(())
}

impl Operation for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross_entropy"
    }

    fn infer(&self, inputs: &[Meta]) -> Result<Metas> {
        let [logits, targets] = check::arity(self.name(), inputs)?;
        check_rows(self.name(), inputs, logits, targets)?;
        let statistics = check::statistics_dtype(logits.dtype);
        let rows = [logits.shape[0]];
        Ok(smallvec![Meta::new(rows, logits.dtype), Meta::new(rows, statistics)])
    }

    fn keeps(&self, _: u32) -> Keeps {
        Keeps { inputs: 0b11, outputs: 0b10 }
    }

    fn flops(&self, inputs: &[Meta], _: &[Meta]) -> u64 {
        12 * inputs[0].len() as u64
    }

    fn decompose(&self, inputs: &[&AnyTensor]) -> Option<SmallVec<[AnyTensor; 1]>> {
        let (logits, targets) = (inputs[0], inputs[1]);
        let rows = logits.shape()[0];
        let statistics = check::statistics_dtype(logits.dtype());
        let x = logits.cast(statistics);
        let x = x.sub(&x.max_axis(1));
        let log_sum = x.exp().sum_axis(1).log();
        let picked = x.gather(1, &targets.reshape([rows, 1]));
        let losses = log_sum.sub(&picked).reshape([rows]).cast(logits.dtype());
        Some(smallvec![losses, log_sum.reshape([rows])])
    }

    #[cfg(any(test, feature = "samples"))]
    fn samples(samples: &mut super::samples::Samples) {
        use super::samples::{float, int};
        samples.case(CrossEntropy, [float([5, 4]), int([5], 0, 4)]);
        samples.case(CrossEntropy, [float([1, 1]), int([1], 0, 1)]);
        samples.case(CrossEntropy, [float([0, 3]), int([0], 0, 3)]);
        samples.rough(CrossEntropy, [float([67, 1031]), int([67], 0, 1031)]);
    }
}

/// The gradient of [`CrossEntropy`] by the logits: `(softmax(logits) - onehot(target)) dy`.
///
/// Inputs: `logits` `[n, classes]`, `targets` `[n]`, `log_sum` `[n]`, `dy` `[n]`. Result:
/// `[n, classes]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CrossEntropyBackward;

impl Operation for CrossEntropyBackward {
    fn name(&self) -> &'static str {
        "cross_entropy_backward"
    }

    fn infer(&self, inputs: &[Meta]) -> Result<Metas> {
        let [logits, targets, log_sum, dy] = check::arity(self.name(), inputs)?;
        check_rows(self.name(), inputs, logits, targets)?;
        if log_sum.shape != targets.shape || dy.shape != targets.shape || dy.dtype != logits.dtype {
            let rule = "statistics and gradient must have one entry per row";
            return Err(check::shape_error(self.name(), inputs, rule));
        }
        Ok(one(*logits))
    }

    fn keeps(&self, _: u32) -> Keeps {
        Keeps::INPUTS
    }

    fn flops(&self, inputs: &[Meta], _: &[Meta]) -> u64 {
        12 * inputs[0].len() as u64
    }

    fn decompose(&self, inputs: &[&AnyTensor]) -> Option<SmallVec<[AnyTensor; 1]>> {
        let [logits, targets, log_sum, dy] = inputs else { unreachable!() };
        let [rows, classes] = logits.shape().dims();
        let dy = dy.reshape([rows, 1]).cast(log_sum.dtype());
        let x = logits.cast(log_sum.dtype());
        let x = x.sub(&x.max_axis(1));
        let spread = x.sub(&log_sum.reshape([rows, 1])).exp().mul(&dy);
        let hit = dy.gather_backward(1, [rows, classes].into(), &targets.reshape([rows, 1]));
        Some(smallvec![spread.sub(&hit).cast(logits.dtype())])
    }

    #[cfg(any(test, feature = "samples"))]
    fn samples(samples: &mut super::samples::Samples) {
        use super::samples::{float, float_in, int};
        let op = CrossEntropyBackward;
        let row = |n: usize| [float_in([n], 2.0, 3.0), float([n])];
        let [lse, dy] = row(5);
        samples.case(op, [float([5, 4]), int([5], 0, 4), lse, dy]);
        let [lse, dy] = row(0);
        samples.case(op, [float([0, 3]), int([0], 0, 3), lse, dy]);
    }
}
