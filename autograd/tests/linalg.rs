//! Linear algebra: values and gradients against PyTorch (`tensor/tests/fixtures/linalg.py`), and
//! against finite differences where those of single elements make no sense: what is symmetric moves
//! as a whole, and only functions that do not depend on the signs of vectors are differentiated.

use kiln_autograd::Autograd;
use kiln_autograd::check::Check;
use kiln_tensor::linalg::{self, MatrixNorm, Norm};
use kiln_tensor::{AnyTensor, DType, Device, Outputs, Tensor, TensorData, guard};
use safetensors::SafeTensors;

static FILE: &[u8] = include_bytes!("../../tensor/tests/fixtures/linalg.safetensors");

fn torch(name: &str) -> AnyTensor {
    let file = SafeTensors::deserialize(FILE).unwrap();
    let view = file.tensor(name).unwrap_or_else(|_| panic!("no {name} in the fixture"));
    let data = TensorData::from_bytes(view.data(), view.shape(), DType::F64);
    AnyTensor::from_data(&data.unwrap(), &Device::cpu()).unwrap()
}

fn typed<const D: usize>(x: &AnyTensor) -> Tensor<D> {
    Tensor::from_any(x.clone())
}

#[track_caller]
fn near(name: &str, x: &AnyTensor, relative: f64) {
    let expected = torch(name);
    assert_eq!(x.shape(), expected.shape(), "{name}");
    let (x, expected) = (x.to_data().unwrap(), expected.to_data().unwrap());
    let largest = expected.iter::<f64>().map(f64::abs).fold(1.0, f64::max);
    for (x, e) in x.iter::<f64>().zip(expected.iter::<f64>()) {
        assert!((x - e).abs() <= relative * largest, "{name}: {x} is not {e}");
    }
}

/// The value of `work` at `inputs` of the fixture and the gradients of its weighted sum.
#[track_caller]
fn agrees(name: &str, inputs: &[&str], work: impl Fn(&[AnyTensor]) -> AnyTensor) {
    let inputs: Vec<AnyTensor> = inputs.iter().map(|x| kiln_autograd::leaf(&torch(x))).collect();
    let y = work(&inputs);
    near(&format!("{name}.y"), &y, 1e-11);
    let weights: Vec<f64> =
        (0..y.num_elements()).map(|i| 0.3 + 0.17 * (7 * i % 11) as f64).collect();
    let weights = TensorData::new(weights, y.shape());
    let weights = AnyTensor::from_data(&weights, &Device::cpu()).unwrap();
    let loss: Tensor<1> = typed(&flat(&y.mul(&weights)));
    let gradients = loss.sum().backward();
    for (i, x) in inputs.iter().enumerate() {
        let gradient = gradients.get(x).cloned().unwrap_or_else(|| x.detach().zeros_like());
        near(&format!("{name}.d{i}"), &gradient, 1e-9);
    }
}

fn flat(x: &AnyTensor) -> AnyTensor {
    x.reshape([x.num_elements()])
}

/// All elements of some tensors in one vector.
fn joined(parts: &[AnyTensor]) -> AnyTensor {
    let parts: Vec<AnyTensor> = parts.iter().map(flat).collect();
    AnyTensor::cat(&parts.iter().collect::<Vec<_>>(), 0)
}

#[test]
fn einsum_as_pytorch() {
    let file = SafeTensors::deserialize(FILE).unwrap();
    let cases = file.names().into_iter().filter_map(|name| name.strip_suffix(".y"));
    let mut checked = 0;
    for name in cases {
        let Some((operands, equation)) =
            name.strip_prefix("einsum:").and_then(|rest| rest.split_once(':'))
        else {
            continue;
        };
        let inputs: Vec<String> = operands.chars().map(|c| format!("einsum.{c}")).collect();
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        agrees(name, &inputs, |x| AnyTensor::einsum(equation, &x.iter().collect::<Vec<_>>()));
        checked += 1;
    }
    assert!(checked > 12);
}

