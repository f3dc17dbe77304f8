//! Modules, losses and weight files.
//!
//! A model is a plain struct of layers with `#[derive(Module)]`. Its parameters are found under the
//! paths, in the order and with the layouts that PyTorch gives them, so weight files pass between
//! both.
//!
//! ```
//! # extern crate kiln_nn as kiln;
//! use kiln_nn::{Linear, LinearConfig, Module};
//! use kiln_tensor::{Device, Tensor, activation};
//!
//! #[derive(Module, Clone, Debug)]
//! struct Mlp {
//!     fc1: Linear,
//!     fc2: Linear,
//! }
//!
//! impl Mlp {
//!     fn forward(&self, x: &Tensor<2>) -> Tensor<2> {
//!         self.fc2.forward(&activation::relu(self.fc1.forward(x)))
//!     }
//! }
//!
//! let device = Device::cpu();
//! let model = Mlp {
//!     fc1: LinearConfig::new(4, 8).init(&device),
//!     fc2: LinearConfig::new(8, 2).init(&device),
//! };
//! assert_eq!(model.forward(&Tensor::zeros([3, 4], &device)).dims(), [3, 2]);
//! assert_eq!(model.num_params(), 4 * 8 + 8 + 8 * 2 + 2);
//! ```

// `#[derive(Module)]` names the traits by their path in the facade.
extern crate self as kiln;
#[doc(hidden)]
pub mod nn {
    pub use crate::*;
}

pub mod config;
mod containers;
mod init;
#[doc(hidden)]
pub mod layers;
pub mod loss;
mod module;
mod param;
mod pattern;
pub mod store;
mod summary;
mod tied;
mod visitor;

pub use config::Config;
pub use init::{Initializer, Nonlinearity};
pub use kiln_nn_derive::{Config, Module};
pub use kiln_tensor::atomic_write;
pub use layers::*;
pub use loss::*;
pub use module::{Module, Path, Visitor, VisitorMut};
pub use param::{Buffer, Mode, Param};
pub use pattern::{ParamGroups, PathPattern};
#[doc(hidden)]
pub use store::safetensors_parts;
pub use store::{LoadReport, StateDict, WeightFile};
pub use summary::{Summary, SummaryRow};
#[doc(hidden)]
pub use tied::{visit_tied, visit_tied_mut};
