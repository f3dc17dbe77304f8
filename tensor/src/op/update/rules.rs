//! The rules of the optimizers whose step looks at each element alone.

#[cfg(any(test, feature = "samples"))]
use super::Rule;
use super::{Formula, Number};

/// Stochastic gradient descent with momentum, as `torch.optim.SGD`. State: the momentum, if
/// [`SgdRule::momentum`] is not zero.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SgdRule {
    /// Learning rate.
    pub lr: f64,
    /// Share of the old momentum that is kept; zero: no momentum.
    pub momentum: f64,
    /// Share of the gradient that does not enter the momentum.
    pub dampening: f64,
    /// Nesterov's look-ahead.
    pub nesterov: bool,
    /// The first step, which starts the momentum with the gradient itself.
    pub first: bool,
}

impl SgdRule {
    /// Plain gradient descent.
    pub fn new(lr: f64) -> Self {
        Self { lr, momentum: 0.0, dampening: 0.0, nesterov: false, first: false }
    }
}

impl Formula for SgdRule {
    #[inline(always)]
    fn step<X: Number>(&self, grad: &X, targets: &mut [X]) {
        let step = match &mut targets[1..] {
            [momentum] => {
                let (old, new) =
                    if self.first { (0.0, 1.0) } else { (self.momentum, 1.0 - self.dampening) };
                *momentum = momentum.mul_add(old, &grad.mul_scalar(new));
                if self.nesterov { momentum.mul_add(self.momentum, grad) } else { momentum.clone() }
            }
            _ => grad.clone(),
        };
        targets[0] = step.mul_add(-self.lr, &targets[0]);
    }
}

/// Adam (Kingma & Ba 2014) and its family: the step is `(rate * m + look * grad) / (root *
/// sqrt(v) + epsilon)`. State: the averages `m` of the gradient and `v` of its square, and the
/// largest `v` so far, which takes the place of `v`, if [`AdamRule::amsgrad`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamRule {
    /// Decay of the average of the gradient.
    pub beta_1: f64,
    /// Decay of the average of its square.
    pub beta_2: f64,
    /// Added to the root.
    pub epsilon: f64,
    /// Factor of the average.
    pub rate: f64,
    /// Factor of the gradient: zero but for NAdam's look-ahead.
    pub look: f64,
    /// Factor of the root of the average square.
    pub root: f64,
    /// The maximum of all average squares (Reddi et al. 2018).
    pub amsgrad: bool,
}

impl AdamRule {
    /// The `step`-th step of Adam, from 1: the bias of the young averages is taken out.
    pub fn new(lr: f64, beta_1: f64, beta_2: f64, epsilon: f64, step: u64) -> Self {
        let unbias = |beta: f64| 1.0 - beta.powf(step as f64);
        let (rate, root) = (lr / unbias(beta_1), 1.0 / unbias(beta_2).sqrt());
        Self { beta_1, beta_2, epsilon, rate, look: 0.0, root, amsgrad: false }
    }
}

impl Formula for AdamRule {
    #[inline(always)]
    fn step<X: Number>(&self, grad: &X, targets: &mut [X]) {
        let [param, m, v, rest @ ..] = targets else { unreachable!("three targets") };
        *m = m.mul_add(self.beta_1, &grad.mul_scalar(1.0 - self.beta_1));
        *v = v.mul_add(self.beta_2, &grad.mul_scalar(1.0 - self.beta_2).mul(grad));
        let root = match rest {
            [largest] => {
                *largest = largest.maximum(v);
                largest.sqrt()
            }
            _ => v.sqrt(),
        };
        let denominator = root.mul_scalar(self.root).add_scalar(self.epsilon);
        let step = grad.mul_add(self.look, &m.mul_scalar(self.rate));
        *param = param.sub(&step.div(&denominator));
    }
}

/// Adam with the largest gradient in the place of the root of the average square, as
/// `torch.optim.Adamax`. State: the average of the gradient, and the fading maximum.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamaxRule {
    /// Learning rate without the bias of the young average.
    pub rate: f64,
    /// Decay of the average of the gradient.
    pub beta_1: f64,
    /// Decay of the maximum.
    pub beta_2: f64,
    /// Added to the size of the gradient.
    pub epsilon: f64,
}

impl Formula for AdamaxRule {
    #[inline(always)]
    fn step<X: Number>(&self, grad: &X, targets: &mut [X]) {
        let [param, m, largest] = targets else { unreachable!("three targets") };
        *m = m.lerp(grad, 1.0 - self.beta_1);
        *largest = largest.mul_scalar(self.beta_2).maximum(&grad.abs().add_scalar(self.epsilon));
        *param = m.div(largest).mul_add(-self.rate, param);
    }
}

/// A step over the root of the sum of all squares (Duchi et al. 2011), as `torch.optim.Adagrad`.
/// State: the sum.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdagradRule {
    /// Learning rate.
    pub rate: f64,
    /// Added to the root.
    pub epsilon: f64,
}

