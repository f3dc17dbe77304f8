//! Adan.

use kiln_nn::Config;
use kiln_tensor::op::{AdanRule, Rule, Update};
use kiln_tensor::{AnyTensor, Result};

use crate::{Algorithm, Optim, Slot, check};

/// Adaptive Nesterov momentum (Xie et al. 2022).
pub type Adan = Optim<AdanConfig>;

/// What an [`Adan`] is made of.
#[derive(Config, Debug)]
pub struct AdanConfig {
    /// Learning rate.
    pub lr: f64,
    /// Decay of the average of the gradient.
    #[config(default = 0.98)]
    pub beta_1: f64,
    /// Decay of the average of its change.
    #[config(default = 0.92)]
    pub beta_2: f64,
    /// Decay of the average square.
    #[config(default = 0.99)]
    pub beta_3: f64,
    /// Added to the root of the average square.
    #[config(default = 1e-8)]
    pub epsilon: f64,
    /// The parameter is divided by one plus this times the learning rate.
    #[config(default = 0.0)]
    pub weight_decay: f64,
    /// The parameter shrinks by the decay before the step, as in AdamW, not after it.
    #[config(default = false)]
    pub no_prox: bool,
    /// Up the gradient instead of down.
    #[config(default = false)]
    pub maximize: bool,
}

impl AdanConfig {
    /// Makes the optimizer. Panics if a setting makes no sense.
    #[track_caller]
    pub fn init(&self) -> Adan {
        Optim::new(self.clone())
    }
}

impl Algorithm for AdanConfig {
    fn lr(&self) -> f64 {
        self.lr
    }

    fn set_lr(&mut self, lr: f64) {
        self.lr = lr;
    }

    fn check(&self) -> Result<()> {
        let Self { lr, epsilon, weight_decay, beta_1, beta_2, beta_3, .. } = *self;
        let settings = [("lr", lr), ("epsilon", epsilon), ("weight_decay", weight_decay)];
        check::not_negative("adan", settings)?;
        check::shares("adan", [("beta_1", beta_1), ("beta_2", beta_2), ("beta_3", beta_3)])
    }

    fn states(&self, _: &AnyTensor) -> &'static [&'static str] {
        &["exp_avg", "exp_avg_diff", "exp_avg_sq", "prev_grad"]
    }

    fn step(&self, _: &mut AnyTensor, _: &AnyTensor, slot: &mut Slot) -> Result<Option<Update>> {
        let Self { lr, beta_1, beta_2, beta_3, epsilon, weight_decay, no_prox, maximize } = *self;
        let unbias = |beta: f64| 1.0 - beta.powf(slot.step as f64);
        let (shrink, shrink_after) = match no_prox {
            true => (1.0 - lr * weight_decay, 1.0),
            false => (1.0, 1.0 / (1.0 + lr * weight_decay)),
        };
        let rule = AdanRule {
            beta_1,
            beta_2,
            beta_3,
            epsilon,
            rate: lr / unbias(beta_1),
            change_rate: lr * beta_2 / unbias(beta_2),
            root: 1.0 / unbias(beta_3).sqrt(),
            shrink_after,
            first: slot.step == 1,
        };
        Ok(Some(Update { maximize, shrink, ..Update::new(Rule::Adan(rule)) }))
    }
}
