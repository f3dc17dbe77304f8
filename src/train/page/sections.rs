//! The sections of the page.

use std::time::Duration;

use serde_json::Value;

use super::html::{Table, heading, pairs, tile};
use super::{Run, Status};
use crate::train::numbers::{grouped, metric, seconds};
use crate::train::plot::escape;
use crate::train::record::EpochRecord;
use crate::train::{Chart, ConfusionMatrix};

/// Of more classes, the most frequent confusions are listed.
const MOST_CLASSES: usize = 40;
/// Of more epochs, the last ones and the best one are shown.
const MOST_EPOCHS: usize = 200;

impl Run {
    /// What became of the run.
    pub fn write_head(&self, out: &mut String) {
        let (class, status) = match &self.status {
            Status::Running => ("running", "running"),
            Status::Finished => ("finished", "finished"),
            Status::Stopped(_) => ("stopped", "stopped"),
            Status::Failed(_) => ("failed", "failed"),
        };
        let title = escape(&self.title);
        out.push_str(&format!(
            "<header><h1>{title}</h1><span class=\"status {class}\">{status}</span>\n"
        ));
        out.push_str(&format!("<p>{}</p></header>\n", escape(&self.result())));

        out.push_str("<div class=\"tiles\">\n");
        if let Some((value, step)) = self.best {
            let when = format!("best {}, step {}", self.monitor, grouped(step));
            tile(out, self.monitored(value), when);
        }
        if let Some(last) = self.records.last() {
            let (set, values) = match last.valid.is_empty() {
                true => ("train", &last.train),
                false => ("valid", &last.valid),
            };
            for (name, value) in values.iter().take(3) {
                tile(out, metric(name, *value, 2), format!("last {set} {name}"));
            }
        }
        tile(out, format!("{} / {}", self.records.len(), self.epochs), "epochs");
        tile(out, grouped(self.steps), "steps");
        tile(out, time(self.seconds), "time");
        let (items, spent) = self.pace;
        if items > 0 {
            tile(out, grouped((items as f64 / spent) as usize), "examples / s in training");
        }
        let params: usize = self.layers.iter().map(|layer| layer.count).sum();
        tile(out, grouped(params), "parameters");
        out.push_str("</div>\n");
        for warning in &self.warnings {
            out.push_str(&format!("<div class=\"card warning\">{}</div>\n", escape(warning)));
        }
    }

    /// The result in a sentence.
    fn result(&self) -> String {
        let end = match &self.status {
            Status::Running => format!("Epoch {} of {}.", self.records.len() + 1, self.epochs),
            Status::Finished => "All epochs are done.".into(),
            Status::Stopped(why) => format!("Stopped after step {}: {why}.", grouped(self.steps)),
            Status::Failed(why) => format!("Failed after step {}: {why}.", grouped(self.steps)),
        };
        let Some((value, step)) = self.best else { return end };
        let epoch = self.records.iter().find(|record| record.step >= step);
        let epoch = epoch.map_or(String::new(), |record| format!(" (epoch {})", record.epoch + 1));
        let (name, value, step) = (&self.monitor, self.monitored(value), grouped(step));
        format!("{end} Best {name} {value} after step {step}{epoch}.")
    }

    pub fn write_curves(&self, out: &mut String) {
        heading(out, "Curves");
        out.push_str("<div class=\"charts\">\n");
        for quantity in self.history.quantities() {
            let chart = Chart::new("").panel(quantity.name, "step", "", quantity.series);
            out.push_str(&format!("<div class=\"card\">{}</div>\n", chart.to_svg()));
        }
        out.push_str("</div>\n");
    }

    pub fn write_confusion(&self, out: &mut String) {
        let Some(matrix) = &self.confusion else { return };
        heading(out, "Confusion matrix");
        if matrix.classes() > MOST_CLASSES {
            out.push_str(&format!("<pre class=\"card\">{matrix}</pre>\n"));
            return;
        }
        write_matrix(out, matrix);
    }

    pub fn write_epochs(&self, out: &mut String) {
        let Some(last) = self.records.last() else { return };
        heading(out, "Epochs");
        let shown = self.records.len().saturating_sub(MOST_EPOCHS);
        if shown > 0 {
            out.push_str(&format!(
                "<p class=\"quiet\">The last {MOST_EPOCHS} of {}.</p>\n",
                grouped(self.records.len())
            ));
        }
        let names = |set: &'static str, values: &[(String, f64)]| {
            let names = values.iter().map(move |(name, _)| format!("{set} {name}"));
            names.collect::<Vec<_>>()
        };
        let mut columns = names("train", &last.train);
        columns.extend(names("valid", &last.valid));
        let head = ["epoch", "steps", "time", "learning rate"].map(String::from);
        let head: Vec<String> = head.into_iter().chain(columns.iter().cloned()).collect();

