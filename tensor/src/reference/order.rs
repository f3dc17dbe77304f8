//! Sorting, running totals and searches, by the most obvious loops.

use super::{Array, indices};
use crate::op::{LinearRecurrence, Nonzero, Scan, ScanKind, SearchSorted, Sort};
use crate::{Error, Result};

/// `index` with another entry along `axis`.
fn at(index: &[usize], axis: usize, entry: usize) -> Vec<usize> {
    let mut index = index.to_vec();
    index[axis] = entry;
    index
}

/// Indices of the first entries of all rows along `axis`.
fn rows(shape: &[usize], axis: usize) -> Vec<Vec<usize>> {
    indices(&at(shape, axis, 1)).collect()
}

pub(super) fn sort(op: &Sort, x: &Array, shape: &[usize]) -> Vec<Array> {
    let (mut values, mut places) = (Array::zeros(shape), Array::zeros(shape));
    let start = op.ranks.map_or(0, |(start, _)| start);
    for row in rows(&x.shape, op.axis) {
        let mut order: Vec<usize> = (0..x.shape[op.axis]).collect();
        // NaN last.
        let value = |k: usize| x.at(&at(&row, op.axis, k));
        let rising = |a: f64, b: f64| match (a.is_nan(), b.is_nan()) {
            (false, false) => a.partial_cmp(&b).expect("numbers"),
            (a, b) => a.cmp(&b),
        };
        order.sort_by(|&a, &b| {
            let (a, b) = if op.descending { (b, a) } else { (a, b) };
            rising(value(a), value(b))
        });
        for rank in 0..shape[op.axis] {
            let to = at(&row, op.axis, rank);
            *values.at_mut(&to) = value(order[start + rank]);
            *places.at_mut(&to) = order[start + rank] as f64;
        }
    }
    vec![values, places]
}

pub(super) fn scan(op: &Scan, x: &Array) -> Vec<Array> {
    let (mut y, mut places) = (Array::zeros(&x.shape), Array::zeros(&x.shape));
    for row in rows(&x.shape, op.axis) {
        for k in 0..x.shape[op.axis] {
            let value = |k: usize| x.at(&at(&row, op.axis, k));
            let before = (0..=k).map(value);
            let to = at(&row, op.axis, k);
            let last = |best: fn(f64, f64) -> f64| {
                let best = before.clone().reduce(best).expect("an entry");
                (0..=k).rev().find(|&k| value(k) == best).expect("it is among them")
            };
            match op.kind {
                ScanKind::Sum => *y.at_mut(&to) = before.sum(),
                ScanKind::Prod => *y.at_mut(&to) = before.product(),
                ScanKind::LogSumExp => {
                    let high = before.clone().fold(f64::NEG_INFINITY, f64::max);
                    *y.at_mut(&to) = high + before.map(|x| (x - high).exp()).sum::<f64>().ln();
                }
                ScanKind::Max | ScanKind::Min => {
                    let max = op.kind == ScanKind::Max;
                    let place = last(if max { f64::max } else { f64::min });
                    *y.at_mut(&to) = value(place);
                    *places.at_mut(&to) = place as f64;
                }
            }
        }
    }
    if op.kind.has_indices() { vec![y, places] } else { vec![y] }
}

pub(super) fn recurrence(op: &LinearRecurrence, a: &Array, b: &Array) -> Array {
    let mut h = Array::zeros(&b.shape);
    for row in rows(&b.shape, op.axis) {
        for t in 0..b.shape[op.axis] {
            let now = at(&row, op.axis, t);
            let before = if t == 0 { 0.0 } else { a.at(&now) * h.at(&at(&row, op.axis, t - 1)) };
            *h.at_mut(&now) = before + b.at(&now);
        }
    }
    h
}

pub(super) fn nonzero(op: &Nonzero, x: &Array) -> Result<Array> {
    let found: Vec<_> = indices(&x.shape).filter(|i| x.at(i) != 0.0).collect();
    if found.len() != op.count {
        let rule = format!("{} elements were counted, and {} are not zero", op.count, found.len());
        return Err(Error::Argument { op: "nonzero", rule });
    }
    let values = found.iter().flatten().map(|&i| i as f64).collect();
    Ok(Array { shape: vec![op.count, x.shape.len()], values })
}

pub(super) fn search_sorted(op: &SearchSorted, sorted: &Array, values: &Array) -> Array {
    let n = *sorted.shape.last().expect("an axis");
    let mut y = Array::zeros(&values.shape);
    for i in indices(&values.shape) {
        let value = values.at(&i);
        let entry = |k: usize| match sorted.shape.len() {
            1 => sorted.values[k],
            rank => sorted.at(&at(&i, rank - 1, k)),
        };
        let before = |&k: &usize| if op.right { entry(k) <= value } else { entry(k) < value };
        *y.at_mut(&i) = (0..n).filter(before).count() as f64;
    }
    y
}
