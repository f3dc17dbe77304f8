//! Whether operations on tracked tensors are recorded.

use std::cell::Cell;

use kiln_tensor::Result;

/// What happens to operations on tracked tensors.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Mode {
    /// They are recorded.
    Record,
    /// Nothing.
    Ignore,
    /// It is noticed that there were any.
    Notice,
}

thread_local! {
    static MODE: Cell<Mode> = const { Cell::new(Mode::Record) };
    static NOTICED: Cell<bool> = const { Cell::new(false) };
}

#[inline]
pub(crate) fn get() -> Mode {
    MODE.get()
}

/// Whether this thread records operations on tracked tensors.
#[inline]
pub fn is_grad_enabled() -> bool {
    get() == Mode::Record
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
    with_mode(Mode::Ignore, work)
}

/// Runs `work` without recording, and tells whether it applied an operation to a tracked tensor.
pub(crate) fn noticing<T>(work: impl FnOnce() -> T) -> (T, bool) {
    let before = NOTICED.replace(false);
    let result = with_mode(Mode::Notice, work);
    // What one segment uses, the one around it uses as well.
    let noticed = NOTICED.get();
    NOTICED.set(before || noticed);
    (result, noticed)
}

/// Notes that an operation was applied to a tracked tensor.
pub(crate) fn notice() -> Result<()> {
    NOTICED.set(true);
    Ok(())
}

pub(crate) fn with_mode<T>(mode: Mode, work: impl FnOnce() -> T) -> T {
    /// Puts the mode back, also when `work` panics.
    struct Restore(Mode);
    impl Drop for Restore {
        fn drop(&mut self) {
            MODE.set(self.0);
        }
    }
    let _restore = Restore(MODE.replace(mode));
    work()
}

/// The mode that records if `record`.
pub(crate) fn recording(record: bool) -> Mode {
    if record { Mode::Record } else { Mode::Ignore }
}
