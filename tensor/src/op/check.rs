//! The rules that shape rules share, with their error texts.

use super::Meta;
use crate::{DType, Error, Result, Shape};

/// The inputs as an array of the expected number.
#[inline]
pub(super) fn arity<'a, const N: usize>(
    op: &'static str,
    inputs: &'a [Meta],
) -> Result<&'a [Meta; N]> {
    inputs.try_into().map_err(|_| {
        let rule = format!("expected {N} inputs, found {}", inputs.len());
        Error::Argument { op, rule }
    })
}

/// There are `count` inputs.
#[inline]
pub(super) fn count(op: &'static str, inputs: &[Meta], count: usize) -> Result<()> {
    if inputs.len() != count {
        let rule = format!("expected {count} inputs, found {}", inputs.len());
        return Err(argument(op, rule));
    }
    Ok(())
}

pub(super) fn shape_error(op: &'static str, inputs: &[Meta], rule: impl Into<String>) -> Error {
    let shapes: Vec<Shape> = inputs.iter().map(|meta| meta.shape).collect();
    Error::Shape { op, shapes, rule: rule.into() }
}

pub(super) fn dtype_error(op: &'static str, inputs: &[Meta], rule: impl Into<String>) -> Error {
    let dtypes: Vec<DType> = inputs.iter().map(|meta| meta.dtype).collect();
    Error::DType { op, dtypes, rule: rule.into() }
}

/// Every one of `inputs` is of one and the same float type.
#[inline]
pub(super) fn floats(op: &'static str, inputs: &[Meta]) -> Result<()> {
    same_dtype(op, inputs)?;
    match inputs.first() {
        Some(meta) if !meta.dtype.is_float() => {
            Err(dtype_error(op, inputs, "a float tensor is needed; convert with `float()`"))
        }
        _ => Ok(()),
    }
}

/// Every one of `inputs` has the same dtype.
#[inline]
pub(super) fn same_dtype(op: &'static str, inputs: &[Meta]) -> Result<()> {
    if inputs.windows(2).any(|pair| pair[0].dtype != pair[1].dtype) {
        return Err(dtype_error(op, inputs, "all inputs must have one dtype; convert with `cast`"));
    }
    Ok(())
}

/// `meta` is an integer tensor of indices.
#[inline]
pub(super) fn indices(op: &'static str, meta: &Meta) -> Result<()> {
    if !meta.dtype.is_int() {
        return Err(dtype_error(op, &[*meta], "indices must be integers"));
    }
    Ok(())
}

/// Every one of `inputs` has the same shape.
#[inline]
pub(super) fn same_shape(op: &'static str, inputs: &[Meta]) -> Result<()> {
    if inputs.windows(2).any(|pair| pair[0].shape != pair[1].shape) {
        return Err(shape_error(op, inputs, "all shapes must be equal"));
    }
    Ok(())
}

/// `meta` has `rank` axes, named in `axes` for the error text.
#[inline]
pub(super) fn rank(op: &'static str, meta: &Meta, rank: usize, axes: &str) -> Result<()> {
    if meta.shape.rank() != rank {
        let rule = format!("expected rank {rank} {axes}, found rank {}", meta.shape.rank());
        return Err(shape_error(op, &[*meta], rule));
    }
    Ok(())
}

/// `axis` is an axis of `meta`.
#[inline]
pub(super) fn axis(op: &'static str, meta: &Meta, axis: usize) -> Result<()> {
    crate::shape::resolve_axis(op, axis, meta.shape.rank()).map(|_| ())
}

/// Statistics of half types are kept in f32.
#[inline]
pub(super) fn statistics_dtype(dtype: DType) -> DType {
    if dtype == DType::F64 { DType::F64 } else { DType::F32 }
}

pub(super) fn argument(op: &'static str, rule: impl Into<String>) -> Error {
    Error::Argument { op, rule: rule.into() }
}

/// Options that must not be zero, named for the error text.
#[track_caller]
pub(crate) fn non_zero(op: &'static str, name: &str, values: &[usize]) {
    if values.contains(&0) {
        crate::fail(argument(op, format!("{name} must be non-zero")));
    }
}
