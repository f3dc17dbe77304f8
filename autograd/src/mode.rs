//! Whether operations on tracked tensors are recorded.

use std::cell::Cell;

thread_local! {
    static ENABLED: Cell<bool> = const { Cell::new(true) };
}

/// Whether this thread records operations on tracked tensors.
#[inline]
pub fn is_grad_enabled() -> bool {
    ENABLED.get()
}

/// Runs `work` without recording: results are untracked, whatever they were computed from.
///
/// ```
/// use kiln_autograd::{Autograd, no_grad};
/// use kiln_tensor::Tensor;
/// let x = Tensor::<1>::from([3.0]).require_grad();
/// assert!(!no_grad(|| &x * 2.0).is_tracked());
/// ```
pub fn no_grad<T>(work: impl FnOnce() -> T) -> T {
    with_mode(false, work)
}

pub(crate) fn with_mode<T>(enabled: bool, work: impl FnOnce() -> T) -> T {
    /// Puts the mode back, also when `work` panics.
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            ENABLED.set(self.0);
        }
    }
    let _restore = Restore(ENABLED.replace(enabled));
    work()
}
