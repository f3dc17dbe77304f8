//! Reductions.
//!
//! Elements are combined over a fixed tree that depends on the shape alone: lanes of a vector
//! within a block, blocks within a segment, segments in order. What a block gives is carried on in
//! double precision, so sums of f32 are accurate for any length, and the bits are the same on any
//! number of threads.

use smallvec::SmallVec;

use super::access::{Compute, pointer};
use super::fold::{LANES, lanes, tree};
use super::parallel::{Shared, chunks, rows};
use super::pool::Scratch;
use super::simd::{Isa, Kernel, dispatch};
use super::tile::number_type;
use crate::AnyTensor;
use crate::layout::Layout;
use crate::op::{Axes, Reduce, ReduceKind};

/// Elements that are combined in their own precision before the result is widened.
pub(super) const BLOCK: usize = 1024;
/// Elements of one row that one task combines.
const SEGMENT: usize = 1 << 16;

/// A type that reductions combine.
trait Combine: Compute {
    /// Carries block results: f64 for floats, i64 for integers.
    type Wide: Compute + Combine<Wide = Self::Wide>;
    fn widen(self) -> Self::Wide;
    fn round(wide: Self::Wide) -> Self;
    fn start(kind: ReduceKind) -> Self;
    fn combine(kind: ReduceKind, a: Self, b: Self) -> Self;
    fn divide(self, n: usize) -> Self;
    /// The larger and the smaller one, passing over an `other` that is NaN: one instruction.
    fn larger(self, other: Self) -> Self;
    fn smaller(self, other: Self) -> Self;
}

macro_rules! combine {
    ($type:ty, $wide:ty, $lowest:expr, $highest:expr, |$a:ident, $b:ident| $add:expr, $mul:expr) => {
        impl Combine for $type {
            type Wide = $wide;
            #[inline(always)]
            fn widen(self) -> $wide {
                self as $wide
            }
            #[inline(always)]
            fn round(wide: $wide) -> Self {
                wide as $type
            }
            #[inline(always)]
            fn start(kind: ReduceKind) -> Self {
                match kind {
                    ReduceKind::Sum | ReduceKind::Mean => 0 as $type,
                    ReduceKind::Prod => 1 as $type,
                    ReduceKind::Max => $lowest,
                    ReduceKind::Min => $highest,
                    ReduceKind::Any => 0 as $type,
                    ReduceKind::All => 1 as $type,
                }
            }
            #[inline(always)]
            #[allow(clippy::eq_op)]
            fn combine(kind: ReduceKind, $a: Self, $b: Self) -> Self {
                match kind {
                    ReduceKind::Sum | ReduceKind::Mean => $add,
                    ReduceKind::Prod => $mul,
                    // Not equal to itself: NaN, which wins.
                    ReduceKind::Max | ReduceKind::Any => {
                        if $a > $b || $a != $a {
                            $a
                        } else {
                            $b
                        }
                    }
                    ReduceKind::Min | ReduceKind::All => {
                        if $a < $b || $a != $a {
                            $a
                        } else {
                            $b
                        }
                    }
                }
            }
            #[inline(always)]
            fn larger(self, other: Self) -> Self {
                if other > self { other } else { self }
            }
            #[inline(always)]
            fn smaller(self, other: Self) -> Self {
                if other < self { other } else { self }
            }
            #[inline(always)]
            fn divide(self, n: usize) -> Self {
                self / n as $type
            }
        }
    };
}
combine!(f32, f64, f32::NEG_INFINITY, f32::INFINITY, |a, b| a + b, a * b);
combine!(f64, f64, f64::NEG_INFINITY, f64::INFINITY, |a, b| a + b, a * b);
combine!(u64, u64, u64::MIN, u64::MAX, |a, b| a.wrapping_add(b), a.wrapping_mul(b));
combine!(i64, i64, i64::MIN, i64::MAX, |a, b| a.wrapping_add(b), a.wrapping_mul(b));

/// Combines rows of `n` elements that lie in memory as they are: block by block.
struct Rows<'a, T: Combine> {
    kind: ReduceKind,
    first: *const T,
    /// Where the rows start, from `first` on.
    starts: &'a [usize],
    n: usize,
    out: &'a mut [T::Wide],
}

impl<T: Combine> Kernel for Rows<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        // A constant kind in each arm lets the loops vectorise.
        match self.kind {
            ReduceKind::Sum | ReduceKind::Mean => self.combine(ReduceKind::Sum),
            ReduceKind::Prod => self.combine(ReduceKind::Prod),
            ReduceKind::Max | ReduceKind::Any => self.combine(ReduceKind::Max),
            ReduceKind::Min | ReduceKind::All => self.combine(ReduceKind::Min),
        }
    }
}

