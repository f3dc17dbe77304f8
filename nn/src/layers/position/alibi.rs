//! A bias for distance, instead of positions.

use kiln_tensor::{Device, Int, Tensor};

/// How steep the bias of each head is: for `2^m` heads a geometric sequence from `2^(-8 / heads)`
/// on with that ratio; other numbers take every second slope of the next larger power for the rest
/// (Press et al. 2021).
///
/// ```
/// assert_eq!(kiln_nn::alibi_slopes(4), [0.25, 0.0625, 0.015625, 0.00390625]);
/// ```
pub fn alibi_slopes(heads: usize) -> Vec<f64> {
    let geometric = |count: usize| {
        let ratio = (-8.0 / count as f64).exp2();
        (1..=count as i32).map(move |power| ratio.powi(power))
    };
    let below = if heads == 0 { 1 } else { 1 << heads.ilog2() };
    let rest = geometric(2 * below).step_by(2);
    geometric(below).chain(rest).take(heads).collect()
}

/// `[1, heads, queries, keys]`: minus slope times distance, for [`MhaInput::attn_bias`]. The last
/// query stands at the last key.
///
/// [`MhaInput::attn_bias`]: crate::MhaInput::attn_bias
#[track_caller]
pub fn alibi_bias(heads: usize, queries: usize, keys: usize, device: &Device) -> Tensor<4> {
    let first = keys as i64 - queries as i64;
    let at = |range| Tensor::<1, Int>::arange(range, device).float();
    let query = at(first..keys as i64).reshape([1, 1, queries, 1]);
    let distance = query.sub(at(0..keys as i64).reshape([1, 1, 1, keys])).abs();
    let slopes = Tensor::<1>::from_floats(alibi_slopes(heads).as_slice(), device);
    -(distance * slopes.reshape([1, heads, 1, 1]))
}
