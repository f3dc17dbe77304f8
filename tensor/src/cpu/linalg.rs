//! Decompositions of matrices and systems of equations, by the `faer` crate.

#[cfg(feature = "linalg")]
mod kernels;

use crate::op::{Factor, FactorKind};
#[cfg(not(feature = "linalg"))]
use crate::{AnyTensor, Error, Result, op::Operation, op::Solve};

#[cfg(feature = "linalg")]
pub(crate) use kernels::{factor, solve};

/// Whether the function is computed by its decomposition into others.
pub(crate) fn is_composed(op: &Factor) -> bool {
    matches!(op.kind, FactorKind::Det | FactorKind::SlogDet | FactorKind::Pinv { .. })
}

#[cfg(not(feature = "linalg"))]
pub(crate) fn factor(op: &Factor, _: &AnyTensor, _: &[AnyTensor]) -> Result<()> {
    Err(missing(op.name()))
}

#[cfg(not(feature = "linalg"))]
pub(crate) fn solve(op: &Solve, _: [&AnyTensor; 2], _: &AnyTensor) -> Result<()> {
    Err(missing(op.name()))
}

#[cfg(not(feature = "linalg"))]
fn missing(op: &'static str) -> Error {
    let what = "Kiln was built without its cargo feature `linalg`, which this needs".into();
    Error::Device { op, what }
}
