//! Moments of a GPU's work.

use std::ffi::{c_int, c_uint};
use std::ptr::null_mut;
use std::sync::Arc;

use kiln_tensor::Result;

use super::stream::Stream;
use super::{Device, handle};

/// CU_EVENT_DEFAULT: the moment is noted when the stream reaches it.
const WITH_TIMING: c_uint = 0;
/// CU_EVENT_DISABLE_TIMING: events are only waited for.
pub(super) const NO_TIMING: c_uint = 2;
/// CUDA_ERROR_NOT_READY: what comes before an event is not done.
const NOT_READY: c_int = 600;

/// A place in a stream of a GPU: after all that was started before it.
pub(crate) struct Event {
    device: Arc<Device>,
    // A handle as a number, which any thread may use.
    event: usize,
}

impl Event {
    /// Behind all that was started so far.
    pub fn record(device: &Arc<Device>) -> Result<Self> {
        Self::new(device, WITH_TIMING)?.recorded()
    }

    /// The same, where nobody asks for the time.
    pub fn mark(device: &Arc<Device>) -> Result<Self> {
        Self::new(device, NO_TIMING)?.recorded()
    }

    /// Behind all that was started so far on a stream of its own.
    pub fn mark_on(stream: &Stream) -> Result<Self> {
        let made = Self::new(stream.device(), NO_TIMING)?;
        // SAFETY: the event was just made, and the stream lives.
        made.device.call("cuEventRecord", |api, _| unsafe {
            (api.event_record)(handle(made.event), stream.handle())
        })?;
        Ok(made)
    }

    fn new(device: &Arc<Device>, flags: c_uint) -> Result<Self> {
        let mut event = null_mut();
        // SAFETY: the call writes one handle.
        device.call("cuEventCreate", |api, _| unsafe { (api.event_create)(&mut event, flags) })?;
        Ok(Self { device: Arc::clone(device), event: event.addr() })
    }

    /// Now, on the stream of the device.
    fn recorded(self) -> Result<Self> {
        self.device.outside(|| {
            // SAFETY: the event is this one's, and the stream lives as long as the device.
            self.device.call("cuEventRecord", |api, stream| unsafe {
                (api.event_record)(handle(self.event), stream)
            })
        })?;
        Ok(self)
    }

    /// What is started on the device from here on comes after this. It counts as a start: an upload
    /// into memory that comes back later is to come after this, too.
    pub fn join(&self) -> Result<()> {
        self.device.outside(|| {
            // SAFETY: as above; the driver keeps what it needs of the event.
            self.device.call("cuStreamWaitEvent", |api, stream| unsafe {
                (api.stream_wait)(stream, handle(self.event), 0)
            })
        })?;
        self.device.has_started();
        Ok(())
    }

    /// What is started on `stream` from here on comes after this.
    pub fn join_on(&self, stream: &Stream) -> Result<()> {
        // SAFETY: both live; the driver keeps what it needs of the event.
        self.device.call("cuStreamWaitEvent", |api, _| unsafe {
            (api.stream_wait)(stream.handle(), handle(self.event), 0)
        })
    }

    /// Whether all that comes before it is done.
    pub fn is_done(&self) -> Result<bool> {
        let mut done = true;
        self.device.call("cuEventQuery", |api, _| {
            // SAFETY: the event is this one's.
            let code = unsafe { (api.event_query)(handle(self.event)) };
            done = code != NOT_READY;
            if done { code } else { 0 }
        })?;
        Ok(done)
    }

    /// Seconds of the GPU from here to behind all that was started so far. Waits for that.
    pub fn seconds(&self) -> Result<f64> {
        let end = Self::record(&self.device)?;
        let (from, to) = (handle(self.event), handle(end.event));
        let mut milliseconds = 0.0;
        // SAFETY: both events live as long as their owners, and were recorded with their times; the
        // second call writes one number.
        unsafe {
            self.device.call("cuEventSynchronize", |api, _| (api.event_synchronize)(to))?;
            self.device.call("cuEventElapsedTime", |api, _| {
                (api.event_elapsed)(&mut milliseconds, from, to)
            })?;
        }
        Ok(f64::from(milliseconds) / 1e3)
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        let event = handle(self.event);
        // SAFETY: nobody else has the event. An error could only be that of an earlier kernel.
        let _ = self.device.call("cuEventDestroy", |api, _| unsafe { (api.event_destroy)(event) });
    }
}
