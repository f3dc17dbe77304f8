//! The methods of [`Tensor`](crate::Tensor), and functions on tensors, by subject.

pub mod activation;
mod arithmetic;
mod compare;
mod create;
mod data;
mod index;
pub mod module;
mod operators;
mod reduce;
pub mod sample;
mod shape;

pub use data::Transaction;
pub use index::{Slice, SliceArg};
