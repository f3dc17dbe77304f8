//! Products of vectors, matrices and tensors.

use super::check_rank;
use crate::error::OrFail;
use crate::op::{Axes, ReduceKind};
use crate::shape::{AxisIndex, resolve_axis};
use crate::tensor::{Float, Kind, Numeric, Tensor};
use crate::{AnyTensor, Error, Scalar, Shape};

/// A tensor of any rank and kind, for functions that take several different ones.
pub trait Operand {
    /// The tensor without its types.
    fn operand(&self) -> &AnyTensor;
}

impl Operand for AnyTensor {
    fn operand(&self) -> &AnyTensor {
        self
    }
}

impl<const D: usize, K: Kind> Operand for Tensor<D, K> {
    fn operand(&self) -> &AnyTensor {
        self.as_any()
    }
}

/// A sum of products over named axes: `torch.einsum`.
///
/// Each operand has a letter for each of its axes. A letter that the result does not have is
/// summed over; one that occurs twice in an operand takes its diagonal; `...` stands for further
/// axes, which broadcast. Without `->` the result has the axes of the ellipsis and then, sorted,
/// every letter that occurs once. Extents of 1 broadcast. Three and more operands are joined in the
/// order that takes the fewest multiplications.
///
/// Panics if the equation does not fit the operands.
///
/// ```
/// use kiln_tensor::{Tensor, linalg};
/// let a = Tensor::<2>::from([[1.0, 2.0], [3.0, 4.0]]);
/// let v = Tensor::<1>::from([1.0, 10.0]);
/// let y: Tensor<1> = linalg::einsum("ij,j->i", &[&a, &v]);
/// assert_eq!(y.into_data().to_vec::<f32>()?, [21.0, 43.0]);
/// let trace: Tensor<0> = linalg::einsum("ii", &[&a]);
/// assert_eq!(trace.into_scalar::<f32>(), 5.0);
/// # Ok::<(), kiln_tensor::Error>(())
/// ```
#[track_caller]
pub fn einsum<const D: usize, K: Kind>(equation: &str, operands: &[&dyn Operand]) -> Tensor<D, K> {
    let operands: Vec<&AnyTensor> = operands.iter().map(|x| x.operand()).collect();
    Tensor::from_any(AnyTensor::einsum(equation, &operands))
}

/// The sum over `axes_a` of `a` together with `axes_b` of `b`: `torch.tensordot`. The result has the
/// other axes of `a`, then the other axes of `b`.
#[track_caller]
pub fn tensordot<const DA: usize, const DB: usize, const D: usize, const N: usize, K: Numeric>(
    a: impl AsRef<Tensor<DA, K>>,
    b: impl AsRef<Tensor<DB, K>>,
    axes_a: [impl AxisIndex; N],
    axes_b: [impl AxisIndex; N],
) -> Tensor<D, K> {
    let resolve = |axis, rank| resolve_axis("tensordot", axis, rank).or_fail();
    let first = axes_a.map(|axis| resolve(axis.signed(), DA));
    let second = axes_b.map(|axis| resolve(axis.signed(), DB));
    let pairs: Vec<_> = first.into_iter().zip(second).collect();
    Tensor::from_any(a.as_ref().as_any().tensordot(b.as_ref().as_any(), &pairs))
}

/// The sum of products along the last axis of both, for all pairs of the other axes: `torch.inner`.
#[track_caller]
pub fn inner<const DA: usize, const DB: usize, const D: usize, K: Numeric>(
    a: impl AsRef<Tensor<DA, K>>,
    b: impl AsRef<Tensor<DB, K>>,
) -> Tensor<D, K> {
    tensordot(a, b, [-1], [-1])
}

/// The diagonal of each matrix, `[.., m, n]` to `[.., min(m, n)]`: `torch.diagonal` of the last two
/// axes. `DO` is `D - 1`.
#[track_caller]
pub fn diag<const D: usize, const DO: usize, K: Kind>(
    x: impl AsRef<Tensor<D, K>>,
) -> Tensor<DO, K> {
    check_rank("diag", DO, D.saturating_sub(1));
    Tensor::from_any(x.as_ref().as_any().matrix_diagonal())
}

/// The sum of the diagonal of each matrix: `[.., m, n]` to `[.., 1]`. `DO` is `D - 1`.
#[track_caller]
pub fn trace<const D: usize, const DO: usize>(x: impl AsRef<Tensor<D>>) -> Tensor<DO> {
    check_rank("trace", DO, D.saturating_sub(1));
    Tensor::from_any(x.as_ref().as_any().matrix_diagonal().sum_axis(DO - 1))
}

