//! Decompositions, and what is made of them.

use super::check_rank;
use super::norm::any_norm;
use crate::op::{Axes, Factor, FactorKind, ReduceKind, SolveKind};
use crate::tensor::{Float, Int, Tensor};
use crate::{AnyTensor, DType, Error, OrFail};

/// The typed outputs of a decomposition, in order.
#[track_caller]
fn parts<const D: usize>(x: &Tensor<D>, kind: FactorKind) -> impl Iterator<Item = AnyTensor> {
    x.as_any().apply_all(Factor { kind }, &[]).into_iter()
}

#[track_caller]
fn next<const D: usize>(parts: &mut impl Iterator<Item = AnyTensor>) -> Tensor<D> {
    Tensor::from_any(parts.next().expect("an output"))
}

/// The determinant of each matrix: `[.., n, n]` to `[..]`, `torch.linalg.det`. `D1` is `D - 1` and
/// `D2` is `D - 2`.
///
/// ```
/// use kiln_tensor::{Tensor, linalg};
/// let x = Tensor::<3>::from([[[1.0, 2.0], [3.0, 4.0]], [[2.0, 0.0], [0.0, 3.0]]]);
/// let det = linalg::det::<3, 2, 1>(&x).into_data().to_vec::<f32>()?;
/// assert!((det[0] + 2.0).abs() < 1e-6 && det[1] == 6.0);
/// # Ok::<(), kiln_tensor::Error>(())
/// ```
#[track_caller]
pub fn det<const D: usize, const D1: usize, const D2: usize>(
    x: impl AsRef<Tensor<D>>,
) -> Tensor<D2> {
    check_rank("det", D1, D.saturating_sub(1));
    check_rank("det", D2, D.saturating_sub(2));
    Tensor::from_any(x.as_ref().as_any().factor(FactorKind::Det))
}

/// The sign and the logarithm of the magnitude of the determinant of each matrix: `[.., n, n]` to
/// two of `[..]`, `torch.linalg.slogdet`. `D1` is `D - 1` and `D2` is `D - 2`.
#[track_caller]
pub fn slogdet<const D: usize, const D1: usize, const D2: usize>(
    x: impl AsRef<Tensor<D>>,
) -> (Tensor<D2>, Tensor<D2>) {
    check_rank("slogdet", D1, D.saturating_sub(1));
    check_rank("slogdet", D2, D.saturating_sub(2));
    let mut parts = parts(x.as_ref(), FactorKind::SlogDet);
    (next(&mut parts), next(&mut parts))
}

/// The inverse of each matrix: `torch.linalg.inv`. Panics if one is singular, and names it. To
/// multiply by an inverse, [`solve`] is faster and more exact.
#[track_caller]
pub fn inverse<const D: usize>(x: impl AsRef<Tensor<D>>) -> Tensor<D> {
    Tensor::from_any(x.as_ref().as_any().inverse())
}

/// As [`inverse`].
#[track_caller]
pub fn inv<const D: usize>(x: impl AsRef<Tensor<D>>) -> Tensor<D> {
    inverse(x)
}

/// The solution `x` of `a x = b`: `a` `[.., n, n]`, `b` `[.., n, k]`, `torch.linalg.solve`. Batch axes
/// broadcast. Panics if a matrix is singular, and names it.
///
/// ```
/// use kiln_tensor::{Tensor, linalg};
/// let a = Tensor::<2>::from([[2.0, 0.0], [1.0, 4.0]]);
/// let x = linalg::solve(&a, Tensor::<2>::from([[2.0], [9.0]]));
/// assert_eq!(x.into_data().to_vec::<f32>()?, [1.0, 2.0]);
/// # Ok::<(), kiln_tensor::Error>(())
/// ```
#[track_caller]
pub fn solve<const D: usize>(a: impl AsRef<Tensor<D>>, b: impl AsRef<Tensor<D>>) -> Tensor<D> {
    Tensor::from_any(a.as_ref().as_any().solve(SolveKind::General, b.as_ref().as_any()))
}

