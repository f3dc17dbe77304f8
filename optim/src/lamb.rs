//! LAMB.

use kiln_nn::Config;
use kiln_tensor::op::{AdamRule, BinaryKind, Rule, SgdRule, Update};
use kiln_tensor::{AnyTensor, Result, update};

use crate::clip::norm;
use crate::{Algorithm, Optim, Slot, check};

/// Adam whose step of each parameter has the size of that parameter (You et al. 2020), for large
/// batches.
pub type Lamb = Optim<LambConfig>;

/// What a [`Lamb`] is made of.
#[derive(Config, Debug)]
pub struct LambConfig {
    /// Learning rate.
    pub lr: f64,
    /// Decay of the average of the gradient.
    #[config(default = 0.9)]
    pub beta_1: f64,
    /// Decay of the average of its square.
    #[config(default = 0.999)]
    pub beta_2: f64,
    /// Added to the root of the average square.
    #[config(default = 1e-6)]
    pub epsilon: f64,
    /// This times the parameter is a part of the step.
    #[config(default = 0.0)]
    pub weight_decay: f64,
    /// Up the gradient instead of down.
    #[config(default = false)]
    pub maximize: bool,
}

impl LambConfig {
    /// Makes the optimizer. Panics if a setting makes no sense.
    #[track_caller]
    pub fn init(&self) -> Lamb {
        Optim::new(self.clone())
    }
}

impl Algorithm for LambConfig {
    fn lr(&self) -> f64 {
        self.lr
    }

    fn set_lr(&mut self, lr: f64) {
        self.lr = lr;
    }

    fn check(&self) -> Result<()> {
        let Self { lr, epsilon, weight_decay, beta_1, beta_2, .. } = *self;
        let settings = [("lr", lr), ("epsilon", epsilon), ("weight_decay", weight_decay)];
        check::not_negative("lamb", settings)?;
        check::shares("lamb", [("beta_1", beta_1), ("beta_2", beta_2)])
    }

    fn states(&self, _: &AnyTensor) -> &'static [&'static str] {
        &["exp_avg", "exp_avg_sq"]
    }

    fn step(
        &self,
        param: &mut AnyTensor,
        grad: &AnyTensor,
        slot: &mut Slot,
    ) -> Result<Option<Update>> {
        let Self { lr, beta_1, beta_2, epsilon, weight_decay, maximize } = *self;
        // The step of Adam from zero is its direction; plus the decay, and turned downwards.
        let mut direction = Slot::zeros(param);
        let adam = AdamRule::new(1.0, beta_1, beta_2, epsilon, slot.step);
        let grad = grad.detach().cast(direction.dtype());
        let op = Update { maximize, ..Update::new(Rule::Adam(adam)) };
        slot.update(op, &mut direction, &grad)?;
        let values = param.detach().cast(direction.dtype());
        if weight_decay != 0.0 {
            direction.binary_assign(BinaryKind::Sub, &values.mul_scalar(weight_decay));
        }
        let (size, length) = (norm(&values), norm(&direction));
        let trust = if size > 0.0 && length > 0.0 { size / length } else { 1.0 };
        let step = Update::new(Rule::Sgd(SgdRule::new(-lr * trust)));
        update(&step.into(), &direction.cast(param.dtype()), &mut [param])?;
        Ok(None)
    }
}
