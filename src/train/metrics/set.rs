//! The loss and all metrics of one pass over the data.

use std::any::Any;

use kiln_nn::StateDict;
use kiln_tensor::{Error, Result, TensorData};

use super::loss::Mean;
use super::{Goal, Metric};
use crate::train::Step;

/// Makes a metric that has seen nothing.
pub(in crate::train) type MetricMaker = Box<dyn Fn() -> Box<dyn Metric>>;

/// Numbers by name, in order.
pub(in crate::train) type Values = Vec<(String, f64)>;

/// The mean loss and the metrics of one pass over the data.
pub struct Metrics {
    loss: Mean,
    metrics: Vec<Box<dyn Metric>>,
    /// Of [`Step::with_value`].
    means: Vec<(String, Mean)>,
}

impl Metrics {
    pub(in crate::train) fn new(makers: &[MetricMaker]) -> Self {
        let metrics = makers.iter().map(|make| make()).collect();
        Self { loss: Mean::default(), metrics, means: Vec::new() }
    }

    /// Takes a batch in.
    pub(in crate::train) fn update(&mut self, step: &Step) -> Result<()> {
        let weight = step.weight();
        self.loss.add(step.loss(), weight);
        for (name, value) in step.values() {
            self.mean(name).add(value, weight);
        }
        self.metrics.iter_mut().try_for_each(|metric| metric.update(step))
    }

    fn mean(&mut self, name: &str) -> &mut Mean {
        let known = self.means.iter().position(|(known, _)| known == name);
        let index = known.unwrap_or_else(|| {
            self.means.push((name.to_string(), Mean::default()));
            self.means.len() - 1
        });
        &mut self.means[index].1
    }

    /// The mean loss; NaN before the first batch.
    pub fn loss(&self) -> f64 {
        self.loss.value()
    }

    /// `loss`, the metrics and the numbers of [`Step::with_value`], by name.
    pub fn values(&self) -> Vec<(String, f64)> {
        let metrics = self.metrics.iter();
        let metrics = metrics.filter_map(|metric| metric.value().map(|x| (metric.name(), x)));
        let means = self.means.iter().map(|(name, mean)| (name.clone(), mean.value()));
        std::iter::once(("loss".to_string(), self.loss())).chain(metrics).chain(means).collect()
    }

    /// The number with this name.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.values().into_iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// The metric of this type, such as the
    /// [`ConfusionMatrix`](crate::train::ConfusionMatrix).
    pub fn metric<T: Metric>(&self) -> Option<&T> {
        self.metrics.iter().find_map(|metric| (&**metric as &dyn Any).downcast_ref())
    }

    /// Which values of a number are better: of losses, and of what no metric knows, small ones.
    pub(in crate::train) fn goal(&self, name: &str) -> Goal {
        let metric = self.metrics.iter().find(|metric| metric.name() == name);
        metric.map_or(Goal::Min, |metric| metric.goal())
    }

    pub(in crate::train) fn state(&self) -> StateDict {
        let mut state = StateDict::default();
        let mut insert = |name: String, values: Vec<f64>| {
            let len = values.len();
            state.insert(name, TensorData::new(values, [len]));
        };
        insert("loss".into(), self.loss.state().to_vec());
        for (i, metric) in self.metrics.iter().enumerate() {
            insert(format!("{i}.{}", metric.name()), metric.state());
        }
        for (i, (name, mean)) in self.means.iter().enumerate() {
            insert(format!("value.{i}.{name}"), mean.state().to_vec());
        }
        state
    }

    /// Takes back what [`Metrics::state`] gave.
    pub(in crate::train) fn load_state(&mut self, state: &StateDict) -> Result<()> {
        let error = |rule: String| Error::Argument { op: "metrics", rule };
        let entry = |name: &str| {
            let data = state.get(name).ok_or_else(|| error(format!("`{name}` is missing")))?;
            data.to_vec::<f64>()
        };
        let pair =
            |name: &str| entry(name)?.try_into().map_err(|_| error(format!("`{name}` is no mean")));
        self.loss.load_state(pair("loss")?);
        for (i, metric) in self.metrics.iter_mut().enumerate() {
            metric.load_state(&entry(&format!("{i}.{}", metric.name()))?)?;
        }
        // The entries of a file have lost their order; the names tell it.
        let mut means: Vec<(usize, String, Mean)> = Vec::new();
        for (path, _) in state.iter() {
            let Some((i, name)) = path.strip_prefix("value.").and_then(|rest| rest.split_once('.'))
            else {
                continue;
            };
            let i = i.parse().map_err(|_| error(format!("`{path}` has no number")))?;
            let mut mean = Mean::default();
            mean.load_state(pair(path)?);
            means.push((i, name.to_string(), mean));
        }
        means.sort_by_key(|(i, ..)| *i);
        self.means = means.into_iter().map(|(_, name, mean)| (name, mean)).collect();
        Ok(())
    }
}
