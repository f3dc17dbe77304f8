//! What a query may see.

use kiln_tensor::{Bool, Device, Error, Int, Shape, Tensor, TensorData, fail};

use crate::Config;

/// What the queries of an attention layer do not see, and what is added to their scores. A query
/// that sees nothing at all mixes nothing: its result is zero before the output projection.
#[derive(Clone, Debug, Default)]
pub struct AttentionMasks {
    /// `[n, k]`, true for a key that no query sees: `key_padding_mask` in PyTorch.
    pub pad: Option<Tensor<2, Bool>>,
    /// `[n or 1, q, k]`, true where a query does not see a key: a bool `attn_mask` in PyTorch.
    pub attn: Option<Tensor<3, Bool>>,
    /// `[n or 1, heads or 1, q or 1, k]`, added to the scores: a float `attn_mask` in PyTorch.
    pub bias: Option<Tensor<4>>,
    /// Whether a query sees only the keys up to its own position; the last query sees all.
    pub causal: bool,
}

impl AttentionMasks {
    /// Everything that `pad` and `attn` hide, `[n or 1, 1, q or 1, k]`.
    #[track_caller]
    pub(super) fn hidden(&self, n: usize, queries: usize, keys: usize) -> Option<Tensor<4, Bool>> {
        let pad = self.pad.as_ref().map(|mask| {
            let fits = mask.dims() == [n, keys];
            require(fits, "mask_pad", mask.shape(), [n, keys].into());
            mask.reshape([n, 1, 1, keys])
        });
        let attn = self.attn.as_ref().map(|mask| {
            let batch = mask.dims()[0];
            let fits = (batch == n || batch == 1) && mask.dims()[1..] == [queries, keys];
            require(fits, "mask_attn", mask.shape(), [n, queries, keys].into());
            mask.reshape([batch, 1, queries, keys])
        });
        match (pad, attn) {
            (Some(pad), Some(attn)) => Some(pad.bool_or(attn)),
            (pad, attn) => pad.or(attn),
        }
    }
}

#[track_caller]
fn require(fits: bool, op: &'static str, found: Shape, expected: Shape) {
    if !fits {
        let rule = format!("expected {expected}, batch, queries and keys as far as it has them");
        fail(Error::Shape { op, shapes: vec![found], rule });
    }
}

/// `[batch_size, seq_length, seq_length]`, true where the key comes after the query. Attention
/// with [`AttentionMasks::causal`] needs no such mask, and is faster.
#[track_caller]
pub fn generate_autoregressive_mask(
    batch_size: usize,
    seq_length: usize,
    device: &Device,
) -> Tensor<3, Bool> {
    Tensor::tril_mask([batch_size, seq_length, seq_length], 0, device)
}

/// What [`generate_padding_mask`] gives.
#[derive(Clone, Debug)]
pub struct GeneratePaddingMask {
    /// The tokens, `[n, length]`, filled up with the padding.
    pub tensor: Tensor<2, Int>,
    /// `[n, length]`, true where a token is padding.
    pub mask: Tensor<2, Bool>,
}

/// How long the sequences of a batch become.
#[derive(Config, Copy, Debug, PartialEq, Eq)]
pub enum SeqLengthOption {
    /// As the longest one.
    NoMax,
    /// As the longest one, but cut at this length.
    Max(usize),
    /// This length, cut or padded.
    Fixed(usize),
}

impl From<Option<usize>> for SeqLengthOption {
    fn from(max: Option<usize>) -> Self {
        max.map_or(SeqLengthOption::NoMax, SeqLengthOption::Max)
    }
}

/// Sequences of tokens as one tensor, with the mask that hides their padding.
///
/// ```
/// use kiln_nn::generate_padding_mask;
/// use kiln_tensor::Device;
/// let batch = generate_padding_mask(0, vec![vec![5, 6, 7], vec![8]], None, &Device::cpu());
/// assert_eq!(batch.tensor.into_data().to_vec::<i64>()?, [5, 6, 7, 8, 0, 0]);
/// assert_eq!(batch.mask.into_data().to_vec::<bool>()?, [false, false, false, false, true, true]);
/// # Ok::<(), kiln_tensor::Error>(())
/// ```
#[track_caller]
pub fn generate_padding_mask(
    pad_token: usize,
    tokens_list: Vec<Vec<usize>>,
    seq_length: impl Into<SeqLengthOption>,
    device: &Device,
) -> GeneratePaddingMask {
    let longest = tokens_list.iter().map(Vec::len).max().unwrap_or(1);
    let length = match seq_length.into() {
        SeqLengthOption::NoMax => longest,
        SeqLengthOption::Max(max) => longest.min(max),
        SeqLengthOption::Fixed(length) => length,
    };
    let mut padded = Vec::with_capacity(tokens_list.len() * length);
    for tokens in &tokens_list {
        let row = tokens.iter().copied().chain(std::iter::repeat(pad_token));
        padded.extend(row.take(length).map(|token| token as i64));
    }
    let tensor = Tensor::from_data(TensorData::new(padded, [tokens_list.len(), length]), device);
    GeneratePaddingMask { mask: tensor.equal_elem(pad_token as i64), tensor }
}
