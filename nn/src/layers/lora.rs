//! Low-rank changes to trained layers.

use kiln_autograd::no_grad;
use kiln_tensor::{AnyTensor, Device, Error, Tensor, fail};

use crate::{Config, Dropout, DropoutConfig, Initializer, Layer, Linear, LinearConfig, Module};

/// What a [`LoraLinear`] is made of.
#[derive(Config, Debug)]
pub struct LoraConfig {
    /// The rank of the change.
    pub rank: usize,
    /// The change counts `alpha / rank` times.
    #[config(default = 8.0)]
    pub alpha: f64,
    /// Probability that an input of the change is dropped in training.
    #[config(default = 0.0)]
    pub dropout: f64,
}

impl LoraConfig {
    /// Puts a change, which starts as none, on `base_layer`, which is frozen. Panics if the rank is
    /// zero.
    #[track_caller]
    pub fn init(&self, mut base_layer: Linear, device: &Device) -> LoraLinear {
        let Self { rank, alpha, dropout } = *self;
        if rank == 0 {
            fail(Error::Argument { op: "lora", rule: "the rank must be at least 1".into() });
        }
        base_layer.set_trainable(false);
        let [outputs, inputs] = base_layer.weight.dims();
        let linear = |inputs, outputs| LinearConfig::new(inputs, outputs).with_bias(false);
        let zero = Initializer::Constant { value: 0.0 };
        LoraLinear {
            base_layer,
            lora_A: linear(inputs, rank).init(device),
            lora_B: linear(rank, outputs).with_initializer(zero).init(device),
            dropout: DropoutConfig::new(dropout).init(),
            scaling: alpha / rank as f64,
            merged: false,
        }
    }
}

/// A frozen linear layer with a trained change of low rank, `x A^T B^T alpha / rank` (Hu et al.
/// 2021), with the names of PEFT. A model that is to be changed has it where a [`Linear`] was.
///
/// ```
/// use kiln_nn::{LinearConfig, LoraConfig, Module};
/// use kiln_tensor::{Device, Tensor};
/// let device = Device::cpu();
/// let base = LinearConfig::new(8, 8).init(&device);
/// let layer = LoraConfig::new(2).with_alpha(4.0).init(base, &device);
/// let names: Vec<_> = layer.named_params().into_iter().map(|(name, _)| name).collect();
/// assert_eq!(names, ["base_layer.weight", "base_layer.bias", "lora_A.weight", "lora_B.weight"]);
/// assert_eq!(layer.forward(&Tensor::<2>::ones([3, 8], &device)).dims(), [3, 8]);
/// ```
#[allow(non_snake_case)] // The names of PEFT.
#[derive(Clone, Debug, Module)]
pub struct LoraLinear {
    /// The layer that is changed, frozen.
    pub base_layer: Linear,
    /// `[rank, in]`
    pub lora_A: Linear,
    /// `[out, rank]`, at first zero.
    pub lora_B: Linear,
    /// Of the input of the change.
    pub dropout: Dropout,
    /// What the change is multiplied by.
    pub scaling: f64,
    merged: bool,
}

impl LoraLinear {
    /// `[.., in]` to `[.., out]`. Panics if the last axis of `x` is not `in`.
    #[track_caller]
    pub fn forward<const D: usize>(&self, x: &Tensor<D>) -> Tensor<D> {
        Tensor::from_any(self.forward_any(x.as_any()))
    }

    /// Adds the change to the weight of the layer, so that it costs nothing more; it is not trained
    /// until [`LoraLinear::unmerge`].
    pub fn merge(&mut self) {
        if !self.merged {
            self.shift(self.scaling);
            self.merged = true;
        }
    }

    /// Takes the change out of the weight again, up to rounding.
    pub fn unmerge(&mut self) {
        if self.merged {
            self.shift(-self.scaling);
            self.merged = false;
        }
    }

    /// Whether the change is in the weight of the layer.
    pub fn is_merged(&self) -> bool {
        self.merged
    }

    /// The layer with the change in it.
    pub fn into_linear(mut self) -> Linear {
        self.merge();
        self.base_layer
    }

    /// Adds `B A factor` to the weight.
    fn shift(&mut self, factor: f64) {
        let weight = no_grad(|| {
            let change = self.lora_B.weight.matmul(&*self.lora_A.weight) * factor;
            self.base_layer.weight.add(change)
        });
        self.base_layer.weight = weight.into();
        self.base_layer.weight.set_trainable(false);
    }
}

impl Layer for LoraLinear {
    #[track_caller]
    fn forward_any(&self, x: &AnyTensor) -> AnyTensor {
        let y = self.base_layer.forward_any(x);
        if self.merged {
            return y;
        }
        let low = self.lora_A.forward_any(&self.dropout.forward_any(x));
        y.add(&self.lora_B.forward_any(&low.mul_scalar(self.scaling)))
    }

    fn boxed_clone(&self) -> Box<dyn Layer> {
        Box::new(self.clone())
    }
}
