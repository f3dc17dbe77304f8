//! **Kiln trains deep-learning models in Rust**: a reverse-mode tape over tensors of any device,
//! fused kernels, layers, optimizers and a training loop.
//!
//! ```
//! use kiln::prelude::*;
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
//! let mut model = Mlp {
//!     fc1: LinearConfig::new(2, 16).init(&device),
//!     fc2: LinearConfig::new(16, 2).init(&device),
//! };
//! let mut optim = AdamConfig::new(0.05).init();
//! let x = Tensor::<2>::from([[0., 0.], [0., 1.], [1., 0.], [1., 1.]]);
//! let y = Tensor::<1, Int>::from([0, 1, 1, 0]);
//! let mut last = f32::INFINITY;
//! for _ in 0..200 {
//!     let loss = CrossEntropyLoss::new().forward(&model.forward(&x), &y);
//!     let grads = loss.backward();
//!     optim.step(&mut model, grads);
//!     last = loss.item();
//! }
//! assert!(last < 0.1);
//! ```
//!
//! | module | what it holds |
//! |---|---|
//! | [`tensor`] | `Tensor`, `Device`, `DType`, the operation set, the `Backend` seam |
//! | [`autograd`] | `backward`, `no_grad`, gradients of gradients, checkpoints, gradient checks |
//! | [`nn`] | `#[derive(Module)]`, layers, losses, weight files, summaries |
//! | [`optim`] | optimizers, learning-rate schedules, clipping, gradient scaling, averages of weights |
//! | [`data`] | datasets, and loaders that make batches of them on threads of their own |
//! | [`dist`] | training by several processes: gradients averaged over TCP, MPI or NCCL while backward runs |
//! | [`profile`](mod@profile), [`memory`] | where the time and the memory go |
//! | [`train`] | the trainer, checkpoints, metrics, progress, learning curves |

// The derive macros name their traits by the path that users see.
extern crate self as kiln;

pub mod data;
pub mod dist;
pub mod train;

pub use kiln_autograd as autograd;
#[cfg(feature = "cuda")]
pub use kiln_cuda as cuda;
pub use kiln_nn as nn;
pub use kiln_optim as optim;
pub use kiln_tensor as tensor;

pub use kiln_tensor::{
    Error, Result, deterministic, fuse, guard, is_deterministic, memory, profile, seed,
};

mod device;
pub use device::device;

/// All that a training program needs.
pub mod prelude {
    pub use crate::autograd::{Autograd, Backward, Gradients, checkpoint, no_grad};
    #[cfg(feature = "cuda")]
    pub use crate::cuda::Cuda;
    pub use crate::nn::layers::*;
    pub use crate::nn::loss::*;
    pub use crate::nn::{Buffer, Config, Initializer, Module, Param, StateDict};
    pub use crate::optim::*;
    pub use crate::tensor::{
        Bool, Complex, DType, Device, Distribution, Float, IndexingUpdateOp, Int, PadMode, Shape,
        Slice, Tensor, TensorData, Tolerance, activation, autocast, fft, fuse, grid, linalg, loss,
        module, s, sample, signal,
    };
}

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(doctest)]
#[doc = include_str!("../docs/guide.md")]
struct Guide;
