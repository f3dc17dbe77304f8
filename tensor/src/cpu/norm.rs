//! Layer and batch normalisation.
//!
//! Mean and variance are computed in two passes over data that is in cache: the variance of
//! numbers far from zero keeps its precision. Sums over rows that many threads share are cut by
//! size and joined in order.

use super::access::{Compute, Dense, Sink, float_type};
use super::float::Float;
use super::fold::{sum, sum2};
use super::parallel::{Shared, rows};
use super::pool::Scratch;
use super::simd::{Isa, Kernel, dispatch};
use crate::op::{BatchNorm, BatchNormEval, LayerNorm};
use crate::{AnyTensor, Element};

/// Rows whose share of a weight gradient is summed by one task.
const GROUP: usize = 64;

/// Rows of layer normalisation with their means and `1 / sqrt(var + epsilon)`.
struct LayerRows<'a, T> {
    n: usize,
    x: &'a [T],
    affine: Option<(&'a [T], &'a [T])>,
    epsilon: T,
    y: &'a mut [T],
    mean: &'a mut [T],
    rstd: &'a mut [T],
}

impl<T: Float> Kernel for LayerRows<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let LayerRows { n, x, affine, epsilon, y, mean, rstd } = self;
        let scale = T::ONE / T::from_f64(n as f64);
        for (i, (mean_out, rstd_out)) in mean.iter_mut().zip(rstd).enumerate() {
            let (x, y) = (&x[i * n..(i + 1) * n], &mut y[i * n..(i + 1) * n]);
            let mean = sum(x, |x| x) * scale;
            let var = sum(x, |x| (x - mean) * (x - mean)) * scale;
            let rstd = T::ONE / Float::sqrt(var + epsilon);
            (*mean_out, *rstd_out) = (mean, rstd);
            match affine {
                Some((weight, bias)) => {
                    let (weight, bias) = (&weight[..n], &bias[..n]);
                    for i in 0..n {
                        y[i] = ((x[i] - mean) * rstd).fused::<I>(weight[i], bias[i]);
                    }
                }
                None => {
                    for i in 0..n {
                        y[i] = (x[i] - mean) * rstd;
                    }
                }
            }
        }
    }
}

pub(super) fn layer_norm(op: &LayerNorm, inputs: &[&AnyTensor], outputs: &[AnyTensor]) {
    float_type!(inputs[0].dtype(), T => {
        let x = Dense::<T>::new(inputs[0]);
        let affine = op.affine.then(|| [1, 2].map(|i| Dense::<T>::new(inputs[i])));
        let affine = affine.as_ref().map(|[weight, bias]| (&**weight, &**bias));
        let n = inputs[0].shape_ref().last().copied().unwrap_or(1);
        // SAFETY: each output is new and used once.
        let [mut y, mut mean, mut rstd] = [0, 1, 2].map(|i| unsafe { Sink::<T>::new(&outputs[i]) });
        let (count, epsilon) = (mean.len(), T::from_f64(op.epsilon));
        let [y, mean, rstd] = [&mut y, &mut mean, &mut rstd].map(|sink| Shared::new(sink));
        rows(count, n * 2, |range| {
            let part = range.start * n..range.end * n;
            // SAFETY: the ranges of rows do not overlap.
            let (y, mean, rstd) =
                unsafe { (y.part(part.clone()), mean.part(range.clone()), rstd.part(range)) };
            dispatch(LayerRows { n, x: &x[part], affine, epsilon, y, mean, rstd });
        });
    })
}

/// One row of the gradient: `dx`, and what the row adds to the gradients of weight and bias.
struct LayerRowBackward<'a, T> {
    x: &'a [T],
    mean: T,
    rstd: T,
    dy: &'a [T],
    weight: Option<&'a [T]>,
    dx: &'a mut [T],
    /// Sums of `dy * h` and of `dy` over the rows of a group.
    sums: Option<(&'a mut [T], &'a mut [T])>,
}

impl<T: Float> Kernel for LayerRowBackward<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let LayerRowBackward { x, mean, rstd, dy, weight, dx, sums } = self;
        let n = dx.len();
        let (x, dy) = (&x[..n], &dy[..n]);
        let scale = T::ONE / T::from_f64(n as f64);
        // dx = rstd (g - mean(g) - h mean(g h)) with g = dy weight
        let h = |x: T| (x - mean) * rstd;
        match weight {
            Some(weight) => {
                let weight = &weight[..n];
                for i in 0..n {
                    dx[i] = dy[i] * weight[i];
                }
            }
            None => dx.copy_from_slice(dy),
        }
        let mean_g = sum(dx, |g| g) * scale;
        let mean_gh = sum2(dx, x, |g, x| g * h(x)) * scale;
        match sums {
            Some((dweight, dbias)) => {
                let (dweight, dbias) = (&mut dweight[..n], &mut dbias[..n]);
                for i in 0..n {
                    let h = h(x[i]);
                    dx[i] = (dx[i] - mean_g - h * mean_gh) * rstd;
                    dweight[i] += dy[i] * h;
                    dbias[i] += dy[i];
                }
            }
            None => {
                for i in 0..n {
                    dx[i] = (dx[i] - mean_g - h(x[i]) * mean_gh) * rstd;
                }
            }
        }
    }
}

