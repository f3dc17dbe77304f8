//! RAdam.

use kiln_nn::Config;
use kiln_tensor::op::{AdamRule, Rule, Update};
use kiln_tensor::{AnyTensor, Result};

use crate::optimizer::decay;
use crate::{Algorithm, Optim, Slot, check};

/// Adam whose first steps do not trust the young average square (Liu et al. 2020):
/// `torch.optim.RAdam`.
pub type RAdam = Optim<RAdamConfig>;

/// What an [`RAdam`] is made of.
#[derive(Config, Debug)]
pub struct RAdamConfig {
    /// Learning rate.
    pub lr: f64,
    /// Decay of the average of the gradient.
    #[config(default = 0.9)]
    pub beta_1: f64,
    /// Decay of the average of its square.
    #[config(default = 0.999)]
    pub beta_2: f64,
    /// Added to the root of the average square.
    #[config(default = 1e-8)]
    pub epsilon: f64,
    /// This times the parameter is added to the gradient.
    #[config(default = 0.0)]
    pub weight_decay: f64,
    /// The parameter shrinks by the decay times the learning rate instead.
    #[config(default = false)]
    pub decoupled_weight_decay: bool,
    /// Up the gradient instead of down.
    #[config(default = false)]
    pub maximize: bool,
}

impl RAdamConfig {
    /// Makes the optimizer. Panics if a setting makes no sense.
    #[track_caller]
    pub fn init(&self) -> RAdam {
        Optim::new(self.clone())
    }
}

impl Algorithm for RAdamConfig {
    fn lr(&self) -> f64 {
        self.lr
    }

    fn set_lr(&mut self, lr: f64) {
        self.lr = lr;
    }

    fn check(&self) -> Result<()> {
        let Self { lr, epsilon, weight_decay, beta_1, beta_2, .. } = *self;
        let settings = [("lr", lr), ("epsilon", epsilon), ("weight_decay", weight_decay)];
        check::not_negative("radam", settings)?;
        check::shares("radam", [("beta_1", beta_1), ("beta_2", beta_2)])
    }

    fn states(&self, _: &AnyTensor) -> &'static [&'static str] {
        &["exp_avg", "exp_avg_sq"]
    }

    fn step(&self, _: &mut AnyTensor, _: &AnyTensor, slot: &mut Slot) -> Result<Option<Update>> {
        let Self { lr, beta_1, beta_2, epsilon, weight_decay, maximize, .. } = *self;
        let adam = AdamRule::new(lr, beta_1, beta_2, epsilon, slot.step);
        // How many squares the average is worth: in the end, and now.
        let step = slot.step as f64;
        let end = 2.0 / (1.0 - beta_2) - 1.0;
        let power = beta_2.powf(step);
        let now = end - 2.0 * step * power / (1.0 - power);
        let rule = if now > 5.0 {
            let trust = (now - 4.0) * (now - 2.0) * end / ((end - 4.0) * (end - 2.0) * now);
            AdamRule { rate: adam.rate * trust.sqrt(), epsilon: epsilon * adam.root, ..adam }
        } else {
            // The average of the gradient alone: the denominator is one.
            AdamRule { root: 0.0, epsilon: 1.0, ..adam }
        };
        let (penalty, shrink) = decay(weight_decay, self.decoupled_weight_decay, lr);
        let rule = Rule::Adam(rule);
        Ok(Some(Update { maximize, penalty, shrink, rule }))
    }
}
