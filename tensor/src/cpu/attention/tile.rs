//! Products of tiles in cache, by the micro-kernels of matrix products.

use super::super::gemm::{Job, Real};
use super::super::simd;

/// A left operand: row `i` at step `k` is `data[i * row + k * step]`.
pub(super) struct Left<'a, T> {
    pub data: &'a [T],
    pub row: usize,
    pub step: usize,
}

/// A right operand: column `j` at step `k` is `data[j / width * panel + k * step + j % width]`,
/// where `width` is that of the widest tile.
pub(super) struct Right<'a, T> {
    pub data: &'a [T],
    pub panel: usize,
    pub step: usize,
}

impl<'a, T: Real> Right<'a, T> {
    /// A matrix whose rows, of `columns` elements, are the steps.
    pub fn rows(data: &'a [T], columns: usize) -> Self {
        Self { data, panel: width::<T>(), step: columns }
    }

    /// From column `first` on, of a matrix whose columns were packed into panels of `steps`. Further
    /// panels can be had from the start of one only.
    pub fn panels(data: &'a [T], steps: usize, first: usize) -> Self {
        let width = width::<T>();
        let start = first / width * width * steps + first % width;
        Self { data: &data[start.min(data.len())..], panel: width * steps, step: width }
    }
}

/// Columns of the widest tile.
pub(super) fn width<T: Real>() -> usize {
    T::tiles(simd::level()).columns()
}

/// Rows of the tallest tile.
pub(super) fn height<T: Real>() -> usize {
    T::tiles(simd::level()).rows()
}

/// `c = a b`, or `c += a b` if `add`, for `[rows, columns, steps]`. Rows of `c` are `stride`
/// elements apart.
pub(super) fn product<T: Real>(
    [rows, columns, steps]: [usize; 3],
    a: Left<T>,
    b: Right<T>,
    c: &mut [T],
    stride: usize,
    add: bool,
) {
    if rows == 0 || columns == 0 || (add && steps == 0) {
        return;
    }
    let tiles = T::tiles(simd::level());
    let (height, width) = (tiles.rows(), tiles.columns());
    assert!((rows - 1) * stride + columns <= c.len() && (rows == 1 || columns <= stride));
    if steps > 0 {
        let last = (columns - 1) / width;
        assert!((rows - 1) * a.row + (steps - 1) * a.step < a.data.len());
        assert!(last * b.panel + (steps - 1) * b.step + columns - last * width <= b.data.len());
        assert!(last == 0 || (steps - 1) * b.step + width <= b.data.len());
    }
    for column in (0..columns).step_by(width) {
        let some = width.min(columns - column);
        for row in (0..rows).step_by(height) {
            let tile = tiles.tile(height.min(rows - row), some, a.row == 1);
            // SAFETY: `level` is that of this processor; the assertions hold the last elements
            // that are reached inside of the operands and of `c`, whose rows do not overlap.
            unsafe {
                tile(&Job {
                    depth: steps,
                    a: a.data.as_ptr().wrapping_add(row * a.row),
                    a_line: a.row as isize,
                    a_depth: a.step as isize,
                    b: b.data.as_ptr().wrapping_add(column / width * b.panel),
                    b_depth: b.step as isize,
                    c: c.as_mut_ptr().add(row * stride + column),
                    c_stride: stride,
                    columns: some,
                    add,
                })
            }
        }
    }
}
