//! Attention without its matrix of scores.
//!
//! Queries meet the keys in tiles: the scores of a tile are computed, made into weights and used
//! up while they are in cache (Dao et al., "FlashAttention", 2022; "FlashAttention-2", 2023). The
//! forward pass carries the maximum and the sum of exponentials of each row from one tile to the
//! next; the backward pass computes the weights again from their logarithm. Keys that none of a
//! strip of queries sees are skipped, so causal attention does half of the work.
//!
//! The products run on the micro-kernels of [`gemm`](super::gemm). Tiles are cut by the shapes
//! alone, and an element is always the sum of the same products in the same order.

mod backward;
mod forward;
mod gradient;
mod softmax;
mod tile;

pub(super) use backward::attention_backward;
pub(super) use forward::attention;

use std::ops::Range;

use super::access::{Compute, Dense, pointer};
use super::float::Float;
use super::matmul::Product;
use super::pool::Scratch;
use crate::AnyTensor;
use crate::layout::Layout;
use crate::op::{Attention, Extents};
use softmax::STRIP;

/// Keys of a tile, as long as they and their values fit the second-level cache.
const KEYS: usize = 256;
/// Elements of the longest keys and values for which that is so.
const LONG: usize = 128;

/// The inputs that the two passes share.
struct Inputs<'a> {
    op: &'a Attention,
    of: Extents,
    query: &'a AnyTensor,
    key: &'a AnyTensor,
    value: &'a AnyTensor,
    /// With its layout as `[n, heads, q, k]`.
    bias: Option<(&'a AnyTensor, Layout)>,
}

impl<'a> Inputs<'a> {
    fn new(op: &'a Attention, inputs: &[&'a AnyTensor], bias: Option<&'a AnyTensor>) -> Self {
        let [query, key, value] = [inputs[0], inputs[1], inputs[2]];
        let of = Extents::of([query, key, value].map(AnyTensor::shape_ref));
        let bias = bias.map(|bias| {
            let scores = [of.n, of.heads, of.queries, of.keys].into();
            let layout = bias.layout().expand(&scores);
            (bias, layout.expect("infer checked that the bias broadcasts"))
        });
        Self { op, of, query, key, value, bias }
    }

    /// Keys of a tile: a multiple of the widest tile of the micro-kernels.
    fn tile(&self) -> usize {
        let long = self.of.d.max(self.of.e).div_ceil(LONG).max(1);
        (KEYS / long).next_multiple_of(32)
    }

    /// The batch and the group of a head, counted through the batch.
    fn place(&self, head: usize) -> (usize, usize) {
        let (n, head) = (head / self.of.heads, head % self.of.heads);
        (n, head / self.of.each())
    }

    /// Of tile `keys`, how many each of `queries` sees.
    fn seen<'b>(
        &self,
        queries: Range<usize>,
        keys: &Range<usize>,
        seen: &'b mut [usize],
    ) -> &'b [usize] {
        let seen = &mut seen[..queries.len()];
        for (seen, query) in seen.iter_mut().zip(queries) {
            *seen = self.op.visible(query, keys.end).saturating_sub(keys.start);
        }
        seen
    }

    /// The bias of some queries of a head and some keys, if there is one.
    fn bias(
        &self,
        head: usize,
        queries: Range<usize>,
        keys: Range<usize>,
    ) -> Option<(&AnyTensor, Layout)> {
        let (bias, layout) = self.bias.as_ref()?;
        let matrix = matrix(layout, head / self.of.heads, head % self.of.heads);
        let strides = matrix.strides();
        let offset = matrix.offset() as isize
            + queries.start as isize * strides[0]
            + keys.start as isize * strides[1];
        Some((*bias, Layout::strided(&[queries.len(), keys.len()], strides, offset as usize)))
    }

    /// [`Inputs::bias`] in `buffer`, `[queries, keys]`.
    fn read_bias<'b, T: Compute>(
        &self,
        head: usize,
        queries: Range<usize>,
        keys: Range<usize>,
        buffer: &'b mut [T],
    ) -> Option<&'b [T]> {
        let out = &mut buffer[..if self.bias.is_some() { queries.len() * keys.len() } else { 0 }];
        let (bias, part) = self.bias(head, queries, keys)?;
        // SAFETY: these are elements of the bias, whose buffer is only read.
        unsafe { T::read(bias, &part, 0, out) };
        Some(out)
    }

    /// [`Inputs::bias`] in `buffer`, `[keys, STRIP]` with zeros after the queries.
    fn pack_bias<'b, T: Product>(
        &self,
        head: usize,
        queries: Range<usize>,
        keys: Range<usize>,
        buffer: &'b mut [T],
    ) -> Option<&'b [T]> {
        let (count, depth) = (queries.len(), keys.len());
        let (bias, part) = self.bias(head, queries, keys)?;
        let out = &mut buffer[..depth * STRIP];
        let strides = (part.strides()[0], part.strides()[1]);
        // SAFETY: these are elements of the bias, whose buffer is only read.
        unsafe {
            T::with_source(bias, part.offset(), strides, &mut |source| {
                source.pack(0..count, 0..depth, STRIP, out);
            });
        }
        Some(out)
    }
}

