//! What the tape promises beside right gradients.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use kiln_autograd::{Autograd, Backward, no_grad};
use kiln_tensor::op::{Rule, SgdRule, Update};
use kiln_tensor::{
    Device, Distribution, Int, Tensor, TensorData, activation, apply, guard, module,
};

fn scalar(value: f32) -> Tensor<1> {
    Tensor::from([value])
}

#[test]
fn a_chain_of_a_million_operations_runs_and_drops() {
    let x = scalar(1.0).require_grad();
    let mut y = x.clone();
    for _ in 0..1_000_000 {
        y = y.add_scalar(1.0);
    }
    let grads = y.backward();
    assert_eq!(x.grad(&grads).unwrap().item::<f32>(), 1.0);
    drop(y);
    // A graph that is dropped before it was walked holds its saved tensors, too.
    let mut y = x.clone();
    for _ in 0..1_000_000 {
        y = y.mul(&x);
    }
    drop(y);
}

#[test]
fn a_tensor_used_many_times_collects_all_its_gradients() {
    let x = scalar(2.0).require_grad();
    let y = &x * &x + &x * 3.0 - &x / 4.0;
    let grads = y.backward();
    assert_eq!(x.grad(&grads).unwrap().item::<f32>(), 2.0 * 2.0 + 3.0 - 0.25);
}

#[test]
fn tracked_and_untracked_tensors_mix() {
    let (x, c) = (scalar(2.0).require_grad(), scalar(5.0));
    let grads = (&x * &c).backward();
    assert_eq!(x.grad(&grads).unwrap().item::<f32>(), 5.0);
    assert!(c.grad(&grads).is_none());
}

#[test]
fn burns_names_for_leaves_and_gradients() {
    let x = scalar(3.0).require_grad();
    let y = &x * &x;
    assert!(x.is_require_grad() && !y.is_require_grad() && y.is_tracked());
    assert!(!x.set_require_grad(false).is_tracked() && !y.inner().is_tracked());
    let fresh = Tensor::from_inner(y.inner()).set_require_grad(true);
    assert!(fresh.is_require_grad());
    assert_eq!(x.grad(&y.backward_retain()).unwrap().item::<f32>(), 6.0);
    let mut grads = y.backward();
    x.grad_replace(&mut grads, scalar(8.0));
    assert_eq!(x.grad(&grads).unwrap().item::<f32>(), 8.0);
}

#[test]
fn detach_and_no_grad_cut_the_graph() {
    let x = scalar(3.0).require_grad();
    let grads = (x.detach() * &x).backward();
    assert_eq!(x.grad(&grads).unwrap().item::<f32>(), 3.0);
    let y = no_grad(|| &x * 2.0);
    assert!(!y.is_tracked());
    assert!((&x * 2.0).is_tracked(), "recording goes on afterwards");
}

#[test]
fn no_grad_ends_when_its_work_panics() {
    let x = scalar(3.0).require_grad();
    let _ = catch_unwind(AssertUnwindSafe(|| no_grad(|| panic!("on purpose"))));
    assert!((&x * 2.0).is_tracked());
}

#[test]
fn a_second_pass_needs_the_graph_retained() {
    let x = scalar(3.0).require_grad();
    let y = &x * &x;
    let first = Backward::new().retain_graph().run(&y);
    let second = y.backward();
    assert_eq!(x.grad(&first).unwrap().item::<f32>(), x.grad(&second).unwrap().item::<f32>());
    let error = guard(|| y.backward()).unwrap_err().to_string();
    assert!(error.contains("freed by an earlier backward pass"), "{error}");
}

#[test]
fn backward_of_an_untracked_tensor_says_so() {
    let error = guard(|| scalar(1.0).backward()).unwrap_err().to_string();
    assert!(error.contains("does not depend on any that requires a gradient"), "{error}");
}

#[test]
fn only_floats_require_gradients() {
    let indices = Tensor::<1, Int>::from([1i64]);
    let error = guard(|| kiln_autograd::leaf(indices.as_any())).unwrap_err().to_string();
    assert!(error.contains("only floats and complex numbers have gradients"), "{error}");
}

#[test]
fn an_operation_without_a_rule_is_refused_at_the_call() {
    let x = scalar(1.0).require_grad();
    let op = Update::new(Rule::Sgd(SgdRule::new(0.1)));
    let error = apply(&op.into(), &[x.as_any(), x.as_any()]).unwrap_err().to_string();
    assert!(error.contains("has no gradient"), "{error}");
}

