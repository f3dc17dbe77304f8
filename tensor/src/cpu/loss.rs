//! Cross-entropy, a few rows of logits at a time.
//!
//! Each step runs over all rows of a block before the next: exponentials and logarithms then go
//! over one flat slice and fill whole vectors, however few classes there are. Where positions
//! follow the classes (images), the rows of a block are brought together first.

use std::ops::Range;

use super::access::{Dense, Sink, float_type, integers};
use super::float::Float;
use super::fold::{max, sum, sum2};
use super::parallel::{Shared, rows};
use super::pool::Scratch;
use super::simd::{Isa, Kernel, dispatch};
use crate::op::{CrossEntropy, Reduction};
use crate::{AnyTensor, Error, Result};

/// An exponential is worth about this many plain elements when work is split.
const EXP_COST: usize = 4;
/// Elements of a block: they stay in the first-level cache between its steps.
pub(super) const BLOCK: usize = 4096;
/// The class of a row that does not count.
const IGNORED: usize = usize::MAX;

/// The classes of all rows, each checked.
fn classes_of(
    op: &CrossEntropy,
    name: &'static str,
    targets: &AnyTensor,
    size: usize,
) -> Result<Vec<usize>> {
    let check = |index: i64| match usize::try_from(index) {
        _ if Some(index) == op.ignore_index => Ok(IGNORED),
        Ok(class) if class < size => Ok(class),
        _ => Err(Error::Index { op: name, index, size }),
    };
    integers(targets).iter().copied().map(check).collect()
}

/// Logits `[outer, classes, inner]` cut into blocks of rows.
#[derive(Clone, Copy)]
struct Blocks {
    classes: usize,
    /// Positions after the classes; one if rows are contiguous, and then `len` is all rows.
    inner: usize,
    /// Rows that a block may not run beyond, and how many times so many there are.
    len: usize,
    groups: usize,
    /// Rows of a block.
    rows: usize,
}

impl Blocks {
    fn new(logits: &AnyTensor) -> Self {
        let shape = logits.shape();
        let (outer, classes) = (shape[0], shape[1]);
        let inner = shape[2..].iter().product();
        let (groups, len) = if inner == 1 { (1, outer) } else { (outer, inner) };
        Self { classes, inner, len, groups, rows: (BLOCK / classes.max(1)).max(1) }
    }

    /// Elements of the longest block.
    fn longest(&self) -> usize {
        self.rows.min(self.len) * self.classes
    }

    /// Calls `work` with blocks, each a group and rows of it, in parallel.
    fn for_each(&self, work: impl Fn(&mut dyn Iterator<Item = (usize, Range<usize>)>) + Sync) {
        let blocks = self.len.div_ceil(self.rows);
        rows(self.groups * blocks, self.rows * self.classes * EXP_COST, |range| {
            work(&mut range.map(|i| {
                let first = i % blocks * self.rows;
                (i / blocks, first..self.len.min(first + self.rows))
            }));
        });
    }

    /// Where the rows of a block lie among all rows.
    fn of_all(&self, group: usize, rows: &Range<usize>) -> Range<usize> {
        group * self.len + rows.start..group * self.len + rows.end
    }

    /// Where the elements of a class lie in the block of logits.
    fn class(&self, group: usize, class: usize, rows: &Range<usize>) -> Range<usize> {
        let start = (group * self.classes + class) * self.inner;
        start + rows.start..start + rows.end
    }

    /// The rows of a block, `[rows, classes]`; `copy` is room for as many elements.
    fn read<'a, T: Copy>(
        &self,
        x: &'a [T],
        group: usize,
        rows: &Range<usize>,
        copy: &'a mut [T],
    ) -> &'a [T] {
        if self.inner == 1 {
            return &x[rows.start * self.classes..rows.end * self.classes];
        }
        let copy = &mut copy[..rows.len() * self.classes];
        for class in 0..self.classes {
            let from = &x[self.class(group, class, rows)];
            for (to, &x) in copy[class..].iter_mut().step_by(self.classes).zip(from) {
                *to = x;
            }
        }
        copy
    }
}

/// The losses of a block of rows.
struct Losses<'a, T> {
    op: &'a CrossEntropy,
    /// `[classes]`
    weight: Option<&'a [T]>,
    x: &'a [T],
    classes: &'a [usize],
    losses: &'a mut [T],
    log_sum: &'a mut [T],
    /// As many elements as `x`.
    exp: &'a mut [T],
}

