//! Positions against PyTorch and the papers.

mod fixture;

use std::sync::LazyLock;

use fixture::{Fixture, close, random};
use kiln_nn::{
    Flatten, LearnedPositionalEncodingConfig, Module, PositionalEncodingConfig,
    RotaryEncodingConfig, RotaryLayout, alibi_bias, alibi_slopes, generate_sinusoids,
};
use kiln_tensor::{Device, Tensor, guard};

static FIXTURE: LazyLock<Fixture> = LazyLock::new(|| Fixture::open("attention.safetensors"));

fn cpu() -> Device {
    Device::cpu()
}

#[test]
fn rotations_of_both_layouts() {
    let config = RotaryEncodingConfig::new(16, 8);
    let half = config.clone().with_layout(RotaryLayout::HalfSplit);
    let later = half.clone().with_theta(500.0);
    // It has no parameters; any module without them stands for it.
    for (case, config, start) in
        [("rotary.neighbours", config, 0), ("rotary.halves", half, 0), ("rotary.later", later, 7)]
    {
        let rotary = config.init(&cpu());
        assert!(rotary.state_dict().is_empty());
        FIXTURE.check(case, &mut Flatten, ["x"], |_, [x]: &[Tensor<4>; 1]| rotary.apply(x, start));
    }
}

#[test]
fn a_rotated_product_depends_on_the_distance_alone() {
    let rotary = RotaryEncodingConfig::new(32, 6).init(&cpu());
    let (q, k) = (random([1, 6]), random([1, 6]));
    let product = |i, j| rotary.apply(&q, i).mul(rotary.apply(&k, j)).sum();
    close(&product(3, 1), &product(20, 18));
}

#[test]
fn scaled_frequencies_turn_slower() {
    let config = RotaryEncodingConfig::new(32, 6);
    let slow = config.init_with_frequency_scaling(|frequencies| frequencies / 4.0, &cpu());
    let x = random([1, 6]);
    close(&slow.apply(&x, 12), &config.init(&cpu()).apply(&x, 3));
}

#[test]
fn sinusoids_of_the_paper() {
    FIXTURE.same("sinusoids", generate_sinusoids(12, 6, 10_000, &cpu()).as_any());
    let layer = PositionalEncodingConfig::new(6).with_max_sequence_size(12).init(&cpu());
    assert!(layer.state_dict().is_empty());
    let x = random([2, 12, 6]);
    let whole = layer.forward(&x);
    close(&layer.forward_from(&x.narrow(1, 5, 3), 5), &whole.narrow(1, 5, 3));
}

#[test]
fn learned_positions_are_added_and_trained() {
    let layer = LearnedPositionalEncodingConfig::new(4, 3).init(&cpu());
    let x = Tensor::<3>::zeros([2, 2, 3], &cpu());
    close(&layer.forward_from(&x, 1).narrow(0, 1, 1).squeeze_dim(0), &layer.weight.narrow(0, 1, 2));
    let sum = layer.forward(&x).sum();
    let grad = kiln_autograd::Autograd::backward(&sum);
    let grad = kiln_autograd::Autograd::grad(&*layer.weight, &grad).unwrap();
    let rows = grad.sum_dim(1).to_data().to_vec::<f32>().unwrap();
    assert_eq!(rows, [6.0, 6.0, 0.0, 0.0]);
}

#[test]
fn alibi_slopes_of_the_paper() {
    assert_eq!(alibi_slopes(8), [1, 2, 3, 4, 5, 6, 7, 8].map(|power| 0.5f64.powi(power)));
    let odd = alibi_slopes(6);
    assert_eq!(odd[..4], [0.25, 0.0625, 0.015625, 0.00390625]);
    assert_eq!(odd[4..], [0.5, 0.125]);
    let bias = alibi_bias(2, 2, 3, &cpu());
    let steep = bias.narrow(1, 0, 1).to_data().to_vec::<f32>().unwrap();
    let slope = -(0.5f32.powi(4));
    assert_eq!(steep, [slope, -0.0, slope, 2.0 * slope, slope, -0.0]);
}

#[test]
fn too_many_tokens_and_odd_features_are_named() {
    let rotary = RotaryEncodingConfig::new(4, 2).init(&cpu());
    let error = guard(|| rotary.apply(random([3, 2]), 2)).unwrap_err().to_string();
    let expected = "rotary_encoding: shapes [3, 2] do not fit: expected [.., t, 2] with at most 4 \
                    tokens from 2 on";
    assert_eq!(error, expected);
    let error = guard(|| RotaryEncodingConfig::new(4, 3).init(&cpu())).unwrap_err().to_string();
    assert!(error.contains("even d_model"), "{error}");
    let layer = LearnedPositionalEncodingConfig::new(4, 2).init(&cpu());
    let error = guard(|| layer.forward(&random([1, 5, 2]))).unwrap_err().to_string();
    assert!(error.contains("with at most 4 tokens from 0 on"), "{error}");
    let error = guard(|| generate_sinusoids(2, 3, 10, &cpu())).unwrap_err().to_string();
    assert!(error.contains("even number of features, found 3"), "{error}");
}
