//! Processes that MPI connects.

use kiln_tensor::Result;
use mpi::Threading;
use mpi::collective::SystemOperation;
use mpi::datatype::PartitionMut;
use mpi::environment::Universe;
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator, CommunicatorCollectives, Equivalence, Root};

use super::collective::Collective;
use super::group_error;

/// Elements of one reduction, so that the scratch memory stays small; MPI counts in `i32`.
const PIECE: usize = 1 << 20;

/// The processes of `mpirun`. MPI ends all of them when one fails or they call different operations.
pub(super) struct Mpi {
    world: SimpleCommunicator,
    /// Sums, before they are copied to their place.
    f32s: Vec<f32>,
    f64s: Vec<f64>,
    // Ends MPI, on the thread that began it. The last field, as it is dropped last.
    _universe: Universe,
}

impl Mpi {
    pub fn new() -> Result<Self> {
        let once = || group_error("process group", "MPI can be begun only once in a process");
        // Other threads compute, but only this one calls MPI.
        let (universe, _) = mpi::initialize_with_threading(Threading::Funneled).ok_or_else(once)?;
        let world = universe.world();
        Ok(Self { world, f32s: Vec::new(), f64s: Vec::new(), _universe: universe })
    }
}

fn all_reduce<T: Equivalence + Copy + Default>(
    world: &SimpleCommunicator,
    values: &mut [T],
    scratch: &mut Vec<T>,
) {
    for piece in values.chunks_mut(PIECE) {
        scratch.resize(piece.len(), T::default());
        world.all_reduce_into(&*piece, &mut scratch[..], SystemOperation::sum());
        piece.copy_from_slice(scratch);
    }
}

impl Collective for Mpi {
    fn rank(&self) -> usize {
        self.world.rank() as usize
    }

    fn world_size(&self) -> usize {
        self.world.size() as usize
    }

    fn all_reduce_f32(&mut self, values: &mut [f32]) -> Result<()> {
        all_reduce(&self.world, values, &mut self.f32s);
        Ok(())
    }

    fn all_reduce_f64(&mut self, values: &mut [f64]) -> Result<()> {
        all_reduce(&self.world, values, &mut self.f64s);
        Ok(())
    }

    fn broadcast(&mut self, bytes: &mut [u8], root: usize) -> Result<()> {
        let root = self.world.process_at_rank(root as i32);
        bytes.chunks_mut(PIECE).for_each(|piece| root.broadcast_into(piece));
        Ok(())
    }

    fn all_gather(&mut self, bytes: &[u8]) -> Result<Vec<Vec<u8>>> {
        let mut lengths = vec![0u64; self.world_size()];
        self.world.all_gather_into(&(bytes.len() as u64), &mut lengths[..]);
        let total: u64 = lengths.iter().sum();
        if i32::try_from(total).is_err() {
            let what = format!("{total} bytes are too many for MPI");
            return Err(group_error("all_gather", what));
        }
        let counts: Vec<i32> = lengths.iter().map(|&length| length as i32).collect();
        let mut end = 0;
        let starts: Vec<i32> = counts.iter().map(|count| (end += count, end - count).1).collect();
        let mut all = vec![0u8; total as usize];
        let mut parts = PartitionMut::new(&mut all[..], &counts[..], &starts[..]);
        self.world.all_gather_varcount_into(bytes, &mut parts);
        let part =
            |(start, count): (&i32, &i32)| all[*start as usize..][..*count as usize].to_vec();
        Ok(starts.iter().zip(&counts).map(part).collect())
    }
}
