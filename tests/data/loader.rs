//! The loader gives the batches of an epoch in their order, on any number of threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use kiln::Result;
use kiln::data::rand::RngExt;
use kiln::data::{Batches, DataLoader, DataLoaderBuilder, Dataset, InMemDataset, Stack};
use kiln::data::{TensorDataset, shuffle_buffer, take};
use kiln::prelude::*;

/// Batches that are lists of their items.
fn lists<I: Send + 'static>() -> DataLoaderBuilder<I, Vec<I>> {
    DataLoaderBuilder::new(|items: Vec<I>, _: &Device| items)
}

fn all<B: Send + 'static>(loader: &DataLoader<B>, epoch: usize) -> Vec<B> {
    loader.epoch(epoch).collect::<Result<_>>().unwrap()
}

#[test]
fn batches_and_augmentation_are_the_same_with_any_number_of_workers() {
    let loader = |workers, prefetch| {
        let noisy = InMemDataset::new((0..103).collect()).map_random(5, |x: i32, random| {
            // Items that take long let others overtake them.
            thread::sleep(Duration::from_micros(if x % 7 == 0 { 300 } else { 0 }));
            (x, random.random::<u64>())
        });
        lists().batch_size(8).shuffle(3).num_workers(workers).prefetch(prefetch).build(noisy)
    };
    let expected = loader(0, 0);
    let first = all(&expected, 0);
    assert_eq!((first.len(), expected.len()), (13, Some(13)));
    assert_ne!(first, all(&expected, 1), "another epoch has another order");
    for (workers, prefetch) in [(1, 1), (1, 4), (2, 2), (3, 1), (5, 40)] {
        let loader = loader(workers, prefetch);
        for epoch in [0, 1, 0] {
            assert_eq!(all(&loader, epoch), all(&expected, epoch), "{workers} workers");
        }
    }
}

#[test]
fn an_epoch_continues_from_any_batch_without_making_those_before() {
    let made = Arc::new(AtomicUsize::new(0));
    for workers in [0, 2] {
        let count = made.clone();
        let counted = InMemDataset::new((0..40).collect()).map(move |x: i32| {
            count.fetch_add(1, Ordering::Relaxed);
            x
        });
        let loader = lists().batch_size(4).shuffle(1).num_workers(workers).build(counted);
        let whole = all(&loader, 2);
        for from in [0, 1, 7, 9, 10, 99] {
            made.store(0, Ordering::Relaxed);
            let rest: Vec<_> = loader.epoch_from(2, from).map(Result::unwrap).collect();
            assert_eq!(rest, whole[from.min(10)..]);
            assert_eq!(made.load(Ordering::Relaxed), 4 * rest.len());
        }
    }
}

#[test]
fn the_loader_and_plain_batches_have_one_order() {
    let loader = lists()
        .batch_size(6)
        .shuffle(9)
        .num_workers(1)
        .build(InMemDataset::new((0..20).collect::<Vec<usize>>()));
    let plain: Vec<_> = Batches::new(20, 6).shuffled(9).epoch(4).collect();
    assert_eq!(all(&loader, 4), plain);
}

#[test]
fn a_slow_caller_holds_the_workers_back() {
    let begun = Arc::new(AtomicUsize::new(0));
    let count = begun.clone();
    let items = InMemDataset::new((0..1000).collect()).map(move |x: i32| {
        count.fetch_add(1, Ordering::SeqCst);
        x
    });
    let mut epoch = lists().num_workers(3).prefetch(5).build(items).epoch(0);
    for taken in 0..20 {
        // As many as are allowed are made in the end, and no more.
        let mut waited = 0;
        while begun.load(Ordering::SeqCst) < taken + 5 && waited < 10_000 {
            thread::sleep(Duration::from_millis(1));
            waited += 1;
        }
        thread::sleep(Duration::from_millis(2));
        assert_eq!(begun.load(Ordering::SeqCst), taken + 5);
        assert_eq!(epoch.next().unwrap().unwrap(), [taken as i32]);
    }
}

#[test]
fn dropping_an_epoch_early_ends_its_threads() {
    // Whoever still has a job has this.
    let alive = Arc::new(());
    let held = alive.clone();
    let items = InMemDataset::new((0..100_000).collect()).map(move |x: i32| {
        let _ = &held;
        x
    });
    let loader = lists().batch_size(3).num_workers(4).prefetch(16).build(items);
    for taken in [0, 1, 50] {
        let mut epoch = loader.epoch(0);
        for _ in 0..taken {
            epoch.next().unwrap().unwrap();
        }
        drop(epoch);
    }
    drop(loader);
    assert_eq!(Arc::strong_count(&alive), 1, "a thread still has the dataset");
}

#[test]
fn two_epochs_of_one_loader_run_side_by_side() {
    let loader = lists().batch_size(2).num_workers(2).build(InMemDataset::new(vec![1, 2, 3, 4]));
    let (a, b) = (loader.epoch(0), loader.clone().epoch(0));
    let pairs: Vec<_> = a.zip(b).map(|(a, b)| (a.unwrap(), b.unwrap())).collect();
    assert_eq!(pairs, [(vec![1, 2], vec![1, 2]), (vec![3, 4], vec![3, 4])]);
}

