//! Each matrix of a batch is copied to column-major order, computed by one thread, and copied out;
//! large batches are shared out over threads.

use std::sync::Mutex;

use faer::diag::Diag;
use faer::dyn_stack::{MemBuffer, MemStack, StackReq};
use faer::linalg::cholesky::llt::factor::{cholesky_in_place, cholesky_in_place_scratch};
use faer::linalg::evd::{ComputeEigenvectors, self_adjoint_evd, self_adjoint_evd_scratch};
use faer::linalg::householder::{
    apply_block_householder_sequence_on_the_left_in_place_scratch,
    apply_block_householder_sequence_on_the_left_in_place_with_conj,
};
use faer::linalg::lu::partial_pivoting::factor::{lu_in_place, lu_in_place_scratch};
use faer::linalg::qr::no_pivoting::factor::{
    qr_in_place, qr_in_place_scratch, recommended_block_size,
};
use faer::linalg::svd::{ComputeSvdVectors, svd, svd_scratch};
use faer::linalg::triangular_solve::{
    solve_lower_triangular_in_place, solve_unit_lower_triangular_in_place,
    solve_unit_upper_triangular_in_place, solve_upper_triangular_in_place,
};
use faer::traits::RealField;
use faer::{Conj, Mat, MatRef, Par};

use crate::cpu::access::{Compute, Dense, Sink, float_type};
use crate::cpu::parallel::{Shared, rows};
use crate::op::{Factor, FactorKind, Operation, Solve, SolveKind};
use crate::{AnyTensor, Error, Result};

/// What the matrices are computed in.
trait Real: Compute + RealField {}
impl<T: Compute + RealField> Real for T {}

/// Why a matrix has no result.
type Failure = &'static str;

const SINGULAR: Failure = "is singular";
const NOT_FINITE: Failure = "holds numbers that are not finite, or its iteration did not converge";

pub(crate) fn factor(op: &Factor, a: &AnyTensor, outputs: &[AnyTensor]) -> Result<()> {
    float_type!(a.dtype(), T => {
        match op.kind {
            FactorKind::Lu => lus::<T>(op, a, outputs),
            _ => factors::<T>(op, a, outputs),
        }
    })
}

/// The functions whose results are all of the input's type.
fn factors<T: Real>(op: &Factor, a: &AnyTensor, outputs: &[AnyTensor]) -> Result<()> {
    let batch = Batch::new(a);
    let a = Dense::<T>::new(a);
    // SAFETY: the outputs are new, and each has one sink.
    let mut sinks: Vec<Sink<'_, T>> = outputs.iter().map(|y| unsafe { Sink::new(y) }).collect();
    let sinks: Vec<Part<T>> = sinks
        .iter_mut()
        .map(|sink| Part(Shared::new(sink), sink.len() / batch.count.max(1)))
        .collect();
    batch.each(op.name(), |i| {
        let a = batch.matrix(&a, i);
        // SAFETY: each matrix writes its own part of each output, once.
        let out = |which: usize| unsafe { sinks[which].of(i) };
        match op.kind {
            FactorKind::Qr { complete } => qr(a, complete, out(0), out(1)),
            FactorKind::Cholesky => cholesky(a, out(0))?,
            FactorKind::Svd { vectors: true } => {
                singular(a, out(1), Some([out(0), out(2)])).ok_or(NOT_FINITE)?;
            }
            FactorKind::Svd { vectors: false } => {
                singular(a, out(0), None).ok_or(NOT_FINITE)?;
            }
            FactorKind::Eigh { vectors } => {
                eigen(a, out(0), vectors.then(|| out(1))).ok_or(NOT_FINITE)?;
            }
            FactorKind::Inverse => store(&inverse(a)?, out(0)),
            FactorKind::Lu | FactorKind::Det | FactorKind::SlogDet | FactorKind::Pinv { .. } => {
                unreachable!("{op:?} is computed elsewhere")
            }
        }
        Ok(())
    })
}

