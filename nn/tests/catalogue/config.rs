//! Configs in files.

use kiln_nn::*;

/// A config is read back from its text as it was; from a text without the defaults too.
fn read_back<C: Config>(config: C) {
    let text = config.to_text();
    let read = C::from_text(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
    assert_eq!(read.to_text(), text);
}

#[test]
fn every_config_is_read_back_as_it_was() {
    read_back(Conv1dConfig::new(1, 2, 3).with_padding(PaddingConfig1d::Same));
    read_back(Conv2dConfig::new([1, 2], [3, 4]).with_padding([1, 2]));
    read_back(Conv3dConfig::new([1, 2], [3, 4, 5]).with_padding_mode(PaddingMode::Constant(0.1)));
    read_back(ConvTranspose1dConfig::new([1, 2], 3));
    read_back(ConvTranspose2dConfig::new([1, 2], [3, 4]).with_padding_out([1, 0]));
    read_back(ConvTranspose3dConfig::new([1, 2], [3, 4, 5]));
    read_back(DeformConv2dConfig::new([1, 2], [3, 4]));
    read_back(MaxPool1dConfig::new(2).with_stride(3));
    read_back(MaxPool2dConfig::new([2, 3]));
    read_back(MaxPool3dConfig::new([2, 3, 4]));
    read_back(AvgPool1dConfig::new(2));
    read_back(AvgPool2dConfig::new([2, 3]).with_strides([1, 2]));
    read_back(AvgPool3dConfig::new([2, 3, 4]));
    read_back(AdaptiveAvgPool1dConfig::new(2));
    read_back(AdaptiveAvgPool2dConfig::new([2, 3]));
    read_back(AdaptiveAvgPool3dConfig::new([2, 3, 4]));
    read_back(AdaptiveMaxPool1dConfig::new(2));
    read_back(AdaptiveMaxPool2dConfig::new([2, 3]));
    read_back(AdaptiveMaxPool3dConfig::new([2, 3, 4]));
    read_back(LpPool1dConfig::new(2));
    read_back(LpPool2dConfig::new([2, 3]));
    read_back(MaxUnpool2dConfig::new([2, 3]));
    read_back(BatchNormConfig::new(2).with_momentum(None));
    read_back(GroupNormConfig::new(2, 4));
    read_back(InstanceNormConfig::new(2));
    read_back(LayerNormConfig::new(2));
    read_back(LayerNormConfig::new([2, 3]).with_bias(false));
    read_back(RmsNormConfig::new(2).with_epsilon(0.1));
    read_back(LocalResponseNormConfig::new(2));
    read_back(WeightNormConfig::new().with_dim(None));
    read_back(SpectralNormConfig::new());
    read_back(DropoutConfig::new(0.1));
    read_back(Dropout1dConfig::new(0.1));
    read_back(Dropout2dConfig::new(0.1));
    read_back(Dropout3dConfig::new(0.1));
    read_back(AlphaDropoutConfig::new(0.1));
    read_back(FeatureAlphaDropoutConfig::new(0.1));
    read_back(GaussianNoiseConfig::new(0.1));
    read_back(LinearConfig::new(2, 3));
    read_back(BilinearConfig::new(2, 3, 4));
    read_back(EmbeddingConfig::new(2, 3).with_padding_idx(1));
    read_back(EmbeddingBagConfig::new(2, 3).with_mode(EmbeddingBagMode::Max));
    read_back(LeakyReluConfig::new().with_negative_slope(1.0 / 3.0));
    read_back(PReluConfig::new());
    read_back(RReluConfig::new());
    read_back(EluConfig::new());
    read_back(CeluConfig::new());
    read_back(HardTanhConfig::new());
    read_back(HardSigmoidConfig::new());
    read_back(HardShrinkConfig::new());
    read_back(SoftShrinkConfig::new());
    read_back(ShrinkConfig::new());
    read_back(SoftplusConfig::new());
    read_back(ThresholdConfig::new(0.1, 0.2));
    read_back(ThresholdedReluConfig::new());
    read_back(SwiGluConfig::new(2, 3));
    read_back(GeGluConfig::new(2, 3));
    read_back(PadConfig::new([(1, 2), (3, 4)]).with_mode(PaddingMode::Circular));
    read_back(Interpolate1dConfig::new().with_output_size(3));
    read_back(Interpolate2dConfig::new().with_mode(InterpolateMode::Cubic));
    read_back(Interpolate3dConfig::new().with_scale_factor([0.5, 1.0, 2.0]));
    read_back(PixelShuffleConfig::new(2));
    read_back(PixelUnshuffleConfig::new(2));
    read_back(ChannelShuffleConfig::new(2));
    read_back(Unfold4dConfig::new([2, 3]));
    read_back(Fold4dConfig::new([4, 5], [2, 3]));
    read_back(CosineSimilarityConfig::new().with_dim(-1));
    read_back(PairwiseDistanceConfig::new());
}

#[test]
fn a_text_without_the_defaults_has_them() {
    let read = MaxPool2dConfig::from_text(r#"{"kernel_size": [2, 3]}"#).unwrap();
    assert_eq!(read.to_text(), MaxPool2dConfig::new([2, 3]).to_text());
    let read = LayerNormConfig::<1>::from_text(r#"{"shape": [7]}"#).unwrap();
    assert_eq!(read.to_text(), LayerNormConfig::new(7).to_text());
    let error = LayerNormConfig::<2>::from_text(r#"{"shape": [7]}"#).unwrap_err().to_string();
    assert!(error.contains("[7] has not 2 axes"), "{error}");
}

#[test]
fn numbers_stand_for_options_and_for_padding_on_both_sides() {
    let config = Conv2dConfig::new([1, 2], [3, 3]).with_padding([1, 2]);
    assert_eq!(config.padding, PaddingConfig2d::Explicit(1, 2, 1, 2));
    assert_eq!(BatchNormConfig::new(2).with_momentum(0.5).momentum, Some(0.5));
    assert_eq!(MaxPool1dConfig::new(2).with_stride(3).stride, Some(3));
    assert_eq!(MaxPool1dConfig::new(2).init().stride, 2);
}
