//! Stochastic gradient descent.

use kiln_autograd::Gradients;
use kiln_nn::Module;
use kiln_tensor::op::SgdUpdate;
use kiln_tensor::{Error, fail};

use crate::Optimizer;
use crate::state::State;

/// What an [`Sgd`] is made of.
#[derive(Clone, Debug)]
pub struct SgdConfig {
    update: SgdUpdate,
}

impl SgdConfig {
    /// Plain gradient descent with this learning rate.
    pub fn new(lr: f64) -> Self {
        let update = SgdUpdate {
            lr,
            momentum: 0.0,
            dampening: 0.0,
            weight_decay: 0.0,
            nesterov: false,
            first: true,
        };
        Self { update }
    }

    /// Share of the last step that is kept.
    pub fn with_momentum(mut self, momentum: f64) -> Self {
        self.update.momentum = momentum;
        self
    }

    /// Share of the gradient that does not enter the momentum.
    pub fn with_dampening(mut self, dampening: f64) -> Self {
        self.update.dampening = dampening;
        self
    }

    /// This times the parameter is added to the gradient.
    pub fn with_weight_decay(mut self, weight_decay: f64) -> Self {
        self.update.weight_decay = weight_decay;
        self
    }

    /// Nesterov's look-ahead, which needs momentum without dampening.
    pub fn with_nesterov(mut self, nesterov: bool) -> Self {
        self.update.nesterov = nesterov;
        self
    }

    /// Makes the optimizer. Panics if Nesterov's look-ahead is asked for without momentum or with
    /// dampening.
    #[track_caller]
    pub fn init(&self) -> Sgd {
        let SgdUpdate { momentum, dampening, nesterov, .. } = self.update;
        if nesterov && (momentum == 0.0 || dampening != 0.0) {
            let rule = format!(
                "nesterov needs momentum without dampening, found {momentum} and {dampening}"
            );
            fail(Error::Argument { op: "sgd", rule });
        }
        Sgd { update: self.update, state: State::default() }
    }
}

/// Stochastic gradient descent with momentum: `torch.optim.SGD`.
#[derive(Clone, Debug)]
pub struct Sgd {
    update: SgdUpdate,
    state: State,
}

impl Optimizer for Sgd {
    #[track_caller]
    fn step<M: Module>(&mut self, model: &mut M, grads: Gradients) {
        let update = self.update;
        let averages = (update.momentum != 0.0) as usize;
        self.state.step(model, grads, averages, |slot| {
            SgdUpdate { first: slot.steps == 1, ..update }.into()
        });
    }

    fn lr(&self) -> f64 {
        self.update.lr
    }

    fn set_lr(&mut self, lr: f64) {
        self.update.lr = lr;
    }
}
