//! Gradients that are told while the backward pass goes on.

use kiln_autograd::{Autograd, Backward, checkpoint, hook};
use kiln_tensor::{AnyTensor, Tensor};

fn leaf(value: f32) -> Tensor<1> {
    Tensor::from([value]).require_grad()
}

/// What is told of a pass from `y`: places of leaves with their gradients, in order. They are
/// compared with what the pass gives at its end.
fn told(y: &Tensor<1>, leaves: &[&Tensor<1>]) -> Vec<(usize, f32)> {
    let any: Vec<AnyTensor> = leaves.iter().map(|leaf| leaf.as_any().clone()).collect();
    let mut told = Vec::new();
    let tell = |place, gradient: &AnyTensor| told.push((place, gradient.item::<f32>()));
    let grads = Backward::new().run_telling(y, &any, tell);
    for (place, gradient) in &told {
        assert_eq!(leaves[*place].grad(&grads).unwrap().item::<f32>(), *gradient);
    }
    assert_eq!(told.len(), leaves.iter().filter(|leaf| leaf.grad(&grads).is_some()).count());
    told
}

#[test]
fn the_last_layer_is_told_before_the_pass_reaches_the_first() {
    let (a, b) = (leaf(2.0), leaf(3.0));
    let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let log = seen.clone();
    // The hook stands between the layers, and `a` is used before it.
    let middle = hook(&(&a * 5.0), move |_| {
        log.lock().unwrap().push("hook");
        None
    });
    let y = &middle * &b;
    let leaves = [a.as_any().clone(), b.as_any().clone()];
    Backward::new().run_telling(&y, &leaves, |place, _| {
        seen.lock().unwrap().push(["a", "b"][place]);
    });
    assert_eq!(*seen.lock().unwrap(), ["b", "hook", "a"]);
}

#[test]
fn a_leaf_is_told_once_after_all_its_uses() {
    let (a, b) = (leaf(2.0), leaf(3.0));
    // `b` is used by the first and by the last operation, twice by one of them. Both are complete
    // with the product of the two, whose inputs come in order.
    let y = (&a * &b).exp().log() * &a + &b * &b;
    assert_eq!(told(&y, &[&b, &a]), [(1, 12.0), (0, 4.0 + 6.0)]);
}

#[test]
fn leaves_that_are_not_reached_or_not_tracked_are_not_told() {
    let (a, unused, plain) = (leaf(2.0), leaf(3.0), Tensor::<1>::from([1.0]));
    assert_eq!(told(&(&a * &a), &[&unused, &plain, &a]), [(2, 4.0)]);
    // The result may be a leaf itself.
    assert_eq!(told(&a, &[&a]), [(0, 1.0)]);
    // A branch that no gradient flows through hides no other.
    let blocked = &a * (&a * 3.0).detach();
    assert_eq!(told(&blocked, &[&a]), [(0, 6.0)]);
}

#[test]
fn what_a_segment_uses_is_told_after_it() {
    let (a, b) = (leaf(2.0), leaf(3.0));
    let inside = b.clone();
    let first = checkpoint(move |x: &Tensor<1>| x * &inside, &(&a * 4.0)); // 24
    let y = &first * &b; // b is used again, outside
    let told = told(&y, &[&a, &b]);
    assert_eq!(told, [(1, 24.0 + 24.0), (0, 36.0)]);
}
