//! Adam and AdamW.

use kiln_autograd::Gradients;
use kiln_nn::Module;
use kiln_tensor::op::AdamUpdate;
use kiln_tensor::{Error, fail};

use crate::Optimizer;
use crate::state::State;

macro_rules! adam {
    ($(#[$doc:meta])* $name:ident, $(#[$config_doc:meta])* $config:ident,
     decoupled: $decoupled:literal, weight_decay: $decay:literal) => {
        $(#[$config_doc])*
        #[derive(Clone, Debug)]
        pub struct $config {
            update: AdamUpdate,
        }

        impl $config {
            /// PyTorch's defaults with this learning rate.
            pub fn new(lr: f64) -> Self {
                let update = AdamUpdate {
                    lr,
                    beta1: 0.9,
                    beta2: 0.999,
                    epsilon: 1e-8,
                    weight_decay: $decay,
                    decoupled: $decoupled,
                    step: 0,
                };
                Self { update }
            }

            /// Decay of the averages of the gradient and of its square; 0.9 and 0.999 if not set.
            pub fn with_betas(mut self, beta1: f64, beta2: f64) -> Self {
                (self.update.beta1, self.update.beta2) = (beta1, beta2);
                self
            }

            /// Added to the root of the average square; 1e-8 if not set.
            pub fn with_epsilon(mut self, epsilon: f64) -> Self {
                self.update.epsilon = epsilon;
                self
            }

            #[doc = concat!("Weight decay; ", stringify!($decay), " if not set.")]
            pub fn with_weight_decay(mut self, weight_decay: f64) -> Self {
                self.update.weight_decay = weight_decay;
                self
            }

            /// Makes the optimizer. Panics if a beta is not in `0..1`.
            #[track_caller]
            pub fn init(&self) -> $name {
                for beta in [self.update.beta1, self.update.beta2] {
                    if !(0.0..1.0).contains(&beta) {
                        let rule = format!("betas must be in 0..1, found {beta}");
                        fail(Error::Argument { op: "adam", rule });
                    }
                }
                $name { update: self.update, state: State::default() }
            }
        }

        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $name {
            update: AdamUpdate,
            state: State,
        }

        impl Optimizer for $name {
            #[track_caller]
            fn step<M: Module>(&mut self, model: &mut M, grads: Gradients) {
                let update = self.update;
                self.state.step(model, grads, 2, |slot| {
                    AdamUpdate { step: slot.steps, ..update }.into()
                });
            }

            fn lr(&self) -> f64 {
                self.update.lr
            }

            fn set_lr(&mut self, lr: f64) {
                self.update.lr = lr;
            }
        }
    };
}

adam!(
    /// Adam (Kingma & Ba 2014): `torch.optim.Adam`. Weight decay is added to the gradient.
    Adam,
    /// What an [`Adam`] is made of.
    AdamConfig,
    decoupled: false,
    weight_decay: 0.0
);

adam!(
    /// Adam with decoupled weight decay (Loshchilov & Hutter 2017): `torch.optim.AdamW`.
    AdamW,
    /// What an [`AdamW`] is made of.
    AdamWConfig,
    decoupled: true,
    weight_decay: 0.01
);
