//! Datasets made of others.

use std::sync::Arc;

use kiln::Result;
use kiln::data::rand::RngExt;
use kiln::data::{Dataset, InMemDataset, TensorDataset};
use kiln::prelude::*;

fn numbers(n: usize) -> InMemDataset<usize> {
    InMemDataset::new((0..n).collect())
}

fn list<D: Dataset>(dataset: &D) -> Vec<D::Item> {
    dataset.iter().collect::<Result<_>>().unwrap()
}

#[test]
fn parts_have_the_items_they_name() {
    assert_eq!(list(&numbers(9).slice(2..5)), [2, 3, 4]);
    assert_eq!(list(&numbers(9).take(2)), [0, 1]);
    assert_eq!(list(&numbers(3).take(7)), [0, 1, 2]);
    assert_eq!(list(&numbers(4).skip(3)), [3]);
    assert!(numbers(4).skip(5).is_empty());
    assert_eq!(list(&numbers(9).subset(vec![8, 0, 8])), [8, 0, 8]);
    assert_eq!(list(&numbers(9).skip(2).take(4).subset(vec![3])), [5]);
    assert_eq!(list(&numbers(2).concat(numbers(3).map(|x| 10 * x))), [0, 1, 0, 10, 20]);
}

#[test]
fn a_shuffled_dataset_keeps_one_order_and_every_item() {
    let shuffled = numbers(100).shuffled(4);
    let mut items = list(&shuffled);
    assert_eq!(items, list(&numbers(100).shuffled(4)));
    assert_ne!(items, list(&numbers(100).shuffled(5)));
    items.sort();
    assert_eq!(items, Vec::from_iter(0..100));
}

#[test]
fn a_random_split_gives_every_item_to_one_part() {
    let parts = numbers(101).random_split([0.7, 0.2, 0.1], 3);
    let sizes = parts.each_ref().map(Dataset::len);
    assert_eq!(sizes, [71, 20, 10]);
    let mut items: Vec<_> = parts.iter().flat_map(list).collect();
    assert!(!items.is_sorted());
    items.sort();
    assert_eq!(items, Vec::from_iter(0..101));
    let thirds = numbers(10).random_split([1.0 / 3.0; 3], 3);
    assert_eq!(thirds.iter().map(Dataset::len).sum::<usize>(), 10);
}

#[test]
fn augmentation_depends_on_seed_epoch_and_index() {
    let draws = |seed| numbers(8).map_random(seed, |x, random| (x, random.random::<u64>()));
    let same = |a: Result<_>, b: Result<_>| a.unwrap() == b.unwrap();
    assert!(same(draws(1).get_in(2, 3), draws(1).get_in(2, 3)));
    assert!(same(draws(1).get(3), draws(1).get_in(0, 3)));
    assert!(!same(draws(1).get_in(2, 3), draws(2).get_in(2, 3)));
    assert!(!same(draws(1).get_in(2, 3), draws(1).get_in(3, 3)));
    let twins = numbers(1).concat(numbers(1)).map_random(1, |_, random| random.random::<u64>());
    assert_ne!(twins.get(0).unwrap(), twins.get(1).unwrap());
}

#[test]
fn the_epoch_goes_through_every_kind_of_dataset() {
    let draws = || numbers(4).map_random(1, |_, random| random.random::<u64>());
    let expected = [0, 1].map(|epoch| draws().get_in(epoch, 2).unwrap());
    assert_ne!(expected[0], expected[1]);
    let [half, _] = draws().shuffled(0).random_split([0.5, 0.5], 0);
    let moving = |dataset: &dyn Dataset<Item = u64>| {
        assert_ne!(dataset.get_in(0, 0).unwrap(), dataset.get_in(1, 0).unwrap());
    };
    moving(&half);
    moving(&draws().concat(draws()));
    moving(&draws().take(0).concat(draws()));
    moving(&draws().map(|x| x));
    moving(&draws().boxed());
    moving(&Arc::new(draws()));
    moving(&draws().map_random(2, |x, _| x));
}

#[test]
fn an_index_out_of_range_is_an_error() {
    let tensors = TensorDataset::new(Tensor::<2>::zeros([3, 2], &Device::cpu()));
    assert_eq!(tensors.len(), 3);
    for error in [
        numbers(3).get(3).unwrap_err(),
        numbers(9).slice(2..5).get(3).unwrap_err(),
        numbers(9).subset(vec![1, 2, 3]).get(3).unwrap_err(),
        tensors.get(3).unwrap_err(),
    ] {
        assert_eq!(error.to_string(), "dataset: index 3 is out of range for 3 entries");
    }
}

#[test]
#[should_panic(expected = "subset: index 3 is out of range for 3 items")]
fn a_subset_of_what_is_not_there_panics() {
    numbers(3).subset(vec![0, 3]);
}

#[test]
#[should_panic(expected = "slice: 2..5 is out of range for 4 items")]
fn a_slice_of_what_is_not_there_panics() {
    numbers(4).slice(2..5);
}

#[test]
#[should_panic(expected = "must be positive and add up to one")]
fn shares_that_do_not_add_up_panic() {
    numbers(4).random_split([0.5, 0.6], 0);
}

#[test]
#[should_panic(expected = "the tensors have [3, 4] rows; these numbers must be equal")]
fn tensors_of_different_length_panic() {
    let device = Device::cpu();
    TensorDataset::new((
        Tensor::<2>::zeros([3, 1], &device),
        Tensor::<1, Int>::zeros([4], &device),
    ));
}
