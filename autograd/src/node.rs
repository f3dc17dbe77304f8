//! Nodes of the graph: a leaf, or what backward needs to know of one operation.

use std::any::Any;
use std::cell::Cell;
use std::panic::Location;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use kiln_tensor::op::{Meta, Op, View};
use kiln_tensor::{AnyTensor, Applied, Error, Result, Track, Tracked};
use smallvec::SmallVec;

use crate::checkpoint::Segment;
use crate::hook::Hook;
use crate::mode::{self, Mode};
use crate::rules;

/// A node of the graph. Its outputs hold it; it holds its parents.
pub(crate) struct Node {
    /// Larger than those of its parents: walking down the ids visits every node after all that
    /// depend on it.
    pub id: u64,
    pub origin: Origin,
}

/// Where the outputs of a node come from.
// Nearly every node is a step; a box for it would be another allocation for each operation.
#[allow(clippy::large_enum_variant)]
pub(crate) enum Origin {
    /// Nowhere: the gradient is what the user asks for.
    Leaf,
    /// An operation on tracked tensors.
    Step(Step),
    /// Another tensor of the same value, whose gradient is changed on its way.
    Hook(Hook),
    /// Operations that were not recorded, and are computed again.
    Segment(Segment),
}

/// An operation that was applied to tracked tensors.
pub(crate) struct Step {
    pub op: Op,
    /// Where the gradients of the inputs go.
    pub parents: SmallVec<[Option<Tracked>; 3]>,
    /// Shapes and dtypes of the inputs. `None`: all have those of the one output. So it is with
    /// nearly all elementwise operations, and shapes are the largest part of a node.
    metas: Option<Box<[Meta]>>,
    /// How many outputs there are.
    pub outputs: usize,
    /// The line that applied it.
    pub caller: &'static Location<'static>,
    /// Taken by backward, so that memory is free as soon as it was used.
    saved: Mutex<Option<Saved>>,
}

/// The values that the operation's spec says backward needs.
#[derive(Clone, Default)]
pub(crate) struct Saved {
    pub inputs: SmallVec<[Option<AnyTensor>; 3]>,
    /// Not tracked: an output that held its own node would never be freed.
    pub outputs: SmallVec<[Option<AnyTensor>; 1]>,
}

impl Node {
    /// A node without parents.
    pub fn leaf() -> Arc<Self> {
        Arc::new(Self { id: next_id(0), origin: Origin::Leaf })
    }

    pub fn hook(hook: Hook) -> Arc<Self> {
        Arc::new(Self { id: next_id(hook.parent.node.id()), origin: Origin::Hook(hook) })
    }

    pub fn segment(segment: Segment) -> Arc<Self> {
        // Nobody knows the parents, which may be of any thread.
        Arc::new(Self { id: newest_id(), origin: Origin::Segment(segment) })
    }

    /// How many outputs there are.
    pub fn outputs(&self) -> usize {
        match &self.origin {
            Origin::Step(step) => step.outputs,
            Origin::Segment(segment) => segment.outputs,
            Origin::Leaf | Origin::Hook(_) => 1,
        }
    }

    /// The nodes that gradients go to from here, as far as they are known before a segment is
    /// computed again.
    pub fn parents(&self) -> impl Iterator<Item = &Node> {
        let (step, hook) = match &self.origin {
            Origin::Step(step) => (Some(step), None),
            Origin::Hook(hook) => (None, Some(&hook.parent)),
            Origin::Leaf | Origin::Segment(_) => (None, None),
        };
        let parents = step.into_iter().flat_map(|step| step.parents.iter().flatten());
        parents.chain(hook).map(|parent| node(&parent.node))
    }
}

/// The id of a new node, larger than all that this thread gave before and than `parent`, the
/// largest of its parents.
///
/// Threads take ids by the block, so that they do not wait for each other at every operation. A
/// block that is taken is above every other, so a parent of another thread asks for a new one.
#[inline]
fn next_id(parent: u64) -> u64 {
    let (next, end) = IDS.get();
    if next == end || next <= parent {
        return newest_id();
    }
    IDS.set((next + 1, end));
    next
}

/// As [`next_id`], larger than that of any node there is.
#[cold]
pub(crate) fn newest_id() -> u64 {
    const BLOCK: u64 = 1 << 10;
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let id = NEXT.fetch_add(BLOCK, Ordering::Relaxed);
    IDS.set((id + 1, id + BLOCK));
    id
}

thread_local! {
    /// The next id of this thread and the end of its block.
    static IDS: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
}

/// The node behind what tracks a tensor.
pub(crate) fn node(tracked: &Arc<dyn Track>) -> &Node {
    let node: &dyn Any = &**tracked;
    node.downcast_ref().expect("this is the only tape")
}

/// As [`node`], another holder of it.
pub(crate) fn holder(tracked: &Arc<dyn Track>) -> Arc<Node> {
    let node: Arc<dyn Any + Send + Sync> = tracked.clone();
    node.downcast().expect("this is the only tape")
}

impl Track for Node {
    #[inline]
    fn id(&self) -> u64 {
        self.id
    }

