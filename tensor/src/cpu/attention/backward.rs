//! The backward pass.
//!
//! A task has some keys of one head of keys and meets all queries that see them, tile by tile, so
//! the gradients of its keys and values are its own. Those of the queries are sums over tasks,
//! where a head of keys is cut into several: each has a part, and the parts are added in order.

use std::ops::Range;

use super::super::access::{Dense, Sink, float_type};
use super::super::matmul::Product;
use super::super::parallel::{self, Shared};
use super::super::pool::Scratch;
use super::super::simd::dispatch;
use super::gradient::{Gradient, Strip};
use super::tile::{Left, Right, height, product};
use super::{Inputs, matrix, pack, rows, scaled_rows};
use crate::AnyTensor;
use crate::op::AttentionBackward;

/// Queries of a tile, about: their weights are a sum's length in the gradients of keys and values.
const QUERIES: usize = 64;
/// Tasks that are enough for many threads; with fewer heads, keys are divided among tasks.
const TASKS: usize = 32;

pub(in crate::cpu) fn attention_backward(
    op: &AttentionBackward,
    inputs: &[&AnyTensor],
    outputs: &[AnyTensor],
) {
    let shared = Inputs::new(&op.attention, inputs, inputs.get(6).copied());
    float_type!(inputs[0].dtype(), T => {
        let [log_sum, delta] = [3, 5].map(|i| Dense::<T>::new(inputs[i]));
        let backward = Backward { inputs: &shared, dy: inputs[4], log_sum: &log_sum, delta: &delta };
        backward.run(op.wants, outputs)
    })
}

struct Backward<'a, T> {
    inputs: &'a Inputs<'a>,
    dy: &'a AnyTensor,
    /// `[n, heads, q]`
    log_sum: &'a [T],
    /// `[n, heads, q]`
    delta: &'a [T],
}

/// Where a task puts its gradients, as far as they are wanted.
struct Gradients<'a, T> {
    /// `[n, heads, q, d]`: its part, in which it adds to the heads that share its keys.
    dquery: Option<&'a Shared<T>>,
    /// `[keys, d]`
    dkey: Option<&'a mut [T]>,
    /// `[keys, e]`
    dvalue: Option<&'a mut [T]>,
    /// `[n, heads, q, k]`
    dbias: Option<&'a Shared<T>>,
}

