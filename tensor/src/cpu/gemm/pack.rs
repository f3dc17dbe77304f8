//! Operands: where they are read from and how they are brought into panels.
//!
//! A panel holds a few lines of an operand, interleaved in the order in which a micro-kernel reads
//! them: all lines at one step of depth, then all at the next. Whatever the operand looked like in
//! memory, the kernel then reads one contiguous stream, which needs few pages and no luck with the
//! associativity of the caches.

use super::super::simd::{Isa, Kernel, dispatch};
use super::Real;
use half::{bf16, f16};
use std::any::TypeId;
use std::cell::RefCell;
use std::marker::PhantomData;
use std::ops::Range;

/// Where an operand is read from: `lines` are the rows of C for the left operand and its columns
/// for the right one.
pub(crate) trait Source<T>: Sync {
    /// Writes `lines` x `depth` into panels of `width` lines. Panel `p` holds, for each `k` of
    /// `depth`, the values of lines `lines.start + p * width ..`, zero beyond `lines.end`:
    /// `out[(p * depth.len() + k) * width + lane]`. `out` has exactly the length of the panels.
    fn pack(&self, lines: Range<usize>, depth: Range<usize>, width: usize, out: &mut [T]);

    /// The operand in memory, if it is stored there as it is: small products read it in place.
    #[inline]
    fn direct(&self) -> Option<Direct<T>> {
        None
    }

    /// The operand in memory, if it is stored there as bf16.
    #[inline]
    fn halves(&self) -> Option<Direct<bf16>> {
        None
    }
}

/// An operand in memory: element `(line, k)` is at `start + line * line_stride + k * depth_stride`.
/// Outside of this module it can be had from a [`Strided`] only, whose maker vouches for it.
pub(crate) struct Direct<T> {
    /// Element `(0, 0)`.
    pub(super) start: *const T,
    /// Elements from one line to the next.
    pub(super) line_stride: isize,
    /// Elements from one step of depth to the next.
    pub(super) depth_stride: isize,
}

impl<T> Clone for Direct<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Direct<T> {}

// SAFETY: an address of plain numbers that are only read through it.
unsafe impl<T: Sync> Send for Direct<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Direct<T> {}

impl<S: 'static> Direct<S> {
    /// The same, if `T` is the type of the elements.
    #[inline]
    fn stored_as<T: 'static>(self) -> Option<Direct<T>> {
        let Self { start, line_stride, depth_stride } = self;
        (TypeId::of::<S>() == TypeId::of::<T>()).then(|| Direct {
            start: start.cast(),
            line_stride,
            depth_stride,
        })
    }
}

impl<T> Direct<T> {
    /// Address of an element; computing it is always sound, reading it is up to the caller.
    #[inline(always)]
    pub fn at(&self, line: usize, k: usize) -> *const T {
        let offset = line as isize * self.line_stride + k as isize * self.depth_stride;
        self.start.wrapping_offset(offset)
    }
}

/// A matrix in memory, stored as `S` and converted to the type of the product when it is packed.
pub(crate) struct Strided<'a, S> {
    at: Direct<S>,
    lifetime: PhantomData<&'a [S]>,
}

impl<S> Strided<'_, S> {
    /// A matrix whose element `(line, k)` is at `start + line * line_stride + k * depth_stride`;
    /// strides may be negative or zero.
    ///
    /// # Safety
    /// During the lifetime, every `(line, k)` of the products that this is an operand of is valid
    /// for reads and not written.
    #[inline]
    pub unsafe fn new(start: *const S, line_stride: isize, depth_stride: isize) -> Self {
        Self { at: Direct { start, line_stride, depth_stride }, lifetime: PhantomData }
    }
}

/// A storage type whose values convert to `T`.
pub(crate) trait Stored<T>: Copy + Default + Send + Sync + 'static {
    /// The value in `T`: exact, except from `f64` to `f32`.
    fn convert(self) -> T;
}

