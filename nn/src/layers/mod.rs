//! Layers: a config that says what, `init` that makes it on a device, `forward`.

mod activation;
mod attention;
mod bilinear;
mod conv;
mod conv_deform;
mod conv_transpose;
mod dict;
mod distance;
mod dropout;
mod embedding;
mod embedding_bag;
mod fractional_pool;
mod gated;
mod linear;
mod lora;
mod lora_apply;
mod norm;
mod pad;
mod padding;
mod parametrize;
mod pool;
mod pool_adaptive;
mod position;
mod recurrent;
mod resample;
mod sequential;
mod shape;
mod transformer;
mod unpool;
mod window;

pub use activation::*;
pub use attention::*;
pub use bilinear::{Bilinear, BilinearConfig};
pub use conv::{Conv1d, Conv1dConfig, Conv2d, Conv2dConfig, Conv3d, Conv3dConfig};
pub use conv_deform::{DeformConv2d, DeformConv2dConfig};
pub use conv_transpose::{
    ConvTranspose1d, ConvTranspose1dConfig, ConvTranspose2d, ConvTranspose2dConfig,
    ConvTranspose3d, ConvTranspose3dConfig,
};
pub use dict::ModuleDict;
pub use distance::{
    CosineSimilarity, CosineSimilarityConfig, PairwiseDistance, PairwiseDistanceConfig,
};
pub use dropout::*;
pub use embedding::{Embedding, EmbeddingConfig};
pub use embedding_bag::{EmbeddingBag, EmbeddingBagConfig, EmbeddingBagMode};
pub use fractional_pool::*;
pub use gated::*;
pub use linear::{Linear, LinearConfig};
pub use lora::{LoraConfig, LoraLinear};
pub use lora_apply::{Lora, merge_lora};
pub use norm::*;
pub use pad::{Pad, PadConfig};
pub use padding::{PaddingConfig1d, PaddingConfig2d, PaddingConfig3d, PaddingMode};
pub use parametrize::{SpectralNorm, SpectralNormConfig, WeightNorm, WeightNormConfig};
pub use pool::*;
pub use pool_adaptive::*;
pub use position::*;
pub use recurrent::{
    Gru, GruCell, GruCellConfig, GruConfig, Lstm, LstmCell, LstmCellConfig, LstmConfig, LstmState,
    Rnn, RnnCell, RnnCellConfig, RnnConfig, RnnNonlinearity, RnnState,
};
pub use resample::*;
pub use sequential::{Layer, Sequential};
pub use shape::*;
pub use transformer::*;
pub use unpool::*;
pub use window::{Fold4d, Fold4dConfig, Unfold4d, Unfold4dConfig};

/// Implements [`Layer`] for layers whose `forward` takes and gives tensors of fixed ranks.
macro_rules! layer {
    ($($type:ty),*) => {$(
        impl crate::Layer for $type {
            #[track_caller]
            fn forward_any(&self, x: &kiln_tensor::AnyTensor) -> kiln_tensor::AnyTensor {
                self.forward(&kiln_tensor::Tensor::from_any(x.clone())).into_any()
            }

            fn boxed_clone(&self) -> Box<dyn crate::Layer> {
                Box::new(self.clone())
            }
        }
    )*};
}
use layer;

/// Implements `forward` and [`Layer`] for layers of tensors of any rank, by their `apply`.
macro_rules! layer_of_any_rank {
    ($({$($generics:tt)*})? $type:ty) => {
        impl$(<$($generics)*>)? $type {
            /// Panics if the layer does not take tensors of this shape.
            #[track_caller]
            pub fn forward<const D: usize>(
                &self,
                x: &kiln_tensor::Tensor<D>,
            ) -> kiln_tensor::Tensor<D> {
                kiln_tensor::Tensor::from_any(self.apply(x.as_any()))
            }
        }

        impl$(<$($generics)*>)? crate::Layer for $type {
            #[track_caller]
            fn forward_any(&self, x: &kiln_tensor::AnyTensor) -> kiln_tensor::AnyTensor {
                self.apply(x)
            }

            fn boxed_clone(&self) -> Box<dyn crate::Layer> {
                Box::new(self.clone())
            }
        }
    };
}
use layer_of_any_rank;