impl<T: Product> Backward<'_, T> {
    fn run(&self, wants: [bool; 4], outputs: &[AnyTensor]) {
        let (of, tile) = (self.inputs.of, self.inputs.tile());
        let mut outputs = outputs.iter();
        let mut sinks = wants.map(|wanted| {
            let output = wanted.then(|| outputs.next().expect("one for each wanted"));
            // SAFETY: each output is new and used once.
            output.map(|output| unsafe { Sink::<T>::new(output) })
        });
        sinks.iter_mut().flatten().for_each(|sink| clear(sink));
        let [mut dquery, dkey, dvalue, dbias] = sinks.each_mut().map(|sink| sink.as_mut());
        let [dkey, dvalue, dbias] = [dkey, dvalue, dbias].map(|x| x.map(|x| Shared::new(x)));
        let heads = of.n * of.groups;
        let tiles = of.keys.div_ceil(tile);
        let pieces = TASKS.div_ceil(heads.max(1)).min(tiles).max(1);
        let long = tiles.div_ceil(pieces) * tile;
        let pieces = of.keys.div_ceil(long.max(1)).max(1);
        let len = of.n * of.heads * of.queries * of.d;
        let several = pieces > 1 && wants[0];
        // [pieces, n, heads, q, d]
        let mut parts = Scratch::<T>::new(if several { pieces * len } else { 0 });
        clear(&mut parts);
        let own: Vec<Shared<T>> = match &mut dquery {
            Some(_) if several => parts.chunks_exact_mut(len.max(1)).map(Shared::new).collect(),
            Some(dquery) => vec![Shared::new(dquery)],
            None => Vec::new(),
        };
        let cost = of.queries * of.each() * long.min(of.keys) * (3 * of.d + 2 * of.e + 16) / 8;
        parallel::rows(heads * pieces, cost, |range| {
            for task in range {
                let (head, piece) = (task / pieces, task % pieces);
                let keys = piece * long..of.keys.min((piece + 1) * long);
                let part = |columns| {
                    (head * of.keys + keys.start) * columns..(head * of.keys + keys.end) * columns
                };
                // SAFETY: the keys of different tasks do not overlap.
                let [dkey, dvalue] = [(&dkey, of.d), (&dvalue, of.e)]
                    .map(|(x, columns)| x.as_ref().map(|x| unsafe { x.part(part(columns)) }));
                let dquery = own.get(if several { piece } else { 0 });
                self.task(head, keys, Gradients { dquery, dkey, dvalue, dbias: dbias.as_ref() });
            }
        });
        if several && let Some(dquery) = dquery {
            let out = Shared::new(dquery);
            parallel::chunks(len, parallel::CHUNK / pieces, |range| {
                // SAFETY: the ranges do not overlap.
                let out = unsafe { out.part(range.clone()) };
                for part in parts.chunks_exact(len) {
                    out.iter_mut().zip(&part[range.clone()]).for_each(|(sum, &x)| *sum += x);
                }
            });
        }
    }

    /// The keys `keys` of a head of keys, counted through the batch.
    fn task(&self, head: usize, keys: Range<usize>, mut out: Gradients<T>) {
        let Inputs { op, of, query, key, value, .. } = *self.inputs;
        let (d, e, tile) = (of.d, of.e, self.inputs.tile());
        let (n, group) = (head / of.groups, head % of.groups);
        let height = height::<T>();
        let step = (QUERIES / height).max(1) * height;
        let scale = T::from_f64(op.scale);
        let [key_rows, value_rows] = [key, value].map(|x| matrix(x.layout(), n, group));
        let mut buffers = Buffers {
            key_panels: Scratch::new(tile * d),
            value_panels: Scratch::new(tile * e),
            weights: Scratch::new(step * tile),
            dscores: Scratch::new(step * tile),
            bias: Scratch::new(height * tile),
            dbias: Scratch::new(height * tile),
            slopes: Scratch::new(tile),
        };
        for start in keys.clone().step_by(tile) {
            let part = start..keys.end.min(start + tile);
            pack(key, &key_rows, part.clone(), &mut buffers.key_panels);
            pack(value, &value_rows, part.clone(), &mut buffers.value_panels);
            // The gradient of a scaled query meets the key once more, [keys, d].
            let scaled_keys = scaled_rows(key, &key_rows, part.clone(), scale);
            for head in 0..of.each() {
                let index = n * of.heads + group * of.each() + head;
                let query_rows = matrix(query.layout(), n, index % of.heads);
                let dy_rows = matrix(self.dy.layout(), n, index % of.heads);
                for start in (0..of.queries).step_by(step) {
                    let queries = start..of.queries.min(start + step);
                    if op.visible(queries.end - 1, of.keys) <= part.start {
                        continue;
                    }
                    let tile = Tile {
                        head: index,
                        queries: queries.clone(),
                        keys: part.clone(),
                        query: &scaled_rows(query, &query_rows, queries.clone(), scale),
                        dy: &rows::<T>(self.dy, &dy_rows, queries),
                        scaled_keys: &scaled_keys,
                    };
                    self.scores(&tile, &mut out, &mut buffers);
                    let own = part.start - keys.start..part.end - keys.start;
                    if let Some(dvalue) = &mut out.dvalue {
                        let dvalue = &mut dvalue[own.start * e..own.end * e];
                        self.gather(&tile, &buffers.weights, tile.dy, e, dvalue);
                    }
                    if let Some(dkey) = &mut out.dkey {
                        let dkey = &mut dkey[own.start * d..own.end * d];
                        self.gather(&tile, &buffers.dscores, tile.query, d, dkey);
                    }
                }
            }
        }
    }

    /// The weights and the gradients of the products of a tile, and what it adds to the gradient
    /// of its queries.
    fn scores(&self, of: &Tile<T>, out: &mut Gradients<T>, buffers: &mut Buffers<T>) {
        let Inputs { op, of: extents, .. } = *self.inputs;
        let (d, e, stride, height) = (extents.d, extents.e, self.inputs.tile(), height::<T>());
        let Buffers { key_panels, value_panels, weights, dscores, bias, dbias, slopes } = buffers;
        let wanted = out.dquery.is_some() || out.dkey.is_some() || out.dbias.is_some();
        let mut seen = [0; 16];
        for start in of.queries.clone().step_by(height) {
            let strip = start..of.queries.end.min(start + height);
            let seen = self.inputs.seen(strip.clone(), &of.keys, &mut seen);
            let (count, columns) = (strip.len(), seen[seen.len() - 1]);
            if columns == 0 {
                continue;
            }
            let first = start - of.queries.start;
            let weights = &mut weights[first * stride..(first + count) * stride];
            let dscores = &mut dscores[first * stride..(first + count) * stride];
            let left = Left { data: &of.query[first * d..], row: d, step: 1 };
            let right = Right::panels(key_panels, d, 0);
            product([count, columns, d], left, right, weights, stride, false);
            if wanted {
                let left = Left { data: &of.dy[first * e..], row: e, step: 1 };
                let right = Right::panels(value_panels, e, 0);
                product([count, columns, e], left, right, dscores, stride, false);
            }
            let keys = of.keys.start..of.keys.start + columns;
            let bias = self.inputs.read_bias(of.head, strip.clone(), keys, bias);
            let row = of.head * extents.queries + start;
            dispatch(Gradient {
                strip: Strip {
                    scores: weights,
                    stride,
                    columns,
                    seen,
                    softcap: op.softcap.map(T::from_f64),
                    bias,
                },
                dscores,
                log_sum: &self.log_sum[row..row + count],
                delta: &self.delta[row..row + count],
                // As far as the strip of keys reaches that the last query still sees.
                filled: stride.min(columns + height),
                wanted,
                dbias: out.dbias.is_some().then_some(&mut dbias[..]),
                slopes,
            });
            if let Some(out) = out.dbias {
                for i in 0..count {
                    let at = (row + i) * extents.keys + of.keys.start;
                    // SAFETY: each pair of a query and a key is met once.
                    let out = unsafe { out.part(at..at + columns) };
                    out.copy_from_slice(&dbias[i * columns..(i + 1) * columns]);
                }
            }
            if let Some(dquery) = out.dquery {
                // SAFETY: these heads of this part are this task's own.
                let dquery = unsafe { dquery.part(row * d..(row + count) * d) };
                let left = Left { data: dscores, row: stride, step: 1 };
                let right = Right::rows(of.scaled_keys, d);
                product([count, d, columns], left, right, dquery, d, true);
            }
        }
    }

    /// Adds the transpose of `weights` `[queries, stride]` times `rows` `[queries, columns]` to
    /// `out` `[keys, columns]`.
    fn gather(&self, of: &Tile<T>, weights: &[T], rows: &[T], columns: usize, out: &mut [T]) {
        let (stride, height) = (self.inputs.tile(), height::<T>());
        let count = of.queries.len();
        for first in (0..of.keys.len()).step_by(height) {
            let strip = first..of.keys.len().min(first + height);
            // The first query that sees the first key of the strip.
            let start = match self.inputs.op.causal {
                Some(offset) => {
                    let query = (of.keys.start + first) as i64 - offset - of.queries.start as i64;
                    query.clamp(0, count as i64) as usize
                }
                None => 0,
            };
            let size = [strip.len(), columns, count - start];
            if size[1] == 0 || size[2] == 0 {
                continue;
            }
            let left = Left { data: &weights[start * stride + first..], row: 1, step: stride };
            let right = Right::rows(&rows[start * columns..], columns);
            product(
                size,
                left,
                right,
                &mut out[strip.start * columns..strip.end * columns],
                columns,
                true,
            );
        }
    }
}

/// Some queries of a head and some of its keys.
struct Tile<'a, T> {
    /// The head of the query, counted through the batch.
    head: usize,
    queries: Range<usize>,
    keys: Range<usize>,
    /// Times the scale, `[queries, d]`.
    query: &'a [T],
    /// `[queries, e]`
    dy: &'a [T],
    /// Times the scale, `[keys, d]`.
    scaled_keys: &'a [T],
}

/// Room for the tiles of a task.
struct Buffers<T> {
    key_panels: Scratch<T>,
    value_panels: Scratch<T>,
    /// `[queries, keys]`
    weights: Scratch<T>,
    /// `[queries, keys]`
    dscores: Scratch<T>,
    /// `[strip, keys]`
    bias: Scratch<T>,
    /// `[strip, keys]`
    dbias: Scratch<T>,
    slopes: Scratch<T>,
}

fn clear<T: Product>(x: &mut [T]) {
    let (len, x) = (x.len(), Shared::new(x));
    // SAFETY: the ranges do not overlap.
    parallel::chunks(len, parallel::CHUNK, |range| unsafe { x.part(range) }.fill(T::ZERO));
}
