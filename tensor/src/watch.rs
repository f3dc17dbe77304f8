//! Who wants to know of operations: one number, zero nearly always, that each operation reads.

use std::sync::atomic::{AtomicUsize, Ordering};

/// One for each [`Watcher`], and a unit for each that follows memory too.
static WATCHERS: AtomicUsize = AtomicUsize::new(PROFILER);

/// What a watcher counts that follows memory as well. The number starts with one of these, for the
/// environment variable `KILN_PROFILE`: it is read at the first operation, which then takes it off.
const PROFILER: usize = 1 << 16;

/// Whether anybody wants to know of operations.
#[inline]
pub(crate) fn watched() -> bool {
    WATCHERS.load(Ordering::Relaxed) != 0
}

/// Whether anybody wants to know of memory and scopes.
#[inline]
pub(crate) fn profiled() -> bool {
    WATCHERS.load(Ordering::Relaxed) >= PROFILER
}

/// Has operations watched as long as it lives.
#[derive(Debug)]
pub(crate) struct Watcher(usize);

impl Watcher {
    /// Of operations.
    pub fn new() -> Self {
        WATCHERS.fetch_add(1, Ordering::Relaxed);
        Self(1)
    }

    /// Of operations, memory and scopes.
    pub fn profiler() -> Self {
        WATCHERS.fetch_add(PROFILER, Ordering::Relaxed);
        Self(PROFILER)
    }

    /// The one that is there from the start.
    pub fn environment() -> Self {
        Self(PROFILER)
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        WATCHERS.fetch_sub(self.0, Ordering::Relaxed);
    }
}