/// As [`solve`], where the `upper` or the lower triangle of `a` is all that is used, and its diagonal
/// taken as ones if it is `unit`: `torch.linalg.solve_triangular`. A zero on the diagonal gives
/// infinities.
#[track_caller]
pub fn solve_triangular<const D: usize>(
    a: impl AsRef<Tensor<D>>,
    b: impl AsRef<Tensor<D>>,
    upper: bool,
    unit: bool,
) -> Tensor<D> {
    Tensor::from_any(a.as_ref().as_any().solve_triangular(upper, unit, b.as_ref().as_any()))
}

/// `l` of `a = l l^T`, or `u` of `a = u^T u` if it shall be `upper`, of each symmetric
/// positive-definite matrix: `torch.linalg.cholesky`. Only the lower triangle of `a` is read. Panics
/// if a matrix is not positive-definite, and names it.
#[track_caller]
pub fn cholesky<const D: usize>(a: impl AsRef<Tensor<D>>, upper: bool) -> Tensor<D> {
    let l = a.as_ref().as_any().factor(FactorKind::Cholesky);
    Tensor::from_any(if upper { l.transpose() } else { l })
}

/// The solution `x` of `a x = b`, given [`cholesky`] of `a`: `torch.cholesky_solve`.
#[track_caller]
pub fn cholesky_solve<const D: usize>(
    b: impl AsRef<Tensor<D>>,
    factor: impl AsRef<Tensor<D>>,
    upper: bool,
) -> Tensor<D> {
    let (b, factor) = (b.as_ref().as_any(), factor.as_ref().as_any());
    let l = if upper { factor.transpose() } else { factor.clone() };
    let y = l.solve_triangular(false, false, b);
    Tensor::from_any(l.transpose().solve_triangular(true, false, &y))
}

/// `q` and `r` of `a = q r`: columns at right angles of length 1, and an upper triangle.
/// `torch.linalg.qr`.
///
/// `a` is `[.., m, n]`. If `reduced`, `q` is `[.., m, k]` and `r` `[.., k, n]`, where `k` is the
/// smaller of `m` and `n`; else `q` is `[.., m, m]` and `r` `[.., m, n]`. Signs are free: the
/// diagonal of `r` may be negative.
#[track_caller]
pub fn qr<const D: usize>(a: impl AsRef<Tensor<D>>, reduced: bool) -> (Tensor<D>, Tensor<D>) {
    let mut parts = parts(a.as_ref(), FactorKind::Qr { complete: !reduced });
    (next(&mut parts), next(&mut parts))
}

/// `p`, `l` and `u` of `a = p l u`, with partial pivoting: `torch.linalg.lu`.
///
/// `a` is `[.., m, n]`, the permutation `p` `[.., m, m]`, `l` `[.., m, k]` with ones on its diagonal,
/// and `u` `[.., k, n]`, where `k` is the smaller of `m` and `n`. `D1` is `D - 1`.
#[track_caller]
pub fn lu<const D: usize, const D1: usize>(
    a: impl AsRef<Tensor<D>>,
) -> (Tensor<D>, Tensor<D>, Tensor<D>) {
    check_rank("lu", D1, D.saturating_sub(1));
    let outputs = a.as_ref().as_any().apply_all(Factor { kind: FactorKind::Lu }, &[]);
    let (packed, pivots) = (&outputs[0], &outputs[1]);
    let &[m, n] = packed.shape_ref().last_chunk().expect("a matrix");
    let k = m.min(n);
    let ones = packed.identity_like(m);
    let l = packed.narrow(D - 1, 0, k).lower_triangle(-1).add(&ones.narrow(1, 0, k));
    let u = packed.narrow(D - 2, 0, k).upper_triangle(0);
    // Row i of the product of `l` and `u` goes to row pivots[i].
    let square = packed.shape().with(D - 1, m);
    let rows = pivots.insert_axis(D1).expand(square);
    let p = ones.expand(square).gather_backward(D - 2, square, &rows);
    (Tensor::from_any(p), Tensor::from_any(l), Tensor::from_any(u))
}