macro_rules! stored {
    ($($s:ty => $t:ty: |$x:ident| $convert:expr;)*) => {$(
        impl Stored<$t> for $s {
            #[inline(always)]
            fn convert(self) -> $t {
                let $x = self;
                $convert
            }
        }
    )*};
}

stored! {
    f32 => f32: |x| x;
    f64 => f64: |x| x;
    f32 => f64: |x| x as f64;
    f64 => f32: |x| x as f32;
    f16 => f32: |x| widen(x);
    f16 => f64: |x| widen(x) as f64;
    bf16 => f32: |x| f32::from_bits((x.to_bits() as u32) << 16);
    bf16 => f64: |x| f32::from_bits((x.to_bits() as u32) << 16) as f64;
}

/// Half to single precision without a branch, so that loops over it vectorise. With the bits moved
/// into place the exponent is too small by 112, for subnormal numbers too, which a multiplication
/// puts right exactly; only infinities and NaN need their exponent set.
#[inline(always)]
fn widen(x: f16) -> f32 {
    const TWO_TO_112: f32 = f32::from_bits((112 + 127) << 23);
    let bits = x.to_bits() as u32;
    let magnitude = f32::from_bits((bits & 0x7fff) << 13) * TWO_TO_112;
    let special = if bits & 0x7c00 == 0x7c00 { 0x7f80_0000 } else { 0 };
    f32::from_bits(magnitude.to_bits() | special | (bits & 0x8000) << 16)
}

impl<T: Real, S: Stored<T>> Source<T> for Strided<'_, S> {
    fn pack(&self, lines: Range<usize>, depth: Range<usize>, width: usize, out: &mut [T]) {
        let panels = lines.len().div_ceil(width);
        assert_eq!(out.len(), panels * width * depth.len(), "panels of another size");
        dispatch(Pack { from: self.at, lines, depth, width, out });
    }

    #[inline]
    fn direct(&self) -> Option<Direct<T>> {
        self.at.stored_as()
    }

    #[inline]
    fn halves(&self) -> Option<Direct<bf16>> {
        self.at.stored_as()
    }
}

/// [`Source::pack`] of a [`Strided`].
struct Pack<'a, S, T> {
    from: Direct<S>,
    lines: Range<usize>,
    depth: Range<usize>,
    width: usize,
    out: &'a mut [T],
}

impl<S: Stored<T>, T: Real> Kernel for Pack<'_, S, T> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        let Pack { from, lines, depth, width, out } = self;
        let panel = width * depth.len();
        for (p, line) in lines.clone().step_by(width).enumerate() {
            // Up to the end of `out`, not of the panel: the fast paths write whole vectors and may
            // run over into what a later step or panel writes again.
            let out = &mut out[p * panel..];
            let from = Direct { start: from.at(line, depth.start), ..from };
            let lines = lines.end - line;
            // SAFETY: whoever made the `Strided` promised that every element of the product's
            // operand can be read, and `lines` and `depth` lie within it.
            let done = unsafe {
                if from.line_stride == 1 {
                    match width {
                        0..=4 => copy::<4, S, T>(from, lines, depth.len(), width, out),
                        5..=8 => copy::<8, S, T>(from, lines, depth.len(), width, out),
                        9..=16 => copy::<16, S, T>(from, lines, depth.len(), width, out),
                        _ => copy::<32, S, T>(from, lines, depth.len(), width, out),
                    }
                } else if from.depth_stride == 1 {
                    if size_of::<T>() == 4 {
                        transpose::<8, I, S, T>(from, lines, depth.len(), width, out)
                    } else {
                        transpose::<4, I, S, T>(from, lines, depth.len(), width, out)
                    }
                } else {
                    0
                }
            };
            let count = lines.min(width);
            for k in done..depth.len() {
                let (values, zeros) = out[k * width..][..width].split_at_mut(count);
                for (i, value) in values.iter_mut().enumerate() {
                    // SAFETY: as above.
                    *value = unsafe { *from.at(i, k) }.convert();
                }
                zeros.fill(T::default());
            }
        }
    }
}

