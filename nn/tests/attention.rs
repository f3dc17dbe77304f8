//! Attention layers against PyTorch, their masks, and the cache against the pass over a whole
//! sequence. `fixtures/transformer.py` says how the numbers were made.

mod fixture;

use std::sync::LazyLock;

use fixture::{Fixture, close, random};
use kiln_autograd::Autograd;
use kiln_nn::{
    AttentionMasks, GroupedQueryAttentionConfig, KvCache, MhaInput, Module, MultiHeadAttention,
    MultiHeadAttentionConfig, RotaryEncodingConfig, RotaryLayout, SeqLengthOption,
    SwiGluFeedForwardConfig, generate_autoregressive_mask, generate_padding_mask,
};
use kiln_tensor::{Bool, Device, Tensor, guard};

static FIXTURE: LazyLock<Fixture> = LazyLock::new(|| Fixture::open("attention.safetensors"));

fn cpu() -> Device {
    Device::cpu()
}

fn pad() -> Tensor<2, Bool> {
    let seen = [false, false, false, false, false];
    Tensor::from([seen, [false, false, false, true, true]])
}

/// Checks self-attention with the masks that `masked` sets, with and without stored weights.
#[track_caller]
fn check_self(case: &str, masked: impl Fn(MhaInput) -> MhaInput) {
    let mut layer = MultiHeadAttentionConfig::new(12, 3).init(&cpu());
    FIXTURE.check(case, &mut layer, ["x"], |layer, [x]| {
        layer.forward(masked(MhaInput::self_attn(x))).context
    });
    FIXTURE.check(case, &mut layer, ["x"], |layer, [x]| {
        layer.forward(masked(MhaInput::self_attn(x)).need_weights()).context
    });
}

#[test]
fn self_attention_as_in_pytorch() {
    check_self("mha", |input| input);
}

#[test]
fn self_attention_with_a_padding_mask() {
    check_self("mha.pad", |input| input.mask_pad(pad()));
}

#[test]
fn self_attention_with_a_bool_mask_and_padding() {
    let hidden: Tensor<2, Bool> = FIXTURE.tensor("mha.hidden");
    check_self("mha.mask", |input| input.mask_attn(hidden.unsqueeze::<3>()).mask_pad(pad()));
}

#[test]
fn self_attention_with_a_bias_for_each_head() {
    let bias: Tensor<4> = FIXTURE.tensor("mha.bias");
    check_self("mha.added", |input| input.attn_bias(&bias));
}

#[test]
fn causal_attention_by_flag_and_by_mask() {
    check_self("mha.causal", MhaInput::causal);
    let mask = generate_autoregressive_mask(2, 5, &cpu());
    check_self("mha.causal", |input| input.mask_attn(&mask));
}

#[test]
fn attention_without_biases() {
    let mut layer = MultiHeadAttentionConfig::new(8, 2).with_bias(false).init(&cpu());
    FIXTURE.check("mha.plain", &mut layer, ["x"], |layer, [x]| {
        layer.forward(MhaInput::self_attn(x)).context
    });
}

#[test]
fn attention_to_a_memory_in_two_products_and_in_three() {
    let mut layer = MultiHeadAttentionConfig::new(12, 3).init(&cpu());
    let inputs = ["x", "memory"];
    FIXTURE.check("mha.cross", &mut layer, inputs, |layer, [x, memory]| {
        layer.forward(MhaInput::cross_attn(x, memory)).context
    });
    FIXTURE.check("mha.cross", &mut layer, inputs, |layer, [x, memory]| {
        layer.forward(MhaInput::new(x, memory, memory)).context
    });
}

#[test]
fn keys_and_values_of_other_features() {
    let config = MultiHeadAttentionConfig::new(12, 3).with_kdim(Some(8)).with_vdim(Some(10));
    let mut layer = config.init(&cpu());
    FIXTURE.check("mha.apart", &mut layer, ["x", "key", "value"], |layer, [x, key, value]| {
        layer.forward(MhaInput::new(x, key, value)).context
    });
}

#[test]
fn weights_of_each_head_and_their_mean() {
    let mut layer = MultiHeadAttentionConfig::new(12, 3).init(&cpu());
    FIXTURE.load("mha", &mut layer);
    let input = MhaInput::self_attn(FIXTURE.tensor::<3, _>("mha.x"));
    assert!(layer.forward(input.clone()).weights.is_none());
    let output = layer.forward(input.need_weights());
    FIXTURE.same("mha.average", output.average_weights().unwrap().as_any());
    FIXTURE.same("mha.weights", output.weights.unwrap().as_any());
}

