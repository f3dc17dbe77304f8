//! The same bits in every run, or an error.

use std::sync::{Mutex, PoisonError};

use crate::op::Op;
use crate::watch::Watcher;
use crate::{Backend, Error, Result};

/// Whether it was asked for: then every operation is asked about.
static ASKED: Mutex<Option<Watcher>> = Mutex::new(None);

/// Makes an operation that may give other bits from run to run an error, instead of a surprise, on
/// every thread. `torch.use_deterministic_algorithms`.
///
/// On the CPU it changes nothing: there is no such operation, and results have the same bits on any
/// number of threads. (Processors with other instruction sets round differently.) It is for devices
/// whose [`Backend`] says that some of its kernels are not so. With [`seed`](crate::seed), and
/// seeds for the data loaders, a training is the same in every run.
///
/// ```
/// kiln_tensor::deterministic(true);
/// assert!(kiln_tensor::is_deterministic());
/// ```
pub fn deterministic(on: bool) {
    *ASKED.lock().unwrap_or_else(PoisonError::into_inner) = on.then(Watcher::new);
}

/// Whether [`deterministic`] is on.
pub fn is_deterministic() -> bool {
    ASKED.lock().unwrap_or_else(PoisonError::into_inner).is_some()
}

/// An error if `op` is not what was asked for.
pub(crate) fn check(backend: &dyn Backend, op: &Op) -> Result<()> {
    if backend.is_deterministic(op) || !is_deterministic() {
        return Ok(());
    }
    let what = format!(
        "its kernel on {} may give other bits from run to run, and `deterministic(true)` forbids that",
        backend.name()
    );
    Err(Error::Device { op: op.spec().name(), what })
}
