//! The indices of batches.

use super::order::Order;

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
    order: Order,
    drop_last: bool,
    /// Which share of how many.
    share: (usize, usize),
}

impl Batches {
    /// Batches of `batch_size` in the order of the items; the last may be smaller. Panics if
    /// `batch_size` is zero.
    #[track_caller]
    pub fn new(len: usize, batch_size: usize) -> Self {
        assert!(batch_size > 0, "the batch size must not be zero");
        Self { len, batch_size, order: Order::Sequential, drop_last: false, share: (0, 1) }
    }

    /// In another order in each epoch.
    pub fn shuffled(self, seed: u64) -> Self {
        self.ordered(Order::Shuffled { seed })
    }

    /// `count` items an epoch, each any of all: `RandomSampler(replacement=True)`. It takes no
    /// memory for the other items. Panics if there are none.
    #[track_caller]
    pub fn random(self, seed: u64, count: usize) -> Self {
        self.ordered(Order::Random { seed, count })
    }

    /// `count` items an epoch, each with a probability in proportion to its weight, with or without
    /// replacement: `torch.utils.data.WeightedRandomSampler`. Panics if a weight is negative or not
    /// finite, if their number is not that of the items, or if too few are above zero.
    #[track_caller]
    pub fn weighted(self, seed: u64, weights: Vec<f64>, count: usize, replacement: bool) -> Self {
        self.ordered(Order::weighted(seed, weights, count, replacement))
    }

    /// In another order in each epoch, such that each batch has about as much of each class as the
    /// dataset. `classes` has the class of each item. Panics if their numbers differ.
    #[track_caller]
    pub fn stratified(self, seed: u64, classes: Vec<usize>) -> Self {
        self.ordered(Order::Stratified { seed, classes: classes.into() })
    }

    #[track_caller]
    pub(super) fn ordered(mut self, order: Order) -> Self {
        order.count(self.len);
        self.order = order;
        self
    }

    /// Without a last batch that is smaller than the others.
    pub fn drop_last(mut self) -> Self {
        self.drop_last = true;
        self
    }

    /// Only the items of one of `world` processes that train together:
    /// `torch.utils.data.DistributedSampler`. All have the same number of items: some of the first
    /// ones are there twice, or, with [`Batches::drop_last`], some of the last ones left out. Panics
    /// unless `rank` is below `world`.
    #[track_caller]
    pub fn share(mut self, rank: usize, world: usize) -> Self {
        assert!(rank < world, "share: the rank {rank} must be below {world}");
        self.share = (rank, world);
        self
    }

    /// Items in an epoch of this share.
    fn items(&self) -> usize {
        let (all, world) = (self.order.count(self.len), self.share.1);
        if self.drop_last { all / world } else { all.div_ceil(world) }
    }

    /// Batches in an epoch.
    pub fn len(&self) -> usize {
        let items = self.items();
        if self.drop_last { items / self.batch_size } else { items.div_ceil(self.batch_size) }
    }

    /// Whether there are no batches.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The batches of an epoch, each the indices of its items.
    pub fn epoch(&self, epoch: usize) -> impl Iterator<Item = Vec<usize>> + use<> {
        self.epoch_from(epoch, 0)
    }

    /// The batches of an epoch from one on.
    pub fn epoch_from(
        &self,
        epoch: usize,
        batch: usize,
    ) -> impl Iterator<Item = Vec<usize>> + use<> {
        let mut order = self.order.indices(self.len, epoch);
        let (items, (rank, world)) = (self.items(), self.share);
        if world > 1 {
            order = (0..items).map(|i| order[(i * world + rank) % order.len()]).collect();
        }
        let size = self.batch_size;
        (batch..self.len()).map(move |i| order[i * size..items.min((i + 1) * size)].to_vec())
    }
}