impl<T: Combine> Rows<'_, T> {
    #[inline(always)]
    fn combine(self, kind: ReduceKind) {
        let Rows { first, starts, n, out, .. } = self;
        for (&start, out) in starts.iter().zip(out) {
            // SAFETY: the maker of `Rows` promises rows of `n` elements.
            let row = unsafe { std::slice::from_raw_parts(first.add(start), n) };
            let join = |a, b| T::Wide::combine(kind, a, b);
            if n < LANES {
                let wide = row.iter().map(|&x| x.widen());
                *out = wide.fold(T::Wide::start(kind), join);
                continue;
            }
            let mut wide = [T::Wide::start(kind); LANES];
            for x in row.chunks(BLOCK) {
                let block = block(kind, x);
                wide = std::array::from_fn(|i| T::Wide::combine(kind, wide[i], block[i].widen()));
            }
            *out = tree(wide, join);
        }
    }
}

/// Combines one block, as far as its lanes.
#[inline(always)]
fn block<T: Combine>(kind: ReduceKind, x: &[T]) -> [T; LANES] {
    match kind {
        ReduceKind::Sum | ReduceKind::Mean | ReduceKind::Prod => {
            lanes(x, T::start(kind), |x| x, |a, b| T::combine(kind, a, b))
        }
        ReduceKind::Max | ReduceKind::Any => extremum(x, T::start(kind), T::larger),
        ReduceKind::Min | ReduceKind::All => extremum(x, T::start(kind), T::smaller),
    }
}

/// The largest or smallest elements; NaN if there is one.
#[inline(always)]
#[allow(clippy::eq_op)]
fn extremum<T: Combine>(x: &[T], start: T, join: impl Fn(T, T) -> T + Copy) -> [T; LANES] {
    // Not equal to itself: NaN, over which `join` passes.
    if x.iter().fold(0, |found, x| found | (x != x) as u32) != 0 {
        return [x.iter().copied().find(|x| x != x).expect("it was found"); LANES];
    }
    lanes(x, start, |x| x, join)
}

/// Combines rows of as many elements as `out`, `stride` apart, lane by lane.
struct Columns<'a, T> {
    kind: ReduceKind,
    first: *const T,
    rows: usize,
    stride: isize,
    out: &'a mut [T],
}

impl<T: Combine> Kernel for Columns<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        // A constant kind in each arm lets the loops vectorise.
        match self.kind {
            ReduceKind::Sum | ReduceKind::Mean => self.combine(ReduceKind::Sum),
            ReduceKind::Prod => self.combine(ReduceKind::Prod),
            ReduceKind::Max | ReduceKind::Any => self.combine(ReduceKind::Max),
            ReduceKind::Min | ReduceKind::All => self.combine(ReduceKind::Min),
        }
    }
}

impl<T: Combine> Columns<'_, T> {
    /// Eight rows in pairs: an eighth of the additions, and of their roundings, are made to the
    /// running total. Not a closure of `run`, which would be compiled without the instruction set
    /// of the kernel (3.6 times slower).
    #[inline(always)]
    fn combine(self, kind: ReduceKind) {
        let Columns { first, rows, stride, out, .. } = self;
        let n = out.len();
        let row = |row: usize| {
            // SAFETY: the maker of `Columns` promises `rows` rows of this width.
            unsafe { std::slice::from_raw_parts(first.offset(row as isize * stride), n) }
        };
        let join = |a, b| T::combine(kind, a, b);
        out.fill(T::start(kind));
        for eight in 0..rows / 8 {
            let x: [&[T]; 8] = std::array::from_fn(|i| row(8 * eight + i));
            for i in 0..n {
                let four =
                    |k: usize| join(join(x[k][i], x[k + 1][i]), join(x[k + 2][i], x[k + 3][i]));
                out[i] = join(out[i], join(four(0), four(4)));
            }
        }
        for four in rows / 8 * 2..rows / 4 {
            let x: [&[T]; 4] = std::array::from_fn(|i| row(4 * four + i));
            for i in 0..n {
                out[i] = join(out[i], join(join(x[0][i], x[1][i]), join(x[2][i], x[3][i])));
            }
        }
        for x in (rows / 4 * 4..rows).map(row) {
            for (out, &x) in out.iter_mut().zip(x) {
                *out = T::combine(kind, *out, x);
            }
        }
    }
}

