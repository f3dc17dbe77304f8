//! New values in some places of a tensor.

use num_complex::Complex;

use super::access::{Compute, Dense, Sink, indices, integers, pointer};
use super::parallel::{Shared, rows};
use super::tile::element_type;
use crate::layout::Layout;
use crate::op::{Assign, Cast, IndexingUpdateOp, RavelIndex, Scatter};
use crate::{AnyTensor, Error, Result};

/// Whether the output is the first input, given away: then its old values are there already.
fn in_place(x: &AnyTensor, y: &AnyTensor) -> bool {
    x.buffer().address() == y.buffer().address()
}

pub(super) fn assign(op: &Assign, [x, values]: [&AnyTensor; 2], y: &AnyTensor) {
    if !in_place(x, y) {
        super::elementwise::cast(&Cast { dtype: y.dtype() }, x, y);
    }
    let part = op.view.layout(&Layout::contiguous(y.shape())).expect("infer checked it");
    match y.dtype().size() {
        1 => put::<u8>(values, y, &part),
        2 => put::<u16>(values, y, &part),
        4 => put::<u32>(values, y, &part),
        8 => put::<u64>(values, y, &part),
        _ => put::<[u64; 2]>(values, y, &part),
    }
}

/// Copies `values` to where `part` lies in `y`, row by row.
fn put<T: Copy>(values: &AnyTensor, y: &AnyTensor, part: &Layout) {
    let (from, source, target) =
        (values.layout(), pointer::<T>(values) as usize, pointer::<T>(y) as usize);
    let n = values.num_elements();
    if n == 0 {
        return;
    }
    let last = |layout: &Layout| layout.strides().last().copied().unwrap_or(1);
    let extent = part.shape().last().copied().unwrap_or(1);
    let (step_in, step_out) = (last(from), last(part));
    rows(n / extent, extent, |range| {
        for row in range {
            // SAFETY: both layouts have one shape, of which this is a row, and stay inside of
            // their buffers. The view shows no element twice, so no two rows of it meet; and the
            // values are not in the buffer that is written, which nobody else holds.
            unsafe {
                let source = (source as *const T).add(from.position(row * extent));
                let target = (target as *mut T).add(part.position(row * extent));
                if step_in == 1 && step_out == 1 {
                    std::ptr::copy_nonoverlapping(source, target, extent);
                } else {
                    for i in 0..extent as isize {
                        target.offset(i * step_out).write(source.offset(i * step_in).read());
                    }
                }
            }
        }
    });
}

pub(super) fn scatter(
    op: &Scatter,
    [x, index, values]: [&AnyTensor; 3],
    y: &AnyTensor,
) -> Result<()> {
    let shape = index.shape();
    let extent = y.shape()[op.axis];
    // One index for a whole entry of the axis, as `select_assign` has it, is read once.
    let repeated =
        |axis: usize| axis == op.axis || shape[axis] == 1 || (index.layout().strides()[axis] == 0);
    let shared = !shape.contains(&0) && (0..shape.rank()).all(repeated);
    let index = if shared {
        let first = |axis: usize| crate::AxisSlice { axis, start: 0, len: 1, step: 1 };
        let others = (0..shape.rank()).filter(|&axis| axis != op.axis).map(first);
        let column = index.layout().slice(&others.collect::<Vec<_>>());
        indices("scatter", &index.view_as(column, index.dtype()), extent)?
    } else {
        indices("scatter", index, extent)?
    };
    use IndexingUpdateOp::*;
    element_type!(y.dtype(), T => {
        let places = Places::new(op.axis, &shape, y, &index, shared);
        match op.update {
            Assign => places.update::<T>(x, values, y, |_, new| new),
            Add => places.update::<T>(x, values, y, Number::add),
            Mul => places.update::<T>(x, values, y, Number::mul),
            Min => places.update::<T>(x, values, y, Number::min),
            Max => places.update::<T>(x, values, y, Number::max),
        }
    });
    Ok(())
}

/// Arithmetic of the types that are computed in: integers wrap, NaN wins every comparison.
trait Number: Compute {
    fn add(self, other: Self) -> Self;
    fn mul(self, other: Self) -> Self;
    fn min(self, other: Self) -> Self;
    fn max(self, other: Self) -> Self;
}

macro_rules! float {
    ($($type:ty)*) => {$(
        impl Number for $type {
            fn add(self, other: Self) -> Self {
                self + other
            }
            fn mul(self, other: Self) -> Self {
                self * other
            }
            fn min(self, other: Self) -> Self {
                if self.is_nan() || self < other { self } else { other }
            }
            fn max(self, other: Self) -> Self {
                if self.is_nan() || self > other { self } else { other }
            }
        }
    )*};
}
float!(f32 f64);

