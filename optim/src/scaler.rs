//! Loss scaling for training in half precision.

use kiln_autograd::Gradients;
use kiln_nn::{Config, LoadReport, StateDict};
use kiln_tensor::op::Total;
use kiln_tensor::{Error, OrFail, Result, Tensor, TensorData};

use crate::state::number;
use crate::{check, together};

/// What a [`GradScaler`] is made of; the defaults are those of `torch.amp.GradScaler`.
#[derive(Config, Debug, PartialEq)]
pub struct GradScalerConfig {
    /// The scale to start with.
    #[config(default = 65536.0)]
    pub scale: f64,
    /// What the scale is multiplied by after enough good steps.
    #[config(default = 2.0)]
    pub growth: f64,
    /// What the scale is multiplied by after a step whose gradients overflowed.
    #[config(default = 0.5)]
    pub backoff: f64,
    /// How many good steps in a row let the scale grow.
    #[config(default = 2000)]
    pub interval: usize,
}

impl GradScalerConfig {
    /// Makes the scaler. Panics if a setting makes no sense.
    #[track_caller]
    pub fn init(&self) -> GradScaler {
        let Self { scale, growth, backoff, interval } = *self;
        check::positive("grad_scaler", [("scale", scale)]).or_fail();
        let holds = growth >= 1.0 && backoff > 0.0 && backoff < 1.0 && interval > 0;
        check::rule("grad_scaler", holds, || {
            format!(
                "growth must be 1 or more, backoff in 0..1 and interval 1 or more, found {growth}, \
                 {backoff} and {interval}"
            )
        })
        .or_fail();
        GradScaler { scale, good: 0, skipped: 0, config: self.clone() }
    }
}

/// Keeps small gradients of half-precision training from vanishing: the loss is multiplied by a
/// large scale before backward, and the gradients are divided by it after. If they overflowed, the
/// step is left out and the scale falls; after many good steps it rises (Micikevicius et al. 2018).
///
/// ```
/// use kiln_autograd::Autograd;
/// use kiln_nn::{LinearConfig, MseLoss, Reduction};
/// use kiln_optim::{GradScalerConfig, Optimizer, SgdConfig};
/// use kiln_tensor::{Device, Tensor};
///
/// let device = Device::cpu();
/// let mut model = LinearConfig::new(1, 1).init(&device);
/// let (mut optim, mut scaler) = (SgdConfig::new(0.1).init(), GradScalerConfig::new().init());
/// let x = Tensor::<2>::from([[1.0], [2.0]]);
/// let loss = MseLoss::new().forward(model.forward(&x), &x, Reduction::Mean);
/// if let Some(grads) = scaler.unscale(scaler.scale(&loss).backward()) {
///     optim.step(&mut model, grads);
/// }
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct GradScaler {
    config: GradScalerConfig,
    scale: f64,
    /// Good steps in a row.
    good: usize,
    skipped: usize,
}

impl GradScaler {
    /// The loss to call backward on.
    pub fn scale<const D: usize>(&self, loss: &Tensor<D>) -> Tensor<D> {
        loss.mul_scalar(self.scale)
    }

    /// The gradients of the loss itself, given those of the scaled one; `None` if one of them
    /// overflowed, and then this step is to be left out. Adapts the scale.
    pub fn unscale(&mut self, mut grads: Gradients) -> Option<Gradients> {
        together::scale(&mut grads, 1.0 / self.scale);
        if together::total(Total::NotFinite, &grads) > 0.0 {
            self.scale *= self.config.backoff;
            self.good = 0;
            self.skipped += 1;
            return None;
        }
        self.good += 1;
        if self.good >= self.config.interval {
            let grown = self.scale * self.config.growth;
            // A scale that f32 can not hold would make every loss infinite.
            if (grown as f32).is_finite() {
                self.scale = grown;
            }
            self.good = 0;
        }
        Some(grads)
    }

    /// What losses are multiplied by at the moment.
    pub fn current(&self) -> f64 {
        self.scale
    }

    /// How many steps were left out so far.
    pub fn skipped(&self) -> usize {
        self.skipped
    }

    /// What changes in the course of a training: `scale`, `growth_tracker` (good steps in a row) and
    /// `skipped`.
    pub fn state_dict(&self) -> StateDict {
        let mut state = StateDict::default();
        state.insert("scale", TensorData::new(vec![self.scale], [1]));
        state.insert("growth_tracker", TensorData::new(vec![self.good as i64], [1]));
        state.insert("skipped", TensorData::new(vec![self.skipped as i64], [1]));
        state
    }

    /// Takes back what [`GradScaler::state_dict`] gave; an error, and an unchanged scaler, if
    /// anything is missing or makes no sense.
    pub fn load_state_dict(&mut self, state: &StateDict) -> Result<()> {
        let mut report = LoadReport::default();
        let mut entry = |name| number(state, name, &mut report);
        let (scale, good, skipped) = (entry("scale"), entry("growth_tracker"), entry("skipped"));
        if !report.is_complete() {
            let rule = format!("the state does not fit: {report}");
            return Err(Error::Argument { op: "grad_scaler", rule });
        }
        check::positive("grad_scaler", [("scale", scale)])?;
        let counts = [("growth_tracker", good), ("skipped", skipped)];
        check::not_negative("grad_scaler", counts)?;
        (self.scale, self.good, self.skipped) = (scale, good as usize, skipped as usize);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use kiln_autograd::Autograd;

    use super::*;

    #[test]
    fn the_scale_falls_after_an_overflow_and_grows_after_good_steps() {
        let mut scaler = GradScalerConfig::new().with_scale(8.0).with_interval(2).init();
        let x = Tensor::<1>::from([3.0]).require_grad();
        let step = |scaler: &mut GradScaler, factor: f32| {
            let grads = scaler.scale(&(&x * factor)).backward();
            scaler.unscale(grads).map(|grads| x.grad(&grads).unwrap().item::<f32>())
        };
        assert_eq!((step(&mut scaler, 5.0), scaler.current()), (Some(5.0), 8.0));
        assert_eq!((step(&mut scaler, 5.0), scaler.current()), (Some(5.0), 16.0));
        for bad in [f32::INFINITY, f32::NEG_INFINITY, f32::NAN] {
            let before = scaler.current();
            assert_eq!((step(&mut scaler, bad), scaler.current()), (None, before / 2.0));
        }
        assert_eq!(scaler.skipped(), 3);
        // A bad step starts the count anew.
        assert_eq!((step(&mut scaler, 5.0), scaler.current()), (Some(5.0), 2.0));
        assert_eq!((step(&mut scaler, 5.0), scaler.current()), (Some(5.0), 4.0));
    }
}
