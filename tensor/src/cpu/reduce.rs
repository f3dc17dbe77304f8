//! Reductions.
//!
//! Elements are combined over a fixed tree that depends on the shape alone: lanes of a vector
//! within a block, blocks within a segment, segments in order. Block results are carried on in
//! double precision, so sums of f32 are accurate for any length, and the bits are the same on any
//! number of threads.

use smallvec::SmallVec;

use super::access::{Compute, pointer};
use super::fold::fold;
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
    /// The larger and the smaller one, passing over NaN: intrinsics, which vectorise where a
    /// comparison and a choice may not.
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
                self.max(other)
            }
            #[inline(always)]
            fn smaller(self, other: Self) -> Self {
                self.min(other)
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

/// Combines one block.
struct Block<'a, T> {
    kind: ReduceKind,
    x: &'a [T],
}

impl<T: Combine> Kernel for Block<'_, T> {
    type Output = T;
    #[inline(always)]
    fn run<I: Isa>(self) -> T {
        // A constant kind in each arm lets the loop vectorise.
        match self.kind {
            ReduceKind::Sum | ReduceKind::Mean => block(ReduceKind::Sum, self.x),
            ReduceKind::Prod => block(ReduceKind::Prod, self.x),
            kind => extremum(kind, self.x),
        }
    }
}

#[inline(always)]
fn block<T: Combine>(kind: ReduceKind, x: &[T]) -> T {
    fold(x, T::start(kind), |x| x, |a, b| T::combine(kind, a, b))
}

/// The largest or smallest element; NaN if there is one.
#[inline(always)]
#[allow(clippy::eq_op)]
fn extremum<T: Combine>(kind: ReduceKind, x: &[T]) -> T {
    // Not equal to itself: NaN.
    if x.iter().fold(false, |found, x| found | (x != x)) {
        return x.iter().copied().find(|x| x != x).expect("it was found");
    }
    match kind {
        ReduceKind::Max | ReduceKind::Any => fold(x, T::start(kind), |x| x, T::larger),
        _ => fold(x, T::start(kind), |x| x, T::smaller),
    }
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
    /// Four rows in pairs: a quarter of the additions, and of their roundings, are made to the
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
        out.fill(T::start(kind));
        for four in 0..rows / 4 {
            let (a, b) = (row(4 * four), row(4 * four + 1));
            let (c, d) = (row(4 * four + 2), row(4 * four + 3));
            for i in 0..n {
                let low = T::combine(kind, a[i], b[i]);
                let high = T::combine(kind, c[i], d[i]);
                out[i] = T::combine(kind, out[i], T::combine(kind, low, high));
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
        && reduced.strides()[0] != 1
        && x.dtype() == T::DTYPE;
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
                let wide = segment::<T>(op.kind, x, &reduced, range);
                // SAFETY: each segment writes its own entry.
                unsafe { out.set(i, wide) };
            }
        });
        let start = T::Wide::start(op.kind);
        let wide = partial.iter().fold(start, |a, &b| T::Wide::combine(op.kind, a, b));
        // SAFETY: the only element of the new output.
        return unsafe { T::write(&[finish(wide)], y, 0) };
    }
    rows(count, n, |range| {
        let mut out = [T::default(); 64];
        for start in range.clone().step_by(out.len()) {
            let len = out.len().min(range.end - start);
            for (i, out) in out[..len].iter_mut().enumerate() {
                let layout = reduced.at(kept.position(start + i));
                *out = finish((0..n).step_by(SEGMENT).fold(T::Wide::start(op.kind), |a, first| {
                    let range = first..n.min(first + SEGMENT);
                    T::Wide::combine(op.kind, a, segment::<T>(op.kind, x, &layout, range))
                }));
            }
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

/// Combines the elements `range` of one row, in order of their row-major index.
fn segment<T: Combine>(
    kind: ReduceKind,
    x: &AnyTensor,
    layout: &Layout,
    range: std::ops::Range<usize>,
) -> T::Wide {
    let direct = x.dtype() == T::DTYPE && layout.rank() == 1 && layout.strides()[0] == 1;
    // Cleared only where it is needed: for a short row that takes as long as the sum.
    let mut cleared;
    let buffer: &mut [T] = if direct {
        &mut []
    } else {
        cleared = [T::default(); BLOCK];
        &mut cleared
    };
    let mut wide = T::Wide::start(kind);
    for start in range.clone().step_by(BLOCK) {
        let len = BLOCK.min(range.end - start);
        // SAFETY: `layout` is a row of the tensor, and the range is inside of it.
        let block = unsafe {
            if direct {
                let first = pointer::<T>(x).add(layout.offset() + start);
                std::slice::from_raw_parts(first, len)
            } else {
                T::read(x, layout, start, &mut buffer[..len]);
                &buffer[..len]
            }
        };
        wide = T::Wide::combine(kind, wide, dispatch(Block { kind, x: block }).widen());
    }
    wide
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
    const GROUP: usize = 32;
    let (n, stride) = (reduced.shape()[0], reduced.strides()[0]);
    let inner = kept.shape()[kept.rank() - 1];
    let strips = inner.div_ceil(WIDTH);
    let (groups, outer) = (n.div_ceil(GROUP), kept.shape().num_elements() / inner);
    if groups == 1 && inner <= WIDTH {
        return few_rows(kind, x, kept, reduced, y, finish);
    }
    // Partial rows of every strip: [outer, strips, groups, width].
    let mut partial = Scratch::<T>::new(outer * strips * groups * WIDTH.min(inner));
    let width = WIDTH.min(inner);
    let out = Shared::new(&mut partial);
    let source = pointer::<T>(x) as usize;
    let tasks = outer * strips * groups;
    rows(tasks, GROUP.min(n) * width, |range| {
        for task in range {
            let (strip, group) = (task / groups % strips, task % groups);
            let row = kept.position(task / (groups * strips) * inner + strip * width);
            let first = row as isize + (group * GROUP) as isize * stride;
            let columns = width.min(inner - strip * width);
            // SAFETY: each task has a partial row of its own; the rows of the group, from the
            // strip's first column on, are inside of the tensor.
            unsafe {
                let out = &mut out.part(task * width..(task + 1) * width)[..columns];
                let first = (source as *const T).offset(first);
                let rows = GROUP.min(n - group * GROUP);
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
