//! Rprop.

use kiln_nn::Config;
use kiln_tensor::op::{RpropRule, Rule, Update};
use kiln_tensor::{AnyTensor, Result};

use crate::{Algorithm, Optim, Slot, check};

/// Steps that look at the sign of the gradient alone (Riedmiller & Braun 1993), for whole data sets:
/// `torch.optim.Rprop`. The learning rate is the first step of each element.
pub type Rprop = Optim<RpropConfig>;

/// What a [`Rprop`] is made of.
#[derive(Config, Debug)]
pub struct RpropConfig {
    /// Learning rate.
    pub lr: f64,
    /// Factor of a step that overshot.
    #[config(default = 0.5)]
    pub eta_minus: f64,
    /// Factor of a step in the direction of the last one.
    #[config(default = 1.2)]
    pub eta_plus: f64,
    /// The shortest step.
    #[config(default = 1e-6)]
    pub min_step: f64,
    /// The longest step.
    #[config(default = 50.0)]
    pub max_step: f64,
    /// Up the gradient instead of down.
    #[config(default = false)]
    pub maximize: bool,
}

impl RpropConfig {
    /// Makes the optimizer. Panics if a setting makes no sense.
    #[track_caller]
    pub fn init(&self) -> Rprop {
        Optim::new(self.clone())
    }
}

impl Algorithm for RpropConfig {
    fn lr(&self) -> f64 {
        self.lr
    }

    fn set_lr(&mut self, lr: f64) {
        self.lr = lr;
    }

    fn check(&self) -> Result<()> {
        let Self { lr, min_step, max_step, eta_minus, .. } = *self;
        let settings = [("lr", lr), ("min_step", min_step), ("max_step", max_step)];
        check::not_negative("rprop", settings)?;
        check::rule("rprop", self.eta_plus > 1.0, || {
            format!("eta_plus must be above 1, found {}", self.eta_plus)
        })?;
        check::shares("rprop", [("eta_minus", eta_minus)])
    }

    fn states(&self, _: &AnyTensor) -> &'static [&'static str] {
        &["prev", "step_size"]
    }

    fn start(&self, name: &str, param: &AnyTensor) -> AnyTensor {
        Slot::full(param, if name == "step_size" { self.lr } else { 0.0 })
    }

    fn step(&self, _: &mut AnyTensor, _: &AnyTensor, _: &mut Slot) -> Result<Option<Update>> {
        let Self { eta_minus, eta_plus, min_step, max_step, maximize, .. } = *self;
        let rule = RpropRule { shrink: eta_minus, grow: eta_plus, min_step, max_step };
        Ok(Some(Update { maximize, ..Update::new(Rule::Rprop(rule)) }))
    }
}
