//! Low-rank changes of linear layers.

extern crate kiln_nn as kiln;

mod fixture;

use fixture::{close, random};
use kiln_autograd::Autograd;
use kiln_nn::{Linear, LinearConfig, LoraConfig, LoraLinear, Module, Sequential, merge_lora};
use kiln_tensor::op::Activation;
use kiln_tensor::{Device, Tensor, guard};

fn changed() -> LoraLinear {
    let base = LinearConfig::new(6, 5).init(&Device::cpu());
    let mut layer = LoraConfig::new(2).with_alpha(3.0).init(base, &Device::cpu());
    layer.lora_B.weight = random([5, 2]).into();
    layer
}

#[test]
fn a_new_change_changes_nothing() {
    let base = LinearConfig::new(6, 5).init(&Device::cpu());
    let x = random([4, 6]);
    let expected = base.forward(&x);
    let layer = LoraConfig::new(3).init(base, &Device::cpu());
    assert_eq!(layer.forward(&x).to_data(), expected.to_data());
}

#[test]
fn the_change_is_the_product_of_the_paper() {
    let layer = changed();
    let x = random([4, 6]);
    let delta = layer.lora_B.weight.matmul(&*layer.lora_A.weight) * (3.0 / 2.0);
    let expected = layer.base_layer.forward(&x) + x.matmul(delta.transpose());
    close(&layer.forward(&x), &expected);
    let model = Sequential::new().add(layer);
    close(&model.forward::<2, 2, _>(&x), &expected);
}

#[test]
fn only_the_change_is_trained() {
    let layer = changed();
    let grads = layer.forward(&random([4, 6])).sum().backward();
    assert!(layer.base_layer.weight.grad(&grads).is_none());
    assert!(layer.lora_A.weight.grad(&grads).is_some());
    assert!(layer.lora_B.weight.grad(&grads).is_some());
    assert_eq!(grads.len(), 2);
}

#[test]
fn merging_keeps_the_results_and_unmerging_the_weight() {
    let mut layer = changed();
    let x: Tensor<2> = random([4, 6]);
    let (expected, weight) = (layer.forward(&x), layer.base_layer.weight.clone());
    layer.merge();
    layer.merge();
    assert!(layer.is_merged());
    close(&layer.forward(&x), &expected);
    let grads = layer.forward(&x.clone().require_grad()).sum().backward();
    assert!(layer.base_layer.weight.grad(&grads).is_none());
    layer.unmerge();
    close(&layer.base_layer.weight, &weight);
    close(&layer.into_linear().forward(&x), &expected);
}

#[test]
fn dropout_is_for_the_change_alone() {
    let base = LinearConfig::new(6, 5).init(&Device::cpu());
    let mut layer = LoraConfig::new(2).with_dropout(0.5).init(base, &Device::cpu());
    layer.lora_B.weight = random([5, 2]).into();
    let x = random([4, 6]);
    assert_ne!(layer.forward(&x).to_data(), layer.forward(&x).to_data());
    layer.eval();
    assert_eq!(layer.forward(&x).to_data(), layer.forward(&x).to_data());
}

#[test]
fn a_rank_of_zero_is_an_error() {
    let base = LinearConfig::new(6, 5).init(&Device::cpu());
    let error = guard(|| LoraConfig::new(0).init(base, &Device::cpu())).unwrap_err();
    assert_eq!(error.to_string(), "lora: the rank must be at least 1");
}

/// Two blocks of two layers.
#[derive(Module, Clone)]
struct Model {
    blocks: Vec<Block>,
    head: Linear,
}

#[derive(Module, Clone)]
struct Block {
    query: Linear,
    value: Linear,
}

impl Model {
    fn new() -> Self {
        let linear = || LinearConfig::new(6, 6).init(&Device::cpu());
        let block = || Block { query: linear(), value: linear() };
        Self { blocks: vec![block(), block()], head: linear() }
    }

    fn forward(&self, x: &Tensor<2>) -> Tensor<2> {
        let x = self.blocks.iter().fold(x.clone(), |x, block| {
            let gate = block.query.forward_activation(&x, Activation::Sigmoid);
            block.value.forward(&x) * gate
        });
        self.head.forward(&x)
    }
}

fn randomize(model: &mut Model) {
    for block in &mut model.blocks {
        block.query.lora.as_mut().unwrap().lora_B.weight = random([6, 2]).into();
    }
}

#[test]
fn a_pattern_chooses_the_layers_of_a_model_that_are_changed() {
    let (mut model, x) = (Model::new(), random([4, 6]));
    let before = model.forward(&x);
    assert_eq!(LoraConfig::new(2).apply(&mut model, "blocks.*.query").unwrap(), 2);
    close(&model.forward(&x), &before); // changes start as none
    randomize(&mut model);
    let changed = model.forward(&x);
    assert_ne!(changed.to_data(), before.to_data());
    let grads = changed.sum().backward();
    let trained: Vec<String> = model
        .named_params()
        .into_iter()
        .filter_map(|(path, tensor)| grads.get(&tensor).map(|_| path))
        .collect();
    let expected = [0, 1].map(|i| ["A", "B"].map(|m| format!("blocks.{i}.query.lora_{m}.weight")));
    assert_eq!(trained, expected.concat());

    // The same numbers as those of the layer that stands in the place of one.
    let mut alone = LoraConfig::new(2).init(model.blocks[0].query.clone(), &Device::cpu());
    let lora = alone.base_layer.lora.take().unwrap();
    alone.lora_A = lora.lora_A;
    alone.lora_B = lora.lora_B;
    close(&alone.forward(&x), &model.blocks[0].query.forward(&x));

    assert_eq!(merge_lora(&mut model), 2);
    close(&model.forward(&x), &changed);
    assert_eq!(model.named_params().len(), 10, "the changes are gone");
    assert_eq!(merge_lora(&mut model), 0);
}

#[test]
fn a_second_pattern_adds_changes_and_leaves_the_first_ones_trained() {
    let mut model = Model::new();
    let config = LoraConfig::new(2);
    config.apply(&mut model, "blocks.0.query").unwrap();
    config.apply(&mut model, "**.value").unwrap();
    assert_eq!(model.num_trainable_params(), 3 * 2 * (2 * 6));
    let state = model.state_dict();
    let mut other = Model::new();
    config.apply(&mut other, "blocks.0.query").unwrap();
    config.apply(&mut other, "**.value").unwrap();
    assert!(other.load_state_dict(&state).is_complete());
    assert_eq!(model.unfreeze("head.*").unwrap(), 2);
}

#[test]
fn a_pattern_that_fits_no_layer_or_a_changed_one_is_an_error() {
    let mut model = Model::new();
    let config = LoraConfig::new(2);
    let error = config.apply(&mut model, "layers.*").unwrap_err().to_string();
    let expected = "lora: `layers.*` matches none of 5 linear layers (blocks.0.query, \
                    blocks.0.value, blocks.1.query, ..)";
    assert_eq!(error, expected);
    assert_eq!(model.num_trainable_params(), model.num_params(), "nothing is frozen");
    config.apply(&mut model, "head").unwrap();
    let error = config.apply(&mut model, "**").unwrap_err().to_string();
    assert_eq!(error, "lora: head has a change already");
    assert!(LoraConfig::new(0).apply(&mut model, "**.query").is_err());
}
