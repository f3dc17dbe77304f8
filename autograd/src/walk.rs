//! The walk from outputs to leaves.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use kiln_tensor::op::BinaryKind;
use kiln_tensor::profile::{self, Pass};
use kiln_tensor::{AnyTensor, Error, Result, Tracked, ignore_anomaly, no_autocast};
use smallvec::SmallVec;

use crate::anomaly;
use crate::mode::{recording, with_mode};
use crate::node::{Node, Origin, Step, holder, node};
use crate::ready::Ready;
use crate::rules::{self, Context};

/// How a walk goes over the graph.
#[derive(Clone, Copy, Default)]
pub(crate) struct Walk<'a> {
    /// Whether saved values stay for another walk.
    pub retain: bool,
    /// Whether the walk itself is recorded.
    pub create_graph: bool,
    /// The walk ends at nodes that are no newer than this one.
    pub floor: u64,
    /// What is asked for beside leaves, or instead of them.
    pub targets: Option<&'a Targets>,
}

/// What a walk arrived at: leaves, targets and nodes below its floor, by node and output.
pub(crate) type Arrived = BTreeMap<(u64, u32), (Arc<Node>, AnyTensor)>;

/// Tensors whose gradients are asked for by name.
pub(crate) struct Targets {
    keys: BTreeSet<(u64, u32)>,
    /// Whether nothing else is asked for.
    only: bool,
    /// Which nodes lead to a target, as far as that was found out.
    leads: RefCell<HashMap<u64, bool>>,
}

impl Targets {
    pub fn new<'a>(tensors: impl IntoIterator<Item = &'a Tracked>, only: bool) -> Self {
        let keys = tensors.into_iter().map(Tracked::key).collect();
        Self { keys, only, leads: RefCell::default() }
    }

    fn contains(&self, node: u64, output: u32) -> bool {
        self.keys.contains(&(node, output))
    }

    /// Whether a gradient that arrives at `node` is of use.
    fn wants(&self, node: &Node) -> bool {
        if !self.only {
            return true;
        }
        let mut leads = self.leads.borrow_mut();
        // Parents first, without recursion: a node waits on the stack until they are known.
        let mut stack = vec![node];
        while let Some(&node) = stack.last() {
            if leads.contains_key(&node.id) {
                stack.pop();
                continue;
            }
            let unknown = stack.len();
            stack.extend(node.parents().filter(|parent| !leads.contains_key(&parent.id)));
            if stack.len() > unknown {
                continue;
            }
            let target = self.keys.range((node.id, 0)..=(node.id, u32::MAX)).next().is_some();
            // What a segment captured shows only when it is computed again.
            let segment = matches!(node.origin, Origin::Segment(_));
            let lead = target || segment || node.parents().any(|parent| leads[&parent.id]);
            leads.insert(node.id, lead);
            stack.pop();
        }
        leads[&node.id]
    }
}

/// A node with the gradients of its outputs that have arrived so far.
struct Pending {
    node: Arc<Node>,
    gradients: SmallVec<[Option<AnyTensor>; 1]>,
}