/// Matrix `[i, j]` of a layout of rank 4.
fn matrix(layout: &Layout, i: usize, j: usize) -> Layout {
    let strides = layout.strides();
    let offset = layout.offset() as isize + i as isize * strides[0] + j as isize * strides[1];
    Layout::strided(&layout.shape()[2..], &strides[2..], offset as usize)
}

/// Rows of a matrix of a tensor, one after the other: in place if they lie so, else copied.
fn rows<'a, T: Float>(tensor: &'a AnyTensor, matrix: &Layout, rows: Range<usize>) -> Dense<'a, T> {
    let (columns, strides) = (matrix.shape()[1], matrix.strides());
    let len = rows.len() * columns;
    if tensor.dtype() == T::DTYPE && strides[0] == columns as isize && strides[1] == 1 && len > 0 {
        let start = matrix.offset() + rows.start * columns;
        // SAFETY: the rows lie inside of the tensor's buffer, which is not written while it is
        // borrowed.
        return Dense::Borrowed(unsafe {
            std::slice::from_raw_parts(pointer::<T>(tensor).add(start), len)
        });
    }
    Dense::Copied(scaled_rows(tensor, matrix, rows, T::ONE))
}

/// A copy of rows of a matrix of a tensor, multiplied by `scale`.
fn scaled_rows<T: Float>(
    tensor: &AnyTensor,
    matrix: &Layout,
    rows: Range<usize>,
    scale: T,
) -> Scratch<T> {
    let columns = matrix.shape()[1];
    let mut copy = Scratch::new(rows.len() * columns);
    // SAFETY: the rows lie inside of the tensor's buffer, which is not written while it is borrowed.
    unsafe { T::read(tensor, matrix, rows.start * columns, &mut copy) };
    softmax::scale(&mut copy, scale);
    copy
}

/// Packs rows of a matrix of a tensor as the columns of a right operand, and returns how many
/// elements of `panels` they take.
fn pack<T: Product>(
    tensor: &AnyTensor,
    matrix: &Layout,
    rows: Range<usize>,
    panels: &mut [T],
) -> usize {
    let (columns, strides, width) = (matrix.shape()[1], matrix.strides(), tile::width::<T>());
    let len = rows.len().next_multiple_of(width) * columns;
    let panels = &mut panels[..len];
    // SAFETY: all rows of the matrix lie inside of the tensor's buffer.
    unsafe {
        T::with_source(tensor, matrix.offset(), (strides[0], strides[1]), &mut |source| {
            source.pack(rows.clone(), 0..columns, width, panels);
        });
    }
    len
}
