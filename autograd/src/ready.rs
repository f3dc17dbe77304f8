//! Telling that a gradient is complete while the walk goes on.

use std::collections::{BTreeMap, HashSet};

use kiln_tensor::AnyTensor;

use crate::node::{Node, Origin, node};

/// Leaves whose gradients are told as soon as nothing more can be added to them: when the walk is
/// past all nodes that use them.
pub(crate) struct Ready<'a> {
    /// Those that were not told yet, by the id of their node.
    waiting: BTreeMap<u64, Leaf>,
    /// Nodes whose uses of leaves were counted.
    counted: HashSet<u64>,
    /// Segments that the walk has yet to come by. What they use shows only then.
    segments: usize,
    tell: &'a mut dyn FnMut(usize, &AnyTensor),
}

struct Leaf {
    /// Its place in the list that was asked for.
    place: usize,
    /// Uses of it that the walk has yet to come by.
    uses: usize,
}

impl<'a> Ready<'a> {
    /// Counts the uses of `leaves` in the graph that ends at `root`.
    pub fn new(
        root: &Node,
        leaves: &[AnyTensor],
        tell: &'a mut dyn FnMut(usize, &AnyTensor),
    ) -> Self {
        let places = leaves.iter().enumerate();
        let nodes = places.filter_map(|(at, leaf)| Some((at, node(&leaf.tracked()?.node))));
        let leaves = nodes.filter(|(_, leaf)| matches!(leaf.origin, Origin::Leaf));
        let waiting = leaves.map(|(place, leaf)| (leaf.id, Leaf { place, uses: 0 })).collect();
        let mut ready = Self { waiting, counted: HashSet::new(), segments: 0, tell };
        ready.count(root);
        ready
    }

    /// Counts the uses in the nodes from `root` on that were not counted yet: those of the whole
    /// graph at first, later what a segment brought to light.
    pub fn count(&mut self, root: &Node) {
        let mut stack = vec![root];
        while let Some(node) = stack.pop() {
            if !self.counted.insert(node.id) {
                continue;
            }
            self.segments += matches!(node.origin, Origin::Segment(_)) as usize;
            for parent in node.parents() {
                match self.waiting.get_mut(&parent.id) {
                    Some(leaf) => leaf.uses += 1,
                    None => stack.push(parent),
                }
            }
        }
    }

    /// The walk is past `node`. `gradient` gives what has arrived at a leaf.
    pub fn passed<'g>(&mut self, node: &Node, gradient: impl Fn(u64) -> Option<&'g AnyTensor>) {
        let mut complete: Vec<u64> = Vec::new();
        for parent in node.parents() {
            if let Some(leaf) = self.waiting.get_mut(&parent.id) {
                leaf.uses -= 1;
                complete.push(parent.id);
            }
        }
        if matches!(node.origin, Origin::Segment(_)) {
            self.segments -= 1;
            // Whatever was complete but for the segments.
            complete = self.waiting.keys().rev().copied().collect();
        }
        if self.segments > 0 {
            return;
        }
        for id in complete {
            let done = self.waiting.get(&id).is_some_and(|leaf| leaf.uses == 0);
            if let Some(gradient) = gradient(id).filter(|_| done) {
                self.arrived(id, gradient);
            }
        }
    }

    /// The walk arrived at a leaf: whatever was left out before it, no more comes.
    pub fn arrived(&mut self, id: u64, gradient: &AnyTensor) {
        if let Some(leaf) = self.waiting.remove(&id) {
            (self.tell)(leaf.place, gradient);
        }
    }
}
