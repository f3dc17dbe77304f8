//! Splitting work over threads, by size alone: the same pieces are computed in the same way by any
//! number of threads, so results have the same bits.

use std::ops::Range;

use rayon::prelude::*;

use super::team;

/// Elements of a piece of elementwise work. Adding 1M f32 on two threads of rayon, which the [`team`]
/// has replaced, took 61, 57 and 55 us in pieces of 2^15, 2^16 and 2^17, and 86 us on one thread;
/// smaller pieces share out better among more threads. Not measured again on the team.
pub(crate) const CHUNK: usize = 1 << 16;

/// Runs `work` on `0..n` in pieces of `chunk`; on several threads if there is more than one.
#[inline]
pub(crate) fn chunks(n: usize, chunk: usize, work: impl Fn(Range<usize>) + Sync) {
    if n > chunk {
        pieces(n, chunk, &work);
    } else if n > 0 {
        work(0..n);
    }
}

/// Behind a pointer, so that what follows is compiled once instead of for each of the 350 kernels:
/// that was a third of the code of this crate, and 30 of the 80 seconds that it took to build.
fn pieces(n: usize, chunk: usize, work: &(dyn Fn(Range<usize>) + Sync)) {
    tasks(n.div_ceil(chunk), &|i| work(i * chunk..((i + 1) * chunk).min(n)));
}

/// Calls `task` with every number below `count`, on all threads.
pub(crate) fn tasks(count: usize, task: &(dyn Fn(usize) + Sync)) {
    if rayon::current_thread_index().is_none() {
        team::run(count, task);
    } else if threads() == 1 {
        (0..count).for_each(task);
    } else {
        (0..count).into_par_iter().for_each(task);
    }
}

/// How many threads [`tasks`] are shared by: those of the rayon pool that this is called in, or
/// those of the [`team`].
pub(crate) fn threads() -> usize {
    match rayon::current_thread_index() {
        None => team::available(),
        Some(_) => rayon::current_num_threads(),
    }
}

/// Pieces of rows: as [`chunks`] over `0..rows`, where a row is worth `cost` elementwise elements.
#[inline]
pub(crate) fn rows(rows: usize, cost: usize, work: impl Fn(Range<usize>) + Sync) {
    chunks(rows, (CHUNK / cost.max(1)).max(1), work);
}

/// A pointer to the elements of an output, for threads that write disjoint parts of it.
#[derive(Clone, Copy)]
pub(crate) struct Shared<T>(*mut T, usize);

// SAFETY: `Shared` only hands out parts that the caller of `part` promises to be disjoint.
unsafe impl<T: Send> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    pub(crate) fn new(slice: &mut [T]) -> Self {
        Self(slice.as_mut_ptr(), slice.len())
    }

    /// Writes one element.
    ///
    /// # Safety
    /// As [`Shared::part`] of that element.
    #[inline]
    pub(crate) unsafe fn set(&self, index: usize, value: T) {
        debug_assert!(index < self.1);
        // SAFETY: inside of the slice; disjointness is the caller's promise.
        unsafe { self.0.add(index).write(value) }
    }

    /// The elements in `range`.
    ///
    /// # Safety
    /// No two parts that are alive at one time overlap, and the slice this was made of outlives
    /// them.
    #[inline]
    #[allow(clippy::mut_from_ref)]
    pub(crate) unsafe fn part(&self, range: Range<usize>) -> &mut [T] {
        debug_assert!(range.start <= range.end && range.end <= self.1);
        // SAFETY: inside of the slice; disjointness is the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.0.add(range.start), range.len()) }
    }
}
