//! Gradients of decompositions and systems of equations (Giles 2008; Seeger and others 2017).
//!
//! A decomposition has a gradient only where it is unique but for signs: equal singular values or
//! eigenvalues give infinities in the gradient of the vectors, as in PyTorch.

use kiln_tensor::op::{Factor, FactorKind, Solve, SolveKind};
use kiln_tensor::{AnyTensor, Error, Result, Shape};
use smallvec::{SmallVec, smallvec};

use super::{Context, Results, one};

/// The gradients of the outputs of a decomposition; a float output that nobody used has none.
type Given = SmallVec<[Option<AnyTensor>; 1]>;

pub(super) fn factor(op: &Factor, cx: &mut Context<'_>, dys: &Given) -> Result<Results> {
    if dys.iter().all(Option::is_none) {
        return Ok(smallvec![None]);
    }
    let dy = |i: usize| dys[i].as_ref();
    let da = match op.kind {
        FactorKind::Lu => match dy(0) {
            Some(dy) => lu(&cx.output(0), &cx.output(1), dy),
            // The sign of the permutation does not change.
            None => return Ok(smallvec![None]),
        },
        FactorKind::Qr { complete } => {
            let [m, n] = extents(cx.shape(0));
            if complete && m > n {
                let rule =
                    "the columns of q past those of the matrix are not unique: they have no \
                            gradient; use the reduced form"
                        .into();
                return Err(Error::Autograd { op: "qr", rule });
            }
            qr(&cx.input(0), &cx.output(0), &cx.output(1), dy(0), dy(1))
        }
        FactorKind::Cholesky => cholesky(&cx.output(0), dy(0).expect("the only output")),
        FactorKind::Svd { vectors: true } => {
            svd(&cx.output(0), &cx.output(1), &cx.output(2), [dy(0), dy(1), dy(2)])
        }
        FactorKind::Svd { vectors: false } => {
            // The vectors were not computed.
            let usv =
                cx.input(0).apply_all(Factor { kind: FactorKind::Svd { vectors: true } }, &[]);
            svd(&usv[0], &usv[1], &usv[2], [None, dy(0), None])
        }
        FactorKind::Eigh { vectors: true } => eigh(&cx.output(0), &cx.output(1), dy(0), dy(1)),
        FactorKind::Eigh { vectors: false } => {
            let wv =
                cx.input(0).apply_all(Factor { kind: FactorKind::Eigh { vectors: true } }, &[]);
            eigh(&wv[0], &wv[1], dy(0), None)
        }
        FactorKind::Inverse => {
            let yt = cx.output(0).transpose();
            yt.matmul(dy(0).expect("the only output")).matmul(&yt).neg()
        }
        FactorKind::Det => det(&cx.input(0), &cx.output(0), dy(0).expect("the only output")),
        FactorKind::SlogDet => match dy(1) {
            Some(dy) => scale(dy).mul(&cx.input(0).inverse().transpose()),
            None => return Ok(smallvec![None]),
        },
        FactorKind::Pinv { .. } => {
            pinv(&cx.input(0), &cx.output(0), dy(0).expect("the only output"))
        }
    };
    Ok(one(da))
}

pub(super) fn solve(op: &Solve, cx: &mut Context<'_>, dx: &AnyTensor) -> Results {
    let (a, x) = (cx.input(0), cx.output(0));
    let turned = match op.kind {
        SolveKind::General => SolveKind::General,
        SolveKind::Triangular { upper, unit } => SolveKind::Triangular { upper: !upper, unit },
    };
    let db = a.transpose().solve(turned, dx);
    let da = cx.wants(0).then(|| {
        let da = db.matmul(&x.transpose()).neg();
        match op.kind {
            SolveKind::General => da,
            SolveKind::Triangular { upper: true, unit } => da.upper_triangle(unit as i64),
            SolveKind::Triangular { upper: false, unit } => da.lower_triangle(-(unit as i64)),
        }
    });
    smallvec![da, cx.wants(1).then_some(db)]
}

/// `[m, n]` of the matrices.
fn extents(shape: &Shape) -> [usize; 2] {
    *shape.last_chunk().expect("a matrix")
}

/// A number for each matrix, to multiply its elements: `[..]` to `[.., 1, 1]`.
fn scale(x: &AnyTensor) -> AnyTensor {
    x.insert_axis(x.rank()).insert_axis(x.rank() + 1)
}

/// A vector for each matrix, as rows: `[.., n]` to `[.., 1, n]`.
fn row(x: &AnyTensor) -> AnyTensor {
    x.insert_axis(x.rank() - 1)
}

/// A vector for each matrix, as columns: `[.., n]` to `[.., n, 1]`.
fn column(x: &AnyTensor) -> AnyTensor {
    x.insert_axis(x.rank())
}

