//! Datasets, and loaders that make batches of them on threads of their own.
//!
//! A [`Dataset`] is a collection of items by index. [`DataLoaderBuilder`] says how its items become
//! batches and in which order; the [`DataLoader`] it builds makes an epoch of them, ahead of the
//! training loop.
//!
//! ```
//! use kiln::data::{DataLoaderBuilder, Dataset, InMemDataset, Stack};
//! use kiln::prelude::*;
//! let squares = InMemDataset::new((0..10).map(|x| (x as f32, x * x)).collect());
//! let [train, valid] = squares.random_split([0.8, 0.2], 42);
//! let train = DataLoaderBuilder::new(Stack).batch_size(4).shuffle(7).num_workers(2).build(train);
//! for epoch in 0..2 {
//!     for batch in train.epoch(epoch) {
//!         let (x, y): (Tensor<1>, Tensor<1, Int>) = batch?;
//!         assert_eq!(x.dims(), y.dims());
//!     }
//! }
//! assert_eq!((train.len(), valid.len()), (Some(2), 2));
//! # Ok::<(), kiln::Error>(())
//! ```
//!
//! - The order is a function of seed and epoch, and random augmentation one of seed, epoch and
//!   index, whatever the number of workers: a place in training is (epoch, batch), and
//!   [`DataLoader::epoch_from`] goes there without making the batches before.
//! - An item that fails names its index, and its file if it has one; it ends the epoch, or is left
//!   out and counted ([`DataLoaderBuilder::skip_failures`]).
//! - Files are read by [`Csv`], [`read_arrays`] (npy, npz, safetensors, idx), [`TokenFile`] and, with
//!   the feature `image`, `ImageFolder`.
//!
//! For tensors that are in memory as a whole, a training loop needs no more than [`Batches`] and
//! [`take`].

mod arrays;
mod batches;
mod builder;
mod collate;
mod csv;
mod dataset;
#[cfg(feature = "image")]
mod image_folder;
mod loader;
mod memory;
mod order;
mod random;
mod stream;
mod subset;
mod tokens;
mod transform;
mod worker;

pub use arrays::{read_arrays, read_idx};
pub use batches::Batches;
pub use builder::DataLoaderBuilder;
pub use collate::{Batcher, Collate, Number, Stack};
pub use csv::Csv;
pub use dataset::{Dataset, Items};
#[cfg(feature = "image")]
pub use image_folder::ImageFolder;
pub use loader::{DataLoader, Epoch};
pub use memory::{InMemDataset, Rows, TensorDataset, take};
pub use rand;
pub use rand::rngs::StdRng;
pub use stream::shuffle_buffer;
pub use subset::{Concat, Subset};
pub use tokens::{TokenFile, TokenWindows};
pub use transform::{Map, MapRandom};
