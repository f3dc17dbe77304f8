//! Low-rank changes of linear layers.

mod fixture;

use fixture::{close, random};
use kiln_autograd::Autograd;
use kiln_nn::{LinearConfig, LoraConfig, LoraLinear, Module, Sequential};
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
