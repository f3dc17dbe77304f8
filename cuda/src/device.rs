//! GPUs as devices of tensors.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use kiln_tensor::{Device, Error, Result};

use crate::backend::CudaBackend;
use crate::gpu;

/// Makes GPUs devices: `Device::cuda(0)`.
pub trait Cuda {
    /// The GPU of this number, from 0: the same device each time.
    ///
    /// # Errors
    /// It can not be used; the error says what was looked for and what to install.
    ///
    /// ```
    /// use kiln_cuda::Cuda;
    /// use kiln_tensor::{Device, Tensor};
    ///
    /// match Device::cuda(0) {
    ///     Ok(gpu) => println!("{}", Tensor::<1>::ones([3], &gpu)),
    ///     Err(reason) => println!("{reason}"),
    /// }
    /// ```
    fn cuda(index: usize) -> Result<Device>;
}

impl Cuda for Device {
    fn cuda(index: usize) -> Result<Device> {
        static DEVICES: Mutex<Option<HashMap<usize, Device>>> = Mutex::new(None);
        let mut devices = DEVICES.lock().unwrap_or_else(PoisonError::into_inner);
        let devices = devices.get_or_insert_default();
        if let Some(&device) = devices.get(&index) {
            return Ok(device);
        }
        let gpu = gpu::Device::new(index)
            .map_err(|reason| Error::Device { op: "cuda", what: reason.to_string() })?;
        let device = Device::custom(CudaBackend::new(gpu)?);
        devices.insert(index, device);
        Ok(device)
    }
}