impl Formula for AdagradRule {
    #[inline(always)]
    fn step<X: Number>(&self, grad: &X, targets: &mut [X]) {
        let [param, sum] = targets else { unreachable!("two targets") };
        *sum = grad.mul(grad).add(sum);
        let step = grad.div(&sum.sqrt().add_scalar(self.epsilon));
        *param = step.mul_add(-self.rate, param);
    }
}

/// Steps of the size of the steps so far (Zeiler 2012), as `torch.optim.Adadelta`. State: the
/// averages of the square of the gradient and of the step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdadeltaRule {
    /// Learning rate.
    pub lr: f64,
    /// Decay of the averages.
    pub rho: f64,
    /// Added to both averages.
    pub epsilon: f64,
}

impl Formula for AdadeltaRule {
    #[inline(always)]
    fn step<X: Number>(&self, grad: &X, targets: &mut [X]) {
        let [param, square, steps] = targets else { unreachable!("three targets") };
        *square = square.mul_add(self.rho, &grad.mul_scalar(1.0 - self.rho).mul(grad));
        let root = |average: &X| average.add_scalar(self.epsilon).sqrt();
        let step = root(steps).div(&root(square)).mul(grad);
        *steps = steps.mul_add(self.rho, &step.mul_scalar(1.0 - self.rho).mul(&step));
        *param = step.mul_add(-self.lr, param);
    }
}

/// A step over the root of the average square (Hinton 2012), as `torch.optim.RMSprop`. State: that
/// average, the momentum if it is not zero, and the average of the gradient if centered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RmsPropRule {
    /// Learning rate.
    pub lr: f64,
    /// Decay of the averages.
    pub alpha: f64,
    /// Added to the root.
    pub epsilon: f64,
    /// Share of the last step that is kept; zero: no momentum.
    pub momentum: f64,
    /// The variance of the gradient in the place of its square.
    pub centered: bool,
}

impl Formula for RmsPropRule {
    #[inline(always)]
    fn step<X: Number>(&self, grad: &X, targets: &mut [X]) {
        let [param, square, rest @ ..] = targets else { unreachable!("two targets or more") };
        *square = square.mul_add(self.alpha, &grad.mul_scalar(1.0 - self.alpha).mul(grad));
        let mut variance = square.clone();
        let rest = match rest {
            [rest @ .., mean] if self.centered => {
                *mean = mean.lerp(grad, 1.0 - self.alpha);
                // Rounding could take it below zero.
                variance = variance.sub(&mean.mul(mean)).clamp(0.0, f64::INFINITY);
                rest
            }
            rest => rest,
        };
        let step = grad.div(&variance.sqrt().add_scalar(self.epsilon));
        let step = match rest {
            [momentum] => {
                *momentum = momentum.mul_add(self.momentum, &step);
                momentum.clone()
            }
            _ => step,
        };
        *param = step.mul_add(-self.lr, param);
    }
}

/// Steps that look at the sign of the gradient alone (Riedmiller & Braun 1993), as
/// `torch.optim.Rprop`. State: the last gradient, and the sizes of the steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RpropRule {
    /// Factor of a step that overshot.
    pub shrink: f64,
    /// Factor of a step in the direction of the last one.
    pub grow: f64,
    /// The shortest step.
    pub min_step: f64,
    /// The longest step.
    pub max_step: f64,
}

impl Formula for RpropRule {
    #[inline(always)]
    fn step<X: Number>(&self, grad: &X, targets: &mut [X]) {
        let [param, last, size] = targets else { unreachable!("three targets") };
        let sign = grad.mul(last).sign();
        // One where it turned, else zero; and the same for one that went on.
        let turned = sign.mul_scalar(-1.0).clamp(0.0, 1.0);
        let went_on = sign.clamp(0.0, 1.0);
        let factor = turned.mul_scalar(self.shrink - 1.0).add_scalar(1.0);
        let factor = went_on.mul_add(self.grow - 1.0, &factor);
        *size = size.mul(&factor).clamp(self.min_step, self.max_step);
        *last = grad.mul(&turned.mul_scalar(-1.0).add_scalar(1.0));
        *param = param.sub(&last.sign().mul(size));
    }
}

/// Gradient descent whose result is the average of all parameters (Polyak & Juditsky 1992), as
/// `torch.optim.ASGD`. State: that average.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AsgdRule {
    /// Learning rate.
    pub rate: f64,
    /// Share of the way from the average to the parameter.
    pub share: f64,
}

impl Formula for AsgdRule {
    #[inline(always)]
    fn step<X: Number>(&self, grad: &X, targets: &mut [X]) {
        let [param, average] = targets else { unreachable!("two targets") };
        *param = grad.mul_add(-self.rate, param);
        *average = average.mul_add(1.0 - self.share, &param.mul_scalar(self.share));
    }
}

/// The sign of a mix of gradient and average (Chen et al. 2023). State: the average.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LionRule {
    /// Learning rate.
    pub lr: f64,
    /// Share of the average in the mix.
    pub beta_1: f64,
    /// Decay of the average.
    pub beta_2: f64,
}