fn lus<T: Real>(op: &Factor, a: &AnyTensor, outputs: &[AnyTensor]) -> Result<()> {
    let batch = Batch::new(a);
    let a = Dense::<T>::new(a);
    // SAFETY: the outputs are new, and each has one sink.
    let (mut packed, mut pivots, mut signs) = unsafe {
        (Sink::<T>::new(&outputs[0]), Sink::<i64>::new(&outputs[1]), Sink::<T>::new(&outputs[2]))
    };
    let [size, m] = [batch.rows * batch.columns, batch.rows];
    let [packed, signs] = [Shared::new(&mut packed), Shared::new(&mut signs)];
    let pivots = Shared::new(&mut pivots);
    batch.each(op.name(), |i| {
        let (lu, permutation, odd) = lu(batch.matrix(&a, i));
        // SAFETY: each matrix writes its own part of each output, once.
        unsafe {
            store(&lu, packed.part(i * size..(i + 1) * size));
            let pivots = pivots.part(i * m..(i + 1) * m);
            pivots.iter_mut().zip(&permutation).for_each(|(to, &row)| *to = row as i64);
            signs.set(i, if odd { -T::one_impl() } else { T::one_impl() });
        }
        Ok(())
    })
}

pub(crate) fn solve(op: &Solve, [a, b]: [&AnyTensor; 2], x: &AnyTensor) -> Result<()> {
    float_type!(a.dtype(), T => solves::<T>(op, [a, b], x))
}

fn solves<T: Real>(op: &Solve, [a, b]: [&AnyTensor; 2], x: &AnyTensor) -> Result<()> {
    let (left, right) = (Batch::new(a), Batch::new(b));
    let (a, b) = (Dense::<T>::new(a), Dense::<T>::new(b));
    // SAFETY: the output is new, and this is its only sink.
    let mut x = unsafe { Sink::<T>::new(x) };
    let x = Part(Shared::new(&mut x), right.rows * right.columns);
    left.each(op.name(), |i| {
        let (a, b) = (left.matrix(&a, i), right.matrix(&b, i));
        // SAFETY: each matrix writes its own part of the output, once.
        store(&solution(op.kind, a, b)?, unsafe { x.of(i) });
        Ok(())
    })
}

/// An output, and how many elements of it one matrix has.
struct Part<T>(Shared<T>, usize);

impl<T> Part<T> {
    /// # Safety
    /// Every `i` is asked for by one thread, and once at a time.
    #[allow(clippy::mut_from_ref)]
    unsafe fn of(&self, i: usize) -> &mut [T] {
        // SAFETY: the parts of different matrices do not overlap.
        unsafe { self.0.part(i * self.1..(i + 1) * self.1) }
    }
}

/// `[.., rows, columns]` as `count` matrices.
struct Batch {
    count: usize,
    rows: usize,
    columns: usize,
    single: bool,
}

impl Batch {
    fn new(a: &AnyTensor) -> Self {
        let shape = a.shape();
        let (batch, &[rows, columns]) = shape.split_last_chunk().expect("infer checked the rank");
        Self { count: batch.iter().product(), rows, columns, single: batch.is_empty() }
    }

    fn matrix<'a, T: Real>(&self, all: &'a [T], i: usize) -> MatRef<'a, T> {
        let size = self.rows * self.columns;
        MatRef::from_row_major_slice(&all[i * size..(i + 1) * size], self.rows, self.columns)
    }

    /// Runs `work` for every matrix. The first that has no result, by index, is the error.
    fn each(
        &self,
        op: &'static str,
        work: impl Fn(usize) -> Result<(), Failure> + Sync,
    ) -> Result<()> {
        let failed: Mutex<Option<(usize, Failure)>> = Mutex::new(None);
        let cost = self.rows.max(self.columns).pow(2) * self.rows.min(self.columns);
        rows(self.count, cost, |range| {
            for i in range {
                if let Err(why) = work(i) {
                    let mut failed = failed.lock().expect("no thread panics while it holds this");
                    if failed.is_none_or(|(first, _)| i < first) {
                        *failed = Some((i, why));
                    }
                }
            }
        });
        match failed.into_inner().expect("no thread panicked") {
            None => Ok(()),
            Some((_, why)) if self.single => {
                Err(Error::Argument { op, rule: format!("the matrix {why}") })
            }
            Some((i, why)) => {
                Err(Error::Argument { op, rule: format!("matrix {i} of the batch {why}") })
            }
        }
    }
}

/// Writes a matrix in row-major order.
fn store<T: Real>(a: &Mat<T>, out: &mut [T]) {
    for (i, row) in out.chunks_exact_mut(a.ncols().max(1)).enumerate() {
        row.iter_mut().enumerate().for_each(|(j, y)| *y = a[(i, j)]);
    }
}

fn scratch(requirement: StackReq) -> MemBuffer {
    MemBuffer::new(requirement)
}

