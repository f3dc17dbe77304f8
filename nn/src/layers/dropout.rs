//! Random noise against overfitting.

use kiln_tensor::{AnyTensor, Distribution, Error, Shape, Tensor, module};

use super::{layer, layer_of_any_rank};
use crate::{Config, Mode, Module};

/// The negative of what SELU tends to far below zero: `scale * alpha`.
const SELU_FLOOR: f64 = 1.758_099_340_847_376_6;

/// Ones and zeros of `shape`: zero with probability `p`, one is `1 / (1 - p)`.
#[track_caller]
fn mask(x: &AnyTensor, shape: Shape, p: f64) -> AnyTensor {
    let ones = Tensor::<1>::ones([shape.num_elements()], (&x.device(), x.dtype()));
    module::dropout(&ones, p).as_any().reshape(shape)
}

/// The shape of one number for each channel of each image of `[n, c, ..]`.
#[track_caller]
fn channels(op: &'static str, x: &AnyTensor) -> Shape {
    let mut shape = x.shape();
    if shape.rank() < 2 {
        let rule = "expected [n, c, ..]".into();
        kiln_tensor::fail(Error::Shape { op, shapes: vec![shape], rule });
    }
    for axis in 2..shape.rank() {
        shape = shape.with(axis, 1);
    }
    shape
}

/// Elements become what SELU tends to below zero, where `mask` is zero; then mean and variance
/// are what they were before.
fn alpha_dropout(x: &AnyTensor, mask: &AnyTensor, p: f64) -> AnyTensor {
    let kept = mask.mul_scalar(1.0 - p);
    let scale = ((1.0 - p) * (1.0 + p * SELU_FLOOR * SELU_FLOOR)).sqrt().recip();
    let floor = kept.sub_scalar(1).mul_scalar(SELU_FLOOR * scale);
    let shift = SELU_FLOOR * scale * p;
    x.mul(&kept.mul_scalar(scale)).add(&floor.add_scalar(shift))
}

macro_rules! dropout {
    ($($(#[$doc:meta])* $name:ident $config:ident = |$x:ident, $p:ident| $value:expr;)*) => {$(
        #[doc = concat!("What a [`", stringify!($name), "`] is made of.")]
        #[derive(Config, Debug)]
        pub struct $config {
            /// The probability, in `0..1`.
            pub prob: f64,
        }

        impl $config {
            /// Makes the layer. Panics if the probability is out of range.
            #[track_caller]
            pub fn init(&self) -> $name {
                let p = self.prob;
                if !(0.0..1.0).contains(&p) {
                    let rule = format!("the probability must be in 0..1, found {p}");
                    kiln_tensor::fail(Error::Argument { op: "dropout", rule });
                }
                $name { prob: p, mode: Mode::default() }
            }
        }

        $(#[$doc])*
        #[derive(Clone, Debug, Module)]
        pub struct $name {
            /// The probability.
            pub prob: f64,
            mode: Mode,
        }

        impl $name {
            #[track_caller]
            fn apply(&self, $x: &AnyTensor) -> AnyTensor {
                let $p = self.prob;
                if !self.mode.is_training() || $p == 0.0 { $x.clone() } else { $value }
            }
        }
    )*};
}

dropout! {
    /// `torch.nn.Dropout` (Srivastava et al. 2014): in training each element is zero with
    /// probability `prob` and the others are divided by `1 - prob`; in evaluation nothing happens.
    Dropout DropoutConfig = |x, p| module::dropout_any(x, p);
    /// `torch.nn.Dropout1d`: in training whole channels of `[n, c, l]` are zero with probability
    /// `prob`, and the others are divided by `1 - prob`.
    Dropout1d Dropout1dConfig = |x, p| x.mul(&mask(x, channels("dropout1d", x), p));
    /// `torch.nn.Dropout2d` (Tompson et al. 2014): in training whole channels of `[n, c, h, w]` are
    /// zero with probability `prob`, and the others are divided by `1 - prob`.
    Dropout2d Dropout2dConfig = |x, p| x.mul(&mask(x, channels("dropout2d", x), p));
    /// `torch.nn.Dropout3d`: in training whole channels of `[n, c, d, h, w]` are zero with
    /// probability `prob`, and the others are divided by `1 - prob`.
    Dropout3d Dropout3dConfig = |x, p| x.mul(&mask(x, channels("dropout3d", x), p));
    /// `torch.nn.AlphaDropout` (Klambauer et al. 2017), to be used with
    /// [`Selu`](crate::Selu): in training each element becomes what SELU tends to below zero with
    /// probability `prob`, and all are moved and scaled to keep mean and variance.
    AlphaDropout AlphaDropoutConfig = |x, p| alpha_dropout(x, &mask(x, x.shape(), p), p);
    /// `torch.nn.FeatureAlphaDropout`: [`AlphaDropout`] of whole channels of `[n, c, ..]`.
    FeatureAlphaDropout FeatureAlphaDropoutConfig = |x, p| {
        alpha_dropout(x, &mask(x, channels("feature_alpha_dropout", x), p), p)
    };
}

macro_rules! of_rank {
    ($($name:ident $rank:literal),*) => {$(
        impl $name {
            /// To the same shape.
            #[track_caller]
            pub fn forward(&self, x: &Tensor<$rank>) -> Tensor<$rank> {
                Tensor::from_any(self.apply(x.as_any()))
            }
        }

        layer!($name);
    )*};
}

of_rank!(Dropout1d 3, Dropout2d 4, Dropout3d 5);
layer_of_any_rank!(Dropout);
layer_of_any_rank!(AlphaDropout);
layer_of_any_rank!(FeatureAlphaDropout);

/// What a [`GaussianNoise`] is made of.
#[derive(Config, Debug)]
pub struct GaussianNoiseConfig {
    /// Standard deviation of the noise.
    pub std: f64,
}

impl GaussianNoiseConfig {
    /// Makes the layer. Panics if the deviation is negative.
    #[track_caller]
    pub fn init(&self) -> GaussianNoise {
        if !(self.std >= 0.0 && self.std.is_finite()) {
            let rule = format!("the standard deviation must not be negative, found {}", self.std);
            kiln_tensor::fail(Error::Argument { op: "gaussian_noise", rule });
        }
        GaussianNoise { std: self.std, mode: Mode::default() }
    }
}

/// Adds normal noise in training; in evaluation nothing happens.
#[derive(Clone, Debug, Module)]
pub struct GaussianNoise {
    /// Standard deviation of the noise.
    pub std: f64,
    mode: Mode,
}

impl GaussianNoise {
    #[track_caller]
    fn apply(&self, x: &AnyTensor) -> AnyTensor {
        if !self.mode.is_training() || self.std == 0.0 {
            return x.clone();
        }
        let options = (&x.device(), x.dtype());
        let law = Distribution::Normal(0.0, self.std);
        let noise = Tensor::<1>::random([x.num_elements()], law, options);
        x.add(&noise.as_any().reshape(x.shape()))
    }
}

layer_of_any_rank!(GaussianNoise);