fn part(x: &AnyTensor, rows: std::ops::Range<usize>, columns: std::ops::Range<usize>) -> AnyTensor {
    let rank = x.rank();
    x.narrow(rank - 2, rows.start, rows.len()).narrow(rank - 1, columns.start, columns.len())
}

fn lu(packed: &AnyTensor, pivots: &AnyTensor, dy: &AnyTensor) -> AnyTensor {
    let [m, n] = extents(&packed.shape());
    let k = m.min(n);
    let rank = packed.rank();
    // The square part, with what its triangular factors are given, and the rest.
    let (square, dsquare) = (part(packed, 0..k, 0..k), part(dy, 0..k, 0..k));
    let l = square.lower_triangle(-1).add(&square.identity_like(k));
    let (dl, du) = (dsquare.lower_triangle(-1), dsquare.upper_triangle(0));
    let u = square.upper_triangle(0);
    let below = (m > n).then(|| (part(packed, k..m, 0..k), part(dy, k..m, 0..k)));
    let right = (n > m).then(|| (part(packed, 0..k, k..n), part(dy, 0..k, k..n)));
    let mut dlower = l.transpose().matmul(&dl);
    let mut dupper = du.matmul(&u.transpose());
    if let Some((l2, dl2)) = &below {
        dupper = dupper.sub(&l2.transpose().matmul(dl2));
    }
    if let Some((u2, du2)) = &right {
        dlower = dlower.sub(&du2.matmul(&u2.transpose()));
    }
    let inner = dlower.lower_triangle(-1).add(&dupper.upper_triangle(0));
    // x l^-T and x u^-T, from the left and from the right.
    let left = |x: &AnyTensor| l.transpose().solve_triangular(true, true, x);
    let behind = |x: &AnyTensor| u.solve_triangular(true, false, &x.transpose()).transpose();
    let mut da = behind(&left(&inner));
    if let Some((_, dl2)) = &below {
        da = AnyTensor::cat(&[&da, &behind(dl2)], rank - 2);
    }
    if let Some((_, du2)) = &right {
        da = AnyTensor::cat(&[&da, &left(du2)], rank - 1);
    }
    // Row i of this belongs to row pivots[i] of the input.
    let rows = column(pivots).expand(da.shape());
    da.gather_backward(rank - 2, da.shape(), &rows)
}

fn qr(
    a: &AnyTensor,
    q: &AnyTensor,
    r: &AnyTensor,
    dq: Option<&AnyTensor>,
    dr: Option<&AnyTensor>,
) -> AnyTensor {
    let [m, n] = extents(&a.shape());
    if m >= n {
        return qr_tall(q, r, dq, dr);
    }
    // The first m columns have the decomposition q r1; the others are q r2 = a2.
    let last = a.rank() - 1;
    let (r1, a2) = (r.narrow(last, 0, m), a.narrow(last, m, n - m));
    let Some(dr) = dr else {
        let da = qr_tall(q, &r1, dq, None);
        return AnyTensor::cat(&[&da, &a2.zeros_like()], last);
    };
    let (dr1, dr2) = (dr.narrow(last, 0, m), dr.narrow(last, m, n - m));
    let through = a2.matmul(&dr2.transpose());
    let dq = dq.map_or(through.clone(), |dq| dq.add(&through));
    let da = qr_tall(q, &r1, Some(&dq), Some(&dr1));
    AnyTensor::cat(&[&da, &q.matmul(&dr2)], last)
}

fn qr_tall(
    q: &AnyTensor,
    r: &AnyTensor,
    dq: Option<&AnyTensor>,
    dr: Option<&AnyTensor>,
) -> AnyTensor {
    let from_r = dr.map(|dr| r.matmul(&dr.transpose()));
    let from_q = dq.map(|dq| dq.transpose().matmul(q).neg());
    let inner = match (from_r, from_q) {
        (Some(a), Some(b)) => a.add(&b),
        (a, b) => a.or(b).expect("a gradient"),
    };
    // Symmetric, with the lower triangle of the inner matrix.
    let symmetric = inner.lower_triangle(0).add(&inner.lower_triangle(-1).transpose());
    let mut da = q.matmul(&symmetric);
    if let Some(dq) = dq {
        da = da.add(dq);
    }
    // da r^-T.
    r.solve_triangular(true, false, &da.transpose()).transpose()
}

fn cholesky(l: &AnyTensor, dl: &AnyTensor) -> AnyTensor {
    let inner = l.transpose().matmul(dl);
    let half = inner.lower_triangle(0).add(&inner.lower_triangle(-1)).mul_scalar(0.5);
    // l^-T half l^-1, and its symmetric part.
    let lt = l.transpose();
    let left = lt.solve_triangular(true, false, &half);
    let da = lt.solve_triangular(true, false, &left.transpose());
    da.add(&da.transpose()).mul_scalar(0.5)
}

/// `x - x^T`.
fn skew(x: &AnyTensor) -> AnyTensor {
    x.sub(&x.transpose())
}