#[test]
fn a_token_that_sees_nothing_gives_the_bias_of_the_output() {
    let layer = MultiHeadAttentionConfig::new(8, 2).init(&cpu());
    let x = random([1, 3, 8]).require_grad();
    let all = Tensor::<2, Bool>::from([[true, true, true]]);
    for need_weights in [false, true] {
        let mut input = MhaInput::self_attn(&x).mask_pad(&all);
        if need_weights {
            input = input.need_weights();
        }
        let y = layer.forward(input).context;
        close(&y, &Tensor::zeros([1, 3, 8], &cpu()));
        let dx = x.grad(&y.sum().backward()).unwrap();
        assert!(!dx.contains_nan().into_scalar::<bool>());
    }
}

#[test]
fn dropout_drops_in_training_only() {
    let mut layer = MultiHeadAttentionConfig::new(8, 2).with_dropout(0.5).init(&cpu());
    let x = random([2, 6, 8]);
    let run = |layer: &MultiHeadAttention| layer.forward(MhaInput::self_attn(&x).causal()).context;
    let (a, b) = (run(&layer).to_data(), run(&layer).to_data());
    assert_ne!(a, b);
    // Weights are zero or doubled.
    let input = || MhaInput::self_attn(&x).causal().need_weights();
    let dropped = layer.forward(input()).weights.unwrap();
    layer.eval();
    let kept = layer.forward(input()).weights.unwrap();
    let zero = dropped.equal_elem(0.0);
    close(&dropped, &(&kept * 2.0).mask_fill(zero, 0.0));
    assert_eq!(run(&layer).to_data(), run(&layer).to_data());
}

/// With a dropout too small to drop anything, all masks take the other way through the operations.
#[test]
fn masks_act_alike_with_and_without_dropout() {
    let layer = MultiHeadAttentionConfig::new(8, 2).with_dropout(1e-12).init(&cpu());
    let mut plain = layer.clone();
    plain.eval();
    let (x, memory) = (random([2, 5, 8]), random([2, 7, 8]));
    let hidden =
        Tensor::<2, Bool>::from([[false; 7], [false, true, false, false, true, true, false]]);
    let bias = random([1, 2, 5, 7]);
    let masks = [
        AttentionMasks { causal: true, ..Default::default() },
        AttentionMasks { pad: Some(hidden.clone()), ..Default::default() },
        AttentionMasks { bias: Some(bias.clone()), causal: true, ..Default::default() },
        AttentionMasks { pad: Some(hidden), bias: Some(bias), causal: true, attn: None },
    ];
    for masks in &masks {
        let input = || MhaInput::cross_attn(&x, &memory).masks(masks);
        let expected = plain.forward(input()).context;
        close(&layer.forward(input()).context, &expected);
        close(&plain.forward(input().need_weights()).context, &expected);
    }
}

#[test]
fn grouped_queries_with_rotary_positions() {
    let mut layer = GroupedQueryAttentionConfig::new(16, 4, 2).init(&cpu());
    let config = RotaryEncodingConfig::new(8, 4).with_layout(RotaryLayout::HalfSplit);
    let rotary = config.init(&cpu());
    FIXTURE.check("grouped", &mut layer, ["x"], |layer, [x]| {
        layer.forward(MhaInput::self_attn(x).causal(), Some(&rotary)).context
    });
    FIXTURE.check("grouped", &mut layer, ["x"], |layer, [x]| {
        let output = layer.forward(MhaInput::self_attn(x).causal().need_weights(), Some(&rotary));
        assert_eq!(output.weights.unwrap().dims(), [2, 4, 5, 5]);
        output.context
    });
}

#[test]
fn grouped_queries_token_by_token() {
    let layer = GroupedQueryAttentionConfig::new(16, 4, 2).init(&cpu());
    let rotary = RotaryEncodingConfig::new(9, 4).init(&cpu());
    let x = random([2, 9, 16]);
    let whole = layer.forward(MhaInput::self_attn(&x).causal(), Some(&rotary)).context;
    let mut cache = KvCache::with_capacity(9);
    for (start, len) in [(0, 4), (4, 1), (5, 1), (6, 3)] {
        let next = MhaInput::self_attn(x.narrow(1, start, len));
        let y = layer.forward_next(next, Some(&rotary), &mut cache).context;
        close(&y, &whole.narrow(1, start, len));
    }
}

#[test]
fn attention_token_by_token_with_padding() {
    let layer = MultiHeadAttentionConfig::new(8, 2).init(&cpu());
    let x = random([2, 5, 8]);
    let whole = layer.forward(MhaInput::self_attn(&x).causal().mask_pad(pad())).context;
    let mut cache = KvCache::new();
    for t in 0..5 {
        let input = MhaInput::self_attn(x.narrow(1, t, 1)).mask_pad(pad().narrow(1, 0, t + 1));
        let y = layer.forward_next(input, &mut cache).context;
        close(&y, &whole.narrow(1, t, 1));
    }
}

