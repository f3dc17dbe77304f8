//! The forward pass.

use std::ops::Range;

use super::super::access::{Sink, float_type};
use super::super::gemm::{Strided, Threads, gemm};
use super::super::matmul::Product;
use super::super::parallel::{self, Shared};
use super::super::pool::Scratch;
use super::super::simd::dispatch;
use super::softmax::{Finish, Row, STRIP, State, Step, scale};
use super::tile::{Left, Right, height, product};
use super::{Inputs, matrix, pack, rows, scaled_rows};
use crate::AnyTensor;
use crate::op::Attention;

/// Queries that share a packed tile of keys, in one task.
const QUERIES: usize = 256;
/// Tasks that are enough for many threads; with fewer, tasks are cut smaller.
const TASKS: usize = 64;
/// Queries for which the keys are read in place: a decoder's next token has one.
const FEW: usize = 4;

pub(in crate::cpu) fn attention(op: &Attention, inputs: &[&AnyTensor], outputs: &[AnyTensor]) {
    let inputs = Inputs::new(op, inputs, inputs.get(3).copied());
    float_type!(inputs.query.dtype(), T => forward::<T>(&inputs, outputs))
}

fn forward<T: Product>(inputs: &Inputs, outputs: &[AnyTensor]) {
    let of = inputs.of;
    // SAFETY: each output is new and used once.
    let [mut y, mut log_sum] = [0, 1].map(|i| unsafe { Sink::<T>::new(&outputs[i]) });
    let [y, log_sum] = [&mut y, &mut log_sum].map(|sink| Shared::new(sink));
    let heads = of.n * of.heads;
    let mut step = QUERIES;
    while of.queries > FEW && heads * of.queries.div_ceil(step) < TASKS && step > QUERIES / 8 {
        step /= 2;
    }
    let blocks = of.queries.div_ceil(step);
    let cost = step.min(of.queries) * of.keys * (of.d + of.e + 16) / 8;
    parallel::rows(heads * blocks, cost, |range| {
        for task in range {
            let (head, start) = (task / blocks, task % blocks * step);
            let queries = start..of.queries.min(start + step);
            let first = head * of.queries;
            let part = first + queries.start..first + queries.end;
            // SAFETY: the rows of different tasks do not overlap.
            let (y, log_sum) =
                unsafe { (y.part(part.start * of.e..part.end * of.e), log_sum.part(part)) };
            match of.queries {
                ..=FEW => few(inputs, head, y, log_sum),
                _ => block(inputs, head, queries, y, log_sum),
            }
        }
    });
}

