//! The methods of [`Tensor`](crate::Tensor), and functions on tensors, by subject.

pub mod activation;
mod arithmetic;
mod compare;
mod create;
mod functions;
mod index;
pub mod loss;
pub mod module;
mod operators;
mod reduce;
mod shape;

pub use index::{Slice, SliceArg};
