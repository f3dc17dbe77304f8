//! Norms of vectors and of matrices.

use super::check_rank;
use crate::error::OrFail;
use crate::op::{Axes, BinaryKind, FactorKind, ReduceKind};
use crate::shape::{AxisIndex, resolve_axis};
use crate::tensor::{Ordered, Tensor};
use crate::{AnyTensor, DType, Error, Scalar};

/// Which norm of a vector.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Norm {
    /// How many elements are not zero.
    L0,
    /// The sum of magnitudes.
    L1,
    /// The Euclidean length.
    L2,
    /// The largest magnitude.
    LInf,
    /// The smallest magnitude.
    LNegInf,
    /// `sum(|x|^p)^(1/p)`.
    Lp(f64),
}

impl Norm {
    /// The exponent `p`.
    pub fn to_exponent(self) -> f64 {
        match self {
            Norm::L0 => 0.0,
            Norm::L1 => 1.0,
            Norm::L2 => 2.0,
            Norm::LInf => f64::INFINITY,
            Norm::LNegInf => f64::NEG_INFINITY,
            Norm::Lp(p) => p,
        }
    }
}

impl From<f64> for Norm {
    fn from(p: f64) -> Self {
        match p {
            0.0 => Norm::L0,
            1.0 => Norm::L1,
            2.0 => Norm::L2,
            f64::INFINITY => Norm::LInf,
            f64::NEG_INFINITY => Norm::LNegInf,
            p => Norm::Lp(p),
        }
    }
}

impl From<f32> for Norm {
    fn from(p: f32) -> Self {
        Norm::from(p as f64)
    }
}

/// `i32::MAX` is the largest magnitude, `i32::MIN` the smallest.
impl From<i32> for Norm {
    fn from(p: i32) -> Self {
        match p {
            i32::MAX => Norm::LInf,
            i32::MIN => Norm::LNegInf,
            p => Norm::from(p as f64),
        }
    }
}

/// `u32::MAX` is the largest magnitude.
impl From<u32> for Norm {
    fn from(p: u32) -> Self {
        if p == u32::MAX { Norm::LInf } else { Norm::from(p as f64) }
    }
}

/// The norm of the vectors along `dim`, which stays with extent 1: `torch.linalg.vector_norm`.
///
/// The gradient of a vector of zeros is zero.
///
/// ```
/// use kiln_tensor::{Tensor, linalg};
/// let x = Tensor::<2>::from([[3.0, 4.0], [0.0, -2.0]]);
/// assert_eq!(linalg::vector_norm(&x, 2, 1).into_data().to_vec::<f32>()?, [5.0, 2.0]);
/// assert_eq!(linalg::vector_norm(&x, f64::INFINITY, 1).into_data().to_vec::<f32>()?, [4.0, 2.0]);
/// # Ok::<(), kiln_tensor::Error>(())
/// ```
#[track_caller]
pub fn vector_norm<const D: usize>(
    x: impl AsRef<Tensor<D>>,
    norm: impl Into<Norm>,
    dim: impl AxisIndex,
) -> Tensor<D> {
    let dim = resolve_axis("vector_norm", dim, D).or_fail();
    Tensor::from_any(any_norm(x.as_ref().as_any(), norm.into().to_exponent(), dim))
}

/// As [`vector_norm`] with the exponent `p`.
#[track_caller]
pub fn lp_norm<const D: usize>(x: impl AsRef<Tensor<D>>, p: f64, dim: impl AxisIndex) -> Tensor<D> {
    vector_norm(x, p, dim)
}

/// How many elements along `dim` are not zero.
#[track_caller]
pub fn l0_norm<const D: usize, K: Ordered>(
    x: impl AsRef<Tensor<D, K>>,
    dim: impl AxisIndex,
) -> Tensor<D, K> {
    let dim = resolve_axis("l0_norm", dim, D).or_fail();
    Tensor::from_any(any_norm(x.as_ref().as_any(), 0.0, dim))
}

/// The sum of magnitudes along `dim`.
#[track_caller]
pub fn l1_norm<const D: usize, K: Ordered>(
    x: impl AsRef<Tensor<D, K>>,
    dim: impl AxisIndex,
) -> Tensor<D, K> {
    let dim = resolve_axis("l1_norm", dim, D).or_fail();
    Tensor::from_any(any_norm(x.as_ref().as_any(), 1.0, dim))
}

/// The Euclidean length of the vectors along `dim`.
#[track_caller]
pub fn l2_norm<const D: usize>(x: impl AsRef<Tensor<D>>, dim: impl AxisIndex) -> Tensor<D> {
    vector_norm(x, Norm::L2, dim)
}

