//! What a profile says.

use std::path::Path;
use std::time::Duration;

use super::collect::Event;
use super::ledger::MemoryReport;
use super::scope::Pass;
use super::{chrome, peak};
use crate::{DType, Device, Result};

/// What [`profile`](super::profile()) found. `Display` prints it as tables of 100 columns;
/// [`Report::write_trace`] writes it as a timeline.
#[derive(Clone, Debug)]
pub struct Report {
    /// From the start of the profile to its end.
    pub wall: Duration,
    /// The operations, the longest first.
    pub operations: Vec<OperationReport>,
    /// The scopes, the longest first.
    pub scopes: Vec<ScopeReport>,
    /// The memory of each device that was used.
    pub memory: Vec<MemoryReport>,
    pub(super) events: Vec<Event>,
    pub(super) dropped_events: u64,
    pub(super) threads: Vec<(u32, String)>,
}

/// All executions of one operation in one dtype, pass and device.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct OperationReport {
    /// Its name, as in error texts.
    pub name: &'static str,
    /// The type of its first input that is not an integer, or else of its first.
    pub dtype: DType,
    /// The part of the training step.
    pub pass: Pass,
    /// Where it ran.
    pub device: Device,
    /// How often it ran.
    pub calls: u64,
    /// How long, without operations that it applied itself.
    pub time: Duration,
    /// Floating-point operations; a multiply-add counts two, an elementary function ten.
    pub flops: u64,
    /// Bytes that had to be read and written at least.
    pub bytes: u64,
    /// Bytes that were allocated for its results.
    pub memory: u64,
}

/// All runs of one [`scope`](super::scope()).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScopeReport {
    /// Its name after those of the scopes around it, `epoch/step`.
    pub path: String,
    /// How often it was opened.
    pub calls: u64,
    /// How long it was open.
    pub time: Duration,
}

/// What keeps an operation from being faster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Arithmetic.
    Compute,
    /// The way to memory.
    Memory,
    /// What a call costs whatever its size: there is too little to do in each.
    Overhead,
    /// Neither: the calls are long and yet far from both peaks, so the kernel could do better.
    Kernel,
}

/// Calls that are shorter and far from both peaks are mostly overhead: what it takes to wake a
/// thread, or to start a kernel on a GPU.
const SHORT_CALL: f64 = 20e-6;
/// The share of a peak below which it is not what limits.
const FAR: f64 = 0.25;

impl OperationReport {
    pub(super) fn new(name: &'static str, dtype: DType, pass: Pass, device: Device) -> Self {
        let (calls, time) = (0, Duration::ZERO);
        Self { name, dtype, pass, device, calls, time, flops: 0, bytes: 0, memory: 0 }
    }

    /// Floating-point operations per second.
    pub fn flop_rate(&self) -> f64 {
        self.flops as f64 / self.time.as_secs_f64().max(1e-9)
    }

    /// Bytes per second.
    pub fn byte_rate(&self) -> f64 {
        self.bytes as f64 / self.time.as_secs_f64().max(1e-9)
    }

    /// What limits it, and how close it comes to that, 1 being the peak: the larger of its shares
    /// of the two peaks (Williams et al. 2009, "Roofline"). The peaks are those of Kiln's own
    /// product of 1024 x 1024 and of a copy of 64 MB, measured when they are first asked for, a
    /// tenth of a second each; whoever works beside that makes them lower. Data that comes from
    /// cache can be faster than the copy.
    pub fn limit(&self) -> (Limit, f64) {
        let of = |rate: f64, peak: Option<f64>| peak.map_or(0.0, |peak| rate / peak);
        let compute = match self.flops {
            0 => 0.0,
            _ => of(self.flop_rate(), peak::flops(self.device, self.dtype)),
        };
        let memory = of(self.byte_rate(), peak::bandwidth(self.device));
        let share = compute.max(memory);
        let mean = self.time.as_secs_f64() / self.calls.max(1) as f64;
        let limit = match share < FAR {
            true if mean < SHORT_CALL => Limit::Overhead,
            true => Limit::Kernel,
            false if compute > memory => Limit::Compute,
            false => Limit::Memory,
        };
        (limit, share)
    }
}

impl Report {
    /// The time in operations, of all threads together.
    pub fn time(&self) -> Duration {
        self.operations.iter().map(|row| row.time).sum()
    }

    /// The floating-point operations of all.
    pub fn flops(&self) -> u64 {
        self.operations.iter().map(|row| row.flops).sum()
    }

    /// The timeline as JSON in the trace-event format, for <https://ui.perfetto.dev> and
    /// `chrome://tracing`: operations inside of backward passes, steps of optimizers and
    /// [`scope`](super::scope())s, thread by thread, and the memory beside them. It holds half a
    /// million events at most; those after that are missing, and counted under `droppedEvents`.
    pub fn to_chrome_trace(&self) -> String {
        let mut json = Vec::new();
        chrome::write(self, &mut json).expect("memory takes everything");
        String::from_utf8(json).expect("it is made of text")
    }

    /// Writes [`Report::to_chrome_trace`] to a file, which appears whole or not at all.
    pub fn write_trace(&self, path: impl AsRef<Path>) -> Result<()> {
        crate::atomic_write(path.as_ref(), |mut file| chrome::write(self, &mut file))
    }
}
