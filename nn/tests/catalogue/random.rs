//! Layers that draw random numbers in training.

use kiln_nn::{
    AlphaDropoutConfig, Dropout1dConfig, Dropout2dConfig, Dropout3dConfig, DropoutConfig,
    FeatureAlphaDropoutConfig, GaussianNoiseConfig, Layer, RReluConfig,
};
use kiln_tensor::{AnyTensor, Distribution, Tensor, guard};

use super::{cpu, floats};

fn evaluation_changes_nothing(mut layer: impl Layer, x: &AnyTensor) {
    layer.eval();
    let y = layer.forward_any(x);
    y.to_data().unwrap().assert_eq(&x.to_data().unwrap(), true);
}

/// Every channel of ones `[n, c, ..]` becomes zeros, or all `1 / (1 - prob)`.
fn whole_channels(layer: impl Layer, shape: &[usize]) {
    let x = Tensor::<1>::ones([shape.iter().product()], &cpu());
    let x = x.as_any().reshape(kiln_tensor::Shape::new(shape));
    let y = layer.forward_any(&x).to_data().unwrap().to_vec::<f32>().unwrap();
    let size: usize = shape[2..].iter().product();
    let mut zeros = 0;
    for channel in y.chunks(size) {
        assert!(channel.iter().all(|y| *y == channel[0]), "{channel:?}");
        assert!(channel[0] == 0.0 || channel[0] == 4.0 / 3.0, "{channel:?}");
        zeros += usize::from(channel[0] == 0.0);
    }
    let share = zeros as f64 / (shape[0] * shape[1]) as f64;
    assert!((0.2..0.3).contains(&share), "{share}");
    evaluation_changes_nothing(layer, &x);
}

#[test]
fn dropout_of_channels() {
    cpu().seed(5);
    whole_channels(Dropout1dConfig::new(0.25).init(), &[40, 50, 3]);
    whole_channels(Dropout2dConfig::new(0.25).init(), &[40, 50, 2, 2]);
    whole_channels(Dropout3dConfig::new(0.25).init(), &[40, 50, 2, 1, 3]);
}

/// Mean and variance of the standard normal distribution stay.
fn keeps_mean_and_variance(layer: impl Layer) {
    let x = Tensor::<3>::random([100, 200, 5], Distribution::Normal(0.0, 1.0), &cpu());
    let y = floats::<3>(&layer.forward_any(x.as_any())).reshape([100_000]);
    let (mean, var) = (y.mean().into_scalar::<f64>(), y.var(0).into_scalar::<f64>());
    assert!(mean.abs() < 0.03 && (var - 1.0).abs() < 0.04, "{mean} {var}");
    evaluation_changes_nothing(layer, x.as_any());
}

#[test]
fn alpha_dropout_keeps_mean_and_variance() {
    cpu().seed(6);
    keeps_mean_and_variance(AlphaDropoutConfig::new(0.3).init());
    keeps_mean_and_variance(FeatureAlphaDropoutConfig::new(0.3).init());
}

#[test]
fn alpha_dropout_has_the_numbers_of_pytorch() {
    // 1 / sqrt((1 + p alpha^2) (1 - p)) with p = 0.3 and alpha = 1.7580993408473766.
    let (p, alpha) = (0.3f64, 1.7580993408473766f64);
    let scale = ((1.0 + p * alpha * alpha) * (1.0 - p)).sqrt().recip();
    let (kept, dropped) = (scale * (1.0 + alpha * p), scale * alpha * (p - 1.0));
    let layer = AlphaDropoutConfig::new(p).init();
    let y = layer.forward(&Tensor::<1>::ones([1000], &cpu())).to_vec::<f32>();
    let near = |y: f32, z: f64| (y as f64 - z).abs() < 1e-6;
    assert!(y.iter().all(|&y| near(y, kept) || near(y, dropped)), "{kept} {dropped} {y:?}");
    assert!((600..800).contains(&y.iter().filter(|&&y| near(y, kept)).count()));
}

#[test]
fn noise() {
    cpu().seed(7);
    let layer = GaussianNoiseConfig::new(0.5).init();
    let x = Tensor::<2>::full([100, 100], 3.0, &cpu());
    let y = layer.forward(&x).reshape([10_000]);
    let (mean, std) = (y.mean().into_scalar::<f64>(), y.std(0).into_scalar::<f64>());
    assert!((mean - 3.0).abs() < 0.02 && (std - 0.5).abs() < 0.02, "{mean} {std}");
    evaluation_changes_nothing(layer, x.as_any());
    assert!(guard(|| GaussianNoiseConfig::new(-1.0).init()).is_err());
}

#[test]
fn slopes() {
    let layer = RReluConfig::new().init();
    let y = layer.forward(&Tensor::<1>::full([1000], -1.0, &cpu())).to_vec::<f32>();
    assert!(y.iter().all(|&y| (-1.0 / 3.0 - 1e-6..=-0.125).contains(&y)));
    assert!(y.iter().any(|&other| other != y[0]), "each element has its own");
    assert!(guard(|| RReluConfig::new().with_lower(0.5).init()).is_err());
}

#[test]
fn probabilities_outside_of_zero_to_one_are_refused() {
    for p in [-0.1, 1.0, f64::NAN] {
        assert!(guard(|| Dropout2dConfig::new(p).init()).is_err());
        assert!(guard(|| AlphaDropoutConfig::new(p).init()).is_err());
    }
    let x = Tensor::<1>::ones([3], &cpu());
    let layer = FeatureAlphaDropoutConfig::new(0.5).init();
    let error = guard(|| layer.forward(&x)).unwrap_err().to_string();
    assert!(error.contains("expected [n, c, ..]"), "{error}");
    assert_eq!(DropoutConfig::new(0.0).init().forward(&x).to_vec::<f32>(), [1.0; 3]);
}