/// The largest magnitude along `dim`.
#[track_caller]
pub fn max_abs_norm<const D: usize, K: Ordered>(
    x: impl AsRef<Tensor<D, K>>,
    dim: impl AxisIndex,
) -> Tensor<D, K> {
    let dim = resolve_axis("max_abs_norm", dim, D).or_fail();
    Tensor::from_any(any_norm(x.as_ref().as_any(), f64::INFINITY, dim))
}

/// The smallest magnitude along `dim`.
#[track_caller]
pub fn min_abs_norm<const D: usize, K: Ordered>(
    x: impl AsRef<Tensor<D, K>>,
    dim: impl AxisIndex,
) -> Tensor<D, K> {
    let dim = resolve_axis("min_abs_norm", dim, D).or_fail();
    Tensor::from_any(any_norm(x.as_ref().as_any(), f64::NEG_INFINITY, dim))
}

/// Each vector along `dim` divided by its norm, or by `eps` if that is larger:
/// `torch.nn.functional.normalize`.
#[track_caller]
pub fn vector_normalize<const D: usize, E: Into<Scalar>>(
    x: impl AsRef<Tensor<D>>,
    norm: impl Into<Norm>,
    dim: impl AxisIndex,
    eps: E,
) -> Tensor<D> {
    let x = x.as_ref();
    x.div(vector_norm(x, norm, dim).clamp_min(eps))
}

/// The norm along `axis`, which stays with extent 1. Sums of half types are of f32.
#[track_caller]
pub(super) fn any_norm(x: &AnyTensor, p: f64, axis: usize) -> AnyTensor {
    if matches!(x.dtype(), DType::F16 | DType::BF16) {
        return any_norm(&x.cast(DType::F32), p, axis).cast(x.dtype());
    }
    let reduce = |x: &AnyTensor, kind| x.reduce(kind, Axes::single(axis));
    if p == 0.0 {
        let nonzero = x.binary_scalar(BinaryKind::NotEqual, 0).cast(x.dtype());
        return reduce(&nonzero, ReduceKind::Sum);
    }
    if p == 2.0 {
        return safe_sqrt(&reduce(&x.square(), ReduceKind::Sum));
    }
    let magnitude = x.abs();
    if p == 1.0 {
        return reduce(&magnitude, ReduceKind::Sum);
    }
    if p.is_infinite() {
        let kind = if p > 0.0 { ReduceKind::Max } else { ReduceKind::Min };
        return reduce(&magnitude, kind);
    }
    let power = |x: &AnyTensor, p: f64| x.pow_scalar(p);
    if p < 0.0 {
        return power(&reduce(&power(&magnitude, p), ReduceKind::Sum), 1.0 / p);
    }
    // A power has no slope at zero, or an infinite one; a norm is given none there.
    let guarded = |x: &AnyTensor, p: f64| {
        let zero = x.equal_scalar(0);
        x.zeros_like().select_where(&zero, &power(&x.ones_like().select_where(&zero, x), p))
    };
    guarded(&reduce(&guarded(&magnitude, p), ReduceKind::Sum), 1.0 / p)
}

/// The square root, whose gradient at zero is zero.
#[track_caller]
pub(super) fn safe_sqrt(x: &AnyTensor) -> AnyTensor {
    let zero = x.equal_scalar(0);
    let root = x.ones_like().select_where(&zero, x).sqrt();
    x.zeros_like().select_where(&zero, &root)
}

/// Which norm of a matrix.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MatrixNorm {
    /// The root of the sum of squares.
    Fro,
    /// The sum of singular values.
    Nuc,
    /// The largest sum of magnitudes of a column.
    One,
    /// The smallest sum of magnitudes of a column.
    NegOne,
    /// The largest singular value.
    Two,
    /// The smallest singular value.
    NegTwo,
    /// The largest sum of magnitudes of a row.
    Inf,
    /// The smallest sum of magnitudes of a row.
    NegInf,
}

/// `"fro"` or `"nuc"`. Panics for other names.
impl From<&str> for MatrixNorm {
    #[track_caller]
    fn from(name: &str) -> Self {
        match name {
            "fro" => MatrixNorm::Fro,
            "nuc" => MatrixNorm::Nuc,
            _ => unknown(name),
        }
    }
}

/// 1, 2, infinity, or one of these negative. Panics for other numbers.
impl From<f64> for MatrixNorm {
    #[track_caller]
    fn from(p: f64) -> Self {
        match p {
            1.0 => MatrixNorm::One,
            -1.0 => MatrixNorm::NegOne,
            2.0 => MatrixNorm::Two,
            -2.0 => MatrixNorm::NegTwo,
            f64::INFINITY => MatrixNorm::Inf,
            f64::NEG_INFINITY => MatrixNorm::NegInf,
            _ => unknown(p),
        }
    }
}

