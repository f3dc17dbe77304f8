//! Collections of items by index.

use std::ops::Range;
use std::sync::Arc;

use kiln_tensor::Result;
use rand::rngs::StdRng;

use super::{Concat, Map, MapRandom, Subset};

/// A collection of items by index. `torch.utils.data.Dataset`.
///
/// ```
/// use kiln::data::Dataset;
/// struct Squares;
/// impl Dataset for Squares {
///     type Item = usize;
///     fn len(&self) -> usize {
///         100
///     }
///     fn get(&self, index: usize) -> kiln::Result<usize> {
///         Ok(index * index)
///     }
/// }
/// let even = Squares.slice(2..6).map(|x| x + 1);
/// assert_eq!(even.iter().collect::<kiln::Result<Vec<_>>>()?, [5, 10, 17, 26]);
/// # Ok::<(), kiln::Error>(())
/// ```
pub trait Dataset: Send + Sync {
    /// What there is at an index.
    type Item;

    /// The number of items.
    fn len(&self) -> usize;

    /// The item at an index below [`Dataset::len`]. An error if it can not be had, which names the
    /// file that it should come from.
    fn get(&self, index: usize) -> Result<Self::Item>;

    /// The item as it is in one epoch, which is another one only where [`Dataset::map_random`] is
    /// involved. A dataset that is made of others and can not be told from them passes it on.
    fn get_in(&self, epoch: usize, index: usize) -> Result<Self::Item> {
        let _ = epoch;
        self.get(index)
    }

    /// Whether there are no items.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The items in their order.
    fn iter(&self) -> Items<'_, Self>
    where
        Self: Sized,
    {
        Items { dataset: self, indices: 0..self.len() }
    }

    /// The items as `change` makes them, each time that one is asked for.
    fn map<T, F>(self, change: F) -> Map<Self, F>
    where
        Self: Sized,
        F: Fn(Self::Item) -> T + Send + Sync,
    {
        Map { dataset: self, change }
    }

    /// The items as `change` makes them with a random generator: augmentation. What it draws is a
    /// function of `seed`, the epoch and the index, so it does not depend on threads and is the
    /// same again when training resumes. An item drawn twice in an epoch is changed alike.
    ///
    /// ```
    /// use kiln::data::rand::RngExt;
    /// use kiln::data::{Dataset, InMemDataset};
    /// let noisy = InMemDataset::new(vec![1.0; 8])
    ///     .map_random(7, |x, random| x + random.random_range(-0.1..0.1));
    /// assert_eq!(noisy.get_in(3, 5)?, noisy.get_in(3, 5)?);
    /// assert_ne!(noisy.get_in(3, 5)?, noisy.get_in(4, 5)?);
    /// # Ok::<(), kiln::Error>(())
    /// ```
    fn map_random<T, F>(self, seed: u64, change: F) -> MapRandom<Self, F>
    where
        Self: Sized,
        F: Fn(Self::Item, &mut StdRng) -> T + Send + Sync,
    {
        MapRandom { dataset: self, seed, change }
    }

    /// The items at these indices, which may repeat. Panics if one is out of range.
    #[track_caller]
    fn subset(self, indices: Vec<usize>) -> Subset<Self>
    where
        Self: Sized,
    {
        Subset::new(self, indices)
    }

    /// The items of a range. Panics if it is out of range.
    #[track_caller]
    fn slice(self, range: Range<usize>) -> Subset<Self>
    where
        Self: Sized,
    {
        Subset::of_range(self, range)
    }

    /// The first `n` items, or all if there are fewer.
    fn take(self, n: usize) -> Subset<Self>
    where
        Self: Sized,
    {
        let end = n.min(self.len());
        self.slice(0..end)
    }

    /// All but the first `n` items.
    fn skip(self, n: usize) -> Subset<Self>
    where
        Self: Sized,
    {
        let len = self.len();
        self.slice(n.min(len)..len)
    }

    /// The items in one random order, the same in each epoch. A loader that shuffles takes another
    /// order in each.
    fn shuffled(self, seed: u64) -> Subset<Self>
    where
        Self: Sized,
    {
        Subset::shuffled(self, seed)
    }

    /// Random parts that have these shares of the items: `torch.utils.data.random_split`. Panics
    /// unless the shares are positive and add up to one.
    ///
    /// ```
    /// use kiln::data::{Dataset, InMemDataset};
    /// let [train, test] = InMemDataset::new(vec![0; 100]).random_split([0.9, 0.1], 42);
    /// assert_eq!((train.len(), test.len()), (90, 10));
    /// ```
    #[track_caller]
    fn random_split<const N: usize>(self, shares: [f64; N], seed: u64) -> [Subset<Arc<Self>>; N]
    where
        Self: Sized,
    {
        Subset::split(self, shares, seed)
    }

    /// The items of this, then those of `other`.
    fn concat<D: Dataset<Item = Self::Item>>(self, other: D) -> Concat<Self, D>
    where
        Self: Sized,
    {
        Concat(self, other)
    }

    /// The same, so that datasets of different kinds are of one type.
    fn boxed(self) -> Box<dyn Dataset<Item = Self::Item>>
    where
        Self: Sized + 'static,
    {
        Box::new(self)
    }
}

/// The items of a dataset in their order.
pub struct Items<'a, D> {
    dataset: &'a D,
    indices: Range<usize>,
}

impl<D: Dataset> Iterator for Items<'_, D> {
    type Item = Result<D::Item>;

    fn next(&mut self) -> Option<Self::Item> {
        self.indices.next().map(|index| self.dataset.get(index))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.indices.size_hint()
    }
}

impl<D: Dataset> ExactSizeIterator for Items<'_, D> {}

impl<D: Dataset + ?Sized> Dataset for Arc<D> {
    type Item = D::Item;

    fn len(&self) -> usize {
        (**self).len()
    }

    fn get(&self, index: usize) -> Result<D::Item> {
        (**self).get(index)
    }

    fn get_in(&self, epoch: usize, index: usize) -> Result<D::Item> {
        (**self).get_in(epoch, index)
    }
}

impl<D: Dataset + ?Sized> Dataset for Box<D> {
    type Item = D::Item;

    fn len(&self) -> usize {
        (**self).len()
    }

    fn get(&self, index: usize) -> Result<D::Item> {
        (**self).get(index)
    }

    fn get_in(&self, epoch: usize, index: usize) -> Result<D::Item> {
        (**self).get_in(epoch, index)
    }
}
