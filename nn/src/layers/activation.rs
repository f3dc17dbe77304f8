//! Activation functions as layers.

use kiln_tensor::op::{BinaryKind, UnaryKind};
use kiln_tensor::{AnyTensor, Device, Distribution, Error, Tensor, activation};

use super::layer_of_any_rank;
use crate::{Config, Mode, Module, Param};

/// `x` without its rank, for functions that want to know it.
fn flat(x: &AnyTensor) -> Tensor<1> {
    Tensor::from_any(x.reshape([x.num_elements()]))
}

macro_rules! plain {
    ($($(#[$doc:meta])* $name:ident = |$x:ident| $value:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, Default, Module)]
        pub struct $name;

        impl $name {
            /// The layer, which has nothing to set.
            pub fn new() -> Self {
                Self
            }

            #[track_caller]
            fn apply(&self, $x: &AnyTensor) -> AnyTensor {
                $value
            }
        }

        layer_of_any_rank!($name);
    )*};
}

plain! {
    /// `torch.nn.ReLU`: `max(x, 0)`.
    Relu = |x| x.unary(UnaryKind::Relu);
    /// `torch.nn.Sigmoid`: `1 / (1 + exp(-x))`.
    Sigmoid = |x| x.unary(UnaryKind::Sigmoid);
    /// `torch.nn.Tanh`: the hyperbolic tangent.
    Tanh = |x| x.unary(UnaryKind::Tanh);
    /// `torch.nn.SiLU`, also called swish: `x * sigmoid(x)`.
    Silu = |x| x.unary(UnaryKind::Silu);
    /// `torch.nn.ReLU6`: `x` between 0 and 6, else the nearer of them.
    Relu6 = |x| x.hardtanh(0.0, 6.0);
    /// `torch.nn.Hardswish`: 0 below -3, `x` above 3, `x (x + 3) / 6` between.
    HardSwish = |x| x.hard_swish();
    /// `torch.nn.LogSigmoid`: the logarithm of the sigmoid, accurate on both sides.
    LogSigmoid = |x| x.log_sigmoid();
    /// `torch.nn.Mish`: `x tanh(softplus(x))` (Misra 2019).
    Mish = |x| x.mish();
    /// `torch.nn.SELU`: the self-normalising ELU of Klambauer et al. (2017).
    Selu = |x| activation::selu(flat(x)).as_any().reshape(x.shape());
    /// `torch.nn.Softsign`: `x / (1 + |x|)`.
    Softsign = |x| activation::softsign(flat(x)).as_any().reshape(x.shape());
    /// `torch.nn.Tanhshrink`: `x - tanh(x)`.
    TanhShrink = |x| activation::tanhshrink(flat(x)).as_any().reshape(x.shape());
}

/// Another name of [`Silu`].
pub type Swish = Silu;

macro_rules! configured {
    ($(
        $(#[$doc:meta])*
        $name:ident, $config:ident {
            $($(#[$field_doc:meta])* $field:ident $(= $default:expr)?,)*
        } = |$x:ident| $value:expr;
    )*) => {$(
        #[doc = concat!("What a [`", stringify!($name), "`] is made of.")]
        #[derive(Config, Debug)]
        pub struct $config {
            $($(#[$field_doc])* $(#[config(default = $default)])? pub $field: f64,)*
        }

        impl $config {
            /// Makes the layer.
            pub fn init(&self) -> $name {
                $name { $($field: self.$field),* }
            }
        }

        $(#[$doc])*
        #[derive(Clone, Debug, Module)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: f64,)*
        }

        impl $name {
            #[track_caller]
            fn apply(&self, $x: &AnyTensor) -> AnyTensor {
                let Self { $($field),* } = *self;
                $value
            }
        }

        layer_of_any_rank!($name);
    )*};
}

configured! {
    /// `torch.nn.LeakyReLU`: `x` above 0, `negative_slope * x` below.
    LeakyRelu, LeakyReluConfig {
        /// Slope below zero.
        negative_slope = 0.01,
    } = |x| x.leaky_relu(negative_slope);

    /// `torch.nn.ELU`: `x` above 0, `alpha (e^x - 1)` below (Clevert et al. 2015).
    Elu, EluConfig {
        /// What it tends to below zero is `-alpha`.
        alpha = 1.0,
    } = |x| x.elu(alpha, 1.0);

    /// `torch.nn.CELU`: `x` above 0, `alpha (e^(x / alpha) - 1)` below (Barron 2017). Panics if
    /// `alpha` is 0.
    Celu, CeluConfig {
        /// What it tends to below zero is `-alpha`.
        alpha = 1.0,
    } = |x| activation::celu(flat(x), alpha).as_any().reshape(x.shape());

    /// `torch.nn.Hardtanh`: `x` between two bounds, else the nearer of them. Panics if the lower
    /// one is above the upper.
    HardTanh, HardTanhConfig {
        /// Lower bound.
        min_val = -1.0,
        /// Upper bound.
        max_val = 1.0,
    } = |x| x.hardtanh(min_val, max_val);

    /// `torch.nn.Hardsigmoid`: `alpha x + beta` between 0 and 1, else the nearer of them.
    HardSigmoid, HardSigmoidConfig {
        /// Slope.
        alpha = 1.0 / 6.0,
        /// Value at zero.
        beta = 0.5,
    } = |x| x.hard_sigmoid(alpha, beta);

    /// `torch.nn.Hardshrink`: 0 from `-lambda` to `lambda`, `x` beyond.
    HardShrink, HardShrinkConfig {
        /// End of the zeros.
        lambda = 0.5,
    } = |x| x.shrink(lambda, 0.0);

    /// `torch.nn.Softshrink`: 0 from `-lambda` to `lambda`, beyond it `x` moved by `lambda` toward
    /// zero.
    SoftShrink, SoftShrinkConfig {
        /// End of the zeros.
        lambda = 0.5,
    } = |x| x.shrink(lambda, lambda);

    /// 0 from `-lambda` to `lambda`, beyond it `x` moved by `bias` toward zero, as ONNX has it.
    Shrink, ShrinkConfig {
        /// End of the zeros.
        lambda = 0.5,
        /// How far the rest moves.
        bias = 0.0,
    } = |x| x.shrink(lambda, bias);

    /// `torch.nn.Softplus`: `log(1 + e^(beta x)) / beta`, and `x` itself where `beta x` is above
    /// `threshold`. Panics if `beta` is 0.
    Softplus, SoftplusConfig {
        /// The larger, the sharper the bend.
        beta = 1.0,
        /// Beyond it the function is taken as straight.
        threshold = 20.0,
    } = |x| {
        activation::softplus_with_threshold(flat(x), beta, threshold).as_any().reshape(x.shape())
    };

    /// `torch.nn.Threshold`: `x` where it is larger than `threshold`, else `value`.
    Threshold, ThresholdConfig {
        /// The bound.
        threshold,
        /// What stands for all that is not above it.
        value,
    } = |x| x.threshold(threshold, value);

    /// `x` where it is larger than `alpha`, else 0 (Konda et al. 2015).
    ThresholdedRelu, ThresholdedReluConfig {
        /// The bound.
        alpha = 1.0,
    } = |x| x.threshold(alpha, 0.0);
}

/// `torch.nn.GELU`: `x * Phi(x)` (Hendrycks & Gimpel 2016).
///
/// ```
/// use kiln_nn::Gelu;
/// use kiln_tensor::Tensor;
/// let x = Tensor::<1>::from([1.0]);
/// let (exact, approximate) = (Gelu::new(), Gelu::new_approximate());
/// assert!((exact.forward(&x) - approximate.forward(&x)).abs().into_scalar::<f32>() < 1e-3);
/// ```
#[derive(Clone, Debug, Default, Module)]
pub struct Gelu {
    /// By tanh, as GPT-2 has it, instead of by the error function.
    pub approximate: bool,
}

impl Gelu {
    /// Exact, by the error function.
    pub fn new() -> Self {
        Self { approximate: false }
    }

    /// By tanh: `torch.nn.GELU(approximate="tanh")`.
    pub fn new_approximate() -> Self {
        Self { approximate: true }
    }

    #[track_caller]
    fn apply(&self, x: &AnyTensor) -> AnyTensor {
        x.unary(if self.approximate { UnaryKind::GeluTanh } else { UnaryKind::Gelu })
    }
}

layer_of_any_rank!(Gelu);

/// What a [`PRelu`] is made of.
#[derive(Config, Debug)]
pub struct PReluConfig {
    /// One slope for all, or as many as there are channels.
    #[config(default = 1)]
    pub num_parameters: usize,
    /// First value of the slopes.
    #[config(default = 0.25)]
    pub alpha: f64,
}

impl PReluConfig {
    /// Makes the layer.
    pub fn init(&self, device: &Device) -> PRelu {
        PRelu { weight: Tensor::full([self.num_parameters], self.alpha, device).into() }
    }
}

/// `torch.nn.PReLU`: `x` above 0, a learned slope times `x` below (He et al. 2015). Channels are
/// axis 1.
#[derive(Clone, Debug, Module)]
pub struct PRelu {
    /// `[1]` or `[channels]`
    pub weight: Param<Tensor<1>>,
}

impl PRelu {
    #[track_caller]
    fn apply(&self, x: &AnyTensor) -> AnyTensor {
        x.prelu(self.weight.as_any())
    }
}

layer_of_any_rank!(PRelu);

/// What an [`RRelu`] is made of.
#[derive(Config, Debug)]
pub struct RReluConfig {
    /// Least slope.
    #[config(default = 0.125)]
    pub lower: f64,
    /// Greatest slope.
    #[config(default = 1.0 / 3.0)]
    pub upper: f64,
}

impl RReluConfig {
    /// Makes the layer. Panics if `lower` is not at most `upper`.
    #[track_caller]
    pub fn init(&self) -> RRelu {
        let Self { lower, upper } = *self;
        if !(lower <= upper && lower.is_finite() && upper.is_finite()) {
            let rule = format!("no slopes lie between {lower} and {upper}");
            kiln_tensor::fail(Error::Argument { op: "rrelu", rule });
        }
        RRelu { lower, upper, mode: Mode::default() }
    }
}

/// `torch.nn.RReLU` (Xu et al. 2015): in training each element below 0 has a random slope, in
/// evaluation all have the middle one.
#[derive(Clone, Debug, Module)]
pub struct RRelu {
    /// Least slope.
    pub lower: f64,
    /// Greatest slope.
    pub upper: f64,
    mode: Mode,
}

impl RRelu {
    #[track_caller]
    fn apply(&self, x: &AnyTensor) -> AnyTensor {
        if !self.mode.is_training() {
            return x.leaky_relu((self.lower + self.upper) / 2.0);
        }
        let law = Distribution::Uniform(self.lower, self.upper);
        let slopes = flat(&x.detach()).random_like(law).as_any().reshape(x.shape());
        x.select_where(&x.binary_scalar(BinaryKind::Greater, 0), &x.mul(&slopes))
    }
}

layer_of_any_rank!(RRelu);