impl<T: Float> Kernel for Losses<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let Losses { op, weight, x, classes, losses, log_sum, exp } = self;
        let n = x.len() / losses.len();
        let rows = || x.chunks_exact(n);
        // `losses` holds the maxima until the end.
        if op.log_probs {
            losses.fill(T::ZERO);
            log_sum.fill(T::ZERO);
        } else {
            for ((x, exp), maximum) in rows().zip(exp.chunks_exact_mut(n)).zip(&mut *losses) {
                let max = max(x);
                *maximum = max;
                exp.iter_mut().zip(x).for_each(|(exp, &x)| *exp = x - max);
            }
            exp.iter_mut().for_each(|x| *x = x.exp::<I>());
            for (log_sum, exp) in log_sum.iter_mut().zip(exp.chunks_exact(n)) {
                *log_sum = sum(exp, |x| x);
            }
            log_sum.iter_mut().for_each(|x| *x = x.ln::<I>());
        }
        let smooth = T::from_f64(op.label_smoothing / n as f64);
        let sharp = T::from_f64(1.0 - op.label_smoothing);
        let total = weight.map_or(T::from_f64(n as f64), |weight| sum(weight, |w| w));
        for (((x, loss), &log_sum), &class) in rows().zip(losses).zip(log_sum.iter()).zip(classes) {
            if class == IGNORED {
                *loss = T::ZERO;
                continue;
            }
            let max = *loss;
            // The difference is exact where it matters.
            *loss = (log_sum - (x[class] - max)) * weight.map_or(T::ONE, |weight| weight[class]);
            if op.label_smoothing > 0.0 {
                let all = match weight {
                    Some(weight) => sum2(x, weight, |x, w| (x - max) * w),
                    None => sum(x, |x| x - max),
                };
                *loss = *loss * sharp + (log_sum * total - all) * smooth;
            }
        }
    }
}

/// The sum of all elements, in blocks whose sums are added in double precision.
struct Total<'a, T>(&'a [T]);

impl<T: Float> Kernel for Total<'_, T> {
    type Output = f64;
    #[inline(always)]
    fn run<I: Isa>(self) -> f64 {
        self.0.chunks(BLOCK).map(|block| sum(block, |x| x).to_f64()).sum()
    }
}

pub(super) fn cross_entropy(
    op: &CrossEntropy,
    inputs: &[&AnyTensor],
    outputs: &[AnyTensor],
) -> Result<()> {
    let logits = inputs[0];
    let classes = classes_of(op, "cross_entropy", inputs[1], logits.shape()[1])?;
    float_type!(logits.dtype(), T => run::<T>(op, inputs, &classes, outputs));
    Ok(())
}

fn run<T: Float>(
    op: &CrossEntropy,
    inputs: &[&AnyTensor],
    classes: &[usize],
    outputs: &[AnyTensor],
) {
    let x = Dense::<T>::new(inputs[0]);
    let weight = op.weighted.then(|| Dense::<T>::new(inputs[2]));
    let weight = weight.as_deref();
    // SAFETY: each output is new and used once.
    let [mut loss, mut log_sums, mut total] =
        [0, 1, 2].map(|i| unsafe { Sink::<T>::new(&outputs[i]) });
    let mut each = match op.reduction {
        Reduction::None => None,
        _ => Some(Scratch::<T>::new(classes.len())),
    };
    let losses = Shared::new(each.as_deref_mut().unwrap_or(&mut loss));
    let log_sums = Shared::new(&mut log_sums);
    let blocks = Blocks::new(inputs[0]);
    blocks.for_each(|range| {
        let mut exp = Scratch::<T>::new(blocks.longest());
        let mut copy = Scratch::<T>::new(if blocks.inner == 1 { 0 } else { exp.len() });
        for (group, rows) in range {
            let x = blocks.read(&x, group, &rows, &mut copy);
            let rows = blocks.of_all(group, &rows);
            // SAFETY: blocks do not overlap.
            let (losses, log_sum) =
                unsafe { (losses.part(rows.clone()), log_sums.part(rows.clone())) };
            let (classes, exp) = (&classes[rows], &mut exp[..x.len()]);
            dispatch(Losses { op, weight, x, classes, losses, log_sum, exp });
        }
    });
    let counted = classes.iter().filter(|&&class| class != IGNORED);
    let weights: f64 = match weight {
        Some(weight) => counted.map(|&class| weight[class].to_f64()).sum(),
        None => counted.count() as f64,
    };
    total[0] = T::from_f64(weights);
    if let Some(each) = each {
        let sum = dispatch(Total(&each));
        let divisor = if op.reduction == Reduction::Mean { weights } else { 1.0 };
        loss[0] = T::from_f64(sum / divisor);
    }
}

/// `dx = softmax(x)` of each row.
struct Probabilities<'a, T> {
    x: &'a [T],
    log_sum: &'a [T],
    dx: &'a mut [T],
}

