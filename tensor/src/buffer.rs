//! A piece of device memory with its owner.

use std::cell::RefCell;
use std::thread::LocalKey;

use crate::bytes::Bytes;
use crate::handle::{Kept, Places};
use crate::watch::profiled;
use crate::{Device, Error, Result, profile};

/// Memory of a device. Tensors share it; it goes back to the backend with the last one.
pub struct Buffer {
    address: usize,
    bytes: usize,
    device: Device,
    // Where the memory comes from if not from the backend.
    host: Option<Bytes>,
}

impl Kept for Buffer {
    #[inline]
    fn places() -> &'static LocalKey<Places<Self>> {
        thread_local! {
            static PLACES: Places<Buffer> = const { RefCell::new(Vec::new()) };
        }
        &PLACES
    }
}

/// The error of a device without memory for `bytes`.
#[cold]
fn no_memory(device: Device, bytes: usize) -> Error {
    let usage = device.backend().usage().map_or(String::new(), |usage| format!(": {usage}"));
    Error::Memory { device: device.name().into(), bytes, usage }
}

impl Buffer {
    /// Uninitialised memory; the operation it was allocated for fills it.
    #[inline]
    pub(crate) fn new(bytes: usize, device: Device) -> Result<Self> {
        // An empty tensor needs no memory, but kernels form (empty) slices at its address, which
        // must be aligned and not null.
        const NOWHERE: usize = 64;
        let address = if bytes == 0 {
            NOWHERE
        } else {
            device.backend().alloc(bytes).ok_or_else(|| no_memory(device, bytes))?
        };
        if profiled() && bytes > 0 {
            profile::allocated(device, address, bytes, "");
        }
        Ok(Self { address, bytes, device, host: None })
    }

    /// Memory that host numbers came with. Only for devices that compute in host memory.
    pub(crate) fn adopt(host: Bytes, device: Device) -> Self {
        let (address, bytes) = (host.address(), host.as_bytes().len());
        Self { address, bytes, device, host: Some(host) }
    }

    /// The host numbers that this was made of, if it was.
    pub(crate) fn into_host(mut self) -> Result<Bytes, Self> {
        match self.host.take() {
            Some(host) => {
                // Nothing is left to be given back.
                self.bytes = 0;
                Ok(host)
            }
            None => Err(self),
        }
    }

    /// Where the memory starts. Opaque to everyone but the backend.
    #[inline]
    pub fn address(&self) -> usize {
        self.address
    }

    /// How many bytes there are.
    #[inline]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The device.
    #[inline]
    pub fn device(&self) -> Device {
        self.device
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.bytes > 0 && self.host.is_none() {
            if profiled() {
                profile::freed(self.device, self.address, self.bytes);
            }
            // SAFETY: `new` got the address from `alloc(bytes)` of this backend, and the last
            // tensor that could reach it is gone.
            unsafe { self.device.backend().free(self.address, self.bytes) }
        }
    }
}
