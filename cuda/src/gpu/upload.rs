//! Uploads: small ones in line with the kernels, others through pinned memory on their own stream.

use std::ffi::{c_int, c_void};
use std::ptr::{null_mut, with_exposed_provenance_mut};
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};

use kiln_tensor::{Error, Result};

use super::event::NO_TIMING;
use super::{Address, Api, Device, Handle, NON_BLOCKING, handle};
use crate::staging::{IN_LINE, Lanes, MARKS, Marks, SLOTS, Turns, slot_offset, staging_bytes};

/// Pinned memory and the stream that fetches from it.
pub(super) struct Staging {
    // Pointers as numbers, which any thread may use.
    memory: usize,
    stream: usize,
    /// For each slot, that the device is done with it.
    fetched: [usize; SLOTS],
    turns: Mutex<Turns>,
    /// Events on the stream of kernels.
    marked: [usize; MARKS],
    marks: Mutex<Marks>,
}

/// The driver as what moves pieces through the slots.
struct Copies<'a> {
    device: &'a Device,
    staging: &'a Staging,
}

impl Copies<'_> {
    fn call(&self, name: &'static str, call: impl FnOnce(&Api, Handle) -> c_int) -> Result<()> {
        self.device.call(name, |api, _| call(api, handle(self.staging.stream)))
    }
}

// All events and streams below live as long as the device.
impl Lanes for Copies<'_> {
    type Error = Error;

    fn mark(&mut self, mark: usize) -> Result<u64> {
        let event = handle(self.staging.marked[mark]);
        self.device.between(|| {
            // First the count, then the event, which may only be behind more.
            let count = self.device.count();
            // SAFETY: see above.
            self.device.call("cuEventRecord", |api, stream| unsafe {
                (api.event_record)(event, stream)
            })?;
            Ok(count)
        })
    }

    fn follow(&mut self, mark: usize) -> Result<()> {
        let event = handle(self.staging.marked[mark]);
        // SAFETY: see above; the wait is for the event as it was last recorded.
        self.call("cuStreamWaitEvent", |api, stream| unsafe { (api.stream_wait)(stream, event, 0) })
    }

    fn wait(&mut self, slot: usize) -> Result<()> {
        let event = handle(self.staging.fetched[slot]);
        // SAFETY: see above.
        self.call("cuEventSynchronize", |api, _| unsafe { (api.event_synchronize)(event) })
    }

    fn send(&mut self, slot: usize, piece: &[u8], address: usize) -> Result<()> {
        let from: *mut c_void =
            with_exposed_provenance_mut(self.staging.memory + slot_offset(slot));
        let event = handle(self.staging.fetched[slot]);
        // SAFETY: a slot has room for a piece, and the device is done with it.
        unsafe { std::ptr::copy_nonoverlapping(piece.as_ptr(), from.cast(), piece.len()) };
        // SAFETY: the slot is not written before the event; `address` is the care of the caller.
        self.call("cuMemcpyHtoDAsync", |api, stream| unsafe {
            (api.to_device)(address as Address, from, piece.len(), stream)
        })?;
        // SAFETY: see above.
        self.call("cuEventRecord", |api, stream| unsafe { (api.event_record)(event, stream) })
    }

    fn join(&mut self, slot: usize) -> Result<()> {
        let event = handle(self.staging.fetched[slot]);
        self.device.between(|| {
            // SAFETY: see above.
            self.device.call("cuStreamWaitEvent", |api, stream| unsafe {
                (api.stream_wait)(stream, event, 0)
            })?;
            self.device.has_started();
            Ok(())
        })
    }
}

impl Device {
    /// How much was started on the stream of kernels: kernels, products, copies, and waits for other
    /// streams.
    pub(super) fn count(&self) -> u64 {
        self.started.load(Ordering::Acquire)
    }

    /// Something was started on the stream of kernels: called after the start, and before memory
    /// that it uses can come back.
    pub(super) fn has_started(&self) {
        self.started.fetch_add(1, Ordering::AcqRel);
    }

    /// Pinned memory, the stream and its events; none if there is no room.
    fn start_staging(&self) -> Result<Staging> {
        let event = || {
            let mut event = null_mut();
            // SAFETY: the call writes one handle.
            self.call("cuEventCreate", |api, _| unsafe {
                (api.event_create)(&mut event, NO_TIMING)
            })?;
            Ok::<_, Error>(event.addr())
        };
        let (mut fetched, mut marked) = ([0; SLOTS], [0; MARKS]);
        for new in fetched.iter_mut().chain(&mut marked) {
            *new = event()?;
        }
        let (mut stream, mut memory) = (null_mut(), null_mut());
        // SAFETY: each call writes one pointer.
        self.call("cuStreamCreate", |api, _| unsafe {
            (api.stream_create)(&mut stream, NON_BLOCKING)
        })?;
        // SAFETY: as above.
        self.call("cuMemHostAlloc", |api, _| unsafe {
            (api.host_alloc)(&mut memory, staging_bytes(), 0)
        })?;
        // The driver may read and write what it gave: its pointer is known to Rust by this.
        let (memory, stream) = (memory.expose_provenance(), stream.addr());
        let (turns, marks) = (Mutex::default(), Mutex::default());
        Ok(Staging { memory, stream, fetched, turns, marked, marks })
    }

    /// Copies to the device, without waiting for it, after what was started up to `after`.
    ///
    /// # Safety
    /// `source.len()` bytes from `address` were reserved, and what uses them was counted by `after`.
    pub(super) unsafe fn send(&self, source: &[u8], address: usize, after: u64) -> Result<()> {
        let staging = match source.len() > IN_LINE {
            // Tried once.
            true => {
                self.staging.get_or_init(|| self.between(|| self.start_staging()).ok()).as_ref()
            }
            false => None,
        };
        if let Some(staging) = staging {
            // What was recorded starts now: the device is to have work while the host writes.
            self.between(|| Ok(()))?;
            let mut turns = staging.turns.lock().unwrap_or_else(PoisonError::into_inner);
            let mut copies = Copies { device: self, staging };
            return turns.upload(&mut copies, &staging.marks, (source, address), after);
        }
        let (from, bytes) = (source.as_ptr().cast(), source.len());
        self.between(|| {
            // SAFETY: passed on to the caller. The driver has read memory that is not pinned when it
            // returns.
            self.call("cuMemcpyHtoDAsync", |api, stream| unsafe {
                (api.to_device)(address as Address, from, bytes, stream)
            })
        })?;
        self.has_started();
        Ok(())
    }

    /// Lets later uploads into memory that comes back now wait for no more than was started so far.
    pub(super) fn mark(&self) {
        if let Some(Some(staging)) = self.staging.get() {
            let mut marks = staging.marks.lock().unwrap_or_else(PoisonError::into_inner);
            // Without the mark, they wait for more.
            let _ = marks.set(&mut Copies { device: self, staging });
        }
    }
}
