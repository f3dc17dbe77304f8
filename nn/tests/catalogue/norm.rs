//! Normalisation, and weights that are computed.

use kiln_autograd::Autograd;
use kiln_nn::{
    BatchNorm1dConfig, BatchNorm2dConfig, BatchNorm3dConfig, Conv2dConfig, ConvTranspose1dConfig,
    GroupNormConfig, InstanceNorm1dConfig, InstanceNorm2dConfig, InstanceNorm3dConfig,
    LayerNormConfig, LinearConfig, LocalResponseNormConfig, Module, RmsNormConfig, Sequential,
    SpectralNormConfig, WeightNormConfig,
};
use kiln_tensor::{Tensor, Tolerance, guard};

use super::{cpu, layer, steps};

#[test]
fn batch_norm_over_two_steps_and_in_evaluation() {
    steps("batch_norm1d", BatchNorm1dConfig::new(4).init(&cpu()));
    steps("batch_norm1d.matrix", BatchNorm1dConfig::new(4).with_momentum(None).init(&cpu()));
    steps("batch_norm2d.plain", BatchNorm2dConfig::new(4).with_affine(false).init(&cpu()));
    let batch = BatchNorm2dConfig::new(4).with_track_running_stats(false);
    steps("batch_norm2d.batch", batch.init(&cpu()));
    let config = BatchNorm3dConfig::new(4).with_epsilon(1e-3).with_momentum(0.3);
    steps("batch_norm3d", config.init(&cpu()));
}

#[test]
fn group_norm() {
    layer("group_norm", GroupNormConfig::new(2, 4).init(&cpu()));
    let config = GroupNormConfig::new(4, 4).with_epsilon(1e-2).with_affine(false);
    layer("group_norm.plain", config.init(&cpu()));
    assert!(guard(|| GroupNormConfig::new(3, 4).init(&cpu())).is_err());
}

#[test]
fn instance_norm() {
    layer("instance_norm1d", InstanceNorm1dConfig::new(4).init(&cpu()));
    let config = InstanceNorm2dConfig::new(4).with_epsilon(1e-3).with_affine(true);
    layer("instance_norm2d", config.init(&cpu()));
    let tracked = InstanceNorm2dConfig::new(4).with_track_running_stats(true);
    steps("instance_norm2d.tracked", tracked.init(&cpu()));
    let config = InstanceNorm3dConfig::new(4).with_momentum(0.3).with_affine(true);
    steps("instance_norm3d", config.with_track_running_stats(true).init(&cpu()));
}

#[test]
fn norms_over_the_last_axes() {
    layer("layer_norm.no_bias", LayerNormConfig::new([6, 7]).with_bias(false).init(&cpu()));
    layer("rms_norm", RmsNormConfig::new(7).init(&cpu()));
    let config = RmsNormConfig::new(9).with_epsilon(1e-2).with_affine(false);
    layer("rms_norm.plain", config.init(&cpu()));
}

#[test]
fn local_response_norm() {
    let config = LocalResponseNormConfig::new(3).with_alpha(0.2).with_beta(0.6).with_k(1.5);
    layer("local_response_norm", config.init());
    layer("local_response_norm.even", LocalResponseNormConfig::new(2).with_alpha(0.5).init());
}

#[test]
fn weight_norm() {
    let linear = || LinearConfig::new(5, 3).init(&cpu());
    layer("weight_norm.linear", WeightNormConfig::new().init(linear()));
    let conv = Conv2dConfig::new([4, 3], [2, 2]).init(&cpu());
    layer("weight_norm.conv", WeightNormConfig::new().init(conv));
    let conv = ConvTranspose1dConfig::new([4, 3], 2).init(&cpu());
    layer("weight_norm.dim1", WeightNormConfig::new().with_dim(1).init(conv));
    layer("weight_norm.whole", WeightNormConfig::new().with_dim(None).init(linear()));
}

#[test]
fn a_wrapped_layer_starts_with_the_weight_that_it_had() {
    let linear = LinearConfig::new(5, 3).init(&cpu());
    let x = Tensor::<2>::ones([2, 5], &cpu());
    let norm = WeightNormConfig::new().init(linear.clone());
    let y: Tensor<2> = norm.forward(&x);
    let tolerance = Tolerance::<f32>::rel_abs(1e-5, 1e-5);
    y.into_data().assert_approx_eq(&linear.forward(&x).into_data(), tolerance);
    assert_eq!(norm.num_params(), 15 + 3 + 3);
    let clone = norm.clone();
    let y: Tensor<2> = clone.forward(&x);
    let grads = y.sum().backward();
    assert!(clone.named_params().iter().all(|(_, param)| grads.get(param).is_some()));
    assert!(norm.named_params().iter().all(|(_, param)| grads.get(param).is_none()));
}

#[test]
fn spectral_norm_over_two_steps_and_in_evaluation() {
    let linear = LinearConfig::new(5, 3).init(&cpu());
    steps("spectral_norm.linear", SpectralNormConfig::new().init(linear));
    let conv = ConvTranspose1dConfig::new([4, 3], 2).init(&cpu());
    let config = SpectralNormConfig::new().with_n_power_iterations(2).with_dim(1);
    steps("spectral_norm.conv", config.init(conv));
}

#[test]
fn a_spectral_norm_of_one_axis_is_the_length() {
    let config = SpectralNormConfig::new().with_name("bias".into());
    let norm = config.init(LinearConfig::new(2, 3).init(&cpu()));
    let bias = Tensor::<1>::from_any(norm.weight());
    assert!((bias.square().sum().into_scalar::<f32>() - 1.0).abs() < 1e-6);
    let names: Vec<_> = norm.state_dict().iter().map(|(path, _)| path.to_string()).collect();
    assert_eq!(names, ["weight", "parametrizations.bias.original"]);
}

#[test]
fn wrong_norms_are_refused() {
    let linear = || LinearConfig::new(5, 3).init(&cpu());
    let config = WeightNormConfig::new().with_name("wait".into());
    let error = guard(|| config.init(linear())).unwrap_err().to_string();
    assert_eq!(error, "weight_norm: the layer has no parameter \"wait\"");
    let config = WeightNormConfig::new().with_dim(2);
    let error = guard(|| config.init(linear())).unwrap_err().to_string();
    assert!(error.contains("axis 2 is out of range"), "{error}");
    let config = SpectralNormConfig::new().with_name("0.weight".into());
    let model = Sequential::new().add(linear()).add(BatchNorm1dConfig::new(3).init(&cpu()));
    let error = guard(|| config.init(model)).unwrap_err().to_string();
    assert_eq!(error, "spectral_norm: the layer must not have buffers");
    let x = Tensor::<3>::zeros([1, 3, 4], &cpu());
    for error in [
        guard(|| BatchNorm1dConfig::new(2).init(&cpu()).forward(&x)),
        guard(|| GroupNormConfig::new(2, 2).init(&cpu()).forward(&x)),
        guard(|| InstanceNorm1dConfig::new(2).init(&cpu()).forward(&x)),
    ] {
        let error = error.unwrap_err().to_string();
        assert!(error.contains("[1, 3, 4]") && error.contains("[n, 2, ..]"), "{error}");
    }
    let error = guard(|| RmsNormConfig::new(3).init(&cpu()).forward(&x)).unwrap_err().to_string();
    assert!(error.contains("expected [.., 3]"), "{error}");
}