/// `l` and `u` in one matrix, the rows that they are made of, and whether these are an odd
/// permutation.
fn lu<T: Real>(a: MatRef<'_, T>) -> (Mat<T>, Vec<usize>, bool) {
    let (m, n) = a.shape();
    let mut lu = a.to_owned();
    let (mut permutation, mut inverse) = (vec![0; m], vec![0; m]);
    let mut memory = scratch(lu_in_place_scratch::<usize, T>(m, n, Par::Seq, Default::default()));
    let (info, _) = lu_in_place(
        lu.as_mut(),
        &mut permutation,
        &mut inverse,
        Par::Seq,
        MemStack::new(&mut memory),
        Default::default(),
    );
    let odd = info.transposition_count % 2 == 1;
    let finite = |a: MatRef<'_, T>| a.col_iter().all(|c| c.iter().all(|x| x.to_f64().is_finite()));
    if finite(lu.as_ref()) || !finite(a) {
        return (lu, permutation, odd);
    }
    // A column without a pivot was divided by zero; here it is left as it is.
    eliminate(a)
}

/// [`lu`] of a singular matrix, one column after the other.
fn eliminate<T: Real>(a: MatRef<'_, T>) -> (Mat<T>, Vec<usize>, bool) {
    let (m, n) = a.shape();
    let mut lu = a.to_owned();
    let (mut permutation, mut odd): (Vec<usize>, _) = ((0..m).collect(), false);
    for k in 0..m.min(n) {
        let mut pivot = k;
        for i in k + 1..m {
            if lu[(i, k)].to_f64().abs() > lu[(pivot, k)].to_f64().abs() {
                pivot = i;
            }
        }
        if lu[(pivot, k)] == T::zero_impl() {
            continue;
        }
        if pivot != k {
            for j in 0..n {
                (lu[(k, j)], lu[(pivot, j)]) = (lu[(pivot, j)], lu[(k, j)]);
            }
            permutation.swap(k, pivot);
            odd = !odd;
        }
        for i in k + 1..m {
            let factor = lu[(i, k)] / lu[(k, k)];
            lu[(i, k)] = factor;
            for j in k + 1..n {
                let product = factor * lu[(k, j)];
                lu[(i, j)] -= product;
            }
        }
    }
    (lu, permutation, odd)
}

fn solution<T: Real>(
    kind: SolveKind,
    a: MatRef<'_, T>,
    b: MatRef<'_, T>,
) -> Result<Mat<T>, Failure> {
    match kind {
        SolveKind::General => {
            let (lu, permutation, _) = lu(a);
            if (0..lu.nrows()).any(|i| lu[(i, i)] == T::zero_impl()) {
                return Err(SINGULAR);
            }
            let mut x = Mat::from_fn(b.nrows(), b.ncols(), |i, j| b[(permutation[i], j)]);
            solve_unit_lower_triangular_in_place(lu.as_ref(), x.as_mut(), Par::Seq);
            solve_upper_triangular_in_place(lu.as_ref(), x.as_mut(), Par::Seq);
            Ok(x)
        }
        SolveKind::Triangular { upper, unit } => {
            let mut x = b.to_owned();
            match (upper, unit) {
                (false, false) => solve_lower_triangular_in_place(a, x.as_mut(), Par::Seq),
                (false, true) => solve_unit_lower_triangular_in_place(a, x.as_mut(), Par::Seq),
                (true, false) => solve_upper_triangular_in_place(a, x.as_mut(), Par::Seq),
                (true, true) => solve_unit_upper_triangular_in_place(a, x.as_mut(), Par::Seq),
            }
            Ok(x)
        }
    }
}

fn inverse<T: Real>(a: MatRef<'_, T>) -> Result<Mat<T>, Failure> {
    let identity = Mat::<T>::identity(a.nrows(), a.nrows());
    solution(SolveKind::General, a, identity.as_ref())
}

