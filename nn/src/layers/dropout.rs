//! Random zeros against overfitting.

use kiln_tensor::{AnyTensor, Tensor, module};

use crate::{Layer, Mode, Module};

/// What a [`Dropout`] is made of.
#[derive(Clone, Debug)]
pub struct DropoutConfig {
    p: f64,
}

impl DropoutConfig {
    /// Each element is zero with probability `p`, in `0..1`.
    pub fn new(p: f64) -> Self {
        Self { p }
    }

    /// Makes the layer. Panics if the probability is out of range.
    #[track_caller]
    pub fn init(&self) -> Dropout {
        if !(0.0..1.0).contains(&self.p) {
            let rule = format!("the probability must be in 0..1, found {}", self.p);
            kiln_tensor::fail(kiln_tensor::Error::Argument { op: "dropout", rule });
        }
        Dropout { p: self.p, mode: Mode::default() }
    }
}

/// `torch.nn.Dropout` (Srivastava et al. 2014): in training each element is zero with probability
/// `p` and the others are divided by `1 - p`; in evaluation nothing happens.
#[derive(Clone, Debug, Module)]
pub struct Dropout {
    /// Probability of zero.
    pub p: f64,
    mode: Mode,
}

impl Dropout {
    /// Any shape to the same shape.
    #[track_caller]
    pub fn forward<const D: usize>(&self, x: &Tensor<D>) -> Tensor<D> {
        Tensor::from_any(self.forward_any(x.as_any()))
    }
}

impl Layer for Dropout {
    #[track_caller]
    fn forward_any(&self, x: &AnyTensor) -> AnyTensor {
        let idle = !self.mode.is_training() || self.p == 0.0;
        if idle { x.clone() } else { module::dropout_any(x, self.p) }
    }

    fn boxed_clone(&self) -> Box<dyn Layer> {
        Box::new(self.clone())
    }
}
