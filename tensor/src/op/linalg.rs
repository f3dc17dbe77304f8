//! Decompositions of matrices, and systems of equations.

use smallvec::{SmallVec, smallvec};

use super::{Keeps, Meta, Metas, Operation, check, one};
use crate::{AnyTensor, DType, Result, Shape};

/// A decomposition or another function of each matrix in a batch.
///
/// Input: `a` `[.., m, n]`, float; half types are computed in f32. The results are those of the
/// kind. Every matrix is computed by one thread, so the bits do not depend on how many there are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Factor {
    /// Which function.
    pub kind: FactorKind,
}

/// The functions of [`Factor`]. `k` is the smaller of `m` and `n`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FactorKind {
    /// `a[p] = l u` with partial pivoting. Results: `l` (without its diagonal of ones) and `u` in
    /// one matrix `[.., m, n]`, the rows `p` `[.., m]` as i64, and the sign of `p` `[..]`.
    Lu,
    /// `a = q r`. Results: `q` `[.., m, k]` and `r` `[.., k, n]`, or with all `m` columns and rows.
    Qr {
        /// All columns of `q`, a square matrix, rather than the first `k`.
        complete: bool,
    },
    /// `a = l l^T` of a symmetric positive-definite matrix, whose lower triangle is read. Result:
    /// `l` `[.., n, n]`.
    Cholesky,
    /// `a = u diag(s) v^T`, `s` descending. Results: `u` `[.., m, k]`, `s` `[.., k]`, `v^T`
    /// `[.., k, n]`, or only `s`.
    Svd {
        /// Whether `u` and `v^T` are computed.
        vectors: bool,
    },
    /// `a = v diag(w) v^T` of a symmetric matrix, whose lower triangle is read; `w` ascending.
    /// Results: `w` `[.., n]` and `v` `[.., n, n]`, or only `w`.
    Eigh {
        /// Whether `v` is computed.
        vectors: bool,
    },
    /// The inverse `[.., n, n]`.
    Inverse,
    /// The determinant `[..]`.
    Det,
    /// The sign and the logarithm of the magnitude of the determinant, both `[..]`.
    SlogDet,
    /// The Moore-Penrose inverse `[.., n, m]`.
    Pinv {
        /// Singular values up to this share of the largest count as zero. `None` is the larger of
        /// `m` and `n` times the precision of the dtype.
        tolerance: Option<f64>,
    },
}

impl Factor {
    /// `[m, n]` of an input that has been checked.
    fn extents(&self, a: &Meta) -> Result<[usize; 2]> {
        let Some(&[m, n]) = a.shape.last_chunk() else {
            return Err(check::shape_error(self.name(), &[*a], "a matrix has at least two axes"));
        };
        let any = matches!(
            self.kind,
            FactorKind::Lu
                | FactorKind::Qr { .. }
                | FactorKind::Svd { .. }
                | FactorKind::Pinv { .. }
        );
        if m != n && !any {
            let rule = format!("a square matrix is needed, found {m} rows and {n} columns");
            return Err(check::shape_error(self.name(), &[*a], rule));
        }
        Ok([m, n])
    }
}

/// The batch axes of a matrix, followed by `tail`.
fn batched(a: &Shape, tail: &[usize]) -> Shape {
    let dims: SmallVec<[usize; 8]> = a[..a.rank() - 2].iter().chain(tail).copied().collect();
    Shape::new(&dims)
}

