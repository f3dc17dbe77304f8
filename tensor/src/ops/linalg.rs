//! Functions of matrices as methods of [`AnyTensor`]: what the typed functions of
//! [`linalg`](crate::linalg), the decompositions and the gradient rules share.

use crate::error::OrFail;
use crate::op::{Arange, Axes, Factor, FactorKind, Meta, ReduceKind, Solve, SolveKind, View};
use crate::{AnyTensor, DType, Error, Scalar, Shape};

/// Products of integers that [`AnyTensor::int_matmul`] holds in memory at a time.
const INT_PRODUCTS: usize = 1 << 20;

impl AnyTensor {
    /// A function of each matrix with one result.
    #[track_caller]
    pub fn factor(&self, kind: FactorKind) -> Self {
        self.apply(Factor { kind }, &[])
    }

    /// The inverse of each matrix.
    #[track_caller]
    pub fn inverse(&self) -> Self {
        self.factor(FactorKind::Inverse)
    }

    /// `x` of `self x = b`. Batch axes broadcast.
    #[track_caller]
    pub fn solve(&self, kind: SolveKind, b: &Self) -> Self {
        let (a, b) = broadcast_batch("solve", self, b);
        a.apply(Solve { kind }, &[&b])
    }

    /// `x` of `self x = b`, where one triangle of `self` is used.
    #[track_caller]
    pub fn solve_triangular(&self, upper: bool, unit: bool, b: &Self) -> Self {
        self.solve(SolveKind::Triangular { upper, unit }, b)
    }

    /// `[n, n]` with ones on the diagonal, of this tensor's dtype and device.
    #[track_caller]
    pub fn identity_like(&self, n: usize) -> Self {
        diagonal_mask([n, n], BandKind::Diagonal, 0, self.device()).cast(self.dtype())
    }

    /// The diagonal of each matrix: `[.., m, n]` to `[.., k]`.
    #[track_caller]
    pub fn matrix_diagonal(&self) -> Self {
        let rank = self.rank();
        if rank < 2 {
            let rule = "a matrix has at least two axes".into();
            crate::fail(Error::Shape { op: "diag", shapes: vec![self.shape()], rule });
        }
        self.apply(View::Diagonal(rank - 2, rank - 1), &[])
    }

    /// Matrices with these diagonals and zeros elsewhere: `[.., n]` to `[.., n, n]`.
    #[track_caller]
    pub fn diagonal_matrix(&self) -> Self {
        let n = self.shape()[self.rank() - 1];
        self.insert_axis(self.rank()).mul(&self.identity_like(n))
    }

    /// Each matrix with zeros above diagonal `offset`.
    #[track_caller]
    pub fn lower_triangle(&self, offset: i64) -> Self {
        self.band(BandKind::Lower, offset)
    }

    /// Each matrix with zeros below diagonal `offset`.
    #[track_caller]
    pub fn upper_triangle(&self, offset: i64) -> Self {
        self.band(BandKind::Upper, offset)
    }

    #[track_caller]
    fn band(&self, kind: BandKind, offset: i64) -> Self {
        let &[m, n] = self.shape_ref().last_chunk().expect("a matrix");
        let mask = diagonal_mask([m, n], kind, offset, self.device());
        let zero = Self::full(Meta::new([], self.dtype()), 0, self.device());
        self.select_where(&mask, &zero)
    }

    /// A new axis of extent 1 before `axis`.
    #[track_caller]
    pub fn insert_axis(&self, axis: usize) -> Self {
        let mut dims = self.shape().to_vec();
        dims.insert(axis, 1);
        self.reshape(Shape::new(&dims))
    }

    /// Combines the elements of the last axis, which goes.
    #[track_caller]
    fn reduce_last(&self, kind: ReduceKind) -> Self {
        let axis = self.rank() - 1;
        self.reduce(kind, Axes::single(axis)).reshape(self.shape().without(axis))
    }