    fn record(&self, applied: Applied<'_>, outputs: &mut [AnyTensor]) -> Result<()> {
        let op = applied.op;
        let differentiable = outputs.iter().any(|output| output.dtype().is_differentiable());
        if !differentiable || matches!(op, Op::View(View::Detach)) {
            return Ok(());
        }
        match mode::get() {
            Mode::Record => {}
            Mode::Ignore => return Ok(()),
            Mode::Notice => return mode::notice(),
        }
        if let Some(reason) = rules::not_differentiable(op) {
            let rule = format!("has no gradient ({reason}); `detach` its inputs");
            return Err(Error::Autograd { op: op.spec().name(), rule });
        }
        let node = Self::step(applied, outputs);
        if let [output] = outputs {
            output.track(node, 0);
            return Ok(());
        }
        for (i, output) in outputs.iter_mut().enumerate() {
            if output.dtype().is_differentiable() {
                output.track(node.clone(), i as u32);
            }
        }
        Ok(())
    }
}

impl Node {
    /// The node of an operation.
    // Made and filled where it lies: `Arc::new` copies what was just written to the stack, which
    // takes 9 of then 62 ns that the tape adds to an operation (measured).
    #[inline]
    fn step(applied: Applied<'_>, outputs: &[AnyTensor]) -> Arc<Self> {
        let mut place = Arc::<Self>::new_uninit();
        let uninit = Arc::get_mut(&mut place).expect("nobody else knows of it");
        let node = uninit.write(Self {
            id: 0,
            origin: Origin::Step(Step {
                op: applied.op.clone(),
                parents: SmallVec::new(),
                metas: None,
                outputs: outputs.len(),
                caller: applied.caller,
                saved: Mutex::new(Some(Saved::default())),
            }),
        });
        if let Origin::Step(step) = &mut node.origin {
            node.id = next_id(step.fill(&applied, outputs));
        }
        // SAFETY: it was written above.
        unsafe { place.assume_init() }
    }
}

impl Step {
    /// Notes where gradients go, and saves what backward needs. Returns the largest id of a parent.
    #[inline]
    fn fill(&mut self, applied: &Applied<'_>, outputs: &[AnyTensor]) -> u64 {
        let inputs = applied.inputs;
        let (mut wanted, mut newest) = (0, 0);
        for (i, input) in inputs.iter().enumerate() {
            let parent = input.tracked().cloned();
            if let Some(parent) = &parent {
                wanted |= 1 << i.min(31);
                newest = newest.max(parent.node.id());
            }
            self.parents.push(parent);
        }
        let alike = || outputs.len() == 1 && inputs.iter().all(|input| input.is_like(&outputs[0]));
        if !applied.alike && !alike() {
            self.metas = Some(inputs.iter().map(|input| input.meta()).collect());
        }
        let keeps = self.op.spec().keeps(wanted);
        let saved = self.saved.get_mut().unwrap_or_else(PoisonError::into_inner);
        let Some(saved) = saved else { return newest };
        let kept = |mask: u32, i: usize| mask >> i.min(31) & 1 == 1;
        if keeps.inputs != 0 {
            let keep =
                |(i, &input): (usize, &&AnyTensor)| kept(keeps.inputs, i).then(|| input.clone());
            saved.inputs.extend(inputs.iter().enumerate().map(keep));
        }
        if keeps.outputs != 0 {
            let keep = |(i, output): (usize, &AnyTensor)| {
                kept(keeps.outputs, i).then(|| output.with_tracked(None))
            };
            saved.outputs.extend(outputs.iter().enumerate().map(keep));
        }
        newest
    }

    /// Shape and dtype of input `i`, given those of the first output.
    pub fn meta<'a>(&'a self, i: usize, output: &'a Meta) -> &'a Meta {
        self.metas.as_ref().map_or(output, |metas| &metas[i])
    }

    /// The saved values; afterwards they are gone, unless they are to be retained. `None` if they
    /// are gone already.
    pub fn saved(&self, retain: bool) -> Option<Saved> {
        let mut saved = self.saved.lock().unwrap_or_else(PoisonError::into_inner);
        if retain { saved.clone() } else { saved.take() }
    }
}

/// Graphs can be a million nodes deep: parents are dropped in a loop, not by recursion.
impl Drop for Node {
    fn drop(&mut self) {
        let mut orphans = Vec::new();
        self.release(&mut orphans);
        while let Some(mut orphan) = orphans.pop() {
            // The last holder empties the node before it is dropped.
            let orphan: Option<&mut dyn Any> = Arc::get_mut(&mut orphan).map(|node| node as _);
            if let Some(node) = orphan.and_then(|node| node.downcast_mut::<Node>()) {
                node.release(&mut orphans);
            }
        }
    }
}

impl Node {
    /// Moves every other node of which this is the last holder to `orphans`.
    fn release(&mut self, orphans: &mut Vec<Arc<dyn Track>>) {
        // A parent that somebody else holds, a leaf most of all, needs no place in the list.
        let mut orphan = |tracked: Tracked| {
            if Arc::strong_count(&tracked.node) == 1 {
                orphans.push(tracked.node);
            }
        };
        let step = match &mut self.origin {
            Origin::Step(step) => step,
            Origin::Leaf | Origin::Segment(_) => return,
            Origin::Hook(_) => {
                let origin = std::mem::replace(&mut self.origin, Origin::Leaf);
                let Origin::Hook(hook) = origin else { unreachable!("it is one") };
                return orphan(hook.parent);
            }
        };
        step.parents.iter_mut().filter_map(Option::take).for_each(&mut orphan);
        let saved = step.saved.get_mut().unwrap_or_else(PoisonError::into_inner);
        let inputs = saved.iter_mut().flat_map(|saved| &mut saved.inputs);
        let inputs = inputs.filter_map(Option::take);
        inputs.filter_map(AnyTensor::into_tracked).for_each(orphan);
    }
}
