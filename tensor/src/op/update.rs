//! Optimizer updates: a parameter and its state advance by one step in one pass over memory.
//!
//! As functions they map old values to new ones; [`update`](crate::update) runs them with the
//! outputs in the place of the inputs.

mod number;
mod rules;

use smallvec::SmallVec;

pub(crate) use number::Number;
pub use rules::{
    AdadeltaRule, AdagradRule, AdamRule, AdamaxRule, AdanRule, AsgdRule, LionRule, RmsPropRule,
    RpropRule, ScaleRule, SgdRule,
};

use super::{Keeps, Meta, Metas, Operation, check};
use crate::{AnyTensor, Result};

/// One step of an optimizer for one parameter.
///
/// Inputs: `grad`, `param`, and the state tensors that the rule names; one shape. `grad` and `param`
/// have one float dtype; the state has it too or, for half types, is f32. Results: the new `param`
/// and state.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Update {
    /// Whether to go up the gradient instead of down.
    pub maximize: bool,
    /// L2 penalty: this times the parameter is added to the gradient.
    pub penalty: f64,
    /// The parameter is multiplied by this before the step: decoupled weight decay; 1 for none.
    pub shrink: f64,
    /// What comes of the gradient.
    pub rule: Rule,
}

/// How a parameter and its state follow from a gradient. See the fields' types.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum Rule {
    Sgd(SgdRule),
    Adam(AdamRule),
    Adamax(AdamaxRule),
    Adagrad(AdagradRule),
    Adadelta(AdadeltaRule),
    RmsProp(RmsPropRule),
    Rprop(RpropRule),
    Asgd(AsgdRule),
    Lion(LionRule),
    Adan(AdanRule),
    Scale(ScaleRule),
}

/// A rule as a formula, written once for numbers and for whole tensors.
pub(crate) trait Formula: Copy + Sync {
    /// Whether a penalty is added to the gradient.
    const PENALTY: bool = true;
    /// Replaces the targets (the parameter and its state) by their new values.
    fn step<X: Number>(&self, grad: &X, targets: &mut [X]);
}

impl Update {
    /// The plain step of a rule.
    pub fn new(rule: Rule) -> Self {
        Self { maximize: false, penalty: 0.0, shrink: 1.0, rule }
    }

    /// Moves the target by `share` of the way to what stands in the place of the gradient, as
    /// `torch.lerp`: a running average.
    pub fn average(share: f64) -> Self {
        // The gradient of half the squared distance is the distance.
        Self { maximize: true, penalty: 1.0, ..Self::new(Rule::Sgd(SgdRule::new(share))) }
    }

    /// How many state tensors the rule has.
    pub fn states(&self) -> usize {
        match self.rule {
            Rule::Scale(_) => 0,
            Rule::Sgd(rule) => (rule.momentum != 0.0) as usize,
            Rule::Adagrad(_) | Rule::Asgd(_) | Rule::Lion(_) => 1,
            Rule::Adam(rule) => 2 + rule.amsgrad as usize,
            Rule::Adamax(_) | Rule::Adadelta(_) | Rule::Rprop(_) => 2,
            Rule::RmsProp(rule) => 1 + (rule.momentum != 0.0) as usize + rule.centered as usize,
            Rule::Adan(_) => 4,
        }
    }

    /// The step of `formula`, which is that of the rule, with what all rules share before it.
    #[inline(always)]
    pub(crate) fn step<F: Formula, X: Number>(&self, formula: &F, grad: &X, targets: &mut [X]) {
        let grad = grad.mul_scalar(if self.maximize { -1.0 } else { 1.0 });
        let grad = if F::PENALTY { targets[0].mul_add(self.penalty, &grad) } else { grad };
        targets[0] = targets[0].mul_scalar(self.shrink);
        formula.step(&grad, targets);
    }
}

impl Operation for Update {
    fn name(&self) -> &'static str {
        match self.rule {
            Rule::Sgd(_) => "sgd_update",
            Rule::Adam(_) => "adam_update",
            Rule::Adamax(_) => "adamax_update",
            Rule::Adagrad(_) => "adagrad_update",
            Rule::Adadelta(_) => "adadelta_update",
            Rule::RmsProp(_) => "rmsprop_update",
            Rule::Rprop(_) => "rprop_update",
            Rule::Asgd(_) => "asgd_update",
            Rule::Lion(_) => "lion_update",
            Rule::Adan(_) => "adan_update",
            Rule::Scale(_) => "scale_update",
        }
    }

    fn infer(&self, inputs: &[Meta]) -> Result<Metas> {
        let (op, expected) = (self.name(), 2 + self.states());
        if inputs.len() != expected {
            let rule = format!("expected {expected} inputs, found {}", inputs.len());
            return Err(check::argument(op, rule));
        }
        let (values, states) = inputs.split_at(2);
        check::floats(op, values)?;
        let dtype = values[1].dtype;
        let fits =
            |state: &Meta| state.dtype == dtype || state.dtype == check::statistics_dtype(dtype);
        if !states.iter().all(fits) {
            let rule = "the state has the parameter's dtype or, for half types, f32";
            return Err(check::dtype_error(op, inputs, rule));
        }
        check::same_shape(op, inputs)?;
        Ok(inputs[1..].iter().copied().collect())
    }

    fn keeps(&self, _: u32) -> Keeps {
        Keeps::NOTHING
    }

    fn flops(&self, inputs: &[Meta], _: &[Meta]) -> u64 {
        // About four for each state and what all rules share.
        (4 + 4 * inputs.len() as u64) * inputs[0].len() as u64
    }

    fn elementwise(&self) -> bool {
        true
    }

    fn decompose(&self, inputs: &[&AnyTensor]) -> Option<SmallVec<[AnyTensor; 1]>> {
        let grad = inputs[0];
        let mut targets: SmallVec<[AnyTensor; 1]> =
            inputs[1..].iter().map(|&target| target.clone()).collect();
        match &self.rule {
            Rule::Sgd(rule) => self.step(rule, grad, &mut targets),
            Rule::Adam(rule) => self.step(rule, grad, &mut targets),
            Rule::Adamax(rule) => self.step(rule, grad, &mut targets),
            Rule::Adagrad(rule) => self.step(rule, grad, &mut targets),
            Rule::Adadelta(rule) => self.step(rule, grad, &mut targets),
            Rule::RmsProp(rule) => self.step(rule, grad, &mut targets),
            Rule::Rprop(rule) => self.step(rule, grad, &mut targets),
            Rule::Asgd(rule) => self.step(rule, grad, &mut targets),
            Rule::Lion(rule) => self.step(rule, grad, &mut targets),
            Rule::Adan(rule) => self.step(rule, grad, &mut targets),
            Rule::Scale(rule) => self.step(rule, grad, &mut targets),
        }
        Some(targets)
    }

    #[cfg(any(test, feature = "samples"))]
    fn samples(samples: &mut super::samples::Samples) {
        use super::samples::{float, float_in};
        for rule in rules::samples() {
            let plain = Update::new(rule);
            let mixed = Update { maximize: true, penalty: 0.1, shrink: 0.9, ..plain };
            for op in [plain, mixed] {
                // Averages of squares are positive, and larger than the squares of averages.
                let mut inputs = vec![float([3, 37]); 2];
                inputs.resize(2 + op.states(), float_in([3, 37], 0.5, 0.7));
                samples.rough(op, inputs);
            }
        }
    }
}