#[test]
fn norms_and_distances_as_pytorch() {
    for p in ["0.5", "1", "2", "3", "4", "inf", "-inf"] {
        let norm = Norm::from(p.parse::<f64>().unwrap());
        agrees(&format!("norm.{p}"), &["norm.x"], |x| {
            linalg::vector_norm(typed::<2>(&x[0]), norm, 1).into_any()
        });
    }
    agrees("normalize", &["norm.x"], |x| {
        linalg::vector_normalize(typed::<2>(&x[0]), 2, 1, 1e-3).into_any()
    });
    agrees("cosine", &["norm.x", "norm.y"], |x| {
        let y = linalg::cosine_similarity(typed::<2>(&x[0]), typed::<2>(&x[1]), 1, Some(1e-8));
        flat(y.as_any())
    });
    for p in ["0.5", "1", "2", "3", "inf"] {
        let norm = Norm::from(p.parse::<f64>().unwrap());
        agrees(&format!("cdist.{p}"), &["norm.x", "norm.y"], |x| {
            linalg::cdist(typed::<2>(&x[0]), typed::<2>(&x[1]), norm).into_any()
        });
        agrees(&format!("pdist.{p}"), &["norm.y"], |x| {
            linalg::pdist(typed::<2>(&x[0]), norm).into_any()
        });
        if p != "0.5" {
            agrees(&format!("pairwise.{p}"), &["norm.x", "norm.y"], |x| {
                let (x, y) = (typed::<2>(&x[0]), typed::<2>(&x[1]));
                linalg::pairwise_distance::<2, 1>(x, y, norm, 1e-6).into_any()
            });
        }
    }
    agrees_with_rows("cdist.rows");
}

/// Of more than 25 rows, which go through a matrix product.
fn agrees_with_rows(name: &str) {
    let x = typed::<2>(&torch("cdist.many"));
    let y = x.narrow(0, 0, 7).add_scalar(1).require_grad();
    let x = x.require_grad();
    let distances = linalg::cdist(&x, &y, 2);
    near(&format!("{name}.y"), distances.as_any(), 1e-12);
    let weights: Vec<f64> = (0..210).map(|i| 0.3 + 0.17 * (7 * i % 11) as f64).collect();
    let weights =
        Tensor::<2>::from_data(TensorData::new(weights, [30, 7]), (&Device::cpu(), DType::F64));
    let gradients = distances.mul(weights).sum().backward();
    near(&format!("{name}.d0"), x.grad(&gradients).unwrap().as_any(), 1e-11);
    near(&format!("{name}.d1"), y.grad(&gradients).unwrap().as_any(), 1e-11);
}

#[cfg(feature = "linalg")]
#[test]
fn systems_and_determinants_as_pytorch() {
    agrees("det", &["square"], |x| linalg::det::<3, 2, 1>(typed(&x[0])).into_any());
    agrees("logdet", &["square"], |x| linalg::slogdet::<3, 2, 1>(typed(&x[0])).1.into_any());
    agrees("inv", &["square"], |x| x[0].inverse());
    agrees("solve", &["square", "right"], |x| {
        linalg::solve::<3>(typed(&x[0]), typed(&x[1])).into_any()
    });
    for (upper, unit) in [(false, false), (false, true), (true, false), (true, true)] {
        let name = format!("solve_triangular.{}{}", upper as u8, unit as u8);
        agrees(&name, &["square", "right"], |x| x[0].solve_triangular(upper, unit, &x[1]));
    }
    agrees("cholesky", &["positive"], |x| linalg::cholesky::<3>(typed(&x[0]), false).into_any());
    agrees("cholesky_solve", &["right", "positive"], |x| {
        let l = linalg::cholesky::<3>(typed(&x[1]), false);
        linalg::cholesky_solve::<3>(typed(&x[0]), l, false).into_any()
    });
    for n in [-2, 3] {
        agrees(&format!("matrix_power.{n}"), &["square"], |x| {
            linalg::matrix_power::<3>(typed(&x[0]), n).into_any()
        });
    }
    agrees("matrix_exp", &["square"], |x| linalg::matrix_exp::<3>(typed(&x[0])).into_any());
}

#[cfg(feature = "linalg")]
#[test]
fn a_determinant_of_zero_has_a_gradient() {
    let x = Tensor::<2>::from_data(
        [[1.0, 2.0, 3.0], [2.0, 4.0, 6.0], [1.0, 0.0, 1.0]],
        (&Device::cpu(), DType::F64),
    );
    let x = x.require_grad();
    let gradients = linalg::det::<2, 1, 0>(&x).backward();
    // The cofactors; PyTorch gives zeros.
    let cofactors = [[4.0, 4.0, -4.0], [-2.0, -2.0, 2.0], [0.0, 0.0, 0.0]];
    let cofactors = Tensor::<2>::from_data(cofactors, (&Device::cpu(), DType::F64));
    let error = x.grad(&gradients).unwrap().sub(cofactors).abs().max();
    assert!(error.item::<f64>() < 1e-12);
}

