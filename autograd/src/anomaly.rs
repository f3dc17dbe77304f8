//! Gradients that are not finite: see [`kiln_tensor::detect_anomaly`].

use kiln_tensor::{AnyTensor, Error, Result, detects_anomaly, first_not_finite};

use crate::node::Step;

/// Fails if the gradient of input `i` holds a number that is not finite. The gradients that it was
/// computed from were checked before.
#[inline]
pub(crate) fn check_gradient(step: &Step, i: usize, gradient: &AnyTensor) -> Result<()> {
    if !detects_anomaly() {
        return Ok(());
    }
    let Some((value, index)) = first_not_finite(gradient)? else { return Ok(()) };
    let caller = step.caller;
    let what = format!(
        "the gradient of input {i} is {value} at {index:?}, of finite gradients; see {caller}"
    );
    Err(Error::Anomaly { op: step.op.spec().name(), what })
}
