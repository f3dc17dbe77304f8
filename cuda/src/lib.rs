//! CUDA for Kiln: so far only the probe, which says whether a CUDA GPU can be used and, if not,
//! why and what to install.
//!
//! This crate builds on machines without CUDA: it opens NVIDIA's libraries at run time. It computes
//! nothing yet, and it has not been run on a GPU. What a machine without one answers was tested;
//! the rest was tried against stand-ins for the driver only.
//!
//! ```
//! match kiln_cuda::probe() {
//!     Ok(gpus) => println!("{} on CUDA", gpus[0].name),
//!     Err(reason) => println!("on the CPU: {reason}"),
//! }
//! ```

mod driver;
mod library;
mod probe;

pub use probe::{Gpu, NoCuda, info, probe};