/// The layout of the axes in (or not in) a set.
pub(super) fn part(layout: &Layout, axes: Axes, reduced: bool) -> Layout {
    let chosen = |axis: &usize| axes.contains(*axis) == reduced;
    let dims: SmallVec<[usize; 8]> =
        (0..layout.rank()).filter(chosen).map(|i| layout.shape()[i]).collect();
    let strides: SmallVec<[isize; 8]> =
        (0..layout.rank()).filter(chosen).map(|i| layout.strides()[i]).collect();
    Layout::strided(&dims, &strides, layout.offset())
}

pub(super) fn reduce(op: &Reduce, x: &AnyTensor, y: &AnyTensor) {
    if y.num_elements() == 0 {
        return;
    }
    number_type!(x.dtype(), T => run::<T>(op, x, y))
}

fn run<T: Combine>(op: &Reduce, x: &AnyTensor, y: &AnyTensor) {
    let kept = part(x.layout(), op.axes, false).collapse();
    let reduced = part(x.layout(), op.axes, true).collapse();
    let n = reduced.shape().num_elements();
    let finish = |wide: T::Wide| {
        T::round(if op.kind == ReduceKind::Mean { wide.divide_total(n) } else { wide })
    };
    let inner = kept.strides().last().is_some_and(|&stride| stride == 1)
        && reduced.rank() == 1
        && reduced.strides()[0] != 1;
    if inner && n > 1 {
        return columns::<T>(op.kind, x, &kept, &reduced, y, finish);
    }
    let count = kept.shape().num_elements();
    if count == 1 && n > SEGMENT {
        let mut partial = Scratch::<T::Wide>::new(n.div_ceil(SEGMENT));
        let out = Shared::new(&mut partial);
        chunks(n.div_ceil(SEGMENT), 1, |segments| {
            for i in segments {
                let range = i * SEGMENT..n.min((i + 1) * SEGMENT);
                // SAFETY: each segment writes its own entry.
                let out = unsafe { out.part(i..i + 1) };
                combine_rows::<T>(op.kind, x, &reduced, &[reduced.offset()], range, out);
            }
        });
        let start = T::Wide::start(op.kind);
        let wide = partial.iter().fold(start, |a, &b| T::Wide::combine(op.kind, a, b));
        // SAFETY: the only element of the new output.
        return unsafe { T::write(&[finish(wide)], y, 0) };
    }
    rows(count, n, |range| {
        let (mut starts, mut wide) = ([0; 64], [T::Wide::default(); 64]);
        let mut out = [T::default(); 64];
        for start in range.clone().step_by(out.len()) {
            let len = out.len().min(range.end - start);
            for (i, position) in starts[..len].iter_mut().enumerate() {
                *position = kept.position(start + i);
            }
            combine_rows::<T>(op.kind, x, &reduced, &starts[..len], 0..n, &mut wide[..len]);
            out.iter_mut().zip(&wide[..len]).for_each(|(out, &wide)| *out = finish(wide));
            // SAFETY: the ranges are disjoint parts of the new output.
            unsafe { T::write(&out[..len], y, start) };
        }
    });
}

trait DivideTotal {
    fn divide_total(self, n: usize) -> Self;
}

impl<W: Combine> DivideTotal for W {
    fn divide_total(self, n: usize) -> Self {
        // The mean of no floats is NaN; integers have none, and zero is as good as any.
        if n == 0 && !W::DTYPE.is_float() { self } else { self.divide(n) }
    }
}

/// Combines the elements `range` of rows that start at `starts`, in order of their row-major index.
fn combine_rows<T: Combine>(
    kind: ReduceKind,
    x: &AnyTensor,
    row: &Layout,
    starts: &[usize],
    range: std::ops::Range<usize>,
    out: &mut [T::Wide],
) {
    if x.dtype() == T::DTYPE && row.rank() == 1 && row.strides()[0] == 1 {
        // SAFETY: the range of each row is inside of the tensor.
        let first = unsafe { pointer::<T>(x).add(range.start) };
        return dispatch(Rows { kind, first, starts, n: range.len(), out });
    }
    let mut buffer = [T::default(); BLOCK];
    for (&start, out) in starts.iter().zip(out) {
        let row = row.at(start);
        *out = T::Wide::start(kind);
        for start in range.clone().step_by(BLOCK) {
            let buffer = &mut buffer[..BLOCK.min(range.end - start)];
            // SAFETY: a row of the tensor, and the range is inside of it.
            unsafe { T::read(x, &row, start, buffer) };
            let mut wide = [T::Wide::default()];
            let (first, n) = (buffer.as_ptr(), buffer.len());
            dispatch(Rows { kind, first, starts: &[0], n, out: &mut wide });
            *out = T::Wide::combine(kind, *out, wide[0]);
        }
    }
}

