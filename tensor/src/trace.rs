//! What was computed: every operation that runs inside of [`trace`], on any device.
//!
//! Summaries and kernel-count tests read it. While nobody traces or profiles, an operation pays for
//! reading one number ([`watch`](crate::watch)).

use std::cell::{Cell, RefCell};

use smallvec::SmallVec;

use crate::AnyTensor;
use crate::op::{Cost, Meta, Op};
use crate::watch::Watcher;

/// One operation that ran.
#[derive(Clone, Debug)]
pub struct Step {
    /// The operation.
    pub op: Op,
    /// Its inputs.
    pub inputs: SmallVec<[Value; 3]>,
    /// Its outputs.
    pub outputs: SmallVec<[Value; 1]>,
}

/// A tensor that took part in a [`Step`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value {
    /// Shape and dtype.
    pub meta: Meta,
    /// Address of the buffer: views of one tensor share it, and it is reused after a tensor died.
    pub address: usize,
}

impl Step {
    /// Floating-point operations and least memory traffic.
    pub fn cost(&self) -> Cost {
        let metas = |values: &[Value]| values.iter().map(|value| value.meta).collect::<Vec<_>>();
        self.op.spec().cost(&metas(&self.inputs), &metas(&self.outputs))
    }
}

thread_local! {
    static ACTIVE: Cell<bool> = const { Cell::new(false) };
    static STEPS: RefCell<Vec<Step>> = const { RefCell::new(Vec::new()) };
}

/// Runs `work` and returns its result and the operations that this thread applied meanwhile, in
/// order. Views are left out: they compute nothing.
///
/// ```
/// use kiln_tensor::{Tensor, trace};
/// let x = Tensor::<2>::from([[1.0, 2.0]]);
/// let (_, steps) = trace(|| (&x + 1.0).exp());
/// let names: Vec<_> = steps.iter().map(|step| step.op.spec().name()).collect();
/// assert_eq!(names, ["add", "exp"]);
/// ```
pub fn trace<T>(work: impl FnOnce() -> T) -> (T, Vec<Step>) {
    /// Puts an enclosing trace back, also when `work` panics.
    struct Restore(bool, Vec<Step>);
    impl Drop for Restore {
        fn drop(&mut self) {
            ACTIVE.set(self.0);
            let inner = STEPS.replace(std::mem::take(&mut self.1));
            if self.0 {
                STEPS.with_borrow_mut(|steps| steps.extend(inner));
            }
        }
    }
    let _watcher = Watcher::new();
    let restore = Restore(ACTIVE.replace(true), STEPS.take());
    let result = work();
    let steps = STEPS.with_borrow(Clone::clone);
    drop(restore);
    (result, steps)
}

pub(crate) fn note(op: &Op, inputs: &[&AnyTensor], outputs: &[AnyTensor]) {
    if ACTIVE.get() {
        let value = |x: &AnyTensor| Value { meta: x.meta(), address: x.buffer().address() };
        let step = Step {
            op: op.clone(),
            inputs: inputs.iter().map(|x| value(x)).collect(),
            outputs: outputs.iter().map(value).collect(),
        };
        STEPS.with_borrow_mut(|steps| steps.push(step));
    }
}
