//! The methods of [`Tensor`](crate::Tensor), and functions on tensors, by subject.

pub mod activation;
mod arithmetic;
mod axes;
mod cast;
mod compare;
mod complex;
mod create;
mod data;
mod diagonal;
pub mod fft;
mod functions;
pub mod grid;
mod histogram;
mod index;
mod join;
pub mod linalg;
pub mod loss;
pub mod module;
mod operators;
mod pad;
mod reduce;
pub mod sample;
mod scan;
mod search;
mod shape;
pub mod signal;
mod slice;
mod sort;
mod statistics;
mod stft;

pub use cast::{CastTo, FloatDType, IntDType};
pub use data::Transaction;
pub use pad::{IntoPadding, PadMode};
pub use slice::{Slice, SliceArg};
pub use statistics::QuantileInterpolation;
