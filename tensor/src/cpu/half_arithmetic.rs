//! Arithmetic of halves that lie in memory as needed: widened and narrowed in registers, where tiles
//! would take a pass over the cache for each input and the output.

use std::ops::Range;

use half::{bf16, f16};

use super::access::pointer;
use super::elementwise::{BinaryLoop, map2};
use super::halves::{narrow, narrow_f16, widen, widen_f16};
use super::parallel::{CHUNK, chunks};
use super::simd::{Isa, Kernel, dispatch};
use crate::op::BinaryKind;
use crate::{AnyTensor, DType};

/// Computes `y`, or returns false where tiles must do so.
pub(super) fn half_arithmetic(kind: BinaryKind, inputs: [&AnyTensor; 2], y: &AnyTensor) -> bool {
    use BinaryKind::{Add, Div, Mul, Sub};
    let fits = |x: &AnyTensor| {
        x.dtype() == y.dtype()
            && x.shape_ref() == y.shape_ref()
            && x.layout().is_contiguous()
            && x.buffer().address() != y.buffer().address()
    };
    if !matches!(kind, Add | Sub | Mul | Div) || !inputs.into_iter().all(fits) {
        return false;
    }
    match y.dtype() {
        DType::BF16 => run(inputs, y, |a, b, y| dispatch(Bf16Loop { kind, a, b, y })),
        DType::F16 => run(inputs, y, |a, b, y| f16_run(kind, a, b, y)),
        _ => return false,
    }
    true
}

/// Inputs of `T` of the output's shape, contiguous and elsewhere in memory.
fn run<T: Copy>(
    inputs: [&AnyTensor; 2],
    y: &AnyTensor,
    compute: impl Fn(&[T], &[T], &mut [T]) + Sync,
) {
    // SAFETY: the range is inside of each; only this call writes that of the output.
    let part = |x: &AnyTensor, range: &Range<usize>| unsafe {
        std::slice::from_raw_parts(
            pointer::<T>(x).add(x.layout().offset() + range.start),
            range.len(),
        )
    };
    chunks(y.num_elements(), CHUNK, |range| {
        let [a, b] = inputs.map(|x| part(x, &range));
        // SAFETY: as above.
        let y = unsafe {
            std::slice::from_raw_parts_mut(pointer::<T>(y).add(range.start), range.len())
        };
        compute(a, b, y);
    });
}

struct Bf16Loop<'a> {
    kind: BinaryKind,
    a: &'a [bf16],
    b: &'a [bf16],
    y: &'a mut [bf16],
}

impl Kernel for Bf16Loop<'_> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let Self { kind, a, b, y } = self;
        match kind {
            BinaryKind::Add => map2(a, b, y, |a, b| narrow(widen(a) + widen(b))),
            BinaryKind::Sub => map2(a, b, y, |a, b| narrow(widen(a) - widen(b))),
            BinaryKind::Mul => map2(a, b, y, |a, b| narrow(widen(a) * widen(b))),
            BinaryKind::Div => map2(a, b, y, |a, b| narrow(widen(a) / widen(b))),
            kind => unreachable!("{kind:?} is no arithmetic"),
        }
    }
}

fn f16_run(kind: BinaryKind, a: &[f16], b: &[f16], y: &mut [f16]) {
    #[cfg(target_arch = "x86_64")]
    if super::simd::level() == super::simd::Level::Avx512 {
        // SAFETY: the processor has AVX-512.
        return unsafe { avx512::f16_run(kind, a, b, y) };
    }
    // Short runs, which stay in registers or close to them.
    const RUN: usize = 64;
    let mut wide = [[0.0; RUN]; 3];
    for ((a, b), y) in a.chunks(RUN).zip(b.chunks(RUN)).zip(y.chunks_mut(RUN)) {
        let [x, z, sum] = wide.each_mut().map(|wide| &mut wide[..y.len()]);
        widen_f16(a, x);
        widen_f16(b, z);
        dispatch(BinaryLoop { kind, a: x, b: z, y: &mut *sum });
        narrow_f16(sum, y);
    }
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use half::f16;

    use crate::cpu::halves::avx512::{LANES, narrow, widen};
    use crate::op::BinaryKind;

    #[target_feature(enable = "avx512f")]
    pub(super) fn f16_run(kind: BinaryKind, a: &[f16], b: &[f16], y: &mut [f16]) {
        match kind {
            BinaryKind::Add => zip(a, b, y, |a, b| a + b),
            BinaryKind::Sub => zip(a, b, y, |a, b| a - b),
            BinaryKind::Mul => zip(a, b, y, |a, b| a * b),
            BinaryKind::Div => zip(a, b, y, |a, b| a / b),
            kind => unreachable!("{kind:?} is no arithmetic"),
        }
    }

    #[target_feature(enable = "avx512f")]
    #[inline]
    fn zip(a: &[f16], b: &[f16], y: &mut [f16], f: impl Fn(f32, f32) -> f32) {
        let of = |a: &[f16; LANES], b: &[f16; LANES]| {
            let (a, b) = (widen(a), widen(b));
            narrow(&std::array::from_fn(|i| f(a[i], b[i])))
        };
        let ((a, a_tail), (b, b_tail)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
        let (y, y_tail) = y.as_chunks_mut::<LANES>();
        for ((a, b), y) in a.iter().zip(b).zip(y) {
            *y = of(a, b);
        }
        let mut last = [[f16::ONE; LANES]; 2];
        last[0][..a_tail.len()].copy_from_slice(a_tail);
        last[1][..b_tail.len()].copy_from_slice(b_tail);
        y_tail.copy_from_slice(&of(&last[0], &last[1])[..y_tail.len()]);
    }
}
