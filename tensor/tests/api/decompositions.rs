//! Decompositions: their factors are multiplied again, since signs and orders are free.

use kiln_tensor::linalg;
use kiln_tensor::{DType, Device, Distribution, Int, Tensor, TensorData, Tolerance};

use crate::common::{close, equals, floats, text};

fn matrix<const M: usize, const N: usize>(values: [[f32; N]; M]) -> Tensor<2> {
    Tensor::from(values)
}

fn random<const D: usize>(shape: [usize; D], dtype: DType) -> Tensor<D> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), (&Device::cpu(), dtype))
}

/// Within `relative` of the largest element.
#[track_caller]
fn near<const D: usize>(x: &Tensor<D>, y: &Tensor<D>, relative: f64) {
    assert_eq!(x.dims(), y.dims());
    let (x, y) = (x.to_data(), y.to_data());
    let largest = y.iter::<f64>().map(f64::abs).fold(1.0, f64::max);
    for (x, y) in x.iter::<f64>().zip(y.iter::<f64>()) {
        assert!((x - y).abs() <= relative * largest, "{x} is not {y}");
    }
}

fn identity<const D: usize>(like: &Tensor<D>, n: usize) -> Tensor<D> {
    let shape = like.shape().with(D - 2, n).with(D - 1, n);
    Tensor::from_any(like.as_any().identity_like(n).expand(shape))
}

/// Every shape that matters: square, tall, wide, one element, none, batches.
const SHAPES: [[usize; 3]; 12] = [
    [1, 1, 1],
    [1, 3, 3],
    [2, 5, 3],
    [2, 3, 5],
    [3, 1, 4],
    [3, 4, 1],
    [0, 3, 3],
    [2, 0, 3],
    [2, 3, 0],
    [1, 0, 0],
    [1, 64, 64],
    [1, 70, 33],
];

fn each(work: impl Fn(Tensor<3>, f64)) {
    for shape in SHAPES {
        for (dtype, relative) in [(DType::F64, 1e-12), (DType::F32, 2e-5)] {
            println!("{shape:?} {dtype}");
            work(random(shape, dtype), relative);
        }
    }
}

#[test]
fn factors_of_lu_multiply_to_the_matrix() {
    each(|a, relative| {
        let (p, l, u) = linalg::lu::<3, 2>(&a);
        near(&p.matmul(&l).matmul(&u), &a, relative);
        let k = l.dims()[2];
        let magnitudes = l.abs().clamp_min(0.0);
        assert!(magnitudes.to_data().iter::<f64>().all(|x| x <= 1.0 + 1e-6));
        assert_eq!([k, u.dims()[1]], [a.dims()[1].min(a.dims()[2]); 2]);
        near(&p.matmul(p.transpose()), &identity(&p, p.dims()[1]), 0.0);
    });
}

#[test]
fn factors_of_qr_multiply_to_the_matrix() {
    each(|a, relative| {
        for reduced in [true, false] {
            let (q, r) = linalg::qr(&a, reduced);
            let [_, m, n] = a.dims();
            let k = if reduced { m.min(n) } else { m };
            assert_eq!([q.dims()[2], r.dims()[1]], [k, k]);
            near(&q.matmul(&r), &a, relative);
            near(&q.transpose().matmul(&q), &identity(&q, k), relative);
            near(&Tensor::from_any(r.as_any().upper_triangle(0)), &r, 0.0);
        }
    });
}

#[test]
fn factors_of_svd_multiply_to_the_matrix() {
    each(|a, relative| {
        let (u, s, vt) = linalg::svd::<3, 2>(&a);
        let k = s.dims()[1];
        near(&u.mul(s.unsqueeze_dim::<3>(1)).matmul(&vt), &a, relative);
        near(&u.transpose().matmul(&u), &identity(&u, k), relative);
        near(&vt.matmul(vt.transpose()), &identity(&u, k), relative);
        near(&linalg::svdvals::<3, 2>(&a), &s, relative);
        for row in s.to_data().iter::<f64>().collect::<Vec<_>>().chunks(k.max(1)) {
            assert!(row.iter().all(|&s| s >= 0.0) && row.is_sorted_by(|a, b| a >= b));
        }
    });
}