/// Packs one panel of an operand whose lines are contiguous, `W` at a time (at least `width`), and
/// returns the steps of depth that are done: all, as long as `W` lines exist and `out` has room.
///
/// # Safety
/// `lines` by `depth` elements of `from` can be read.
#[inline(always)]
unsafe fn copy<const W: usize, S: Stored<T>, T: Real>(
    from: Direct<S>,
    lines: usize,
    depth: usize,
    width: usize,
    out: &mut [T],
) -> usize {
    if lines < W || width > W || out.len() < W {
        return 0;
    }
    let steps = depth.min((out.len() - W) / width + 1);
    for k in 0..steps {
        // SAFETY: `W` lines exist.
        let line: [T; W] = unsafe { chunk(from.at(0, k)) };
        out[k * width..][..W].copy_from_slice(&line);
    }
    steps
}

/// As [`copy`] for an operand whose depth is contiguous: transposes blocks of `B` by `B`.
///
/// # Safety
/// `lines` by `depth` elements of `from` can be read.
#[inline(always)]
unsafe fn transpose<const B: usize, I: Isa, S: Stored<T>, T: Real>(
    from: Direct<S>,
    lines: usize,
    depth: usize,
    width: usize,
    out: &mut [T],
) -> usize {
    // Two blocks at a time use up a cache line of each operand line: with the long power-of-two
    // strides of typical matrices, all lines of a panel fall into the same few places of the
    // first-level cache, and would be gone when the second block asks for them again.
    let (groups, count) = (width.div_ceil(B), lines.min(width));
    let mut done = 0;
    // The last row of a block may run over by less than B.
    while done + 2 * B <= depth && (done + 2 * B - 1) * width + groups * B <= out.len() {
        // From the last group to the first: what the last one writes beyond `width` is the start
        // of the next step, which the first group then writes.
        for first in (0..groups).rev().map(|group| group * B) {
            for start in [done, done + B] {
                let at = start * width + first;
                if first + B <= count {
                    let mut block = [[T::default(); B]; B];
                    for (i, line) in block.iter_mut().enumerate() {
                        // SAFETY: the line exists, and B steps of its depth are left.
                        *line = unsafe { chunk(from.at(first + i, start)) };
                    }
                    // Apart from the block below, whose lines are not all known: this one stays in
                    // registers.
                    transposed::<B, I, T>(block, &mut out[at..], width);
                } else {
                    let mut block = [[T::default(); B]; B];
                    for (i, line) in (first..count).zip(&mut block) {
                        // SAFETY: as above.
                        *line = unsafe { chunk(from.at(i, start)) };
                    }
                    transposed::<B, I, T>(block, &mut out[at..], width);
                }
            }
        }
        done += 2 * B;
    }
    done
}

/// Writes a block transposed, in rows that are `width` elements apart.
#[inline(always)]
fn transposed<const B: usize, I: Isa, T: Real>(block: [[T; B]; B], out: &mut [T], width: usize) {
    for (k, step) in T::transpose::<I, B>(block).iter().enumerate() {
        out[k * width..][..B].copy_from_slice(step);
    }
}

/// `B` values from `at`, converted.
///
/// # Safety
/// They can be read.
#[inline(always)]
unsafe fn chunk<const B: usize, S: Stored<T>, T: Real>(at: *const S) -> [T; B] {
    // A loop: `array::map` is not always inlined, and then compiled for the baseline.
    let mut values = [T::default(); B];
    for (i, value) in values.iter_mut().enumerate() {
        // SAFETY: passed on to the caller.
        *value = unsafe { *at.add(i) }.convert();
    }
    values
}

/// Transposes a block by exchanging its elements one by one.
#[inline(always)]
fn exchange<T: Copy, const B: usize>(block: [[T; B]; B]) -> [[T; B]; B] {
    core::array::from_fn(|i| core::array::from_fn(|j| block[j][i]))
}

