//! Finds what made a loss or a gradient NaN or infinite.

use kiln_autograd::Autograd;
use kiln_nn::Module;
use kiln_tensor::{Error, detect_anomaly, first_not_finite};

use super::Step;

/// Runs a step again and tells which operation made the first number that is not finite, and the
/// line that applied it.
pub(super) fn explain<M: Module>(model: &M, step: impl FnOnce(&M) -> Step) -> Option<String> {
    let again = kiln_tensor::guard(|| detect_anomaly(|| drop(step(model).loss.backward())));
    match again {
        Err(Error::Anomaly { op, what }) => Some(format!("{op}: {what}")),
        Err(error) => Some(error.to_string()),
        Ok(()) => model.named_params().into_iter().find_map(|(path, param)| {
            let (value, index) = first_not_finite(&param.detach()).ok()??;
            Some(format!("the parameter {path} is {value} at {index:?}"))
        }),
    }
}
