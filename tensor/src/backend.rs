//! The seam between operations and devices.

use crate::op::Op;
use crate::{AnyTensor, PendingUpdate, Result};

/// Runs operations on one device. Implement it to bring a device of your own:
/// [`Device::custom`](crate::Device::custom) makes it available with no change in Kiln.
///
/// Addresses are opaque to everyone but the backend; the CPU's are pointers.
pub trait Backend: Send + Sync + 'static {
    /// The name in error texts and debug output: `cpu`, `cuda:0`.
    fn name(&self) -> &str;

    /// Reserves `bytes` bytes, more than zero, at an address aligned for every dtype; not zeroed.
    /// `None` if there is no room.
    fn alloc(&self, bytes: usize) -> Option<usize>;

    /// Gives back what [`Backend::alloc`] reserved.
    ///
    /// # Safety
    /// `address` came from `alloc(bytes)` of this backend and is not used afterwards.
    unsafe fn free(&self, address: usize, bytes: usize);

    /// Copies `source` to device memory at `address`.
    ///
    /// # Safety
    /// `source.len()` bytes from `address` lie inside of one allocation of this backend, which
    /// nobody else reads or writes meanwhile, and which no operation has used since
    /// [`Backend::alloc`]: a device may copy before operations that were started earlier.
    unsafe fn upload(&self, source: &[u8], address: usize) -> Result<()>;

    /// Copies device memory at `address` to `target`.
    ///
    /// # Safety
    /// `target.len()` bytes from `address` lie inside of one allocation of this backend, which
    /// nobody writes meanwhile.
    unsafe fn download(&self, address: usize, target: &mut [u8]) -> Result<()>;

    /// Whether addresses are pointers into host memory, aligned or not beyond what their dtype
    /// needs: then tensors take over the memory of a `Vec`, and lend their elements as slices.
    fn in_host_memory(&self) -> bool {
        false
    }

    /// Whether there is a kernel for `op`. Where there is none, its decomposition runs.
    fn supports(&self, op: &Op) -> bool {
        let _ = op;
        true
    }

    /// Computes `outputs` from `inputs`, which `op.spec().infer` has accepted.
    ///
    /// Inputs may have any strides. Outputs are contiguous, of the inferred shapes, and overlap no
    /// input, but for two cases: the first output of an elementwise operation may be the very
    /// buffer of its first input, and each output of an optimizer update is the buffer of the
    /// input it replaces. [`Op::View`] never arrives here.
    fn execute(&self, op: &Op, inputs: &[&AnyTensor], outputs: &[AnyTensor]) -> Result<()>;

    /// Computes optimizer updates, whose targets are no inputs of one another: as
    /// [`Backend::execute`] does one by one.
    fn update_all(&self, updates: &[PendingUpdate]) -> Result<()> {
        let one = |update: &PendingUpdate| {
            self.execute(&update.op.into(), &update.inputs(), &update.targets)
        };
        updates.iter().try_for_each(one)
    }

    /// Whether `op` gives the same bits for the same inputs in every run. Where it does not, it is
    /// an error under [`deterministic`](crate::deterministic).
    fn is_deterministic(&self, op: &Op) -> bool {
        let _ = op;
        true
    }

    /// Waits until all work is done.
    fn sync(&self) -> Result<()> {
        Ok(())
    }

    /// What the memory is used for at the moment.
    fn memory(&self) -> MemoryStats {
        MemoryStats::default()
    }

    /// What the memory is used for, for who runs out of it.
    fn usage(&self) -> Option<String> {
        None
    }

    /// Gives memory that is kept for later allocations back to the system.
    fn empty_cache(&self) {}
}

/// Memory of a device, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryStats {
    /// Held by tensors now.
    pub in_use: usize,
    /// The most that was ever held at one time; on the CPU with what was kept for later.
    pub peak: usize,
    /// Kept for later allocations.
    pub cached: usize,
    /// How many allocations were served from what was kept; 0 where the device does not count.
    pub hits: u64,
    /// How many went to the system; 0 where the device does not count.
    pub misses: u64,
}
