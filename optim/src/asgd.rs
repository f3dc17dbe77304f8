//! Averaged gradient descent.

use kiln_nn::Config;
use kiln_tensor::op::{AsgdRule, Rule, Update};
use kiln_tensor::{AnyTensor, Result};

use crate::{Algorithm, Optim, Slot, check};

/// Gradient descent that keeps the average of all parameters (Polyak & Juditsky 1992), in the state
/// `ax`: `torch.optim.ASGD`.
pub type Asgd = Optim<AsgdConfig>;

/// What an [`Asgd`] is made of.
#[derive(Config, Debug)]
pub struct AsgdConfig {
    /// Learning rate.
    pub lr: f64,
    /// Decay of the parameter, and of the learning rate.
    #[config(default = 1e-4)]
    pub lambda: f64,
    /// Power of the decay of the learning rate.
    #[config(default = 0.75)]
    pub alpha: f64,
    /// The number of the step after which averaging starts.
    #[config(default = 1e6)]
    pub t0: f64,
    /// This times the parameter is added to the gradient.
    #[config(default = 0.0)]
    pub weight_decay: f64,
    /// Up the gradient instead of down.
    #[config(default = false)]
    pub maximize: bool,
}

impl AsgdConfig {
    /// Makes the optimizer. Panics if a setting makes no sense.
    #[track_caller]
    pub fn init(&self) -> Asgd {
        Optim::new(self.clone())
    }
}

impl Algorithm for AsgdConfig {
    fn lr(&self) -> f64 {
        self.lr
    }

    fn set_lr(&mut self, lr: f64) {
        self.lr = lr;
    }

    fn check(&self) -> Result<()> {
        let Self { lr, lambda, alpha, t0, weight_decay, .. } = *self;
        let settings = [
            ("lr", lr),
            ("lambda", lambda),
            ("alpha", alpha),
            ("t0", t0),
            ("weight_decay", weight_decay),
        ];
        check::not_negative("asgd", settings)
    }

    fn states(&self, _: &AnyTensor) -> &'static [&'static str] {
        &["ax"]
    }

    fn step(&self, _: &mut AnyTensor, _: &AnyTensor, slot: &mut Slot) -> Result<Option<Update>> {
        let Self { lr, lambda, alpha, t0, weight_decay, maximize } = *self;
        let before = (slot.step - 1) as f64;
        let rate = lr / (1.0 + lambda * lr * before).powf(alpha);
        let rule = Rule::Asgd(AsgdRule { rate, share: 1.0 / (before - t0).max(1.0) });
        let shrink = 1.0 - lambda * rate;
        Ok(Some(Update { maximize, penalty: weight_decay, shrink, rule }))
    }
}
