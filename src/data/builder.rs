//! How a loader is set up.

use std::sync::Arc;

use kiln_tensor::{Device, Result};

use super::loader::{Made, Plan, get, make};
use super::order::Order;
use super::worker::Job;
use super::{Batcher, Batches, DataLoader, Dataset};

/// Says how items become batches, in which order and on how many threads.
///
/// ```
/// use kiln::data::{DataLoaderBuilder, InMemDataset};
/// use kiln::prelude::*;
/// let sentences = InMemDataset::new(vec!["to be", "or", "not to be"]);
/// let loader = DataLoaderBuilder::new(|items: Vec<&str>, device: &Device| {
///     let lengths: Vec<i64> = items.iter().map(|text| text.len() as i64).collect();
///     Tensor::<1, Int>::from_data(lengths, device)
/// })
/// .batch_size(2)
/// .num_workers(1)
/// .build(sentences);
/// let lengths = loader.epoch(0).next().expect("two batches")?;
/// assert_eq!(lengths.into_data().to_vec::<i64>()?, [5, 2]);
/// # Ok::<(), kiln::Error>(())
/// ```
pub struct DataLoaderBuilder<I, B> {
    batcher: Arc<dyn Batcher<I, B>>,
    batch_size: usize,
    order: Order,
    drop_last: bool,
    share: (usize, usize),
    workers: usize,
    prefetch: Option<usize>,
    failures: usize,
    device: Device,
}

impl<I: 'static, B: Send + 'static> DataLoaderBuilder<I, B> {
    /// Batches of one item, in the order of the dataset, made in the caller's thread, on the CPU.
    pub fn new(batcher: impl Batcher<I, B> + 'static) -> Self {
        Self {
            batcher: Arc::new(batcher),
            batch_size: 1,
            order: Order::Sequential,
            drop_last: false,
            share: (0, 1),
            workers: 0,
            prefetch: None,
            failures: 0,
            device: Device::cpu(),
        }
    }

    /// Items in a batch. Panics if it is zero.
    #[track_caller]
    pub fn batch_size(mut self, batch_size: usize) -> Self {
        assert!(batch_size > 0, "the batch size must not be zero");
        self.batch_size = batch_size;
        self
    }

    /// Every item once, in another order in each epoch.
    pub fn shuffle(mut self, seed: u64) -> Self {
        self.order = Order::Shuffled { seed };
        self
    }

    /// See [`Batches::random`].
    pub fn random(mut self, seed: u64, count: usize) -> Self {
        self.order = Order::Random { seed, count };
        self
    }

    /// See [`Batches::weighted`].
    #[track_caller]
    pub fn weighted(
        mut self,
        seed: u64,
        weights: Vec<f64>,
        count: usize,
        replacement: bool,
    ) -> Self {
        self.order = Order::weighted(seed, weights, count, replacement);
        self
    }

    /// See [`Batches::stratified`].
    pub fn stratified(mut self, seed: u64, classes: Vec<usize>) -> Self {
        self.order = Order::Stratified { seed, classes: classes.into() };
        self
    }

    /// Without a last batch that is smaller than the others.
    pub fn drop_last(mut self) -> Self {
        self.drop_last = true;
        self
    }

    /// See [`Batches::share`]. A stream is dealt out item by item.
    #[track_caller]
    pub fn share(mut self, rank: usize, world: usize) -> Self {
        assert!(rank < world, "share: the rank {rank} must be below {world}");
        self.share = (rank, world);
        self
    }

    /// Threads that make batches ahead of the caller. With none, the default, each batch is made
    /// when it is asked for.
    pub fn num_workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// How many batches are begun before they are asked for, and wait in memory at most; two for
    /// each worker if it is not said.
    pub fn prefetch(mut self, batches: usize) -> Self {
        self.prefetch = Some(batches);
        self
    }

    /// Leaves out items that fail, at most this many in an epoch; [`Epoch::skipped`] has their
    /// errors. Their batches are smaller. One more failure, or a batch of nothing but failures, is
    /// an `Err`.
    ///
    /// [`Epoch::skipped`]: super::Epoch::skipped
    pub fn skip_failures(mut self, at_most: usize) -> Self {
        self.failures = at_most;
        self
    }

