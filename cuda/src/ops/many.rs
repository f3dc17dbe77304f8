//! Many tensors in one launch: what `kernels/many.cuh` needs to know of each.

use crate::geometry::blocks_for;
use crate::runtime::Launch;

/// Elements that a block of threads takes at a time. PyTorch and apex take 65,536; smaller ones share
/// out the last tensors among all multiprocessors, and a thread still has four packs of f32.
pub(super) const CHUNK: usize = 4096;

/// What the driver takes of parameters by value. A table of tensors that needs no memory of its own
/// is no upload, which would end a recording.
pub(super) const PARAMETER_BYTES: usize = 4096;

/// How many tensors fit beside `fixed` bytes of other parameters, where each needs `each` bytes and
/// its first chunk: an even number, which leaves no gaps.
pub(super) const fn most(fixed: usize, each: usize) -> usize {
    ((PARAMETER_BYTES - fixed) / (each + size_of::<u32>())) & !1
}

/// How tensors are cut into chunks.
pub(super) struct Chunks<const M: usize> {
    /// The first chunk of each tensor.
    pub first: [u32; M],
    /// How many elements each has.
    pub counts: [i64; M],
    pub tensors: i64,
    pub chunks: i64,
}

impl<const M: usize> Chunks<M> {
    /// For tensors of these numbers of elements, which are at most `M`.
    pub fn new(counts: impl Iterator<Item = usize>) -> Self {
        let mut table = Self { first: [0; M], counts: [0; M], tensors: 0, chunks: 0 };
        for (i, count) in counts.enumerate() {
            // No device has memory for 2^44 elements.
            (table.first[i], table.counts[i]) = (table.chunks as u32, count as i64);
            (table.tensors, table.chunks) =
                (i as i64 + 1, table.chunks + count.div_ceil(CHUNK) as i64);
        }
        table
    }

    pub fn launch(&self) -> Launch {
        blocks_for(self.chunks as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_follow_each_other() {
        let counts = [0, 1, CHUNK, 0, CHUNK + 1, 3 * CHUNK - 1, 0];
        let table = Chunks::<8>::new(counts.into_iter());
        assert_eq!(table.first, [0, 0, 1, 2, 2, 4, 7, 0]);
        assert_eq!((table.tensors, table.chunks), (7, 7));
        assert_eq!(table.counts[..7], counts.map(|count| count as i64));
    }
}
