//! Random numbers of more laws than [`Distribution`] has.
//!
//! All of them follow from the device's generator: after the same
//! [`Device::seed`](crate::Device::seed) come the same numbers, whatever the number of threads.
//! Where the law is the same for all elements, a function takes the shape and where to make it;
//! where parameters differ from element to element, it takes them as tensors.
//!
//! ```
//! use kiln_tensor::{Device, Tensor, sample};
//! let device = Device::cpu();
//! let waits = sample::exponential::<1>([1000], 2.0, &device);
//! assert!((waits.mean().into_scalar::<f32>() - 0.5).abs() < 0.1);
//! let mixture = sample::dirichlet(Tensor::<1>::from([1.0, 2.0, 3.0]));
//! assert!((mixture.sum().into_scalar::<f32>() - 1.0).abs() < 1e-5);
//! ```

use super::activation::{sigmoid, softmax};
use crate::op::{Distribution, Multinomial, Sample, SampleKind};
use crate::random::philox;
use crate::tensor::{Float, Int, Options, Tensor};
use crate::{DType, Error, Generator, Shape};

/// A function of uniform numbers on `(0, 1)`: unlike those of [`Distribution::Default`] never zero,
/// whose logarithm is infinite. Half types could not hold them, so they come last.
#[track_caller]
fn from_uniform<const D: usize>(
    shape: impl Into<Shape>,
    options: impl Into<Options>,
    law: impl FnOnce(Tensor<D>) -> Tensor<D>,
) -> Tensor<D> {
    let options = options.into();
    let dtype = options.dtype::<Float>();
    let (wide, half_step) = match dtype {
        DType::F64 => (DType::F64, 2f64.powi(-54)),
        _ => (DType::F32, 2f64.powi(-25)),
    };
    let uniform = Distribution::Uniform(half_step, 1.0);
    let drawn = law(Tensor::random(shape, uniform, (&options.device, wide)));
    Tensor::from_any(drawn.as_any().cast(dtype))
}

#[track_caller]
fn check(law: &str, valid: bool, rule: &str) {
    if !valid {
        crate::fail(Error::Argument { op: "sample", rule: format!("{law}: {rule}") });
    }
}

#[track_caller]
fn draw<const D: usize>(kind: SampleKind, parameter: &Tensor<D>) -> Tensor<D> {
    let x = parameter.as_any();
    let Generator { seed, offset } = x.device().draw(4 * x.num_elements());
    parameter.apply(Sample { kind, seed, offset }, &[])
}

/// Times between events that happen `rate` times a unit of time, as `torch.Tensor.exponential_`.
/// Panics unless `rate` is above zero.
#[track_caller]
pub fn exponential<const D: usize>(
    shape: impl Into<Shape>,
    rate: f64,
    options: impl Into<Options>,
) -> Tensor<D> {
    check("exponential", rate > 0.0, "the rate must be above zero");
    from_uniform(shape, options, |u| u.log() * (-1.0 / rate))
}

/// Which trial is the first to succeed, from 1 on, if each does with probability `p`, as
/// `torch.Tensor.geometric_`. Panics unless `p` is in `0..=1` and not zero.
#[track_caller]
pub fn geometric<const D: usize>(
    shape: impl Into<Shape>,
    p: f64,
    options: impl Into<Options>,
) -> Tensor<D> {
    check("geometric", p > 0.0 && p <= 1.0, "the probability must be above 0 and at most 1");
    from_uniform(shape, options, |u| {
        let trials = u.log() * (1.0 / (-p).ln_1p());
        Tensor::from_any(trials.as_any().ceil().maximum_scalar(1))
    })
}

/// Cauchy numbers, as `torch.Tensor.cauchy_`. Panics unless `scale` is above zero.
#[track_caller]
pub fn cauchy<const D: usize>(
    shape: impl Into<Shape>,
    median: f64,
    scale: f64,
    options: impl Into<Options>,
) -> Tensor<D> {
    check("cauchy", scale > 0.0, "the scale must be above zero");
    from_uniform(shape, options, |u| {
        let angle = (u - 0.5) * std::f64::consts::PI;
        Tensor::from_any(angle.as_any().tan()) * scale + median
    })
}