#[test]
fn a_seed_replaces_the_gradient_of_ones() {
    let x = Tensor::<1>::from([1.0, 2.0]).require_grad();
    let y = &x * &x;
    let seed = Tensor::<1>::from([10.0, 100.0]);
    let grads = Backward::new().seed(&seed).run(&y);
    x.grad(&grads).unwrap().into_data().assert_eq(&TensorData::from([20.0f32, 400.0]), true);
    let error = guard(|| Backward::new().seed(scalar(1.0)).run(&(&x * &x))).unwrap_err();
    assert!(error.to_string().contains("must have its shape"), "{error}");
}

#[test]
fn gradients_can_be_differentiated_again_and_again() {
    // x^5 has the derivatives 5 x^4, 20 x^3, 60 x^2, 120 x.
    let x = scalar(2.0).require_grad();
    let mut y = x.powi_scalar(5);
    for expected in [80.0, 160.0, 240.0, 240.0, 120.0] {
        let grads = Backward::new().create_graph().run(&y);
        y = x.grad(&grads).unwrap();
        assert_eq!(y.item::<f32>(), expected);
    }
}

#[test]
fn a_third_derivative_goes_through_a_fused_backward() {
    // gelu'''(x) = phi(x) (x^3 - 4 x)
    let x =
        Tensor::<1>::from_data([0.7f64], (&Device::cpu(), kiln_tensor::DType::F64)).require_grad();
    let mut y = activation::gelu(&x);
    for _ in 0..3 {
        let grads = Backward::new().create_graph().run(&y);
        y = x.grad(&grads).unwrap();
    }
    let phi = (-0.5f64 * 0.49).exp() / (2.0 * std::f64::consts::PI).sqrt();
    assert!((y.item::<f64>() - phi * (0.343 - 2.8)).abs() < 1e-10);
}

#[test]
fn gradients_of_statistics_go_through_the_decomposition() {
    use kiln_tensor::op::LayerNorm;
    let x = Tensor::<2>::from_data([[1.0f64, 2.0, 6.0]], (&Device::cpu(), kiln_tensor::DType::F64));
    let x = x.require_grad();
    let outputs = x.as_any().apply_all(LayerNorm { epsilon: 0.0, affine: false }, &[]);
    let mean = Tensor::<2>::from_any(outputs[1].clone());
    let grads = mean.backward();
    let third = 1.0 / 3.0;
    let expected = TensorData::from([[third, third, third]]);
    x.grad(&grads).unwrap().into_data().assert_approx_eq::<f64>(&expected, Default::default());
}

/// A small network with a loss, whose parameters several threads share.
fn loss(weight: &Tensor<2>, x: &Tensor<2>) -> Tensor<1> {
    activation::gelu(module::linear(x, weight.t(), None)).square().mean()
}

#[test]
fn threads_that_share_parameters_get_the_gradients_of_one_thread() {
    let device = Device::cpu();
    let random =
        |shape: [usize; 2]| Tensor::<2>::random(shape, Distribution::Normal(0.0, 1.0), &device);
    let weight = Arc::new(random([16, 8]).require_grad());
    let inputs: Vec<_> = (0..8).map(|_| random([4, 8])).collect();
    let gradient = |x: &Tensor<2>| {
        let grads = loss(&weight, x).backward();
        weight.grad(&grads).unwrap().into_data()
    };
    let expected: Vec<_> = inputs.iter().map(gradient).collect();
    std::thread::scope(|scope| {
        for (x, expected) in inputs.iter().zip(&expected) {
            let gradient = &gradient;
            scope.spawn(move || (0..200).for_each(|_| assert_eq!(gradient(x), *expected)));
        }
    });
}

#[test]
fn parameters_keep_their_leaf_through_updates_in_place() {
    let mut x = scalar(4.0).require_grad();
    for expected in [8.0, 6.4] {
        let grads = (&x * &x).backward();
        let grad = x.grad(&grads).unwrap();
        assert!((grad.item::<f32>() - expected).abs() < 1e-6);
        let op = Update::new(Rule::Sgd(SgdRule::new(0.1)));
        kiln_tensor::update(&op.into(), grad.as_any(), &mut [x.as_any_mut()]).unwrap();
    }
    assert!(x.is_tracked());
}
