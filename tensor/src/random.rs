//! Philox4x32-10: random numbers as a pure function of seed and position (Salmon et al.,
//! "Parallel random numbers: as easy as 1, 2, 3", SC 2011).

mod laws;

pub(crate) use laws::sample;

/// The four random words of block `counter`.
#[inline(always)]
pub(crate) fn philox(seed: u64, counter: u64) -> [u32; 4] {
    philox_blocks::<1>(seed, counter, 0).map(|[word]| word)
}

/// The first, second, third and fourth words of `N` blocks from `counter` on, side by side so that
/// the loop vectorises. Each `lane` is a stream of its own: what needs to draw again and again for
/// one position draws from the lanes of that position.
#[inline(always)]
pub(crate) fn philox_blocks<const N: usize>(seed: u64, counter: u64, lane: u32) -> [[u32; N]; 4] {
    const M0: u64 = 0xD251_1F53;
    const M1: u64 = 0xCD9E_8D57;
    let at = |i: usize| counter.wrapping_add(i as u64);
    let low = std::array::from_fn(|i| at(i) as u32);
    let high = std::array::from_fn(|i| (at(i) >> 32) as u32);
    let mut words = [low, high, [lane; N], [0; N]];
    let mut key = [seed as u32, (seed >> 32) as u32];
    for _ in 0..10 {
        let [w0, w1, w2, w3] = &mut words;
        for i in 0..N {
            let (p0, p1) = (M0 * w0[i] as u64, M1 * w2[i] as u64);
            (w0[i], w1[i]) = ((p1 >> 32) as u32 ^ w1[i] ^ key[0], p1 as u32);
            (w2[i], w3[i]) = ((p0 >> 32) as u32 ^ w3[i] ^ key[1], p0 as u32);
        }
        key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
    }
    words
}

/// Uniform on `[0, 1)` with the 24 bits that an `f32` holds.
#[inline(always)]
pub(crate) fn uniform_f32(word: u32) -> f32 {
    (word >> 8) as f32 * (1.0 / (1 << 24) as f32)
}

/// Uniform on `[0, 1)` with the 53 bits that an `f64` holds.
#[inline(always)]
pub(crate) fn uniform_f64(high: u32, low: u32) -> f64 {
    let word = (high as u64) << 32 | low as u64;
    (word >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known answers of the Random123 distribution (`kat_vectors`: philox4x32 10) for zero counter
    /// and key.
    #[test]
    fn philox_gives_the_published_answers() {
        assert_eq!(philox(0, 0), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
    }

    #[test]
    fn uniform_numbers_stay_below_one() {
        assert!(uniform_f32(u32::MAX) < 1.0 && uniform_f64(u32::MAX, u32::MAX) < 1.0);
        assert_eq!((uniform_f32(0), uniform_f64(0, 0)), (0.0, 0.0));
    }
}
