//! Tensors of GPUs, which NCCL brings together without a way through host memory.
//!
//! NCCL does not say which process is missing or calls something else: it waits. So the connection of
//! the group, which does, goes along: all ranks agree about an operation before it is begun
//! ([`ProcessGroup::agree`]), and the thread of the group waits beside the device until it is done
//! ([`ProcessGroup::guard`]).

use kiln_tensor::{Device, Result};

use super::group::ProcessGroup;

#[cfg(feature = "cuda")]
pub(super) use kiln_cuda::nccl::{Communicator, Reduction};
#[cfg(not(feature = "cuda"))]
pub(super) use none::{Communicator, Reduction};

/// What a build without GPUs has none of.
#[cfg(not(feature = "cuda"))]
mod none {
    use std::time::Duration;

    use kiln_tensor::{AnyTensor, Result};

    #[derive(Debug)]
    pub enum Communicator {}
    pub enum Reduction {}

    impl Communicator {
        pub fn all_reduce(&self, _: &[AnyTensor], _: bool) -> Result<Reduction> {
            match *self {}
        }

        pub fn broadcast(&self, _: &AnyTensor, _: usize) -> Result<Reduction> {
            match *self {}
        }

        pub fn wait(&self, _: Duration) -> Result<()> {
            match *self {}
        }
    }

    impl Reduction {
        pub fn finish(self) -> Result<AnyTensor> {
            match self {}
        }
    }
}

/// Joins all ranks, each with its GPU. `None` where tensors go through host memory: if the device is
/// no GPU, if `KILN_NCCL=0` says so, and in a group of one that does not have NCCL.
#[cfg(feature = "cuda")]
pub(super) fn connect(group: &ProcessGroup, device: &Device) -> Result<Option<Communicator>> {
    use kiln_cuda::nccl::{UniqueId, is_gpu, version};

    use super::group_error;

    let is_off = std::env::var_os("KILN_NCCL").is_some_and(|value| value == "0");
    if !is_gpu(device) || is_off {
        return Ok(None);
    }
    // What rank 0 made is for all.
    let made = match group.rank() {
        0 => UniqueId::new().map(|id| id.0.to_vec()),
        _ => version().map(|_| Vec::new()),
    };
    if made.is_err() && group.world_size() == 1 {
        return Ok(None);
    }
    let message = match &made {
        Ok(id) => [&[0], &id[..]].concat(),
        Err(error) => [&[1], error.to_string().as_bytes()].concat(),
    };
    let messages = group.all_gather_bytes(&message)?;
    for (rank, message) in messages.iter().enumerate() {
        if let [1, reason @ ..] = &message[..] {
            let reason = String::from_utf8_lossy(reason);
            return Err(group_error("process group", format!("rank {rank}: {reason}")));
        }
    }
    let id = messages[0].get(1..).and_then(|id| id.try_into().ok());
    let id = id.ok_or_else(|| group_error("process group", "rank 0 sent no id of NCCL"))?;
    let place = [group.rank(), group.world_size()];
    Communicator::new(device, UniqueId(id), place, group.timeout()).map(Some)
}

#[cfg(not(feature = "cuda"))]
pub(super) fn connect(_: &ProcessGroup, _: &Device) -> Result<Option<Communicator>> {
    Ok(None)
}
