//! The numbers of a run over its steps, as far as a picture can show them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use super::Series;
use super::jsonl::Line;
use super::plot::thin;

/// Of so many points of a curve, those are kept that a picture of [`COLUMNS`] columns shows.
const LONGEST: usize = 8192;
/// More than a chart is wide.
const COLUMNS: f64 = 1024.0;

/// Curves that grow by the lines of a log, in memory that has a bound however long the run is.
#[derive(Default)]
pub(super) struct History {
    curves: BTreeMap<String, Vec<(f64, f64)>>,
}

/// The curves of one quantity.
pub(super) struct Quantity {
    pub name: String,
    pub series: Vec<Series>,
}

impl History {
    /// The curves of a log; none where there is no log.
    pub fn read(path: &Path) -> Self {
        let mut history = Self::default();
        if let Ok(file) = File::open(path) {
            for line in BufReader::new(file).lines().map_while(Result::ok) {
                // A line that is cut or is no such says nothing.
                history.add(&serde_json::from_str(&line).unwrap_or_default());
            }
        }
        history
    }

    /// Takes in a line of a log: `{"step": 1, "loss": 2.3, ..}` or `{"epoch": 1, "step": 45, ..}`.
    pub fn add(&mut self, line: &Line) {
        let Some(step) = line.get("step").and_then(|step| step.as_f64()) else { return };
        for (name, value) in line {
            let of_step = ["loss", "lr", "grad_norm"].contains(&name.as_str());
            let wanted = match line.contains_key("epoch") {
                false if of_step => true,
                // The means of an epoch, and of a validation within one.
                _ => name.starts_with("train ") || name.starts_with("valid "),
            };
            if !wanted {
                continue;
            }
            if !self.curves.contains_key(name) {
                self.curves.insert(name.clone(), Vec::new());
            }
            if let Some(curve) = self.curves.get_mut(name) {
                // What is no number in JSON was not finite.
                curve.push((step, value.as_f64().unwrap_or(f64::NAN)));
                if curve.len() >= LONGEST {
                    *curve = thinned(curve);
                }
            }
        }
    }

    /// The points `(step, value)` of a curve: `loss`, `lr`, `valid accuracy`.
    pub fn curve(&self, name: &str) -> &[(f64, f64)] {
        self.curves.get(name).map_or(&[], Vec::as_slice)
    }

    /// What there is to draw: the loss, each metric, the learning rate, the norm of the gradients.
    pub fn quantities(&self) -> Vec<Quantity> {
        let of_sets = self.curves.keys().filter_map(|name| name.split_once(' '));
        let mut names = vec!["loss"];
        for (_, name) in of_sets {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let series = |set: &str, name: &str| {
            let points = self.curve(&format!("{set} {name}"));
            (!points.is_empty()).then(|| Series::new(set, points.iter().copied()))
        };
        let mut quantities: Vec<Quantity> = Vec::new();
        for name in names {
            let mut drawn: Vec<Series> =
                ["train", "valid"].into_iter().filter_map(|set| series(set, name)).collect();
            if name == "loss" {
                let steps = Series::new("train", self.curve("loss").iter().copied());
                // Behind the means, once these are a line.
                let means = self.curve("train loss").len();
                drawn.insert(0, if means > 1 { steps.faint() } else { steps });
            }
            quantities.push(Quantity { name: name.to_string(), series: drawn });
        }
        for (curve, name) in [("lr", "learning rate"), ("grad_norm", "gradient norm")] {
            let points = self.curve(curve);
            if !points.is_empty() {
                let series = vec![Series::new("", points.iter().copied())];
                quantities.push(Quantity { name: name.to_string(), series });
            }
        }
        quantities
    }
}

fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let (first, last) = (points[0].0, points[points.len() - 1].0);
    let width = (last - first).max(1.0) / COLUMNS;
    thin(points, |x| ((x - first) / width) as i64)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn line(value: serde_json::Value) -> Line {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn a_long_run_takes_little_memory_and_keeps_its_peaks() {
        let mut history = History::default();
        let value = |step: usize| match step {
            123_457 => 9.0,
            400_001 => -9.0,
            _ => (step as f64).sin(),
        };
        for step in 1..=500_000 {
            history.add(&line(json!({"step": step, "loss": value(step)})));
        }
        let curve = history.curve("loss");
        assert!(curve.len() < LONGEST, "{}", curve.len());
        assert!(curve.contains(&(123_457.0, 9.0)) && curve.contains(&(400_001.0, -9.0)));
        assert_eq!(curve[0], (1.0, value(1)));
        assert_eq!(curve.last(), Some(&(500_000.0, value(500_000))));
        assert!(curve.is_sorted_by(|a, b| a.0 < b.0));
    }

    #[test]
    fn lines_become_the_curves_of_each_quantity() {
        let mut history = History::default();
        let step =
            |step: usize, loss: f64| json!({"step": step, "loss": loss, "lr": 0.1, "memory": 5});
        history.add(&line(step(1, 2.0)));
        history.add(&line(step(2, f64::NAN)));
        history.add(&line(json!({"step": 2, "valid loss": 1.5, "valid top-5 accuracy": 0.5})));
        history.add(&line(json!({"epoch": 1, "step": 2, "lr": 0.1, "train loss": 1.8})));
        history.add(&line(json!({"no step": 1})));
        let quantities = history.quantities();
        let names: Vec<&str> = quantities.iter().map(|quantity| &*quantity.name).collect();
        assert_eq!(names, ["loss", "top-5 accuracy", "learning rate"]);
        let series = |i: usize| -> Vec<(&str, usize)> {
            let series = quantities[i].series.iter();
            series.map(|series| (&*series.name, series.points.len())).collect()
        };
        assert_eq!(series(0), [("train", 2), ("train", 1), ("valid", 1)]);
        assert_eq!(series(1), [("valid", 1)]);
        assert_eq!(series(2), [("", 2)]);
        assert!(history.curve("loss")[1].1.is_nan());
    }
}