pub(super) fn layer_norm_backward(affine: bool, inputs: &[&AnyTensor], outputs: &[AnyTensor]) {
    float_type!(inputs[0].dtype(), T => {
        let [x, mean, rstd, dy] = [0, 1, 2, 3].map(|i| Dense::<T>::new(inputs[i]));
        let weight = affine.then(|| Dense::<T>::new(inputs[4]));
        let weight = weight.as_deref();
        let n = inputs[0].shape_ref().last().copied().unwrap_or(1);
        // SAFETY: each output is new and used once.
        let mut dx = unsafe { Sink::<T>::new(&outputs[0]) };
        let dx = Shared::new(&mut dx);
        let groups = mean.len().div_ceil(GROUP);
        // [groups, 2, n]
        let mut partial = Scratch::<T>::zeros(if affine { groups * 2 * n } else { 0 });
        let sums = Shared::new(&mut partial);
        rows(groups, GROUP * n * 4, |range| {
            for group in range {
                for row in group * GROUP..mean.len().min((group + 1) * GROUP) {
                    let part = row * n..(row + 1) * n;
                    // SAFETY: rows do not overlap, nor do the sums of different groups.
                    let (dx, sums) = unsafe {
                        let sums = affine.then(|| sums.part(group * 2 * n..(group + 1) * 2 * n));
                        (dx.part(part.clone()), sums.map(|sums| sums.split_at_mut(n)))
                    };
                    let (mean, rstd) = (mean[row], rstd[row]);
                    let (x, dy) = (&x[part.clone()], &dy[part]);
                    dispatch(LayerRowBackward { x, mean, rstd, dy, weight, dx, sums });
                }
            }
        });
        if affine {
            for which in [0, 1] {
                // SAFETY: each output is new and used once.
                let mut total = unsafe { Sink::<T>::new(&outputs[1 + which]) };
                join(partial.chunks_exact(2 * n.max(1)).map(|group| &group[which * n..][..n]), &mut total);
            }
        }
    })
}

/// Adds up rows in order, in double precision.
fn join<'a, T: Compute>(parts: impl Iterator<Item = &'a [T]>, total: &mut [T]) {
    let mut wide = vec![0.0; total.len()];
    for part in parts {
        wide.iter_mut().zip(part).for_each(|(wide, x)| *wide += x.to_f64());
    }
    total.iter_mut().zip(wide).for_each(|(total, wide)| *total = T::from_f64(wide));
}

/// Sums of `f(i)` over the elements of a plane.
struct PlaneSums<'a, T> {
    x: &'a [T],
    /// `(dy, mean, rstd)` for the gradient; the forward pass sums `x` and `(x - centre)^2`.
    second: Option<(&'a [T], T, T)>,
    centre: T,
}

impl<T: Float> Kernel for PlaneSums<'_, T> {
    type Output = (T, T);
    #[inline(always)]
    fn run<I: Isa>(self) -> (T, T) {
        let PlaneSums { x, second, centre } = self;
        let n = x.len();
        match second {
            Some((dy, mean, rstd)) => {
                let dy = &dy[..n];
                (sum(dy, |dy| dy), sum2(dy, x, |dy, x| dy * ((x - mean) * rstd)))
            }
            None => (sum(x, |x| x), sum(x, |x| (x - centre) * (x - centre))),
        }
    }
}

/// `y = a x + b`, or with a second slice `y = a x + b + c second`.
struct Affine<'a, T> {
    x: &'a [T],
    a: T,
    b: T,
    second: Option<(&'a [T], T)>,
    y: &'a mut [T],
}

impl<T: Float> Kernel for Affine<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let Affine { x, a, b, second, y } = self;
        let n = y.len();
        let x = &x[..n];
        match second {
            Some((second, c)) => {
                let second = &second[..n];
                for i in 0..n {
                    y[i] = x[i].fused::<I>(a, second[i].fused::<I>(c, b));
                }
            }
            None => {
                for i in 0..n {
                    y[i] = x[i].fused::<I>(a, b);
                }
            }
        }
    }
}

/// `[n, c, plane]` of an input, with the range of each plane.
struct Planes {
    images: usize,
    channels: usize,
    plane: usize,
}

impl Planes {
    fn of(x: &AnyTensor) -> Self {
        let shape = x.shape();
        Self { images: shape[0], channels: shape[1], plane: shape[2..].iter().product() }
    }

    fn range(&self, image: usize, channel: usize) -> std::ops::Range<usize> {
        let start = (image * self.channels + channel) * self.plane;
        start..start + self.plane
    }

    fn count(&self) -> usize {
        self.images * self.plane
    }
}

