//! The methods of [`Tensor`](crate::Tensor), and functions on tensors, by subject.

pub mod activation;
mod arithmetic;
mod compare;
mod create;
mod functions;
mod histogram;
mod index;
pub mod linalg;
pub mod loss;
pub mod module;
mod operators;
mod reduce;
mod scan;
mod search;
mod shape;
mod sort;
mod statistics;

pub use index::{Slice, SliceArg};
pub use statistics::QuantileInterpolation;