#[cfg(feature = "linalg")]
#[test]
fn decompositions_as_pytorch() {
    for name in ["square", "tall", "wide"] {
        agrees(&format!("lu.{name}"), &[name], |x| {
            let (_, l, u) = linalg::lu::<3, 2>(typed(&x[0]));
            joined(&[l.into_any(), u.into_any()])
        });
        agrees(&format!("qr.{name}"), &[name], |x| {
            let (q, r) = linalg::qr::<3>(typed(&x[0]), true);
            joined(&[q.square().into_any(), r.square().into_any()])
        });
        agrees(&format!("svdvals.{name}"), &[name], |x| {
            linalg::svdvals::<3, 2>(typed(&x[0])).into_any()
        });
        agrees(&format!("svd.{name}"), &[name], |x| {
            let (u, s, vt) = linalg::svd::<3, 2>(typed(&x[0]));
            let first = u.narrow(2, 0, 1).mul(vt.narrow(1, 0, 1));
            joined(&[u.square().into_any(), vt.square().into_any(), s.into_any(), first.into_any()])
        });
        agrees(&format!("pinv.{name}"), &[name], |x| {
            linalg::pinv::<3>(typed(&x[0]), None).into_any()
        });
        for (p, norm) in [
            ("1", MatrixNorm::One),
            ("-1", MatrixNorm::NegOne),
            ("2", MatrixNorm::Two),
            ("-2", MatrixNorm::NegTwo),
            ("inf", MatrixNorm::Inf),
            ("-inf", MatrixNorm::NegInf),
            ("fro", MatrixNorm::Fro),
            ("nuc", MatrixNorm::Nuc),
        ] {
            agrees(&format!("matrix_norm.{name}.{p}"), &[name], |x| {
                linalg::matrix_norm::<3, 1>(typed(&x[0]), norm).into_any()
            });
        }
    }
    agrees("eigvalsh", &["positive"], |x| linalg::eigvalsh::<3, 2>(typed(&x[0])).into_any());
    agrees("eigh", &["positive"], |x| {
        let (w, v) = linalg::eigh::<3, 2>(typed(&x[0]));
        joined(&[w.into_any(), v.square().into_any()])
    });
}

/// First and second order of functions that do not depend on signs, in f64.
#[cfg(feature = "linalg")]
#[test]
fn second_orders_follow_finite_differences() {
    let symmetric = |x: &AnyTensor| x.add(&x.transpose());
    let positive = |x: &AnyTensor| x.matmul(&x.transpose()).add(&x.identity_like(4));
    let check = |name: &str, input: &str, work: &dyn Fn(&AnyTensor) -> AnyTensor| {
        let inputs = [torch(input)];
        let work = |x: &[AnyTensor]| -> Outputs { [work(&x[0])].into_iter().collect() };
        let check = Check { step: 1e-5, absolute: 1e-5, relative: 1e-5 };
        check.first_order(&inputs, work).unwrap_or_else(|error| panic!("{name}: {error}"));
        // Second differences of ill-conditioned functions.
        let check = Check { step: 1e-5, absolute: 1e-4, relative: 1e-4 };
        check.second_order(&inputs, work).unwrap_or_else(|error| panic!("{name}, twice: {error}"));
    };
    check("cholesky", "square", &|x| linalg::cholesky::<3>(typed(&positive(x)), false).into_any());
    check("eigvalsh", "square", &|x| linalg::eigvalsh::<3, 2>(typed(&symmetric(x))).into_any());
    check("eigh", "square", &|x| {
        let (w, v) = linalg::eigh::<3, 2>(typed(&symmetric(x)));
        joined(&[w.into_any(), v.square().into_any()])
    });
    for name in ["square", "tall", "wide"] {
        check("svd", name, &|x| {
            let (u, s, vt) = linalg::svd::<3, 2>(typed(x));
            let first = u.narrow(2, 0, 1).mul(vt.narrow(1, 0, 1));
            joined(&[u.square().into_any(), vt.square().into_any(), s.into_any(), first.into_any()])
        });
        check("svdvals", name, &|x| linalg::svdvals::<3, 2>(typed(x)).into_any());
        check("qr", name, &|x| {
            let (q, r) = linalg::qr::<3>(typed(x), true);
            joined(&[q.square().into_any(), r.square().into_any()])
        });
        check("lu", name, &|x| {
            let (_, l, u) = linalg::lu::<3, 2>(typed(x));
            joined(&[l.into_any(), u.into_any()])
        });
    }
    check("complete qr", "wide", &|x| linalg::qr::<3>(typed(x), false).0.square().into_any());
    check("matrix_exp", "square", &|x| {
        linalg::matrix_exp::<3>(typed(&x.mul_scalar(0.3))).into_any()
    });
}

#[cfg(feature = "linalg")]
#[test]
fn columns_that_are_not_unique_have_no_gradient() {
    let (q, _) = linalg::qr::<3>(typed::<3>(&torch("tall")).require_grad(), false);
    let error = guard(|| q.sum().backward()).map(|_| ()).unwrap_err().to_string();
    assert!(error.starts_with("qr: the columns of q past those of the matrix"), "{error}");
}
