//! Layers: a config that says what, `init` that makes it on a device, `forward`.

mod activation;
mod conv;
mod dropout;
mod embedding;
mod linear;
mod norm;
mod pool;
mod recurrent;
mod sequential;

pub use activation::{Flatten, Gelu, Relu};
pub use conv::{Conv2d, Conv2dConfig};
pub use dropout::{Dropout, DropoutConfig};
pub use embedding::{Embedding, EmbeddingConfig};
pub use linear::{Linear, LinearConfig};
pub use norm::{BatchNorm2d, BatchNorm2dConfig, LayerNorm, LayerNormConfig};
pub use pool::{AvgPool2d, AvgPool2dConfig, MaxPool2d, MaxPool2dConfig};
pub use recurrent::{
    Gru, GruCell, GruCellConfig, GruConfig, Lstm, LstmCell, LstmCellConfig, LstmConfig, LstmState,
    Rnn, RnnCell, RnnCellConfig, RnnConfig, RnnNonlinearity, RnnState,
};
pub use sequential::{Layer, Sequential};

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
