//! A piece of work whose kernels are started together.

use kiln_tensor::{Device, Result};

use crate::device::gpu;
use crate::gpu;
use crate::recorder::Recorder;

/// A piece of work that is done again and again, such as a training step, with its kernels started
/// together as a CUDA graph instead of one by one: meant for small networks, whose kernels take less
/// time than starting them.
///
/// Nothing else changes. The work runs on the host each time, so learning rates, step numbers, random
/// numbers and shapes may change from run to run, and a number may be read in the middle, before which
/// what was recorded so far is started. As long as the kernels are those of the last run, their graph is
/// kept and only gets the new arguments. The first run is not recorded: it compiles kernels, and takes
/// memory. While one thread records, what others start on the device is recorded with it. On a device
/// that is no GPU the work just runs.
///
/// ```
/// use kiln_cuda::Graph;
/// use kiln_tensor::{Device, Tensor};
///
/// let device = Device::cpu(); // or `Device::cuda(0)?`
/// let (mut x, mut graph) = (Tensor::<1>::ones([3], &device), Graph::new(&device));
/// for _ in 0..4 {
///     x = graph.run(|| &x * 2.0)?;
/// }
/// assert_eq!(x.into_data().to_vec::<f32>()?, [16.0; 3]);
/// # Ok::<(), kiln_tensor::Error>(())
/// ```
pub struct Graph {
    device: Device,
    recorder: Recorder<gpu::Graph>,
    has_run: bool,
}

impl Graph {
    /// For work on this device.
    pub fn new(device: &Device) -> Self {
        Self { device: *device, recorder: Recorder::default(), has_run: false }
    }

    /// Does the work, which is to be the same each time.
    ///
    /// # Errors
    /// The device failed, and some of the work may not be done.
    pub fn run<T>(&mut self, work: impl FnOnce() -> T) -> Result<T> {
        let is_first = !std::mem::replace(&mut self.has_run, true);
        match gpu(&self.device) {
            Some(gpu) if !is_first => gpu.record(&mut self.recorder, work),
            _ => Ok(work()),
        }
    }
}
