//! How kernels reach the elements of tensors.
//!
//! A kernel computes in one of few types, [`Compute`]: `f32` (also for f16 and bf16, which are
//! widened when read and rounded once when written), `f64`, `i64` for integers and bools, `u64`
//! for itself, and the complex types.
//! Inputs of any layout and dtype are read in row-major order, a run at a time.

use half::{bf16, f16};
use num_complex::Complex;

use super::halves::{narrow_bf16, narrow_f16, widen_bf16, widen_f16};
use super::pool::{Scratch, bytes::Plain};
use crate::dtype::to_odd;
use crate::layout::Layout;
use crate::{AnyTensor, DType, Element};

/// A type that kernels compute in.
pub(crate) trait Compute: Element + Plain {
    /// Elements `start ..` of a tensor in row-major order, as many as `out` holds. `layout` is that
    /// of the tensor or an expansion of it.
    ///
    /// # Safety
    /// `layout` stays inside of the tensor's buffer, which nobody writes meanwhile.
    unsafe fn read(tensor: &AnyTensor, layout: &Layout, start: usize, out: &mut [Self]);

    /// Writes `values` to elements `start ..` of a contiguous output, converted to its dtype.
    ///
    /// # Safety
    /// `output` is an output of the running operation, with as many elements from `start`, which
    /// nobody else accesses meanwhile.
    unsafe fn write(values: &[Self], output: &AnyTensor, start: usize);
}

/// An element type, and the type that it is computed in.
trait Stored: Element {
    type Wide: Compute;
    fn widen(self) -> Self::Wide;
    fn widen_run(run: &[Self], out: &mut [Self::Wide]) {
        for (wide, &x) in out.iter_mut().zip(run) {
            *wide = x.widen();
        }
    }
}

macro_rules! stored {
    ($($type:ty => $wide:ty: |$x:ident| $widen:expr $(, $run:ident)?;)*) => {$(
        impl Stored for $type {
            type Wide = $wide;
            #[inline(always)]
            fn widen(self) -> $wide {
                let $x = self;
                $widen
            }
            $(
                fn widen_run(run: &[Self], out: &mut [f32]) {
                    $run(run, out);
                }
            )?
        }
    )*};
}
stored! {
    f64 => f64: |x| x;
    f32 => f32: |x| x;
    f16 => f32: |x| x.to_f32(), widen_f16;
    bf16 => f32: |x| x.to_f32(), widen_bf16;
    i64 => i64: |x| x;
    i32 => i64: |x| x as i64;
    i16 => i64: |x| x as i64;
    i8 => i64: |x| x as i64;
    u32 => i64: |x| x as i64;
    u16 => i64: |x| x as i64;
    u8 => i64: |x| x as i64;
    u64 => u64: |x| x;
    Complex<f32> => Complex<f32>: |x| x;
    Complex<f64> => Complex<f64>: |x| x;
}

/// The first element of the tensor's buffer. Bools are read as bytes.
#[inline(always)]
pub(crate) fn pointer<S>(tensor: &AnyTensor) -> *mut S {
    debug_assert_eq!(tensor.dtype().size(), size_of::<S>());
    tensor.buffer().address() as *mut S
}

