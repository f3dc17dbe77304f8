//! First values of parameters.

use kiln_tensor::{
    Bool, DType, Device, Distribution, Error, Shape, Tensor, TensorData, fail, linalg, sample,
};

use crate::Param;

/// A rule for the first values of a parameter, as in `torch.nn.init`. Random ones draw from the
/// device's generator.
///
/// ```
/// use kiln_nn::{Initializer, LinearConfig, Nonlinearity};
/// use kiln_tensor::Device;
/// let device = Device::cpu();
/// let gain = Nonlinearity::Relu.gain();
/// let kaiming = Initializer::KaimingNormal { gain, fan_out_only: false };
/// let mut layer = LinearConfig::new(64, 32).with_initializer(kaiming).init(&device);
/// Initializer::Zeros.fill(layer.bias.as_mut().unwrap());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub enum Initializer {
    /// Every element this number: `constant_`.
    Constant {
        /// The number.
        value: f64,
    },
    /// Ones: `ones_`.
    Ones,
    /// Zeros: `zeros_`.
    Zeros,
    /// Uniform between two bounds: `uniform_`.
    Uniform {
        /// The lower bound.
        min: f64,
        /// The upper bound.
        max: f64,
    },
    /// Normal: `normal_`.
    Normal {
        /// The mean.
        mean: f64,
        /// The standard deviation.
        std: f64,
    },
    /// Normal, given that it lies between two bounds: `trunc_normal_`.
    TruncatedNormal {
        /// The mean before the cut.
        mean: f64,
        /// The standard deviation before the cut.
        std: f64,
        /// The lower bound.
        min: f64,
        /// The upper bound.
        max: f64,
    },
    /// Uniform within `gain * sqrt(3 / fan)` (He et al. 2015): `kaiming_uniform_`. A gain of
    /// `1 / sqrt(3)` is what PyTorch's linear and convolutional layers start with.
    KaimingUniform {
        /// Factor of the bound; see [`Nonlinearity::gain`].
        gain: f64,
        /// Whether the fan is that of the outputs, which keeps the size of gradients, and not of
        /// the inputs, which keeps that of activations.
        fan_out_only: bool,
    },
    /// Normal with standard deviation `gain / sqrt(fan)` (He et al. 2015): `kaiming_normal_`.
    KaimingNormal {
        /// Factor of the deviation; see [`Nonlinearity::gain`].
        gain: f64,
        /// Whether the fan is that of the outputs and not of the inputs.
        fan_out_only: bool,
    },
    /// Uniform within `gain * sqrt(6 / (fan_in + fan_out))` (Glorot & Bengio 2010):
    /// `xavier_uniform_`.
    XavierUniform {
        /// Factor of the bound.
        gain: f64,
    },
    /// Normal with standard deviation `gain * sqrt(2 / (fan_in + fan_out))` (Glorot & Bengio 2010):
    /// `xavier_normal_`.
    XavierNormal {
        /// Factor of the deviation.
        gain: f64,
    },
    /// Rows, or where there are more rows than columns columns, of length `gain` at right angles to
    /// each other (Saxe et al. 2013): `orthogonal_`. All axes but the first count as columns. Needs
    /// the feature `linalg`.
    Orthogonal {
        /// The length.
        gain: f64,
    },
    /// The identity matrix: `eye_`.
    Eye,
    /// A convolution that passes its inputs on, for kernels `[out, in / groups, ..]`: `dirac_`.
    Dirac {
        /// The groups of the convolution.
        groups: usize,
    },
    /// Normal around zero, but in each column this share of zeros (Martens 2010): `sparse_`.
    Sparse {
        /// The share of zeros.
        sparsity: f64,
        /// The standard deviation of the rest; PyTorch's default is 0.01.
        std: f64,
    },
}

impl Initializer {
    /// What PyTorch's linear and convolutional layers start with: uniform within
    /// `1 / sqrt(fan_in)`.
    pub fn layer_default() -> Self {
        Initializer::KaimingUniform { gain: 1.0 / 3f64.sqrt(), fan_out_only: false }
    }

    /// Values for a weight `[out, in, ..]`: `fan_in` is `in` times the extents after it. Panics if
    /// the rule is not for such a shape.
    #[track_caller]
    pub fn init<const D: usize>(&self, shape: impl Into<Shape>, device: &Device) -> Tensor<D> {
        let shape = shape.into();
        let window: usize = shape.get(2..).unwrap_or(&[]).iter().product();
        let fan = |axis: usize| shape.get(axis).map_or(1, |extent| extent * window);
        self.init_with_fan(shape, fan(1), fan(0), device)
    }