        out.push_str("<div class=\"card tall\">\n");
        let mut table = Table { out, numbers: 0..head.len() };
        table.head(&head);
        let best = self.best.and_then(|(_, step)| {
            self.records.iter().position(|record: &EpochRecord| record.step >= step)
        });
        for (i, record) in self.records.iter().enumerate() {
            if i < shown && best != Some(i) {
                continue;
            }
            let mut cells = vec![
                (record.epoch + 1).to_string(),
                grouped(record.step),
                time(record.seconds),
                metric("lr", record.lr, 2),
            ];
            let value =
                |name: &String| record.get(name).map_or(String::new(), |x| metric(name, x, 2));
            cells.extend(columns.iter().map(value));
            table.row(if best == Some(i) { "best" } else { "" }, &cells);
        }
        table.end();
        out.push_str("</div>\n");
    }

    pub fn write_model(&self, out: &mut String) {
        heading(out, "Model");
        out.push_str("<div class=\"card tall\">\n");
        let mut table = Table { out, numbers: 3..5 };
        let head = ["layer", "type", "parameters", "numbers", "trained"];
        table.head(&head.map(String::from));
        for layer in &self.layers {
            let params = layer.params.iter().map(|(name, shape)| format!("{name} {shape}"));
            let params = params.collect::<Vec<_>>().join(", ");
            let count = |count: usize| match layer.params.is_empty() {
                true => String::new(),
                false => grouped(count),
            };
            let (all, trained) = (count(layer.count), count(layer.trained));
            table.row("", &[layer.path.clone(), layer.kind.to_string(), params, all, trained]);
        }
        let sum = |count: fn(&super::Layer) -> usize| grouped(self.layers.iter().map(count).sum());
        let (all, trained) = (sum(|layer| layer.count), sum(|layer| layer.trained));
        let total = ["total".into(), String::new(), String::new(), all, trained];
        table.row("total", &total);
        table.end();
        out.push_str("</div>\n");
    }

    pub fn write_settings(&self, out: &mut String) {
        heading(out, "Settings and environment");
        out.push_str("<div class=\"pairs\">\n");
        for (title, text) in &self.settings {
            pairs(out, title, &settings(text));
        }
        let environment = self.environment.iter();
        let environment: Vec<_> =
            environment.map(|(name, value)| (name.to_string(), value.clone())).collect();
        pairs(out, "Environment", &environment);
        out.push_str("</div>\n");
    }
}

/// The settings of a JSON text by name, without those that are not set.
fn settings(text: &str) -> Vec<(String, String)> {
    let Ok(Value::Object(values)) = serde_json::from_str(text) else {
        return vec![("settings".into(), text.into())];
    };
    let text = |value: Value| match value {
        Value::String(text) => text,
        value => value.to_string(),
    };
    let set = values.into_iter().filter(|(_, value)| !value.is_null());
    set.map(|(name, value)| (name, text(value))).collect()
}

fn time(of: f64) -> String {
    seconds(Duration::try_from_secs_f64(of).unwrap_or_default())
}

/// Rows are actual classes; the shade of a cell is its share of the row.
fn write_matrix(out: &mut String, matrix: &ConfusionMatrix) {
    let classes = matrix.classes();
    let percent = |share: f64| match share.is_nan() {
        true => "\u{2013}".to_string(),
        false => format!("{:.1} %", 100.0 * share),
    };
    out.push_str("<div class=\"card matrix\"><table>\n<tr><th></th>");
    out.push_str(&format!("<th colspan=\"{classes}\">predicted</th><th></th></tr>\n"));
    out.push_str("<tr><th>actual</th>");
    (0..classes).for_each(|class| out.push_str(&format!("<th>{class}</th>")));
    out.push_str("<th class=\"edge\">recall</th></tr>\n");
    for actual in 0..classes {
        out.push_str(&format!("<tr><th>{actual}</th>"));
        let total: u64 = (0..classes).map(|predicted| matrix.count(actual, predicted)).sum();
        for predicted in 0..classes {
            let count = matrix.count(actual, predicted);
            if count == 0 {
                out.push_str("<td class=\"none\">\u{b7}</td>");
                continue;
            }
            // The root makes a few confusions among many hits visible.
            let (share, kind) = (count as f64 / total as f64, actual == predicted);
            let shade = (share.sqrt() * 0.9).max(0.12);
            let kind = if kind { "right" } else { "wrong" };
            let strong = if shade > 0.6 { " strong" } else { "" };
            out.push_str(&format!(
                "<td class=\"{kind}{strong}\" style=\"--share:{shade:.2}\" \
                 title=\"{actual} taken for {predicted}: {}\">{count}</td>",
                percent(share)
            ));
        }
        out.push_str(&format!("<td class=\"edge\">{}</td></tr>\n", percent(matrix.recall(actual))));
    }
    out.push_str("<tr><th class=\"quiet\">precision</th>");
    for class in 0..classes {
        out.push_str(&format!("<td class=\"quiet\">{}</td>", percent(matrix.precision(class))));
    }
    let (accuracy, total) = (percent(matrix.accuracy()), grouped(matrix.total() as usize));
    out.push_str(&format!("<td class=\"edge\"></td></tr>\n</table>\n<p class=\"quiet\">accuracy {accuracy} of {total} examples</p></div>\n"));
}
