//! Uploads through pinned memory.

use std::ffi::c_void;
use std::ptr::{null_mut, with_exposed_provenance_mut};
use std::sync::PoisonError;

use kiln_tensor::{Error, Result};

use super::event::NO_TIMING;
use super::{Address, Device, handle};
use crate::staging::{Lane, SLOTS, Turns, slot_offset, staging_bytes};

/// Pinned memory and, for each slot of it, the event that the device is done with it.
pub(super) struct Staging {
    // Pointers as numbers, which any thread may use.
    memory: usize,
    events: [usize; SLOTS],
    turns: Turns,
}

/// The driver as what moves pieces through the slots.
struct Copies<'a> {
    device: &'a Device,
    memory: usize,
    events: [usize; SLOTS],
}

impl Lane for Copies<'_> {
    type Error = Error;

    fn wait(&mut self, slot: usize) -> Result<()> {
        let event = handle(self.events[slot]);
        // SAFETY: the event lives as long as the device.
        self.device.call("cuEventSynchronize", |api, _| unsafe { (api.event_synchronize)(event) })
    }

    fn send(&mut self, slot: usize, piece: &[u8], address: usize) -> Result<()> {
        let to: *mut c_void = with_exposed_provenance_mut(self.memory + slot_offset(slot));
        let event = handle(self.events[slot]);
        // SAFETY: a slot has room for a piece, and the device is done with it.
        unsafe { std::ptr::copy_nonoverlapping(piece.as_ptr(), to.cast(), piece.len()) };
        // SAFETY: the slot is not written before the event; `address` is the care of the caller.
        self.device.call("cuMemcpyHtoDAsync", |api, stream| unsafe {
            (api.to_device)(address as Address, to, piece.len(), stream)
        })?;
        // SAFETY: both live as long as the device.
        self.device
            .call("cuEventRecord", |api, stream| unsafe { (api.event_record)(event, stream) })
    }
}

impl Device {
    /// Pinned memory with its events. If an event can not be made, all is given back.
    fn start_staging(&self) -> Result<Staging> {
        let mut memory = null_mut();
        // SAFETY: the call writes one pointer.
        self.call("cuMemHostAlloc", |api, _| unsafe {
            (api.host_alloc)(&mut memory, staging_bytes(), 0)
        })?;
        let mut events = [0; SLOTS];
        for event in &mut events {
            let mut new = null_mut();
            // SAFETY: the call writes one handle.
            let made = self
                .call("cuEventCreate", |api, _| unsafe { (api.event_create)(&mut new, NO_TIMING) });
            if let Err(error) = made {
                // SAFETY: nothing uses the memory yet.
                let _ = self.call("cuMemFreeHost", |api, _| unsafe { (api.host_free)(memory) });
                return Err(error);
            }
            *event = new.addr();
        }
        // The driver may read and write what it gave: its pointer is known to Rust by this.
        Ok(Staging { memory: memory.expose_provenance(), events, turns: Turns::default() })
    }

    /// Copies to the device, without waiting for it.
    ///
    /// # Safety
    /// `source.len()` bytes from `address` were reserved.
    pub(super) unsafe fn send(&self, source: &[u8], address: usize) -> Result<()> {
        let mut staging = self.staging.lock().unwrap_or_else(PoisonError::into_inner);
        if staging.is_none() {
            *staging = self.start_staging().ok();
        }
        if let Some(Staging { memory, events, turns }) = &mut *staging {
            let mut copies = Copies { device: self, memory: *memory, events: *events };
            return turns.upload(&mut copies, source, address);
        }
        drop(staging);
        let (from, bytes) = (source.as_ptr().cast(), source.len());
        // SAFETY: passed on to the caller. The driver has read memory that is not pinned when it
        // returns.
        self.call("cuMemcpyHtoDAsync", |api, stream| unsafe {
            (api.to_device)(address as Address, from, bytes, stream)
        })
    }
}
