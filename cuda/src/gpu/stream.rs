//! Streams beside the one on which kernels run.

use std::ptr::null_mut;
use std::sync::Arc;

use kiln_tensor::Result;

use super::{Device, Handle, NON_BLOCKING, handle};

/// A stream whose work goes on beside that of the device. What one needs of the other is marked by
/// [`Event`](super::Event)s.
pub(crate) struct Stream {
    device: Arc<Device>,
    // A handle as a number, which any thread may use.
    stream: usize,
}

impl Stream {
    pub fn new(device: &Arc<Device>) -> Result<Self> {
        let mut stream = null_mut();
        // SAFETY: the call writes one handle.
        device.call("cuStreamCreate", |api, _| unsafe {
            (api.stream_create)(&mut stream, NON_BLOCKING)
        })?;
        Ok(Self { device: Arc::clone(device), stream: stream.addr() })
    }

    pub fn device(&self) -> &Arc<Device> {
        &self.device
    }

    pub fn handle(&self) -> Handle {
        handle(self.stream)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let stream = self.handle();
        // SAFETY: nobody else has the stream; the driver lets its work end.
        let _ =
            self.device.call("cuStreamDestroy", |api, _| unsafe { (api.stream_destroy)(stream) });
    }
}
