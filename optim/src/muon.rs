//! Muon.

use kiln_nn::Config;
use kiln_tensor::op::{Rule, SgdRule, Update};
use kiln_tensor::{AnyTensor, Error, Result, update};

use crate::clip::norm;
use crate::{Algorithm, Optim, Slot, check};

/// Momentum whose matrices are made orthogonal before each step (Jordan 2024), for the matrices
/// inside of a network: `torch.optim.Muon`. Give embeddings, the last layer and vectors to another
/// optimizer: a parameter that is no matrix is an error.
///
/// The iteration that makes them orthogonal runs in the dtype of the state (PyTorch: in bf16).
pub type Muon = Optim<MuonConfig>;

/// How the learning rate follows from the shape of a matrix, `[a, b]`.
#[derive(Config, Debug, PartialEq)]
pub enum MuonRate {
    /// Times `sqrt(max(1, a / b))`.
    Original,
    /// Times `0.2 sqrt(max(a, b))`: steps as long as those of AdamW (Liu et al. 2025), whose learning
    /// rate and decay then fit.
    MatchRmsAdamW,
    /// Times `sqrt(a / b)`.
    SpectralUnclamped,
    /// The same for all.
    Constant,
}

/// What a [`Muon`] is made of.
#[derive(Config, Debug)]
pub struct MuonConfig {
    /// Learning rate.
    pub lr: f64,
    /// The parameter shrinks by this times the learning rate.
    #[config(default = 0.1)]
    pub weight_decay: f64,
    /// Share of the last momentum that is kept.
    #[config(default = 0.95)]
    pub momentum: f64,
    /// Nesterov's look-ahead.
    #[config(default = true)]
    pub nesterov: bool,
    /// Coefficients of the polynomial of degree five that is iterated.
    #[config(default = [3.4445, -4.775, 2.0315])]
    pub coefficients: [f64; 3],
    /// How often it is iterated.
    #[config(default = 5)]
    pub iterations: usize,
    /// The least norm that a matrix is divided by.
    #[config(default = 1e-7)]
    pub epsilon: f64,
    /// How the learning rate follows from the shape.
    #[config(default = MuonRate::Original)]
    pub rate: MuonRate,
}

impl MuonConfig {
    /// Makes the optimizer. Panics if a setting makes no sense.
    #[track_caller]
    pub fn init(&self) -> Muon {
        Optim::new(self.clone())
    }

    /// The nearest matrix whose singular values are all about one, by a Newton-Schulz iteration.
    fn orthogonal(&self, x: &AnyTensor) -> AnyTensor {
        let tall = x.shape()[0] > x.shape()[1];
        let x = if tall { x.transpose() } else { x.clone() };
        let mut x = x.mul_scalar(1.0 / norm(&x).max(self.epsilon));
        let [a, b, c] = self.coefficients;
        for _ in 0..self.iterations {
            let gram = x.matmul(&x.transpose());
            let polynomial = gram.mul_scalar(b).add(&gram.matmul(&gram).mul_scalar(c));
            x = x.mul_scalar(a).add(&polynomial.matmul(&x));
        }
        if tall { x.transpose() } else { x }
    }
}

impl Algorithm for MuonConfig {
    fn lr(&self) -> f64 {
        self.lr
    }

    fn set_lr(&mut self, lr: f64) {
        self.lr = lr;
    }

    fn check(&self) -> Result<()> {
        let Self { lr, weight_decay, momentum, epsilon, .. } = *self;
        check::not_negative("muon", [("lr", lr), ("weight_decay", weight_decay)])?;
        check::positive("muon", [("epsilon", epsilon)])?;
        check::shares("muon", [("momentum", momentum)])
    }

    fn states(&self, _: &AnyTensor) -> &'static [&'static str] {
        &["momentum_buffer"]
    }

    fn step(
        &self,
        param: &mut AnyTensor,
        grad: &AnyTensor,
        slot: &mut Slot,
    ) -> Result<Option<Update>> {
        if param.rank() != 2 {
            let (op, shapes) = ("muon", vec![param.shape()]);
            let rule = "a parameter must be a matrix; give others to another optimizer".into();
            return Err(Error::Shape { op, shapes, rule });
        }
        let momentum = &mut slot.tensors[0];
        let grad = grad.detach().cast(momentum.dtype());
        update(&Update::average(1.0 - self.momentum).into(), &grad, &mut [momentum])?;
        let step = match self.nesterov {
            true => self.orthogonal(&grad.lerp_scalar(momentum, self.momentum)),
            false => self.orthogonal(momentum),
        };
        let (a, b) = (param.shape()[0] as f64, param.shape()[1] as f64);
        let ratio = match self.rate {
            MuonRate::Original => (a / b).max(1.0).sqrt(),
            MuonRate::MatchRmsAdamW => 0.2 * a.max(b).sqrt(),
            MuonRate::SpectralUnclamped => (a / b).sqrt(),
            MuonRate::Constant => 1.0,
        };
        let op = Update {
            shrink: 1.0 - self.lr * self.weight_decay,
            ..Update::new(Rule::Sgd(SgdRule::new(self.lr * ratio)))
        };
        update(&op.into(), &step.cast(param.dtype()), &mut [param])?;
        Ok(None)
    }
}