macro_rules! integer {
    ($($type:ty)*) => {$(
        impl Number for $type {
            fn add(self, other: Self) -> Self {
                self.wrapping_add(other)
            }
            fn mul(self, other: Self) -> Self {
                self.wrapping_mul(other)
            }
            fn min(self, other: Self) -> Self {
                Ord::min(self, other)
            }
            fn max(self, other: Self) -> Self {
                Ord::max(self, other)
            }
        }
    )*};
}
integer!(i64 u64);

macro_rules! complex {
    ($($part:ty)*) => {$(
        impl Number for Complex<$part> {
            fn add(self, other: Self) -> Self {
                self + other
            }
            fn mul(self, other: Self) -> Self {
                self * other
            }
            fn min(self, _: Self) -> Self {
                unreachable!("the rule refuses it: complex numbers have no order")
            }
            fn max(self, _: Self) -> Self {
                unreachable!("the rule refuses it: complex numbers have no order")
            }
        }
    )*};
}
complex!(f32 f64);

/// Where each value of a scatter goes. The values are seen as `[outer, entries, inner]` around the
/// indexed axis.
struct Places<'a> {
    outer: Layout,
    /// Where each element of an entry lies.
    inner: Vec<usize>,
    entries: usize,
    /// From one entry of the output to the next.
    stride: usize,
    index: &'a [usize],
    /// Whether there is an index for each entry rather than one for each value.
    shared: bool,
}

impl<'a> Places<'a> {
    fn new(axis: usize, shape: &[usize], y: &AnyTensor, index: &'a [usize], shared: bool) -> Self {
        let full = Layout::contiguous(y.shape());
        let inner = Layout::strided(&shape[axis + 1..], &full.strides()[axis + 1..], 0);
        Self {
            outer: Layout::strided(&shape[..axis], &full.strides()[..axis], 0),
            inner: (0..inner.shape().num_elements()).map(|i| inner.position(i)).collect(),
            entries: shape[axis],
            stride: full.strides()[axis] as usize,
            index,
            shared,
        }
    }

    /// Threads share out the columns, so that the values of one place come in order, from one
    /// thread.
    fn update<T: Number>(
        &self,
        x: &AnyTensor,
        values: &AnyTensor,
        y: &AnyTensor,
        meet: impl Fn(T, T) -> T + Sync,
    ) {
        /// Columns of a task: a cache line of f32.
        const COLUMNS: usize = 16;
        let direct = y.dtype() == T::DTYPE;
        if direct && !in_place(x, y) {
            super::elementwise::cast(&Cast { dtype: y.dtype() }, x, y);
        }
        let values = Dense::<T>::new(values);
        // SAFETY: the only sink of the only output. Where `x` is that output, it is not read
        // while the sink exists, but into the sink's own buffer.
        let mut y = unsafe { Sink::<T>::new(y) };
        if !direct {
            let n = y.len();
            let (out, layout) = (Shared::new(&mut y), x.layout().collapse());
            super::parallel::chunks(n, super::parallel::CHUNK, |range| {
                // SAFETY: the ranges are disjoint, and the layout is the tensor's own.
                unsafe { T::read(x, &layout, range.start, out.part(range)) }
            });
        }
        let columns = self.inner.len();
        if values.is_empty() {
            return;
        }
        let strips = columns.div_ceil(COLUMNS);
        let out = Shared::new(&mut y);
        rows(self.outer.shape().num_elements() * strips, self.entries * COLUMNS * 2, |range| {
            for task in range {
                let (o, strip) = (task / strips, task % strips);
                let base = self.outer.position(o);
                let own = strip * COLUMNS..columns.min((strip + 1) * COLUMNS);
                for k in 0..self.entries {
                    let from = (o * self.entries + k) * columns;
                    for c in own.clone() {
                        let i = self.index[if self.shared { k } else { from + c }];
                        let to = base + self.inner[c] + i * self.stride;
                        // SAFETY: tasks differ in `o` or in columns, and so in the place.
                        let place = unsafe { &mut out.part(to..to + 1)[0] };
                        *place = meet(*place, values[from + c]);
                    }
                }
            }
        });
    }
}

pub(super) fn ravel_index(op: &RavelIndex, index: &AnyTensor, y: &AnyTensor) -> Result<()> {
    let index = integers(index);
    // SAFETY: `y` is the only output, and new.
    let mut y = unsafe { Sink::<i64>::new(y) };
    let rank = op.shape.rank();
    for (i, y) in y.iter_mut().enumerate() {
        let mut linear = 0;
        for (&index, &size) in index[i * rank..(i + 1) * rank].iter().zip(op.shape.iter()) {
            if !(0..size as i64).contains(&index) {
                return Err(Error::Index { op: "ravel_index", index, size });
            }
            linear = linear * size as i64 + index;
        }
        *y = linear;
    }
    Ok(())
}
