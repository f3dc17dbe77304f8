//! A table of vectors, looked up by index.

use kiln_tensor::{AnyTensor, Device, Int, Tensor, module};

use crate::{Initializer, Layer, Module, Param};

/// What an [`Embedding`] is made of.
#[derive(Clone, Debug)]
pub struct EmbeddingConfig {
    entries: usize,
    size: usize,
    initializer: Initializer,
}

impl EmbeddingConfig {
    /// `entries` vectors of `size` numbers, first drawn from the standard normal distribution.
    pub fn new(entries: usize, size: usize) -> Self {
        Self { entries, size, initializer: Initializer::Normal { mean: 0.0, std: 1.0 } }
    }

    /// Other first values.
    pub fn with_initializer(mut self, initializer: Initializer) -> Self {
        self.initializer = initializer;
        self
    }

    /// Makes the layer.
    pub fn init(&self, device: &Device) -> Embedding {
        Embedding { weight: self.initializer.init::<2>([self.entries, self.size], device).into() }
    }
}

/// `torch.nn.Embedding`: indices `[..]` to vectors `[.., size]`.
///
/// ```
/// use kiln_nn::EmbeddingConfig;
/// use kiln_tensor::{Device, Int, Tensor};
/// let layer = EmbeddingConfig::new(10, 4).init(&Device::cpu());
/// let tokens = Tensor::<2, Int>::from([[1i64, 2, 3], [3, 2, 1]]);
/// assert_eq!(layer.forward::<2, 3>(&tokens).dims(), [2, 3, 4]);
/// ```
#[derive(Clone, Debug, Module)]
pub struct Embedding {
    /// `[entries, size]`
    pub weight: Param<Tensor<2>>,
}

impl Embedding {
    /// Panics if an index is out of range. `D2` is `D + 1`.
    #[track_caller]
    pub fn forward<const D: usize, const D2: usize>(&self, indices: &Tensor<D, Int>) -> Tensor<D2> {
        Tensor::from_any(module::embedding_any(self.weight.as_any(), indices.as_any()))
    }
}

impl Layer for Embedding {
    #[track_caller]
    fn forward_any(&self, indices: &AnyTensor) -> AnyTensor {
        module::embedding_any(self.weight.as_any(), indices)
    }

    fn boxed_clone(&self) -> Box<dyn Layer> {
        Box::new(self.clone())
    }
}
