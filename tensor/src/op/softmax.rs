//! Softmax and its logarithm along one axis.

use smallvec::{SmallVec, smallvec};

use super::{Keeps, Meta, Metas, Operation, check, one};
use crate::{AnyTensor, Result};

/// `y = exp(x - max(x)) / sum(exp(x - max(x)))` along one axis, or its logarithm.
///
/// `x`: `[.., n, ..]`, float. Result: same shape and dtype; slices along `axis` sum to one (a slice
/// of `-inf` gives NaN, as in `torch.softmax`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Softmax {
    /// The axis that is normalised.
    pub axis: usize,
    /// The logarithm of the result: `torch.log_softmax`.
    pub log: bool,
}

impl Operation for Softmax {
    fn name(&self) -> &'static str {
        if self.log { "log_softmax" } else { "softmax" }
    }

    fn infer(&self, inputs: &[Meta]) -> Result<Metas> {
        let [x] = check::arity(self.name(), inputs)?;
        check::floats(self.name(), inputs)?;
        check::axis(self.name(), x, self.axis)?;
        Ok(one(*x))
    }

    fn keeps(&self, _: u32) -> Keeps {
        Keeps::OUTPUT
    }

    fn flops(&self, inputs: &[Meta], _: &[Meta]) -> u64 {
        13 * inputs[0].len() as u64
    }

    fn decompose(&self, inputs: &[&AnyTensor]) -> Option<SmallVec<[AnyTensor; 1]>> {
        let x = inputs[0];
        if x.shape()[self.axis] == 0 {
            return Some(smallvec![x.clone()]);
        }
        // The maximum only shifts: no gradient flows through it.
        let shifted = x.sub(&x.detach().max_axis(self.axis));
        let exp = shifted.exp();
        let sum = exp.sum_axis(self.axis);
        Some(smallvec![if self.log { shifted.sub(&sum.log()) } else { exp.div(&sum) }])
    }

    #[cfg(any(test, feature = "samples"))]
    fn samples(samples: &mut super::samples::Samples) {
        use super::samples::float;
        for log in [false, true] {
            for (shape, axis) in [
                (vec![3, 5], 1),
                (vec![3, 5], 0),
                (vec![2, 3, 4], 1),
                (vec![1, 1], 1),
                (vec![0, 4], 1),
            ] {
                samples.case(Softmax { axis, log }, [float(shape)]);
            }
            samples.rough(Softmax { axis: 1, log }, [float([2, 1031])]);
            samples.rough(Softmax { axis: 0, log }, [float([131, 70])]);
        }
    }
}

/// The gradient of [`Softmax`]: `dx = y (dy - sum(y dy))`, or `dx = dy - exp(y) sum(dy)` for the
/// logarithm.
///
/// Inputs: `y` and `dy` of one shape. Result: the same shape.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SoftmaxBackward {
    /// The axis that was normalised.
    pub axis: usize,
    /// Whether `y` is the logarithm.
    pub log: bool,
}

impl Operation for SoftmaxBackward {
    fn name(&self) -> &'static str {
        if self.log { "log_softmax_backward" } else { "softmax_backward" }
    }

    fn infer(&self, inputs: &[Meta]) -> Result<Metas> {
        let [y, _] = check::arity(self.name(), inputs)?;
        check::floats(self.name(), inputs)?;
        check::same_shape(self.name(), inputs)?;
        check::axis(self.name(), y, self.axis)?;
        Ok(one(*y))
    }

    fn keeps(&self, _: u32) -> Keeps {
        Keeps::INPUTS
    }

    fn flops(&self, inputs: &[Meta], _: &[Meta]) -> u64 {
        4 * inputs[0].len() as u64
    }

    fn decompose(&self, inputs: &[&AnyTensor]) -> Option<SmallVec<[AnyTensor; 1]>> {
        let (y, dy) = (inputs[0], inputs[1]);
        Some(smallvec![if self.log {
            dy.sub(&y.exp().mul(&dy.sum_axis(self.axis)))
        } else {
            y.mul(&dy.sub(&y.mul(dy).sum_axis(self.axis)))
        }])
    }

    #[cfg(any(test, feature = "samples"))]
    fn samples(samples: &mut super::samples::Samples) {
        use super::samples::float;
        for log in [false, true] {
            for (shape, axis) in
                [(vec![3, 5], 1), (vec![3, 5], 0), (vec![2, 3, 4], 1), (vec![0, 4], 1)]
            {
                let op = SoftmaxBackward { axis, log };
                samples.case(op, [float(shape.clone()), float(shape)]);
            }
        }
    }
}
