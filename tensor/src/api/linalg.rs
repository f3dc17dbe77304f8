//! Linear algebra: products, norms, decompositions and systems of equations, as in `torch.linalg`.
//!
//! Matrices are the last two axes; all axes in front are a batch. Decompositions need the cargo
//! feature `linalg`, which is on by default.

mod distance;
mod factor;
mod norm;
mod product;

pub use distance::{cdist, cosine_similarity, pairwise_distance, pdist};
pub use factor::{
    cholesky, cholesky_solve, det, eigh, eigvalsh, inv, inverse, lstsq, lu, lu_decomposition,
    matrix_exp, matrix_power, matrix_rank, pinv, qr, slogdet, solve, solve_triangular, svd,
    svdvals,
};
pub use norm::{
    MatrixNorm, Norm, cond, l0_norm, l1_norm, l2_norm, lp_norm, matrix_norm, max_abs_norm,
    min_abs_norm, vector_norm, vector_normalize,
};
pub use product::{
    Operand, addmm, addmv, baddbmm, bmm, cross, diag, dot, einsum, inner, kron, matvec, mm,
    multi_dot, mv, outer, outer_dim, tensordot, trace, vecdot,
};

use crate::Error;

/// An error unless an operation's result has the rank that its type says.
#[track_caller]
fn check_rank(op: &'static str, result: usize, rank: usize) {
    if result != rank {
        let rule = format!("the result has rank {rank}, not {result}");
        crate::fail(Error::Argument { op, rule });
    }
}
