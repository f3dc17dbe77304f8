//! What one profile gathers while it runs.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::ledger::{Ledger, Owner};
use super::report::{OperationReport, Report, ScopeReport};
use super::scope::{Pass, place};
use super::{collectors, read_environment};
use crate::op::{Meta, Op};
use crate::{AnyTensor, DType, Device, Result};

/// The events that a trace keeps at most: 50 MB.
pub(super) const MOST_EVENTS: usize = 1 << 19;

/// What one profile has gathered so far.
pub(super) struct Collector {
    pub id: u64,
    start: Instant,
    most_events: usize,
    events: Vec<Event>,
    dropped_events: u64,
    rows: HashMap<Key, OperationReport>,
    scopes: HashMap<String, ScopeReport>,
    threads: HashMap<u32, String>,
    ledger: Ledger,
}

/// What has a row of its own.
#[derive(PartialEq, Eq, Hash)]
struct Key {
    name: &'static str,
    dtype: DType,
    pass: Pass,
    device: usize,
}

/// An operation or a scope, for the trace.
#[derive(Clone, Debug)]
pub(super) struct Event {
    pub name: Cow<'static, str>,
    /// `None` for a scope.
    pub pass: Option<Pass>,
    /// Since the start of the profile.
    pub start: Duration,
    pub duration: Duration,
    pub thread: u32,
    pub flops: u64,
    pub bytes: u64,
    /// What tensors hold on the device of an operation after it.
    pub held: usize,
}

/// A scope that was closed.
pub(super) struct Span {
    pub name: Cow<'static, str>,
    /// `None` if only the trace shows it.
    pub path: Option<String>,
    pub start: Instant,
    pub duration: Duration,
}

/// An operation that ran.
struct Run<'a> {
    key: Key,
    device: Device,
    start: Instant,
    duration: Duration,
    /// Without the operations that it applied itself.
    own: Duration,
    flops: u64,
    bytes: u64,
    outputs: &'a [AnyTensor],
    scope: String,
}

thread_local! {
    /// The time of the operations that the running one applied itself.
    static INNER: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    /// What this thread does is not to be seen: it measures the machine.
    static HIDDEN: Cell<bool> = const { Cell::new(false) };
    static THREAD: Cell<u32> = const { Cell::new(0) };
}

/// Runs `work`, unseen by every profile.
pub(super) fn hidden<T>(work: impl FnOnce() -> T) -> T {
    struct Show(bool);
    impl Drop for Show {
        fn drop(&mut self) {
            HIDDEN.set(self.0);
        }
    }
    let _show = Show(HIDDEN.replace(true));
    work()
}

/// A number for this thread, from 1.
fn thread() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    if THREAD.get() == 0 {
        THREAD.set(NEXT.fetch_add(1, Ordering::Relaxed));
    }
    THREAD.get()
}

/// Whether nobody is to hear of what happens on `device`.
fn unseen(device: Device) -> bool {
    HIDDEN.get() || device == Device::shape_only()
}

/// Executes an operation, and tells every profile.
pub(crate) fn operation(
    op: &Op,
    inputs: &[&AnyTensor],
    outputs: &[AnyTensor],
    execute: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let device = outputs[0].device();
    if unseen(device) || collectors().is_empty() {
        return execute();
    }
    let around = INNER.replace(Duration::ZERO);
    let start = Instant::now();
    let result = execute().and_then(|()| device.sync());
    let duration = start.elapsed();
    let own = duration.saturating_sub(INNER.get());
    INNER.set(around + duration);
    result?;

    let metas: Vec<Meta> = inputs.iter().map(|x| x.meta()).collect();
    let results: Vec<Meta> = outputs.iter().map(AnyTensor::meta).collect();
    let cost = op.spec().cost(&metas, &results);
    // Along an axis of stride zero the same bytes are read again and again, from cache.
    let again: usize = inputs.iter().map(|x| x.meta().bytes() - distinct_bytes(x)).sum();
    let mut dtypes = metas.iter().chain(&results).map(|meta| meta.dtype);
    let dtype = dtypes.clone().find(|dtype| dtype.is_differentiable()).or_else(|| dtypes.next());
    let (pass, scope) = place();
    let key = Key {
        name: op.spec().name(),
        dtype: dtype.unwrap_or(DType::F32),
        pass,
        device: device.id(),
    };
    let bytes = cost.bytes.saturating_sub(again as u64);
    let run = Run { key, device, start, duration, own, flops: cost.flops, bytes, outputs, scope };
    for collector in collectors().iter_mut() {
        collector.operation(&run);
    }
    Ok(())
}

