//! Adagrad.

use kiln_nn::Config;
use kiln_tensor::op::{AdagradRule, Rule, Update};
use kiln_tensor::{AnyTensor, Result};

use crate::{Algorithm, Optim, Slot, check};

/// Steps over the root of the sum of all squares (Duchi et al. 2011): `torch.optim.Adagrad`.
pub type Adagrad = Optim<AdagradConfig>;

/// What an [`Adagrad`] is made of.
#[derive(Config, Debug)]
pub struct AdagradConfig {
    /// Learning rate.
    pub lr: f64,
    /// The learning rate is divided by one plus this times the number of steps before.
    #[config(default = 0.0)]
    pub lr_decay: f64,
    /// This times the parameter is added to the gradient.
    #[config(default = 0.0)]
    pub weight_decay: f64,
    /// What the sums start with.
    #[config(default = 0.0)]
    pub initial_accumulator_value: f64,
    /// Added to the root.
    #[config(default = 1e-10)]
    pub epsilon: f64,
    /// Up the gradient instead of down.
    #[config(default = false)]
    pub maximize: bool,
}

impl AdagradConfig {
    /// Makes the optimizer. Panics if a setting makes no sense.
    #[track_caller]
    pub fn init(&self) -> Adagrad {
        Optim::new(self.clone())
    }
}

impl Algorithm for AdagradConfig {
    fn lr(&self) -> f64 {
        self.lr
    }

    fn set_lr(&mut self, lr: f64) {
        self.lr = lr;
    }

    fn check(&self) -> Result<()> {
        let Self { lr, lr_decay, weight_decay, initial_accumulator_value, epsilon, .. } = *self;
        let settings = [
            ("lr", lr),
            ("lr_decay", lr_decay),
            ("weight_decay", weight_decay),
            ("initial_accumulator_value", initial_accumulator_value),
            ("epsilon", epsilon),
        ];
        check::not_negative("adagrad", settings)
    }

    fn states(&self, _: &AnyTensor) -> &'static [&'static str] {
        &["sum"]
    }

    fn start(&self, _: &str, param: &AnyTensor) -> AnyTensor {
        Slot::full(param, self.initial_accumulator_value)
    }

    fn step(&self, _: &mut AnyTensor, _: &AnyTensor, slot: &mut Slot) -> Result<Option<Update>> {
        let rate = self.lr / (1.0 + (slot.step - 1) as f64 * self.lr_decay);
        let Self { epsilon, weight_decay, maximize, .. } = *self;
        let plain = Update::new(Rule::Adagrad(AdagradRule { rate, epsilon }));
        Ok(Some(Update { maximize, penalty: weight_decay, ..plain }))
    }
}
