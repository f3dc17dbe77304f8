//! Datasets in memory.

use kiln_tensor::{Int, Kind, Result, Tensor};

use super::Dataset;
use super::subset::out_of_range;

/// Items in memory; each is cloned when it is asked for.
#[derive(Clone, Debug)]
pub struct InMemDataset<I> {
    items: Vec<I>,
}

impl<I> InMemDataset<I> {
    /// A dataset of these items.
    pub fn new(items: Vec<I>) -> Self {
        Self { items }
    }

    /// The items.
    pub fn items(&self) -> &[I] {
        &self.items
    }
}

impl<I: Clone + Send + Sync> Dataset for InMemDataset<I> {
    type Item = I;

    fn len(&self) -> usize {
        self.items.len()
    }

    fn get(&self, index: usize) -> Result<I> {
        self.items.get(index).cloned().ok_or_else(|| out_of_range(index, self.items.len()))
    }
}

/// Tensors that have the items along their first axes: `torch.utils.data.TensorDataset`. An item
/// is a row of each, without that axis and without a copy.
///
/// ```
/// use kiln::data::{Dataset, TensorDataset};
/// use kiln::prelude::*;
/// let images = Tensor::<4>::zeros([100, 1, 28, 28], &Device::cpu());
/// let labels = Tensor::<1, Int>::zeros([100], &Device::cpu());
/// let (image, label): (Tensor<3>, Tensor<0, Int>) = TensorDataset::new((images, labels)).get(7)?;
/// assert_eq!((image.dims(), label.item::<i64>()), ([1, 28, 28], 0));
/// # Ok::<(), kiln::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct TensorDataset<T> {
    tensors: T,
    len: usize,
}

impl<T: Rows> TensorDataset<T> {
    /// A dataset of the rows of a tensor, or of those of a tuple of tensors. Panics if they do not
    /// have the same number.
    #[track_caller]
    pub fn new(tensors: T) -> Self {
        let mut counts = Vec::new();
        tensors.counts(&mut counts);
        let len = counts[0];
        assert!(
            counts.iter().all(|&count| count == len),
            "TensorDataset: the tensors have {counts:?} rows; these numbers must be equal"
        );
        Self { tensors, len }
    }
}

impl<T: Rows> Dataset for TensorDataset<T> {
    type Item = T::Row;

    fn len(&self) -> usize {
        self.len
    }

    fn get(&self, index: usize) -> Result<T::Row> {
        if index < self.len {
            Ok(self.tensors.row(index))
        } else {
            Err(out_of_range(index, self.len))
        }
    }
}

/// A tensor of rank 1 to 8, or a tuple of these.
pub trait Rows: Send + Sync {
    /// One row.
    type Row;

    /// Appends the extent of the first axis of each tensor.
    fn counts(&self, counts: &mut Vec<usize>);

    /// The row at an index. Panics if it is out of range.
    #[track_caller]
    fn row(&self, index: usize) -> Self::Row;
}

// Rust can not say yet that the rank of a row is one less.
macro_rules! rows {
    ($($rank:literal $row:literal),+) => {$(
        impl<K: Kind> Rows for Tensor<$rank, K> {
            type Row = Tensor<$row, K>;

            fn counts(&self, counts: &mut Vec<usize>) {
                counts.push(self.dims()[0]);
            }

            fn row(&self, index: usize) -> Self::Row {
                self.select_dim(0, index)
            }
        }
    )+};
}
rows!(1 0, 2 1, 3 2, 4 3, 5 4, 6 5, 7 6, 8 7);

impl<A: Rows, B: Rows> Rows for (A, B) {
    type Row = (A::Row, B::Row);

    fn counts(&self, counts: &mut Vec<usize>) {
        self.0.counts(counts);
        self.1.counts(counts);
    }

    fn row(&self, index: usize) -> Self::Row {
        (self.0.row(index), self.1.row(index))
    }
}

impl<A: Rows, B: Rows, C: Rows> Rows for (A, B, C) {
    type Row = (A::Row, B::Row, C::Row);

    fn counts(&self, counts: &mut Vec<usize>) {
        self.0.counts(counts);
        self.1.counts(counts);
        self.2.counts(counts);
    }

    fn row(&self, index: usize) -> Self::Row {
        (self.0.row(index), self.1.row(index), self.2.row(index))
    }
}

/// Items of a tensor along its first axis, picked by index: the batch that
/// [`Batches`](super::Batches) names.
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
