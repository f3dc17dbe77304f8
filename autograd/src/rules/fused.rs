//! The gradient of a chain of elementwise operations is such a chain too.

use kiln_tensor::{AnyTensor, Result, fuse_all};
use smallvec::SmallVec;

use super::decomposition::through_decomposition;
use super::{Context, Results};
use crate::node::Saved;
use crate::walk::Walk;

/// The links are computed again, and their gradients, in one pass over the inputs.
pub(super) fn fused(cx: Context<'_>, dys: &SmallVec<[Option<AnyTensor>; 1]>) -> Result<Results> {
    let inputs = cx.saved.inputs.iter().map(|input| input.as_ref().expect("the spec keeps it"));
    let read: Vec<&AnyTensor> = inputs.chain(dys.iter().flatten()).collect();
    let gradients = fuse_all(&read, |stand_ins| {
        let (inputs, mut rest) = stand_ins.split_at(cx.saved.inputs.len());
        let dys = dys.iter().map(|dy| {
            dy.as_ref()?;
            rest.split_off_first().cloned()
        });
        // What is noted here is recorded as a whole, so no part of it is.
        let walk = Walk { create_graph: false, ..*cx.walk };
        let inputs = inputs.iter().cloned().map(Some).collect();
        let saved = Saved { inputs, ..Saved::default() };
        let parts = Context { saved, walk: &walk, ..cx };
        Ok(through_decomposition(&parts, &dys.collect())?.into_vec())
    })?;
    Ok(gradients.into())
}
