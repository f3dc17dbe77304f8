//! What a way to connect processes must offer.

use std::time::Duration;

use kiln_tensor::Result;

/// Operations that all processes of a group call together, in the same order: how they are
/// connected. [`ProcessGroup`](super::ProcessGroup) runs one on a thread of its own, so it need not
/// be `Send`; after an error it is not called again.
pub trait Collective {
    /// The number of this process, from 0.
    fn rank(&self) -> usize;

    /// How many processes there are.
    fn world_size(&self) -> usize;

    /// How long an operation waits for another rank.
    fn timeout(&self) -> Duration {
        Duration::from_secs(600)
    }

    /// Adds up the values of all ranks, of which there are as many on each. Every rank gets the same
    /// bits, and the same values give them again.
    fn all_reduce_f32(&mut self, values: &mut [f32]) -> Result<()>;

    /// As [`Collective::all_reduce_f32`].
    fn all_reduce_f64(&mut self, values: &mut [f64]) -> Result<()>;

    /// Gives all ranks the bytes of `root`, which is one of them. There are as many on each.
    fn broadcast(&mut self, bytes: &mut [u8], root: usize) -> Result<()>;

    /// The bytes of all ranks, in the order of ranks. Their numbers may differ.
    fn all_gather(&mut self, bytes: &[u8]) -> Result<Vec<Vec<u8>>>;
}

/// How values of several processes become one: `torch.distributed.ReduceOp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReduceOp {
    /// Their sum.
    Sum,
    /// Their mean: the sum, divided by the number of processes.
    Mean,
}
