//! Checkpoints, hooks, and the search for the first bad number.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kiln_autograd::{Autograd, Backward, checkpoint, hook, no_grad};
use kiln_tensor::{Device, Distribution, Tensor, activation, detect_anomaly, guard, module};

/// One test at a time: the random numbers and the memory of the device are shared.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn random<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), &Device::cpu())
}

fn layer(x: &Tensor<2>, w: &Tensor<2>) -> Tensor<2> {
    module::dropout(&activation::gelu(x.matmul(w)), 0.3)
}

#[test]
fn a_checkpoint_changes_no_bit_of_any_gradient() {
    let _alone = alone();
    let (x, w, v) = (
        random([4, 8]).require_grad(),
        random([8, 8]).require_grad(),
        random([8, 8]).require_grad(),
    );
    let run = |segments: bool| {
        Device::cpu().seed(5);
        let (w1, v1) = (w.clone(), v.clone());
        let h = if segments {
            // One inside of the other, with dropout in both.
            checkpoint(
                move |x: &Tensor<2>| {
                    let v2 = v1.clone();
                    layer(&checkpoint(move |h: &Tensor<2>| layer(h, &v2), &layer(x, &w1)), &w1)
                },
                &x,
            )
        } else {
            layer(&layer(&layer(&x, &w), &v), &w)
        };
        let after = module::dropout(&h, 0.5);
        let loss = after.square().sum() + x.sum();
        let grads = loss.backward();
        let next = Device::cpu().generator();
        let gradients = [&x, &w, &v].map(|t| t.grad(&grads).unwrap().into_data());
        (loss.item::<f32>(), gradients, next)
    };
    assert_eq!(run(false), run(true));
}

#[test]
fn a_checkpoint_keeps_only_its_input() {
    let _alone = alone();
    let device = Device::cpu();
    let x = random([64, 256]).require_grad();
    let deep = |x: &Tensor<2>| (0..50).fold(x.clone(), |x, _| x.tanh());
    let kept = |y: &dyn Fn() -> Tensor<2>| {
        let before = device.memory().in_use;
        let y = y();
        (device.memory().in_use - before, y)
    };
    let (full, plain) = kept(&|| deep(&x));
    let (little, again) = kept(&|| checkpoint(deep, &x));
    assert!(little * 20 < full, "{little} bytes against {full}");
    let grads = [plain, again].map(|y| x.grad(&y.backward()).unwrap().into_data());
    assert_eq!(grads[0], grads[1]);
}

#[test]
fn a_checkpoint_can_be_differentiated_twice() {
    let _alone = alone();
    let x = Tensor::<1>::from([2.0]).require_grad();
    let y = checkpoint(|x: &Tensor<1>| x.powi_scalar(4), &x);
    let first = Backward::new().create_graph().run(&y);
    let dx = x.grad(&first).unwrap();
    assert_eq!(dx.item::<f32>(), 32.0);
    assert_eq!(x.grad(&dx.backward()).unwrap().item::<f32>(), 48.0);
}

#[test]
fn checkpoints_of_untracked_work_are_untracked() {
    let _alone = alone();
    let x = Tensor::<1>::from([2.0]);
    assert!(!checkpoint(|x: &Tensor<1>| x.exp(), &x).is_tracked());
    let tracked = x.clone().require_grad();
    assert!(!no_grad(|| checkpoint(|x: &Tensor<1>| x.exp(), &tracked)).is_tracked());
    // Only what is captured is tracked.
    let captured = tracked.clone();
    let y = checkpoint(move |x: &Tensor<1>| x * &captured, &x);
    assert_eq!(tracked.grad(&y.backward()).unwrap().item::<f32>(), 2.0);
    // `grad` finds its way through a segment as well.
    let captured = tracked.clone();
    let y = checkpoint(move |x: &Tensor<1>| x * &captured, &x);
    let found = Backward::new().grad(&[y.as_any()], &[tracked.as_any()]);
    assert_eq!(found[0].as_ref().unwrap().item::<f32>(), 2.0);
}

#[test]
fn a_segment_that_changes_its_shape_is_an_error() {
    let _alone = alone();
    let x = Tensor::<1>::from([2.0, 3.0]).require_grad();
    let calls = Arc::new(AtomicUsize::new(0));
    let y = checkpoint(
        move |x: &Tensor<1>| match calls.fetch_add(1, Ordering::Relaxed) {
            0 => x.exp(),
            _ => x.exp().sum(),
        },
        &x,
    );
    let error = guard(|| y.backward()).unwrap_err().to_string();
    assert!(error.contains("f32 [2] at first and f32 [1]"), "{error}");
}

#[test]
fn hooks_see_and_change_the_gradient() {
    let x = Tensor::<1>::from([1.0, -2.0]).require_grad();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = seen.clone();
    let h = hook(&(&x * 3.0), move |g| {
        log.lock().unwrap().push(g.to_data().to_vec::<f32>().unwrap());
        None
    });
    let h = hook(&h, |g| Some(g * 10.0));
    let grads = (&h * &h).backward();
    assert_eq!(*seen.lock().unwrap(), [[60.0, -120.0]], "the sum of both uses, once");
    assert_eq!(x.grad(&grads).unwrap().into_data().to_vec::<f32>().unwrap(), [180.0, -360.0]);
    let wrong = hook(&x, |g| Some(g.sum()));
    let error = guard(|| wrong.backward()).unwrap_err().to_string();
    assert!(error.contains("hook"), "{error}");
    let plain = Tensor::<1>::from([1.0]);
    assert!(!hook(&plain, |_| unreachable!("it has no gradient")).is_tracked());
    // A long chain of hooks drops without recursion.
    let chain = (0..100_000).fold(x.clone(), |x, _| hook(&x, |_| None));
    drop(chain);
}

#[test]
fn the_first_bad_number_is_named_with_its_line() {
    let x = Tensor::<2>::from([[1.0, 2.0], [0.0, 4.0]]);
    let line = line!() + 1;
    let error = guard(|| detect_anomaly(|| x.recip())).unwrap_err().to_string();
    assert!(error.starts_with("recip: output 0 is inf at [1, 0]"), "{error}");
    assert!(error.contains(&format!("segments.rs:{line}")), "{error}");
    // Forward finite, backward not: sqrt at zero.
    let tracked = x.require_grad();
    let line = line!() + 1;
    let y = tracked.sqrt();
    let error = guard(|| detect_anomaly(|| y.sum().backward())).unwrap_err().to_string();
    assert!(error.starts_with("sqrt: the gradient of input 0 is inf at [1, 0]"), "{error}");
    assert!(error.contains(&format!("segments.rs:{line}")), "{error}");
    // What was bad before is not blamed on the next operation, and nothing is checked outside.
    let bad = Tensor::<1>::from([f32::NAN]);
    assert!(detect_anomaly(|| bad.exp()).item::<f32>().is_nan());
    assert_eq!(Tensor::<1>::from([0.0]).recip().item::<f32>(), f32::INFINITY);
}
