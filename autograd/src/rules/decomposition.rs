//! Gradients of fused operations by way of their parts.

use kiln_tensor::op::View;
use kiln_tensor::{AnyTensor, Result, Tracked};
use smallvec::SmallVec;

use super::{Context, Results};
use crate::backward::Walk;
use crate::mode::with_mode;
use crate::node::{Node, Parent, parent};

/// Gradients by differentiating the operation's decomposition.
pub(super) fn through_decomposition(
    cx: &Context<'_>,
    dys: &SmallVec<[Option<AnyTensor>; 1]>,
) -> Result<Results> {
    // Each wanted input becomes the boundary of a graph of its own. If the pass is recorded, that
    // graph stays connected to what the input came from, for the next order.
    let mut boundary: SmallVec<[Option<u64>; 4]> = SmallVec::new();
    let mut inputs: SmallVec<[AnyTensor; 4]> = SmallVec::new();
    for (i, input) in cx.step.inputs.iter().enumerate() {
        // What the spec does not keep enters only linearly (a bias): any value gives its gradient.
        let zeros = || {
            AnyTensor::full(
                input.meta,
                0,
                dys.iter().flatten().next().expect("a gradient").device(),
            )
        };
        let value = cx.saved.inputs[i].clone().unwrap_or_else(zeros);
        if !cx.wants(i) {
            boundary.push(None);
            inputs.push(value.detach());
            continue;
        }
        let leaf = Node::leaf();
        let id = leaf.id;
        boundary.push(Some(id));
        inputs.push(value.with_tracked(Some(Tracked { node: leaf, output: 0 })));
        if cx.create_graph && value.tracked().is_some() {
            let alias = with_mode(true, || value.apply(View::Reshape(value.shape()), &[]));
            let node = alias.tracked().and_then(parent).expect("it is recorded").node;
            *boundary.last_mut().expect("just pushed") = Some(node.id);
            *inputs.last_mut().expect("just pushed") = alias;
        }
    }
    let borrowed: SmallVec<[&AnyTensor; 4]> = inputs.iter().collect();
    let results = with_mode(true, || cx.step.op.spec().decompose(&borrowed))
        .expect("every fused operation has a decomposition");
    let roots: Vec<(Parent, AnyTensor)> = results
        .iter()
        .zip(dys)
        .filter_map(|(result, dy)| Some((parent(result.tracked()?)?, dy.clone()?)))
        .collect();
    let ids: SmallVec<[u64; 4]> = boundary.iter().copied().flatten().collect();
    let walk = Walk { retain: cx.create_graph, create_graph: cx.create_graph, boundary: &ids };
    let mut found = walk.run(roots)?;
    Ok(boundary.into_iter().map(|id| found.remove(&id?)).collect())
}
