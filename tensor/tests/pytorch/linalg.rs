//! Linear algebra: `fixtures/linalg.py`. What has a gradient is compared, with it, in the tests of
//! the autograd crate.

// Without the feature the tests below are left out.
#![cfg_attr(not(feature = "linalg"), allow(unused_imports))]
use kiln_tensor::{DType, Tensor, TensorData, Tolerance, linalg};

use crate::fixture::{Fixture, LONG, SHORT, load};

static TORCH: Fixture = Fixture::new(|| load(include_bytes!("../fixtures/linalg.safetensors")));

/// Within `relative` of PyTorch's f64, where numbers below 1 count as 1.
#[track_caller]
fn near<const D: usize>(name: &str, y: &Tensor<D>, relative: f64) {
    println!("{name}");
    let expected = TORCH.data(name);
    assert_eq!(y.shape(), expected.shape());
    let actual = y.to_data();
    for (y, e) in actual.iter::<f64>().zip(expected.iter::<f64>()) {
        assert!((y - e).abs() <= relative * e.abs().max(1.0), "{y} is not {e}");
    }
}

#[test]
fn products() {
    let [c, d] = ["c", "d"].map(|name| TORCH.get::<2, _>(&format!("einsum.{name}")));
    let [a, b] = ["a", "b"].map(|name| TORCH.get::<3, _>(&format!("einsum.{name}")));
    let product: Tensor<2> = linalg::tensordot(&a, &b, [0, 2], [0, 1]);
    near("tensordot", &product, 1e-13);
    near("kron", &linalg::kron(&c, &d), 1e-13);
    near("cross", &linalg::cross(&c, d.narrow(0, 1, 1), -1), 1e-13);
    let last = b.transpose().narrow(0, 0, 1).squeeze_dim::<2>(0);
    let inner: Tensor<3> = linalg::inner(&a, last);
    near("inner", &inner, 1e-13);
    near("multi_dot", &linalg::multi_dot(&[c.clone(), d, c.transpose(), c]), 1e-12);
    let two = Tensor::<3>::full([1, 1, 1], 2.0, (&a.device(), DType::F64));
    near("baddbmm", &linalg::baddbmm(two, &a, &b, 0.5, -2.0), 1e-12);
}

#[test]
fn norms_without_a_gradient() {
    let (x, y) = (TORCH.get::<2, _>("norm.x"), TORCH.get::<2, _>("norm.y"));
    near("norm.0.y", &linalg::vector_norm(&x, 0, 1), 0.0);
    near("norm.-1.y", &linalg::vector_norm(&x, -1, 1), 1e-13);
    near("cdist.0.y", &linalg::cdist(&x, &y, 0), 0.0);
}

#[cfg(feature = "linalg")]
#[test]
fn ranks_of_singular_matrices() {
    let x = TORCH.get::<3, _>("singular");
    linalg::matrix_rank::<3, 1>(&x, None).to_data().assert_eq(TORCH.data("matrix_rank"), true);
    near("pinv.singular", &linalg::pinv(&x, None), 1e-10);
    let tall = TORCH.get::<3, _>("tall");
    let b = tall.narrow(2, 0, 1).mul_scalar(2).add_scalar(1);
    near("lstsq.tall", &linalg::lstsq(&tall, b), 1e-12);
    let square = TORCH.get::<3, _>("square");
    for (name, p) in [("1", 1.0), ("2", 2.0), ("inf", f64::INFINITY)] {
        near(&format!("cond.{name}"), &linalg::cond::<3, 1>(&square, p), 1e-11);
    }
    for name in ["fro", "nuc"] {
        near(&format!("cond.{name}"), &linalg::cond::<3, 1>(&square, name), 1e-11);
    }
    near("logdet.y", &linalg::slogdet::<3, 2, 1>(&square).1, 1e-12);
    near("slogdet.sign", &linalg::slogdet::<3, 2, 1>(&square).0, 0.0);
    for name in ["square", "tall", "wide"] {
        let (p, _, _) = linalg::lu::<3, 2>(TORCH.get::<3, _>(name));
        near(&format!("lu.p.{name}"), &p, 0.0);
    }
}

/// 64 x 64 random numbers in f32, against PyTorch's f64; the condition is about 200.
#[cfg(feature = "linalg")]
#[test]
fn large_matrices_in_f32() {
    let x = TORCH.get::<2, _>("large");
    let tolerance = |relative| Tolerance::<f32>::rel_abs(relative, relative);
    let check = |name: &str, y: TensorData, relative| {
        println!("{name}");
        y.assert_approx_eq(&TORCH.data(name).convert_dtype(DType::F32), tolerance(relative));
    };
    check("large.svdvals", linalg::svdvals::<2, 1>(&x).to_data(), LONG);
    check("large.inv", linalg::inverse(&x).to_data(), 20.0 * LONG);
    check("large.slogdet", linalg::slogdet::<2, 1, 0>(&x).1.to_data(), SHORT);
    let b = x.narrow(1, 0, 3).flip([0]);
    check("large.solve", linalg::solve(&x, b).to_data(), 20.0 * LONG);
    let square = x.matmul(x.transpose());
    check("large.eigvalsh", linalg::eigvalsh::<2, 1>(&square).to_data(), 10.0 * LONG);
    let double = x.cast(DType::F64);
    near("large.inv", &linalg::inverse(&double), 1e-11);
    near("large.svdvals", &linalg::svdvals::<2, 1>(&double), 1e-13);
    near("large.slogdet", &linalg::slogdet::<2, 1, 0>(&double).1, 1e-13);
}