    /// Values for a parameter whose fans its shape does not tell, such as a bias.
    #[track_caller]
    pub fn init_with_fan<const D: usize>(
        &self,
        shape: impl Into<Shape>,
        fan_in: usize,
        fan_out: usize,
        device: &Device,
    ) -> Tensor<D> {
        let shape = shape.into();
        let (fan_in, fan_out) = (fan_in.max(1) as f64, fan_out.max(1) as f64);
        let fan = |out: bool| if out { fan_out } else { fan_in };
        let both = fan_in + fan_out;
        let options = (device, DType::F32);
        let random = |law| Tensor::random(shape, law, options);
        let uniform = |bound: f64| random(Distribution::Uniform(-bound, bound));
        let normal = |std: f64| random(Distribution::Normal(0.0, std));
        match *self {
            Initializer::Constant { value } => Tensor::full(shape, value, options),
            Initializer::Ones => Tensor::ones(shape, options),
            Initializer::Zeros => Tensor::zeros(shape, options),
            Initializer::Uniform { min, max } => random(Distribution::Uniform(min, max)),
            Initializer::Normal { mean, std } => random(Distribution::Normal(mean, std)),
            Initializer::TruncatedNormal { mean, std, min, max } => {
                sample::truncated_normal(shape, mean, std, min, max, options)
            }
            Initializer::KaimingUniform { gain, fan_out_only } => {
                uniform(gain * (3.0 / fan(fan_out_only)).sqrt())
            }
            Initializer::KaimingNormal { gain, fan_out_only } => {
                normal(gain / fan(fan_out_only).sqrt())
            }
            Initializer::XavierUniform { gain } => uniform(gain * (6.0 / both).sqrt()),
            Initializer::XavierNormal { gain } => normal(gain * (2.0 / both).sqrt()),
            Initializer::Orthogonal { gain } => orthogonal(shape, gain, device),
            Initializer::Eye => {
                check("eye", D == 2, shape, "a matrix is needed");
                let ones = Tensor::<D, Bool>::diag_mask(shape, 0, device).bool_not();
                Tensor::from_any(ones.as_any().cast(DType::F32))
            }
            Initializer::Dirac { groups } => dirac(shape, groups, device),
            Initializer::Sparse { sparsity, std } => sparse(shape, sparsity, normal(std)),
        }
    }

    /// Gives a parameter new values; it stays the same leaf, of the same dtype.
    #[track_caller]
    pub fn fill<const D: usize>(&self, param: &mut Param<Tensor<D>>) {
        param.set(self.init::<D>(param.shape(), &param.device()));
    }
}

#[track_caller]
fn check(op: &'static str, fit: bool, shape: Shape, rule: &str) {
    if !fit {
        fail(Error::Shape { op, shapes: vec![shape], rule: rule.into() });
    }
}

#[track_caller]
fn orthogonal<const D: usize>(shape: Shape, gain: f64, device: &Device) -> Tensor<D> {
    check("orthogonal", D >= 2, shape, "at least two axes are needed");
    let rows = shape[0];
    let columns: usize = shape[1..].iter().product();
    let (long, short) = (rows.max(columns), rows.min(columns));
    let normal = Distribution::Normal(0.0, 1.0);
    let (q, r) = linalg::qr(Tensor::<2>::random([long, short], normal, (device, DType::F32)), true);
    // With these signs every orthogonal matrix is equally likely (Mezzadri 2007).
    let signs: Tensor<1> = linalg::diag(r.sign());
    let q = q.mul(signs.reshape([1, short])).mul_scalar(gain);
    let q = if rows < columns { q.transpose() } else { q };
    Tensor::from_any(q.as_any().reshape(shape).contiguous())
}

#[track_caller]
fn dirac<const D: usize>(shape: Shape, groups: usize, device: &Device) -> Tensor<D> {
    let fit = (3..=5).contains(&D) && groups > 0 && shape[0].is_multiple_of(groups);
    check("dirac", fit, shape, "a kernel [out, in / groups, ..] is needed");
    let (group, inputs) = (shape[0] / groups, shape[1]);
    let window: usize = shape[2..].iter().product();
    // Row-major, the middle of the window, where each extent counts the ones after it.
    let middle = shape[2..].iter().fold(0, |place, extent| place * extent + extent / 2);
    let mut values = vec![0.0f32; shape.num_elements()];
    for out in (0..shape[0]).filter(|out| window > 0 && out % group < inputs) {
        values[(out * inputs + out % group) * window + middle] = 1.0;
    }
    Tensor::from_data(TensorData::new(values, shape), (device, DType::F32))
}

#[track_caller]
fn sparse<const D: usize>(shape: Shape, sparsity: f64, values: Tensor<D>) -> Tensor<D> {
    check("sparse", D == 2, shape, "a matrix is needed");
    if !(0.0..=1.0).contains(&sparsity) {
        let rule = format!("the share of zeros {sparsity} is not in 0..=1");
        fail(Error::Argument { op: "sparse", rule });
    }
    let zeros = (sparsity * shape[0] as f64).ceil();
    let order = Tensor::<D>::random(shape, Distribution::Default, (&values.device(), DType::F32));
    // The place of each element in a random order of its column.
    values.mask_fill(order.argsort(0).argsort(0).lower_elem(zeros), 0.0)
}

/// A function that layers are followed by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Nonlinearity {
    /// None.
    Linear,
    /// The logistic function.
    Sigmoid,
    /// The hyperbolic tangent.
    Tanh,
    /// Zero below zero.
    Relu,
    /// This slope below zero.
    LeakyRelu(f64),
    /// The scaled exponential linear unit.
    Selu,
}

impl Nonlinearity {
    /// The recommended gain of an [`Initializer`]: `torch.nn.init.calculate_gain`.
    pub fn gain(self) -> f64 {
        match self {
            Nonlinearity::Linear | Nonlinearity::Sigmoid => 1.0,
            Nonlinearity::Tanh => 5.0 / 3.0,
            Nonlinearity::Relu => 2f64.sqrt(),
            Nonlinearity::LeakyRelu(slope) => (2.0 / (1.0 + slope * slope)).sqrt(),
            Nonlinearity::Selu => 0.75,
        }
    }
}
