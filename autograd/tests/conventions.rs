//! Gradients where a function has a kink: the values are PyTorch's.

use kiln_autograd::Autograd;
use kiln_tensor::{DType, Device, Int, Tensor, activation, linalg};

const INF: f64 = f64::INFINITY;

/// The gradient of the sum of `f` at `x`.
fn gradient<const D: usize>(x: &[f64], f: impl Fn(&Tensor<1>) -> Tensor<D>) -> Vec<f64> {
    let x = Tensor::<1>::from_data(x, (&Device::cpu(), DType::F64)).require_grad();
    let grads = f(&x).sum().backward();
    x.grad(&grads).unwrap().into_data().to_vec::<f64>().unwrap()
}

#[test]
fn functions_of_one_number() {
    assert_eq!(gradient(&[-1.0, 0.0, 2.0], |x| activation::relu(x)), [0.0, 0.0, 1.0]);
    assert_eq!(gradient(&[0.0, -2.0], |x| x.abs()), [0.0, -1.0]);
    assert_eq!(gradient(&[0.0, 2.0], |x| x.sign()), [0.0, 0.0]);
    assert_eq!(gradient(&[0.0, 4.0], |x| x.sqrt()), [INF, 0.25]);
    assert_eq!(gradient(&[-1.0, 0.0, 1.0, 2.0], |x| x.clamp(-1, 1)), [0.0, 1.0, 0.0, 0.0]);
    assert_eq!(gradient(&[0.0, 2.0], |x| x.powf_scalar(0.0)), [0.0, 0.0]);
    assert_eq!(gradient(&[0.0, 1.0], |x| activation::leaky_relu(x, 0.01)), [0.01, 1.0]);
    assert_eq!(gradient(&[0.0], |x| activation::softplus(x, 1.0)), [0.5]);
}

#[test]
fn extrema_share_or_pick() {
    assert_eq!(gradient(&[1.0, 3.0, 3.0], |x| x.max_dim_with_indices(0).0), [0.0, 1.0, 0.0]);
    assert_eq!(gradient(&[1.0, 3.0, 3.0], |x| x.max()), [0.0, 0.5, 0.5]);
    let other = Tensor::<1>::from_data([1.0, 0.0], (&Device::cpu(), DType::F64));
    assert_eq!(gradient(&[1.0, 2.0], |x| x.max_pair(&other)), [0.5, 1.0]);
    assert_eq!(gradient(&[3.0, 1.0, 3.0], |x| x.topk(2, 0)), [1.0, 0.0, 1.0]);
    let weights = Tensor::<1>::from_data([1.0, 2.0, 3.0], (&Device::cpu(), DType::F64));
    assert_eq!(gradient(&[3.0, 1.0, 1.0], |x| x.sort(0) * &weights), [3.0, 1.0, 2.0]);
}

#[test]
fn products_norms_and_branches() {
    assert_eq!(gradient(&[2.0, 0.0, 3.0], |x| x.prod()), [0.0, 6.0, 0.0]);
    assert_eq!(gradient(&[0.0, 0.0, 3.0], |x| x.prod()), [0.0, 0.0, 0.0]);
    assert_eq!(gradient(&[0.0, 0.0], |x| linalg::l2_norm(x, 0)), [0.0, 0.0]);
    assert_eq!(gradient(&[0.0, 2.0], |x| linalg::l1_norm(x, 0)), [0.0, 1.0]);
    assert_eq!(gradient(&[2.0, 2.0], |x| x.std(0)), [0.0, 0.0]);
    // The branch that is not taken gets a zero, also if it is NaN there.
    let positive = |x: &Tensor<1>| x.mask_where(x.lower_elem(0), x.sqrt());
    assert_eq!(gradient(&[4.0, 9.0], positive), [1.0, 1.0]);
    let indices = Tensor::<1, Int>::from([0, 0, 1]);
    let weights = Tensor::<1>::from_data([1.0, 2.0, 4.0], (&Device::cpu(), DType::F64));
    assert_eq!(gradient(&[1.0, 2.0], |x| x.gather(0, &indices) * &weights), [3.0, 4.0]);
}
