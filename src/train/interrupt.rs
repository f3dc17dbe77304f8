//! Ctrl-C, and requests to terminate: the first one is noted, a second one ends the program.

use std::io::Write;
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many trainings watch for it.
static WATCHING: AtomicUsize = AtomicUsize::new(0);
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// What a shell expects of a program that Ctrl-C ended.
const EXIT_CODE: i32 = 130;

/// While it lives, an interrupt is noted and does not end the program. Where the program has a
/// handler of its own, that one stays.
pub(super) struct Watch(());

impl Watch {
    pub fn new() -> Self {
        static INSTALL: Once = Once::new();
        INSTALL.call_once(|| drop(ctrlc::set_handler(interrupt)));
        if WATCHING.fetch_add(1, Ordering::SeqCst) == 0 {
            COUNT.store(0, Ordering::SeqCst);
        }
        Self(())
    }

    /// Whether there was an interrupt.
    pub fn is_interrupted(&self) -> bool {
        COUNT.load(Ordering::SeqCst) > 0
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        WATCHING.fetch_sub(1, Ordering::SeqCst);
    }
}

fn interrupt() {
    #[cfg(feature = "dashboard")]
    super::dashboard::leave();
    let watched = WATCHING.load(Ordering::SeqCst) > 0;
    if COUNT.fetch_add(1, Ordering::SeqCst) > 0 || !watched {
        std::process::exit(EXIT_CODE);
    }
    // Standard error may be gone, which must not end the training without a checkpoint.
    let _ = writeln!(std::io::stderr(), "\nstopping after this step; once more stops at once");
}