/// `x / (v_j - v_i)` off the diagonal, `x` on it.
fn over_differences(x: &AnyTensor, v: &AnyTensor) -> AnyTensor {
    let n = v.shape()[v.rank() - 1];
    x.div(&row(v).sub(&column(v)).add(&v.identity_like(n)))
}

fn svd(u: &AnyTensor, s: &AnyTensor, vt: &AnyTensor, dys: [Option<&AnyTensor>; 3]) -> AnyTensor {
    let [du, ds, dvt] = dys;
    let [m, k] = extents(&u.shape());
    let n = extents(&vt.shape())[1];
    let squares = s.square();
    // The part inside of both bases, [k, k].
    let mut inner: Option<AnyTensor> = ds.map(AnyTensor::diagonal_matrix);
    let mut add = |x: AnyTensor| {
        inner = Some(match inner.take() {
            Some(sum) => sum.add(&x),
            None => x,
        });
    };
    if let Some(du) = du {
        let turn = skew(&u.transpose().matmul(du));
        add(over_differences(&turn, &squares).mul(&row(s)));
    }
    if let Some(dvt) = dvt {
        let turn = skew(&vt.matmul(&dvt.transpose()));
        add(column(s).mul(&over_differences(&turn, &squares)));
    }
    let mut da = u.matmul(&inner.expect("a gradient")).matmul(vt);
    // What moves the vectors out of the space that they span.
    if let Some(du) = du.filter(|_| m > k) {
        let scaled = du.div(&row(s));
        let outside = scaled.sub(&u.matmul(&u.transpose().matmul(&scaled)));
        da = da.add(&outside.matmul(vt));
    }
    if let Some(dvt) = dvt.filter(|_| n > k) {
        let scaled = dvt.div(&column(s));
        let outside = scaled.sub(&scaled.matmul(&vt.transpose()).matmul(vt));
        da = da.add(&u.matmul(&outside));
    }
    da
}

fn eigh(w: &AnyTensor, v: &AnyTensor, dw: Option<&AnyTensor>, dv: Option<&AnyTensor>) -> AnyTensor {
    let values = dw.map(AnyTensor::diagonal_matrix);
    let vectors = dv.map(|dv| {
        let turn = v.transpose().matmul(dv);
        // The lengths of the vectors do not change.
        let turn = turn.lower_triangle(-1).add(&turn.upper_triangle(1));
        over_differences(&turn, w)
    });
    let inner = match (values, vectors) {
        (Some(a), Some(b)) => a.add(&b),
        (a, b) => a.or(b).expect("a gradient"),
    };
    // Only what is symmetric counts, since one triangle is taken for both.
    let da = v.matmul(&inner).matmul(&v.transpose());
    da.add(&da.transpose()).mul_scalar(0.5)
}

fn det(a: &AnyTensor, det: &AnyTensor, dy: &AnyTensor) -> AnyTensor {
    let singular = det.detach().to_data().is_ok_and(|det| det.iter::<f64>().any(|det| det == 0.0));
    if !singular {
        return scale(&dy.mul(det)).mul(&a.inverse().transpose());
    }
    // The cofactors, which a singular matrix has too: u diag(product of the other s) v^T.
    let usv = a.apply_all(Factor { kind: FactorKind::Svd { vectors: true } }, &[]);
    let (u, s, vt) = (&usv[0], &usv[1], &usv[2]);
    let k = s.shape()[s.rank() - 1];
    // Row i has all of s but for a one at i.
    let eye = s.identity_like(k);
    let others = row(s).mul(&eye.neg().add_scalar(1)).add(&eye).prod_last();
    // Rotations or reflections, and which of both does not change.
    let sign = u.detach().factor(FactorKind::Det).mul(&vt.detach().factor(FactorKind::Det));
    scale(&dy.mul(&sign)).mul(&u.mul(&row(&others)).matmul(vt))
}

/// Golub and Pereyra 1973.
fn pinv(a: &AnyTensor, y: &AnyTensor, dy: &AnyTensor) -> AnyTensor {
    let [m, n] = extents(&a.shape());
    let (dyt, yt) = (dy.transpose(), y.transpose()); // [m, n]
    if m <= n {
        let k = dyt.matmul(y); // [m, m]
        let kyt = k.matmul(&yt); // [m, n]
        let first = kyt.sub(&y.matmul(&k).transpose());
        let rest = yt.matmul(y).matmul(&dyt.sub(&k.matmul(a)));
        first.sub(&a.matmul(y).matmul(&kyt)).add(&rest)
    } else {
        let k = y.matmul(&dyt); // [n, n]
        let ytk = yt.matmul(&k); // [m, n]
        let first = ytk.sub(&k.matmul(y).transpose());
        let rest = dyt.sub(&a.matmul(&k)).matmul(y).matmul(&yt);
        first.sub(&ytk.matmul(y).matmul(a)).add(&rest)
    }
}
