//! First values of parameters.

use kiln_tensor::{DType, Device, Distribution, Shape, Tensor};

/// A rule for the first values of a parameter, as in `torch.nn.init`. Random ones draw from the
/// device's generator.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub enum Initializer {
    /// Every element this number.
    Constant(f64),
    /// Uniform between two bounds.
    Uniform(f64, f64),
    /// Normal with a mean and a standard deviation.
    Normal(f64, f64),
    /// Uniform within `gain * sqrt(3 / fan_in)` (He et al. 2015). A gain of `1 / sqrt(3)` is what
    /// PyTorch's linear and convolutional layers start with.
    KaimingUniform {
        /// Factor of the bound; `sqrt(2)` before ReLU.
        gain: f64,
    },
    /// Normal with standard deviation `gain / sqrt(fan_in)` (He et al. 2015).
    KaimingNormal {
        /// Factor of the deviation; `sqrt(2)` before ReLU.
        gain: f64,
    },
    /// Uniform within `gain * sqrt(6 / (fan_in + fan_out))` (Glorot & Bengio 2010).
    XavierUniform {
        /// Factor of the bound.
        gain: f64,
    },
    /// Normal with standard deviation `gain * sqrt(2 / (fan_in + fan_out))` (Glorot & Bengio 2010).
    XavierNormal {
        /// Factor of the deviation.
        gain: f64,
    },
}

impl Initializer {
    /// What PyTorch's linear and convolutional layers start with: uniform within
    /// `1 / sqrt(fan_in)`.
    pub fn layer_default() -> Self {
        Initializer::KaimingUniform { gain: 1.0 / 3f64.sqrt() }
    }

    /// Values for a weight `[out, in, ..]`: `fan_in` is `in` times the extents after it.
    pub fn init<const D: usize>(&self, shape: impl Into<Shape>, device: &Device) -> Tensor<D> {
        let shape = shape.into();
        let window: usize = shape.get(2..).unwrap_or(&[]).iter().product();
        let fan = |axis: usize| shape.get(axis).map_or(1, |extent| extent * window);
        self.init_with_fan(shape, fan(1), fan(0), device)
    }

    /// Values for a parameter whose fans its shape does not tell, such as a bias.
    pub fn init_with_fan<const D: usize>(
        &self,
        shape: impl Into<Shape>,
        fan_in: usize,
        fan_out: usize,
        device: &Device,
    ) -> Tensor<D> {
        let (fan_in, fan_out) = (fan_in.max(1) as f64, fan_out.max(1) as f64);
        let uniform = |bound: f64| Distribution::Uniform(-bound, bound);
        let law = match *self {
            Initializer::Constant(value) => return Tensor::full(shape, value, device),
            Initializer::Uniform(low, high) => Distribution::Uniform(low, high),
            Initializer::Normal(mean, std) => Distribution::Normal(mean, std),
            Initializer::KaimingUniform { gain } => uniform(gain * (3.0 / fan_in).sqrt()),
            Initializer::KaimingNormal { gain } => Distribution::Normal(0.0, gain / fan_in.sqrt()),
            Initializer::XavierUniform { gain } => {
                uniform(gain * (6.0 / (fan_in + fan_out)).sqrt())
            }
            Initializer::XavierNormal { gain } => {
                Distribution::Normal(0.0, gain * (2.0 / (fan_in + fan_out)).sqrt())
            }
        };
        Tensor::random(shape, law, (device, DType::F32))
    }
}
