//! Updates of optimizers: in place, one by one or many at once.

use smallvec::SmallVec;

use crate::apply::{infer, run};
use crate::op::{Op, Update};
use crate::watch::watched;
use crate::{AnyTensor, Result};

/// Runs an optimizer update in place: `targets` are the inputs after `grad`, and each is replaced
/// by the output of its position. A target that shares its buffer is copied first, so no other
/// tensor changes. Nothing is recorded on a tape.
pub fn update(op: &Op, grad: &AnyTensor, targets: &mut [&mut AnyTensor]) -> Result<()> {
    let outputs = own(op, grad, targets)?;
    let mut inputs: SmallVec<[&AnyTensor; 4]> = SmallVec::from_slice(&[grad]);
    inputs.extend(&outputs);
    run(op, &inputs, &outputs)
}

/// Handles to the targets after they were checked, whose memory is now nobody else's.
fn own(
    op: &Op,
    grad: &AnyTensor,
    targets: &mut [&mut AnyTensor],
) -> Result<SmallVec<[AnyTensor; 3]>> {
    for target in targets.iter_mut() {
        target.make_exclusive()?;
    }
    let mut inputs: SmallVec<[&AnyTensor; 4]> = SmallVec::from_slice(&[grad]);
    inputs.extend(targets.iter().map(|target| &**target));
    infer(op, &inputs, grad.device())?;
    Ok(targets.iter().map(|target| (**target).clone()).collect())
}

/// An optimizer update that was checked and is still to run; see
/// [`Backend::update_all`](crate::Backend::update_all).
#[derive(Clone, Debug)]
pub struct PendingUpdate {
    /// What is computed.
    pub op: Update,
    /// Its first input.
    pub grad: AnyTensor,
    /// The other inputs, which are also the outputs.
    pub targets: SmallVec<[AnyTensor; 3]>,
}

impl PendingUpdate {
    /// All inputs.
    pub fn inputs(&self) -> SmallVec<[&AnyTensor; 4]> {
        std::iter::once(&self.grad).chain(&self.targets).collect()
    }
}

/// Optimizer updates that run together, so that a device need not start a kernel for each.
///
/// From [`Updates::add`] to [`Updates::run`] a target may hold its old values or the new ones. In
/// host memory, where nothing is gained by waiting, an update runs as soon as it is added.
#[derive(Debug, Default)]
pub struct Updates {
    pending: Vec<PendingUpdate>,
}

impl Updates {
    /// As [`update()`], at the latest when [`Updates::run`] is called.
    pub fn add(
        &mut self,
        op: Update,
        mut grad: AnyTensor,
        targets: &mut [&mut AnyTensor],
    ) -> Result<()> {
        // What is borrowed from host memory must not change while somebody looks at it.
        if grad.device().backend().in_host_memory() {
            return update(&op.into(), &grad, targets);
        }
        // What waits holds its tensors, so that one which nobody else holds is not among them.
        let waits = |grad: &AnyTensor| {
            let at = grad.buffer().address();
            let mut all = self.pending.iter().flat_map(|pending| &pending.targets);
            all.any(|target| target.buffer().address() == at)
        };
        let shared = targets.iter_mut().any(|target| !target.is_exclusive());
        if shared || !grad.is_exclusive() && waits(&grad) {
            self.run()?;
        }
        let targets = own(&op.into(), &grad, targets)?;
        self.pending.push(PendingUpdate { op, grad, targets });
        Ok(())
    }

    /// Runs what was added.
    pub fn run(&mut self) -> Result<()> {
        let pending = std::mem::take(&mut self.pending);
        let device = |update: &PendingUpdate| update.grad.device();
        for updates in pending.chunk_by(|a, b| device(a) == device(b)) {
            let backend = device(&updates[0]).backend();
            // Whoever looks on sees one after the other.
            if !watched() && updates.iter().all(|update| backend.supports(&update.op.into())) {
                backend.update_all(updates)?;
                continue;
            }
            for update in updates {
                run(&update.op.into(), &update.inputs(), &update.targets)?;
            }
        }
        Ok(())
    }
}
