//! Streams: items that come one after the other.

use rand::RngExt;

use super::random;

/// The items of a stream in an order that is random as far as a buffer of `size` items allows: each
/// one is drawn from the buffer, and the next of the stream takes its place. The order is a function
/// of seed and epoch. Panics if `size` is zero.
///
/// ```
/// use kiln::data::shuffle_buffer;
/// let mut shuffled: Vec<i32> = shuffle_buffer(0..100, 20, 7, 0).collect();
/// assert!(shuffled[..10].iter().all(|&x| x < 30) && !shuffled.is_sorted());
/// shuffled.sort();
/// assert_eq!(shuffled, Vec::from_iter(0..100));
/// ```
#[track_caller]
pub fn shuffle_buffer<S: IntoIterator>(
    stream: S,
    size: usize,
    seed: u64,
    epoch: usize,
) -> impl Iterator<Item = S::Item> + use<S> {
    assert!(size > 0, "shuffle_buffer: the size must not be zero");
    let mut stream = stream.into_iter().fuse();
    let mut buffer = Vec::new();
    let mut random = random::of_epoch(seed, epoch);
    std::iter::from_fn(move || {
        let missing = size - buffer.len();
        buffer.extend(stream.by_ref().take(missing));
        (!buffer.is_empty()).then(|| buffer.swap_remove(random.random_range(0..buffer.len())))
    })
}
