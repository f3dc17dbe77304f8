//! The methods of [`Tensor`](crate::Tensor), and functions on tensors, by subject.

/// Methods that apply one function to each element. Stands before the modules that use it.
macro_rules! unary {
    ($($(#[$doc:meta])* $name:ident: $kind:ident;)*) => {$(
        $(#[$doc])*
        #[track_caller]
        pub fn $name(&self) -> Self {
            Self::from_any(self.as_any().unary(UnaryKind::$kind))
        }
    )*};
}

pub mod activation;
mod arithmetic;
mod axes;
mod cast;
mod compare;
mod complex;
mod create;
mod data;
mod diagonal;
mod einsum;
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
pub use compare::{DEFAULT_ATOL, DEFAULT_RTOL};
pub use data::Transaction;
pub use einsum::{EinsumOperand, EinsumOutput, EinsumRank, einsum_of, einsum_rank};
pub use pad::{IntoPadding, PadMode};
pub use slice::{Slice, SliceArg};
pub use statistics::QuantileInterpolation;
