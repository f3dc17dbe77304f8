//! Which items an epoch holds, in which order: a function of seed and epoch.

use std::sync::Arc;

use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use super::random;

/// How the items of an epoch are drawn.
#[derive(Clone, Debug)]
pub(super) enum Order {
    /// Every item once, by index.
    Sequential,
    /// Every item once.
    Shuffled { seed: u64 },
    /// `count` draws from all items.
    Random { seed: u64, count: usize },
    /// `count` draws, an item with a probability in proportion to its weight.
    Weighted { seed: u64, weights: Arc<[f64]>, count: usize, replacement: bool },
    /// Every item once, the classes spread evenly.
    Stratified { seed: u64, classes: Arc<[usize]> },
}

impl Order {
    /// An order of `count` draws by weight. Panics if the weights make no sense.
    #[track_caller]
    pub(super) fn weighted(seed: u64, weights: Vec<f64>, count: usize, replacement: bool) -> Self {
        if let Some(weight) = weights.iter().find(|weight| !(weight.is_finite() && **weight >= 0.0))
        {
            panic!("weighted: a weight must be finite and not negative, one is {weight}");
        }
        let positive = weights.iter().filter(|&&weight| weight > 0.0).count();
        let needed = if replacement { count.min(1) } else { count };
        assert!(
            positive >= needed,
            "weighted: {needed} items are to be drawn, {positive} have a weight above zero"
        );
        Self::Weighted { seed, weights: weights.into(), count, replacement }
    }

    /// How many indices an epoch of a dataset of `len` items has. Panics if this order was made
    /// for another number of items.
    #[track_caller]
    pub(super) fn count(&self, len: usize) -> usize {
        let same = |what, there: usize| {
            assert!(there == len, "there are {there} {what} but {len} items in the dataset");
        };
        match self {
            Self::Sequential | Self::Shuffled { .. } => len,
            Self::Random { count, .. } => {
                assert!(len > 0 || *count == 0, "there are no items to draw from");
                *count
            }
            Self::Weighted { weights, count, .. } => {
                same("weights", weights.len());
                *count
            }
            Self::Stratified { classes, .. } => {
                same("classes", classes.len());
                len
            }
        }
    }

    /// The indices of an epoch of a dataset of `len` items.
    pub(super) fn indices(&self, len: usize, epoch: usize) -> Vec<usize> {
        match self {
            Self::Sequential => (0..len).collect(),
            Self::Shuffled { seed } => {
                let mut order: Vec<usize> = (0..len).collect();
                order.shuffle(&mut random::of_epoch(*seed, epoch));
                order
            }
            Self::Random { seed, count } => {
                let mut random = random::of_epoch(*seed, epoch);
                (0..*count).map(|_| random.random_range(0..len)).collect()
            }
            Self::Weighted { seed, weights, count, replacement } => {
                let mut random = random::of_epoch(*seed, epoch);
                if *replacement {
                    draw(weights, *count, &mut random)
                } else {
                    draw_once(weights, *count, &mut random)
                }
            }
            Self::Stratified { seed, classes } => {
                spread(classes, &mut random::of_epoch(*seed, epoch))
            }
        }
    }
}

/// Draws with replacement: the item at a random place of the weights laid end to end.
fn draw(weights: &[f64], count: usize, random: &mut StdRng) -> Vec<usize> {
    let mut total = 0.0;
    let ends: Vec<f64> = weights.iter().map(|weight| (total += weight, total).1).collect();
    // Rounding could lead past the last item that has a weight.
    let last = weights.iter().rposition(|&weight| weight > 0.0).unwrap_or(0);
    let place = |_| {
        let place = random.random::<f64>() * total;
        ends.partition_point(|&end| end <= place).min(last)
    };
    (0..count).map(place).collect()
}

/// Draws without replacement: the items with the smallest of exponential times whose rates are the
/// weights (Efraimidis & Spirakis, "Weighted random sampling with a reservoir", 2006).
fn draw_once(weights: &[f64], count: usize, random: &mut StdRng) -> Vec<usize> {
    let time = |(index, &weight): (usize, &f64)| {
        let uniform = 1.0 - random.random::<f64>(); // in (0, 1]
        (-uniform.ln() / weight, index)
    };
    let positive = |&(_, weight): &(usize, &f64)| *weight > 0.0;
    let mut times: Vec<_> = weights.iter().enumerate().filter(positive).map(time).collect();
    times.sort_by(|a, b| a.0.total_cmp(&b.0));
    times.into_iter().take(count).map(|(_, index)| index).collect()
}

/// All items, so that any stretch holds about as much of a class as there is overall: the shuffled
/// items of a class are set at even distances, from a random start.
fn spread(classes: &[usize], random: &mut StdRng) -> Vec<usize> {
    let mut order: Vec<usize> = (0..classes.len()).collect();
    order.shuffle(random);
    // A stable sort: the items of a class stay shuffled.
    order.sort_by_key(|&index| classes[index]);
    let mut places = Vec::with_capacity(order.len());
    for members in order.chunk_by(|&a, &b| classes[a] == classes[b]) {
        let (start, count) = (random.random::<f64>(), members.len() as f64);
        let place = |(i, &index): (usize, &usize)| ((i as f64 + start) / count, index);
        places.extend(members.iter().enumerate().map(place));
    }
    places.sort_by(|a, b| a.0.total_cmp(&b.0));
    places.into_iter().map(|(_, index)| index).collect()
}