#[test]
fn symmetric_matrices() {
    each(|a, relative| {
        let [_, m, n] = a.dims();
        let square = a.matmul(a.transpose());
        let (w, v) = linalg::eigh::<3, 2>(&square);
        near(&v.mul(w.unsqueeze_dim::<3>(1)).matmul(v.transpose()), &square, relative);
        near(&v.transpose().matmul(&v), &identity(&v, m), relative);
        near(&linalg::eigvalsh::<3, 2>(&square), &w, relative);
        let positive = square.add(identity(&square, m).mul_scalar(m as f64 + 1.0));
        let l = linalg::cholesky(&positive, false);
        near(&l.matmul(l.transpose()), &positive, relative);
        near(&linalg::cholesky(&positive, true), &l.transpose(), 0.0);
        if n > 0 {
            let x = linalg::cholesky_solve(&a, &l, false);
            near(&positive.matmul(&x), &a, relative * 10.0);
            near(&linalg::cholesky_solve(&a, l.transpose(), true), &x, 0.0);
        }
    });
}

#[test]
fn solutions_solve() {
    each(|b, relative| {
        let n = b.dims()[1];
        let a = random([b.dims()[0], n, n], b.dtype()).add(identity(&b, n).mul_scalar(n as f64));
        near(&a.matmul(linalg::solve(&a, &b)), &b, relative * 10.0);
        near(&a.matmul(linalg::inverse(&a)), &identity(&a, n), relative * 10.0);
        for (upper, unit) in [(false, false), (true, false), (false, true), (true, true)] {
            let x = linalg::solve_triangular(&a, &b, upper, unit);
            let t = a.as_any();
            let t = match (upper, unit) {
                (false, false) => t.lower_triangle(0),
                (true, false) => t.upper_triangle(0),
                (false, true) => t.lower_triangle(-1).add(identity(&a, n).as_any()),
                (true, true) => t.upper_triangle(1).add(identity(&a, n).as_any()),
            };
            let size = x.abs().sum().item::<f64>().max(1.0);
            near(&Tensor::from_any(t).matmul(&x), &b, relative * 10.0 * size);
        }
        let (sign, log) = linalg::slogdet::<3, 2, 1>(&a);
        if n < 10 {
            near(&linalg::det::<3, 2, 1>(&a), &sign.mul(log.exp()), relative * 10.0);
        }
    });
}

#[test]
fn singular_matrices() {
    let a = matrix([[1.0, 2.0, 3.0], [2.0, 4.0, 6.0], [1.0, 0.0, 1.0]]);
    let (p, l, u) = linalg::lu::<2, 1>(&a);
    near(&p.matmul(&l).matmul(&u), &a, 1e-6);
    let det: Tensor<0> = linalg::det::<2, 1, 0>(&a);
    assert_eq!(det.item::<f32>(), 0.0);
    for zero in [Tensor::<2>::zeros([4, 4], &Device::cpu()), Tensor::ones([4, 4], &Device::cpu())] {
        let (u, s, vt) = linalg::svd::<2, 1>(&zero);
        near(&u.matmul(u.transpose()), &identity(&u, 4), 1e-5);
        near(&u.mul(s.unsqueeze::<2>()).matmul(&vt), &zero, 1e-5);
        let (q, r) = linalg::qr(&zero, true);
        near(&q.matmul(&r), &zero, 1e-5);
        near(&q.matmul(q.transpose()), &identity(&q, 4), 1e-5);
        let (p, l, u) = linalg::lu::<2, 1>(&zero);
        near(&p.matmul(&l).matmul(&u), &zero, 1e-6);
    }
    // A first column of zeros, and zeros in the middle.
    for a in [
        matrix([[0.0, 4.0, 2.0], [0.0, 2.0, 2.0], [0.0, 3.0, 9.0], [0.0, 7.0, 1.0]]),
        matrix([[1.0, 2.0, 5.0], [1.0, 2.0, 3.0], [1.0, 2.0, 4.0]]),
    ] {
        let (q, r) = linalg::qr(&a, false);
        near(&q.matmul(&r), &a, 1e-5);
        let (p, l, u) = linalg::lu::<2, 1>(&a);
        near(&p.matmul(&l).matmul(&u), &a, 1e-5);
    }
    let (sign, log) = linalg::slogdet::<2, 1, 0>(&a);
    assert_eq!((sign.item::<f32>(), log.item::<f32>()), (0.0, f32::NEG_INFINITY));
    let rank: Tensor<0, Int> = linalg::matrix_rank(&a, None);
    assert_eq!(rank.item::<i64>(), 2);
    let y = linalg::pinv(&a, None);
    near(&a.matmul(&y).matmul(&a), &a, 1e-5);
}

