//! From queries, keys and values to their mixture: what the attention layers share.

use kiln_tensor::module::{
    AttentionMask, AttentionModuleOptions, attention, dropout, scaled_dot_product_attention,
};
use kiln_tensor::{Bool, Error, Tensor, activation, fail};

use super::mask::AttentionMasks;
use super::multi_head::MhaInput;

/// Queries `[n, heads, q, d]`, keys and values `[n, groups, k, d]`; each group of keys serves
/// `heads / groups` neighbouring heads.
pub(super) struct Heads {
    pub query: Tensor<4>,
    pub key: Tensor<4>,
    pub value: Tensor<4>,
}

impl Heads {
    /// The means of the values, `[n, q, heads * d]`, and the weights if they are asked for.
    #[track_caller]
    pub fn mix_for(&self, input: &MhaInput, dropout: f64) -> (Tensor<3>, Option<Tensor<4>>) {
        if !input.need_weights {
            return (self.mix(&input.masks, dropout), None);
        }
        let (mixed, weights) = self.mix_with_weights(&input.masks, dropout);
        (mixed, Some(weights))
    }

    /// The means of the values, `[n, q, heads * d]`.
    #[track_caller]
    fn mix(&self, masks: &AttentionMasks, dropout: f64) -> Tensor<3> {
        let [n, _, queries, _] = self.query.dims();
        let keys = self.key.dims()[2];
        let (hidden, bias) = (masks.hidden(n, queries, keys), masks.bias.clone());
        let Self { query, key, value } = self;
        if dropout == 0.0 {
            let options = AttentionModuleOptions { is_causal: masks.causal, ..Default::default() };
            return join(attention(query, key, value, hidden, bias, options));
        }
        // There, a causal mask starts with the first key whatever the number of keys.
        let causal = masks.causal && queries == keys;
        let hidden = if causal { hidden } else { self.hidden(masks) };
        let mask = match (hidden, bias) {
            (Some(hidden), Some(bias)) => {
                Some(AttentionMask::Add(bias.add(minus_infinity(&hidden))))
            }
            (Some(hidden), None) => Some(AttentionMask::Keep(hidden.bool_not())),
            (None, bias) => bias.map(AttentionMask::Add),
        };
        join(scaled_dot_product_attention(query, key, value, mask, dropout, causal, None))
    }

    /// [`Heads::mix`] with the weights, `[n, heads, q, k]`, step by step.
    #[track_caller]
    fn mix_with_weights(&self, masks: &AttentionMasks, p: f64) -> (Tensor<3>, Tensor<4>) {
        let [_, heads, _, d] = self.query.dims();
        let (key, value) = (repeat(&self.key, heads), repeat(&self.value, heads));
        let mut scores = (&self.query * (d as f64).powf(-0.5)).matmul(key.transpose());
        if let Some(hidden) = self.hidden(masks) {
            scores = scores.mask_fill(hidden, f64::NEG_INFINITY);
        }
        if let Some(bias) = &masks.bias {
            scores = scores.add(bias);
        }
        let mut weights = softmax_or_zero(&scores);
        if p > 0.0 {
            weights = dropout(&weights, p);
        }
        (join(weights.matmul(value)), weights)
    }

    /// All that is not seen, the causal part too.
    #[track_caller]
    fn hidden(&self, masks: &AttentionMasks) -> Option<Tensor<4, Bool>> {
        let [n, _, queries, _] = self.query.dims();
        let keys = self.key.dims()[2];
        let hidden = masks.hidden(n, queries, keys);
        if !masks.causal {
            return hidden;
        }
        // The last query sees all keys.
        let first = keys as i64 - queries as i64;
        let later = Tensor::tril_mask([1, 1, queries, keys], first, &self.query.device());
        Some(hidden.map_or_else(|| later.clone(), |hidden| hidden.bool_or(&later)))
    }
}

/// `[n, t, heads * d]` to `[n, heads, t, d]`, without moving a byte.
#[track_caller]
pub(super) fn split(x: &Tensor<3>, heads: usize) -> Tensor<4> {
    let [n, t, features] = x.dims();
    x.reshape([n, t, heads, features / heads]).swap_dims(1, 2)
}

/// `[n, heads, t, d]` to `[n, t, heads * d]`.
fn join(x: Tensor<4>) -> Tensor<3> {
    let [n, heads, t, d] = x.dims();
    x.swap_dims(1, 2).reshape([n, t, heads * d])
}

/// Each group of keys once for every head that it serves.
#[track_caller]
fn repeat(x: &Tensor<4>, heads: usize) -> Tensor<4> {
    let [n, groups, t, d] = x.dims();
    if groups == heads {
        return x.clone();
    }
    let each = heads / groups;
    x.unsqueeze_dim::<5>(2).expand([n, groups, each, t, d]).reshape([n, heads, t, d])
}

fn minus_infinity(hidden: &Tensor<4, Bool>) -> Tensor<4> {
    let zeros = Tensor::zeros(hidden.shape(), &hidden.device());
    zeros.mask_fill(hidden, f64::NEG_INFINITY)
}

/// Softmax over the keys; zeros for a query that sees none.
fn softmax_or_zero(scores: &Tensor<4>) -> Tensor<4> {
    let blind = scores.detach().max_dim(3).equal_elem(f64::NEG_INFINITY);
    activation::softmax(scores.mask_fill(&blind, 0.0), 3).mask_fill(&blind, 0.0)
}

/// Panics unless `width` divides into `heads`.
#[track_caller]
pub(super) fn require_heads(op: &'static str, width: usize, heads: usize) {
    if heads == 0 || !width.is_multiple_of(heads) {
        fail(Error::Argument { op, rule: format!("{width} does not divide into {heads} heads") });
    }
}