/// `block` transposed: in registers if it is 8 by 8 and the instruction set has 8 lanes.
#[inline(always)]
pub(super) fn transpose_f32<I: Isa, const B: usize>(block: [[f32; B]; B]) -> [[f32; B]; B] {
    #[cfg(target_arch = "x86_64")]
    if I::F32_LANES >= 8 && B == 8 {
        use core::arch::x86_64::*;
        let mut block = block;
        // SAFETY: an `Isa` of 8 lanes is compiled only for processors that have AVX, and the block
        // is 8 rows of 8.
        unsafe {
            let at = block.as_mut_ptr().cast::<f32>();
            let row = |i: usize| _mm256_loadu_ps(at.add(8 * i));
            // Halves of rows i and i + 4 side by side, then two rounds of pairs within halves.
            let (mut low, mut high) = ([_mm256_setzero_ps(); 4], [_mm256_setzero_ps(); 4]);
            for i in 0..4 {
                low[i] = _mm256_permute2f128_ps::<0x20>(row(i), row(i + 4));
                high[i] = _mm256_permute2f128_ps::<0x31>(row(i), row(i + 4));
            }
            for (start, [a, b, c, d]) in [(0, low), (32, high)] {
                let (ab, cd) = (_mm256_unpacklo_ps(a, b), _mm256_unpacklo_ps(c, d));
                let (ab2, cd2) = (_mm256_unpackhi_ps(a, b), _mm256_unpackhi_ps(c, d));
                let at = at.add(start);
                _mm256_storeu_ps(at, _mm256_shuffle_ps::<0b01_00_01_00>(ab, cd));
                _mm256_storeu_ps(at.add(8), _mm256_shuffle_ps::<0b11_10_11_10>(ab, cd));
                _mm256_storeu_ps(at.add(16), _mm256_shuffle_ps::<0b01_00_01_00>(ab2, cd2));
                _mm256_storeu_ps(at.add(24), _mm256_shuffle_ps::<0b11_10_11_10>(ab2, cd2));
            }
        }
        return block;
    }
    exchange(block)
}

/// Copies 16 lines of 16 numbers, `from_line` apart, as their columns, `to_line` apart, if the
/// instruction set has 16 lanes: whole cache lines are written, and nothing goes over the stack.
/// Whether it did.
///
/// # Safety
/// The lines can be read and the columns written.
#[inline(always)]
pub(super) unsafe fn turn_f32<I: Isa>(
    from: *const f32,
    from_line: usize,
    to: *mut f32,
    to_line: usize,
) -> bool {
    #[cfg(target_arch = "x86_64")]
    if I::F32_LANES >= 16 {
        use core::arch::x86_64::*;
        // SAFETY: an `Isa` of 16 lanes is compiled only for processors that have AVX-512; the rest is
        // passed on to the caller.
        unsafe {
            // Of four lines: a quarter of the register has those of one of the columns 0 to 3, 4 to
            // 7 and so on.
            let mut quarters = [[_mm512_setzero_ps(); 4]; 4];
            for (i, quarters) in quarters.iter_mut().enumerate() {
                let line = |j: usize| _mm512_loadu_ps(from.add((4 * i + j) * from_line));
                let pair = |a: __m512, b: __m512| {
                    let (a, b) = (_mm512_castps_pd(a), _mm512_castps_pd(b));
                    [_mm512_unpacklo_pd(a, b), _mm512_unpackhi_pd(a, b)]
                        .map(|x| _mm512_castpd_ps(x))
                };
                let low = pair(
                    _mm512_unpacklo_ps(line(0), line(1)),
                    _mm512_unpacklo_ps(line(2), line(3)),
                );
                let high = pair(
                    _mm512_unpackhi_ps(line(0), line(1)),
                    _mm512_unpackhi_ps(line(2), line(3)),
                );
                *quarters = [low[0], low[1], high[0], high[1]];
            }
            for column in 0..4 {
                let [a, b, c, d] = quarters.map(|quarters| quarters[column]);
                let (ab, ab2) =
                    (_mm512_shuffle_f32x4::<0x44>(a, b), _mm512_shuffle_f32x4::<0xee>(a, b));
                let (cd, cd2) =
                    (_mm512_shuffle_f32x4::<0x44>(c, d), _mm512_shuffle_f32x4::<0xee>(c, d));
                let to = to.add(column * to_line);
                _mm512_storeu_ps(to, _mm512_shuffle_f32x4::<0x88>(ab, cd));
                _mm512_storeu_ps(to.add(4 * to_line), _mm512_shuffle_f32x4::<0xdd>(ab, cd));
                _mm512_storeu_ps(to.add(8 * to_line), _mm512_shuffle_f32x4::<0x88>(ab2, cd2));
                _mm512_storeu_ps(to.add(12 * to_line), _mm512_shuffle_f32x4::<0xdd>(ab2, cd2));
            }
        }
        return true;
    }
    let _ = (from, from_line, to, to_line);
    false
}

