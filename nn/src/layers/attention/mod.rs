//! Attention layers, what they may not see, and what they remember while they generate.

mod cache;
mod dot;
mod grouped;
mod mask;
mod multi_head;

pub use cache::KvCache;
pub use grouped::{GroupedQueryAttention, GroupedQueryAttentionConfig};
pub use mask::{
    AttentionMasks, GeneratePaddingMask, SeqLengthOption, generate_autoregressive_mask,
    generate_padding_mask,
};
pub use multi_head::{MhaInput, MhaOutput, MultiHeadAttention, MultiHeadAttentionConfig};
