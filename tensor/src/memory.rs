//! What the memory of devices is used for, and whether work leaves some behind.
//!
//! ```
//! use kiln_tensor::{Device, Tensor, memory};
//! let x = Tensor::<1>::zeros([1000], &Device::cpu());
//! assert!(memory::in_use() >= 4000);
//! println!("{}", memory::stats());
//! ```
//!
//! Who held the most, and when, is said by a [profile](crate::profile()).

use std::fmt;
use std::panic::Location;

use crate::{Device, MemoryStats};

/// Bytes that tensors on the CPU hold now. `torch.cuda.memory_allocated` for the CPU; of another
/// device [`Device::memory`] tells.
pub fn in_use() -> usize {
    stats().in_use
}

/// The memory of the CPU.
pub fn stats() -> MemoryStats {
    Device::cpu().memory()
}

/// Panics when it is dropped if more memory of its device is in use than when it was made: for
/// tests. It counts the whole program, so no other test may run meanwhile.
///
/// ```
/// use kiln_tensor::{Device, Tensor, memory::LeakCheck};
/// let _check = LeakCheck::new(&Device::cpu());
/// let x = Tensor::<1>::from([1.0, 2.0]);
/// drop(x.exp());
/// ```
#[derive(Debug)]
#[must_use = "it checks when it is dropped: `let _check = ..`"]
pub struct LeakCheck {
    device: Device,
    before: usize,
    caller: &'static Location<'static>,
}

impl LeakCheck {
    /// From here on.
    #[track_caller]
    pub fn new(device: &Device) -> Self {
        Self { device: *device, before: device.memory().in_use, caller: Location::caller() }
    }

    /// Bytes in use now beyond those that were when it was made; negative if there are less.
    pub fn leaked(&self) -> isize {
        self.device.memory().in_use as isize - self.before as isize
    }
}

impl Drop for LeakCheck {
    fn drop(&mut self) {
        let leaked = self.leaked();
        if leaked > 0 && !std::thread::panicking() {
            panic!("{leaked} bytes of {} are in use that were not at {}", self.device, self.caller);
        }
    }
}

impl fmt::Display for MemoryStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: usize| bytes as f64 / f64::from(1 << 20);
        let (in_use, peak, cached) = (mib(self.in_use), mib(self.peak), mib(self.cached));
        write!(f, "{in_use:.1} MiB in use, {peak:.1} at most, {cached:.1} kept for later")?;
        if self.hits + self.misses > 0 {
            write!(f, "; {} allocations from what was kept, {} new", self.hits, self.misses)?;
        }
        Ok(())
    }
}
