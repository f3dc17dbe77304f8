//! Gradients of operations of the user's own.

use kiln_tensor::op::{CustomOp, GradientRule, Kept, Meta};
use kiln_tensor::{AnyTensor, Error, Result};

use super::{Context, Results};

/// Asks the rule, and checks its answer: a gradient of another shape would be added up wrongly far
/// from here.
pub(super) fn by_rule(
    op: &dyn CustomOp,
    rule: &dyn GradientRule,
    cx: &mut Context<'_>,
    dys: &[Option<AnyTensor>],
) -> Result<Results> {
    let kept_outputs = 0..cx.saved.outputs.len();
    let outputs = kept_outputs.map(|i| cx.saved.outputs[i].is_some().then(|| cx.output(i)));
    let kept = Kept { outputs: outputs.collect(), inputs: cx.saved.inputs.clone() };
    let gradients = rule.gradients(&kept, dys)?;
    let error = |rule: String| Error::Autograd { op: op.name(), rule };
    if gradients.len() != cx.step.parents.len() {
        let (inputs, found) = (cx.step.parents.len(), gradients.len());
        return Err(error(format!("has {inputs} inputs, but its rule gave {found} gradients")));
    }
    let text = |meta: &Meta| format!("{} {}", meta.dtype, meta.shape);
    for (i, gradient) in gradients.iter().enumerate() {
        let meta = cx.meta(i);
        if let Some(found) = gradient.as_ref().map(AnyTensor::meta).filter(|found| found != meta) {
            let (found, meta) = (text(&found), text(meta));
            return Err(error(format!("the gradient of input {i}, {meta}, can not be {found}")));
        }
    }
    let wanted = |(i, gradient): (usize, Option<AnyTensor>)| gradient.filter(|_| cx.wants(i));
    Ok(gradients.into_iter().enumerate().map(wanted).collect())
}
