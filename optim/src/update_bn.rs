//! Statistics of batch normalisation for weights that no training step had.

use std::any::Any;

use kiln_autograd::no_grad;
use kiln_nn::{BatchNorm, Module, Path, VisitorMut};

/// Computes the running statistics of every [`BatchNorm`] of `model` anew, as the mean over `batches`:
/// `torch.optim.swa_utils.update_bn`. A model that has averaged weights, from
/// [`Swa::apply_to`](crate::Swa::apply_to), needs it before it is used. Tells how many layers there
/// are; without any, no batch is computed.
///
/// ```
/// use kiln_nn::{BatchNormConfig, Module};
/// use kiln_optim::update_bn;
/// use kiln_tensor::{Device, Tensor};
/// let mut model = BatchNormConfig::new(1).init(&Device::cpu());
/// let batches = [Tensor::<2>::from([[1.0], [3.0]]), Tensor::<2>::from([[7.0], [9.0]])];
/// update_bn(&mut model, &batches, |model, batch| {
///     model.forward(batch);
/// });
/// assert_eq!(model.running_mean.unwrap().get().item::<f32>(), 5.0);
/// ```
pub fn update_bn<M: Module, B>(
    model: &mut M,
    batches: impl IntoIterator<Item = B>,
    mut forward: impl FnMut(&M, B),
) -> usize {
    // Every batch has the same share of the statistics, from none on.
    let mut momenta = Vec::new();
    each_norm(model, &mut |norm| {
        momenta.push(norm.momentum.take());
        for (buffer, start) in [(&norm.running_mean, 0.0), (&norm.running_var, 1.0)] {
            let Some(buffer) = buffer else { continue };
            buffer.set(buffer.get().full_like(start));
        }
        if let Some(count) = &norm.num_batches_tracked {
            count.set(count.get().zeros_like());
        }
    });
    let count = momenta.len();
    if count == 0 {
        return 0;
    }
    let modes = modes(model);
    model.train();
    no_grad(|| batches.into_iter().for_each(|batch| forward(model, batch)));
    let mut momenta = momenta.into_iter();
    each_norm(model, &mut |norm| norm.momentum = momenta.next().flatten());
    set_modes(model, modes);
    count
}

fn each_norm(model: &mut impl Module, visit: &mut dyn FnMut(&mut BatchNorm)) {
    struct Each<'a>(&'a mut dyn FnMut(&mut BatchNorm));
    impl VisitorMut for Each<'_> {
        fn module(&mut self, _: &Path<'_>, module: &mut dyn Any) {
            if let Some(norm) = module.downcast_mut() {
                (self.0)(norm);
            }
        }
    }
    model.visit_mut(&Path::ROOT, &mut Each(visit));
}

/// Whether each layer is in training mode, in the order of declaration.
fn modes(model: &mut impl Module) -> Vec<bool> {
    struct Collect(Vec<bool>);
    impl VisitorMut for Collect {
        fn mode(&mut self, training: &mut bool) {
            self.0.push(*training);
        }
    }
    let mut collect = Collect(Vec::new());
    model.visit_mut(&Path::ROOT, &mut collect);
    collect.0
}

fn set_modes(model: &mut impl Module, modes: Vec<bool>) {
    struct Set(std::vec::IntoIter<bool>);
    impl VisitorMut for Set {
        fn mode(&mut self, training: &mut bool) {
            *training = self.0.next().unwrap_or(*training);
        }
    }
    model.visit_mut(&Path::ROOT, &mut Set(modes.into_iter()));
}
