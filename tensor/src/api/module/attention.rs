//! Scaled dot-product attention (Vaswani et al. 2017).

use super::AttentionModuleOptions;
use smallvec::SmallVec;

use crate::error::OrFail;
use crate::op::{Attention, Meta, Operation};
use crate::tensor::{Bool, Tensor};
use crate::{AnyTensor, DType};

/// `softmax(query key^T scale) value` of every head.
///
/// `query` `[n, heads, q, d]`, `key` `[n, heads, k, d]`, `value` `[n, heads, k, e]`. Result:
/// `[n, heads, q, e]`. Keys where `mask` `[n, heads, q, k]` is true are not seen; `attn_bias` of
/// that shape is added to the scores after masking. Both may have extents of 1 instead. A query that
/// sees no key gives zeros. Where `key` and `value` have fewer heads, each serves several neighbouring heads
/// of the query.
///
/// With `is_causal` the last query sees all keys; where there are as many keys as queries, this
/// is PyTorch's rule too.
///
/// ```
/// use kiln_tensor::Tensor;
/// use kiln_tensor::module::{AttentionModuleOptions, attention};
/// let x = Tensor::<4>::from([[[[1.0], [3.0]]]]);
/// let options = AttentionModuleOptions { is_causal: true, scale: Some(0.0), ..Default::default() };
/// let y = attention(&x, &x, &x, None, None, options);
/// assert_eq!(y.into_data().to_vec::<f32>()?, [1.0, 2.0]);
/// # Ok::<(), kiln_tensor::Error>(())
/// ```
#[track_caller]
pub fn attention(
    query: impl AsRef<Tensor<4>>,
    key: impl AsRef<Tensor<4>>,
    value: impl AsRef<Tensor<4>>,
    mask: Option<Tensor<4, Bool>>,
    attn_bias: Option<Tensor<4>>,
    options: AttentionModuleOptions,
) -> Tensor<4> {
    let (query, key, value) = (query.as_ref(), key.as_ref(), value.as_ref());
    let bias = match (mask, attn_bias) {
        (Some(mask), bias) => Some(hide(mask.as_any(), bias.as_ref(), query.dtype())),
        (None, bias) => bias.map(Tensor::into_any),
    };
    let [_, _, queries, d] = query.dims();
    let op = Attention {
        scale: options.scale.unwrap_or(1.0 / (d as f64).sqrt()),
        causal: options.is_causal.then(|| key.dims()[2] as i64 - queries as i64),
        softcap: options.softcap,
        bias: bias.is_some(),
    };
    attend(op, query, key, value, bias, 0.0)
}

/// What a query may see in [`scaled_dot_product_attention`].
#[derive(Clone, Debug)]
pub enum AttentionMask {
    /// The keys where this is true are seen.
    Keep(Tensor<4, Bool>),
    /// Added to the scores; minus infinity hides a key.
    Add(Tensor<4>),
}

impl From<Tensor<4, Bool>> for AttentionMask {
    fn from(mask: Tensor<4, Bool>) -> Self {
        AttentionMask::Keep(mask)
    }
}

impl From<Tensor<4>> for AttentionMask {
    fn from(mask: Tensor<4>) -> Self {
        AttentionMask::Add(mask)
    }
}

/// `torch.nn.functional.scaled_dot_product_attention`, with its order of arguments.
///
/// As [`attention`], but a bool mask is true where a key is seen, weights are dropped with
/// probability `dropout_p`, and with `is_causal` the first query sees the first key only. Where
/// `key` and `value` have fewer heads, this is PyTorch's `enable_gqa`.
#[track_caller]
pub fn scaled_dot_product_attention(
    query: impl AsRef<Tensor<4>>,
    key: impl AsRef<Tensor<4>>,
    value: impl AsRef<Tensor<4>>,
    attn_mask: Option<AttentionMask>,
    dropout_p: f64,
    is_causal: bool,
    scale: Option<f64>,
) -> Tensor<4> {
    let (query, key, value) = (query.as_ref(), key.as_ref(), value.as_ref());
    let bias = attn_mask.map(|mask| match mask {
        AttentionMask::Keep(mask) => hide(mask.bool_not().as_any(), None, query.dtype()),
        AttentionMask::Add(bias) => bias.into_any(),
    });
    let op = Attention {
        scale: scale.unwrap_or(1.0 / (query.dims()[3] as f64).sqrt()),
        causal: is_causal.then_some(0),
        softcap: None,
        bias: bias.is_some(),
    };
    attend(op, query, key, value, bias, dropout_p)
}

/// What is added to the scores: minus infinity where `mask` is true, else the bias.
#[track_caller]
fn hide(mask: &AnyTensor, bias: Option<&Tensor<4>>, dtype: DType) -> AnyTensor {
    let full = |value: f64| AnyTensor::full(Meta::new([], dtype), value, mask.device());
    let bias = bias.map_or_else(|| full(0.0), |bias| bias.as_any().cast(dtype));
    full(f64::NEG_INFINITY).select_where(mask, &bias)
}

#[track_caller]
fn attend(
    op: Attention,
    query: &Tensor<4>,
    key: &Tensor<4>,
    value: &Tensor<4>,
    bias: Option<AnyTensor>,
    dropout: f64,
) -> Tensor<4> {
    let bias = bias.map(|bias| bias.cast(query.dtype()));
    let [query, key, value] = [query, key, value].map(Tensor::as_any);
    let inputs: SmallVec<[&AnyTensor; 4]> = [query, key, value].into_iter().chain(&bias).collect();
    if dropout == 0.0 {
        return Tensor::from_any(query.apply(op, &inputs[1..]));
    }
    let metas: SmallVec<[Meta; 4]> = inputs.iter().map(|x| x.meta()).collect();
    op.infer(&metas).or_fail();
    let (weights, _) = op.weights(&inputs);
    Tensor::from_any(Attention::mix(&super::dropout_any(&weights, dropout), value))
}
