//! The methods of [`Tensor`](crate::Tensor), and functions on tensors, by subject.

pub mod activation;
mod arithmetic;
mod compare;
mod complex;
mod create;
pub mod fft;
mod index;
pub mod module;
mod operators;
mod reduce;
mod shape;
pub mod signal;
mod stft;

pub use index::{Slice, SliceArg};
