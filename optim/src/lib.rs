//! Optimizers, learning-rate schedules, clipping and averages of weights.
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
//!
//! An optimizer is its settings, an [`Algorithm`], and the state of each parameter by its path, both
//! held by an [`Optim`]. The state has the dtype of the parameter, but for half types that of f32:
//! averages move by less than half types can resolve. The parameter itself stays as it is; a model
//! that is to train in half precision for long keeps f32 parameters and runs under
//! [`autocast`](kiln_tensor::autocast).

// `#[derive(Config)]` names its traits by their path in the facade.
extern crate self as kiln;
#[doc(hidden)]
pub use kiln_nn as nn;

mod adadelta;
mod adafactor;
mod adagrad;
mod adam;
mod adamax;
mod adan;
mod asgd;
mod average;
mod check;
mod clip;
mod lamb;
mod lbfgs;
mod lion;
mod muon;
mod nadam;
mod optimizer;
mod radam;
mod rmsprop;
mod rprop;
mod scaler;
pub mod schedule;
mod sgd;
mod state;
mod together;
mod update_bn;

pub use adadelta::{Adadelta, AdadeltaConfig};
pub use adafactor::{Adafactor, AdafactorConfig};
pub use adagrad::{Adagrad, AdagradConfig};
pub use adam::{Adam, AdamConfig, AdamW, AdamWConfig};
pub use adamax::{Adamax, AdamaxConfig};
pub use adan::{Adan, AdanConfig};
pub use asgd::{Asgd, AsgdConfig};
pub use average::{Ema, Swa};
pub use clip::{GradientClipping, clip_grad_norm, clip_grad_norm_each, clip_grad_value, grad_norm};
pub use lamb::{Lamb, LambConfig};
pub use lbfgs::{Lbfgs, LbfgsConfig, LineSearch};
pub use lion::{Lion, LionConfig};
pub use muon::{Muon, MuonConfig, MuonRate};
pub use nadam::{NAdam, NAdamConfig};
pub use optimizer::{Algorithm, Optim, Optimizer, ParamSelect};
pub use radam::{RAdam, RAdamConfig};
pub use rmsprop::{RmsProp, RmsPropConfig};
pub use rprop::{Rprop, RpropConfig};
pub use scaler::{GradScaler, GradScalerConfig};
pub use schedule::{LrScheduler, Schedule};
pub use sgd::{Sgd, SgdConfig};
pub use state::Slot;
pub use update_bn::update_bn;
