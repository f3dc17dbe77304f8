//! Binary cross-entropy.

use kiln_tensor::{Device, Kind, Tensor, activation, loss};

use super::{Reduction, class_weights, require, same_shape, weights};
use crate::{Buffer, Config, Module};

const OP: &str = "binary_cross_entropy";

/// What a [`BinaryCrossEntropyLoss`] is made of.
#[derive(Config, Debug)]
pub struct BinaryCrossEntropyLossConfig {
    /// A weight for each class, along the last axis; of a vector of predictions, the weights of
    /// targets 0 and 1.
    pub weights: Option<Vec<f64>>,
    /// The share of the target that is spread evenly over all classes (Szegedy et al. 2016).
    pub smoothing: Option<f64>,
    /// Whether predictions are logits, as for `torch.nn.BCEWithLogitsLoss`; else they are
    /// probabilities, as for `torch.nn.BCELoss`.
    #[config(default = false)]
    pub logits: bool,
    /// Factors of the loss of targets 1, one for each class or one for all. They need logits.
    pub pos_weight: Option<Vec<f64>>,
}

impl BinaryCrossEntropyLossConfig {
    /// Makes the loss. Panics if the smoothing is not in 0..=1, if a weight is negative, or if there
    /// is a `pos_weight` without logits.
    #[track_caller]
    pub fn init(&self, device: &Device) -> BinaryCrossEntropyLoss {
        let Self { smoothing, logits, .. } = *self;
        let share = smoothing.unwrap_or(0.0);
        let rule = || format!("smoothing {share} is not in 0..=1");
        require(OP, (0.0..=1.0).contains(&share), rule);
        let mut all = self.weights.iter().chain(&self.pos_weight).flatten();
        require(OP, all.all(|&weight| weight >= 0.0), || "a weight is negative".into());
        let rule = || "a pos_weight needs logits".into();
        require(OP, logits || self.pos_weight.is_none(), rule);
        let pos_weight = weights(&self.pos_weight, device);
        BinaryCrossEntropyLoss {
            weights: weights(&self.weights, device),
            smoothing,
            logits,
            pos_weight,
        }
    }
}

/// Binary cross-entropy, by default of probabilities: `torch.nn.BCELoss` and
/// `torch.nn.BCEWithLogitsLoss`. Targets may be ints, bools or floats between 0 and 1.
///
/// ```
/// use kiln_nn::BinaryCrossEntropyLossConfig;
/// use kiln_tensor::{Device, Int, Tensor};
/// let loss = BinaryCrossEntropyLossConfig::new().with_logits(true).init(&Device::cpu());
/// let (logits, targets) = (Tensor::<1>::from([0.0, 0.0]), Tensor::<1, Int>::from([0, 1]));
/// assert!((loss.forward(&logits, &targets).into_scalar::<f64>() - 2f64.ln()).abs() < 1e-6);
/// ```
#[derive(Clone, Debug, Module)]
pub struct BinaryCrossEntropyLoss {
    /// A weight for each class, `[classes]`.
    pub weights: Option<Buffer<Tensor<1>>>,
    /// The share of the target that is spread evenly over all classes.
    pub smoothing: Option<f64>,
    /// Whether predictions are logits.
    pub logits: bool,
    /// Factors of the loss of targets 1, `[classes]` or `[1]`.
    pub pos_weight: Option<Buffer<Tensor<1>>>,
}

impl BinaryCrossEntropyLoss {
    /// The mean loss. `x` and `targets` `[.., classes]`. Panics if the shapes differ or do not fit
    /// the weights.
    #[track_caller]
    pub fn forward<const D: usize, K: Kind>(
        &self,
        x: impl AsRef<Tensor<D>>,
        targets: impl AsRef<Tensor<D, K>>,
    ) -> Tensor<1> {
        self.forward_with_reduction(x, targets, Reduction::Mean)
    }

    /// The loss of all elements.
    #[track_caller]
    pub fn forward_with_reduction<const D: usize, K: Kind>(
        &self,
        x: impl AsRef<Tensor<D>>,
        targets: impl AsRef<Tensor<D, K>>,
        reduction: Reduction,
    ) -> Tensor<1> {
        reduction.apply(self.forward_no_reduction(x, targets))
    }

    /// The loss of each element.
    #[track_caller]
    pub fn forward_no_reduction<const D: usize, K: Kind>(
        &self,
        x: impl AsRef<Tensor<D>>,
        targets: impl AsRef<Tensor<D, K>>,
    ) -> Tensor<D> {
        let (x, targets) = (x.as_ref(), targets.as_ref());
        same_shape(OP, x, targets);
        let hard = Tensor::<D>::from_any(targets.as_any().cast(x.dtype()));
        let classes = x.shape().last().copied().unwrap_or(1);
        let target = match self.smoothing {
            Some(share) => {
                let spread = share / if D > 1 { classes } else { 2 } as f64;
                hard.mul_scalar(1.0 - share).add_scalar(spread)
            }
            None => hard.clone(),
        };
        let pos_weight = self.pos_weight.as_ref().map(|weight| weight.get().cast(x.dtype()));
        let losses = match pos_weight {
            Some(weight) => {
                let fit = [classes, 1].contains(&weight.num_elements());
                let rule = || format!("{} factors for {classes} classes", weight.num_elements());
                require(OP, fit, rule);
                let yes = activation::softplus(x.neg(), 1.0).mul(&target).mul(weight.unsqueeze());
                yes.add(activation::softplus(x, 1.0).mul(target.neg().add_scalar(1)))
            }
            None if self.logits => loss::bce_with_logits(x, target),
            None => loss::bce(x, target),
        };
        let Some(weights) = &self.weights else { return losses };
        if D > 1 {
            return losses.mul(class_weights(OP, weights, classes, x.dtype()).unsqueeze());
        }
        // One class: the weights are those of both targets.
        let weights = class_weights(OP, weights, 2, x.dtype());
        let [no, yes] = [0, 1].map(|target| weights.narrow(0, target, 1).unsqueeze::<D>());
        losses.mul(no.mask_where(hard.greater_elem(0.5), yes))
    }
}
