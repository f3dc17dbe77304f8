//! Layers without parameters.

use kiln_tensor::op::UnaryKind;
use kiln_tensor::{AnyTensor, Shape, Tensor};

use crate::{Layer, Module};

macro_rules! activation_layers {
    ($($(#[$doc:meta])* $name:ident: $kind:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, Default, Module)]
        pub struct $name;

        impl $name {
            /// The layer, which has nothing to set.
            pub fn new() -> Self {
                Self
            }

            /// Any shape to the same shape.
            #[track_caller]
            pub fn forward<const D: usize>(&self, x: &Tensor<D>) -> Tensor<D> {
                Tensor::from_any(self.forward_any(x.as_any()))
            }
        }

        impl Layer for $name {
            #[track_caller]
            fn forward_any(&self, x: &AnyTensor) -> AnyTensor {
                x.unary(UnaryKind::$kind)
            }

            fn boxed_clone(&self) -> Box<dyn Layer> {
                Box::new(self.clone())
            }
        }
    )*};
}

activation_layers! {
    /// `torch.nn.ReLU`: `max(x, 0)`.
    Relu: Relu;
    /// `torch.nn.GELU`, exact by the error function.
    Gelu: Gelu;
}

/// `torch.nn.Flatten`: all axes but the first as one. `[n, ..]` to `[n, d]`.
#[derive(Clone, Debug, Default, Module)]
pub struct Flatten;

impl Flatten {
    /// The layer, which has nothing to set.
    pub fn new() -> Self {
        Self
    }

    /// No byte moves if `x` is contiguous.
    #[track_caller]
    pub fn forward<const D: usize>(&self, x: &Tensor<D>) -> Tensor<2> {
        Tensor::from_any(self.forward_any(x.as_any()))
    }
}

impl Layer for Flatten {
    #[track_caller]
    fn forward_any(&self, x: &AnyTensor) -> AnyTensor {
        let shape = x.shape();
        let Some((&n, rest)) = shape.split_first() else {
            let rule = "at least one axis is needed".into();
            kiln_tensor::fail(kiln_tensor::Error::Shape {
                op: "flatten",
                shapes: vec![shape],
                rule,
            })
        };
        x.reshape(Shape::new([n, rest.iter().product()]))
    }

    fn boxed_clone(&self) -> Box<dyn Layer> {
        Box::new(self.clone())
    }
}
