//! Adam and AdamW.

use kiln_nn::Config;
use kiln_tensor::op::{AdamRule, Rule, Update};
use kiln_tensor::{AnyTensor, Result};

use crate::{Algorithm, Optim, Slot, check};

/// Adam (Kingma & Ba 2014): `torch.optim.Adam`. Weight decay is added to the gradient.
pub type Adam = Optim<AdamConfig>;

/// Adam with decoupled weight decay (Loshchilov & Hutter 2017): `torch.optim.AdamW`.
pub type AdamW = Optim<AdamWConfig>;

/// What an [`Adam`] is made of.
#[derive(Config, Debug)]
pub struct AdamConfig {
    /// Learning rate.
    pub lr: f64,
    /// Decay of the average of the gradient.
    #[config(default = 0.9)]
    pub beta_1: f64,
    /// Decay of the average of its square.
    #[config(default = 0.999)]
    pub beta_2: f64,
    /// Added to the root of the average square.
    #[config(default = 1e-8)]
    pub epsilon: f64,
    /// This times the parameter is added to the gradient.
    #[config(default = 0.0)]
    pub weight_decay: f64,
    /// The largest average square so far in the place of the last one (Reddi et al. 2018).
    #[config(default = false)]
    pub amsgrad: bool,
    /// Up the gradient instead of down.
    #[config(default = false)]
    pub maximize: bool,
}

/// What an [`AdamW`] is made of.
#[derive(Config, Debug)]
pub struct AdamWConfig {
    /// Learning rate.
    pub lr: f64,
    /// Decay of the average of the gradient.
    #[config(default = 0.9)]
    pub beta_1: f64,
    /// Decay of the average of its square.
    #[config(default = 0.999)]
    pub beta_2: f64,
    /// Added to the root of the average square.
    #[config(default = 1e-8)]
    pub epsilon: f64,
    /// The parameter shrinks by this times the learning rate.
    #[config(default = 0.01)]
    pub weight_decay: f64,
    /// The largest average square so far in the place of the last one (Reddi et al. 2018).
    #[config(default = false)]
    pub amsgrad: bool,
    /// Up the gradient instead of down.
    #[config(default = false)]
    pub maximize: bool,
}

impl AdamConfig {
    /// Both decays.
    pub fn with_betas(self, beta_1: f64, beta_2: f64) -> Self {
        Self { beta_1, beta_2, ..self }
    }

    /// Makes the optimizer. Panics if a beta is not in `0..1`.
    #[track_caller]
    pub fn init(&self) -> Adam {
        Optim::new(self.clone())
    }
}

impl AdamWConfig {
    /// Both decays.
    pub fn with_betas(self, beta_1: f64, beta_2: f64) -> Self {
        Self { beta_1, beta_2, ..self }
    }

    /// Makes the optimizer. Panics if a beta is not in `0..1`.
    #[track_caller]
    pub fn init(&self) -> AdamW {
        Optim::new(self.clone())
    }
}

fn states(amsgrad: bool) -> &'static [&'static str] {
    &["exp_avg", "exp_avg_sq", "max_exp_avg_sq"][..2 + amsgrad as usize]
}

impl Algorithm for AdamConfig {
    fn lr(&self) -> f64 {
        self.lr
    }

    fn set_lr(&mut self, lr: f64) {
        self.lr = lr;
    }

    fn check(&self) -> Result<()> {
        let Self { lr, beta_1, beta_2, epsilon, weight_decay, .. } = *self;
        let settings = [("lr", lr), ("epsilon", epsilon), ("weight_decay", weight_decay)];
        check::not_negative("adam", settings)?;
        check::shares("adam", [("beta_1", beta_1), ("beta_2", beta_2)])
    }

    fn states(&self, _: &AnyTensor) -> &'static [&'static str] {
        states(self.amsgrad)
    }

    #[inline]
    fn step(&self, _: &mut AnyTensor, _: &AnyTensor, slot: &mut Slot) -> Result<Option<Update>> {
        let Self { lr, beta_1, beta_2, epsilon, weight_decay, amsgrad, maximize } = *self;
        let rule = AdamRule::new(lr, beta_1, beta_2, epsilon, slot.step);
        let plain = Update::new(Rule::Adam(AdamRule { amsgrad, ..rule }));
        Ok(Some(Update { maximize, penalty: weight_decay, ..plain }))
    }
}

impl Algorithm for AdamWConfig {
    fn lr(&self) -> f64 {
        self.lr
    }

    fn set_lr(&mut self, lr: f64) {
        self.lr = lr;
    }

    fn check(&self) -> Result<()> {
        let Self { lr, beta_1, beta_2, epsilon, weight_decay, .. } = *self;
        let settings = [("lr", lr), ("epsilon", epsilon), ("weight_decay", weight_decay)];
        check::not_negative("adamw", settings)?;
        check::shares("adamw", [("beta_1", beta_1), ("beta_2", beta_2)])
    }

    fn states(&self, _: &AnyTensor) -> &'static [&'static str] {
        states(self.amsgrad)
    }

    #[inline]
    fn step(&self, _: &mut AnyTensor, _: &AnyTensor, slot: &mut Slot) -> Result<Option<Update>> {
        let Self { lr, beta_1, beta_2, epsilon, weight_decay, amsgrad, maximize } = *self;
        let rule = AdamRule::new(lr, beta_1, beta_2, epsilon, slot.step);
        let plain = Update::new(Rule::Adam(AdamRule { amsgrad, ..rule }));
        Ok(Some(Update { maximize, shrink: 1.0 - lr * weight_decay, ..plain }))
    }
}
