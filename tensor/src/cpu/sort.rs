//! Sorting and selection along one axis.
//!
//! Each entry becomes one integer: a key that orders as the numbers do, and below it the entry's
//! index. So no two are equal, the quickest sort of integers is a stable sort of the entries, and
//! the result is the same on any number of threads.

use rayon::prelude::*;

use super::access::{Compute, Sink};
use super::parallel::{Shared, rows};
use super::reduce::part;
use super::tile::number_type;
use crate::AnyTensor;
use crate::op::{Axes, Sort};

/// Rows from this length on are sorted by several threads together.
const LONG: usize = 1 << 16;
/// Sorting an entry is worth about this many elementwise elements.
const COST: usize = 64;

/// A number as an integer of the same order.
trait Key: Compute {
    /// What lies below the keys of types of up to 4 bytes, which then fit into 33 bits.
    const BELOW_NARROW: u64;
    fn key(self) -> u64;
}

macro_rules! float_key {
    ($type:ty, $sign:expr, $nan:expr) => {
        impl Key for $type {
            const BELOW_NARROW: u64 = 0;
            #[inline(always)]
            fn key(self) -> u64 {
                if self.is_nan() {
                    return $nan as u64;
                }
                // Adding zero makes both zeros the same one.
                let bits = (self + 0.0).to_bits();
                (if bits & $sign == 0 { bits | $sign } else { !bits }) as u64
            }
        }
    };
}
float_key!(f32, 1 << 31, u32::MAX);
float_key!(f64, 1 << 63, u64::MAX);

impl Key for i64 {
    const BELOW_NARROW: u64 = (1 << 63) - (1 << 31);
    #[inline(always)]
    fn key(self) -> u64 {
        self as u64 ^ 1 << 63
    }
}

impl Key for u64 {
    const BELOW_NARROW: u64 = 0;
    #[inline(always)]
    fn key(self) -> u64 {
        self
    }
}

/// Key and index in one integer.
trait Packed: Ord + Copy + Send {
    fn pack<T: Key>(x: T, index: usize, descending: bool) -> Self;
    fn index(self) -> usize;
}

/// Types of up to 4 bytes: 33 bits of key, 31 bits of index.
impl Packed for u64 {
    #[inline(always)]
    fn pack<T: Key>(x: T, index: usize, descending: bool) -> Self {
        let key = x.key() - T::BELOW_NARROW;
        (if descending { (1 << 33) - 1 - key } else { key }) << 31 | index as u64
    }
    #[inline(always)]
    fn index(self) -> usize {
        self as usize & ((1 << 31) - 1)
    }
}

impl Packed for u128 {
    #[inline(always)]
    fn pack<T: Key>(x: T, index: usize, descending: bool) -> Self {
        let key = if descending { !x.key() } else { x.key() };
        (key as u128) << 64 | index as u128
    }
    #[inline(always)]
    fn index(self) -> usize {
        self as u64 as usize
    }
}

pub(super) fn sort(op: &Sort, x: &AnyTensor, outputs: &[AnyTensor]) {
    if outputs[0].num_elements() == 0 {
        return;
    }
    let narrow = x.dtype().size() <= 4 && x.shape_ref()[op.axis] <= 1 << 31;
    number_type!(x.dtype(), T => {
        if narrow { run::<T, u64>(op, x, outputs) } else { run::<T, u128>(op, x, outputs) }
    })
}

fn run<T: Key, P: Packed>(op: &Sort, x: &AnyTensor, outputs: &[AnyTensor]) {
    let axes = Axes::single(op.axis);
    let kept = part(x.layout(), axes, false).collapse();
    let row = part(x.layout(), axes, true);
    let n = row.shape()[0];
    let (start, len) = op.ranks.unwrap_or((0, n));
    let inner: usize = x.shape_ref()[op.axis + 1..].iter().product();
    // SAFETY: the outputs are new, and each has one sink.
    let (mut values, mut indices) =
        unsafe { (Sink::<T>::new(&outputs[0]), Sink::<i64>::new(&outputs[1])) };
    let (values, indices) = (Shared::new(&mut values), Shared::new(&mut indices));
    rows(kept.shape().num_elements(), n * COST, |range| {
        let mut numbers = vec![T::default(); n];
        let mut packed: Vec<P> = Vec::with_capacity(n);
        for i in range {
            // SAFETY: a row of the tensor's own layout.
            unsafe { T::read(x, &row.at(kept.position(i)), 0, &mut numbers) };
            packed.clear();
            let pack = |(index, &x): (usize, &T)| P::pack(x, index, op.descending);
            packed.extend(numbers.iter().enumerate().map(pack));
            let first = i / inner * len * inner + i % inner;
            for (rank, entry) in ordered(&mut packed, start, len).iter().enumerate() {
                let (to, index) = (first + rank * inner, entry.index());
                // SAFETY: each row writes its own entries of the outputs.
                unsafe {
                    values.set(to, numbers[index]);
                    indices.set(to, index as i64);
                }
            }
        }
    });
}

/// The entries of ranks `start .. start + len`, `len` not zero, in order.
fn ordered<P: Packed>(mut entries: &mut [P], start: usize, len: usize) -> &[P] {
    if start > 0 {
        entries.select_nth_unstable(start);
        entries = &mut entries[start..];
    }
    if len < entries.len() {
        entries.select_nth_unstable(len);
        entries = &mut entries[..len];
    }
    if len > LONG {
        entries.par_sort_unstable();
    } else {
        entries.sort_unstable();
    }
    entries
}
