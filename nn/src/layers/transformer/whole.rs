//! Encoder and decoder together.

use kiln_tensor::{Device, Tensor};

use super::decoder::{TransformerDecoder, TransformerDecoderConfig, TransformerDecoderInput};
use super::encoder::{TransformerEncoder, TransformerEncoderConfig};
use super::feed_forward::FeedForwardActivation;
use crate::{AttentionMasks, Config, Initializer, Module};

/// What a [`Transformer`] is made of. All settings have PyTorch's defaults.
#[derive(Config, Debug)]
pub struct TransformerConfig {
    /// Features of a token.
    #[config(default = 512)]
    pub d_model: usize,
    /// Heads of attention.
    #[config(default = 8)]
    pub n_heads: usize,
    /// Blocks of the encoder.
    #[config(default = 6)]
    pub n_encoder_layers: usize,
    /// Blocks of the decoder.
    #[config(default = 6)]
    pub n_decoder_layers: usize,
    /// Features between the two linear layers of a block.
    #[config(default = 2048)]
    pub d_ff: usize,
    /// Probability of dropout.
    #[config(default = 0.1)]
    pub dropout: f64,
    /// After the first linear layer.
    #[config(default = FeedForwardActivation::Relu)]
    pub activation: FeedForwardActivation,
    /// Added to the variance in normalisation.
    #[config(default = 1e-5)]
    pub layer_norm_eps: f64,
    /// Whether each part of a block normalises what enters it, rather than what leaves it.
    #[config(default = false)]
    pub norm_first: bool,
}

impl TransformerConfig {
    /// Makes both halves. Panics if the features do not divide by the heads.
    #[track_caller]
    pub fn init(&self, device: &Device) -> Transformer {
        let Self { d_model, n_heads, d_ff, dropout, .. } = *self;
        let weights = Some(Initializer::XavierUniform { gain: 1.0 });
        let encoder = TransformerEncoderConfig::new(d_model, d_ff, n_heads, self.n_encoder_layers)
            .with_dropout(dropout)
            .with_activation(self.activation)
            .with_layer_norm_eps(self.layer_norm_eps)
            .with_norm_first(self.norm_first)
            .with_final_norm(true)
            .with_initializer(weights);
        let decoder = TransformerDecoderConfig::new(d_model, d_ff, n_heads, self.n_decoder_layers)
            .with_dropout(dropout)
            .with_activation(self.activation)
            .with_layer_norm_eps(self.layer_norm_eps)
            .with_norm_first(self.norm_first)
            .with_final_norm(true)
            .with_initializer(weights);
        Transformer { encoder: encoder.init(device), decoder: decoder.init(device) }
    }
}

/// `torch.nn.Transformer` with `batch_first=True`: both halves end with a normalisation, and all
/// weights start Xavier-uniform.
///
/// ```
/// use kiln_nn::{TransformerConfig, TransformerMasks};
/// use kiln_tensor::{Device, Tensor};
/// let config = TransformerConfig::new().with_d_model(8).with_n_heads(2).with_d_ff(16);
/// let model = config.with_n_encoder_layers(1).with_n_decoder_layers(1).init(&Device::cpu());
/// let (source, target) = (Tensor::ones([2, 5, 8], &Device::cpu()), Tensor::ones([2, 3, 8], &Device::cpu()));
/// let mut masks = TransformerMasks::default();
/// masks.target.causal = true;
/// assert_eq!(model.forward(&source, &target, &masks).dims(), [2, 3, 8]);
/// ```
#[derive(Clone, Debug, Module)]
pub struct Transformer {
    /// Of the source.
    pub encoder: TransformerEncoder,
    /// Of the target.
    pub decoder: TransformerDecoder,
}

/// The masks of a [`Transformer`].
#[derive(Clone, Debug, Default)]
pub struct TransformerMasks {
    /// Between tokens of the source: `src_mask`, `src_key_padding_mask`.
    pub source: AttentionMasks,
    /// Between tokens of the target: `tgt_mask`, `tgt_key_padding_mask`, `tgt_is_causal`.
    pub target: AttentionMasks,
    /// From the target to the encoded source: `memory_mask`, `memory_key_padding_mask`.
    pub memory: AttentionMasks,
}

impl Transformer {
    /// `source` `[n, s, d]`, `target` `[n, t, d]`. Result: `[n, t, d]`.
    #[track_caller]
    pub fn forward(
        &self,
        source: &Tensor<3>,
        target: &Tensor<3>,
        masks: &TransformerMasks,
    ) -> Tensor<3> {
        let memory = self.encoder.forward_masked(source, &masks.source);
        let input = TransformerDecoderInput::new(target, memory);
        self.decoder.forward(input.masks(&masks.target, &masks.memory))
    }
}
