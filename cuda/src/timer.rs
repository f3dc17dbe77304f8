//! How long the work of a device takes.

use std::time::Instant;

use kiln_tensor::{Device, Result};

use crate::device::gpu;
use crate::gpu::Event;

/// A stopwatch for the work of a device: of a GPU by its own clock, between the kernels
/// (`torch.cuda.Event`), so that starting and waiting do not count; of another device by the clock
/// of the host.
///
/// ```
/// use kiln_cuda::Timer;
/// use kiln_tensor::{Device, Tensor};
///
/// let device = Device::cpu(); // or `Device::cuda(0)?`
/// let x = Tensor::<2>::ones([64, 64], &device);
/// let timer = Timer::start(&device)?;
/// let y = x.matmul(&x);
/// println!("{} us", timer.seconds()? * 1e6);
/// # drop(y);
/// # Ok::<(), kiln_tensor::Error>(())
/// ```
pub struct Timer {
    device: Device,
    start: Moment,
}

enum Moment {
    OfGpu(Event),
    OfHost(Instant),
}

impl Timer {
    /// From here on: what was started before on the device does not count.
    ///
    /// # Errors
    /// The device failed.
    pub fn start(device: &Device) -> Result<Self> {
        let start = match gpu(device) {
            Some(gpu) => Moment::OfGpu(Event::record(&gpu)?),
            None => {
                device.sync()?;
                Moment::OfHost(Instant::now())
            }
        };
        Ok(Self { device: *device, start })
    }

    /// Seconds from the start to the end of all that was started since. Waits for that.
    ///
    /// # Errors
    /// The device failed, or a kernel reports an error.
    pub fn seconds(self) -> Result<f64> {
        match self.start {
            Moment::OfGpu(start) => {
                let seconds = start.seconds()?;
                // For what kernels report.
                self.device.sync()?;
                Ok(seconds)
            }
            Moment::OfHost(start) => {
                self.device.sync()?;
                Ok(start.elapsed().as_secs_f64())
            }
        }
    }
}
