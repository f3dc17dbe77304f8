//! Scaled dot-product attention (Vaswani et al. 2017).

use super::AttentionModuleOptions;
use crate::op::{Arange, BinaryKind, Meta};
use crate::tensor::{Bool, Tensor};
use crate::{AnyTensor, DType, Error, Scalar};

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
    let qkv = Heads::new("attention", query.as_ref(), key.as_ref(), value.as_ref());
    if options.softcap.is_some_and(|cap| cap <= 0.0) {
        let rule = format!("softcap must be positive, got {:?}", options.softcap);
        crate::fail(Error::Argument { op: "attention", rule });
    }
    let mut scores = qkv.scores(options.scale);
    if let Some(cap) = options.softcap {
        // Before any mask: the hyperbolic tangent of minus infinity is not minus infinity.
        scores = scores.div_scalar(cap).tanh().mul_scalar(cap);
    }
    if let Some(mask) = &mask {
        scores = hide(&scores, mask.as_any());
    }
    if options.is_causal {
        scores = hide(&scores, &later(&scores, qkv.keys as i64 - qkv.queries as i64));
    }
    if let Some(bias) = &attn_bias {
        scores = scores.add(bias.as_any());
    }
    Tensor::from_any(qkv.mix(&weights(&scores)))
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
    const OP: &str = "scaled_dot_product_attention";
    let qkv = Heads::new(OP, query.as_ref(), key.as_ref(), value.as_ref());
    let mut scores = qkv.scores(scale);
    if is_causal {
        scores = hide(&scores, &later(&scores, 0));
    }
    match &attn_mask {
        Some(AttentionMask::Keep(mask)) => scores = hide(&scores, mask.bool_not().as_any()),
        Some(AttentionMask::Add(bias)) => scores = scores.add(bias.as_any()),
        None => {}
    }
    let mut weights = weights(&scores);
    if dropout_p > 0.0 {
        weights = super::dropout_any(&weights, dropout_p);
    }
    Tensor::from_any(qkv.mix(&weights))
}

/// The operands, with the heads that share a key as an axis of their own.
struct Heads {
    /// `[n, groups, heads, q, d]`
    query: AnyTensor,
    /// `[n, groups, 1, k, d]`
    key: AnyTensor,
    /// `[n, groups, 1, k, e]`
    value: AnyTensor,
    queries: usize,
    keys: usize,
    heads: usize,
}

impl Heads {
    #[track_caller]
    fn new(op: &'static str, query: &Tensor<4>, key: &Tensor<4>, value: &Tensor<4>) -> Self {
        let ([n, heads, q, d], [kn, groups, k, kd]) = (query.dims(), key.dims());
        let [vn, vh, vk, e] = value.dims();
        let fits = [n, kn] == [kn, vn] && [groups, k] == [vh, vk] && d == kd;
        if !fits || groups == 0 || heads % groups != 0 {
            let rule = "expected [n, heads, q, d], [n, groups, k, d] and [n, groups, k, e] with \
                        heads a multiple of groups";
            let shapes = vec![query.shape(), key.shape(), value.shape()];
            crate::fail(Error::Shape { op, shapes, rule: rule.into() });
        }
        Self {
            query: query.as_any().reshape([n, groups, heads / groups, q, d]),
            key: key.as_any().reshape([n, groups, 1, k, d]),
            value: value.as_any().reshape([n, groups, 1, k, e]),
            queries: q,
            keys: k,
            heads,
        }
    }

    /// `[n, heads, q, k]`
    #[track_caller]
    fn scores(&self, scale: Option<f64>) -> AnyTensor {
        let [n, _, _, q, d] = self.query.shape().dims();
        let scale = scale.unwrap_or(1.0 / (d as f64).sqrt());
        // The smaller operand is scaled, which also keeps half types from overflowing.
        let scores = self.query.mul_scalar(scale).matmul(&self.key.transpose());
        scores.reshape([n, self.heads, q, self.keys])
    }

    /// The means of the values, `[n, heads, q, e]`.
    #[track_caller]
    fn mix(&self, weights: &AnyTensor) -> AnyTensor {
        let [n, groups, each, q, _] = self.query.shape().dims();
        let e = self.value.shape()[4];
        let weights = weights.reshape([n, groups, each, q, self.keys]);
        weights.matmul(&self.value).reshape([n, self.heads, q, e])
    }
}

/// Minus infinity where `mask` is true.
#[track_caller]
fn hide(scores: &AnyTensor, mask: &AnyTensor) -> AnyTensor {
    fill(scores, mask, f64::NEG_INFINITY)
}

#[track_caller]
fn fill(x: &AnyTensor, mask: &AnyTensor, value: f64) -> AnyTensor {
    AnyTensor::full(Meta::new([], x.dtype()), value, x.device()).select_where(mask, x)
}

/// `[q, k]`: whether the key comes more than `ahead` after the query.
fn later(scores: &AnyTensor, ahead: i64) -> AnyTensor {
    let count = |start: i64, len: usize| {
        let (start, step) = (Scalar::Int(start), Scalar::Int(1));
        AnyTensor::create(Arange { start, step, len, dtype: DType::I64 }, scores.device())
    };
    let [_, _, q, k] = scores.shape().dims();
    let (rows, columns) = (count(ahead, q).reshape([q, 1]), count(0, k).reshape([1, k]));
    columns.binary(BinaryKind::Greater, &rows)
}

/// Softmax over the keys; zeros where none is seen.
#[track_caller]
fn weights(scores: &AnyTensor) -> AnyTensor {
    if scores.num_elements() == 0 {
        return scores.clone();
    }
    let blind = scores.detach().max_axis(3).equal_scalar(f64::NEG_INFINITY);
    fill(&fill(scores, &blind, 0.0).softmax(3), &blind, 0.0)
}
