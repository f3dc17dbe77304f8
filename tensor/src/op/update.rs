//! Optimizer updates: a parameter and its state advance by one step in one pass over memory.
//!
//! As functions they map old values to new ones; `AnyTensor::update` runs them with the outputs in
//! the place of the inputs.

use smallvec::{SmallVec, smallvec};

use super::{Keeps, Meta, Metas, Operation, check};
use crate::{AnyTensor, Result};

/// Stochastic gradient descent with momentum, as `torch.optim.SGD`.
///
/// Inputs: `grad`, `param`, and `momentum` if [`SgdUpdate::momentum`] is not zero; one shape and
/// float dtype. Results: the new `param` (and `momentum`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SgdUpdate {
    /// Learning rate.
    pub lr: f64,
    /// Share of the old momentum that is kept; zero: no momentum.
    pub momentum: f64,
    /// Share of the gradient that does not enter the momentum.
    pub dampening: f64,
    /// L2 penalty: this times the parameter is added to the gradient.
    pub weight_decay: f64,
    /// Nesterov's look-ahead.
    pub nesterov: bool,
    /// The first step, which starts the momentum with the gradient itself.
    pub first: bool,
}

fn check_update(op: &'static str, inputs: &[Meta], state: usize) -> Result<Metas> {
    if inputs.len() != 2 + state {
        return Err(check::argument(op, format!("expected {} inputs", 2 + state)));
    }
    check::floats(op, inputs)?;
    check::same_shape(op, inputs)?;
    Ok(inputs[1..].iter().copied().collect())
}

impl Operation for SgdUpdate {
    fn name(&self) -> &'static str {
        "sgd_update"
    }

    fn infer(&self, inputs: &[Meta]) -> Result<Metas> {
        check_update(self.name(), inputs, (self.momentum != 0.0) as usize)
    }

    fn keeps(&self, _: u32) -> Keeps {
        Keeps::NOTHING
    }

    fn flops(&self, inputs: &[Meta], _: &[Meta]) -> u64 {
        6 * inputs[0].len() as u64
    }

    fn elementwise(&self) -> bool {
        true
    }

    fn decompose(&self, inputs: &[&AnyTensor]) -> Option<SmallVec<[AnyTensor; 1]>> {
        let (grad, param) = (inputs[0], inputs[1]);
        let grad = grad.add(&param.mul_scalar(self.weight_decay));
        if self.momentum == 0.0 {
            return Some(smallvec![param.sub(&grad.mul_scalar(self.lr))]);
        }
        let momentum = if self.first {
            grad.clone()
        } else {
            inputs[2].mul_scalar(self.momentum).add(&grad.mul_scalar(1.0 - self.dampening))
        };
        let step = if self.nesterov {
            grad.add(&momentum.mul_scalar(self.momentum))
        } else {
            momentum.clone()
        };
        Some(smallvec![param.sub(&step.mul_scalar(self.lr)), momentum])
    }

    #[cfg(any(test, feature = "samples"))]
    fn samples(samples: &mut super::samples::Samples) {
        use super::samples::float;
        let plain = SgdUpdate {
            lr: 0.1,
            momentum: 0.0,
            dampening: 0.0,
            weight_decay: 0.01,
            nesterov: false,
            first: false,
        };
        let [grad, param, momentum] = [(); 3].map(|()| float([3, 37]));
        samples.rough(plain, [grad, param]);
        for (first, nesterov) in [(true, false), (false, false), (false, true)] {
            let op = SgdUpdate { momentum: 0.9, first, nesterov, ..plain };
            samples.rough(op, [grad, param, momentum]);
        }
    }
}

/// Adam (Kingma & Ba 2014), as `torch.optim.Adam`, or with decoupled weight decay AdamW
/// (Loshchilov & Hutter 2017), as `torch.optim.AdamW`.
///
/// Inputs: `grad`, `param`, the averages `m` of the gradient and `v` of its square; one shape and
/// float dtype. Results: the new `param`, `m` and `v`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamUpdate {
    /// Learning rate.
    pub lr: f64,
    /// Decay of the average of the gradient.
    pub beta1: f64,
    /// Decay of the average of its square.
    pub beta2: f64,
    /// Added to the root of the average square.
    pub epsilon: f64,
    /// Weight decay.
    pub weight_decay: f64,
    /// Whether the decay shrinks the parameter directly (AdamW) or is added to the gradient (Adam).
    pub decoupled: bool,
    /// The number of this step, from 1.
    pub step: u64,
}

impl AdamUpdate {
    /// The step size and the factor of `sqrt(v)` with the bias of the young averages taken out.
    pub(crate) fn corrections(&self) -> (f64, f64) {
        let unbias = |beta: f64| 1.0 - beta.powf(self.step as f64);
        (self.lr / unbias(self.beta1), 1.0 / unbias(self.beta2).sqrt())
    }
}

impl Operation for AdamUpdate {
    fn name(&self) -> &'static str {
        "adam_update"
    }

    fn infer(&self, inputs: &[Meta]) -> Result<Metas> {
        check_update(self.name(), inputs, 2)
    }

    fn keeps(&self, _: u32) -> Keeps {
        Keeps::NOTHING
    }

    fn flops(&self, inputs: &[Meta], _: &[Meta]) -> u64 {
        14 * inputs[0].len() as u64
    }

    fn elementwise(&self) -> bool {
        true
    }

    fn decompose(&self, inputs: &[&AnyTensor]) -> Option<SmallVec<[AnyTensor; 1]>> {
        let [grad, param, m, v] = inputs else { unreachable!() };
        let mut grad = (*grad).clone();
        let mut param = (*param).clone();
        if self.decoupled {
            param = param.mul_scalar(1.0 - self.lr * self.weight_decay);
        } else {
            grad = grad.add(&param.mul_scalar(self.weight_decay));
        }
        let m = m.mul_scalar(self.beta1).add(&grad.mul_scalar(1.0 - self.beta1));
        let v = v.mul_scalar(self.beta2).add(&grad.square().mul_scalar(1.0 - self.beta2));
        let (step, root) = self.corrections();
        let denominator = v.sqrt().mul_scalar(root).add_scalar(self.epsilon);
        let param = param.sub(&m.div(&denominator).mul_scalar(step));
        Some(smallvec![param, m, v])
    }

    #[cfg(any(test, feature = "samples"))]
    fn samples(samples: &mut super::samples::Samples) {
        use super::samples::{float, float_in};
        for (decoupled, step) in [(false, 1), (true, 1), (true, 100)] {
            let op = AdamUpdate {
                lr: 0.01,
                beta1: 0.9,
                beta2: 0.999,
                epsilon: 1e-8,
                weight_decay: 0.1,
                decoupled,
                step,
            };
            let shape = [3, 37];
            let v = float_in(shape, 0.5, 1.0);
            samples.rough(op, [float(shape), float(shape), float(shape), v]);
        }
    }
}
