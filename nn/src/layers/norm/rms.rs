//! Normalisation by the root mean square.

use kiln_tensor::{AnyTensor, DType, Device, Error, Tensor, module};

use crate::layers::layer_of_any_rank;
use crate::{Config, Module, Param};

/// What an [`RmsNorm`] is made of.
#[derive(Config, Debug)]
pub struct RmsNormConfig {
    /// Extent of the last axis.
    pub d_model: usize,
    /// Added to the mean square; if not set, the distance from 1 to the next number of the dtype,
    /// as in PyTorch.
    #[config(default = None, into)]
    pub epsilon: Option<f64>,
    /// With or without a weight.
    #[config(default = true)]
    pub affine: bool,
}

impl RmsNormConfig {
    /// Makes the layer.
    pub fn init(&self, device: &Device) -> RmsNorm {
        RmsNorm {
            weight: self.affine.then(|| Tensor::ones([self.d_model], device).into()),
            d_model: self.d_model,
            epsilon: self.epsilon,
        }
    }
}

/// `torch.nn.RMSNorm` over the last axis: `x / sqrt(mean(x^2) + epsilon) * weight` (Zhang &
/// Sennrich 2019). `[.., d_model]` to the same shape.
#[derive(Clone, Debug, Module)]
pub struct RmsNorm {
    /// `[d_model]`
    pub weight: Option<Param<Tensor<1>>>,
    /// Extent of the last axis.
    pub d_model: usize,
    /// Added to the mean square.
    #[module(skip)]
    pub epsilon: Option<f64>,
}

impl RmsNorm {
    #[track_caller]
    fn apply(&self, x: &AnyTensor) -> AnyTensor {
        let (shape, d) = (x.shape(), self.d_model);
        if shape.last() != Some(&d) {
            let rule = format!("expected [.., {d}]");
            kiln_tensor::fail(Error::Shape { op: "rms_norm", shapes: vec![shape], rule });
        }
        let epsilon = self.epsilon.unwrap_or(match x.dtype() {
            DType::F64 => f64::EPSILON,
            DType::F16 => kiln_tensor::f16::EPSILON.to_f64(),
            DType::BF16 => kiln_tensor::bf16::EPSILON.to_f64(),
            _ => f32::EPSILON as f64,
        });
        let rows = shape[..shape.rank() - 1].iter().product();
        let rows = Tensor::<2>::from_any(x.reshape([rows, d]));
        let y = module::rms_norm(rows, self.weight.as_deref().cloned(), epsilon);
        y.as_any().reshape(shape)
    }
}

layer_of_any_rank!(RmsNorm);
