//! GPUs as devices of tensors.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use kiln_tensor::{Device, Error, Result};

use crate::alloc::Allocator;
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

/// A GPU that is a device.
struct Made {
    device: Device,
    gpu: Arc<gpu::Device>,
    memory: Arc<Mutex<Allocator>>,
}

/// The GPUs that are devices, by their numbers.
fn made() -> MutexGuard<'static, HashMap<usize, Made>> {
    static MADE: LazyLock<Mutex<HashMap<usize, Made>>> = LazyLock::new(Mutex::default);
    MADE.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Cuda for Device {
    fn cuda(index: usize) -> Result<Device> {
        let mut made = made();
        if let Some(made) = made.get(&index) {
            return Ok(made.device);
        }
        let gpu = gpu::Device::new(index)
            .map_err(|reason| Error::Device { op: "cuda", what: reason.to_string() })?;
        let (gpu, memory) = (Arc::new(gpu), Arc::<Mutex<Allocator>>::default());
        let device = Device::custom(CudaBackend::shared(gpu.clone(), memory.clone())?);
        made.insert(index, Made { device, gpu, memory });
        Ok(device)
    }
}

/// The GPU that this device is, if it is one.
pub(crate) fn gpu(device: &Device) -> Option<Arc<gpu::Device>> {
    made().values().find(|made| made.device == *device).map(|made| made.gpu.clone())
}

/// Starts [`MemoryStats::peak`](kiln_tensor::MemoryStats::peak) of a GPU anew from what is in use
/// now: `torch.cuda.reset_peak_memory_stats`. Of other devices nothing changes.
pub fn reset_peak_memory(device: &Device) {
    if let Some(made) = made().values().find(|made| made.device == *device) {
        made.memory.lock().unwrap_or_else(PoisonError::into_inner).reset_peak();
    }
}
