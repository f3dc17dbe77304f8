//! RMSprop.

use kiln_nn::Config;
use kiln_tensor::op::{RmsPropRule, Rule, Update};
use kiln_tensor::{AnyTensor, Result};

use crate::{Algorithm, Optim, Slot, check};

/// Steps over the root of the average square (Hinton 2012): `torch.optim.RMSprop`.
pub type RmsProp = Optim<RmsPropConfig>;

/// What an [`RmsProp`] is made of.
#[derive(Config, Debug)]
pub struct RmsPropConfig {
    /// Learning rate.
    pub lr: f64,
    /// Decay of the average square.
    #[config(default = 0.99)]
    pub alpha: f64,
    /// Added to the root of the average square.
    #[config(default = 1e-8)]
    pub epsilon: f64,
    /// This times the parameter is added to the gradient.
    #[config(default = 0.0)]
    pub weight_decay: f64,
    /// Share of the last step that is kept.
    #[config(default = 0.0)]
    pub momentum: f64,
    /// The variance of the gradient in the place of its square.
    #[config(default = false)]
    pub centered: bool,
    /// Up the gradient instead of down.
    #[config(default = false)]
    pub maximize: bool,
}

impl RmsPropConfig {
    /// Makes the optimizer. Panics if a setting makes no sense.
    #[track_caller]
    pub fn init(&self) -> RmsProp {
        Optim::new(self.clone())
    }
}

impl Algorithm for RmsPropConfig {
    fn lr(&self) -> f64 {
        self.lr
    }

    fn set_lr(&mut self, lr: f64) {
        self.lr = lr;
    }

    fn check(&self) -> Result<()> {
        let Self { lr, epsilon, weight_decay, momentum, alpha, .. } = *self;
        let settings = [
            ("lr", lr),
            ("epsilon", epsilon),
            ("weight_decay", weight_decay),
            ("momentum", momentum),
        ];
        check::not_negative("rmsprop", settings)?;
        check::shares("rmsprop", [("alpha", alpha)])
    }

    fn states(&self, _: &AnyTensor) -> &'static [&'static str] {
        match (self.momentum != 0.0, self.centered) {
            (false, false) => &["square_avg"],
            (true, false) => &["square_avg", "momentum_buffer"],
            (false, true) => &["square_avg", "grad_avg"],
            (true, true) => &["square_avg", "momentum_buffer", "grad_avg"],
        }
    }

    fn step(&self, _: &mut AnyTensor, _: &AnyTensor, _: &mut Slot) -> Result<Option<Update>> {
        let Self { lr, alpha, epsilon, weight_decay, momentum, centered, maximize } = *self;
        let rule = RmsPropRule { lr, alpha, epsilon, momentum, centered };
        let plain = Update::new(Rule::RmsProp(rule));
        Ok(Some(Update { maximize, penalty: weight_decay, ..plain }))
    }
}
