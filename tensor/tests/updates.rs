//! Updates that wait for each other, on a device whose memory is its own.

use std::sync::atomic::{AtomicUsize, Ordering};

use kiln_tensor::op::{Op, Rule, ScaleRule, SgdRule, Update};
use kiln_tensor::{AnyTensor, Backend, Device, PendingUpdate, Result, Tensor, Updates, trace};

/// The kernels of the CPU, and how many updates came together the last time.
struct Elsewhere;

static TOGETHER: AtomicUsize = AtomicUsize::new(0);

impl Backend for Elsewhere {
    fn name(&self) -> &str {
        "elsewhere"
    }
    fn alloc(&self, bytes: usize) -> Option<usize> {
        Device::cpu().backend().alloc(bytes)
    }
    unsafe fn free(&self, address: usize, bytes: usize) {
        // SAFETY: passed on to the caller.
        unsafe { Device::cpu().backend().free(address, bytes) }
    }
    unsafe fn upload(&self, source: &[u8], address: usize) -> Result<()> {
        // SAFETY: passed on to the caller.
        unsafe { Device::cpu().backend().upload(source, address) }
    }
    unsafe fn download(&self, address: usize, target: &mut [u8]) -> Result<()> {
        // SAFETY: passed on to the caller.
        unsafe { Device::cpu().backend().download(address, target) }
    }
    fn execute(&self, op: &Op, inputs: &[&AnyTensor], outputs: &[AnyTensor]) -> Result<()> {
        Device::cpu().backend().execute(op, inputs, outputs)
    }
    fn update_all(&self, updates: &[PendingUpdate]) -> Result<()> {
        TOGETHER.store(updates.len(), Ordering::Relaxed);
        Device::cpu().backend().update_all(updates)
    }
}

fn tensors<const N: usize>(values: [f32; N], device: &Device) -> [AnyTensor; N] {
    values.map(|value| Tensor::<1>::from_data([value, value], device).into_any())
}

fn first(x: &AnyTensor) -> f32 {
    x.to_vec::<f32>().unwrap()[0]
}

/// `x -= 0.5 grad`.
fn descend() -> Update {
    Update::new(Rule::Sgd(SgdRule::new(0.5)))
}

#[test]
fn updates_run_together_and_in_host_memory_at_once() {
    let device = Device::custom(Elsewhere);
    let [mut a, mut b, grad] = tensors([1.0, 2.0, 4.0], &device);
    let kept = a.clone();
    let mut updates = Updates::default();
    updates.add(descend(), grad.clone(), &mut [&mut a]).unwrap();
    updates.add(descend(), grad, &mut [&mut b]).unwrap();
    updates.run().unwrap();
    assert_eq!((first(&a), first(&b), TOGETHER.load(Ordering::Relaxed)), (-1.0, 0.0, 2));
    assert_eq!(first(&kept), 1.0, "a clone keeps its values");
    let [mut a, grad] = tensors([1.0, 4.0], &Device::cpu());
    updates.add(descend(), grad, &mut [&mut a]).unwrap();
    assert_eq!(first(&a), -1.0);
}

#[test]
fn what_needs_another_update_comes_after_it() {
    for device in [Device::custom(Elsewhere), Device::cpu()] {
        let [mut a, mut b, mut c, grad] = tensors([1.0, 2.0, 3.0, 4.0], &device);
        let mut updates = Updates::default();
        // The same tensor twice; one as the gradient of another; and a gradient that is changed.
        updates.add(descend(), grad.clone(), &mut [&mut a]).unwrap();
        updates.add(descend(), grad.clone(), &mut [&mut a]).unwrap();
        updates.add(descend(), a.clone(), &mut [&mut b]).unwrap();
        updates.add(descend(), b.narrow(0, 0, 1).expand([2]), &mut [&mut c]).unwrap();
        let mut grad = grad;
        let scale = Update::new(Rule::Scale(ScaleRule));
        updates.add(scale, c.clone(), &mut [&mut grad]).unwrap();
        updates.run().unwrap();
        assert_eq!([&a, &b, &c, &grad].map(first), [-3.0, 3.5, 1.25, 5.0]);
    }
}

#[test]
fn what_does_not_fit_is_refused_when_it_is_added_and_a_trace_sees_each() {
    let device = Device::custom(Elsewhere);
    let [mut a, grad] = tensors([1.0, 4.0], &device);
    let mut updates = Updates::default();
    let short = grad.narrow(0, 0, 1);
    let error = updates.add(descend(), short, &mut [&mut a]).unwrap_err().to_string();
    assert!(error.starts_with("sgd_update"), "{error}");
    let (_, steps) = trace(|| {
        updates.add(descend(), grad, &mut [&mut a]).unwrap();
        updates.run().unwrap();
    });
    let names: Vec<_> = steps.iter().map(|step| step.op.spec().name()).collect();
    assert_eq!((names, first(&a)), (vec!["sgd_update"], -1.0));
    // What was not run is left out.
    updates.add(descend(), a.clone(), &mut [&mut a]).unwrap();
    drop(updates);
    assert_eq!(first(&a), -1.0);
}