/// # Safety
/// As [`Compute::read`], and `S` is the tensor's dtype.
unsafe fn gather<S: Stored>(
    tensor: &AnyTensor,
    layout: &Layout,
    start: usize,
    out: &mut [S::Wide],
) {
    if out.is_empty() {
        return;
    }
    let base: *const S = pointer(tensor);
    let Some(last) = layout.rank().checked_sub(1) else {
        // SAFETY: the only element of the layout is inside of the buffer.
        out.fill(unsafe { base.add(layout.offset()).read() }.widen());
        return;
    };
    let (extent, stride) = (layout.shape()[last], layout.strides()[last]);
    // The index of the row, by axis, and where the row begins.
    let mut index = [0; crate::MAX_RANK];
    let mut position = layout.offset() as isize;
    let (mut row, mut column) = (start / extent, start % extent);
    for axis in (0..last).rev() {
        index[axis] = row % layout.shape()[axis];
        row /= layout.shape()[axis];
        position += index[axis] as isize * layout.strides()[axis];
    }
    let mut rest = out;
    loop {
        let run = rest.len().min(extent - column);
        let (out, next) = rest.split_at_mut(run);
        // SAFETY: elements `column .. column + run` of the row are inside of the layout, which is
        // inside of the buffer.
        unsafe {
            let first = base.offset(position + column as isize * stride);
            match stride {
                1 => S::widen_run(std::slice::from_raw_parts(first, run), out),
                0 => out.fill(first.read().widen()),
                _ => {
                    for (i, wide) in out.iter_mut().enumerate() {
                        *wide = first.offset(i as isize * stride).read().widen();
                    }
                }
            }
        }
        rest = next;
        if rest.is_empty() {
            return;
        }
        column = 0;
        for axis in (0..last).rev() {
            index[axis] += 1;
            position += layout.strides()[axis];
            if index[axis] < layout.shape()[axis] {
                break;
            }
            position -= index[axis] as isize * layout.strides()[axis];
            index[axis] = 0;
        }
    }
}

/// Writes `values` to the output, converted by `narrow`.
///
/// # Safety
/// As [`Compute::write`], and `D` is the output's dtype.
#[inline(always)]
unsafe fn scatter<T: Copy, D>(
    values: &[T],
    output: &AnyTensor,
    start: usize,
    narrow: impl Fn(&[T], &mut [D]),
) {
    // SAFETY: the caller's promise.
    let out =
        unsafe { std::slice::from_raw_parts_mut(pointer::<D>(output).add(start), values.len()) };
    narrow(values, out);
}

/// The conversion of one number, for each of a run.
#[inline(always)]
fn each<T: Copy, D>(narrow: impl Fn(T) -> D) -> impl Fn(&[T], &mut [D]) {
    move |values, out| {
        for (out, &x) in out.iter_mut().zip(values) {
            *out = narrow(x);
        }
    }
}

macro_rules! compute {
    ($type:ty, [$($read:ident: $stored:ty),*], |$x:ident| $to_f64:expr, $to_i64:expr,
     f16: $f16:expr, bf16: $bf16:expr) => {
        impl Compute for $type {
            unsafe fn read(tensor: &AnyTensor, layout: &Layout, start: usize, out: &mut [Self]) {
                match tensor.dtype() {
                    $(DType::$read => {
                        // SAFETY: the caller's promise, and this is the tensor's own dtype.
                        unsafe { gather::<$stored>(tensor, layout, start, out) }
                    })*
                    dtype => unreachable!("{dtype} is not computed as {}", Self::DTYPE),
                }
            }

            unsafe fn write(values: &[Self], output: &AnyTensor, start: usize) {
                // SAFETY: the caller's promise, and each arm writes the output's own dtype.
                unsafe {
                    match output.dtype() {
                        DType::F64 => scatter(values, output, start, each(|$x: $type| $to_f64)),
                        DType::F32 => scatter(values, output, start, each(|$x: $type| $x as f32)),
                        DType::F16 => scatter(values, output, start, $f16),
                        DType::BF16 => scatter(values, output, start, $bf16),
                        DType::I64 => scatter(values, output, start, each(|$x: $type| $to_i64)),
                        DType::I32 => scatter(values, output, start, each(|$x: $type| $x as i32)),
                        DType::I16 => scatter(values, output, start, each(|$x: $type| $x as i16)),
                        DType::I8 => scatter(values, output, start, each(|$x: $type| $x as i8)),
                        DType::U64 => scatter(values, output, start, each(|$x: $type| $x as u64)),
                        DType::U32 => scatter(values, output, start, each(|$x: $type| $x as u32)),
                        DType::U16 => scatter(values, output, start, each(|$x: $type| $x as u16)),
                        DType::U8 => scatter(values, output, start, each(|$x: $type| $x as u8)),
                        DType::Bool => {
                            scatter(values, output, start, each(|$x: $type| ($x != 0 as $type) as u8))
                        }
                        DType::Complex64 => {
                            scatter(values, output, start, each(|$x: $type| Complex::new($x as f32, 0.0)))
                        }
                        DType::Complex128 => {
                            scatter(values, output, start, each(|$x: $type| Complex::new($x as f64, 0.0)))
                        }
                    }
                }
            }
        }
    };
}
compute!(f32, [F32: f32, F16: f16, BF16: bf16], |x| x as f64, x as i64,
    f16: narrow_f16, bf16: narrow_bf16);
