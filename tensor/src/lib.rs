//! Tensors of the Kiln deep-learning framework.
//!
//! ```text
//! Tensor method -> Op -> apply -> [tape records, if an input is tracked] -> Backend::execute
//! ```
//!
//! - [`Tensor`] is the typed face that users see; [`AnyTensor`] is what it wraps.
//! - [`op`] says what every operation is, on any device.
//! - [`apply`] checks, allocates, runs and records.
//! - [`profile`](mod@profile) and [`trace`](trace()) watch what is applied.
//! - [`Backend`] is the seam to a device; `cpu` is one, and users can bring their own.
//!
//! Users depend on the facade crate `kiln`, which re-exports this one.

mod anomaly;
mod any;
pub mod api;
mod apply;
mod autocast;
mod backend;
mod buffer;
mod bytes;
mod compare;
mod cpu;
mod data;
mod deterministic;
mod device;
mod display;
mod dtype;
mod element;
mod error;
mod file;
mod fuse;
mod handle;
mod host;
mod layout;
pub mod memory;
mod nested;
pub mod npy;
pub mod op;
mod ops;
pub mod profile;
mod random;
mod reference;
mod scalar;
mod shape;
mod shape_only;
mod tensor;
#[doc(hidden)]
pub mod text;
mod trace;
mod update;
mod watch;

pub use anomaly::{detect_anomaly, detects_anomaly, first_not_finite, ignore_anomaly};
pub use any::AnyTensor;
pub use api::{
    CastTo, DEFAULT_ATOL, DEFAULT_RTOL, EinsumOperand, FloatDType, IntDType, IntoPadding, PadMode,
    QuantileInterpolation, Slice, SliceArg, Transaction, activation, fft, grid, linalg, loss,
    module, sample, signal,
};
#[doc(hidden)]
pub use api::{EinsumOutput, EinsumRank, einsum_of, einsum_rank};
pub use apply::{Applied, Outputs, Track, Tracked, apply, apply_owned, create};
pub use autocast::{autocast, autocast_dtype, no_autocast};
pub use backend::{Backend, MemoryStats};
pub use buffer::Buffer;
pub use compare::Tolerance;
pub use cpu::simd::{Level, level};
pub use cpu::{num_threads, set_num_threads};
pub use data::TensorData;
pub use deterministic::{deterministic, is_deterministic};
pub use device::{Device, Generator, seed};
pub use dtype::{DType, Element};
pub use element::ElementConversion;
pub use error::{Error, OrFail, Result, fail, guard};
pub use file::atomic_write;
pub use fuse::{fuse, fuse_all};
pub use half::{bf16, f16};
pub use layout::{AxisSlice, Layout};
pub use nested::Nested;
pub use num_complex;
pub use num_complex::Complex as ComplexScalar;
pub use op::{Distribution, IndexingUpdateOp};
pub use profile::profile;
pub use scalar::Scalar;
pub use shape::{AxisIndex, MAX_RANK, Shape, resolve_axis};
pub use tensor::{
    Bool, Complex, Differentiable, Float, Int, Kind, Numeric, Options, Ordered, Tensor,
};
pub use trace::{Step, Value, trace};
pub use update::{PendingUpdate, Updates, update};
