//! What an optimizer remembers of each parameter.

use kiln_autograd::Gradients;
use kiln_nn::{Module, Path, VisitorMut};
use kiln_tensor::op::Op;
use kiln_tensor::{AnyTensor, Error, fail, update};
use smallvec::SmallVec;

/// The state of every parameter, in the order in which the model declares them.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    slots: Vec<Slot>,
}

/// The state of one parameter.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    path: String,
    /// Updates so far.
    pub steps: u64,
    /// Averages of the parameter's shape, zero at first.
    averages: SmallVec<[AnyTensor; 2]>,
}

impl State {
    /// Runs the update that `operation` gives for each parameter with a gradient, on the parameter
    /// and its `averages` averages.
    #[track_caller]
    pub fn step(
        &mut self,
        model: &mut impl Module,
        grads: Gradients,
        averages: usize,
        operation: impl Fn(&Slot) -> Op,
    ) {
        let mut visitor = Step { state: self, next: 0, grads, averages, operation };
        model.visit_mut(&Path::ROOT, &mut visitor);
    }

    /// The slot of the parameter at `path`. A model is visited in the same order every time, so it
    /// is nearly always the next one.
    fn slot(&mut self, next: usize, path: &Path<'_>, param: &AnyTensor, averages: usize) -> usize {
        if self.slots.get(next).is_some_and(|slot| path.is(&slot.path)) {
            return next;
        }
        if let Some(found) = self.slots.iter().position(|slot| path.is(&slot.path)) {
            return found;
        }
        let zeros = (0..averages).map(|_| param.detach().zeros_like()).collect();
        self.slots.push(Slot { path: path.to_string(), steps: 0, averages: zeros });
        self.slots.len() - 1
    }
}

struct Step<'a, F> {
    state: &'a mut State,
    next: usize,
    grads: Gradients,
    averages: usize,
    operation: F,
}

impl<F: Fn(&Slot) -> Op> VisitorMut for Step<'_, F> {
    fn param(&mut self, path: &Path<'_>, param: &mut AnyTensor) {
        let Some(grad) = self.grads.remove(param) else { return };
        let index = self.state.slot(self.next, path, param, self.averages);
        self.next = index + 1;
        let slot = &mut self.state.slots[index];
        slot.steps += 1;
        let op = (self.operation)(slot);
        let mut targets: SmallVec<[&mut AnyTensor; 3]> = SmallVec::new();
        targets.push(param);
        targets.extend(slot.averages.iter_mut());
        if let Err(error) = update(&op, &grad, &mut targets) {
            let rule = format!("the state of {path} does not fit: {error}");
            fail(Error::Argument { op: "optimizer step", rule });
        }
    }
}
