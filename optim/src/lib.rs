//! Optimizers.
//!
//! ```
//! use kiln_autograd::Autograd;
//! use kiln_nn::{LinearConfig, MseLoss, Reduction};
//! use kiln_optim::{Optimizer, SgdConfig};
//! use kiln_tensor::{Device, Tensor};
//!
//! let device = Device::cpu();
//! let mut model = LinearConfig::new(1, 1).init(&device);
//! let mut optim = SgdConfig::new(0.1).init();
//! let (x, y) = (Tensor::<2>::from([[1.0], [2.0]]), Tensor::<2>::from([[3.0], [5.0]]));
//! for _ in 0..500 {
//!     let loss = MseLoss::new().forward(model.forward(&x), &y, Reduction::Mean);
//!     let grads = loss.backward();
//!     optim.step(&mut model, grads);
//! }
//! assert!((model.weight.to_data().iter::<f32>().next().unwrap() - 2.0).abs() < 1e-2);
//! ```

mod adam;
mod scaler;
mod sgd;
mod state;

pub use adam::{Adam, AdamConfig, AdamW, AdamWConfig};
pub use scaler::{GradScaler, GradScalerConfig};
pub use sgd::{Sgd, SgdConfig};

use kiln_autograd::Gradients;
use kiln_nn::Module;

/// Improves the parameters of a model by their gradients.
pub trait Optimizer {
    /// Updates, in place, every parameter of `model` that has a gradient. The optimizer's state
    /// belongs to the parameters by their path. Panics if a parameter changed its shape or dtype
    /// since the last step.
    #[track_caller]
    fn step<M: Module>(&mut self, model: &mut M, grads: Gradients);

    /// The learning rate.
    fn lr(&self) -> f64;

    /// Sets the learning rate of the next steps.
    fn set_lr(&mut self, lr: f64);
}