impl Formula for LionRule {
    #[inline(always)]
    fn step<X: Number>(&self, grad: &X, targets: &mut [X]) {
        let [param, m] = targets else { unreachable!("two targets") };
        let mix = m.mul_add(self.beta_1, &grad.mul_scalar(1.0 - self.beta_1));
        *param = mix.sign().mul_add(-self.lr, param);
        *m = m.mul_add(self.beta_2, &grad.mul_scalar(1.0 - self.beta_2));
    }
}

/// Adaptive Nesterov momentum (Xie et al. 2022). State: the averages of the gradient, of its change
/// and of the square of both, and the last gradient.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdanRule {
    /// Decay of the average of the gradient.
    pub beta_1: f64,
    /// Decay of the average of its change.
    pub beta_2: f64,
    /// Decay of the average square.
    pub beta_3: f64,
    /// Added to the root.
    pub epsilon: f64,
    /// Learning rate without the bias of the young average of the gradient.
    pub rate: f64,
    /// The same for the average of its change, times `beta_2`.
    pub change_rate: f64,
    /// Factor of the root.
    pub root: f64,
    /// What the parameter is multiplied by after the step: proximal weight decay.
    pub shrink_after: f64,
    /// The first step, before which there was no change.
    pub first: bool,
}

impl Formula for AdanRule {
    #[inline(always)]
    fn step<X: Number>(&self, grad: &X, targets: &mut [X]) {
        let [param, m, change, square, last] = targets else { unreachable!("five targets") };
        let difference = last.mul_add(-1.0, grad).mul_scalar(if self.first { 0.0 } else { 1.0 });
        *last = grad.clone();
        *m = m.lerp(grad, 1.0 - self.beta_1);
        *change = change.lerp(&difference, 1.0 - self.beta_2);
        let ahead = difference.mul_add(self.beta_2, grad);
        *square = square.mul_add(self.beta_3, &ahead.mul_scalar(1.0 - self.beta_3).mul(&ahead));
        let denominator = square.sqrt().mul_scalar(self.root).add_scalar(self.epsilon);
        let step = change.mul_add(self.change_rate, &m.mul_scalar(self.rate));
        *param = param.sub(&step.div(&denominator)).mul_scalar(self.shrink_after);
    }
}

/// The parameter times what stands in the place of the gradient: many tensors scaled in place, each
/// by a number that the device has computed. No state, and no penalty.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScaleRule;

impl Formula for ScaleRule {
    // Infinite numbers stay infinite: times zero they would make the factor NaN.
    const PENALTY: bool = false;

    #[inline(always)]
    fn step<X: Number>(&self, factor: &X, targets: &mut [X]) {
        targets[0] = targets[0].mul(factor);
    }
}

/// Each rule in each form.
#[cfg(any(test, feature = "samples"))]
pub(super) fn samples() -> Vec<Rule> {
    let adam = AdamRule::new(0.01, 0.9, 0.999, 1e-8, 3);
    let momentum = SgdRule { momentum: 0.9, dampening: 0.1, ..SgdRule::new(0.1) };
    let rms = RmsPropRule { lr: 0.1, alpha: 0.9, epsilon: 1e-3, momentum: 0.0, centered: false };
    let adan = AdanRule {
        beta_1: 0.98,
        beta_2: 0.92,
        beta_3: 0.99,
        epsilon: 1e-8,
        rate: 0.01,
        change_rate: 0.02,
        root: 1.5,
        shrink_after: 0.99,
        first: false,
    };
    vec![
        Rule::Sgd(SgdRule::new(0.1)),
        Rule::Sgd(momentum),
        Rule::Sgd(SgdRule { first: true, ..momentum }),
        Rule::Sgd(SgdRule { nesterov: true, dampening: 0.0, ..momentum }),
        Rule::Adam(adam),
        Rule::Adam(AdamRule { look: 0.01, ..adam }),
        Rule::Adam(AdamRule { amsgrad: true, ..adam }),
        Rule::Adamax(AdamaxRule { rate: 0.1, beta_1: 0.9, beta_2: 0.99, epsilon: 1e-8 }),
        Rule::Adagrad(AdagradRule { rate: 0.1, epsilon: 1e-10 }),
        Rule::Adadelta(AdadeltaRule { lr: 1.0, rho: 0.9, epsilon: 1e-6 }),
        Rule::RmsProp(rms),
        Rule::RmsProp(RmsPropRule { momentum: 0.9, ..rms }),
        Rule::RmsProp(RmsPropRule { centered: true, ..rms }),
        Rule::RmsProp(RmsPropRule { centered: true, momentum: 0.9, ..rms }),
        Rule::Rprop(RpropRule { shrink: 0.5, grow: 1.2, min_step: 1e-6, max_step: 50.0 }),
        Rule::Asgd(AsgdRule { rate: 0.1, share: 0.25 }),
        Rule::Lion(LionRule { lr: 0.01, beta_1: 0.9, beta_2: 0.99 }),
        Rule::Adan(adan),
        Rule::Adan(AdanRule { first: true, ..adan }),
        Rule::Scale(ScaleRule),
    ]
}
