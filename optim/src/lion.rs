//! Lion.

use kiln_nn::Config;
use kiln_tensor::op::{LionRule, Rule, Update};
use kiln_tensor::{AnyTensor, Result};

use crate::{Algorithm, Optim, Slot, check};

/// Steps of one size along the sign of the average gradient (Chen et al. 2023). It wants a learning
/// rate about five times smaller, and a decay as much larger, than AdamW.
pub type Lion = Optim<LionConfig>;

/// What a [`Lion`] is made of.
#[derive(Config, Debug)]
pub struct LionConfig {
    /// Learning rate.
    pub lr: f64,
    /// Share of the average in the direction of the step.
    #[config(default = 0.9)]
    pub beta_1: f64,
    /// Decay of the average.
    #[config(default = 0.99)]
    pub beta_2: f64,
    /// The parameter shrinks by this times the learning rate.
    #[config(default = 0.0)]
    pub weight_decay: f64,
    /// Up the gradient instead of down.
    #[config(default = false)]
    pub maximize: bool,
}

impl LionConfig {
    /// Makes the optimizer. Panics if a setting makes no sense.
    #[track_caller]
    pub fn init(&self) -> Lion {
        Optim::new(self.clone())
    }
}

impl Algorithm for LionConfig {
    fn lr(&self) -> f64 {
        self.lr
    }

    fn set_lr(&mut self, lr: f64) {
        self.lr = lr;
    }

    fn check(&self) -> Result<()> {
        let Self { lr, weight_decay, beta_1, beta_2, .. } = *self;
        let settings = [("lr", lr), ("weight_decay", weight_decay)];
        check::not_negative("lion", settings)?;
        check::shares("lion", [("beta_1", beta_1), ("beta_2", beta_2)])
    }

    fn states(&self, _: &AnyTensor) -> &'static [&'static str] {
        &["exp_avg"]
    }

    fn step(&self, _: &mut AnyTensor, _: &AnyTensor, _: &mut Slot) -> Result<Option<Update>> {
        let Self { lr, beta_1, beta_2, weight_decay, maximize } = *self;
        let plain = Update::new(Rule::Lion(LionRule { lr, beta_1, beta_2 }));
        Ok(Some(Update { maximize, shrink: 1.0 - lr * weight_decay, ..plain }))
    }
}