/// The product of each element of one vector with each of another: `[.., m]` and `[.., n]` to
/// `[.., m, n]`. `R` is `D + 1`.
#[track_caller]
pub fn outer<const D: usize, const R: usize, K: Numeric>(
    lhs: impl AsRef<Tensor<D, K>>,
    rhs: impl AsRef<Tensor<D, K>>,
) -> Tensor<R, K> {
    outer_dim(lhs, rhs, -1)
}

/// As [`outer`] along axis `dim`, which becomes the axes `dim` of `lhs` and `dim + 1` of `rhs`.
#[track_caller]
pub fn outer_dim<const D: usize, const R: usize, Dim: AxisIndex, K: Numeric>(
    lhs: impl AsRef<Tensor<D, K>>,
    rhs: impl AsRef<Tensor<D, K>>,
    dim: Dim,
) -> Tensor<R, K> {
    check_rank("outer", R, D + 1);
    let dim = resolve_axis("outer", dim, D).or_fail();
    let (lhs, rhs) = (lhs.as_ref().as_any(), rhs.as_ref().as_any());
    Tensor::from_any(lhs.insert_axis(dim + 1).mul(&rhs.insert_axis(dim)))
}

/// The product of each matrix with a vector: `[.., m, n]` and `[.., n]` to `[.., m]`. Batch axes
/// broadcast; `DV` is `DM - 1`.
#[track_caller]
pub fn matvec<const DM: usize, const DV: usize, K: Numeric>(
    matrix: impl AsRef<Tensor<DM, K>>,
    vector: impl AsRef<Tensor<DV, K>>,
) -> Tensor<DV, K> {
    check_rank("matvec", DV, DM.saturating_sub(1));
    let (a, v) = (matrix.as_ref().as_any(), vector.as_ref().as_any());
    let shapes = || vec![a.shape(), v.shape()];
    if DM < 2 || a.shape()[DM - 1] != v.shape()[DV - 1] {
        let rule = "needed are [.., m, n] and [.., n]".into();
        crate::fail(Error::Shape { op: "matvec", shapes: shapes(), rule });
    }
    if a.dtype().is_float() {
        let product = a.matmul(&v.insert_axis(DV));
        return Tensor::from_any(product.reshape(product.shape().without(DM - 1)));
    }
    Tensor::from_any(a.mul(&v.insert_axis(DV - 1)).sum_last())
}

/// The sum of the products of two vectors: `torch.dot`.
#[track_caller]
pub fn dot<K: Numeric>(a: impl AsRef<Tensor<1, K>>, b: impl AsRef<Tensor<1, K>>) -> Tensor<1, K> {
    let (a, b) = (a.as_ref(), b.as_ref());
    if a.shape() != b.shape() {
        let rule = "two vectors of one length are needed".into();
        crate::fail(Error::Shape { op: "dot", shapes: vec![a.shape(), b.shape()], rule });
    }
    a.mul(b).sum()
}

/// The sum of products along `dim`, which goes: `torch.linalg.vecdot`. The other axes broadcast;
/// `DO` is `D - 1`.
#[track_caller]
pub fn vecdot<const D: usize, const DO: usize, K: Numeric>(
    a: impl AsRef<Tensor<D, K>>,
    b: impl AsRef<Tensor<D, K>>,
    dim: impl AxisIndex,
) -> Tensor<DO, K> {
    check_rank("vecdot", DO, D.saturating_sub(1));
    let dim = resolve_axis("vecdot", dim, D).or_fail();
    let product = a.as_ref().as_any().mul(b.as_ref().as_any());
    let sum = product.reduce(ReduceKind::Sum, Axes::single(dim));
    Tensor::from_any(sum.reshape(product.shape().without(dim)))
}

/// The vectors at right angles to pairs of vectors of three elements along `dim`:
/// `torch.linalg.cross`. The other axes broadcast.
#[track_caller]
pub fn cross<const D: usize, K: Numeric>(
    a: impl AsRef<Tensor<D, K>>,
    b: impl AsRef<Tensor<D, K>>,
    dim: impl AxisIndex,
) -> Tensor<D, K> {
    let dim = resolve_axis("cross", dim, D).or_fail();
    let (a, b) = (a.as_ref().as_any(), b.as_ref().as_any());
    if a.shape()[dim] != 3 || b.shape()[dim] != 3 {
        let rule = format!("axis {dim} of both must have extent 3");
        crate::fail(Error::Shape { op: "cross", shapes: vec![a.shape(), b.shape()], rule });
    }
    let part = |i: usize, j: usize| a.narrow(dim, i, 1).mul(&b.narrow(dim, j, 1));
    let axes = [(1, 2), (2, 0), (0, 1)].map(|(i, j)| part(i, j).sub(&part(j, i)));
    Tensor::from_any(AnyTensor::cat(&[&axes[0], &axes[1], &axes[2]], dim))
}