#[test]
fn an_empty_dataset_has_no_batches() {
    for workers in [0, 2] {
        let loader =
            lists().num_workers(workers).shuffle(0).build(InMemDataset::<i32>::new(vec![]));
        assert!(loader.is_empty());
        assert_eq!(all(&loader, 0), Vec::<Vec<i32>>::new());
    }
}

#[test]
fn drop_last_leaves_a_smaller_batch_out() {
    let items = || InMemDataset::new((0..10).collect::<Vec<_>>());
    let sizes = |loader: DataLoader<Vec<i32>>| -> Vec<usize> {
        assert!(loader.len().is_none_or(|len| len == all(&loader, 0).len()));
        all(&loader, 0).iter().map(Vec::len).collect()
    };
    assert_eq!(sizes(lists().batch_size(4).build(items())), [4, 4, 2]);
    assert_eq!(sizes(lists().batch_size(4).drop_last().build(items())), [4, 4]);
    let stream = |_| (0..10).map(Ok);
    assert_eq!(sizes(lists().batch_size(4).build_stream(stream)), [4, 4, 2]);
    assert_eq!(sizes(lists().batch_size(4).drop_last().build_stream(stream)), [4, 4]);
}

#[test]
fn tensors_in_memory_give_the_batches_that_take_picks() {
    let device = Device::cpu();
    let images = Tensor::<4>::random([50, 1, 5, 5], Distribution::Default, &device);
    let labels = Tensor::<1, Int>::arange(0..50, &device);
    let loader = DataLoaderBuilder::new(Stack).batch_size(16).shuffle(2).num_workers(2);
    let loader = loader.build(TensorDataset::new((images.clone(), labels.clone())));
    let plain = Batches::new(50, 16).shuffled(2);
    for (batch, indices) in loader.epoch(0).zip(plain.epoch(0)) {
        let (x, y) = batch.unwrap();
        x.into_data().assert_eq(&take(&images, &indices).into_data(), true);
        y.into_data().assert_eq(&take(&labels, &indices).into_data(), true);
    }
}

#[test]
fn a_stream_keeps_its_order_and_continues_from_any_batch() {
    let stream = |epoch| (0..23).map(move |x| Ok(100 * epoch + x));
    for workers in [0, 1, 3] {
        let loader = lists().batch_size(5).num_workers(workers).build_stream(stream);
        assert_eq!((loader.len(), loader.is_empty()), (None, false));
        let whole = all(&loader, 2);
        assert_eq!(whole.concat(), Vec::from_iter(200..223));
        let rest: Vec<_> = loader.epoch_from(2, 3).map(Result::unwrap).collect();
        assert_eq!(rest, whole[3..]);
        let third = lists().batch_size(5).share(1, 3).build_stream(stream);
        assert_eq!(all(&third, 0).concat(), [1, 4, 7, 10, 13, 16, 19, 22]);
    }
}

#[test]
fn a_shuffled_stream_is_a_function_of_seed_and_epoch() {
    let order = |seed, epoch| shuffle_buffer(0..200, 50, seed, epoch).collect::<Vec<_>>();
    assert_eq!(order(1, 0), order(1, 0));
    assert_ne!(order(1, 0), order(2, 0));
    assert_ne!(order(1, 0), order(1, 1));
}

#[test]
fn ready_made_batches_stack_numbers_arrays_tensors_and_tuples() {
    let row = |x: f32| Tensor::<1>::from([x, x + 1.0]);
    let items = vec![
        (row(0.0), (1u8, true), [0.5f64, 1.5], 7usize, "a".to_string()),
        (row(5.0), (2u8, false), [2.5f64, 3.5], 8usize, "b".to_string()),
    ];
    let items = items.into_iter().map(|(a, b, c, d, e)| ((a, b, c), (d, e))).collect();
    let loader = DataLoaderBuilder::new(Stack).batch_size(2).build(InMemDataset::new(items));
    let ((a, (b, c), d), (e, f)) = loader.epoch(0).next().unwrap().unwrap();
    a.into_data().assert_eq(&TensorData::from([[0.0f32, 1.0], [5.0, 6.0]]), true);
    b.into_data().assert_eq(&TensorData::from([1i64, 2]), true);
    c.into_data().assert_eq(&TensorData::from([true, false]), true);
    d.into_data().assert_eq(&TensorData::from([[0.5f32, 1.5], [2.5, 3.5]]), true);
    e.into_data().assert_eq(&TensorData::from([7i64, 8]), true);
    assert_eq!(f, ["a", "b"]);
}

#[test]
fn a_struct_can_be_the_batcher() {
    struct Sum;
    impl kiln::data::Batcher<i32, i32> for Sum {
        fn batch(&self, items: Vec<i32>, _: &Device) -> i32 {
            items.iter().sum()
        }
    }
    let loader =
        DataLoaderBuilder::new(Sum).batch_size(3).build(InMemDataset::new(vec![1, 2, 3, 4]));
    assert_eq!(all(&loader, 0), [6, 4]);
}

#[test]
#[should_panic(expected = "a stream has its own order")]
fn a_stream_can_not_be_shuffled_by_index() {
    lists::<i32>().shuffle(1).build_stream(|_| std::iter::empty());
}