compute!(f64, [F64: f64], |x| x, x as i64,
    f16: each(|x| f16::from_f32(to_odd(x))), bf16: each(|x| bf16::from_f32(to_odd(x))));
compute!(i64, [I64: i64, I32: i32, I16: i16, I8: i8, U32: u32, U16: u16, U8: u8, Bool: u8], |x| x as f64, x,
    f16: each(|x| f16::from_f32(to_odd(x as f64))),
    bf16: each(|x| bf16::from_f32(to_odd(x as f64))));

compute!(u64, [U64: u64], |x| x as f64, x as i64,
    f16: each(|x| f16::from_f32(to_odd(x as f64))),
    bf16: each(|x| bf16::from_f32(to_odd(x as f64))));

macro_rules! compute_complex {
    ($type:ty, $dtype:ident) => {
        impl Compute for $type {
            unsafe fn read(tensor: &AnyTensor, layout: &Layout, start: usize, out: &mut [Self]) {
                debug_assert_eq!(tensor.dtype(), DType::$dtype);
                // SAFETY: the caller's promise, and this is the tensor's own dtype.
                unsafe { gather::<$type>(tensor, layout, start, out) }
            }

            unsafe fn write(values: &[Self], output: &AnyTensor, start: usize) {
                // SAFETY: the caller's promise, and each arm writes the output's own dtype.
                unsafe {
                    match output.dtype() {
                        DType::Complex64 => scatter(
                            values,
                            output,
                            start,
                            each(|x: $type| x.cast::<Complex<f32>>()),
                        ),
                        DType::Complex128 => scatter(
                            values,
                            output,
                            start,
                            each(|x: $type| x.cast::<Complex<f64>>()),
                        ),
                        dtype => unreachable!("a complex number is no {dtype}"),
                    }
                }
            }
        }
    };
}
compute_complex!(Complex<f32>, Complex64);
compute_complex!(Complex<f64>, Complex128);

/// The elements of a contiguous tensor of dtype `T`, if it is one.
#[inline]
pub(crate) fn slice<T: Compute>(tensor: &AnyTensor) -> Option<&[T]> {
    if tensor.dtype() != T::DTYPE || !tensor.layout().is_contiguous() {
        return None;
    }
    // SAFETY: a contiguous layout covers `num_elements` elements from its offset inside of the
    // buffer, which is not written while tensors share it (kernels of updates in place, which do,
    // do not call this on their targets).
    Some(unsafe {
        let first = pointer::<T>(tensor).add(tensor.layout().offset());
        std::slice::from_raw_parts(first, tensor.num_elements())
    })
}

/// The elements of an input in row-major order as `T`: its own memory where it is so already, else
/// a copy.
pub(crate) enum Dense<'a, T> {
    Borrowed(&'a [T]),
    Copied(Scratch<T>),
}