/// Numbers whose logarithm is normal with this mean and standard deviation, as
/// `torch.Tensor.log_normal_`.
#[track_caller]
pub fn log_normal<const D: usize>(
    shape: impl Into<Shape>,
    mean: f64,
    std: f64,
    options: impl Into<Options>,
) -> Tensor<D> {
    Tensor::<D>::random(shape, Distribution::Normal(mean, std), options).exp()
}

/// Laplace numbers, as `torch.distributions.Laplace`. Panics unless `scale` is above zero.
#[track_caller]
pub fn laplace<const D: usize>(
    shape: impl Into<Shape>,
    mean: f64,
    scale: f64,
    options: impl Into<Options>,
) -> Tensor<D> {
    check("laplace", scale > 0.0, "the scale must be above zero");
    let (shape, options) = (shape.into(), options.into());
    // The difference of two exponential numbers.
    let one = || exponential::<D>(shape, 1.0 / scale, options);
    one() - one() + mean
}

/// Gumbel numbers, as `torch.distributions.Gumbel`. Panics unless `scale` is above zero.
#[track_caller]
pub fn gumbel<const D: usize>(
    shape: impl Into<Shape>,
    location: f64,
    scale: f64,
    options: impl Into<Options>,
) -> Tensor<D> {
    check("gumbel", scale > 0.0, "the scale must be above zero");
    from_uniform(shape, options, |u| (u.log() * -1.0).log() * -scale + location)
}

/// Normal numbers with this mean and standard deviation, given that they lie in `low..=high`, as
/// `torch.nn.init.trunc_normal_`. Panics unless `std` is above zero and `low` below `high`.
#[track_caller]
pub fn truncated_normal<const D: usize>(
    shape: impl Into<Shape>,
    mean: f64,
    std: f64,
    low: f64,
    high: f64,
    options: impl Into<Options>,
) -> Tensor<D> {
    let means = Tensor::<D>::full(shape, mean, options);
    draw(SampleKind::TruncatedNormal { std, low, high }, &means)
}

/// A gamma number of each concentration, with rate 1, as `torch.distributions.Gamma(x, 1)`. Divide
/// by a rate for others. A negative concentration gives NaN.
#[track_caller]
pub fn gamma<const D: usize>(concentration: impl AsRef<Tensor<D>>) -> Tensor<D> {
    draw(SampleKind::Gamma, concentration.as_ref())
}

/// A beta number of each pair of concentrations, which broadcast, as `torch.distributions.Beta`.
#[track_caller]
pub fn beta<const D: usize>(a: impl AsRef<Tensor<D>>, b: impl AsRef<Tensor<D>>) -> Tensor<D> {
    let (a, b) = (a.as_ref(), b.as_ref());
    let Some(shape) = a.shape().broadcast(&b.shape()) else {
        let rule = "the concentrations must broadcast".into();
        crate::fail(Error::Shape { op: "beta", shapes: vec![a.shape(), b.shape()], rule });
    };
    // The share of one gamma number in both, by logarithms: small ones would underflow.
    let [a, b] = [a, b].map(|x| {
        let each = Tensor::<D>::from_any(x.as_any().expand(shape));
        draw(SampleKind::LogGamma, &each)
    });
    sigmoid(a - b)
}

/// Numbers that add up to one along the last axis, for concentrations along it, as
/// `torch.distributions.Dirichlet`.
#[track_caller]
pub fn dirichlet<const D: usize>(concentrations: impl AsRef<Tensor<D>>) -> Tensor<D> {
    const { assert!(D > 0, "concentrations need at least one axis") };
    softmax(draw(SampleKind::LogGamma, concentrations.as_ref()), D - 1)
}

/// A Poisson number of each rate, as `torch.poisson`. A negative rate gives NaN.
#[track_caller]
pub fn poisson<const D: usize>(rate: impl AsRef<Tensor<D>>) -> Tensor<D> {
    draw(SampleKind::Poisson, rate.as_ref())
}