/// `l` (without its diagonal of ones) and `u` of `a[p] = l u` in one matrix, and the rows `p`.
/// Panics if the square matrix `a` is singular.
#[track_caller]
pub fn lu_decomposition(a: impl AsRef<Tensor<2>>) -> (Tensor<2>, Tensor<1, Int>) {
    let a = a.as_ref().as_any();
    let (op, shape) = ("lu_decomposition", a.shape());
    if shape[0] != shape[1] {
        let rule = "a square matrix is needed".into();
        crate::fail(Error::Shape { op, shapes: vec![shape], rule });
    }
    let outputs = a.apply_all(Factor { kind: FactorKind::Lu }, &[]);
    let pivots = outputs[0].detach().matrix_diagonal().to_data().or_fail();
    if pivots.iter::<f64>().any(|pivot| pivot == 0.0) {
        crate::fail(Error::Argument { op, rule: "the matrix is singular".into() });
    }
    (Tensor::from_any(outputs[0].clone()), Tensor::from_any(outputs[1].clone()))
}

/// `u`, `s` and `v^T` of `a = u diag(s) v^T`, the singular values `s` descending:
/// `torch.linalg.svd(a, full_matrices=False)`.
///
/// `a` is `[.., m, n]`, `u` `[.., m, k]`, `s` `[.., k]`, and `v^T` `[.., k, n]`, where `k` is the smaller
/// of `m` and `n`. Signs of pairs of vectors are free. `D1` is `D - 1`.
///
/// ```
/// use kiln_tensor::{Tensor, linalg};
/// let x = Tensor::<2>::from([[0.0, 2.0], [3.0, 0.0]]);
/// let (u, s, vt) = linalg::svd::<2, 1>(&x);
/// let s = s.into_data().to_vec::<f32>()?;
/// assert!((s[0] - 3.0).abs() < 1e-6 && (s[1] - 2.0).abs() < 1e-6);
/// # Ok::<(), kiln_tensor::Error>(())
/// ```
#[track_caller]
pub fn svd<const D: usize, const D1: usize>(
    a: impl AsRef<Tensor<D>>,
) -> (Tensor<D>, Tensor<D1>, Tensor<D>) {
    check_rank("svd", D1, D.saturating_sub(1));
    let mut parts = parts(a.as_ref(), FactorKind::Svd { vectors: true });
    (next(&mut parts), next(&mut parts), next(&mut parts))
}

/// The singular values of each matrix, descending: `[.., m, n]` to `[.., k]`,
/// `torch.linalg.svdvals`. `D1` is `D - 1`.
#[track_caller]
pub fn svdvals<const D: usize, const D1: usize>(a: impl AsRef<Tensor<D>>) -> Tensor<D1> {
    check_rank("svdvals", D1, D.saturating_sub(1));
    Tensor::from_any(a.as_ref().as_any().factor(FactorKind::Svd { vectors: false }))
}

/// The eigenvalues, ascending, and the eigenvectors, as columns, of each symmetric matrix:
/// `[.., n, n]` to `[.., n]` and `[.., n, n]`, `torch.linalg.eigh`. Only the lower triangle is read.
/// Signs of vectors are free. `D1` is `D - 1`.
#[track_caller]
pub fn eigh<const D: usize, const D1: usize>(a: impl AsRef<Tensor<D>>) -> (Tensor<D1>, Tensor<D>) {
    check_rank("eigh", D1, D.saturating_sub(1));
    let mut parts = parts(a.as_ref(), FactorKind::Eigh { vectors: true });
    (next(&mut parts), next(&mut parts))
}

/// The eigenvalues of each symmetric matrix, ascending: `torch.linalg.eigvalsh`. `D1` is `D - 1`.
#[track_caller]
pub fn eigvalsh<const D: usize, const D1: usize>(a: impl AsRef<Tensor<D>>) -> Tensor<D1> {
    check_rank("eigvalsh", D1, D.saturating_sub(1));
    Tensor::from_any(a.as_ref().as_any().factor(FactorKind::Eigh { vectors: false }))
}

/// The Moore-Penrose inverse of each matrix: `[.., m, n]` to `[.., n, m]`, `torch.linalg.pinv`.
/// Singular values up to `tolerance` times the largest count as zero; without one, up to the
/// precision of the dtype times the larger of `m` and `n`.
#[track_caller]
pub fn pinv<const D: usize>(
    a: impl AsRef<Tensor<D>>,
    tolerance: impl Into<Option<f64>>,
) -> Tensor<D> {
    Tensor::from_any(a.as_ref().as_any().factor(FactorKind::Pinv { tolerance: tolerance.into() }))
}

