//! Datasets whose items are made of those of another.

use kiln_tensor::Result;
use rand::rngs::StdRng;

use super::{Dataset, random};

/// What [`Dataset::map`] gives.
#[derive(Clone, Debug)]
pub struct Map<D, F> {
    pub(super) dataset: D,
    pub(super) change: F,
}

impl<D: Dataset, T, F: Fn(D::Item) -> T + Send + Sync> Dataset for Map<D, F> {
    type Item = T;

    fn len(&self) -> usize {
        self.dataset.len()
    }

    fn get(&self, index: usize) -> Result<T> {
        self.dataset.get(index).map(&self.change)
    }

    fn get_in(&self, epoch: usize, index: usize) -> Result<T> {
        self.dataset.get_in(epoch, index).map(&self.change)
    }
}

/// What [`Dataset::map_random`] gives.
#[derive(Clone, Debug)]
pub struct MapRandom<D, F> {
    pub(super) dataset: D,
    pub(super) seed: u64,
    pub(super) change: F,
}

impl<D: Dataset, T, F> Dataset for MapRandom<D, F>
where
    F: Fn(D::Item, &mut StdRng) -> T + Send + Sync,
{
    type Item = T;

    fn len(&self) -> usize {
        self.dataset.len()
    }

    /// The item as it is in the first epoch.
    fn get(&self, index: usize) -> Result<T> {
        self.get_in(0, index)
    }

    fn get_in(&self, epoch: usize, index: usize) -> Result<T> {
        let item = self.dataset.get_in(epoch, index)?;
        Ok((self.change)(item, &mut random::of_item(self.seed, epoch, index)))
    }
}
