//! Gradients of chosen tensors, and derivatives of functions.

use kiln_autograd::{Autograd, Backward, hessian, hvp, jacobian, jvp, no_grad, vjp};
use kiln_tensor::{
    AnyTensor, DType, Device, Distribution, Tensor, TensorData, Tolerance, activation, guard,
};

fn doubles<const D: usize>(data: impl Into<TensorData>) -> Tensor<D> {
    Tensor::from_data(data, (&Device::cpu(), DType::F64))
}

#[track_caller]
fn close<const D: usize>(x: &Tensor<D>, expected: impl Into<TensorData>) {
    let tolerance = Tolerance::<f64>::rel_abs(1e-12, 1e-12);
    x.to_data().assert_approx_eq(&expected.into().convert::<f64>(), tolerance);
}

fn random<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), (&Device::cpu(), DType::F64))
}

#[test]
fn the_gradient_of_a_hidden_tensor_can_be_kept() {
    let x = doubles::<1>([1.0, 2.0]).require_grad();
    let hidden = x.mul_scalar(3.0);
    let used_twice = &hidden * &hidden + &hidden;
    let grads = Backward::new().keep(&hidden).run(&used_twice);
    close(&hidden.grad(&grads).unwrap(), [7.0, 13.0]);
    close(&x.grad(&grads).unwrap(), [21.0, 39.0]);
    let plain = (&x.mul_scalar(3.0) * &x).backward();
    assert!(hidden.grad(&plain).is_none(), "it was not asked for");
    // The output itself, and a tensor that nothing depends on.
    let y = &x * &x;
    let other = &x + 1.0;
    let grads = Backward::new().keep(&y).keep(&other).run(&y);
    close(&y.grad(&grads).unwrap(), [1.0, 1.0]);
    assert!(other.grad(&grads).is_none());
}

#[test]
fn grad_gives_what_is_asked_for_and_computes_nothing_else() {
    let (x, w) = (random([2, 3]).require_grad(), random([3, 4]).require_grad());
    let h = x.matmul(&w);
    let y = h.square().sum();
    let ask = |inputs: &[&AnyTensor]| Backward::new().retain_graph().grad(&[y.as_any()], inputs);
    let found = ask(&[w.as_any(), h.as_any(), x.as_any()]);
    let all = Backward::new().retain_graph().keep(&h).run(&y);
    for (found, tensor) in found.iter().zip([w.as_any(), h.as_any(), x.as_any()]) {
        let expected = all.get(tensor).unwrap().to_data().unwrap();
        assert_eq!(found.as_ref().unwrap().to_data().unwrap(), expected);
    }
    // The gradient by `x` needs one product, not the one for `w`.
    let products = |inputs: &[&AnyTensor]| {
        let (_, steps) = kiln_tensor::trace(|| ask(inputs));
        steps.iter().filter(|step| step.op.spec().name() == "matmul").count()
    };
    assert_eq!((products(&[x.as_any()]), products(&[h.as_any()])), (1, 0));
    // Several outputs, each with its own gradient, and an input that nothing depends on.
    let lone = doubles::<1>([1.0]).require_grad();
    let (a, b) = (&lone * 2.0, &lone * 5.0);
    let seed = |x: f64| Some(doubles::<1>([x]).into_any());
    let found = Backward::new().grad_with(
        &[a.as_any(), b.as_any()],
        &[seed(10.0), None],
        &[lone.as_any(), x.as_any()],
    );
    assert_eq!(found[0].as_ref().unwrap().item::<f64>(), 25.0);
    assert!(found[1].is_none());
}

#[test]
fn a_deep_graph_is_searched_without_recursion() {
    let x = doubles::<1>([1.0]).require_grad();
    let mut y = x.clone();
    for _ in 0..300_000 {
        y = y.add_scalar(1.0);
    }
    let found = Backward::new().grad(&[y.as_any()], &[x.as_any()]);
    assert_eq!(found[0].as_ref().unwrap().item::<f64>(), 1.0);
}

#[test]
fn a_gradient_penalty_trains() {
    // d/dw of |d/dx (w x)^2|^2 = d/dw (2 w^2 x)^2 = 16 w^3 x^2
    let (x, w) = (doubles::<1>([3.0]).require_grad(), doubles::<1>([2.0]).require_grad());
    let y = (&w * &x).square();
    let dx = Backward::new().create_graph().grad(&[y.as_any()], &[x.as_any()]);
    let dx = Tensor::<1>::from_any(dx[0].clone().unwrap());
    let grads = dx.square().backward();
    close(&w.grad(&grads).unwrap(), [16.0 * 8.0 * 9.0]);
}

