//! Adamax.

use kiln_nn::Config;
use kiln_tensor::op::{AdamaxRule, Rule, Update};
use kiln_tensor::{AnyTensor, Result};

use crate::{Algorithm, Optim, Slot, check};

/// Adam with the largest gradient in the place of the average square (Kingma & Ba 2014):
/// `torch.optim.Adamax`.
pub type Adamax = Optim<AdamaxConfig>;

/// What an [`Adamax`] is made of.
#[derive(Config, Debug)]
pub struct AdamaxConfig {
    /// Learning rate.
    pub lr: f64,
    /// Decay of the average of the gradient.
    #[config(default = 0.9)]
    pub beta_1: f64,
    /// Decay of the largest gradient.
    #[config(default = 0.999)]
    pub beta_2: f64,
    /// Added to the size of the gradient.
    #[config(default = 1e-8)]
    pub epsilon: f64,
    /// This times the parameter is added to the gradient.
    #[config(default = 0.0)]
    pub weight_decay: f64,
    /// Up the gradient instead of down.
    #[config(default = false)]
    pub maximize: bool,
}

impl AdamaxConfig {
    /// Makes the optimizer. Panics if a setting makes no sense.
    #[track_caller]
    pub fn init(&self) -> Adamax {
        Optim::new(self.clone())
    }
}

impl Algorithm for AdamaxConfig {
    fn lr(&self) -> f64 {
        self.lr
    }

    fn set_lr(&mut self, lr: f64) {
        self.lr = lr;
    }

    fn check(&self) -> Result<()> {
        let Self { lr, epsilon, weight_decay, beta_1, beta_2, .. } = *self;
        let settings = [("lr", lr), ("epsilon", epsilon), ("weight_decay", weight_decay)];
        check::not_negative("adamax", settings)?;
        check::shares("adamax", [("beta_1", beta_1), ("beta_2", beta_2)])
    }

    fn states(&self, _: &AnyTensor) -> &'static [&'static str] {
        &["exp_avg", "exp_inf"]
    }

    fn step(&self, _: &mut AnyTensor, _: &AnyTensor, slot: &mut Slot) -> Result<Option<Update>> {
        let rate = self.lr / (1.0 - self.beta_1.powf(slot.step as f64));
        let Self { beta_1, beta_2, epsilon, weight_decay, maximize, .. } = *self;
        let plain = Update::new(Rule::Adamax(AdamaxRule { rate, beta_1, beta_2, epsilon }));
        Ok(Some(Update { maximize, penalty: weight_decay, ..plain }))
    }
}