/// Reduces an outer axis: whole rows are combined at once. Rows are grouped by [`BLOCK`], each
/// group into a partial row, and these are combined in order.
fn columns<T: Combine>(
    kind: ReduceKind,
    x: &AnyTensor,
    kept: &Layout,
    reduced: &Layout,
    y: &AnyTensor,
    finish: impl Fn(T::Wide) -> T + Sync,
) {
    /// Columns that are combined together: their partial results stay in the first-level cache.
    const WIDTH: usize = 1024;
    /// Rows of a group: few, as their sum is made in the precision of the elements.
    const GROUP: usize = 64;
    let (n, stride) = (reduced.shape()[0], reduced.strides()[0]);
    let inner = kept.shape()[kept.rank() - 1];
    let strips = inner.div_ceil(WIDTH);
    let (groups, outer) = (n.div_ceil(GROUP), kept.shape().num_elements() / inner);
    let direct = x.dtype() == T::DTYPE;
    if groups == 1 && inner <= WIDTH && direct {
        return few_rows(kind, x, kept, reduced, y, finish);
    }
    // Partial rows of every strip: [outer, strips, groups, width].
    let mut partial = Scratch::<T>::new(outer * strips * groups * WIDTH.min(inner));
    let width = WIDTH.min(inner);
    let out = Shared::new(&mut partial);
    let source = x.buffer().address();
    let tasks = outer * strips * groups;
    rows(tasks, GROUP.min(n) * width, |range| {
        // The rows of a group as `T`, if they are of another dtype.
        let mut widened = Scratch::<T>::new(if direct { 0 } else { GROUP.min(n) * width });
        for task in range {
            let (strip, group) = (task / groups % strips, task % groups);
            let row = kept.position(task / (groups * strips) * inner + strip * width);
            let first = row as isize + (group * GROUP) as isize * stride;
            let columns = width.min(inner - strip * width);
            // SAFETY: each task has a partial row of its own; the rows of the group, from the
            // strip's first column on, are inside of the tensor.
            unsafe {
                let out = &mut out.part(task * width..(task + 1) * width)[..columns];
                let rows = GROUP.min(n - group * GROUP);
                if direct {
                    let first = (source as *const T).offset(first);
                    dispatch(Columns { kind, first, rows, stride, out });
                    continue;
                }
                for (i, row) in widened.chunks_exact_mut(width).take(rows).enumerate() {
                    let start = (first + i as isize * stride) as usize;
                    T::read(x, &Layout::strided(&[columns], &[1], start), 0, &mut row[..columns]);
                }
                let (first, stride) = (widened.as_ptr(), width as isize);
                dispatch(Columns { kind, first, rows, stride, out });
            }
        }
    });
    rows(outer * strips, groups * width, |range| {
        let mut wide = vec![T::Wide::default(); width];
        let mut out = vec![T::default(); width];
        for task in range {
            let (row, strip) = (task / strips, task % strips);
            let columns = width.min(inner - strip * width);
            wide.fill(T::Wide::start(kind));
            for group in 0..groups {
                let start = (task * groups + group) * width;
                for (wide, &x) in wide.iter_mut().zip(&partial[start..start + columns]) {
                    *wide = T::Wide::combine(kind, *wide, x.widen());
                }
            }
            out.iter_mut().zip(&wide).for_each(|(out, &wide)| *out = finish(wide));
            // SAFETY: each strip writes its own columns of the new output.
            unsafe { T::write(&out[..columns], y, row * inner + strip * width) };
        }
    });
}

/// [`columns`] of no more rows than a group has: they are combined in the output itself.
fn few_rows<T: Combine>(
    kind: ReduceKind,
    x: &AnyTensor,
    kept: &Layout,
    reduced: &Layout,
    y: &AnyTensor,
    finish: impl Fn(T::Wide) -> T + Sync,
) {
    let (n, stride) = (reduced.shape()[0], reduced.strides()[0]);
    let inner = kept.shape()[kept.rank() - 1];
    let (source, target) = (pointer::<T>(x) as usize, pointer::<T>(y) as usize);
    rows(kept.shape().num_elements() / inner, n * inner, |range| {
        for row in range {
            // SAFETY: each task writes a row of its own of the new output, which has the dtype of
            // the input; the rows that it reads are inside of the tensor.
            unsafe {
                let out = (target as *mut T).add(row * inner);
                let out = std::slice::from_raw_parts_mut(out, inner);
                let first = (source as *const T).add(kept.position(row * inner));
                dispatch(Columns { kind, first, rows: n, stride, out: &mut *out });
                if kind == ReduceKind::Mean {
                    out.iter_mut().for_each(|x| *x = finish(x.widen()));
                }
            }
        }
    });
}