impl Operation for Factor {
    fn name(&self) -> &'static str {
        match self.kind {
            FactorKind::Lu => "lu",
            FactorKind::Qr { .. } => "qr",
            FactorKind::Cholesky => "cholesky",
            FactorKind::Svd { .. } => "svd",
            FactorKind::Eigh { .. } => "eigh",
            FactorKind::Inverse => "inverse",
            FactorKind::Det => "det",
            FactorKind::SlogDet => "slogdet",
            FactorKind::Pinv { .. } => "pinv",
        }
    }

    fn infer(&self, inputs: &[Meta]) -> Result<Metas> {
        let [a] = check::arity(self.name(), inputs)?;
        check::floats(self.name(), inputs)?;
        let [m, n] = self.extents(a)?;
        let k = m.min(n);
        let meta = |tail: &[usize]| Meta::new(batched(&a.shape, tail), a.dtype);
        Ok(match self.kind {
            FactorKind::Lu => {
                let rows = Meta::new(batched(&a.shape, &[m]), DType::I64);
                smallvec![meta(&[m, n]), rows, meta(&[])]
            }
            FactorKind::Qr { complete } => {
                let k = if complete { m } else { k };
                smallvec![meta(&[m, k]), meta(&[k, n])]
            }
            FactorKind::Svd { vectors: true } => {
                smallvec![meta(&[m, k]), meta(&[k]), meta(&[k, n])]
            }
            FactorKind::Svd { vectors: false } => one(meta(&[k])),
            FactorKind::Eigh { vectors: true } => smallvec![meta(&[n]), meta(&[n, n])],
            FactorKind::Eigh { vectors: false } => one(meta(&[n])),
            FactorKind::Cholesky | FactorKind::Inverse => one(meta(&[n, n])),
            FactorKind::Det => one(meta(&[])),
            FactorKind::SlogDet => smallvec![meta(&[]), meta(&[])],
            FactorKind::Pinv { .. } => one(meta(&[n, m])),
        })
    }

    fn keeps(&self, _: u32) -> Keeps {
        match self.kind {
            FactorKind::Lu => Keeps { inputs: 0, outputs: 0b11 },
            // The columns of a wide matrix past the square are needed again.
            FactorKind::Qr { .. } => Keeps { inputs: 1, outputs: 0b11 },
            FactorKind::Cholesky | FactorKind::Inverse => Keeps::OUTPUT,
            FactorKind::Svd { vectors: true } => Keeps { inputs: 0, outputs: 0b111 },
            FactorKind::Eigh { vectors: true } => Keeps { inputs: 0, outputs: 0b11 },
            FactorKind::Svd { vectors: false } | FactorKind::Eigh { vectors: false } => {
                Keeps::INPUT
            }
            FactorKind::Det | FactorKind::Pinv { .. } => Keeps { inputs: 1, outputs: 1 },
            FactorKind::SlogDet => Keeps::INPUT,
        }
    }

    fn flops(&self, inputs: &[Meta], _: &[Meta]) -> u64 {
        let Ok([m, n]) = self.extents(&inputs[0]) else { return 0 };
        let (long, k) = (m.max(n) as u64, m.min(n) as u64);
        // The leading terms of the usual algorithms; of iterations, what they take in practice.
        let each = match self.kind {
            FactorKind::Lu | FactorKind::Det | FactorKind::SlogDet => long * k * k * 2 / 3,
            FactorKind::Qr { .. } => 4 * long * k * k,
            FactorKind::Cholesky => k * k * k / 3,
            FactorKind::Inverse => 2 * k * k * k,
            FactorKind::Svd { vectors: false } => 4 * long * k * k,
            FactorKind::Svd { vectors: true } | FactorKind::Pinv { .. } => 14 * long * k * k,
            FactorKind::Eigh { vectors } => k * k * k * if vectors { 9 } else { 4 } / 3,
        };
        each * (inputs[0].len() / (m * n).max(1)) as u64
    }

    fn decompose(&self, inputs: &[&AnyTensor]) -> Option<SmallVec<[AnyTensor; 1]>> {
        // The parts must not round half types: the result is rounded once.
        let half = inputs[0].dtype();
        if half.is_float() && half.size() == 2 {
            let parts = self.decompose(&[&inputs[0].cast(DType::F32)])?;
            return Some(parts.iter().map(|part| part.cast(half)).collect());
        }
        let a = inputs[0];
        match self.kind {
            FactorKind::Det => {
                let lu = a.apply_all(Factor { kind: FactorKind::Lu }, &[]);
                Some(smallvec![lu[0].matrix_diagonal().prod_last().mul(&lu[2])])
            }
            FactorKind::SlogDet => {
                let lu = a.apply_all(Factor { kind: FactorKind::Lu }, &[]);
                let diagonal = lu[0].matrix_diagonal();
                let sign = diagonal.sign().prod_last().mul(&lu[2]);
                Some(smallvec![sign, diagonal.abs().log().sum_last()])
            }
            FactorKind::Pinv { tolerance } => {
                let [m, n] = self.extents(&a.meta()).ok()?;
                let usv = a.apply_all(Factor { kind: FactorKind::Svd { vectors: true } }, &[]);
                let tolerance = tolerance.unwrap_or(m.max(n) as f64 * a.dtype().epsilon());
                let (s, zero) = (&usv[1], usv[1].zeros_like());
                let kept = s.greater(&s.max_last().mul_scalar(tolerance));
                // 1 / s where it is kept; `s` is not zero there.
                let inverse =
                    s.select_where(&kept, &s.ones_like()).recip().select_where(&kept, &zero);
                let scaled = usv[2].transpose().mul(&inverse.insert_axis(a.rank() - 2));
                Some(smallvec![scaled.matmul(&usv[0].transpose())])
            }
            _ => None,
        }
    }

    #[cfg(any(test, feature = "samples"))]
    fn samples(samples: &mut super::samples::Samples) {
        use super::samples::{float, float_in};
        // Without the feature there are no kernels to test.
        if !cfg!(feature = "linalg") {
            return;
        }
        // Signs and orders of vectors are free, and finite differences of what is symmetric move
        // one element at a time: the tests of the family look at those.
        for shape in [vec![1, 1], vec![3, 3], vec![2, 3, 3], vec![4, 2], vec![2, 4], vec![0, 3, 3]]
        {
            samples.case(Factor { kind: FactorKind::Lu }, [float(shape)]);
        }
        for shape in [vec![2, 3, 4], vec![5, 3], vec![3, 0], vec![0, 2, 2]] {
            let values = FactorKind::Svd { vectors: false };
            samples.rough(Factor { kind: values }, [float(&shape[..])]);
            let kind = FactorKind::Qr { complete: false };
            samples.rough(Factor { kind }, [float(shape)]);
        }
        samples.case(Factor { kind: FactorKind::Cholesky }, [float_in([3, 1, 1], 0.5, 2.0)]);
        samples.rough(Factor { kind: FactorKind::Eigh { vectors: false } }, [float([2, 3, 3])]);
        for shape in [vec![3, 3], vec![2, 2, 2], vec![1, 1]] {
            for kind in [FactorKind::Det, FactorKind::SlogDet, FactorKind::Inverse] {
                samples.case(Factor { kind }, [float_in(&shape[..], 0.5, 2.0)]);
            }
        }
        for shape in [vec![3, 2], vec![2, 3], vec![2, 2, 2]] {
            let kind = FactorKind::Pinv { tolerance: Some(1e-6) };
            samples.case(Factor { kind }, [float(shape)]);
        }
    }
}

