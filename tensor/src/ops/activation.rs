//! Activation functions that are compositions. Where `torch.nn.functional` has the function, its
//! gradient at a kink is the same; a branch that is not taken never sees a number that would make
//! its gradient NaN.

use crate::op::BinaryKind::{And, Greater, GreaterEqual, LessEqual};
use crate::{AnyTensor, Error, Shape, fail};

impl AnyTensor {
    /// `self` where it is larger than zero, elsewhere `below` of it.
    fn above_zero_or(&self, below: impl FnOnce(&Self) -> Self) -> Self {
        let positive = self.compare(Greater, 0);
        self.select_where(&positive, &below(&self.fill_where(&positive, 0)))
    }

    /// `x` above 0, `slope * x` below.
    #[track_caller]
    pub fn leaky_relu(&self, slope: f64) -> Self {
        self.above_zero_or(|x| x.mul_scalar(slope))
    }

    /// `x` above 0, `slope * x` below, with one slope, or one per channel (axis 1).
    #[track_caller]
    pub fn prelu(&self, slope: &Self) -> Self {
        let (shape, n) = (self.shape(), slope.num_elements());
        let axes = if n == 1 { 1 } else { shape.rank() };
        if slope.rank() > 1 || (n != 1 && (shape.rank() < 2 || shape[1] != n)) {
            let rule = "one slope or one for each channel (axis 1) is needed".into();
            fail(Error::Shape { op: "prelu", shapes: vec![shape, slope.shape()], rule });
        }
        let dims = (0..axes).map(|axis| if axis == 1 { n } else { 1 });
        let slope = slope.reshape(Shape::new(dims.collect::<Vec<_>>()));
        self.above_zero_or(|x| x.mul(&slope))
    }

    /// `x` between `min` and `max`, else the nearer of them; constant at both.
    #[track_caller]
    pub fn hardtanh(&self, min: f64, max: f64) -> Self {
        if min > max {
            let rule = format!("the bounds {min} and {max} are in the wrong order");
            fail(Error::Argument { op: "hardtanh", rule });
        }
        self.maximum_scalar(min).minimum_scalar(max)
    }

    /// `alpha x + beta` between 0 and 1, else the nearer of them.
    #[track_caller]
    pub fn hard_sigmoid(&self, alpha: f64, beta: f64) -> Self {
        self.mul_scalar(alpha).add_scalar(beta).hardtanh(0.0, 1.0)
    }

    /// `x` times its hard sigmoid: 0 below -3, `x` above 3, `x (x + 3) / 6` between.
    #[track_caller]
    pub fn hard_swish(&self) -> Self {
        self.mul(&self.add_scalar(3).hardtanh(0.0, 6.0).div_scalar(6))
    }

    /// 0 from `-lambda` to `lambda`, beyond it `x` moved by `bias` toward zero.
    #[track_caller]
    pub fn shrink(&self, lambda: f64, bias: f64) -> Self {
        let moved = |bias: f64| if bias == 0.0 { self.clone() } else { self.sub_scalar(bias) };
        // A NaN is on neither side, and stays.
        let inside = self.compare(GreaterEqual, -lambda);
        let inside = inside.binary(And, &self.compare(LessEqual, lambda));
        let outside = moved(bias).select_where(&self.compare(Greater, lambda), &moved(-bias));
        outside.fill_where(&inside, 0)
    }

    /// `x` where it is larger than `threshold`, `value` elsewhere; NaN stays.
    #[track_caller]
    pub fn threshold(&self, threshold: f64, value: f64) -> Self {
        self.fill_where(&self.compare(LessEqual, threshold), value)
    }

    /// `x` above 0, `scale (e^(x / width) - 1)` below.
    #[track_caller]
    pub fn elu(&self, scale: f64, width: f64) -> Self {
        let stretch = |x: &Self| if width == 1.0 { x.clone() } else { x.div_scalar(width) };
        self.above_zero_or(|x| stretch(x).expm1().mul_scalar(scale))
    }

    /// `x tanh(softplus(x))`.
    #[track_caller]
    pub fn mish(&self) -> Self {
        self.mul(&self.softplus().tanh())
    }

    /// `-softplus(-x)`, the logarithm of the sigmoid, accurate on both sides.
    #[track_caller]
    pub fn log_sigmoid(&self) -> Self {
        self.neg().softplus().neg()
    }

    /// `e^x / (1 + sum(e^x))` along `axis`: a softmax with a zero among its inputs that is not
    /// returned, so that all results can be small.
    #[track_caller]
    pub fn quiet_softmax(&self, axis: usize) -> Self {
        let extent = self.shape().get(axis).copied().unwrap_or(0);
        if extent == 0 {
            return self.softmax(axis);
        }
        let zero = self.narrow(axis, 0, 1).zeros_like();
        Self::cat(&[self, &zero], axis).softmax(axis).narrow(axis, 0, extent)
    }

    /// The first half along `axis` times the sigmoid of the second.
    #[track_caller]
    pub fn glu(&self, axis: usize) -> Self {
        let half = self.shape()[axis] / 2;
        if self.shape()[axis] % 2 == 1 {
            let rule = format!("the extent of axis {axis} must be even");
            fail(Error::Shape { op: "glu", shapes: vec![self.shape()], rule });
        }
        self.narrow(axis, 0, half).mul(&self.narrow(axis, half, half).sigmoid())
    }
}