/// The Kronecker product: block `i, j` of the result is element `i, j` of `a` times `b`.
/// `torch.kron`.
#[track_caller]
pub fn kron<const D: usize, K: Numeric>(
    a: impl AsRef<Tensor<D, K>>,
    b: impl AsRef<Tensor<D, K>>,
) -> Tensor<D, K> {
    let (a, b) = (a.as_ref().as_any(), b.as_ref().as_any());
    // Each axis is split in two: [i, 1] of `a` and [1, j] of `b`.
    let split = |x: &AnyTensor, first: bool| {
        let pair = |&n: &usize| if first { [n, 1] } else { [1, n] };
        x.reshape(Shape::new(x.shape().iter().flat_map(pair).collect::<Vec<_>>()))
    };
    let dims: Vec<usize> = a.shape().iter().zip(b.shape().iter()).map(|(m, n)| m * n).collect();
    Tensor::from_any(split(a, true).mul(&split(b, false)).reshape(Shape::new(dims)))
}

/// The product of a chain of matrices in the order that takes the fewest multiplications:
/// `torch.linalg.multi_dot`. Up to 51 matrices.
#[track_caller]
pub fn multi_dot(matrices: &[Tensor<2>]) -> Tensor<2> {
    let fail = |rule: &str| {
        let shapes = matrices.iter().map(Tensor::shape).collect();
        crate::fail(Error::Shape { op: "multi_dot", shapes, rule: rule.into() })
    };
    let letters: Vec<char> = ('a'..='z').chain('A'..='Z').collect();
    if matrices.is_empty() || matrices.len() >= letters.len() {
        fail("from one to 51 matrices are needed");
    }
    if matrices.windows(2).any(|pair| pair[0].shape()[1] != pair[1].shape()[0]) {
        fail("each matrix needs as many rows as the one before has columns");
    }
    let terms: Vec<String> =
        (0..matrices.len()).map(|i| format!("{}{}", letters[i], letters[i + 1])).collect();
    let equation = format!("{}->a{}", terms.join(","), letters[matrices.len()]);
    let operands: Vec<&AnyTensor> = matrices.iter().map(Tensor::as_any).collect();
    Tensor::from_any(AnyTensor::einsum(&equation, &operands))
}

/// The product of two matrices: `torch.mm`.
#[track_caller]
pub fn mm(a: impl AsRef<Tensor<2>>, b: impl AsRef<Tensor<2>>) -> Tensor<2> {
    a.as_ref().matmul(b)
}

/// The product of each pair of matrices: `torch.bmm`.
#[track_caller]
pub fn bmm(a: impl AsRef<Tensor<3>>, b: impl AsRef<Tensor<3>>) -> Tensor<3> {
    a.as_ref().matmul(b)
}

/// The product of a matrix and a vector: `torch.mv`.
#[track_caller]
pub fn mv(a: impl AsRef<Tensor<2>>, v: impl AsRef<Tensor<1>>) -> Tensor<1> {
    matvec::<2, 1, Float>(a, v)
}

/// `beta x + alpha a b` of matrices: `torch.addmm`. `x` broadcasts, and is not read if `beta` is 0.
#[track_caller]
pub fn addmm(
    x: impl AsRef<Tensor<2>>,
    a: impl AsRef<Tensor<2>>,
    b: impl AsRef<Tensor<2>>,
    beta: f64,
    alpha: f64,
) -> Tensor<2> {
    accumulate(x.as_ref(), mm(a, b), beta, alpha)
}

/// `beta x + alpha a v` of a matrix and vectors: `torch.addmv`.
#[track_caller]
pub fn addmv(
    x: impl AsRef<Tensor<1>>,
    a: impl AsRef<Tensor<2>>,
    v: impl AsRef<Tensor<1>>,
    beta: f64,
    alpha: f64,
) -> Tensor<1> {
    accumulate(x.as_ref(), mv(a, v), beta, alpha)
}

/// `beta x + alpha a b` of each pair of matrices: `torch.baddbmm`.
#[track_caller]
pub fn baddbmm(
    x: impl AsRef<Tensor<3>>,
    a: impl AsRef<Tensor<3>>,
    b: impl AsRef<Tensor<3>>,
    beta: f64,
    alpha: f64,
) -> Tensor<3> {
    accumulate(x.as_ref(), bmm(a, b), beta, alpha)
}

#[track_caller]
fn accumulate<const D: usize>(
    x: &Tensor<D>,
    product: Tensor<D>,
    beta: f64,
    alpha: f64,
) -> Tensor<D> {
    let scaled =
        |y: Tensor<D>, by: f64| if by == 1.0 { y } else { y.mul_scalar(Scalar::Float(by)) };
    let expanded = Tensor::from_any(x.as_any().expand(product.shape()));
    let product = scaled(product, alpha);
    if beta == 0.0 { product } else { scaled(expanded, beta).add(product) }
}