#[test]
fn a_cache_grows_crops_and_clears() {
    let token = |value: f64| Tensor::<4>::full([1, 1, 1, 2], value, &cpu());
    let mut cache = KvCache::new();
    assert!(cache.is_empty() && cache.get().is_none());
    for i in 0..5 {
        cache.append(&token(f64::from(i)), &token(f64::from(-i)));
    }
    assert_eq!((cache.len(), cache.capacity()), (5, 8));
    let first = cache.get().unwrap().0;
    cache.crop(2);
    let (keys, values) = cache.append(&token(7.0), &token(8.0));
    assert_eq!(keys.to_data().to_vec::<f32>().unwrap(), [0.0, 0.0, 1.0, 1.0, 7.0, 7.0]);
    assert_eq!(values.narrow(2, 2, 1).to_data().to_vec::<f32>().unwrap(), [8.0, 8.0]);
    // What was handed out before keeps its values.
    assert_eq!(first.narrow(2, 2, 1).to_data().to_vec::<f32>().unwrap(), [2.0, 2.0]);
    cache.clear();
    // An empty one takes tokens of any shape.
    let other = Tensor::<4>::ones([3, 2, 1, 4], &cpu());
    assert_eq!(cache.append(&other, &other).0.dims(), [3, 2, 1, 4]);
    let error = guard(|| cache.append(&token(1.0), &token(1.0))).unwrap_err().to_string();
    assert!(error.contains("must be those of the cached tokens"), "{error}");
}

#[test]
fn gradients_flow_through_a_cache() {
    let layer = MultiHeadAttentionConfig::new(8, 2).init(&cpu());
    let x = random([1, 3, 8]).require_grad();
    let whole = layer.forward(MhaInput::self_attn(&x).causal()).context;
    let expected = x.grad(&whole.sum().backward()).unwrap();
    let mut cache = KvCache::new();
    let step = |t| {
        let input = MhaInput::self_attn(x.narrow(1, t, 1));
        layer.forward_next(input, &mut cache).context
    };
    let steps: Vec<_> = (0..3).map(step).collect();
    close(&x.grad(&Tensor::cat(steps, 1).sum().backward()).unwrap(), &expected);
}

#[test]
fn swiglu_as_in_llama() {
    let mut layer = SwiGluFeedForwardConfig::new(6, 10).init(&cpu());
    FIXTURE.check("swiglu", &mut layer, ["x"], |layer, [x]: &[Tensor<3>; 1]| layer.forward(x));
}

#[test]
fn padding_is_cut_or_filled_to_the_length_asked_for() {
    let batch = |length: SeqLengthOption| {
        let batch = generate_padding_mask(9, vec![vec![1, 2, 3], vec![4]], length, &cpu());
        (batch.tensor.to_data().to_vec::<i64>().unwrap(), batch.mask.dims())
    };
    assert_eq!(batch(SeqLengthOption::NoMax), (vec![1, 2, 3, 4, 9, 9], [2, 3]));
    assert_eq!(batch(SeqLengthOption::Max(2)), (vec![1, 2, 4, 9], [2, 2]));
    assert_eq!(batch(SeqLengthOption::Fixed(4)), (vec![1, 2, 3, 9, 4, 9, 9, 9], [2, 4]));
}

#[test]
fn wrong_masks_and_heads_are_named() {
    let layer = MultiHeadAttentionConfig::new(8, 2).init(&cpu());
    let x = random([2, 5, 8]);
    let short = Tensor::<2, Bool>::from([[false; 4]; 2]);
    let error = guard(|| layer.forward(MhaInput::self_attn(&x).mask_pad(&short))).unwrap_err();
    let expected = "mask_pad: shapes [2, 4] do not fit: expected [2, 5], batch, queries and keys as \
                    far as it has them";
    assert_eq!(error.to_string(), expected);
    let error = guard(|| MultiHeadAttentionConfig::new(8, 3).init(&cpu())).unwrap_err();
    assert_eq!(error.to_string(), "multi_head_attention: 8 does not divide into 3 heads");
    let error = guard(|| GroupedQueryAttentionConfig::new(8, 4, 3).init(&cpu())).unwrap_err();
    assert_eq!(error.to_string(), "grouped_query_attention: 4 heads do not divide into 3 groups");
    let layer = GroupedQueryAttentionConfig::new(8, 2, 1).init(&cpu());
    let input = MhaInput::cross_attn(&x, &x);
    let error = guard(|| layer.forward_next(input, None, &mut KvCache::new())).unwrap_err();
    assert!(error.to_string().contains("a cache is for self-attention"), "{error}");
}
