//! Whole transformers against PyTorch, and generation against the pass over a whole sequence.
//! `fixtures/transformer.py` says how the numbers were made.

// `#[derive(Module)]` names the traits by their path in the facade.
extern crate kiln_nn as kiln;

mod fixture;

use std::sync::LazyLock;

use fixture::{Fixture, close, random};
use kiln_autograd::Backward;
use kiln_nn::{
    CrossEntropyLoss, Embedding, EmbeddingConfig, FeedForwardActivation, LearnedPositionalEncoding,
    LearnedPositionalEncodingConfig, Module, TransformerConfig, TransformerDecoderConfig,
    TransformerDecoderInput, TransformerEncoder, TransformerEncoderAutoregressiveCache,
    TransformerEncoderConfig, TransformerEncoderInput, TransformerMasks,
    generate_autoregressive_mask,
};
use kiln_tensor::{Bool, Device, Float, Int, Tensor, guard, module};

static FIXTURE: LazyLock<Fixture> = LazyLock::new(|| Fixture::open("transformer.safetensors"));

fn cpu() -> Device {
    Device::cpu()
}

fn encoder_config(pre: bool) -> TransformerEncoderConfig {
    let config = TransformerEncoderConfig::new(8, 12, 2, 2).with_dropout(0.0);
    let gelu = FeedForwardActivation::Gelu;
    if pre {
        config.with_norm_first(true).with_activation(gelu).with_final_norm(true)
    } else {
        config
    }
}

fn decoder_config(pre: bool) -> TransformerDecoderConfig {
    let config = TransformerDecoderConfig::new(8, 12, 2, 2).with_dropout(0.0);
    let gelu = FeedForwardActivation::Gelu;
    if pre {
        config.with_norm_first(true).with_activation(gelu).with_final_norm(true)
    } else {
        config
    }
}

#[test]
fn encoders_with_a_padding_mask() {
    let pad: Tensor<2, Bool> = FIXTURE.tensor("pad");
    for (case, pre) in [("encoder.post", false), ("encoder.pre", true)] {
        let mut model = encoder_config(pre).init(&cpu());
        FIXTURE.check(case, &mut model, ["x"], |model, [x]| {
            model.forward(TransformerEncoderInput::new(x).mask_pad(&pad))
        });
    }
}

#[test]
fn decoders_with_attention_to_a_memory() {
    let pad: Tensor<2, Bool> = FIXTURE.tensor("memory_pad");
    for (case, pre) in [("decoder.post", false), ("decoder.pre", true)] {
        let mut model = decoder_config(pre).init(&cpu());
        FIXTURE.check(case, &mut model, ["x", "memory"], |model, [x, memory]| {
            let input = TransformerDecoderInput::new(x, memory).memory_mask_pad(&pad);
            model.forward(input.causal())
        });
    }
}

#[test]
fn encoder_and_decoder_together() {
    let config = TransformerConfig::new().with_d_model(8).with_n_heads(2).with_d_ff(12);
    let config = config.with_n_encoder_layers(1).with_n_decoder_layers(1).with_dropout(0.0);
    let mut masks = TransformerMasks::default();
    masks.source.pad = Some(FIXTURE.tensor("memory_pad"));
    masks.target.causal = true;
    let mut model = config.init(&cpu());
    FIXTURE.check("transformer", &mut model, ["source", "target"], |model, [source, target]| {
        model.forward(source, target, &masks)
    });
}

/// GPT-2's shape, with the parts of Kiln and the names of the fixture.
#[derive(Module)]
struct Gpt {
    wte: Embedding,
    wpe: LearnedPositionalEncoding,
    blocks: TransformerEncoder,
}

impl Gpt {
    fn new() -> Self {
        Self {
            wte: EmbeddingConfig::new(11, 16).init(&cpu()),
            wpe: LearnedPositionalEncodingConfig::new(8, 16).init(&cpu()),
            blocks: TransformerEncoderConfig::new(16, 64, 2, 2)
                .with_dropout(0.0)
                .with_norm_first(true)
                .with_activation(FeedForwardActivation::Gelu)
                .with_final_norm(true)
                .init(&cpu()),
        }
    }

    /// The head is the embedding.
    fn head(&self, x: &Tensor<3>) -> Tensor<3> {
        module::linear_activation(x, &self.wte.weight, None, None)
    }

    fn forward(&self, tokens: &Tensor<2, Int>) -> Tensor<3> {
        let x = self.wpe.forward(&self.wte.forward::<2, 3>(tokens));
        self.head(&self.blocks.forward(TransformerEncoderInput::new(&x).causal()))
    }

