//! Positions of elements.

use super::access::{Compute, Dense, Sink};
use super::parallel::{CHUNK, Shared, chunks, rows};
use super::tile::{TILE, element_type, number_type};
use crate::op::{Nonzero, SearchSorted};
use crate::{AnyTensor, Error, MAX_RANK, Result};

/// Each thread counts in a chunk of its own, and then knows where the positions of its chunk go.
pub(super) fn nonzero(op: &Nonzero, x: &AnyTensor, y: &AnyTensor) -> Result<()> {
    let (shape, rank) = (x.shape(), x.rank());
    let mut ends = vec![0; x.num_elements().div_ceil(CHUNK)];
    let counts = Shared::new(&mut ends);
    for_each_chunk(x, |chunk, positions| {
        let mut count = 0;
        positions(&mut |found| count += found.len());
        // SAFETY: each chunk has a count of its own.
        unsafe { counts.set(chunk, count) }
    });
    let mut total = 0;
    for end in &mut ends {
        total += *end;
        *end = total;
    }
    if total != op.count {
        let rule = format!("{} elements were counted, and {total} are not zero", op.count);
        return Err(Error::Argument { op: "nonzero", rule });
    }
    if y.num_elements() == 0 {
        return Ok(());
    }
    // SAFETY: `y` is the only output, and new.
    let mut y = unsafe { Sink::<i64>::new(y) };
    let y = Shared::new(&mut y); // [count, rank]
    for_each_chunk(x, |chunk, positions| {
        let start = if chunk == 0 { 0 } else { ends[chunk - 1] };
        // SAFETY: each chunk writes the rows after those of the chunks before it.
        let y = unsafe { y.part(start * rank..ends[chunk] * rank) };
        let mut rows = y.chunks_exact_mut(rank);
        // The index of the first element of a run along the last axis, and where the run lies.
        let (mut index, mut run) = ([0; MAX_RANK], 0..0);
        positions(&mut |found| {
            for (&position, row) in found.iter().zip(&mut rows) {
                if !run.contains(&position) {
                    let extent = shape[rank - 1];
                    let start = position / extent * extent;
                    run = start..start + extent;
                    let mut rest = position / extent;
                    for axis in (0..rank - 1).rev() {
                        index[axis] = (rest % shape[axis]) as i64;
                        rest /= shape[axis];
                    }
                }
                row[..rank - 1].copy_from_slice(&index[..rank - 1]);
                row[rank - 1] = (position - run.start) as i64;
            }
        });
    });
    Ok(())
}

/// What a chunk does with the positions that are not zero in it, a tile of them at a time.
type Visit<'a> = dyn FnMut(&[usize]) + 'a;

/// Runs `work` for each chunk of a tensor, with a walk over its positions that are not zero.
fn for_each_chunk(x: &AnyTensor, work: impl Fn(usize, &dyn Fn(&mut Visit)) + Sync) {
    let layout = x.layout().collapse();
    element_type!(x.dtype(), T => chunks(x.num_elements(), CHUNK, |range| {
        work(range.start / CHUNK, &|visit| {
            let mut tile = [T::default(); TILE];
            let mut found = [0; TILE];
            for start in range.clone().step_by(TILE) {
                let tile = &mut tile[..TILE.min(range.end - start)];
                // SAFETY: the layout is the tensor's own.
                unsafe { T::read(x, &layout, start, tile) };
                // Written always and counted if it is one: no branch to be guessed wrong.
                let mut count = 0;
                for (i, &x) in tile.iter().enumerate() {
                    found[count] = start + i;
                    count += (x != T::default()) as usize;
                }
                visit(&found[..count]);
            }
        });
    }));
}

pub(super) fn search_sorted(op: &SearchSorted, [sorted, values]: [&AnyTensor; 2], y: &AnyTensor) {
    let m = values.shape_ref().last().copied().unwrap_or(1);
    let n = sorted.shape_ref().last().copied().unwrap_or(1);
    let common = sorted.rank() == 1;
    number_type!(values.dtype(), T => {
        let (sorted, values) = (Dense::<T>::new(sorted), Dense::<T>::new(values));
        // SAFETY: `y` is the only output, and new.
        let mut y = unsafe { Sink::<i64>::new(y) };
        let y = Shared::new(&mut y);
        rows(values.len(), 4 * (n.max(2).ilog2() as usize), |range| {
            for i in range {
                let start = if common { 0 } else { i / m * n };
                let (row, value) = (&sorted[start..start + n], values[i]);
                // Not a comparison the other way round: NaN belongs behind everything.
                #[allow(clippy::neg_cmp_op_on_partial_ord, clippy::nonminimal_bool)]
                let at = if op.right {
                    row.partition_point(|&x| !(x > value))
                } else {
                    row.partition_point(|&x| !(x >= value))
                };
                // SAFETY: each element of the new output is written once.
                unsafe { y.set(i, at as i64) };
            }
        });
    });
}
