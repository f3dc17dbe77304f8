//! CUDA for Kiln: the backend for NVIDIA GPUs.
//!
//! This crate builds on machines without CUDA: it opens NVIDIA's libraries at run time and compiles
//! its kernels, the files under `kernels/`, for the GPU that it finds.
//!
//! **No part of it has run on a GPU so far.** What was shown without one: the kernels compile and
//! assemble for the architectures from sm_75 to sm_90 within budgets of registers, and the same
//! sources, compiled for the host with `emu/emu.h`, give the results of the CPU backend on all sample
//! inputs of all operations, driven by the same code that drives a GPU; stand-ins for the driver
//! (`gpu`) and for cuBLASLt (`blaslt`) get the right calls in the right order. Not shown: what the
//! real ones make of these, anything asynchronous, and speed. The examples `gpu_check` and
//! `gpu_bench` of the package `kiln` are there to be run where there is a GPU.
//!
//! - `loader`, `library`, `driver`, `probe`: what is installed, and what is missing.
//! - `program`: kernels as text; `compile`, `cache`: to machine code, which is kept on disk.
//! - `runtime`: the seam to what runs kernels; `gpu` is one, the emulator of the tests another.
//! - `gemm`, `blaslt`: matrix products by cuBLASLt, where it is installed.
//! - [`nccl`]: values of several GPUs, one for each process.
//! - `graph`, `recorder`: kernels that are started together; `timer`: how long they take.
//! - `backend`, `alloc`, `staging`: the seam to tensors and their memory; `ops`: from operations to
//!   kernels, which for a chain is generated; `geometry`: grids.
//!
//! Decompositions of matrices have no kernels yet: they are errors that say so, and nothing is
//! computed on the CPU behind the user's back. Batch norm and recurrent cells are composed of other
//! kernels, as is attention with heads of more than 128 numbers. `docs/cuda.md` has the whole list.
//!
//! ```
//! match kiln_cuda::probe() {
//!     Ok(gpus) => println!("{} on CUDA", gpus[0].name),
//!     Err(reason) => println!("on the CPU: {reason}"),
//! }
//! ```

mod alloc;
mod backend;
mod blaslt;
mod cache;
mod compile;
mod device;
mod driver;
mod gemm;
mod geometry;
mod gpu;
mod graph;
mod library;
mod loader;
pub mod nccl;
mod ops;
mod params;
mod probe;
mod program;
mod recorder;
mod runtime;
mod staging;
mod timer;

pub use backend::CudaBackend;
pub use cache::Cache;
pub use compile::{CompileError, Cubin, compile, compiler_version};
pub use device::{Cuda, reset_peak_memory};
pub use gemm::{Addresses, Epilogue, Factor, Gemm, GemmActivation};
pub use graph::Graph;
pub use ops::{allows_tf32, programs, set_allows_tf32};
pub use probe::{Gpu, NoCuda, info, probe};
pub use program::{Family, Program};
pub use runtime::{Launch, Runtime};
pub use timer::Timer;
