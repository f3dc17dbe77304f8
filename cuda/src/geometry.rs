//! How many blocks and threads a kernel gets, and how its operands are walked through: functions of
//! shapes and strides alone.

use kiln_tensor::{Layout, MAX_RANK, Shape};

use crate::runtime::Launch;

/// Threads of a block, unless a kernel says otherwise.
pub(crate) const THREADS: u32 = 256;
/// Kernels that walk through any number of elements get at most this many blocks; each thread then
/// computes several.
const MAX_BLOCKS: usize = 1 << 16;

/// For `work` independent pieces, one to a thread, or several where there are very many.
pub(crate) fn threads_for(work: usize) -> Launch {
    blocks_for(work.div_ceil(THREADS as usize))
}

/// For `blocks` independent pieces, one to a block of threads, or several.
pub(crate) fn blocks_for(blocks: usize) -> Launch {
    Launch { grid: [blocks.clamp(1, MAX_BLOCKS) as u32, 1, 1], threads: THREADS }
}

/// Whether numbers of elements need 64 bits: 32 do up to 2^31, past which the last step of a thread
/// could overflow.
pub(crate) fn needs_wide_index(count: usize) -> bool {
    count > 1 << 31
}

/// The type of numbers of elements in a kernel.
pub(crate) fn index_type(wide: bool) -> &'static str {
    if wide { "u64" } else { "u32" }
}

/// Axes to walk over in row-major order, with the strides of each operand: as few axes as there can
/// be for these strides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Walk<const N: usize> {
    pub rank: usize,
    pub dims: [i64; MAX_RANK],
    pub strides: [[i64; MAX_RANK]; N],
}

impl<const N: usize> Walk<N> {
    /// Over all elements of `shape`; each layout has that shape.
    pub fn new(shape: &Shape, layouts: [&Layout; N]) -> Self {
        Self::over(shape, layouts, 0..shape.rank())
    }

    /// Over some axes of `shape`, in rising order.
    pub fn over(shape: &Shape, layouts: [&Layout; N], axes: impl Iterator<Item = usize>) -> Self {
        let mut walk = Self { rank: 0, dims: [1; MAX_RANK], strides: [[0; MAX_RANK]; N] };
        for axis in axes.filter(|&axis| shape[axis] != 1) {
            let extent = shape[axis] as i64;
            let steps = layouts.map(|layout| layout.strides()[axis] as i64);
            let last = walk.rank.wrapping_sub(1);
            let continues = walk.rank > 0
                && (0..N).all(|x| walk.strides[x][last] == steps[x].wrapping_mul(extent));
            let at = if continues { last } else { walk.rank };
            walk.dims[at] *= extent;
            (0..N).for_each(|x| walk.strides[x][at] = steps[x]);
            walk.rank = at + 1;
        }
        walk
    }

    /// Whether all operands lie in the order of the walk without gaps.
    pub fn is_dense(&self) -> bool {
        self.rank == 0 || self.rank == 1 && self.strides.iter().all(|strides| strides[0] == 1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn grids_stay_within_the_limits_of_the_device() {
        for work in [0, 1, 255, 256, 257, 1 << 24, 1 << 31, (1 << 31) + 1, 1 << 40, usize::MAX] {
            let Launch { grid: [x, y, z], threads } = threads_for(work);
            assert!((1..=MAX_BLOCKS as u32).contains(&x) && (y, z) == (1, 1), "{work}");
            assert_eq!(threads, THREADS);
            let all = x as usize * THREADS as usize;
            assert!(all >= work || x as usize == MAX_BLOCKS, "{work}");
            // A thread that has done its last element adds one more step to its number.
            if !needs_wide_index(work) {
                assert!(u32::try_from(work + all).is_ok(), "{work}");
            }
        }
        assert!(!needs_wide_index(1 << 31) && needs_wide_index((1 << 31) + 1));
    }

    #[test]
    fn axes_merge_where_every_operand_allows_it() {
        let shape = Shape::new([2, 3, 4]);
        let dense = Layout::contiguous(shape);
        let walk = Walk::new(&shape, [&dense, &dense]);
        assert_eq!((walk.rank, walk.dims[0], walk.is_dense()), (1, 24, true));
        let row = Layout::contiguous(Shape::new([4])).expand(&shape).unwrap();
        let walk = Walk::new(&shape, [&dense, &row]);
        assert_eq!((walk.rank, &walk.dims[..2], walk.is_dense()), (2, &[6, 4][..], false));
        assert_eq!(&walk.strides[1][..2], [0, 1]);
        let turned = Layout::contiguous(Shape::new([4, 3, 2])).permute(&[2, 1, 0]);
        assert_eq!(Walk::new(&shape, [&turned]).rank, 3);
        assert!(Walk::new(&Shape::SCALAR, [&Layout::contiguous(Shape::SCALAR)]).is_dense());
    }

    proptest! {
        #[test]
        fn a_walk_reaches_the_elements_that_the_layout_has(
            dims in proptest::collection::vec(1usize..4, 0..5),
            turn in any::<bool>(),
            repeat in any::<bool>(),
        ) {
            let mut layout = Layout::contiguous(Shape::new(&dims[..]));
            if turn {
                let axes: Vec<usize> = (0..dims.len()).rev().collect();
                layout = layout.permute(&axes);
            }
            if repeat {
                let mut lead = vec![3];
                lead.extend(layout.shape().iter());
                layout = layout.expand(&Shape::new(lead)).unwrap();
            }
            let shape = *layout.shape();
            let walk = Walk::new(&shape, [&layout]);
            let count = walk.dims[..walk.rank].iter().product::<i64>();
            prop_assert_eq!(count as usize, shape.num_elements());
            for linear in 0..shape.num_elements() {
                let at = |dims: &[i64], strides: &[i64]| {
                    let (mut rest, mut at) = (linear as i64, 0);
                    for (extent, stride) in dims.iter().zip(strides).rev() {
                        at += rest % extent * stride;
                        rest /= extent;
                    }
                    at
                };
                let dims: Vec<i64> = shape.iter().map(|&n| n as i64).collect();
                let strides: Vec<i64> = layout.strides().iter().map(|&s| s as i64).collect();
                let merged = at(&walk.dims[..walk.rank], &walk.strides[0][..walk.rank]);
                prop_assert_eq!(merged, at(&dims, &strides));
            }
        }
    }
}