/// 1 with each probability, else 0, as `torch.bernoulli`.
#[track_caller]
pub fn bernoulli<const D: usize>(probability: impl AsRef<Tensor<D>>) -> Tensor<D> {
    let p = probability.as_ref();
    let wide = p.dtype().promote(DType::F32);
    let uniform = Tensor::<D>::random(p.shape(), Distribution::Default, (&p.device(), wide));
    let p = p.as_any();
    Tensor::from_any(p.greater(uniform.as_any()).cast(p.dtype()))
}

impl<const D: usize> Tensor<D, Int> {
    /// Whole numbers, each in `range` with the same probability, as `torch.randint`. Panics if the
    /// range is empty.
    ///
    /// ```
    /// use kiln_tensor::{Device, Int, Tensor};
    /// let dice = Tensor::<2, Int>::randint(1..7, [10, 2], &Device::cpu());
    /// dice.to_data().assert_within_range(1..7);
    /// ```
    #[track_caller]
    pub fn randint(
        range: std::ops::Range<i64>,
        shape: impl Into<Shape>,
        options: impl Into<Options>,
    ) -> Self {
        check("randint", range.start < range.end, "the range must not be empty");
        Self::random(shape, Distribution::Uniform(range.start as f64, range.end as f64), options)
    }
}

impl Tensor<1, Int> {
    /// The numbers `0..len` in random order, as `torch.randperm`.
    #[track_caller]
    pub fn randperm(len: usize, options: impl Into<Options>) -> Self {
        let options = options.into();
        let start = options.device.draw(4 * len);
        let mut values: Vec<i64> = (0..len as i64).collect();
        // Fisher and Yates, from the end.
        for i in (1..len).rev() {
            let words = philox(start.seed, start.offset.wrapping_add(i as u64));
            let word = (words[0] as u64) << 32 | words[1] as u64;
            values.swap(i, ((word as u128 * (i as u128 + 1)) >> 64) as usize);
        }
        Self::from_data(values, options)
    }
}

impl<const D: usize> Tensor<D, Float> {
    /// Uniform numbers on `[0, 1)`, as `torch.rand`.
    #[track_caller]
    pub fn rand(shape: impl Into<Shape>, options: impl Into<Options>) -> Self {
        Self::random(shape, Distribution::Default, options)
    }

    /// Standard normal numbers, as `torch.randn`.
    #[track_caller]
    pub fn randn(shape: impl Into<Shape>, options: impl Into<Options>) -> Self {
        Self::random(shape, Distribution::Normal(0.0, 1.0), options)
    }

    /// 1 with the probability that each element is, else 0, as `torch.bernoulli`.
    #[track_caller]
    pub fn bernoulli(&self) -> Self {
        bernoulli(self)
    }

    /// `samples` indices for each slice of weights along the last axis, as `torch.multinomial`: the
    /// probability of an index is in proportion to its weight, and without `replacement` none
    /// comes twice.
    ///
    /// `[.., n]` to `[.., samples]`. Panics if a weight is negative or not finite, if all are zero,
    /// or if fewer than `samples` can be drawn.
    #[track_caller]
    pub fn multinomial(&self, samples: usize, replacement: bool) -> Tensor<D, Int> {
        let x = self.as_any();
        let categories = x.shape().last().copied().unwrap_or(0);
        let blocks = match replacement {
            true => x.num_elements() / categories.max(1) * samples,
            false => x.num_elements(),
        };
        let Generator { seed, offset } = x.device().draw(4 * blocks);
        self.apply(Multinomial { samples, replacement, seed, offset }, &[])
    }

    /// `samples` indices for each slice of weights along the last axis, which need not add up to
    /// one: [`Tensor::multinomial`] with replacement.
    ///
    /// ```
    /// use kiln_tensor::Tensor;
    /// let weights = Tensor::<2>::from([[0.0, 0.0, 5.0], [1.0, 0.0, 0.0]]);
    /// assert_eq!(weights.categorical(2).to_vec::<i64>(), [2, 2, 0, 0]);
    /// ```
    #[track_caller]
    pub fn categorical(&self, samples: usize) -> Tensor<D, Int> {
        self.multinomial(samples, true)
    }
}