    fn next(
        &self,
        tokens: &Tensor<2, Int>,
        cache: &mut TransformerEncoderAutoregressiveCache,
    ) -> Tensor<3> {
        let x = self.wpe.forward_from(&self.wte.forward::<2, 3>(tokens), cache.len());
        self.head(&self.blocks.forward_next(TransformerEncoderInput::new(&x), cache))
    }
}

#[test]
fn gpt_forward_loss_and_all_gradients() {
    let mut model = Gpt::new();
    FIXTURE.load("gpt", &mut model);
    let (tokens, targets): (Tensor<2, Int>, Tensor<2, Int>) =
        (FIXTURE.tensor("gpt.tokens"), FIXTURE.tensor("gpt.targets"));
    let logits = model.forward(&tokens);
    FIXTURE.same("gpt.logits", logits.as_any());
    let loss = CrossEntropyLoss::new().forward(&logits.reshape([12, 11]), &targets.reshape([12]));
    FIXTURE.same("gpt.y", loss.as_any());
    let grads = Backward::new().seed(FIXTURE.tensor::<1, Float>("gpt.dy")).run(&loss);
    let params = model.named_params();
    assert_eq!(grads.len(), params.len());
    for (path, param) in params {
        FIXTURE.same(&format!("gpt.grad.{path}"), grads.get(&param).unwrap());
    }
}

#[test]
fn gpt_step_by_step_logits_are_those_of_the_full_forward() {
    let mut model = Gpt::new();
    FIXTURE.load("gpt", &mut model);
    let tokens: Tensor<2, Int> = FIXTURE.tensor("gpt.tokens");
    let mut cache = model.blocks.new_autoregressive_cache_with_capacity(8);
    for (start, len) in [(0, 3), (3, 1), (4, 1), (5, 1)] {
        let logits = model.next(&tokens.narrow(1, start, len), &mut cache);
        close(&logits, &model.forward(&tokens).narrow(1, start, len));
    }
    // Back to the third token, and on from there once more.
    cache.crop(3);
    let logits = model.next(&tokens.narrow(1, 3, 2), &mut cache);
    close(&logits, &model.forward(&tokens).narrow(1, 3, 2));
    assert_eq!(cache.len(), 5);
}

#[test]
fn encoder_inference_in_the_form_of_burn() {
    for pre in [false, true] {
        let model = encoder_config(pre).init(&cpu());
        let x = random([3, 4, 8]);
        let mask = |t| generate_autoregressive_mask(3, t, &cpu());
        let whole = model.forward(TransformerEncoderInput::new(&x).mask_attn(mask(4)));
        let mut cache = model.new_autoregressive_cache();
        for t in 1..=4 {
            let input = TransformerEncoderInput::new(x.narrow(1, 0, t)).mask_attn(mask(t));
            let y = model.forward_autoregressive_inference(input, &mut cache);
            close(&y, &whole.narrow(1, 0, t));
        }
        let again = TransformerEncoderInput::new(&x);
        let error = guard(|| model.forward_autoregressive_inference(again, &mut cache));
        let error = error.unwrap_err().to_string();
        assert!(error.contains("more than the 4 tokens that the cache holds, found 4"), "{error}");
    }
}

#[test]
fn decoder_inference_in_the_form_of_burn() {
    for pre in [false, true] {
        let model = decoder_config(pre).init(&cpu());
        let (x, memory) = (random([3, 4, 8]), random([3, 5, 8]));
        let pad = Tensor::<2, Bool>::from([[false, false, false, true, true]; 3]);
        let input = |t| {
            let mask = generate_autoregressive_mask(3, t, &cpu());
            let input = TransformerDecoderInput::new(x.narrow(1, 0, t), &memory);
            input.target_mask_attn(mask).memory_mask_pad(&pad)
        };
        let whole = model.forward(input(4));
        let mut cache = model.new_autoregressive_cache();
        for t in 1..=4 {
            let y = model.forward_autoregressive_inference(input(t), &mut cache);
            close(&y, &whole.narrow(1, 0, t));
        }
        assert_eq!(cache.len(), 4);
    }
}

#[test]
fn dropout_is_idle_in_evaluation() {
    let mut model = encoder_config(true).with_dropout(0.3).init(&cpu());
    let x = random([2, 4, 8]);
    let run =
        |model: &TransformerEncoder| model.forward(TransformerEncoderInput::new(&x)).to_data();
    assert_ne!(run(&model), run(&model));
    model.eval();
    assert_eq!(run(&model), run(&model));
}
