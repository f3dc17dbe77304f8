//! Losses.

use kiln_tensor::{Int, Tensor, module};

pub use kiln_tensor::module::Reduction;

/// The losses of single items as the result; not reduced, they are in one row.
fn reduce<const D: usize>(reduction: Reduction, losses: &Tensor<D>) -> Tensor<1> {
    match reduction {
        Reduction::None => losses.reshape([losses.num_elements()]),
        Reduction::Mean => losses.mean(),
        Reduction::Sum => losses.sum(),
    }
}

/// `torch.nn.CrossEntropyLoss` of logits and class indices, computed in one pass.
///
/// ```
/// use kiln_nn::CrossEntropyLoss;
/// use kiln_tensor::{Int, Tensor};
/// let logits = Tensor::<2>::from([[0.0, 0.0], [0.0, 0.0]]);
/// let loss = CrossEntropyLoss::new().forward(&logits, &Tensor::<1, Int>::from([0i64, 1]));
/// assert!((loss.into_scalar::<f64>() - 2f64.ln()).abs() < 1e-6);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct CrossEntropyLoss {
    reduction: Reduction,
}

impl CrossEntropyLoss {
    /// The mean over the rows.
    pub fn new() -> Self {
        Self::default()
    }

    /// Another reduction.
    pub fn with_reduction(mut self, reduction: Reduction) -> Self {
        self.reduction = reduction;
        self
    }

    /// `logits` `[n, classes]`, `targets` `[n]` in `0..classes`. Panics if a target is out of range.
    #[track_caller]
    pub fn forward(&self, logits: &Tensor<2>, targets: &Tensor<1, Int>) -> Tensor<1> {
        reduce(self.reduction, &module::cross_entropy(logits, targets))
    }
}

/// `torch.nn.MSELoss`: the squared difference.
///
/// ```
/// use kiln_nn::MseLoss;
/// use kiln_tensor::Tensor;
/// let (x, y) = (Tensor::<1>::from([1.0, 2.0]), Tensor::<1>::from([1.0, 4.0]));
/// assert_eq!(MseLoss::new().forward(&x, &y).into_scalar::<f32>(), 2.0);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct MseLoss {
    reduction: Reduction,
}

impl MseLoss {
    /// The mean over all elements.
    pub fn new() -> Self {
        Self::default()
    }

    /// Another reduction.
    pub fn with_reduction(mut self, reduction: Reduction) -> Self {
        self.reduction = reduction;
        self
    }

    /// Prediction and target of one shape. Panics if the shapes differ: broadcasting here is
    /// nearly always a mistake.
    #[track_caller]
    pub fn forward<const D: usize>(&self, prediction: &Tensor<D>, target: &Tensor<D>) -> Tensor<1> {
        if prediction.shape() != target.shape() {
            let shapes = vec![prediction.shape(), target.shape()];
            let rule = "prediction and target must have one shape".into();
            kiln_tensor::fail(kiln_tensor::Error::Shape { op: "mse_loss", shapes, rule });
        }
        reduce(self.reduction, &prediction.sub(target).square())
    }
}
