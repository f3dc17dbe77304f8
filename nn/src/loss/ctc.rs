//! Connectionist temporal classification.

use kiln_tensor::{Int, Tensor, module};

use super::Reduction;
use crate::{Config, Module};

/// What a [`CTCLoss`] is made of.
#[derive(Config, Debug)]
pub struct CTCLossConfig {
    /// The class that stands for no label.
    #[config(default = 0)]
    pub blank: usize,
    /// Whether the infinite loss of an impossible target becomes zero.
    #[config(default = false)]
    pub zero_infinity: bool,
}

impl CTCLossConfig {
    /// Makes the loss.
    pub fn init(&self) -> CTCLoss {
        CTCLoss { blank: self.blank, zero_infinity: self.zero_infinity }
    }
}

/// The negative logarithm of the probability that a sequence of classes spells its target (Graves et
/// al. 2006): `torch.nn.CTCLoss`.
#[derive(Clone, Copy, Debug, Module)]
pub struct CTCLoss {
    /// The class that stands for no label.
    pub blank: usize,
    /// Whether the infinite loss of an impossible target becomes zero.
    pub zero_infinity: bool,
}

impl CTCLoss {
    /// The loss of each sequence, `[n]`. `log_probs` `[t, n, classes]`, `targets` `[n, s]` without
    /// blanks, both lengths `[n]`. Panics if a length or a target is out of range.
    #[track_caller]
    pub fn forward(
        &self,
        log_probs: impl AsRef<Tensor<3>>,
        targets: impl AsRef<Tensor<2, Int>>,
        input_lengths: impl AsRef<Tensor<1, Int>>,
        target_lengths: impl AsRef<Tensor<1, Int>>,
    ) -> Tensor<1> {
        let none = Reduction::None;
        self.forward_with_reduction(log_probs, targets, input_lengths, target_lengths, none)
    }

    /// The loss of all sequences. The mean is that of the losses divided by the lengths of their
    /// targets, as in PyTorch.
    #[track_caller]
    pub fn forward_with_reduction(
        &self,
        log_probs: impl AsRef<Tensor<3>>,
        targets: impl AsRef<Tensor<2, Int>>,
        input_lengths: impl AsRef<Tensor<1, Int>>,
        target_lengths: impl AsRef<Tensor<1, Int>>,
        reduction: Reduction,
    ) -> Tensor<1> {
        let (blank, zero) = (self.blank, self.zero_infinity);
        module::ctc_loss_reduced(
            log_probs,
            targets,
            input_lengths,
            target_lengths,
            blank,
            reduction,
            zero,
        )
    }
}