/// A function whose Jacobian is not symmetric.
fn network(x: &Tensor<1>) -> Tensor<1> {
    let weight = doubles::<2>([[0.3, -1.0, 0.5], [0.7, 0.2, -0.4]]);
    let h = activation::softmax(x.reshape([1, 3]), 1).log();
    activation::gelu(h.matmul(weight.transpose()).reshape([2]) * x.slice(0..2))
}

#[test]
fn products_with_the_jacobian_agree_with_the_jacobian() {
    let x = doubles::<1>([0.2, -0.5, 1.1]);
    let j: Tensor<2> = jacobian(network, &x);
    assert_eq!(j.dims(), [2, 3]);
    let (u, v) = (doubles::<1>([1.0, -2.0, 0.5]), doubles::<1>([0.3, 2.0]));
    let (y, along) = jvp(network, &x, &u);
    assert_eq!(y.to_data(), network(&x).to_data());
    close(&along, j.matmul(u.reshape([3, 1])).reshape([2]).into_data());
    let (_, back) = vjp(network, &x, &v);
    close(&back, v.reshape([1, 2]).matmul(&j).reshape([3]).into_data());
    // Central differences.
    let step = 1e-6;
    let moved = |by: f64| network(&(&x + &u * by));
    let numeric = (moved(step) - moved(-step)) / (2.0 * step);
    numeric.to_data().assert_approx_eq(&along.to_data(), Tolerance::<f64>::absolute(1e-8));
}

#[test]
fn second_derivatives_agree_with_each_other() {
    let f = |x: &Tensor<1>| network(x).square().sum();
    let x = doubles::<1>([0.2, -0.5, 1.1]);
    let h: Tensor<2> = hessian(f, &x);
    close(&h, h.transpose().into_data());
    let v = doubles::<1>([1.0, -2.0, 0.5]);
    let (_, product) = hvp(f, &x, &v);
    close(&product, h.matmul(v.reshape([3, 1])).reshape([3]).into_data());
    // x^2 y: [[2 y, 2 x], [2 x, 0]]
    let g = |x: &Tensor<1>| x.slice(0..1).square() * x.slice(1..2);
    let h: Tensor<2> = hessian(g, &doubles::<1>([3.0, 5.0]));
    close(&h, [[10.0, 6.0], [6.0, 0.0]]);
}

/// The second derivative by two numbers is the product of all others, whatever is zero.
#[test]
fn a_product_with_zeros_has_second_derivatives() {
    for zeros in [vec![], vec![1], vec![0, 1], vec![1, 3], vec![0, 1, 2]] {
        let mut x = vec![2.0, 7.0, 3.0, 5.0];
        zeros.iter().for_each(|&i| x[i] = 0.0);
        let h: Tensor<2> =
            hessian(|x: &Tensor<1>| x.reshape([2, 2]).prod(), &doubles::<1>(x.as_slice()));
        let others = |i, j| (0..4).filter(move |&k| k != i && k != j);
        let entry = |i, j| if i == j { 0.0 } else { others(i, j).map(|k| x[k]).product::<f64>() };
        let expected: Vec<f64> = (0..16).map(|at| entry(at / 4, at % 4)).collect();
        close(&h.reshape([16]), expected.as_slice());
    }
}

#[test]
fn functions_that_do_not_depend_on_their_argument_have_zero_derivatives() {
    let x = doubles::<1>([1.0, 2.0]);
    let constant = |_: &Tensor<1>| doubles::<1>([7.0]);
    let j: Tensor<2> = jacobian(constant, &x);
    close(&j, [[0.0, 0.0]]);
    close(&jvp(constant, &x, &x).1, [0.0]);
    let linear = |x: &Tensor<1>| x.sum();
    let h: Tensor<2> = hessian(linear, &x);
    close(&h, [[0.0, 0.0], [0.0, 0.0]]);
    assert!(guard(|| hessian::<1, 2>(|x| x.clone(), &x)).is_err(), "two outputs");
    assert!(guard(|| jacobian::<1, 1, 3>(linear, &x)).is_err(), "a wrong rank");
}

#[test]
fn gradients_accumulate_in_place() {
    let (x, w) = (doubles::<1>([1.0, 2.0]).require_grad(), doubles::<1>([3.0, 4.0]).require_grad());
    let mut total = (&x * &w).backward();
    let before = total.get(x.as_any()).unwrap().buffer().address();
    for _ in 0..3 {
        total.accumulate((&x * 10.0).backward());
    }
    assert_eq!(total.get(x.as_any()).unwrap().buffer().address(), before);
    close(&x.grad(&total).unwrap(), [33.0, 34.0]);
    close(&w.grad(&total).unwrap(), [1.0, 2.0]);
    assert!(!no_grad(|| &x * 1.0).is_tracked());
}