impl<T: Float> Kernel for Probabilities<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let Probabilities { x, log_sum, dx } = self;
        let n = x.len() / log_sum.len();
        let each_row = x.chunks_exact(n).zip(dx.chunks_exact_mut(n));
        for ((x, dx), &log_sum) in each_row.zip(log_sum) {
            let max = max(x);
            dx.iter_mut().zip(x).for_each(|(dx, &x)| *dx = (x - max) - log_sum);
        }
        dx.iter_mut().for_each(|x| *x = x.exp::<I>());
    }
}

/// `dx = (dx sum(q) - q) g` of each row, where `q` is the weighted target distribution.
struct Pull<'a, T> {
    op: &'a CrossEntropy,
    weight: Option<&'a [T]>,
    classes: &'a [usize],
    /// The gradient of the loss of each row, or one for all.
    g: &'a [T],
    dx: &'a mut [T],
}

impl<T: Float> Kernel for Pull<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let Pull { op, weight, classes, g, dx } = self;
        let n = dx.len() / classes.len();
        let smooth = T::from_f64(op.label_smoothing / n as f64);
        let sharp = T::from_f64(1.0 - op.label_smoothing);
        // The smoothed part sums to this.
        let spread = match weight {
            Some(weight) => sum(weight, |w| w) * smooth,
            None => T::from_f64(op.label_smoothing),
        };
        let all = g.iter().cycle();
        for ((dx, &class), &g) in dx.chunks_exact_mut(n).zip(classes).zip(all) {
            if class == IGNORED {
                dx.fill(T::ZERO);
                continue;
            }
            let hit = sharp * weight.map_or(T::ONE, |weight| weight[class]);
            let scale = if op.log_probs { T::ZERO } else { (hit + spread) * g };
            match weight {
                _ if op.label_smoothing == 0.0 => dx.iter_mut().for_each(|dx| *dx = *dx * scale),
                Some(weight) => {
                    let smooth = smooth * g;
                    dx.iter_mut().zip(weight).for_each(|(dx, &w)| *dx = *dx * scale - w * smooth);
                }
                None => dx.iter_mut().for_each(|dx| *dx = *dx * scale - smooth * g),
            }
            dx[class] = dx[class] - hit * g;
        }
    }
}

pub(super) fn cross_entropy_backward(
    op: &CrossEntropy,
    inputs: &[&AnyTensor],
    dx: &AnyTensor,
) -> Result<()> {
    let logits = inputs[0];
    let classes = classes_of(op, "cross_entropy_backward", inputs[1], logits.shape()[1])?;
    float_type!(logits.dtype(), T => run_backward::<T>(op, inputs, &classes, dx));
    Ok(())
}

fn run_backward<T: Float>(
    op: &CrossEntropy,
    inputs: &[&AnyTensor],
    classes: &[usize],
    dx: &AnyTensor,
) {
    let [x, log_sum, total, dy] = [0, 2, 3, 4].map(|i| Dense::<T>::new(inputs[i]));
    let weight = op.weighted.then(|| Dense::<T>::new(inputs[5]));
    let weight = weight.as_deref();
    let one = match op.reduction {
        Reduction::None => None,
        Reduction::Sum => Some([dy[0]]),
        Reduction::Mean => Some([dy[0] / total[0]]),
    };
    // SAFETY: `dx` is the only output, and new.
    let mut dx = unsafe { Sink::<T>::new(dx) };
    let out = Shared::new(&mut dx);
    let blocks = Blocks::new(inputs[0]);
    blocks.for_each(|range| {
        let scattered = if blocks.inner == 1 { 0 } else { blocks.longest() };
        let (mut copy, mut gradient) = (Scratch::<T>::new(scattered), Scratch::<T>::new(scattered));
        for (group, rows) in range {
            let x = blocks.read(&x, group, &rows, &mut copy);
            let all = blocks.of_all(group, &rows);
            let dx = match blocks.inner {
                // SAFETY: blocks do not overlap.
                1 => unsafe { out.part(all.start * blocks.classes..all.end * blocks.classes) },
                _ => &mut gradient[..x.len()],
            };
            if op.log_probs {
                dx.fill(T::ZERO);
            } else {
                dispatch(Probabilities { x, log_sum: &log_sum[all.clone()], dx: &mut *dx });
            }
            let g = one.as_ref().map_or_else(|| &dy[all.clone()], |one| &one[..]);
            dispatch(Pull { op, weight, classes: &classes[all], g, dx: &mut *dx });
            if blocks.inner == 1 {
                continue;
            }
            for class in 0..blocks.classes {
                // SAFETY: blocks do not overlap.
                let to = unsafe { out.part(blocks.class(group, class, &rows)) };
                for (to, &dx) in to.iter_mut().zip(dx[class..].iter().step_by(blocks.classes)) {
                    *to = dx;
                }
            }
        }
    });
}