    /// The matrix product of integers, which wraps around. Products are made and summed for some
    /// rows at a time, so that memory stays small.
    #[track_caller]
    pub fn int_matmul(&self, rhs: &Self) -> Self {
        let (left, right) = (self.shape(), rhs.shape());
        let wrong = |rule| Error::Shape { op: "matmul", shapes: vec![left, right], rule };
        let (Some((a_batch, &[m, k])), Some((b_batch, &[k2, n]))) =
            (left.split_last_chunk(), right.split_last_chunk())
        else {
            crate::fail(wrong("both need at least two axes".into()))
        };
        if k != k2 {
            let rule = format!("the left has {k} columns, the right {k2} rows; they must be equal");
            crate::fail(wrong(rule))
        }
        let batch = Shape::try_new(a_batch).or_fail().broadcast(&Shape::try_new(b_batch).or_fail());
        let Some(batch) = batch else {
            crate::fail(wrong("the batch axes do not broadcast".into()))
        };
        let axis = a_batch.len();
        let columns = rhs.transpose().insert_axis(b_batch.len());
        let each = batch.iter().product::<usize>() * n * k;
        let rows = (INT_PRODUCTS / each.max(1)).clamp(1, m.max(1));
        let product = |start: usize| {
            let part = self.narrow(axis, start, rows.min(m - start));
            let products = part.insert_axis(axis + 1).mul(&columns);
            products.sum_last().cast(products.dtype())
        };
        if rows >= m {
            return product(0);
        }
        let parts: Vec<_> = (0..m).step_by(rows).map(product).collect();
        let parts: Vec<_> = parts.iter().collect();
        Self::cat(&parts, batch.len())
    }

    /// The sum of the last axis, which goes.
    #[track_caller]
    pub fn sum_last(&self) -> Self {
        self.reduce_last(ReduceKind::Sum)
    }

    /// The product of the last axis, which goes.
    #[track_caller]
    pub fn prod_last(&self) -> Self {
        self.reduce_last(ReduceKind::Prod)
    }

    /// The maximum of the last axis, which stays with extent 1; zero if the axis is empty.
    #[track_caller]
    pub fn max_last(&self) -> Self {
        let axis = self.rank() - 1;
        if self.shape_ref()[axis] == 0 {
            let meta = Meta::new(self.shape().with(axis, 1), self.dtype());
            return Self::full(meta, 0, self.device());
        }
        self.max_axis(axis)
    }
}

/// Both with the batch axes of their common shape.
#[track_caller]
fn broadcast_batch(op: &'static str, a: &AnyTensor, b: &AnyTensor) -> (AnyTensor, AnyTensor) {
    let (left, right) = (a.shape(), b.shape());
    let (Some((a_batch, &a_matrix)), Some((b_batch, &b_matrix))) =
        (left.split_last_chunk::<2>(), right.split_last_chunk::<2>())
    else {
        return (a.clone(), b.clone()); // The operation says what is wrong.
    };
    let Some(batch) = Shape::new(a_batch).broadcast(&Shape::new(b_batch)) else {
        let rule = "the batch axes do not broadcast".into();
        crate::fail(Error::Shape { op, shapes: vec![left, right], rule });
    };
    let whole = |matrix: [usize; 2]| Shape::new([&batch[..], &matrix[..]].concat());
    (a.expand(whole(a_matrix)), b.expand(whole(b_matrix)))
}

/// Which elements of a matrix.
#[derive(Clone, Copy)]
enum BandKind {
    Diagonal,
    Lower,
    Upper,
}

/// True at the elements of `[m, n]` on, up to or from the diagonal `offset` to the right of the main
/// one.
fn diagonal_mask(
    [m, n]: [usize; 2],
    kind: BandKind,
    offset: i64,
    device: crate::Device,
) -> AnyTensor {
    let count = |start: i64, len: usize| {
        let (start, step) = (Scalar::Int(start), Scalar::Int(1));
        AnyTensor::create(Arange { start, step, len, dtype: DType::I64 }, device)
    };
    let diagonal = count(offset, m).reshape([m, 1]);
    let column = count(0, n).reshape([1, n]);
    match kind {
        BandKind::Diagonal => column.equal(&diagonal),
        BandKind::Lower => column.lower_equal(&diagonal),
        BandKind::Upper => diagonal.lower_equal(&column),
    }
}
