//! Parts of datasets, and several as one.

use std::ops::Range;
use std::sync::Arc;

use kiln_tensor::{Error, Result};
use rand::seq::SliceRandom;

use super::{Dataset, random};

/// Some items of a dataset: what [`Dataset::subset`] and its like give.
#[derive(Clone, Debug)]
pub struct Subset<D> {
    dataset: D,
    indices: Indices,
}

#[derive(Clone, Debug)]
enum Indices {
    Range(Range<usize>),
    List(Vec<usize>),
}

impl<D: Dataset> Subset<D> {
    #[track_caller]
    pub(super) fn new(dataset: D, indices: Vec<usize>) -> Self {
        let len = dataset.len();
        if let Some(index) = indices.iter().find(|&&index| index >= len) {
            panic!("subset: index {index} is out of range for {len} items");
        }
        Self { dataset, indices: Indices::List(indices) }
    }

    #[track_caller]
    pub(super) fn of_range(dataset: D, range: Range<usize>) -> Self {
        let len = dataset.len();
        assert!(
            range.start <= range.end && range.end <= len,
            "slice: {range:?} is out of range for {len} items"
        );
        Self { dataset, indices: Indices::Range(range) }
    }

    pub(super) fn shuffled(dataset: D, seed: u64) -> Self {
        let indices = permutation(dataset.len(), seed);
        Self { dataset, indices: Indices::List(indices) }
    }

    #[track_caller]
    pub(super) fn split<const N: usize>(
        dataset: D,
        shares: [f64; N],
        seed: u64,
    ) -> [Subset<Arc<D>>; N] {
        let total: f64 = shares.iter().sum();
        assert!(
            shares.iter().all(|&share| share > 0.0) && (total - 1.0).abs() < 1e-6,
            "random_split: the shares {shares:?} must be positive and add up to one"
        );
        let order = permutation(dataset.len(), seed);
        let dataset = Arc::new(dataset);
        let (mut share, mut start) = (0.0, 0);
        shares.map(|next| {
            share += next;
            let end = (order.len() as f64 * share / total).round() as usize;
            let indices = Indices::List(order[start..end].to_vec());
            start = end;
            Subset { dataset: dataset.clone(), indices }
        })
    }

    fn index(&self, index: usize) -> Result<usize> {
        let found = match &self.indices {
            Indices::Range(range) => range.clone().nth(index),
            Indices::List(list) => list.get(index).copied(),
        };
        found.ok_or_else(|| out_of_range(index, self.len()))
    }
}

fn permutation(len: usize, seed: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..len).collect();
    order.shuffle(&mut random::of_epoch(seed, 0));
    order
}

/// The error of a dataset that has no such item.
pub(super) fn out_of_range(index: usize, size: usize) -> Error {
    Error::Index { op: "dataset", index: index as i64, size }
}

impl<D: Dataset> Dataset for Subset<D> {
    type Item = D::Item;

    fn len(&self) -> usize {
        match &self.indices {
            Indices::Range(range) => range.len(),
            Indices::List(list) => list.len(),
        }
    }

    fn get(&self, index: usize) -> Result<D::Item> {
        self.dataset.get(self.index(index)?)
    }

    fn get_in(&self, epoch: usize, index: usize) -> Result<D::Item> {
        self.dataset.get_in(epoch, self.index(index)?)
    }
}

/// The items of one dataset, then those of another: what [`Dataset::concat`] gives.
#[derive(Clone, Debug)]
pub struct Concat<A, B>(pub(super) A, pub(super) B);

impl<A: Dataset, B: Dataset<Item = A::Item>> Dataset for Concat<A, B> {
    type Item = A::Item;

    fn len(&self) -> usize {
        self.0.len() + self.1.len()
    }

    fn get(&self, index: usize) -> Result<A::Item> {
        match index.checked_sub(self.0.len()) {
            None => self.0.get(index),
            Some(index) => self.1.get(index),
        }
    }

    fn get_in(&self, epoch: usize, index: usize) -> Result<A::Item> {
        match index.checked_sub(self.0.len()) {
            None => self.0.get_in(epoch, index),
            Some(index) => self.1.get_in(epoch, index),
        }
    }
}