fn distinct_bytes(x: &AnyTensor) -> usize {
    let axes = x.shape_ref().iter().zip(x.layout().strides());
    let elements: usize =
        axes.filter(|(_, stride)| **stride != 0).map(|(extent, _)| extent).product();
    x.num_elements().min(elements) * x.dtype().size()
}

/// Tells every profile of a scope.
pub(super) fn span(span: Span) {
    for collector in collectors().iter_mut() {
        collector.span(&span);
    }
}

/// Tells every profile that `op` will make these tensors by smaller operations, which tell of
/// themselves.
pub(crate) fn claim(op: &Op, outputs: &[AnyTensor]) {
    let device = outputs[0].device();
    if !unseen(device) {
        let (pass, scope) = place();
        let owner = Owner { operation: op.spec().name(), pass, scope };
        for collector in collectors().iter_mut() {
            collector.ledger.claim(device, outputs, &owner);
        }
    }
}

/// Tells every profile of memory that was taken. `operation` if it is known; tensors are claimed by
/// the operation that fills them.
#[cold]
pub(crate) fn allocated(device: Device, address: usize, bytes: usize, operation: &'static str) {
    read_environment();
    if !unseen(device) {
        let (pass, scope) = place();
        let owner = Owner { operation, pass, scope };
        for collector in collectors().iter_mut() {
            collector.ledger.allocated(device, address, bytes, &owner);
        }
    }
}

/// Tells every profile of memory that was given back.
#[cold]
pub(crate) fn freed(device: Device, address: usize, bytes: usize) {
    read_environment();
    if !unseen(device) {
        for collector in collectors().iter_mut() {
            collector.ledger.freed(device, address, bytes);
        }
    }
}

impl Collector {
    pub fn new(most_events: usize) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            start: Instant::now(),
            most_events,
            events: Vec::new(),
            dropped_events: 0,
            rows: HashMap::new(),
            scopes: HashMap::new(),
            threads: HashMap::new(),
            ledger: Ledger::default(),
        }
    }

    fn operation(&mut self, run: &Run<'_>) {
        let owner = Owner { operation: run.key.name, pass: run.key.pass, scope: run.scope.clone() };
        let memory = self.ledger.claim(run.device, run.outputs, &owner);
        let Key { name, dtype, pass, device } = run.key;
        let row = self
            .rows
            .entry(Key { name, dtype, pass, device })
            .or_insert_with(|| OperationReport::new(name, dtype, pass, run.device));
        row.calls += 1;
        row.time += run.own;
        row.flops += run.flops;
        row.bytes += run.bytes;
        row.memory += memory as u64;
        let held = self.ledger.held(run.device);
        self.event(run.start, run.duration, |start, duration, thread| Event {
            name: name.into(),
            pass: Some(pass),
            start,
            duration,
            thread,
            flops: run.flops,
            bytes: run.bytes,
            held,
        });
    }

    fn span(&mut self, span: &Span) {
        if let Some(path) = &span.path {
            let row = self.scopes.entry(path.clone()).or_insert_with(|| ScopeReport {
                path: path.clone(),
                calls: 0,
                time: Duration::ZERO,
            });
            row.calls += 1;
            row.time += span.duration;
        }
        self.event(span.start, span.duration, |start, duration, thread| Event {
            name: span.name.clone(),
            pass: None,
            start,
            duration,
            thread,
            flops: 0,
            bytes: 0,
            held: 0,
        });
    }

    fn event(
        &mut self,
        start: Instant,
        duration: Duration,
        event: impl FnOnce(Duration, Duration, u32) -> Event,
    ) {
        if self.events.len() == self.most_events {
            self.dropped_events += 1;
            return;
        }
        let number = thread();
        self.threads.entry(number).or_insert_with(|| {
            let thread = std::thread::current();
            thread.name().map_or_else(|| format!("thread {number}"), String::from)
        });
        // A scope may have been open before the profile began.
        let before = self.start.saturating_duration_since(start);
        let start = start.saturating_duration_since(self.start);
        self.events.push(event(start, duration.saturating_sub(before), number));
    }

    pub fn report(mut self) -> Report {
        let wall = self.start.elapsed();
        let mut operations: Vec<_> = self.rows.into_values().collect();
        operations.sort_by(|a, b| b.time.cmp(&a.time).then(a.name.cmp(b.name)));
        let mut scopes: Vec<_> = self.scopes.into_values().collect();
        scopes.sort_by(|a, b| b.time.cmp(&a.time).then_with(|| a.path.cmp(&b.path)));
        self.events.sort_by_key(|event| (event.start, std::cmp::Reverse(event.duration)));
        let mut threads: Vec<_> = self.threads.into_iter().collect();
        threads.sort();
        Report {
            wall,
            operations,
            scopes,
            memory: self.ledger.report(),
            events: self.events,
            dropped_events: self.dropped_events,
            threads,
        }
    }
}