/// As [`transpose_f32`], for blocks of 4 by 4.
#[inline(always)]
pub(super) fn transpose_f64<I: Isa, const B: usize>(block: [[f64; B]; B]) -> [[f64; B]; B] {
    #[cfg(target_arch = "x86_64")]
    if I::F32_LANES >= 8 && B == 4 {
        use core::arch::x86_64::*;
        let mut block = block;
        // SAFETY: an `Isa` of 8 lanes is compiled only for processors that have AVX, and the block
        // is 4 rows of 4.
        unsafe {
            let at = block.as_mut_ptr().cast::<f64>();
            let row = |i: usize| _mm256_loadu_pd(at.add(4 * i));
            let (ac, bd) = (
                _mm256_permute2f128_pd::<0x20>(row(0), row(2)),
                _mm256_permute2f128_pd::<0x20>(row(1), row(3)),
            );
            let (ac2, bd2) = (
                _mm256_permute2f128_pd::<0x31>(row(0), row(2)),
                _mm256_permute2f128_pd::<0x31>(row(1), row(3)),
            );
            _mm256_storeu_pd(at, _mm256_unpacklo_pd(ac, bd));
            _mm256_storeu_pd(at.add(4), _mm256_unpackhi_pd(ac, bd));
            _mm256_storeu_pd(at.add(8), _mm256_unpacklo_pd(ac2, bd2));
            _mm256_storeu_pd(at.add(12), _mm256_unpackhi_pd(ac2, bd2));
        }
        return block;
    }
    exchange(block)
}

/// Calls `f` with `len` elements that start at a cache line and hold anything. Buffers are kept by
/// the thread that needed them; a call inside of `f` (a task that this thread takes over while it
/// waits for another) gets one of its own.
pub(crate) fn with_buffer<T: Real, R>(len: usize, f: impl FnOnce(&mut [T]) -> R) -> R {
    #[derive(Clone, Copy)]
    #[repr(align(64))]
    #[allow(dead_code)] // Only reached through pointers.
    struct Line([u8; 64]);
    thread_local! {
        static SPARE: RefCell<Vec<Vec<Line>>> = const { RefCell::new(Vec::new()) };
    }
    if len == 0 {
        return f(&mut []);
    }
    let mut buffer = SPARE.with_borrow_mut(Vec::pop).unwrap_or_default();
    let lines = (len * size_of::<T>()).div_ceil(size_of::<Line>());
    if buffer.len() < lines {
        buffer.clear();
        buffer.resize(lines, Line([0; 64]));
    }
    // SAFETY: the buffer is initialised, aligned and long enough for `len` elements of `T`, which
    // is f32 or f64, for which all bits are a value.
    let result = f(unsafe { std::slice::from_raw_parts_mut(buffer.as_mut_ptr().cast(), len) });
    SPARE.with_borrow_mut(|spare| spare.push(buffer));
    result
}