/// `q` `[m, k]` and `r` `[k, n]`, where `k` is the smaller of `m` and `n`, or `m`.
fn qr<T: Real>(a: MatRef<'_, T>, complete: bool, q: &mut [T], r: &mut [T]) {
    let (m, n) = a.shape();
    let size = m.min(n);
    let k = if complete { m } else { size };
    let mut basis = Mat::<T>::identity(m, k);
    if size > 0 {
        let block = recommended_block_size::<T>(m, n);
        let mut reflectors = a.to_owned();
        let mut coefficients = Mat::<T>::zeros(block, size);
        let mut memory =
            scratch(qr_in_place_scratch::<T>(m, n, block, Par::Seq, Default::default()));
        qr_in_place(
            reflectors.as_mut(),
            coefficients.as_mut(),
            Par::Seq,
            MemStack::new(&mut memory),
            Default::default(),
        );
        let requirement =
            apply_block_householder_sequence_on_the_left_in_place_scratch::<T>(m, block, k);
        apply_block_householder_sequence_on_the_left_in_place_with_conj(
            reflectors.as_ref().get(.., ..size),
            coefficients.as_ref(),
            Conj::No,
            basis.as_mut(),
            Par::Seq,
            MemStack::new(&mut scratch(requirement)),
        );
        let upper = |i: usize, j: usize| if i <= j { reflectors[(i, j)] } else { T::zero_impl() };
        store(&Mat::from_fn(k, n, upper), r);
    }
    store(&basis, q);
}

fn cholesky<T: Real>(a: MatRef<'_, T>, l: &mut [T]) -> Result<(), Failure> {
    let n = a.nrows();
    let mut factor = a.to_owned();
    let mut memory = scratch(cholesky_in_place_scratch::<T>(n, Par::Seq, Default::default()));
    let stack = MemStack::new(&mut memory);
    cholesky_in_place(factor.as_mut(), Default::default(), Par::Seq, stack, Default::default())
        .map_err(|_| "is not positive-definite")?;
    let lower = |i: usize, j: usize| if i >= j { factor[(i, j)] } else { T::zero_impl() };
    store(&Mat::from_fn(n, n, lower), l);
    Ok(())
}

/// Writes singular values or eigenvalues, if they are numbers.
fn store_values<T: Real>(values: &Diag<T>, out: &mut [T]) -> Option<()> {
    out.iter_mut().zip(values.column_vector().iter()).for_each(|(to, &value)| *to = value);
    out.iter().all(|x| x.to_f64().is_finite()).then_some(())
}

/// The singular values, and the vectors `u` `[m, k]` and `v^T` `[k, n]` if they are asked for.
fn singular<T: Real>(a: MatRef<'_, T>, s: &mut [T], vectors: Option<[&mut [T]; 2]>) -> Option<()> {
    let ((m, n), k) = (a.shape(), s.len());
    if k == 0 {
        return Some(());
    }
    let compute = match vectors {
        Some(_) => ComputeSvdVectors::Thin,
        None => ComputeSvdVectors::No,
    };
    let requirement = svd_scratch::<T>(m, n, compute, compute, Par::Seq, Default::default());
    let mut memory = scratch(requirement);
    let mut values = Diag::<T>::zeros(k);
    let (mut u, mut v) = (Mat::<T>::zeros(m, k), Mat::<T>::zeros(n, k));
    // A rectangular matrix in column-major order, which is what it is computed in.
    let a = a.to_owned();
    let (u_out, v_out) = match vectors {
        Some(_) => (Some(u.as_mut()), Some(v.as_mut())),
        None => (None, None),
    };
    let stack = MemStack::new(&mut memory);
    svd(a.as_ref(), values.as_mut(), u_out, v_out, Par::Seq, stack, Default::default()).ok()?;
    store_values(&values, s)?;
    if let Some([u_out, vt_out]) = vectors {
        store(&u, u_out);
        store(&v.transpose().to_owned(), vt_out);
    }
    Some(())
}

/// The eigenvalues, and the vectors in the columns of `v` if they are asked for.
fn eigen<T: Real>(a: MatRef<'_, T>, w: &mut [T], vectors: Option<&mut [T]>) -> Option<()> {
    let n = a.nrows();
    if n == 0 {
        return Some(());
    }
    let compute = match vectors {
        Some(_) => ComputeEigenvectors::Yes,
        None => ComputeEigenvectors::No,
    };
    let requirement = self_adjoint_evd_scratch::<T>(n, compute, Par::Seq, Default::default());
    let mut memory = scratch(requirement);
    let mut values = Diag::<T>::zeros(n);
    let mut v = Mat::<T>::zeros(n, n);
    let a = a.to_owned();
    let v_out = vectors.is_some().then(|| v.as_mut());
    let stack = MemStack::new(&mut memory);
    self_adjoint_evd(a.as_ref(), values.as_mut(), v_out, Par::Seq, stack, Default::default())
        .ok()?;
    store_values(&values, w)?;
    if let Some(out) = vectors {
        store(&v, out);
    }
    Some(())
}
