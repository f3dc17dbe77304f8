//! Which items an epoch has, in which order.

use kiln::data::Batches;

fn epoch(batches: &Batches, epoch: usize) -> Vec<usize> {
    batches.epoch(epoch).flatten().collect()
}

#[test]
fn an_order_is_a_function_of_seed_and_epoch() {
    let weights: Vec<f64> = (0..50).map(f64::from).collect();
    let classes: Vec<usize> = (0..50).map(|i| i % 3).collect();
    let orders: [&dyn Fn(u64) -> Batches; 5] = [
        &|seed| Batches::new(50, 8).shuffled(seed),
        &|seed| Batches::new(50, 8).random(seed, 70),
        &|seed| Batches::new(50, 8).weighted(seed, weights.clone(), 30, true),
        &|seed| Batches::new(50, 8).weighted(seed, weights.clone(), 30, false),
        &|seed| Batches::new(50, 8).stratified(seed, classes.clone()),
    ];
    for order in orders {
        assert_eq!(epoch(&order(1), 5), epoch(&order(1), 5));
        assert_ne!(epoch(&order(1), 5), epoch(&order(1), 6));
        assert_ne!(epoch(&order(1), 5), epoch(&order(2), 5));
        let rest: Vec<_> = order(1).epoch_from(5, 2).flatten().collect();
        assert_eq!(rest, epoch(&order(1), 5)[16..]);
        let order = order(1);
        assert_eq!(order.len(), order.epoch(0).count());
        assert_eq!(order.clone().drop_last().len(), order.drop_last().epoch(0).count());
    }
}

/// What they were when they were made: a run that a later version resumes goes on alike.
#[test]
fn the_orders_stay_those_of_the_first_version() {
    assert_eq!(epoch(&Batches::new(8, 3).shuffled(7), 1), [1, 3, 6, 0, 2, 4, 5, 7]);
}

#[test]
fn weights_say_how_often_an_item_is_drawn() {
    let weights = vec![0.0, 1.0, 3.0, 0.0, 6.0, 0.0];
    let drawn = epoch(&Batches::new(6, 100).weighted(1, weights.clone(), 20_000, true), 0);
    for (index, weight) in weights.iter().enumerate() {
        let share = drawn.iter().filter(|&&i| i == index).count() as f64 / 20_000.0;
        // Five standard deviations of the share.
        let near = 5.0 * (weight / 10.0 * (1.0 - weight / 10.0) / 20_000.0).sqrt();
        assert!((share - weight / 10.0).abs() <= near, "{index}: {share}");
    }
}

#[test]
fn without_replacement_no_item_is_drawn_twice_and_the_first_follows_the_weights() {
    let batches = Batches::new(5, 2).weighted(1, vec![1.0, 2.0, 0.0, 3.0, 4.0], 4, false);
    let mut first = [0; 5];
    for e in 0..10_000 {
        let mut drawn = epoch(&batches, e);
        first[drawn[0]] += 1;
        drawn.sort();
        assert_eq!(drawn, [0, 1, 3, 4]);
    }
    for (count, expected) in first.into_iter().zip([0.1, 0.2, 0.0, 0.3, 0.4]) {
        // Five standard deviations of the share.
        assert!((count as f64 / 1e4 - expected).abs() <= 0.025, "{first:?}");
    }
}

#[test]
fn stratified_batches_have_each_class_in_proportion() {
    // 600, 300 and 100 items of three classes, in batches of 50: 30, 15 and 5.
    let classes: Vec<usize> = (0..1000)
        .map(|i| {
            if i < 600 {
                7
            } else if i < 900 {
                0
            } else {
                3
            }
        })
        .collect();
    let batches = Batches::new(1000, 50).stratified(3, classes.clone());
    for e in 0..20 {
        let mut order = epoch(&batches, e);
        for batch in batches.epoch(e) {
            for (class, expected) in [(7, 30), (0, 15), (3, 5)] {
                let count = batch.iter().filter(|&&i| classes[i] == class).count() as i32;
                assert!((count - expected).abs() <= 2, "{count} instead of {expected}");
            }
        }
        order.sort();
        assert_eq!(order, Vec::from_iter(0..1000));
    }
}

#[test]
fn shares_of_one_length_cover_every_item() {
    for (len, world) in [(10, 2), (10, 3), (2, 3), (1, 4), (12, 4)] {
        let all = Batches::new(len, 2).shuffled(1);
        let shares: Vec<_> = (0..world).map(|r| epoch(&all.clone().share(r, world), 4)).collect();
        assert!(shares.iter().all(|share| share.len() == len.div_ceil(world)));
        let mut together = shares.concat();
        together.sort();
        together.dedup();
        assert_eq!(together, Vec::from_iter(0..len));
        let shares: Vec<_> =
            (0..world).map(|r| epoch(&all.clone().drop_last().share(r, world), 4)).collect();
        assert!(shares.iter().all(|share| share.len() == len / world / 2 * 2));
        let mut together = shares.concat();
        let count = together.len();
        together.sort();
        together.dedup();
        assert_eq!(together.len(), count, "no item is there twice");
    }
}

#[test]
#[should_panic(expected = "there are 3 weights but 4 items in the dataset")]
fn weights_of_another_dataset_panic() {
    Batches::new(4, 2).weighted(0, vec![1.0; 3], 4, true);
}

#[test]
#[should_panic(expected = "a weight must be finite and not negative, one is NaN")]
fn weights_that_are_not_numbers_panic() {
    Batches::new(2, 2).weighted(0, vec![1.0, f64::NAN], 4, true);
}

#[test]
#[should_panic(expected = "3 items are to be drawn, 2 have a weight above zero")]
fn too_few_weights_above_zero_panic() {
    Batches::new(3, 2).weighted(0, vec![1.0, 0.0, 2.0], 3, false);
}

#[test]
#[should_panic(expected = "there are 2 classes but 3 items in the dataset")]
fn classes_of_another_dataset_panic() {
    Batches::new(3, 2).stratified(0, vec![0, 1]);
}

#[test]
#[should_panic(expected = "there are no items to draw from")]
fn draws_from_nothing_panic() {
    Batches::new(0, 2).random(0, 5);
}

#[test]
#[should_panic(expected = "the rank 2 must be below 2")]
fn a_share_that_is_not_there_panics() {
    Batches::new(3, 2).share(2, 2);
}
