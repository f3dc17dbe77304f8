//! Similarities and distances of vectors.

use super::check_rank;
use super::norm::{Norm, any_norm, safe_sqrt};
use crate::error::OrFail;
use crate::shape::{AxisIndex, resolve_axis};
use crate::tensor::{Int, Tensor};
use crate::{AnyTensor, DType, Error, Shape};

/// The cosine of the angle between vectors along `dim`, which stays with extent 1. Lengths count as
/// `eps` at least; without one, as the smallest normal number of the dtype
/// (`torch.nn.functional.cosine_similarity` takes 1e-8).
#[track_caller]
pub fn cosine_similarity<const D: usize>(
    x1: impl AsRef<Tensor<D>>,
    x2: impl AsRef<Tensor<D>>,
    dim: impl AxisIndex,
    eps: Option<f64>,
) -> Tensor<D> {
    let dim = resolve_axis("cosine_similarity", dim, D).or_fail();
    let (x1, x2) = (x1.as_ref().as_any(), x2.as_ref().as_any());
    let eps = eps.unwrap_or(match x1.dtype() {
        DType::F64 => f64::MIN_POSITIVE,
        DType::F16 => crate::f16::MIN_POSITIVE.to_f64(),
        _ => f32::MIN_POSITIVE as f64,
    });
    let length = |x| any_norm(x, 2.0, dim).maximum_scalar(eps);
    // Divided one after the other: the product of two small lengths may vanish.
    let product = x1.mul(x2).sum_axis(dim);
    Tensor::from_any(product.div(&length(x1)).div(&length(x2)))
}

/// The norm of `x1 - x2 + eps` along the last axis, which goes:
/// `torch.nn.functional.pairwise_distance`, whose `eps` is 1e-6. `DO` is `D - 1`.
#[track_caller]
pub fn pairwise_distance<const D: usize, const DO: usize>(
    x1: impl AsRef<Tensor<D>>,
    x2: impl AsRef<Tensor<D>>,
    norm: impl Into<Norm>,
    eps: f64,
) -> Tensor<DO> {
    check_rank("pairwise_distance", DO, D.saturating_sub(1));
    let difference = x1.as_ref().as_any().sub(x2.as_ref().as_any()).add_scalar(eps);
    let distance = any_norm(&difference, norm.into().to_exponent(), DO);
    Tensor::from_any(distance.reshape(difference.shape().without(DO)))
}

/// Up to this many rows on either side, Euclidean distances are computed from differences; with
/// more, from a matrix product, which is faster but inexact for rows that are close to each other.
/// PyTorch does the same.
const DIRECT_ROWS: usize = 25;

/// The distance of each row of `x1` from each row of `x2`: `[.., p, m]` and `[.., r, m]` to
/// `[.., p, r]`, `torch.cdist`. Batch axes broadcast. The gradient at distance zero is zero.
#[track_caller]
pub fn cdist<const D: usize>(
    x1: impl AsRef<Tensor<D>>,
    x2: impl AsRef<Tensor<D>>,
    norm: impl Into<Norm>,
) -> Tensor<D> {
    Tensor::from_any(distances(x1.as_ref().as_any(), x2.as_ref().as_any(), norm.into()))
}

#[track_caller]
fn distances(x1: &AnyTensor, x2: &AnyTensor, norm: Norm) -> AnyTensor {
    let rank = x1.rank();
    let p = norm.to_exponent();
    let shapes = || vec![x1.shape(), x2.shape()];
    if rank < 2 || x1.shape()[rank - 1] != x2.shape()[rank - 1] {
        let rule = "needed are [.., p, m] and [.., r, m]".into();
        crate::fail(Error::Shape { op: "cdist", shapes: shapes(), rule });
    }
    if p < 0.0 || p.is_nan() {
        let rule = format!("a distance has no exponent {p}; it must not be negative");
        crate::fail(Error::Argument { op: "cdist", rule });
    }
    let [rows, others] = [x1, x2].map(|x| x.shape()[rank - 2]);
    if p == 2.0 && rows.max(others) > DIRECT_ROWS {
        // |a|^2 + |b|^2 - 2 a b, never below zero.
        let squares = |x: &AnyTensor| x.square().sum_axis(rank - 1);
        let product = x1.matmul(&x2.transpose()).mul_scalar(-2.0);
        let sum = product.add(&squares(x1)).add(&squares(x2).transpose());
        return safe_sqrt(&sum.maximum_scalar(0));
    }
    let difference = x1.insert_axis(rank - 1).sub(&x2.insert_axis(rank - 2)); // [.., p, r, m]
    let shape = difference.shape().without(rank);
    if difference.shape()[rank] == 0 {
        return AnyTensor::full(crate::op::Meta::new(shape, x1.dtype()), 0, x1.device());
    }
    any_norm(&difference, p, rank).reshape(shape)
}

/// The distance of each row from every later one: `[n, m]` to `[n (n - 1) / 2]`,
/// `torch.nn.functional.pdist`.
#[track_caller]
pub fn pdist(x: impl AsRef<Tensor<2>>, norm: impl Into<Norm>) -> Tensor<1> {
    let x = x.as_ref().as_any();
    let n = x.shape()[0];
    // From differences for any number of rows.
    let pairs: Vec<(i64, i64)> =
        (0..n as i64).flat_map(|i| (i + 1..n as i64).map(move |j| (i, j))).collect();
    let side = |pick: fn(&(i64, i64)) -> i64| {
        let rows: Vec<i64> = pairs.iter().map(pick).collect();
        let rows = crate::TensorData::new(rows, Shape::new([pairs.len()]));
        let rows = Tensor::<1, Int>::from_data(rows, &x.device());
        x.select(0, rows.as_any())
    };
    let difference = side(|pair| pair.0).sub(&side(|pair| pair.1));
    let norm = any_norm(&difference, norm.into().to_exponent(), 1);
    Tensor::from_any(norm.reshape([pairs.len()]))
}
