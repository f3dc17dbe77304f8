//! Batches of a dataset.

use kiln_tensor::{Int, Kind, Tensor};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

/// Cuts `len` items into batches, in an order that is a function of seed and epoch alone: a
/// position in training is (epoch, batch), and going back to it needs no replay.
///
/// ```
/// use kiln::data::Batches;
/// let batches = Batches::new(10, 4).shuffled(7);
/// let sizes: Vec<_> = batches.epoch(0).map(|batch| batch.len()).collect();
/// assert_eq!(sizes, [4, 4, 2]);
/// assert_eq!(batches.epoch(3).next(), batches.epoch(3).next());
/// ```
#[derive(Clone, Debug)]
pub struct Batches {
    len: usize,
    batch_size: usize,
    seed: Option<u64>,
    drop_last: bool,
}

impl Batches {
    /// Batches of `batch_size` in the order of the items; the last may be smaller. Panics if
    /// `batch_size` is zero.
    #[track_caller]
    pub fn new(len: usize, batch_size: usize) -> Self {
        assert!(batch_size > 0, "the batch size must not be zero");
        Self { len, batch_size, seed: None, drop_last: false }
    }

    /// In another order in each epoch.
    pub fn shuffled(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Without a last batch that is smaller than the others.
    pub fn drop_last(mut self) -> Self {
        self.drop_last = true;
        self
    }

    /// Batches in an epoch.
    pub fn len(&self) -> usize {
        if self.drop_last { self.len / self.batch_size } else { self.len.div_ceil(self.batch_size) }
    }

    /// Whether there are no batches.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The batches of an epoch, each the indices of its items.
    pub fn epoch(&self, epoch: usize) -> impl Iterator<Item = Vec<usize>> + use<> {
        let mut order: Vec<usize> = (0..self.len).collect();
        if let Some(seed) = self.seed {
            // One stream per epoch: the seed fills one half of the generator's key, the epoch the
            // other.
            let mut key = [0; 32];
            key[..8].copy_from_slice(&seed.to_le_bytes());
            key[8..16].copy_from_slice(&(epoch as u64).to_le_bytes());
            order.shuffle(&mut StdRng::from_seed(key));
        }
        let (size, count) = (self.batch_size, self.len());
        (0..count).map(move |i| order[i * size..order.len().min((i + 1) * size)].to_vec())
    }
}

/// Items of a tensor along its first axis, picked by index: the batch that [`Batches`] names.
///
/// ```
/// use kiln::data::take;
/// use kiln::prelude::*;
/// let items = Tensor::<2>::from([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]);
/// assert_eq!(take(&items, &[2, 0]).into_data().to_vec::<f32>()?, [4.0, 5.0, 0.0, 1.0]);
/// # Ok::<(), kiln::Error>(())
/// ```
#[track_caller]
pub fn take<const D: usize, K: Kind>(items: &Tensor<D, K>, indices: &[usize]) -> Tensor<D, K> {
    let indices: Vec<i64> = indices.iter().map(|&index| index as i64).collect();
    items.select(0, Tensor::<1, Int>::from_data(indices, &items.device()))
}
