//! Low-rank changes of the layers of a model, chosen by path.

use std::any::Any;

use kiln_autograd::no_grad;
use kiln_tensor::{AnyTensor, Error, Result, Tensor};

use crate::{
    Dropout, DropoutConfig, Initializer, Layer, Linear, LinearConfig, LoraConfig, Module, Path,
    PathPattern, VisitorMut,
};

/// A trained change of low rank of a [`Linear`] layer, `x A^T B^T alpha / rank` (Hu et al. 2021).
/// Files have `lora_A.weight` and `lora_B.weight` beside the `weight` of the layer, as PEFT's have.
#[allow(non_snake_case)] // The names of PEFT.
#[derive(Clone, Debug, Module)]
pub struct Lora {
    /// `[rank, in]`
    pub lora_A: Linear,
    /// `[out, rank]`, at first zero.
    pub lora_B: Linear,
    /// Of the input of the change.
    pub dropout: Dropout,
    /// What the change is multiplied by.
    pub scaling: f64,
}

impl Lora {
    fn new(config: &LoraConfig, layer: &Linear) -> Self {
        let ([outputs, inputs], device) = (layer.weight.dims(), layer.weight.device());
        let linear = |inputs, outputs| LinearConfig::new(inputs, outputs).with_bias(false);
        let zero = Initializer::Constant { value: 0.0 };
        let mut lora = Self {
            lora_A: linear(inputs, config.rank).init(&device),
            lora_B: linear(config.rank, outputs).with_initializer(zero).init(&device),
            dropout: DropoutConfig::new(config.dropout).init(),
            scaling: config.alpha / config.rank as f64,
        };
        lora.to_dtype(layer.weight.dtype());
        lora
    }

    /// The change of the result of the layer for `x`.
    #[track_caller]
    pub(super) fn forward_any(&self, x: &AnyTensor) -> AnyTensor {
        let low = self.lora_A.forward_any(&self.dropout.forward_any(x));
        self.lora_B.forward_any(&low.mul_scalar(self.scaling))
    }

    /// The change of the weight, `[out, in]`.
    fn delta(&self) -> Tensor<2> {
        self.lora_B.weight.matmul(&*self.lora_A.weight) * self.scaling
    }
}

impl LoraConfig {
    /// Puts a change, which starts as none, on each [`Linear`] layer of `model` whose path fits a
    /// [`PathPattern`], and tells how many they are. Only changes are trained from then on: all
    /// other parameters are frozen, but one can [`unfreeze`](Module::unfreeze) the head. An error,
    /// and an unchanged model, if no layer fits, which is nearly always a mistake in the pattern, or
    /// if one has a change already.
    ///
    /// Where a layer takes its weight by other ways than [`Linear::forward`], as
    /// [`MultiHeadAttention`](crate::MultiHeadAttention) does for its input, there is no such layer.
    ///
    /// ```
    /// use kiln_nn::{LinearConfig, LoraConfig, Module, merge_lora};
    /// use kiln_tensor::Device;
    /// let mut layers = [0, 1].map(|_| LinearConfig::new(8, 8).init(&Device::cpu()));
    /// assert_eq!(LoraConfig::new(2).apply(&mut layers, "1")?, 1);
    /// assert_eq!(layers.num_trainable_params(), 2 * 8 + 8 * 2);
    /// assert!(layers.state_dict().get("1.lora_A.weight").is_some());
    /// assert_eq!(merge_lora(&mut layers), 1); // after training
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    pub fn apply(&self, model: &mut impl Module, pattern: impl Into<PathPattern>) -> Result<usize> {
        let error = |rule: String| Err(Error::Argument { op: "lora", rule });
        if self.rank == 0 {
            return error("the rank must be at least 1".into());
        }
        let pattern = pattern.into();
        let (mut paths, mut changed) = (Vec::new(), None);
        each_linear(model, &mut |path, layer| {
            if pattern.matches(&path) && layer.lora.is_some() {
                changed = Some(path.clone());
            }
            paths.push(path);
        });
        if let Some(path) = changed {
            return error(format!("{path} has a change already"));
        }
        let count = paths.iter().filter(|path| pattern.matches(path)).count();
        if count == 0 {
            let some = paths.iter().take(3).map(String::as_str).collect::<Vec<_>>().join(", ");
            let found = format!("`{pattern}` matches none of {} linear layers", paths.len());
            return error(format!("{found} ({some}, ..)"));
        }
        freeze_all_but_changes(model);
        each_linear(model, &mut |path, layer| {
            if pattern.matches(&path) {
                layer.lora = Some(Box::new(Lora::new(self, layer)));
            }
        });
        Ok(count)
    }
}

/// Adds the changes that [`LoraConfig::apply`] put on layers of `model` to their weights and takes
/// them away, so that they cost nothing more, and tells how many they were.
pub fn merge_lora(model: &mut impl Module) -> usize {
    let mut count = 0;
    each_linear(model, &mut |_, layer| {
        let Some(lora) = layer.lora.take() else { return };
        let trained = layer.weight.as_any().tracked().is_some();
        layer.weight = no_grad(|| layer.weight.add(lora.delta())).into();
        layer.weight.set_trainable(trained);
        count += 1;
    });
    count
}

/// Every linear layer of a model with its path, but not those that changes are made of.
fn each_linear(model: &mut impl Module, visit: &mut dyn FnMut(String, &mut Linear)) {
    struct Each<'a>(&'a mut dyn FnMut(String, &mut Linear));
    impl VisitorMut for Each<'_> {
        fn module(&mut self, path: &Path<'_>, module: &mut dyn Any) {
            let Some(layer) = module.downcast_mut() else { return };
            let path = path.to_string();
            if !path.ends_with(".lora_A") && !path.ends_with(".lora_B") {
                (self.0)(path, layer);
            }
        }
    }
    model.visit_mut(&Path::ROOT, &mut Each(visit));
}

fn freeze_all_but_changes(model: &mut impl Module) {
    struct Freeze;
    impl VisitorMut for Freeze {
        fn param(&mut self, path: &Path<'_>, tensor: &mut AnyTensor) {
            let path = path.to_string();
            if !path.ends_with("lora_A.weight") && !path.ends_with("lora_B.weight") {
                *tensor = tensor.detach();
            }
        }
    }
    model.visit_mut(&Path::ROOT, &mut Freeze);
}
