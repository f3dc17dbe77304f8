//! The seam between the backend and what runs its kernels: a GPU, or in tests the host.

use kiln_tensor::Result;

use crate::gemm::{Addresses, Gemm};
use crate::program::Program;

/// The shape of one launch: a grid of blocks of threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Launch {
    /// Blocks along each axis.
    pub grid: [u32; 3],
    /// Threads of a block, in a row.
    pub threads: u32,
}

/// Memory and kernels of one device.
///
/// Kernels and copies come one after another, in the order of the calls, but for uploads, which may
/// come earlier. They may run after the call has returned.
pub trait Runtime: Send + Sync + 'static {
    /// The name of the device: `cuda:0`.
    fn name(&self) -> &str;

    /// Major and minor, which decide what kernels are there.
    fn compute_capability(&self) -> (u32, u32);

    /// Reserves memory of the device, aligned to 256 bytes; `None` if there is no room.
    fn alloc(&self, bytes: usize) -> Option<usize>;

    /// Gives back what [`Runtime::alloc`] reserved. Waits for kernels that may still use it.
    ///
    /// # Safety
    /// `address` came from `alloc(bytes)` and is not used afterwards.
    unsafe fn free(&self, address: usize, bytes: usize);

    /// How much was started so far: a number that only grows.
    fn started(&self) -> u64 {
        0
    }

    /// Copies to the device, before all that is started later. Of what was started before, it only
    /// has to come after that up to `after`, as counted by [`Runtime::started`]. The source may
    /// change as soon as this returns.
    ///
    /// # Safety
    /// `source.len()` bytes from `address` were reserved, and nothing that was started later than
    /// `after` uses them.
    unsafe fn upload(&self, source: &[u8], address: usize, after: u64) -> Result<()>;

    /// Memory to which an upload went has come back: a good moment to note what the next one into it
    /// has to wait for.
    fn mark(&self) {}

    /// Copies from the device, after all that was started before.
    ///
    /// # Safety
    /// `target.len()` bytes from `address` were reserved.
    unsafe fn download(&self, address: usize, target: &mut [u8]) -> Result<()>;

    /// Starts a kernel. `params` are the bytes of its one parameter.
    ///
    /// # Safety
    /// The parameters are those of the program, and what they point to was reserved.
    unsafe fn launch(&self, program: &Program, launch: Launch, params: &[u8]) -> Result<()>;

    /// Starts a product by a library of matrix products; false if there is none, or it has no
    /// algorithm for this one.
    ///
    /// # Safety
    /// The matrices of the product lie at these addresses.
    unsafe fn gemm(&self, gemm: &Gemm, at: Addresses) -> Result<bool> {
        let _ = (gemm, at);
        Ok(false)
    }

    /// Waits until everything started is done.
    fn sync(&self) -> Result<()>;

    /// Bytes of the device: free and all. Nothing is known where both are zero.
    fn memory(&self) -> (usize, usize) {
        (0, 0)
    }
}