impl From<i32> for MatrixNorm {
    #[track_caller]
    fn from(p: i32) -> Self {
        MatrixNorm::from(p as f64)
    }
}

#[track_caller]
fn unknown(norm: impl std::fmt::Debug) -> ! {
    let rule = format!("{norm:?} is none of \"fro\", \"nuc\", 1, -1, 2, -2, infinity, -infinity");
    crate::fail(Error::Argument { op: "matrix_norm", rule })
}

/// The norm of each matrix: `[.., m, n]` to `[..]`, `torch.linalg.matrix_norm`. `DO` is `D - 2`.
#[track_caller]
pub fn matrix_norm<const D: usize, const DO: usize>(
    x: impl AsRef<Tensor<D>>,
    norm: impl Into<MatrixNorm>,
) -> Tensor<DO> {
    check_matrices("matrix_norm", D);
    check_rank("matrix_norm", DO, D - 2);
    Tensor::from_any(any_matrix_norm(x.as_ref().as_any(), norm.into()))
}

#[track_caller]
fn check_matrices(op: &'static str, rank: usize) {
    if rank < 2 {
        crate::fail(Error::Argument { op, rule: "a matrix has at least two axes".into() });
    }
}

#[track_caller]
fn any_matrix_norm(x: &AnyTensor, norm: MatrixNorm) -> AnyTensor {
    let rank = x.rank();
    let singular = || x.factor(FactorKind::Svd { vectors: false });
    let over = |x: &AnyTensor, kind: ReduceKind, axes: &[usize]| {
        x.reduce(kind, axes.iter().copied().collect())
    };
    let batch = crate::Shape::new(&x.shape()[..rank - 2]);
    let (rows, columns, last) = (rank - 2, rank - 1, rank.saturating_sub(2));
    let (max, min) = (ReduceKind::Max, ReduceKind::Min);
    let sums = |axis: usize| over(&x.abs(), ReduceKind::Sum, &[axis]);
    let norm = match norm {
        MatrixNorm::Fro => safe_sqrt(&over(&x.square(), ReduceKind::Sum, &[rows, columns])),
        MatrixNorm::Nuc => over(&singular(), ReduceKind::Sum, &[last]),
        MatrixNorm::Two => over(&singular(), max, &[last]),
        MatrixNorm::NegTwo => over(&singular(), min, &[last]),
        MatrixNorm::One => over(&sums(rows), max, &[columns]),
        MatrixNorm::NegOne => over(&sums(rows), min, &[columns]),
        MatrixNorm::Inf => over(&sums(columns), max, &[rows]),
        MatrixNorm::NegInf => over(&sums(columns), min, &[rows]),
    };
    norm.reshape(batch)
}

/// How much a matrix can magnify relative errors, `norm(x) * norm(inverse(x))`: `[.., m, n]` to
/// `[..]`, `torch.linalg.cond`. With norm 2 or -2 any matrix has one, from its singular values;
/// with another norm it must be square, and is infinite for one without an inverse. `DO` is
/// `D - 2`.
#[track_caller]
pub fn cond<const D: usize, const DO: usize>(
    x: impl AsRef<Tensor<D>>,
    norm: impl Into<MatrixNorm>,
) -> Tensor<DO> {
    check_matrices("cond", D);
    check_rank("cond", DO, D - 2);
    let (x, norm) = (x.as_ref().as_any(), norm.into());
    if matches!(norm, MatrixNorm::Two | MatrixNorm::NegTwo) {
        let s = x.factor(FactorKind::Svd { vectors: false });
        let k = s.shape()[DO];
        let end = |i: usize| s.narrow(DO, i, 1);
        let ratio = match norm {
            _ if k == 0 => s.reduce(ReduceKind::Sum, Axes::single(DO)),
            MatrixNorm::Two => end(0).div(&end(k - 1)),
            _ => end(k - 1).div(&end(0)),
        };
        return Tensor::from_any(ratio.reshape(s.shape().without(DO)));
    }
    // A matrix without an inverse is replaced by ones on the diagonal, and its result by infinity.
    let singular = x.detach().factor(FactorKind::Det).equal_scalar(0);
    let n = x.shape()[D - 1];
    let mask = singular.insert_axis(DO).insert_axis(DO + 1);
    let regular = x.identity_like(n).select_where(&mask, x);
    let product = any_matrix_norm(x, norm).mul(&any_matrix_norm(&regular.inverse(), norm));
    let infinity = AnyTensor::full(product.meta(), f64::INFINITY, x.device());
    Tensor::from_any(infinity.select_where(&singular, &product))
}
