//! Moments of a GPU's work.

use std::ptr::null_mut;
use std::sync::Arc;

use kiln_tensor::Result;

use super::{Device, handle};

/// CU_EVENT_DEFAULT: the moment is noted when the stream reaches it.
const WITH_TIMING: std::ffi::c_uint = 0;

/// A place in the stream of a GPU: after all that was started before it.
pub(crate) struct Event {
    device: Arc<Device>,
    // A handle as a number, which any thread may use.
    event: usize,
}

impl Event {
    /// Behind all that was started so far.
    pub fn record(device: &Arc<Device>) -> Result<Self> {
        let mut event = null_mut();
        // SAFETY: the call writes one handle.
        device.call("cuEventCreate", |api, _| unsafe {
            (api.event_create)(&mut event, WITH_TIMING)
        })?;
        let made = Self { device: Arc::clone(device), event: event.addr() };
        device.outside(|| {
            // SAFETY: the event was just made, and the stream lives as long as the device.
            device.call("cuEventRecord", |api, stream| unsafe { (api.event_record)(event, stream) })
        })?;
        Ok(made)
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
