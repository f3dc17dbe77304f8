//! Gradients of fused chains: those of the operations one by one, as fused operations again.

use kiln_autograd::{Autograd, checkpoint, hook, hvp, no_grad};
use kiln_tensor::{
    DType, Device, Distribution, Tensor, TensorData, Tolerance, activation, detect_anomaly, fuse,
    guard, trace,
};

fn random<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    let normal = Distribution::Normal(0.0, 1.0);
    Tensor::random(shape, normal, &Device::cpu()).cast(DType::F64).require_grad()
}

fn near(actual: TensorData, expected: TensorData) {
    actual.assert_approx_eq(&expected, Tolerance::<f64>::rel_abs(1e-12, 1e-12));
}

/// The gradients by `inputs`, one by one and fused.
fn same<const D: usize>(inputs: &[&Tensor<D>], compute: impl Fn() -> Tensor<2>) {
    let (apart, fused) = (compute().backward(), fuse(&compute).backward());
    for input in inputs {
        near(input.grad(&fused).unwrap().into_data(), input.grad(&apart).unwrap().into_data());
    }
}

#[test]
fn gradients_are_those_of_the_operations_one_by_one() {
    let [a, b, c] = [(); 3].map(|_| random([37, 43]));
    same(&[&a, &b, &c], || activation::gelu(&a * &b + &c) * &c);
    same(&[&a, &b], || (&a - &b).exp() / (b.square() + 1.0) - activation::silu(&a * &a));
    // Of a sign nothing depends on its input.
    same(&[&a, &b], || a.sign() * &b + (&a * 2.0));
    same(&[&a, &b], || (&a * 2.0).mask_where(a.greater(&b), &b * &b));
}

#[test]
fn gradients_of_what_is_broadcast_are_summed() {
    let (a, row, column) = (random([20, 30]), random([1, 30]), random([20, 1]));
    same(&[&a, &row, &column], || (&a * &row + column.tanh()).exp());
    let scale = random([1]);
    same(&[&a], || (&a * scale.unsqueeze::<2>()).sin() + a.transpose().transpose());
}

#[test]
fn a_gradient_is_one_operation_and_keeps_only_inputs() {
    let [a, b] = [(); 2].map(|_| random([64, 64]));
    let names = |steps: &[kiln_tensor::Step]| {
        steps.iter().map(|step| step.op.spec().name()).collect::<Vec<_>>()
    };
    let y = fuse(|| activation::gelu(&a * &b) + a.tanh() * b.exp());
    let (_, steps) = trace(|| y.backward());
    // The gradient of the sum of all elements is one everywhere.
    assert_eq!(names(&steps), ["fill", "fused"]);
    assert_eq!(steps[1].inputs.len(), 3);
    assert_eq!(steps[1].outputs.len(), 2);
    // Only what is asked for is computed.
    let only_a = fuse(|| activation::gelu(&a * b.detach()) + a.tanh() * b.detach().exp());
    let (_, steps) = trace(|| only_a.backward());
    assert_eq!(steps[1].outputs.len(), 1);
}

#[test]
fn the_gradient_of_a_gradient_is_fused_too() {
    let (x, v) = (random([50]), random([50]).detach());
    let apart = |x: &Tensor<1>| (x.tanh() * x.exp() + x.square() * 0.5).sum();
    let fused = |x: &Tensor<1>| fuse(|| x.tanh() * x.exp() + x.square() * 0.5).sum();
    near(hvp(fused, &x, &v).1.into_data(), hvp(apart, &x, &v).1.into_data());
    let (_, steps) = trace(|| hvp(fused, &x, &v));
    let chains = steps.iter().filter(|step| step.op.spec().name() == "fused").count();
    assert_eq!(chains, 3, "{steps:?}");
}

#[test]
fn a_kept_graph_is_walked_again() {
    let [a, b] = [(); 2].map(|_| random([6, 5]));
    let y = fuse(|| (&a * &b).tanh() * &a);
    let first = y.backward_retain();
    let second = y.backward();
    assert_eq!(a.grad(&first).unwrap().into_data(), a.grad(&second).unwrap().into_data());
    assert!(guard(|| y.backward()).is_err());
}

#[test]
fn segments_compute_a_chain_again() {
    let a = random([6, 5]);
    let compute = |a: &Tensor<2>| fuse(|| a.tanh() * a + 1.0);
    let (plain, segment) = (compute(&a).backward(), checkpoint(compute, &a).backward());
    near(a.grad(&segment).unwrap().into_data(), a.grad(&plain).unwrap().into_data());
}

#[test]
fn untracked_is_what_would_be_untracked() {
    let a = random([6, 5]);
    assert!(!no_grad(|| fuse(|| a.exp() * 2.0)).is_tracked());
    assert!(!fuse(|| no_grad(|| a.exp() * 2.0)).is_tracked());
    assert!(!fuse(|| (a.exp() * 2.0).detach()).is_tracked());
    assert!(!fuse(|| a.detach().exp() * 2.0).is_tracked());
    assert!(fuse(|| a.exp() * 2.0).is_tracked());
    // Cut off before the chain, an input has no gradient there.
    let grads = fuse(|| &a * 2.0 + a.detach().exp()).backward();
    assert_eq!(a.grad(&grads).unwrap().to_vec::<f64>(), [2.0; 30]);
}

#[test]
fn what_would_change_a_gradient_on_the_way_is_an_error() {
    let a = random([6, 5]);
    let text = |work: &dyn Fn() -> Tensor<2>| guard(|| fuse(work)).unwrap_err().to_string();
    let rule = "fuse: `detach`, `no_grad` and hooks of tensors belong before or after it, as one \
                gradient is computed for all of it";
    assert_eq!(text(&|| (&a * 2.0).detach() * &a), rule);
    assert_eq!(text(&|| no_grad(|| &a * 2.0) * &a), rule);
    assert_eq!(text(&|| hook(&(&a * 2.0), |_| None) * &a), rule);
    // A hook of an input stays on its way.
    let grads = fuse(|| hook(&a, |gradient| Some(gradient * 3.0)) * 2.0 + 1.0).backward();
    assert_eq!(a.grad(&grads).unwrap().to_vec::<f64>(), [6.0; 30]);
}

#[test]
fn anomalies_are_found_in_chains_and_their_gradients() {
    let a = random([6, 5]);
    let good = detect_anomaly(|| fuse(|| a.tanh() * &a).backward());
    near(
        a.grad(&good).unwrap().into_data(),
        a.grad(&(a.tanh() * &a).backward()).unwrap().into_data(),
    );
    let zero = Tensor::<1>::from([0.0, 1.0]).require_grad();
    let forward = guard(|| detect_anomaly(|| fuse(|| zero.log() + 1.0))).unwrap_err();
    assert!(forward.to_string().starts_with("fused:"), "{forward}");
    let backward = guard(|| detect_anomaly(|| fuse(|| zero.sqrt() + 1.0).backward())).map(drop);
    assert!(backward.unwrap_err().to_string().contains("fused"));
}
