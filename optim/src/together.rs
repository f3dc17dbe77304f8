//! All gradients at once: few operations, and few waits for a device.

use std::borrow::Borrow;

use kiln_autograd::Gradients;
use kiln_tensor::op::{BinaryKind, Meta, Rule, ScaleRule, Total, Totals, Update};
use kiln_tensor::{AnyTensor, DType, Device, OrFail, Updates, apply};

/// The tensors of each device and dtype, in their order.
pub(crate) fn alike<T: Borrow<AnyTensor>>(tensors: impl IntoIterator<Item = T>) -> Vec<Vec<T>> {
    let kind = |tensor: &T| (tensor.borrow().device(), tensor.borrow().dtype());
    let mut groups: Vec<Vec<T>> = Vec::new();
    for tensor in tensors {
        match groups.iter_mut().find(|group| kind(&group[0]) == kind(&tensor)) {
            Some(group) => group.push(tensor),
            None => groups.push(vec![tensor]),
        }
    }
    groups
}

/// A number of each tensor of a group, as `[group]`.
pub(crate) fn totals(total: Total, group: &[impl Borrow<AnyTensor>]) -> AnyTensor {
    let values: Vec<AnyTensor> = group.iter().map(|tensor| tensor.borrow().detach()).collect();
    let inputs: Vec<&AnyTensor> = values.iter().collect();
    apply(&Totals { total }.into(), &inputs).or_fail().swap_remove(0)
}

/// The sum of a number of all gradients. Waits once for each group.
pub(crate) fn total(total: Total, grads: &Gradients) -> f64 {
    let sum = |group: &Vec<&AnyTensor>| numbers(&totals(total, group)).iter().sum::<f64>();
    alike(grads.iter()).iter().map(sum).sum()
}

pub(crate) fn numbers(x: &AnyTensor) -> Vec<f64> {
    x.to_data().or_fail().iter().collect()
}

/// Whether the host reads what is on the device without a wait.
pub(crate) fn in_host_memory(device: Device) -> bool {
    device.backend().in_host_memory()
}

/// Multiplies all gradients by a number.
pub(crate) fn scale(grads: &mut Gradients, factor: f64) {
    for mut group in alike(grads.iter_mut()) {
        let meta = Meta::new([1], group[0].dtype());
        let device = group[0].device();
        if in_host_memory(device) || !matches!(meta.dtype, DType::F32 | DType::F64) {
            group.iter_mut().for_each(|grad| grad.binary_scalar_assign(BinaryKind::Mul, factor));
        } else {
            let factor = AnyTensor::full(meta, factor, device);
            scale_each(&mut group, |_| factor.clone());
        }
    }
}

/// Multiplies each tensor of a group by the one number of `factor` for its place.
pub(crate) fn scale_each(group: &mut [&mut AnyTensor], factor: impl Fn(usize) -> AnyTensor) {
    let op = Update::new(Rule::Scale(ScaleRule));
    let mut updates = Updates::default();
    for (i, grad) in group.iter_mut().enumerate().filter(|(_, grad)| grad.num_elements() > 0) {
        let factor = factor(i).reshape(vec![1; grad.rank()]).expand(grad.shape());
        if grad.dtype() == factor.dtype() && grad.tracked().is_none() {
            updates.add(op, factor, &mut [grad]).or_fail();
        } else {
            // A factor rounded to a half type would be another one.
            **grad = grad.cast(factor.dtype()).mul(&factor).cast(grad.dtype());
        }
    }
    updates.run().or_fail();
}