    /// The device that the batcher is given.
    pub fn set_device(mut self, device: Device) -> Self {
        self.device = device;
        self
    }

    /// A loader of a dataset. Panics if weights or classes are not as many as its items.
    #[track_caller]
    pub fn build(self, dataset: impl Dataset<Item = I> + 'static) -> DataLoader<B> {
        let mut batches = Batches::new(dataset.len(), self.batch_size)
            .ordered(self.order.clone())
            .share(self.share.0, self.share.1);
        if self.drop_last {
            batches = batches.drop_last();
        }
        let (dataset, make) = (Arc::new(dataset), self.maker());
        self.loader(Some(batches.len()), move |epoch, first| {
            let (dataset, make) = (dataset.clone(), make.clone());
            batches.epoch_from(epoch, first).map(move |indices| -> Job<_> {
                let (dataset, make) = (dataset.clone(), make.clone());
                let item = move |index| (index, get(index, || dataset.get_in(epoch, index)));
                Box::new(move || make(&mut indices.into_iter().map(item)))
            })
        })
    }

    /// A loader of a stream: `open` starts an epoch. The items are read by one thread at a time, in
    /// their order; what can be done at once is best done by the batcher. In an error an item has
    /// the number of its place in the stream.
    ///
    /// Panics if an order was asked for, as a stream has its own; see
    /// [`shuffle_buffer`](super::shuffle_buffer).
    ///
    /// ```
    /// use kiln::data::{DataLoaderBuilder, Stack};
    /// let loader = DataLoaderBuilder::new(Stack)
    ///     .batch_size(2)
    ///     .build_stream(|epoch| (0..5i64).map(move |x| Ok(x + 10 * epoch as i64)));
    /// let sums = loader.epoch(1).map(|batch| batch.map(|x| x.sum().item::<i64>()));
    /// assert_eq!(sums.collect::<kiln::Result<Vec<_>>>()?, [21, 25, 14]);
    /// # Ok::<(), kiln::Error>(())
    /// ```
    #[track_caller]
    pub fn build_stream<S>(self, open: impl Fn(usize) -> S + Send + Sync + 'static) -> DataLoader<B>
    where
        I: Send,
        S: IntoIterator<Item = Result<I>, IntoIter: Send + 'static>,
    {
        assert!(
            matches!(self.order, Order::Sequential),
            "a stream has its own order; shuffle its items with `shuffle_buffer`"
        );
        let make = self.maker();
        let (size, (rank, world), drop_last) = (self.batch_size, self.share, self.drop_last);
        self.loader(None, move |epoch, first| {
            let items = open(epoch).into_iter().enumerate().skip(rank).step_by(world);
            let (mut items, make) = (items.skip(first.saturating_mul(size)).fuse(), make.clone());
            std::iter::from_fn(move || -> Option<Job<_>> {
                let items: Vec<_> = items.by_ref().take(size).collect();
                let make = make.clone();
                let least = if drop_last { size } else { 1 };
                (items.len() >= least)
                    .then(|| Box::new(move || make(&mut items.into_iter())) as Job<_>)
            })
        })
    }

    /// Makes a batch of items.
    fn maker(&self) -> Arc<Maker<I, B>> {
        let (batcher, device, skip) = (self.batcher.clone(), self.device, self.failures > 0);
        Arc::new(move |items| make(items, skip, &*batcher, &device))
    }

    fn loader<J>(
        self,
        len: Option<usize>,
        open: impl Fn(usize, usize) -> J + Send + Sync + 'static,
    ) -> DataLoader<B>
    where
        J: Iterator<Item = Job<Made<B>>> + Send + 'static,
    {
        DataLoader::new(Plan {
            len,
            workers: self.workers,
            prefetch: self.prefetch.unwrap_or(2 * self.workers),
            failures: self.failures,
            open: Box::new(move |epoch, first| Box::new(open(epoch, first))),
        })
    }
}

type Maker<I, B> = dyn Fn(&mut dyn Iterator<Item = (usize, Result<I>)>) -> Made<B> + Send + Sync;
