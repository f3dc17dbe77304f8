//! Adadelta.

use kiln_nn::Config;
use kiln_tensor::op::{AdadeltaRule, Rule, Update};
use kiln_tensor::{AnyTensor, Result};

use crate::{Algorithm, Optim, Slot, check};

/// Steps of the size of the steps so far (Zeiler 2012): `torch.optim.Adadelta`, whose learning rate
/// is 1 if not set.
pub type Adadelta = Optim<AdadeltaConfig>;

/// What an [`Adadelta`] is made of.
#[derive(Config, Debug)]
pub struct AdadeltaConfig {
    /// Learning rate.
    pub lr: f64,
    /// Decay of the averages.
    #[config(default = 0.9)]
    pub rho: f64,
    /// Added to both averages.
    #[config(default = 1e-6)]
    pub epsilon: f64,
    /// This times the parameter is added to the gradient.
    #[config(default = 0.0)]
    pub weight_decay: f64,
    /// Up the gradient instead of down.
    #[config(default = false)]
    pub maximize: bool,
}

impl AdadeltaConfig {
    /// Makes the optimizer. Panics if a setting makes no sense.
    #[track_caller]
    pub fn init(&self) -> Adadelta {
        Optim::new(self.clone())
    }
}

impl Algorithm for AdadeltaConfig {
    fn lr(&self) -> f64 {
        self.lr
    }

    fn set_lr(&mut self, lr: f64) {
        self.lr = lr;
    }

    fn check(&self) -> Result<()> {
        let Self { lr, epsilon, weight_decay, rho, .. } = *self;
        let settings = [("lr", lr), ("epsilon", epsilon), ("weight_decay", weight_decay)];
        check::not_negative("adadelta", settings)?;
        check::shares("adadelta", [("rho", rho)])
    }

    fn states(&self, _: &AnyTensor) -> &'static [&'static str] {
        &["square_avg", "acc_delta"]
    }

    fn step(&self, _: &mut AnyTensor, _: &AnyTensor, _: &mut Slot) -> Result<Option<Update>> {
        let Self { lr, rho, epsilon, weight_decay, maximize } = *self;
        let plain = Update::new(Rule::Adadelta(AdadeltaRule { lr, rho, epsilon }));
        Ok(Some(Update { maximize, penalty: weight_decay, ..plain }))
    }
}
