//! What a training leaves: where it is, what it reached, and why it stopped.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::metrics::{Metrics, Values};
use super::{Chart, Series};

/// An epoch that has ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// Its number, from 0.
    pub epoch: usize,
    /// Steps that were done at its end.
    pub step: usize,
    /// How long it took.
    #[serde(with = "exact")]
    pub seconds: f64,
    /// The learning rate of its last step.
    #[serde(with = "exact")]
    pub lr: f64,
    /// Loss and metrics of the training, by name.
    #[serde(with = "exact::list")]
    pub train: Vec<(String, f64)>,
    /// Loss and metrics of the validation, by name; empty if there is none.
    #[serde(with = "exact::list")]
    pub valid: Vec<(String, f64)>,
}

impl EpochRecord {
    /// The number with this name: `valid accuracy`, `train loss`.
    pub fn get(&self, name: &str) -> Option<f64> {
        let (values, name) = match name.split_once(' ')? {
            ("train", name) => (&self.train, name),
            ("valid", name) => (&self.valid, name),
            _ => return None,
        };
        values.iter().find(|(known, _)| known == name).map(|(_, value)| *value)
    }
}

/// A value of the monitored number that is among the best.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// The value.
    #[serde(with = "exact")]
    pub value: f64,
    /// Steps that were done.
    pub step: usize,
}

/// Where a training is: all of a checkpoint that is no tensor.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Position {
    pub epoch: usize,
    /// Batches of the epoch that are done.
    pub batch: usize,
    /// Updates of the parameters.
    pub step: usize,
    #[serde(with = "exact")]
    pub seconds: f64,
    /// When the running epoch began.
    #[serde(with = "exact")]
    pub epoch_start: f64,
    /// The step of the last validation, and what it gave.
    pub validated: Option<usize>,
    #[serde(with = "exact::list")]
    pub valid: Values,
    /// The best first.
    pub best: Vec<Best>,
    pub history: Vec<EpochRecord>,
    pub callbacks: BTreeMap<String, String>,
}

/// Why a training stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// All epochs are done.
    Finished,
    /// `max_steps` are done.
    MaxSteps,
    /// `max_seconds` are over.
    MaxTime,
    /// A callback wished it, for this reason.
    Callback(String),
    /// Ctrl-C, or a request to terminate.
    Interrupted,
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stop::Finished => "all epochs are done",
            Stop::MaxSteps => "the largest number of steps is reached",
            Stop::MaxTime => "the time is over",
            Stop::Callback(reason) => reason,
            Stop::Interrupted => "interrupted",
        })
    }
}

/// What [`Trainer::fit`](super::Trainer::fit) gives.
pub struct Report {
    /// Why the training stopped.
    pub stop: Stop,
    /// Updates of the parameters, also those before the training was resumed.
    pub steps: usize,
    /// How long it took, all resumed runs together.
    pub seconds: f64,
    /// Every epoch that has ended.
    pub epochs: Vec<EpochRecord>,
    /// The best values of the monitored number, the best first, at most `keep_best` but one at least.
    pub best: Vec<Best>,
    /// The checkpoint with the best value, if there is one.
    pub best_checkpoint: Option<PathBuf>,
    /// The last checkpoint, if there is one.
    pub last_checkpoint: Option<PathBuf>,
    /// The metrics of the last validation of this run.
    pub valid: Option<Metrics>,
    /// What went wrong without ending the training.
    pub warnings: Vec<String>,
}

impl Report {
    /// Curves of the loss and of each metric over the epochs.
    pub fn chart(&self, title: impl Into<String>) -> Chart {
        let mut names: Vec<&str> = Vec::new();
        for epoch in &self.epochs {
            for (name, _) in epoch.train.iter().chain(&epoch.valid) {
                if !names.contains(&name.as_str()) {
                    names.push(name);
                }
            }
        }
        names.into_iter().fold(Chart::new(title), |chart, name| {
            let series = |set: &str, values: fn(&EpochRecord) -> &Values| {
                let points = self.epochs.iter().filter_map(|epoch| {
                    let found = values(epoch).iter().find(|(known, _)| known == name)?;
                    Some(((epoch.epoch + 1) as f64, found.1))
                });
                Series::new(set, points.collect::<Vec<_>>())
            };
            let both =
                [series("train", |epoch| &epoch.train), series("valid", |epoch| &epoch.valid)];
            let both = both.into_iter().filter(|series| !series.points.is_empty()).collect();
            chart.panel(name, "epoch", name, both)
        })
    }
}

/// Floats as texts that give back the same bits, also those that JSON lacks.
mod exact {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(value: &f64, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&format!("{value:?}"))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }

    pub mod list {
        use super::*;

        pub fn serialize<S: Serializer>(
            values: &[(String, f64)],
            to: S,
        ) -> Result<S::Ok, S::Error> {
            to.collect_seq(values.iter().map(|(name, value)| (name, format!("{value:?}"))))
        }

        pub fn deserialize<'de, D: Deserializer<'de>>(
            from: D,
        ) -> Result<Vec<(String, f64)>, D::Error> {
            let texts = Vec::<(String, String)>::deserialize(from)?;
            let parse = |(name, text): (String, String)| {
                text.parse().map(|value| (name, value)).map_err(D::Error::custom)
            };
            texts.into_iter().map(parse).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_in_json_keeps_every_bit() {
        let values = [0.1 + 0.2, 1e-310, f64::NAN, f64::NEG_INFINITY, -0.0, 2.0 / 3.0];
        for value in values {
            let epoch = EpochRecord {
                epoch: 3,
                step: 70,
                seconds: value,
                lr: value,
                train: vec![("loss".into(), value)],
                valid: Vec::new(),
            };
            let at = Position {
                best: vec![Best { value, step: 7 }],
                history: vec![epoch],
                ..Position::default()
            };
            let text = serde_json::to_string(&at).unwrap();
            let back: Position = serde_json::from_str(&text).unwrap();
            assert_eq!(back.best[0].value.to_bits(), value.to_bits());
            assert_eq!(back.history[0].lr.to_bits(), value.to_bits());
            assert_eq!(back.history[0].train[0].1.to_bits(), value.to_bits());
        }
    }
}