impl<'a, T: Compute> Dense<'a, T> {
    pub(crate) fn new(tensor: &'a AnyTensor) -> Self {
        if let Some(slice) = slice(tensor) {
            return Dense::Borrowed(slice);
        }
        let mut copy = Scratch::new(tensor.num_elements());
        let layout = tensor.layout().collapse();
        let out = super::parallel::Shared::new(&mut copy);
        super::parallel::chunks(tensor.num_elements(), super::parallel::CHUNK, |range| {
            // SAFETY: the ranges are disjoint, and the layout is the tensor's own.
            unsafe { T::read(tensor, &layout, range.start, out.part(range)) }
        });
        Dense::Copied(copy)
    }
}

impl<T: Compute> std::ops::Deref for Dense<'_, T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        match self {
            Dense::Borrowed(slice) => slice,
            Dense::Copied(copy) => copy,
        }
    }
}

/// Where a kernel writes an output as `T`: the output itself if that is its dtype, else a buffer
/// that is rounded into it at the end.
pub(crate) struct Sink<'a, T: Compute> {
    output: &'a AnyTensor,
    buffer: Option<Scratch<T>>,
}

impl<'a, T: Compute> Sink<'a, T> {
    /// # Safety
    /// `output` is an output of the running operation, overlaps no input of it, and no other sink
    /// of it exists.
    pub(crate) unsafe fn new(output: &'a AnyTensor) -> Self {
        let direct = output.dtype() == T::DTYPE;
        Self { output, buffer: (!direct).then(|| Scratch::new(output.num_elements())) }
    }
}

impl<T: Compute> std::ops::Deref for Sink<'_, T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        match &self.buffer {
            Some(buffer) => buffer,
            None => slice(self.output).expect("outputs are contiguous"),
        }
    }
}

impl<T: Compute> std::ops::DerefMut for Sink<'_, T> {
    fn deref_mut(&mut self) -> &mut [T] {
        match &mut self.buffer {
            Some(buffer) => buffer,
            // SAFETY: an output is contiguous from the start of its buffer, which is initialised
            // (an invariant of the pool), and by the promise of `new` only this sink reaches it.
            None => unsafe {
                let first = pointer::<T>(self.output);
                std::slice::from_raw_parts_mut(first, self.output.num_elements())
            },
        }
    }
}

impl<T: Compute> Drop for Sink<'_, T> {
    fn drop(&mut self) {
        if let Some(buffer) = &self.buffer {
            super::parallel::chunks(buffer.len(), super::parallel::CHUNK, |range| {
                // SAFETY: the promise of `new`; the ranges are disjoint.
                unsafe { T::write(&buffer[range.clone()], self.output, range.start) }
            });
        }
    }
}

/// Runs `$body` with `$T` as the type that floats of `$dtype` are computed in.
macro_rules! float_type {
    ($dtype:expr, $T:ident => $body:expr) => {
        if $dtype == $crate::DType::F64 {
            type $T = f64;
            $body
        } else {
            type $T = f32;
            $body
        }
    };
}
pub(crate) use float_type;

/// The elements of an integer input in row-major order, for use as indices: what lies beyond `i64`
/// fits no axis, and the largest number that takes its place is refused in the same way.
pub(crate) fn integers(tensor: &AnyTensor) -> Dense<'_, i64> {
    if tensor.dtype() != DType::U64 {
        return Dense::new(tensor);
    }
    let wide = Dense::<u64>::new(tensor);
    let mut copy = Scratch::new(wide.len());
    for (index, &wide) in copy.iter_mut().zip(wide.iter()) {
        *index = i64::try_from(wide).unwrap_or(i64::MAX);
    }
    Dense::Copied(copy)
}

/// Indices of an input as `usize`, each checked to be below `extent`.
pub(crate) fn indices(
    op: &'static str,
    tensor: &AnyTensor,
    extent: usize,
) -> crate::Result<Vec<usize>> {
    let check = |index: i64| match usize::try_from(index) {
        Ok(index) if index < extent => Ok(index),
        _ => Err(crate::Error::Index { op, index, size: extent }),
    };
    integers(tensor).iter().copied().map(check).collect()
}
