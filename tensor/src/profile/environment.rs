//! `KILN_PROFILE=table` and `KILN_PROFILE=trace.json`: a profile of a whole program.

use std::ffi::{OsString, c_int};
use std::path::Path;
use std::sync::{Mutex, Once, PoisonError};

use super::{Profiler, collect};
use crate::watch::Watcher;

/// The profile of the program, until it is reported.
static PROGRAM: Mutex<Option<(Profiler, OsString)>> = Mutex::new(None);

/// Reads the variable at the first operation, scope or profile of the program.
pub(super) fn read() {
    static READ: Once = Once::new();
    // Not again from inside: a profiler that is started reads it as well.
    thread_local!(static INSIDE: std::cell::Cell<bool> = const { std::cell::Cell::new(false) });
    if READ.is_completed() || INSIDE.replace(true) {
        return;
    }
    READ.call_once(|| {
        let until_read = Watcher::environment();
        if let Some(wish) = std::env::var_os("KILN_PROFILE").filter(|wish| !wish.is_empty()) {
            start(wish);
        }
        drop(until_read);
    });
    INSIDE.set(false);
}

fn start(wish: OsString) {
    let events = match Path::new(&wish).extension() {
        _ if wish == "table" => 0,
        Some(extension) if extension == "json" => collect::MOST_EVENTS,
        _ => {
            let wish = wish.display();
            eprintln!("KILN_PROFILE is {wish}: it can be `table` or a path that ends in `.json`");
            return;
        }
    };
    unsafe extern "C" {
        safe fn atexit(function: extern "C" fn()) -> c_int;
    }
    if atexit(at_exit) != 0 {
        eprintln!("KILN_PROFILE: this system does not say when the program ends");
        return;
    }
    let program = Some((Profiler::with_events(events), wish));
    *PROGRAM.lock().unwrap_or_else(PoisonError::into_inner) = program;
}

/// When the program ends, by the end of `main` or by `exit`; not when it is killed.
extern "C" fn at_exit() {
    let program = PROGRAM.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some((profiler, wish)) = program else { return };
    // On a thread of its own: this one has lost its thread-local values already, and a panic must
    // not leave a function of C.
    let report = move || {
        let report = profiler.finish();
        if wish == "table" {
            eprintln!("{report}");
        } else if let Err(error) = report.write_trace(&wish) {
            eprintln!("KILN_PROFILE: {error}");
        }
    };
    if let Ok(thread) = std::thread::Builder::new().name("kiln-profile".into()).spawn(report) {
        let _ = thread.join();
    }
}
