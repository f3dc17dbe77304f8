//! A good learning rate, by a short training at ever higher ones.

use kiln_autograd::Autograd;
use kiln_nn::{Config, Module};
use kiln_optim::Optimizer;
use kiln_tensor::Result;

use super::config::fit_error;
use super::{Chart, Checkpoint, Series, Step};
use crate::data::DataLoader;

/// How much of the mean loss so far each new loss leaves.
const SMOOTHING: f64 = 0.98;

/// How learning rates are tried out (Smith 2017, "Cyclical learning rates for training neural
/// networks").
///
/// ```
/// use kiln::prelude::*;
/// use kiln::train::{LrFinderConfig, Step};
/// # use kiln::data::{DataLoaderBuilder, InMemDataset, Stack};
/// # let points = InMemDataset::new((0..64).map(|i| ([i as f32 / 32.0 - 1.0], i / 32)).collect());
/// # let train = DataLoaderBuilder::new(Stack).batch_size(8).shuffle(1).build(points);
/// let device = Device::cpu();
/// let mut model = LinearConfig::new(1, 2).init(&device);
/// let mut optim = AdamWConfig::new(1e-3).init();
/// let found = LrFinderConfig::new().run(&mut model, &mut optim, &train, |model, (x, y)| {
///     Step::new(CrossEntropyLoss::new().forward(&model.forward(x), y))
/// })?;
/// println!("a good learning rate is {:?}", found.suggestion());
/// found.chart().save(std::env::temp_dir().join("kiln_lr.svg"))?;
/// # Ok::<(), kiln::Error>(())
/// ```
#[derive(Config, Debug, PartialEq)]
pub struct LrFinderConfig {
    /// The first rate.
    #[config(default = 1e-7)]
    pub min_lr: f64,
    /// The last rate.
    #[config(default = 10.0)]
    pub max_lr: f64,
    /// How many rates are tried, each for one batch.
    #[config(default = 100)]
    pub steps: usize,
    /// The search ends where the loss is so many times the least one.
    #[config(default = 4.0)]
    pub stop_at: f64,
}

impl LrFinderConfig {
    /// Trains for one batch at each rate. Model, optimizer and random numbers are left as they
    /// were.
    pub fn run<M: Module, O: Optimizer, B: Send + 'static>(
        &self,
        model: &mut M,
        optim: &mut O,
        train: &DataLoader<B>,
        mut step: impl FnMut(&M, &B) -> Step,
    ) -> Result<LrFinder> {
        if !(self.min_lr > 0.0 && self.max_lr > self.min_lr && self.steps > 1) {
            return Err(fit_error("rates are tried from min_lr to a larger max_lr".into()));
        }
        let device = model.named_params().first().map(|(_, param)| param.device());
        let device = device.unwrap_or_default();
        let mut before = Checkpoint::new();
        before.insert("model", model.state_dict());
        let (optim_before, generator) = (optim.state_dict(), device.generator());

        model.train();
        let mut found = LrFinder { lrs: Vec::new(), losses: Vec::new() };
        let (mut mean, mut least) = (0.0, f64::INFINITY);
        // As many epochs as it takes, but none of nothing.
        let mut batches = (0..self.steps).flat_map(|epoch| train.epoch(epoch));
        for i in 0..self.steps {
            let Some(batch) = batches.next() else { break };
            let share = i as f64 / (self.steps - 1) as f64;
            let lr = self.min_lr * (self.max_lr / self.min_lr).powf(share);
            optim.set_lr(lr);
            let step = step(model, &batch?);
            mean = SMOOTHING * mean + (1.0 - SMOOTHING) * step.loss();
            let loss = mean / (1.0 - SMOOTHING.powi(i as i32 + 1));
            least = least.min(loss);
            if !loss.is_finite() || i > 0 && loss > self.stop_at * least {
                break;
            }
            found.lrs.push(lr);
            found.losses.push(loss);
            optim.step(model, step.loss.backward());
        }
        before.load_model("model", model)?;
        optim.load_state_dict(model, &optim_before)?;
        device.set_generator(generator);
        Ok(found)
    }
}

/// Learning rates, and the loss that each led to.
#[derive(Clone, Debug, PartialEq)]
pub struct LrFinder {
    /// The rates that were tried, rising.
    pub lrs: Vec<f64>,
    /// The smoothed loss at each.
    pub losses: Vec<f64>,
}

impl LrFinder {
    /// The rate at which the loss falls most, over the logarithm of the rate; `None` if it never
    /// falls. The first ten are left out, where the mean is of little.
    pub fn suggestion(&self) -> Option<f64> {
        let first = 10.min(self.losses.len() / 2);
        let slope = |i: usize| {
            let run = (self.lrs[i + 1] / self.lrs[i - 1]).ln();
            (self.losses[i + 1] - self.losses[i - 1]) / run
        };
        let inner = first.max(1)..self.losses.len().saturating_sub(1);
        let steepest = inner.min_by(|&a, &b| slope(a).total_cmp(&slope(b)))?;
        (slope(steepest) < 0.0).then_some(self.lrs[steepest])
    }

    /// The loss over the logarithm of the rate, and where the suggestion is.
    pub fn chart(&self) -> Chart {
        let points = self.lrs.iter().zip(&self.losses).map(|(lr, loss)| (lr.log10(), *loss));
        let mut series = vec![Series::new("loss", points.collect::<Vec<_>>())];
        if let Some(lr) = self.suggestion() {
            let least = self.losses.iter().copied().fold(f64::INFINITY, f64::min);
            let most = self.losses.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let line = [(lr.log10(), least), (lr.log10(), most)];
            series.push(Series::new(format!("suggested: {lr:.1e}"), line));
        }
        Chart::new("Learning rates").panel("loss", "log10 of the learning rate", "loss", series)
    }
}
