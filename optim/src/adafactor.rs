//! Adafactor.

use kiln_nn::Config;
use kiln_tensor::op::{Axes, BinaryKind, Meta, ReduceKind, Rule, SgdRule, Update};
use kiln_tensor::{AnyTensor, Result, update};

use crate::clip::norm;
use crate::{Algorithm, Optim, Slot, check};

/// Adam without the average of the gradient, and with that of its square kept as one row and one
/// column of each matrix (Shazeer & Stern 2018): `torch.optim.Adafactor`. Its state is tiny.
pub type Adafactor = Optim<AdafactorConfig>;

/// What an [`Adafactor`] is made of.
#[derive(Config, Debug)]
pub struct AdafactorConfig {
    /// The largest learning rate, relative to the size of a parameter.
    pub lr: f64,
    /// The average of the squares takes in this power of the number of the step.
    #[config(default = -0.8)]
    pub beta2_decay: f64,
    /// The least root of an average square; that of the dtype if not set.
    pub epsilon_1: Option<f64>,
    /// The least size of a parameter.
    #[config(default = 1e-3)]
    pub epsilon_2: f64,
    /// The root mean square above which an update is clipped.
    #[config(default = 1.0)]
    pub clip_threshold: f64,
    /// The parameter shrinks by this times the learning rate.
    #[config(default = 0.0)]
    pub weight_decay: f64,
    /// Up the gradient instead of down.
    #[config(default = false)]
    pub maximize: bool,
}

impl AdafactorConfig {
    /// Makes the optimizer. Panics if a setting makes no sense.
    #[track_caller]
    pub fn init(&self) -> Adafactor {
        Optim::new(self.clone())
    }
}

impl Algorithm for AdafactorConfig {
    fn lr(&self) -> f64 {
        self.lr
    }

    fn set_lr(&mut self, lr: f64) {
        self.lr = lr;
    }

    fn check(&self) -> Result<()> {
        let Self { lr, beta2_decay, epsilon_2, weight_decay, .. } = *self;
        check::positive("adafactor", [("clip_threshold", self.clip_threshold)])?;
        check::not_negative("adafactor", [("epsilon_1", self.epsilon_1.unwrap_or(0.0))])?;
        let settings = [("lr", lr), ("epsilon_2", epsilon_2), ("weight_decay", weight_decay)];
        check::not_negative("adafactor", settings)?;
        check::rule("adafactor", beta2_decay <= 0.0, || {
            format!("beta2_decay must not be above zero, found {beta2_decay}")
        })
    }

    fn states(&self, param: &AnyTensor) -> &'static [&'static str] {
        if param.rank() > 1 { &["row_var", "col_var"] } else { &["variance"] }
    }

    fn start(&self, name: &str, param: &AnyTensor) -> AnyTensor {
        let zeros = |removed: usize| {
            let mut shape = param.shape();
            shape[removed] = 1;
            Slot::zeros(&AnyTensor::full(Meta::new(shape, param.dtype()), 0, param.device()))
        };
        match name {
            "row_var" => zeros(param.rank() - 1),
            "col_var" => zeros(param.rank() - 2),
            _ => Slot::zeros(param),
        }
    }

    fn step(
        &self,
        param: &mut AnyTensor,
        grad: &AnyTensor,
        slot: &mut Slot,
    ) -> Result<Option<Update>> {
        let step = slot.step as f64;
        let share = step.powf(self.beta2_decay);
        let values = param.detach();
        let root_mean_square = |x: &AnyTensor| norm(x) / (x.num_elements().max(1) as f64).sqrt();
        let size = root_mean_square(&values).max(self.epsilon_2);
        let rate = size * self.lr.min(1.0 / step.sqrt());
        let epsilon = self.epsilon_1.unwrap_or(param.dtype().epsilon());

        let grad = grad.detach().cast(slot.tensors[0].dtype());
        let square = grad.square();
        let average = Update::average(share).into();
        let variance = match &mut slot.tensors[..] {
            [rows, columns] => {
                let (row, column) = (grad.rank() - 2, grad.rank() - 1);
                let mean = |x: &AnyTensor, axis| x.reduce(ReduceKind::Mean, Axes::single(axis));
                // [.., n, 1] and [.., 1, m]
                update(&average, &mean(&square, column), &mut [rows])?;
                update(&average, &mean(&square, row), &mut [columns])?;
                let scale = mean(rows, row).maximum_scalar(epsilon);
                rows.div(&scale).mul(columns)
            }
            [variance] => {
                update(&average, &square, &mut [variance])?;
                variance.clone()
            }
            _ => unreachable!("one state tensor or two"),
        };
        let mut step = variance.maximum_scalar(epsilon * epsilon).rsqrt();
        step.binary_assign(BinaryKind::Mul, &grad);
        let clip = (root_mean_square(&step) / self.clip_threshold).max(1.0);
        let op = Update {
            maximize: self.maximize,
            shrink: 1.0 - self.lr * self.weight_decay,
            ..Update::new(Rule::Sgd(SgdRule::new(rate / clip)))
        };
        update(&op.into(), &step.cast(param.dtype()), &mut [param])?;
        Ok(None)
    }
}