/// Some queries of a head: `y` `[queries, e]` and `log_sum` `[queries]`.
fn block<T: Product>(
    inputs: &Inputs,
    head: usize,
    queries: Range<usize>,
    y: &mut [T],
    log_sum: &mut [T],
) {
    let (of, op, tile) = (inputs.of, inputs.op, inputs.tile());
    let (d, e) = (of.d, of.e);
    let (n, group) = inputs.place(head);
    let [key, value] = [inputs.key, inputs.value].map(|x| matrix(x.layout(), n, group));
    let query = matrix(inputs.query.layout(), n, head % of.heads);
    // [strips, d, STRIP]
    let mut panels = Scratch::<T>::new(queries.len().next_multiple_of(STRIP) * d);
    let packed = pack(inputs.query, &query, queries.clone(), &mut panels);
    panels[packed..].fill(T::ZERO);
    scale(&mut panels, T::from_f64(op.scale));
    let mut states = [State::new(); QUERIES / STRIP];
    let mut scores = Scratch::<T>::new(tile * STRIP);
    let mut bias = Scratch::<T>::new(if inputs.bias.is_some() { tile * STRIP } else { 0 });
    let strips =
        |len: usize| (0..len).step_by(STRIP).map(move |i| i..len.min(i + STRIP)).enumerate();
    let last = op.visible(queries.end - 1, of.keys);
    if last == 0 {
        y.fill(T::ZERO);
    }
    for start in (0..last).step_by(tile) {
        let keys = start..last.min(start + tile);
        let values = rows::<T>(inputs.value, &value, keys.clone());
        let rows = rows::<T>(inputs.key, &key, keys.clone());
        for (i, strip) in strips(queries.len()) {
            // Keys of the tile that a query of the strip sees.
            let seen = |query: usize| {
                op.visible(queries.start + query, keys.end).saturating_sub(keys.start)
            };
            let (count, y) = (seen(strip.end - 1), &mut y[strip.start * e..strip.end * e]);
            if count == 0 {
                if start == 0 {
                    y.fill(T::ZERO);
                }
                continue;
            }
            let scores = &mut scores[..count * STRIP];
            let panel = &panels[i * d * STRIP..(i + 1) * d * STRIP];
            // The last keys are seen by the second half of the queries only.
            let half = STRIP / 2;
            let both = seen((strip.start + half).min(strip.end) - 1);
            let left = |from: usize| Left { data: &rows[from * d..], row: d, step: 1 };
            let right = Right::panels(panel, d, 0);
            product([both, STRIP, d], left(0), right, scores, STRIP, false);
            if both < count {
                let out = &mut scores[both * STRIP + half..];
                let right = Right::panels(panel, d, half);
                product([count - both, STRIP - half, d], left(both), right, out, STRIP, false);
            }
            let own = queries.start + strip.start..queries.start + strip.end;
            let bias =
                inputs.pack_bias(head, own.clone(), keys.start..keys.start + count, &mut bias);
            dispatch(Step {
                scores: scores.as_chunks_mut().0,
                softcap: op.softcap.map(T::from_f64),
                bias: bias.map(|bias| bias.as_chunks().0),
                hidden: op.causal.map(|offset| keys.start as i64 - offset - own.start as i64),
                state: &mut states[i],
                y,
                e,
            });
            let len = strip.len();
            // Tiles of nearly equal height, each as far as its last query sees.
            let height = len.div_ceil(len.div_ceil(height::<T>()));
            for first in (0..len).step_by(height) {
                let end = len.min(first + height);
                let count = seen(strip.start + end - 1);
                let left = Left { data: &scores[first..], row: 1, step: STRIP };
                let y = &mut y[first * e..end * e];
                product([end - first, e, count], left, Right::rows(&values, e), y, e, start > 0);
            }
        }
    }
    for (i, strip) in strips(queries.len()) {
        let y = &mut y[strip.start * e..strip.end * e];
        dispatch(Finish { state: &states[i], y, e, log_sum: &mut log_sum[strip] });
    }
}

/// As [`block`], for queries so few that all their scores fit the cache and that keys and values
/// are better read in place.
fn few<T: Product>(inputs: &Inputs, head: usize, y: &mut [T], log_sum: &mut [T]) {
    let (of, op) = (inputs.of, inputs.op);
    let (n, group) = inputs.place(head);
    let query = matrix(inputs.query.layout(), n, head % of.heads);
    let query = scaled_rows(inputs.query, &query, 0..of.queries, T::from_f64(op.scale));
    let seen = op.visible(of.queries - 1, of.keys);
    let mut scores = Scratch::<T>::new(of.queries * seen);
    let multiply =
        |[rows, columns, depth]: [usize; 3], a: &[T], b: &AnyTensor, turned, c: &mut [T]| {
            let layout = matrix(b.layout(), n, group);
            let [row, column] = [layout.strides()[0], layout.strides()[1]];
            let strides = if turned { (row, column) } else { (column, row) };
            assert!(a.len() >= rows * depth && c.len() >= rows * columns);
            // SAFETY: the operands have these rows and columns, and `c` is borrowed exclusively.
            unsafe {
                let a = Strided::new(a.as_ptr(), depth as isize, 1);
                T::with_source(b, layout.offset(), strides, &mut |b| {
                    gemm(
                        rows,
                        columns,
                        depth,
                        &a,
                        b,
                        c.as_mut_ptr(),
                        columns,
                        false,
                        None,
                        Threads::One,
                    );
                });
            }
        };
    multiply([of.queries, seen, of.d], &query, inputs.key, true, &mut scores);
    let mut bias = Scratch::<T>::new(if inputs.bias.is_some() { seen } else { 0 });
    for (i, log_sum) in log_sum.iter_mut().enumerate() {
        let (softcap, scores) =
            (op.softcap.map(T::from_f64), &mut scores[i * seen..(i + 1) * seen]);
        let (scores, hidden) = scores.split_at_mut(op.visible(i, of.keys));
        let bias = inputs.read_bias(head, i..i + 1, 0..scores.len(), &mut bias);
        *log_sum = dispatch(Row { scores, softcap, bias });
        hidden.fill(T::ZERO);
    }
    multiply([of.queries, of.e, seen], &scores, inputs.value, false, y);
}
