//! NAdam.

use kiln_nn::Config;
use kiln_tensor::op::{AdamRule, BinaryKind, Meta, Rule, Update};
use kiln_tensor::{AnyTensor, DType, Device, Result};

use crate::optimizer::decay;
use crate::{Algorithm, Optim, Slot, check};

/// Adam with Nesterov's look-ahead (Dozat 2016): `torch.optim.NAdam`.
pub type NAdam = Optim<NAdamConfig>;

/// What an [`NAdam`] is made of.
#[derive(Config, Debug)]
pub struct NAdamConfig {
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
    /// How fast the momentum comes to `beta_1`.
    #[config(default = 4e-3)]
    pub momentum_decay: f64,
    /// The parameter shrinks by the decay times the learning rate instead.
    #[config(default = false)]
    pub decoupled_weight_decay: bool,
    /// Up the gradient instead of down.
    #[config(default = false)]
    pub maximize: bool,
}

impl NAdamConfig {
    /// Makes the optimizer. Panics if a setting makes no sense.
    #[track_caller]
    pub fn init(&self) -> NAdam {
        Optim::new(self.clone())
    }
}

impl Algorithm for NAdamConfig {
    fn lr(&self) -> f64 {
        self.lr
    }

    fn set_lr(&mut self, lr: f64) {
        self.lr = lr;
    }

    fn check(&self) -> Result<()> {
        let Self { lr, epsilon, weight_decay, momentum_decay, beta_1, beta_2, .. } = *self;
        let settings = [
            ("lr", lr),
            ("epsilon", epsilon),
            ("weight_decay", weight_decay),
            ("momentum_decay", momentum_decay),
        ];
        check::not_negative("nadam", settings)?;
        check::shares("nadam", [("beta_1", beta_1), ("beta_2", beta_2)])
    }

    fn states(&self, _: &AnyTensor) -> &'static [&'static str] {
        &["exp_avg", "exp_avg_sq", "mu_product"]
    }

    fn start(&self, name: &str, param: &AnyTensor) -> AnyTensor {
        if name != "mu_product" {
            return Slot::zeros(param);
        }
        // A number of the host, which no device is to be asked for.
        AnyTensor::full(Meta::new([1], DType::F64), 1.0, Device::cpu())
    }

    fn step(&self, _: &mut AnyTensor, _: &AnyTensor, slot: &mut Slot) -> Result<Option<Update>> {
        let Self { lr, beta_1, beta_2, epsilon, weight_decay, maximize, .. } = *self;
        let momentum =
            |step: u64| beta_1 * (1.0 - 0.5 * 0.96f64.powf(step as f64 * self.momentum_decay));
        let (now, next) = (momentum(slot.step), momentum(slot.step + 1));
        let product = &mut slot.tensors[2];
        product.binary_scalar_assign(BinaryKind::Mul, now);
        let product = product.item::<f64>();
        let rule = AdamRule {
            rate: lr * next / (1.0 - product * next),
            look: lr * (1.0 - now) / (1.0 - product),
            ..AdamRule::new(lr, beta_1, beta_2, epsilon, slot.step)
        };
        let (penalty, shrink) = decay(weight_decay, self.decoupled_weight_decay, lr);
        let rule = Rule::Adam(rule);
        Ok(Some(Update { maximize, penalty, shrink, rule }))
    }
}