#[test]
fn results_without_a_number_are_named() {
    let a = Tensor::<3>::from([[[1.0, 0.0], [0.0, 1.0]], [[1.0, 1.0], [1.0, 1.0]]]);
    assert_eq!(text(|| linalg::inverse(&a)), "inverse: matrix 1 of the batch is singular");
    assert_eq!(text(|| linalg::solve(&a, &a)), "solve: matrix 1 of the batch is singular");
    let a = matrix([[1.0, 2.0], [2.0, 1.0]]);
    assert_eq!(
        text(|| linalg::cholesky(&a, false)),
        "cholesky: the matrix is not positive-definite"
    );
    let nan = matrix([[f32::NAN, 0.0], [0.0, 1.0]]);
    let failed = "the matrix holds numbers that are not finite, or its iteration did not converge";
    assert_eq!(text(|| linalg::svd::<2, 1>(&nan)), format!("svd: {failed}"));
    assert_eq!(text(|| linalg::eigvalsh::<2, 1>(&nan)), format!("eigh: {failed}"));
    assert!(linalg::inverse(&nan).to_data().iter::<f32>().any(f32::is_nan));
    assert_eq!(
        text(|| linalg::lu_decomposition(Tensor::<2>::ones([2, 2], &Device::cpu()))),
        "lu_decomposition: the matrix is singular"
    );
    let wide = matrix([[1.0, 2.0]]);
    assert_eq!(
        text(|| linalg::inverse(&wide)),
        "inverse: shapes [1, 2] do not fit: a square matrix is needed, found 1 rows and 2 columns"
    );
    assert_eq!(text(|| linalg::svd::<2, 2>(&wide)), "svd: the result has rank 1, not 2");
    assert!(text(|| linalg::lu::<1, 0>(floats([1.0]))).contains("a matrix has at least two axes"));
}

#[test]
fn a_zero_on_a_diagonal_gives_infinities() {
    let a = matrix([[0.0, 0.0], [1.0, 1.0]]);
    let x = linalg::solve_triangular(&a, matrix([[1.0], [1.0]]), false, false);
    assert_eq!(x.slice(0..1).item::<f32>(), f32::INFINITY);
}

#[test]
fn powers_and_exponentials() {
    let a = matrix([[1.0, 1.0], [1.0, 0.0]]);
    equals(linalg::matrix_power(&a, 10), [[89.0f32, 55.0], [55.0, 34.0]]);
    equals(linalg::matrix_power(&a, 0), [[1.0f32, 0.0], [0.0, 1.0]]);
    close(linalg::matrix_power(&a, -1), [[0.0f32, 1.0], [1.0, -1.0]]);
    let turn = linalg::matrix_exp(matrix([[0.0, -1.0], [1.0, 0.0]]).mul_scalar(10.0));
    let (sin, cos) = 10f32.sin_cos();
    turn.to_data().assert_approx_eq(
        &TensorData::from([[cos, -sin], [sin, cos]]),
        Tolerance::<f32>::rel_abs(1e-5, 1e-5),
    );
    let (packed, rows) = linalg::lu_decomposition(matrix([[1.0, 2.0], [4.0, 4.0]]));
    close(packed, [[4.0f32, 4.0], [0.25, 1.0]]);
    equals(rows, [1, 0]);
}

#[test]
fn least_squares_of_any_rank() {
    let a = random([6, 3], DType::F64);
    let b = random([6, 2], DType::F64);
    let x = linalg::lstsq(&a, &b);
    // What is left is at right angles to the columns.
    near(
        &a.transpose().matmul(a.matmul(&x).sub(&b)),
        &Tensor::zeros([3, 2], (&Device::cpu(), DType::F64)),
        1e-12,
    );
    let short = linalg::lstsq(a.transpose(), random([3, 1], DType::F64));
    assert_eq!(short.dims(), [6, 1]);
}
