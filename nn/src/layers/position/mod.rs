//! How a model knows where a token stands.

mod alibi;
mod encoding;
mod rotary;

pub use alibi::{alibi_bias, alibi_slopes};
pub use encoding::{
    LearnedPositionalEncoding, LearnedPositionalEncodingConfig, PositionalEncoding,
    PositionalEncodingConfig, generate_sinusoids,
};
pub use rotary::{RotaryEncoding, RotaryEncodingConfig, RotaryLayout};
