//! Stochastic gradient descent.

use kiln_nn::Config;
use kiln_tensor::op::{Rule, SgdRule, Update};
use kiln_tensor::{AnyTensor, Result};

use crate::{Algorithm, Optim, Slot, check};

/// Stochastic gradient descent with momentum: `torch.optim.SGD`.
pub type Sgd = Optim<SgdConfig>;

/// What an [`Sgd`] is made of.
#[derive(Config, Debug)]
pub struct SgdConfig {
    /// Learning rate.
    pub lr: f64,
    /// Share of the last step that is kept.
    #[config(default = 0.0)]
    pub momentum: f64,
    /// Share of the gradient that does not enter the momentum.
    #[config(default = 0.0)]
    pub dampening: f64,
    /// This times the parameter is added to the gradient.
    #[config(default = 0.0)]
    pub weight_decay: f64,
    /// Nesterov's look-ahead, which needs momentum without dampening.
    #[config(default = false)]
    pub nesterov: bool,
    /// Up the gradient instead of down.
    #[config(default = false)]
    pub maximize: bool,
}

impl SgdConfig {
    /// Makes the optimizer. Panics if Nesterov's look-ahead is asked for without momentum or with
    /// dampening.
    #[track_caller]
    pub fn init(&self) -> Sgd {
        Optim::new(self.clone())
    }
}

impl Algorithm for SgdConfig {
    fn lr(&self) -> f64 {
        self.lr
    }

    fn set_lr(&mut self, lr: f64) {
        self.lr = lr;
    }

    fn check(&self) -> Result<()> {
        let Self { lr, momentum, dampening, weight_decay, nesterov, .. } = *self;
        let settings = [("lr", lr), ("momentum", momentum), ("weight_decay", weight_decay)];
        check::not_negative("sgd", settings)?;
        check::rule("sgd", !nesterov || momentum != 0.0 && dampening == 0.0, || {
            format!("nesterov needs momentum without dampening, found {momentum} and {dampening}")
        })
    }

    fn states(&self, _: &AnyTensor) -> &'static [&'static str] {
        if self.momentum == 0.0 { &[] } else { &["momentum_buffer"] }
    }

    #[inline]
    fn step(&self, _: &mut AnyTensor, _: &AnyTensor, slot: &mut Slot) -> Result<Option<Update>> {
        let Self { lr, momentum, dampening, weight_decay, nesterov, maximize } = *self;
        let rule = SgdRule { lr, momentum, dampening, nesterov, first: slot.step == 1 };
        let plain = Update::new(Rule::Sgd(rule));
        Ok(Some(Update { maximize, penalty: weight_decay, ..plain }))
    }
}
