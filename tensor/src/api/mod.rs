//! The methods of [`Tensor`](crate::Tensor), and functions on tensors, by subject.

pub mod activation;
mod arithmetic;
mod cast;
mod compare;
mod create;
mod diagonal;
pub mod grid;
mod index;
mod join;
pub mod module;
mod operators;
mod pad;
mod reduce;
mod shape;
mod slice;

pub use cast::{CastTo, FloatDType, IntDType};
pub use pad::{IntoPadding, PadMode};
pub use slice::{Slice, SliceArg};
