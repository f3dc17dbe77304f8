//! A table of vectors, looked up by index.

use kiln_tensor::op::{Axes, BinaryKind, ReduceKind};
use kiln_tensor::{AnyTensor, Device, Error, Int, Tensor, module};

use crate::{Config, Initializer, Layer, Module, Param};

/// What an [`Embedding`] is made of.
#[derive(Config, Debug)]
pub struct EmbeddingConfig {
    /// The number of vectors.
    pub n_embedding: usize,
    /// The extent of a vector.
    pub d_model: usize,
    /// The index of a vector that starts as zeros and is not trained.
    #[config(default = None, into)]
    pub padding_idx: Option<usize>,
    /// Vectors that are longer count as scaled down to this norm.
    #[config(default = None, into)]
    pub max_norm: Option<f64>,
    /// The exponent of that norm.
    #[config(default = 2.0)]
    pub norm_type: f64,
    /// Other first values than the standard normal distribution.
    #[config(default = Initializer::Normal { mean: 0.0, std: 1.0 })]
    pub initializer: Initializer,
}

impl EmbeddingConfig {
    /// Makes the layer. Panics if `padding_idx` is out of range.
    #[track_caller]
    pub fn init(&self, device: &Device) -> Embedding {
        Embedding {
            weight: table(
                self.n_embedding,
                self.d_model,
                self.padding_idx,
                &self.initializer,
                device,
            ),
            padding_idx: self.padding_idx,
            max_norm: self.max_norm,
            norm_type: self.norm_type,
        }
    }
}

/// First values of a table `[n, d]`, whose vector `padding_idx` is zero.
#[track_caller]
pub(super) fn table(
    n: usize,
    d: usize,
    padding_idx: Option<usize>,
    initializer: &Initializer,
    device: &Device,
) -> Param<Tensor<2>> {
    let weight = initializer.init::<2>([n, d], device);
    let Some(padding) = padding_idx else { return weight.into() };
    if padding >= n {
        kiln_tensor::fail(Error::Index { op: "embedding", index: padding as i64, size: n });
    }
    let zeros = Tensor::zeros([1, d], (device, weight.dtype()));
    weight.slice_assign([padding..padding + 1, 0..d], zeros).into()
}

/// Vectors `[.., d]` that are longer than `max_norm` scaled down to it. The gradient is that of
/// the vectors themselves, as in PyTorch, which scales the table.
#[track_caller]
pub(super) fn shorten(rows: &AnyTensor, max_norm: Option<f64>, norm_type: f64) -> AnyTensor {
    let Some(max_norm) = max_norm else { return rows.clone() };
    let plain = rows.detach();
    rows.add(&plain.mul(&factor(&plain, max_norm, norm_type)).sub(&plain))
}

/// What brings vectors `[.., d]` to at most `max_norm`: `[.., 1]`.
#[track_caller]
fn factor(rows: &AnyTensor, max_norm: f64, norm_type: f64) -> AnyTensor {
    let powers = rows.abs().pow_scalar(norm_type);
    let sum = powers.reduce(ReduceKind::Sum, Axes::single(rows.rank() - 1));
    let norm = sum.pow_scalar(1.0 / norm_type);
    let factor = norm.add_scalar(1e-7).recip().mul_scalar(max_norm);
    factor.fill_where(&norm.binary_scalar(BinaryKind::LessEqual, max_norm), 1)
}

/// `torch.nn.Embedding`: indices `[..]` to vectors `[.., d]`.
///
/// ```
/// use kiln_nn::EmbeddingConfig;
/// use kiln_tensor::{Device, Int, Tensor};
/// let layer = EmbeddingConfig::new(10, 4).with_padding_idx(0).init(&Device::cpu());
/// let tokens = Tensor::<2, Int>::from([[1i64, 2, 3], [3, 0, 0]]);
/// assert_eq!(layer.forward::<2, 3>(&tokens).dims(), [2, 3, 4]);
/// ```
#[derive(Clone, Debug, Module)]
pub struct Embedding {
    /// `[n, d]`
    pub weight: Param<Tensor<2>>,
    /// The index of a vector that is not trained.
    pub padding_idx: Option<usize>,
    /// Vectors that are longer count as scaled down to this norm.
    #[module(skip)]
    pub max_norm: Option<f64>,
    /// The exponent of that norm.
    pub norm_type: f64,
}

impl Embedding {
    /// Panics if an index is out of range. `D2` is `D + 1`.
    #[track_caller]
    pub fn forward<const D: usize, const D2: usize>(&self, indices: &Tensor<D, Int>) -> Tensor<D2> {
        Tensor::from_any(self.forward_any(indices.as_any()))
    }

    /// Scales all vectors that are longer than `max_norm` down to it. PyTorch does that to the
    /// vectors that a forward pass looks up; to follow it in training, call this before each one.
    pub fn renormalize(&mut self) {
        let Some(max_norm) = self.max_norm else { return };
        let (weight, tracked) =
            (self.weight.as_any().detach(), self.weight.as_any().tracked().is_some());
        let weight = weight.mul(&factor(&weight, max_norm, self.norm_type));
        self.weight = Tensor::from_any(weight).into();
        self.weight.set_trainable(tracked);
    }
}

impl Layer for Embedding {
    #[track_caller]
    fn forward_any(&self, indices: &AnyTensor) -> AnyTensor {
        let rows = module::embedding_any(self.weight.as_any(), indices);
        let rows = shorten(&rows, self.max_norm, self.norm_type);
        let Some(padding) = self.padding_idx else { return rows };
        let mut shape = indices.shape().to_vec();
        shape.push(1);
        let padding = indices.binary_scalar(BinaryKind::Equal, padding as i64);
        rows.detach().select_where(&padding.reshape(kiln_tensor::Shape::new(shape)), &rows)
    }

    fn boxed_clone(&self) -> Box<dyn Layer> {
        Box::new(self.clone())
    }
}
