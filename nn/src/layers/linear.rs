//! A fully connected layer.

use kiln_tensor::op::Activation;
use kiln_tensor::{AnyTensor, Device, Tensor, module};

use crate::{Config, Initializer, Layer, Lora, Module, Param, Path, Visitor, VisitorMut};

/// What a [`Linear`] is made of.
#[derive(Config, Debug)]
pub struct LinearConfig {
    /// Features of the input.
    pub inputs: usize,
    /// Features of the output.
    pub outputs: usize,
    /// With or without a bias.
    #[config(default = true)]
    pub bias: bool,
    /// Other first values than PyTorch's; the bias starts with them too.
    #[config(default = Initializer::layer_default())]
    pub initializer: Initializer,
}

impl LinearConfig {
    /// Makes the layer.
    pub fn init(&self, device: &Device) -> Linear {
        let Self { inputs, outputs, .. } = *self;
        let init = &self.initializer;
        Linear {
            weight: init.init::<2>([outputs, inputs], device).into(),
            bias: self
                .bias
                .then(|| init.init_with_fan::<1>([outputs], inputs, outputs, device).into()),
            lora: None,
        }
    }
}

/// `y = x weight^T + bias`: `torch.nn.Linear`. `[.., in]` to `[.., out]`.
///
/// ```
/// use kiln_nn::LinearConfig;
/// use kiln_tensor::{Device, Tensor};
/// let layer = LinearConfig::new(3, 2).init(&Device::cpu());
/// let y = layer.forward(&Tensor::<3>::zeros([4, 5, 3], &Device::cpu()));
/// assert_eq!(y.dims(), [4, 5, 2]);
/// ```
#[derive(Clone, Debug)]
pub struct Linear {
    /// `[out, in]`
    pub weight: Param<Tensor<2>>,
    /// `[out]`
    pub bias: Option<Param<Tensor<1>>>,
    /// A change of low rank, see [`LoraConfig::apply`](crate::LoraConfig::apply).
    pub lora: Option<Box<Lora>>,
}

impl Linear {
    /// Panics if the last axis of `x` is not `in`.
    #[track_caller]
    pub fn forward<const D: usize>(&self, x: &Tensor<D>) -> Tensor<D> {
        Tensor::from_any(self.forward_any(x.as_any()))
    }

    /// The layer followed by an activation, applied while the result is in cache.
    #[track_caller]
    pub fn forward_activation<const D: usize>(
        &self,
        x: &Tensor<D>,
        activation: Activation,
    ) -> Tensor<D> {
        if self.lora.is_some() {
            return Tensor::from_any(self.forward_any(x.as_any()).unary(activation.unary()));
        }
        let bias = self.bias.as_deref();
        module::linear_activation(x, &self.weight, bias, Some(activation))
    }
}

/// The parameters of the change are beside the weight.
impl Module for Linear {
    fn visit(&self, path: &Path<'_>, visitor: &mut dyn Visitor) {
        visitor.enter_module(path, "Linear");
        self.weight.visit(&path.child("weight"), visitor);
        self.bias.visit(&path.child("bias"), visitor);
        if let Some(lora) = &self.lora {
            lora.visit(path, visitor);
        }
        visitor.exit_module(path, "Linear");
    }

    fn visit_mut(&mut self, path: &Path<'_>, visitor: &mut dyn VisitorMut) {
        self.weight.visit_mut(&path.child("weight"), visitor);
        self.bias.visit_mut(&path.child("bias"), visitor);
        if let Some(lora) = &mut self.lora {
            lora.visit_mut(path, visitor);
        }
        visitor.module(path, self);
    }
}

impl Layer for Linear {
    #[track_caller]
    fn forward_any(&self, x: &AnyTensor) -> AnyTensor {
        let bias = self.bias.as_ref().map(|bias| bias.as_any());
        let y = module::linear_any(x, self.weight.as_any(), bias, None);
        match &self.lora {
            Some(lora) => y.add(&lora.forward_any(x)),
            None => y,
        }
    }

    fn boxed_clone(&self) -> Box<dyn Layer> {
        Box::new(self.clone())
    }
}
