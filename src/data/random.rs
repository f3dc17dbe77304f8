//! Generators whose stream is a function of where they are used.

use rand::SeedableRng;
use rand::rngs::StdRng;

/// The generator of an epoch's order.
pub(super) fn of_epoch(seed: u64, epoch: usize) -> StdRng {
    generator([seed, epoch as u64, 0, 0])
}

/// The generator of an item in an epoch.
pub(super) fn of_item(seed: u64, epoch: usize, index: usize) -> StdRng {
    generator([seed, epoch as u64, index as u64, 1])
}

fn generator(place: [u64; 4]) -> StdRng {
    let mut key = [0; 32];
    for (bytes, word) in key.chunks_exact_mut(8).zip(place) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    StdRng::from_seed(key)
}
