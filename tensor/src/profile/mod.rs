//! Where the time goes: every operation of every thread with its time, work and memory.
//!
//! - `collect`: what one profile gathers; `ledger`: who holds the memory.
//! - `report`: what becomes of it; `table` and `chrome` show it; `peak`: what the device could do.
//! - `environment`: `KILN_PROFILE`, for programs that know nothing of profiles.
//!
//! While nobody profiles, an operation pays for reading one number (`watch`).

mod chrome;
mod collect;
mod environment;
mod ledger;
mod peak;
mod report;
mod scope;
mod table;

use std::sync::{Mutex, MutexGuard, PoisonError};

use collect::Collector;

use crate::watch::{Watcher, watched};

pub(crate) use collect::{allocated, claim, freed, operation};
pub use ledger::{Holder, MemoryReport};
pub use report::{Limit, OperationReport, Report, ScopeReport};
pub(crate) use scope::part;
pub use scope::{Pass, Scope, pass, scope};

/// Runs `work` and reports what it took: each operation with its calls, time, rates and memory,
/// forward and backward apart, and how far it is from what the machine can do. Print the report, or
/// write it as a trace for <https://ui.perfetto.dev>. `torch.profiler.profile`.
///
/// Operations of all threads count, and those inside of a profile inside of this one count in both.
/// On a GPU each operation is waited for, which takes the overlap away.
///
/// Of a whole program, without a change to it: with the environment variable `KILN_PROFILE=table`
/// it prints the report to stderr when it ends, and with `KILN_PROFILE=trace.json` it writes the
/// trace.
///
/// ```
/// use kiln_tensor::{Tensor, profile};
/// let x = Tensor::<2>::ones([64, 64], &Default::default());
/// let report = profile(|| {
///     let _scope = profile::scope("products");
///     x.matmul(&x).matmul(&x)
/// });
/// let products = report.operations.iter().find(|row| row.name == "matmul").unwrap();
/// assert_eq!((products.calls, products.flops), (2, 4 * 64 * 64 * 64));
/// println!("{report}");
/// ```
pub fn profile<T>(work: impl FnOnce() -> T) -> Report {
    let profiler = Profiler::start();
    let result = work();
    let report = profiler.finish();
    drop(result);
    report
}

/// A profile from here to [`Profiler::finish`], where [`profile()`] does not fit. Dropped before,
/// also by a panic, it ends without a report.
#[derive(Debug)]
pub struct Profiler {
    id: u64,
    _watcher: Watcher,
}

impl Profiler {
    /// Operations count from now on.
    #[must_use = "a profiler that is dropped has ended"]
    pub fn start() -> Self {
        Self::with_events(collect::MOST_EVENTS)
    }

    /// Keeps this many events for the trace, and counts those beyond.
    fn with_events(most: usize) -> Self {
        // The environment comes first, so that the outermost profile is the program's.
        if watched() {
            environment::read();
        }
        let (collector, watcher) = (Collector::new(most), Watcher::profiler());
        let id = collector.id;
        collectors().push(collector);
        Self { id, _watcher: watcher }
    }

    /// What it took since the start.
    pub fn finish(self) -> Report {
        let collector = self.take().expect("it is there until now");
        collector.report()
    }

    fn take(&self) -> Option<Collector> {
        let mut collectors = collectors();
        let place = collectors.iter().position(|collector| collector.id == self.id)?;
        Some(collectors.swap_remove(place))
    }
}

impl Drop for Profiler {
    fn drop(&mut self) {
        drop(self.take());
    }
}

/// All that gather at the moment.
fn collectors() -> MutexGuard<'static, Vec<Collector>> {
    static COLLECTORS: Mutex<Vec<Collector>> = Mutex::new(Vec::new());
    COLLECTORS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads `KILN_PROFILE`, once.
pub(crate) fn read_environment() {
    environment::read();
}
