//! Errors of predicted numbers.

use kiln_tensor::{Error, Result};

use super::{Goal, Metric, state_of};
use crate::train::Step;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Mae,
    Mse,
    Rmse,
    Mape,
    R2,
}

/// An error of predicted numbers, over all elements of outputs and targets of the same shape.
///
/// ```
/// use kiln::prelude::*;
/// use kiln::train::{Metric, Regression, Step};
/// let mut mae = Regression::mae();
/// let (output, target) = (Tensor::<1>::from([1.0, 2.0]), Tensor::<1>::from([1.0, 5.0]));
/// mae.update(&Step::new(Tensor::<1>::from([0.0])).with_output(&output, &target))?;
/// assert_eq!(mae.value(), Some(1.5));
/// # Ok::<(), kiln::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Regression {
    kind: Kind,
    count: f64,
    /// Sum of the absolute, squared or relative errors.
    errors: f64,
    /// Mean of the targets, and the sum of their squared distances from it: updated batch by batch
    /// (Chan et al. 1979), because a sum of squares would cancel.
    mean: f64,
    spread: f64,
}

impl Regression {
    fn new(kind: Kind) -> Self {
        Self { kind, count: 0.0, errors: 0.0, mean: 0.0, spread: 0.0 }
    }

    /// The mean absolute error.
    pub fn mae() -> Self {
        Self::new(Kind::Mae)
    }

    /// The mean squared error.
    pub fn mse() -> Self {
        Self::new(Kind::Mse)
    }

    /// The root of the mean squared error.
    pub fn rmse() -> Self {
        Self::new(Kind::Rmse)
    }

    /// The mean absolute error as a share of the target, as scikit-learn computes it: no target
    /// counts as less than the smallest step of `f64`.
    pub fn mape() -> Self {
        Self::new(Kind::Mape)
    }

    /// The coefficient of determination: 1 for a perfect model, 0 for one that always says the mean.
    pub fn r2() -> Self {
        Self::new(Kind::R2)
    }

    fn add(&mut self, output: &[f64], target: &[f64]) {
        let error = |(y, t): (&f64, &f64)| match self.kind {
            Kind::Mae => (y - t).abs(),
            Kind::Mape => (y - t).abs() / t.abs().max(f64::EPSILON),
            Kind::Mse | Kind::Rmse | Kind::R2 => (y - t) * (y - t),
        };
        self.errors += output.iter().zip(target).map(error).sum::<f64>();
        let count = target.len() as f64;
        let mean = target.iter().sum::<f64>() / count;
        let spread = target.iter().map(|t| (t - mean) * (t - mean)).sum::<f64>();
        let (total, apart) = (self.count + count, mean - self.mean);
        self.mean += apart * count / total;
        self.spread += spread + apart * apart * self.count * count / total;
        self.count = total;
    }
}

impl Metric for Regression {
    fn name(&self) -> String {
        match self.kind {
            Kind::Mae => "mae",
            Kind::Mse => "mse",
            Kind::Rmse => "rmse",
            Kind::Mape => "mape",
            Kind::R2 => "r2",
        }
        .into()
    }

    fn goal(&self) -> Goal {
        if self.kind == Kind::R2 { Goal::Max } else { Goal::Min }
    }

    fn update(&mut self, step: &Step) -> Result<()> {
        let (output, target) = step.output(&self.name())?;
        if output.shape() != target.shape() {
            let shapes = vec![output.shape(), target.shape()];
            let rule = "outputs and targets have the same shape".into();
            return Err(Error::Shape { op: "regression metric", shapes, rule });
        }
        let (output, target) = (output.to_data()?, target.to_data()?);
        if target.num_elements() > 0 {
            let numbers = |data: &kiln_tensor::TensorData| data.iter().collect::<Vec<f64>>();
            self.add(&numbers(&output), &numbers(&target));
        }
        Ok(())
    }

    fn value(&self) -> Option<f64> {
        let mean = self.errors / self.count;
        Some(match self.kind {
            Kind::Mae | Kind::Mse | Kind::Mape => mean,
            Kind::Rmse => mean.sqrt(),
            Kind::R2 => 1.0 - self.errors / self.spread,
        })
    }

    fn state(&self) -> Vec<f64> {
        vec![self.count, self.errors, self.mean, self.spread]
    }

    fn load_state(&mut self, state: &[f64]) -> Result<()> {
        [self.count, self.errors, self.mean, self.spread] = state_of(self, state)?;
        Ok(())
    }
}
