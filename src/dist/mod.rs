//! Training by several processes together, each with a share of every batch.
//!
//! A [`ProcessGroup`] joins them: over TCP, or over MPI with the feature `mpi`; and their GPUs, with the
//! feature `cuda`. [`DataParallel`] gives
//! every process the same parameters at the start and averages their gradients in each step, while
//! the backward pass goes on. [`launch`] starts the processes on one machine.
//!
//! ```no_run
//! use kiln::data::Batches;
//! use kiln::dist::{DataParallel, launch};
//! use kiln::prelude::*;
//!
//! # fn main() -> kiln::Result<()> {
//! // This program starts two copies of itself, and the copies do the work.
//! let Some(group) = launch(2)? else { return Ok(()) };
//! let device = Device::cpu();
//! device.seed(group.rank() as u64);
//! let mut model = LinearConfig::new(3, 1).init(&device);
//! let mut optim = SgdConfig::new(0.1).init();
//! let mut parallel = DataParallel::new(&group, &mut model)?;
//! let batches = Batches::new(1000, 32).shuffled(7).share(group.rank(), group.world_size());
//! for epoch in 0..10 {
//!     for batch in batches.epoch(epoch) {
//! #       let x = Tensor::<2>::zeros([batch.len(), 3], &device);
//!         // ..
//!         let loss = model.forward(&x).square().mean();
//!         let grads = parallel.backward(&model, &loss)?;
//!         optim.step(&mut model, grads);
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! All processes hold the same bits after each step, and a run with the same number of processes
//! repeats bit for bit. With losses that are means, the step of `n` processes with batches of `b` is
//! that of one process with batches of `n * b`, but for rounding and for what layers take from their
//! own share: the statistics of batch normalisation, the masks of dropout.
//!
//! # Several GPUs
//!
//! With the feature `cuda`, one process for each GPU: `Device::cuda(group.local_rank())`. The processes
//! find each other as above, and tensors on GPUs are brought together by NCCL from GPU to GPU: the
//! buckets of [`DataParallel`] on a stream of their own, beside the backward pass. NCCL
//! (`pip install nvidia-nccl-cu13`) is looked for as other libraries of NVIDIA are; without it, an `Err`
//! says so. `KILN_NCCL=0` on all ranks takes the way through host memory instead. Halves are added up as
//! they are, as in PyTorch, and not in f32. **It never ran on a GPU**: `docs/cuda.md` says what was shown.
//!
//! # When a process fails
//!
//! Every operation ends, with an `Err` that names the rank: at once if a process died or called
//! another operation, after [`TcpConfig::timeout`] if it hangs. After an error the group is of no more
//! use. With MPI, it is MPI that ends all processes. GPUs that wait for one that does not come are given
//! up after the same time, and reading from them is an error from then on.
//!
//! # Trust
//!
//! The processes are not authenticated and nothing is encrypted, as with `torch.distributed`: an
//! address that only they can reach is the protection. Rank 0 listens on the address of
//! `MASTER_ADDR` only. What arrives is checked nevertheless, and decides on no more memory than did
//! arrive.

mod bucket;
mod collective;
mod frame;
mod group;
mod launch;
#[cfg(feature = "mpi")]
mod mpi;
mod nccl;
mod parallel;
mod rendezvous;
mod ring;
mod socket;

pub use collective::{Collective, ReduceOp};
pub use group::ProcessGroup;
pub use launch::{launch, spawn_local};
pub use parallel::{DataParallel, DataParallelConfig};
pub use rendezvous::TcpConfig;

use kiln_tensor::Error;

/// The error of processes that do not work together.
fn group_error(op: &'static str, what: impl Into<String>) -> Error {
    Error::Device { op, what: what.into() }
}