/// The solution `x` of `a x = b`, for each pair of matrices in a batch.
///
/// Inputs: `a` `[.., n, n]`, `b` `[.., n, k]` of the same batch axes, one float dtype; half types
/// are computed in f32. Result: `[.., n, k]`. With [`SolveKind::General`] a singular `a` is an
/// error when the operation runs; a triangular one gives infinities, as in PyTorch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Solve {
    /// What is known of `a`.
    pub kind: SolveKind,
}

/// What is known of the matrix of a [`Solve`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SolveKind {
    /// Nothing: LU with partial pivoting.
    General,
    /// One triangle is used, the other is taken as zero.
    Triangular {
        /// The upper one rather than the lower.
        upper: bool,
        /// The diagonal is taken as ones.
        unit: bool,
    },
}

impl Operation for Solve {
    fn name(&self) -> &'static str {
        match self.kind {
            SolveKind::General => "solve",
            SolveKind::Triangular { .. } => "solve_triangular",
        }
    }

    fn infer(&self, inputs: &[Meta]) -> Result<Metas> {
        let [a, b] = check::arity(self.name(), inputs)?;
        check::floats(self.name(), inputs)?;
        let (Some((batch, &[m, n])), Some((b_batch, &[rows, _]))) =
            (a.shape.split_last_chunk(), b.shape.split_last_chunk())
        else {
            return Err(check::shape_error(self.name(), inputs, "both need at least two axes"));
        };
        if m != n || rows != n {
            let rule =
                format!("needed are [.., n, n] and [.., n, k], found {m} x {n} and {rows} rows");
            return Err(check::shape_error(self.name(), inputs, rule));
        }
        if batch != b_batch {
            return Err(check::shape_error(self.name(), inputs, "the batch axes must be equal"));
        }
        Ok(one(*b))
    }

    fn keeps(&self, _: u32) -> Keeps {
        Keeps { inputs: 1, outputs: 1 }
    }

    fn flops(&self, inputs: &[Meta], outputs: &[Meta]) -> u64 {
        let n = inputs[0].shape.last().copied().unwrap_or(0);
        match self.kind {
            SolveKind::General => (inputs[0].len() * n * 2 / 3 + outputs[0].len() * n * 2) as u64,
            SolveKind::Triangular { .. } => (outputs[0].len() * n) as u64,
        }
    }

    #[cfg(any(test, feature = "samples"))]
    fn samples(samples: &mut super::samples::Samples) {
        use super::samples::{float, float_in};
        if !cfg!(feature = "linalg") {
            return;
        }
        for (a, b) in [
            (vec![3, 3], vec![3, 2]),
            (vec![2, 2, 2], vec![2, 2, 1]),
            (vec![1, 1], vec![1, 4]),
            (vec![0, 2, 2], vec![0, 2, 3]),
            (vec![2, 2], vec![2, 0]),
        ] {
            samples.case(
                Solve { kind: SolveKind::General },
                [float_in(&a[..], 0.5, 2.0), float(&b[..])],
            );
            for (upper, unit) in [(false, false), (true, false), (false, true), (true, true)] {
                let kind = SolveKind::Triangular { upper, unit };
                samples.case(Solve { kind }, [float_in(&a[..], 0.5, 2.0), float(&b[..])]);
            }
        }
    }
}
