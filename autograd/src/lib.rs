//! Reverse-mode automatic differentiation.
//!
//! A tracked tensor holds its node of the graph, and a node holds its parents, so the graph belongs
//! to the tensors that need it: there is no global table and no lock around it, backward may run on
//! many threads at once, and a graph that nobody uses frees itself.
//!
//! - `node`: what a tracked operation leaves behind.
//! - `walk`: over the graph, from the newest node to the oldest.
//! - `backward`: a walk with options, and what it gives; `functional`: derivatives of functions.
//! - `checkpoint`, `hook`: nodes that are no operation.
//! - `rules`: one table, operation to gradients of its inputs, written with tensor operations.
//! - [`Autograd`]: `require_grad`, `backward`, `grad` on tensors.
//!
//! ```
//! use kiln_autograd::Autograd;
//! use kiln_tensor::Tensor;
//! let x = Tensor::<1>::from([3.0]).require_grad();
//! let y = &x * &x + &x * 2.0;
//! let grads = y.backward();
//! assert_eq!(x.grad(&grads).unwrap().into_scalar::<f32>(), 8.0);
//! ```

mod anomaly;
mod api;
mod backward;
pub mod check;
mod checkpoint;
mod functional;
mod hook;
mod mode;
mod node;
mod ready;
mod rules;
mod walk;

pub use api::{Autograd, leaf};
pub use backward::{Backward, Gradients};
pub use checkpoint::checkpoint;
pub use functional::{hessian, hvp, jacobian, jvp, vjp};
pub use hook::hook;
pub use mode::{is_grad_enabled, no_grad};
pub use rules::not_differentiable;
