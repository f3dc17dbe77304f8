//! Memory of graphs. Alone in its process, so that nobody else's tensors are counted.

use kiln_autograd::Autograd;
use kiln_tensor::memory::LeakCheck;
use kiln_tensor::{Device, Distribution, Tensor, activation};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// One test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn graphs_free_their_memory() {
    let _alone = alone();
    let device = Device::cpu();
    let weight = Tensor::<2>::random([64, 64], Distribution::Default, &device).require_grad();
    let x = Tensor::<2>::random([32, 64], Distribution::Default, &device);
    let forward = || {
        let h = activation::gelu(x.matmul(&weight));
        activation::softmax(h.matmul(&weight), 1).log().mean()
    };
    drop(forward().backward());
    let (before, check) = (device.memory(), LeakCheck::new(&device));
    for _ in 0..500 {
        drop(forward().backward());
        // A graph that nobody walks frees itself as well.
        drop(forward());
    }
    drop(check);
    let after = device.memory();
    assert!(after.peak <= before.peak + (1 << 20), "{before:?} grew to {after:?}");
}

#[test]
fn backward_frees_what_it_used() {
    let _alone = alone();
    let device = Device::cpu();
    let weight = Tensor::<2>::random([256, 256], Distribution::Default, &device).require_grad();
    let mut y = weight.clone();
    for _ in 0..50 {
        y = y.tanh();
    }
    let y = y.sum();
    let full = device.memory().in_use;
    let grads = y.backward();
    let left = device.memory().in_use;
    assert!(left < full / 10, "{full} bytes before, {left} after, with the loss still alive");
    assert!(weight.grad(&grads).is_some());
}
