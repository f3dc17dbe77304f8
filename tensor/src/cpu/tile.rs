//! Tiles: how elementwise operations walk over their inputs.
//!
//! Each input's part of a tile is taken from its memory where it lies there as needed, or else
//! gathered, repeated or widened into a buffer on the stack, which stays in the first-level cache;
//! then one loop over plain slices computes the tile. So every function is compiled once per type
//! and instruction set, and any mix of layouts and half types costs one more pass over cache.

use std::ops::Range;

use super::access::{Compute, pointer};
use super::parallel::{CHUNK, chunks};
use crate::AnyTensor;
use crate::layout::Layout;

/// Elements of a tile that goes through buffers: three buffers of f64 take 24 KiB.
pub(super) const TILE: usize = 1024;
/// Elements of the tile of a small tensor, for which clearing larger buffers would take longer than
/// the operation.
const SMALL: usize = 64;

/// One input, expanded to the shape of the output.
pub(super) enum Operand<'a, T> {
    /// Contiguous elements of type `T`, not overlapping the output.
    Direct(*const T),
    /// Anything else.
    Gathered(&'a AnyTensor, Layout),
    /// One number.
    Splat(T),
}

// SAFETY: an operand is read only, while the operation that borrows its tensor runs.
unsafe impl<T: Compute> Sync for Operand<'_, T> {}

impl<'a, T: Compute> Operand<'a, T> {
    #[inline]
    pub(super) fn new(tensor: &'a AnyTensor, output: &AnyTensor) -> Self {
        let aliased = tensor.buffer().address() == output.buffer().address();
        let same_shape = tensor.shape_ref() == output.shape_ref();
        if same_shape && !aliased && tensor.dtype() == T::DTYPE && tensor.layout().is_contiguous() {
            // SAFETY: the offset of a layout is inside of its buffer.
            return Operand::Direct(unsafe { pointer::<T>(tensor).add(tensor.layout().offset()) });
        }
        let layout = tensor.layout().expand(output.shape_ref());
        Operand::Gathered(tensor, layout.expect("infer checked that it broadcasts").collapse())
    }

    /// Puts what is the same in every tile into the buffer.
    #[inline(always)]
    pub(super) fn prepare(&self, buffer: &mut [T]) {
        if let Operand::Splat(x) = self {
            buffer.fill(*x);
        }
    }

    /// The elements of `range`, in the prepared `buffer` unless they lie in memory as needed.
    ///
    /// # Safety
    /// `range` is inside of the output's shape and no longer than the buffer that is needed.
    #[inline(always)]
    pub(super) unsafe fn fetch<'b>(&'b self, range: Range<usize>, buffer: &'b mut [T]) -> &'b [T] {
        match self {
            // SAFETY: the tensor has the output's shape and is contiguous.
            Operand::Direct(first) => unsafe {
                std::slice::from_raw_parts(first.add(range.start), range.len())
            },
            Operand::Gathered(tensor, layout) => {
                let buffer = &mut buffer[..range.len()];
                // SAFETY: an expansion of the tensor's own layout. Where the tensor is also the
                // output, this tile of it is read before it is written, and no other tile is.
                unsafe { T::read(tensor, layout, range.start, buffer) };
                buffer
            }
            Operand::Splat(_) => &buffer[..range.len()],
        }
    }
}

/// Computes `output` tile by tile with `compute(inputs, out)`.
#[inline]
pub(super) fn tiles<T: Compute, const N: usize>(
    inputs: [Operand<'_, T>; N],
    output: &AnyTensor,
    compute: impl Fn([&[T]; N], &mut [T]) + Sync,
) {
    let n = output.num_elements();
    let direct = inputs.iter().all(|input| matches!(input, Operand::Direct(_)));
    if direct && output.dtype() == T::DTYPE {
        chunks(n, CHUNK, |range| {
            // SAFETY: the range is inside of the output and of the inputs, which are contiguous
            // and of its shape; only this call writes it.
            unsafe {
                let inputs = std::array::from_fn(|i| inputs[i].fetch(range.clone(), &mut []));
                let first = pointer::<T>(output).add(range.start);
                compute(inputs, std::slice::from_raw_parts_mut(first, range.len()));
            }
        });
    } else if n <= SMALL {
        buffered::<T, N, SMALL>(&inputs, output, compute);
    } else {
        buffered::<T, N, TILE>(&inputs, output, compute);
    }
}

/// As [`tiles`], with tiles of `SIZE` elements that go through buffers where they must.
fn buffered<T: Compute, const N: usize, const SIZE: usize>(
    inputs: &[Operand<'_, T>; N],
    output: &AnyTensor,
    compute: impl Fn([&[T]; N], &mut [T]) + Sync,
) {
    chunks(output.num_elements(), CHUNK, |chunk| {
        let mut buffers = [[T::default(); SIZE]; N];
        let mut rounded = [T::default(); SIZE];
        inputs.iter().zip(&mut buffers).for_each(|(input, buffer)| input.prepare(buffer));
        for start in chunk.clone().step_by(SIZE) {
            let range = start..chunk.end.min(start + SIZE);
            let mut buffers = buffers.iter_mut();
            // SAFETY: the range is inside of the output. Only this call writes it, and where an
            // input is the output, its part was copied to a buffer.
            unsafe {
                let tiles = std::array::from_fn(|i| {
                    inputs[i].fetch(range.clone(), buffers.next().expect("one for each input"))
                });
                if output.dtype() == T::DTYPE {
                    let first = pointer::<T>(output).add(start);
                    compute(tiles, std::slice::from_raw_parts_mut(first, range.len()));
                } else {
                    let rounded = &mut rounded[..range.len()];
                    compute(tiles, rounded);
                    T::write(rounded, output, start);
                }
            }
        }
    });
}

/// Runs `$body` with `$T` as the type that real numbers of `$dtype` are computed in.
macro_rules! number_type {
    ($dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            $crate::DType::F64 => {
                type $T = f64;
                $body
            }
            $crate::DType::F32 | $crate::DType::F16 | $crate::DType::BF16 => {
                type $T = f32;
                $body
            }
            $crate::DType::U64 => {
                type $T = u64;
                $body
            }
            dtype if dtype.is_complex() => unreachable!("the rule refuses {dtype}"),
            _ => {
                type $T = i64;
                $body
            }
        }
    };
}
pub(super) use number_type;

/// As [`number_type`], for kernels that move or add elements and so take complex numbers too.
macro_rules! element_type {
    ($dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            $crate::DType::Complex64 => {
                type $T = num_complex::Complex<f32>;
                $body
            }
            $crate::DType::Complex128 => {
                type $T = num_complex::Complex<f64>;
                $body
            }
            dtype => $crate::cpu::tile::number_type!(dtype, $T => $body),
        }
    };
}
pub(super) use element_type;