/// The `x` of least length among those that bring `a x` closest to `b`: `a` `[.., m, n]`, `b`
/// `[.., m, k]`, result `[.., n, k]`; the solution of `torch.linalg.lstsq`. `a` may have any rank.
#[track_caller]
pub fn lstsq<const D: usize>(a: impl AsRef<Tensor<D>>, b: impl AsRef<Tensor<D>>) -> Tensor<D> {
    pinv(a, None).matmul(b)
}

/// How many singular values of each matrix are above `tolerance` times the largest; without one,
/// above the precision of the dtype times the larger extent: `[.., m, n]` to `[..]`,
/// `torch.linalg.matrix_rank`. `DO` is `D - 2`.
#[track_caller]
pub fn matrix_rank<const D: usize, const DO: usize>(
    a: impl AsRef<Tensor<D>>,
    tolerance: impl Into<Option<f64>>,
) -> Tensor<DO, Int> {
    check_rank("matrix_rank", DO, D.saturating_sub(2));
    let a = a.as_ref().as_any().detach();
    let s = a.factor(FactorKind::Svd { vectors: false });
    let larger = a.shape()[D - 2].max(a.shape()[D - 1]) as f64;
    let tolerance = tolerance.into().unwrap_or(larger * a.dtype().epsilon());
    let above = s.greater(&s.max_last().mul_scalar(tolerance)).cast(DType::I64);
    Tensor::from_any(above.sum_last())
}

/// Each square matrix to a whole power: `torch.linalg.matrix_power`. Negative powers are those of
/// the inverse.
#[track_caller]
pub fn matrix_power<const D: usize>(a: impl AsRef<Tensor<D>>, exponent: i64) -> Tensor<D> {
    let a = a.as_ref().as_any();
    check_square("matrix_power", a);
    let mut square = if exponent < 0 { a.inverse() } else { a.clone() };
    let mut power: Option<AnyTensor> = None;
    let mut rest = exponent.unsigned_abs();
    while rest > 0 {
        if rest % 2 == 1 {
            power = Some(match power {
                Some(power) => power.matmul(&square),
                None => square.clone(),
            });
        }
        rest /= 2;
        if rest > 0 {
            square = square.matmul(&square);
        }
    }
    let identity = || a.identity_like(a.shape()[D - 1]).expand(a.shape());
    Tensor::<D, Float>::from_any(power.unwrap_or_else(identity))
}

/// The exponential of each square matrix, `1 + a + a^2 / 2 + ..`: `torch.linalg.matrix_exp`.
#[track_caller]
pub fn matrix_exp<const D: usize>(a: impl AsRef<Tensor<D>>) -> Tensor<D> {
    /// Terms of the series, which with a norm of 1/4 err by 1e-18 and less.
    const TERMS: i64 = 12;
    let a = a.as_ref().as_any();
    check_square("matrix_exp", a);
    // exp(a) = exp(a / 2^k)^(2^k), with the same k for the whole batch.
    let sums = any_norm(&a.detach().cast(DType::F64), 1.0, D - 2);
    let norm = match a.num_elements() {
        0 => 0.0,
        _ => sums.reduce(ReduceKind::Max, Axes::all(D)).item::<f64>(),
    };
    let halvings =
        if norm.is_finite() { (norm * 4.0).log2().ceil().clamp(0.0, 60.0) as i32 } else { 0 };
    let scaled = a.mul_scalar(0.5f64.powi(halvings));
    let identity = a.identity_like(a.shape()[D - 1]);
    let mut sum = identity.add(&scaled.mul_scalar(1.0 / TERMS as f64));
    for term in (1..TERMS).rev() {
        sum = identity.add(&scaled.matmul(&sum).mul_scalar(1.0 / term as f64));
    }
    for _ in 0..halvings {
        sum = sum.matmul(&sum);
    }
    Tensor::from_any(sum)
}

#[track_caller]
fn check_square(op: &'static str, a: &AnyTensor) {
    let shape = a.shape();
    if !matches!(shape.last_chunk(), Some([m, n]) if m == n) {
        let rule = "a square matrix is needed".into();
        crate::fail(Error::Shape { op, shapes: vec![shape], rule });
    }
}