/// Each channel is one task: its planes are read for the mean, for the variance, and for the
/// result.
pub(super) fn batch_norm(op: &BatchNorm, inputs: &[&AnyTensor], outputs: &[AnyTensor]) {
    let planes = Planes::of(inputs[0]);
    float_type!(inputs[0].dtype(), T => {
        let [x, weight, bias] = [0, 1, 2].map(|i| Dense::<T>::new(inputs[i]));
        // SAFETY: each output is new and used once.
        let [mut y, mut mean, mut rstd] = [0, 1, 2].map(|i| unsafe { Sink::<T>::new(&outputs[i]) });
        let [y, means, rstds] = [&mut y, &mut mean, &mut rstd].map(|sink| Shared::new(sink));
        rows(planes.channels, planes.count() * 3, |range| {
            for channel in range {
                let total = |centre: T, pick: fn((T, T)) -> T| {
                    let plane = |image| {
                        let x = &x[planes.range(image, channel)];
                        pick(dispatch(PlaneSums { x, second: None, centre })).to_f64()
                    };
                    (0..planes.images).map(plane).sum::<f64>() / planes.count() as f64
                };
                let mean = T::from_f64(total(T::ZERO, |(sum, _)| sum));
                let var = total(mean, |(_, squares)| squares);
                let rstd = T::from_f64(1.0 / (var + op.epsilon).sqrt());
                let a = weight[channel] * rstd;
                let b = bias[channel] - mean * a;
                for image in 0..planes.images {
                    let part = planes.range(image, channel);
                    // SAFETY: planes do not overlap.
                    let y = unsafe { y.part(part.clone()) };
                    dispatch(Affine { x: &x[part], a, b, second: None, y });
                }
                // SAFETY: each channel writes its own entries.
                unsafe {
                    means.set(channel, mean);
                    rstds.set(channel, rstd);
                }
            }
        });
    })
}

pub(super) fn batch_norm_backward(inputs: &[&AnyTensor], outputs: &[AnyTensor]) {
    let planes = Planes::of(inputs[0]);
    float_type!(inputs[0].dtype(), T => {
        let [x, mean, rstd, dy, weight] = [0, 1, 2, 3, 4].map(|i| Dense::<T>::new(inputs[i]));
        // SAFETY: each output is new and used once.
        let [mut dx, mut dw, mut db] = [0, 1, 2].map(|i| unsafe { Sink::<T>::new(&outputs[i]) });
        let [dx, dweight, dbias] = [&mut dx, &mut dw, &mut db].map(|sink| Shared::new(sink));
        rows(planes.channels, planes.count() * 4, |range| {
            for channel in range {
                let (mean, rstd) = (mean[channel], rstd[channel]);
                let (mut sum, mut sum_h) = (0.0, 0.0);
                for image in 0..planes.images {
                    let part = planes.range(image, channel);
                    let second = Some((&dy[part.clone()], mean, rstd));
                    let (s, h) = dispatch(PlaneSums { x: &x[part], second, centre: T::ZERO });
                    sum += s.to_f64();
                    sum_h += h.to_f64();
                }
                // dx = weight rstd (dy - mean(dy) - h mean(dy h)), linear in dy and x.
                let n = planes.count() as f64;
                let scale = weight[channel].to_f64() * rstd.to_f64();
                let slope = -scale * (sum_h / n) * rstd.to_f64();
                let b = T::from_f64(-scale * (sum / n) - slope * mean.to_f64());
                let (a, c) = (T::from_f64(scale), T::from_f64(slope));
                for image in 0..planes.images {
                    let part = planes.range(image, channel);
                    // SAFETY: planes do not overlap.
                    let y = unsafe { dx.part(part.clone()) };
                    let second = Some((&x[part.clone()], c));
                    dispatch(Affine { x: &dy[part], a, b, second, y });
                }
                // SAFETY: each channel writes its own entries.
                unsafe {
                    dweight.set(channel, T::from_f64(sum_h));
                    dbias.set(channel, T::from_f64(sum));
                }
            }
        });
    })
}

pub(super) fn batch_norm_eval(op: &BatchNormEval, inputs: &[&AnyTensor], y: &AnyTensor) {
    let planes = Planes::of(inputs[0]);
    float_type!(inputs[0].dtype(), T => {
        let [x, weight, bias, mean, var] = [0, 1, 2, 3, 4].map(|i| Dense::<T>::new(inputs[i]));
        // SAFETY: `y` is the only output, and new.
        let mut y = unsafe { Sink::<T>::new(y) };
        let y = Shared::new(&mut y);
        rows(planes.images * planes.channels, planes.plane, |range| {
            for index in range {
                let (image, channel) = (index / planes.channels, index % planes.channels);
                let rstd = T::ONE / Float::sqrt(var[channel] + T::from_f64(op.epsilon));
                let a = weight[channel] * rstd;
                let b = bias[channel] - mean[channel] * a;
                let part = planes.range(image, channel);
                // SAFETY: planes do not overlap.
                let y = unsafe { y.part(part.clone()) };
                dispatch(Affine { x: &x[part], a, b, second: None, y });
            }
        });
    })
}
