//! Finding the operation that made the first NaN or infinity.

use std::cell::Cell;
use std::panic::Location;

use crate::{AnyTensor, Error, Result};

thread_local! {
    static DETECT: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work` with every operation of this thread checked: the first one that makes a NaN or an
/// infinity out of finite numbers, forward or backward, fails with its name, the index of the
/// number and the line that applied it. Slow: for finding a mistake, as
/// `torch.autograd.detect_anomaly`.
///
/// ```
/// use kiln_tensor::{Tensor, detect_anomaly, guard};
/// let x = Tensor::<1>::from([1.0, 0.0]);
/// let error = guard(|| detect_anomaly(|| x.log())).unwrap_err();
/// assert!(error.to_string().starts_with("log: output 0 is -inf at [1]"));
/// ```
pub fn detect_anomaly<T>(work: impl FnOnce() -> T) -> T {
    with(true, work)
}

/// Runs `work` without the checks of [`detect_anomaly`].
pub fn ignore_anomaly<T>(work: impl FnOnce() -> T) -> T {
    with(false, work)
}

fn with<T>(detect: bool, work: impl FnOnce() -> T) -> T {
    /// Puts the mode back, also when `work` panics.
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            DETECT.set(self.0);
        }
    }
    let _restore = Restore(DETECT.replace(detect));
    work()
}

/// Whether this thread's operations are checked.
#[inline]
pub fn detects_anomaly() -> bool {
    DETECT.get()
}

/// The first number of a tensor that is not finite, with its index.
pub fn first_not_finite(tensor: &AnyTensor) -> Result<Option<(f64, Vec<usize>)>> {
    if !tensor.dtype().is_differentiable() {
        return Ok(None);
    }
    let data = tensor.to_data()?;
    let bad = |x: &num_complex::Complex<f64>| !x.re.is_finite() || !x.im.is_finite();
    let found = data.iter::<num_complex::Complex<f64>>().enumerate().find(|(_, x)| bad(x));
    Ok(found.map(|(linear, x)| {
        let value = if x.re.is_finite() { x.im } else { x.re };
        (value, crate::compare::index_of(&data.shape(), linear))
    }))
}

/// Fails if `outputs` hold a number that is not finite where all `inputs` are.
#[cold]
pub(crate) fn check(
    op: &'static str,
    inputs: &[&AnyTensor],
    outputs: &[AnyTensor],
    caller: &'static Location<'static>,
) -> Result<()> {
    for (i, output) in outputs.iter().enumerate() {
        let Some((value, index)) = first_not_finite(output)? else { continue };
        for input in inputs {
            if first_not_finite(input)?.is_some() {
                return Ok(());
            }
        }
        let what = format!("output {i} is {value} at {index:?}, of finite inputs; see {caller}");
        return Err(Error::Anomaly { op, what });
    }
    Ok(())
}