impl Walk<'_> {
    /// Whether a gradient for `parent` is of use.
    pub fn wants(&self, parent: &Tracked) -> bool {
        self.targets.is_none_or(|targets| targets.wants(node(&parent.node)))
    }

    /// Walks from `roots`, whose gradients are given.
    pub fn run(&self, roots: impl IntoIterator<Item = (Tracked, AnyTensor)>) -> Result<Arrived> {
        self.run_telling(roots, None)
    }

    /// As [`Walk::run`]; gradients of leaves are told to `ready` on the way.
    pub fn run_telling(
        &self,
        roots: impl IntoIterator<Item = (Tracked, AnyTensor)>,
        mut ready: Option<Ready<'_>>,
    ) -> Result<Arrived> {
        let _pass = profile::pass(Pass::Backward);
        with_mode(recording(self.create_graph), || {
            let mut pending = BTreeMap::new();
            let mut arrived = Arrived::new();
            for (root, gradient) in roots {
                self.arrive(&mut pending, &root, gradient);
            }
            // The newest node first: all that depend on it have been visited by then.
            while let Some((id, Pending { node, gradients })) = pending.pop_last() {
                let ends = id <= self.floor || matches!(node.origin, Origin::Leaf);
                let all = !self.targets.is_some_and(|targets| targets.only) || id <= self.floor;
                for (output, gradient) in (0..).zip(&gradients) {
                    let target = self.targets.is_some_and(|targets| targets.contains(id, output));
                    if let Some(gradient) = gradient
                        && (target || ends && all)
                    {
                        arrived.insert((id, output), (node.clone(), gradient.clone()));
                    }
                }
                if ends {
                    if let (Some(ready), Some(Some(gradient))) = (&mut ready, gradients.first()) {
                        ready.arrived(id, gradient);
                    }
                    continue;
                }
                match &node.origin {
                    Origin::Leaf => unreachable!("a leaf is an end"),
                    Origin::Step(step) => self.step(&mut pending, &node, step, gradients)?,
                    Origin::Hook(hook) => {
                        if let Some(gradient) = gradients.into_iter().next().flatten() {
                            let gradient = hook.run(gradient)?;
                            self.arrive(&mut pending, &hook.parent, gradient);
                        }
                    }
                    Origin::Segment(segment) => {
                        for (parent, gradient) in segment.gradients(self, &gradients)? {
                            if let Some(ready) = &mut ready {
                                ready.count(crate::node::node(&parent.node));
                            }
                            self.arrive(&mut pending, &parent, gradient);
                        }
                    }
                }
                if let Some(ready) = &mut ready {
                    let at = |id| pending.get(&id)?.gradients.first()?.as_ref();
                    ready.passed(&node, at);
                }
            }
            Ok(arrived)
        })
    }

    fn step(
        &self,
        pending: &mut BTreeMap<u64, Pending>,
        node: &Arc<Node>,
        step: &Step,
        gradients: SmallVec<[Option<AnyTensor>; 1]>,
    ) -> Result<()> {
        let Some(saved) = step.saved(self.retain) else {
            let rule = "the graph was freed by an earlier backward pass; \
                        use `Backward::new().retain_graph()` for the first one";
            return Err(Error::Autograd { op: step.op.spec().name(), rule: rule.into() });
        };
        let Some(first) = gradients.iter().flatten().next() else { return Ok(()) };
        let output = first.meta();
        let context = Context { node, step, saved, output, walk: self };
        // A rule computes in the types of the forward pass. Its own operations mean nothing to the
        // user: its results are checked for bad numbers instead.
        let results = no_autocast(|| ignore_anomaly(|| rules::gradients(context, gradients)))?;
        for (i, (parent, gradient)) in step.parents.iter().zip(results).enumerate() {
            if let (Some(parent), Some(gradient)) = (parent, gradient) {
                debug_assert_eq!(gradient.meta(), *step.meta(i, &output), "{:?}", step.op);
                anomaly::check_gradient(step, i, &gradient)?;
                self.arrive(pending, parent, gradient);
            }
        }
        Ok(())
    }

    /// Adds a gradient to what has arrived at an output: in place, if nobody else holds that.
    fn arrive(&self, pending: &mut BTreeMap<u64, Pending>, to: &Tracked, gradient: AnyTensor) {
        if !self.wants(to) {
            return;
        }
        let entry = pending.entry(to.node.id()).or_insert_with(|| {
            let node = holder(&to.node);
            let gradients = SmallVec::from_elem(None, node.outputs());
            Pending { node, gradients }
        });
        let slot = &mut entry.gradients[to.output as usize];
        *slot = Some(match slot.take() {
            Some(sum) => sum.binary_owned(BinaryKind::Add, &gradient),
            None => gradient,
        });
    }
}
