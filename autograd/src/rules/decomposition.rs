//! Gradients of fused operations by way of their parts.

use kiln_tensor::op::View;
use kiln_tensor::{AnyTensor, Result, Tracked};
use smallvec::SmallVec;

use super::{Context, Results};
use crate::mode::{Mode, with_mode};
use crate::node::Node;
use crate::walk::Walk;

/// Gradients by differentiating the operation's decomposition.
pub(super) fn through_decomposition(
    cx: &Context<'_>,
    dys: &SmallVec<[Option<AnyTensor>; 1]>,
) -> Result<Results> {
    // Each wanted input becomes the boundary of a graph of its own. If the pass is recorded, that
    // graph stays connected to what the input came from, for the next order.
    let mut boundary: SmallVec<[Option<(u64, u32)>; 4]> = SmallVec::new();
    let mut inputs: SmallVec<[AnyTensor; 4]> = SmallVec::new();
    for i in 0..cx.step.parents.len() {
        // What the spec does not keep enters only linearly (a bias): any value gives its gradient.
        let zeros = || {
            AnyTensor::full(
                *cx.meta(i),
                0,
                dys.iter().flatten().next().expect("a gradient").device(),
            )
        };
        let value = cx.saved.inputs.get(i).cloned().flatten().unwrap_or_else(zeros);
        if !cx.wants(i) {
            boundary.push(None);
            inputs.push(value.detach());
            continue;
        }
        let leaf = Node::leaf();
        boundary.push(Some((leaf.id, 0)));
        inputs.push(value.with_tracked(Some(Tracked { node: leaf, output: 0 })));
        if cx.walk.create_graph && value.tracked().is_some() {
            let alias = with_mode(Mode::Record, || value.apply(View::Reshape(value.shape()), &[]));
            let parent = alias.tracked().expect("it is recorded");
            *boundary.last_mut().expect("just pushed") = Some(parent.key());
            *inputs.last_mut().expect("just pushed") = alias;
        }
    }
    let borrowed: SmallVec<[&AnyTensor; 4]> = inputs.iter().collect();
    let results = with_mode(Mode::Record, || cx.step.op.spec().decompose(&borrowed))
        .expect("every fused operation has a decomposition");
    let roots: Vec<(Tracked, AnyTensor)> = results
        .iter()
        .zip(dys)
        .filter_map(|(result, dy)| Some((result.tracked()?.clone(), dy.clone()?)))
        .collect();
    // Everything that the parts made is newer than the boundary.
    let floor = boundary.iter().flatten().map(|key| key.0).max().unwrap_or(0);
    let create_graph = cx.walk.create_graph;
    let walk = Walk { retain: create_graph, create_graph, floor, targets: None };
    let mut found = walk.run(roots)?;
    Ok(boundary.into_iter().map(|key| Some(found.remove(&key?)?.1)).collect())
}
