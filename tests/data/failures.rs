//! What happens when an item can not be had.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use kiln::data::{DataLoader, DataLoaderBuilder, Dataset, InMemDataset, Stack};
use kiln::prelude::*;
use kiln::{Error, Result};

/// The numbers below 20; multiples of `bad` can not be read.
struct Files {
    bad: usize,
}

impl Dataset for Files {
    type Item = usize;

    fn len(&self) -> usize {
        20
    }

    fn get(&self, index: usize) -> Result<usize> {
        if index > 0 && index.is_multiple_of(self.bad) {
            let path = Path::new("pictures").join(format!("{index}.png")).display().to_string();
            return Err(Error::File { path, what: "is no PNG file".into() });
        }
        Ok(index)
    }
}

fn builder(workers: usize) -> DataLoaderBuilder<usize, Vec<usize>> {
    DataLoaderBuilder::new(|items: Vec<usize>, _: &Device| items).batch_size(4).num_workers(workers)
}

#[test]
fn a_failing_item_ends_the_epoch_and_names_its_index_and_file() {
    for workers in [0, 1, 3] {
        let mut epoch = builder(workers).build(Files { bad: 6 }).epoch(0);
        assert_eq!(epoch.next().unwrap().unwrap(), [0, 1, 2, 3]);
        let error = epoch.next().unwrap().unwrap_err().to_string();
        assert!(error.ends_with("6.png: is no PNG file (item 6)"), "{error}");
        assert!(epoch.next().is_none());
        assert!(epoch.skipped().is_empty());
    }
}

#[test]
fn failing_items_are_left_out_and_counted_if_asked() {
    for workers in [0, 1, 3] {
        let mut epoch = builder(workers).skip_failures(3).build(Files { bad: 6 }).epoch(0);
        let batches: Vec<_> = epoch.by_ref().map(Result::unwrap).collect();
        let [a, b, c, d, e] = &batches[..] else { panic!("{batches:?}") };
        assert_eq!((a.len(), &b[..], &c[..]), (4, &[4, 5, 7][..], &[8, 9, 10, 11][..]));
        assert_eq!((&d[..], &e[..]), (&[13, 14, 15][..], &[16, 17, 19][..]));
        let skipped: Vec<_> = epoch.skipped().iter().map(Error::to_string).collect();
        assert_eq!(skipped.len(), 3);
        assert!(skipped[2].contains("18.png") && skipped[2].contains("item 18"), "{skipped:?}");
    }
}

#[test]
fn more_failures_than_allowed_are_an_error() {
    let mut epoch = builder(2).skip_failures(2).build(Files { bad: 6 }).epoch(0);
    let results: Vec<_> = epoch.by_ref().collect();
    assert_eq!(results.len(), 5);
    let error = results[4].as_ref().unwrap_err().to_string();
    assert!(error.contains("more than 2 items failed") && error.contains("18.png"), "{error}");
}

#[test]
fn a_batch_of_nothing_but_failures_is_an_error() {
    let loader = builder(0).skip_failures(100).build(Files { bad: 1 }.slice(4..12));
    let error = loader.epoch(0).next().unwrap().unwrap_err().to_string();
    assert!(error.contains("4.png") && error.contains("item 0"), "{error}");
}

#[test]
fn a_failing_item_of_a_stream_is_named_by_its_place() {
    let stream = |_| (0..9).map(|x| Files { bad: 5 }.get(x));
    for workers in [0, 2] {
        let mut epoch = builder(workers).build_stream(stream).epoch(0);
        assert_eq!(epoch.next().unwrap().unwrap(), [0, 1, 2, 3]);
        assert!(epoch.next().unwrap().unwrap_err().to_string().contains("(item 5)"));
        let mut epoch = builder(workers).skip_failures(1).build_stream(stream).epoch(0);
        let items: Vec<_> = epoch.by_ref().flat_map(Result::unwrap).collect();
        assert_eq!((items, epoch.skipped().len()), (vec![0, 1, 2, 3, 4, 6, 7, 8], 1));
    }
}

#[test]
fn wrong_shapes_are_an_error_of_the_loader() {
    let rows = [2, 2, 3].map(|n| Tensor::<1>::zeros([n], &Device::cpu())).to_vec();
    for workers in [0, 1] {
        let loader = DataLoaderBuilder::new(Stack).batch_size(3).num_workers(workers);
        let error = loader.build(InMemDataset::new(rows.clone())).epoch(0).next().unwrap();
        assert!(error.unwrap_err().to_string().starts_with("stack: shapes [2] and [2] and [3]"));
        let pairs = InMemDataset::new(rows.clone()).map(|row| row.reshape([1, 2]).into_data());
        let loader = DataLoaderBuilder::new(|items: Vec<TensorData>, _: &Device| items.len());
        let loader = loader.batch_size(3).num_workers(workers).build(pairs);
        let error = loader.epoch(0).next().unwrap().unwrap_err().to_string();
        assert!(error.starts_with("dataset: item 2: reshape: "), "{error}");
    }
}

fn panic_of<B: Send + 'static>(loader: &DataLoader<B>) -> String {
    let work = AssertUnwindSafe(|| loader.epoch(0).for_each(drop));
    *catch_unwind(work).unwrap_err().downcast::<String>().unwrap()
}

#[test]
fn a_panic_reaches_the_caller_with_the_index_of_the_item() {
    for workers in [0, 1, 3] {
        let items = InMemDataset::new((0..100).collect()).map(|x: usize| {
            assert_ne!(x, 17, "not this one");
            x
        });
        let panic = panic_of(&builder(workers).build(items));
        assert!(panic.starts_with("item 17 of the dataset: ") && panic.contains("not this one"));
        // One in the batcher, and one in a stream.
        let items = InMemDataset::new((0..100).collect());
        let batcher = |items: Vec<usize>, _: &Device| assert_ne!(items[0], 50, "batcher");
        let loader = DataLoaderBuilder::new(batcher).num_workers(workers).build(items);
        assert!(panic_of(&loader).contains("batcher"));
        let stream = |_| (0..100usize).map(|x| Ok(100 / (99 - x)));
        let loader = builder(workers).build_stream(stream);
        let work = AssertUnwindSafe(|| loader.epoch(0).for_each(drop));
        let panic = catch_unwind(work).unwrap_err();
        assert_eq!(*panic.downcast::<&str>().unwrap(), "attempt to divide by zero");
    }
}
