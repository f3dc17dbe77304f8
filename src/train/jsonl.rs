//! A log of a training as lines of JSON.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use kiln_nn::atomic_write;
use kiln_tensor::{Error, Result};
use serde_json::{Map, Value, json};

use super::event::{Callback, Event, Flow, Judged, Start, StepEvent};
use super::record::EpochRecord;

/// A line: numbers by name.
pub(super) type Line = Map<String, Value>;

/// Writes `metrics.jsonl`: a line for each step, `{"step": 1, "loss": 2.3, ..}`, and one for each
/// epoch, `{"epoch": 1, "step": 45, "train loss": ..}`. Numbers that are not finite are `null`.
///
/// A run that is resumed takes the lines after its checkpoint away first, so that the log is that of
/// a run that was never stopped. A trainer with a folder has one of these.
#[derive(Default)]
pub struct JsonLines {
    path: Option<PathBuf>,
    file: Option<File>,
    every: usize,
}

impl JsonLines {
    /// A log in the folder of the run.
    pub fn new() -> Self {
        Self::default()
    }

    /// A log in this file.
    pub fn to_file(path: impl AsRef<Path>) -> Self {
        Self { path: Some(path.as_ref().into()), ..Self::default() }
    }

    fn start(&mut self, start: &Start<'_>) -> Result<()> {
        let folder = start.folder.map(|folder| folder.join("metrics.jsonl"));
        let Some(path) = self.path.clone().or(folder) else { return Ok(()) };
        let error = |cause: std::io::Error| Error::File {
            path: path.display().to_string(),
            what: format!("the log can not be written: {cause}"),
        };
        if path.exists() {
            let text = std::fs::read(&path).map_err(error)?;
            let text = String::from_utf8_lossy(&text);
            let kept: Vec<&str> = text.lines().filter(|line| is_before(line, start)).collect();
            atomic_write(&path, |file| kept.iter().try_for_each(|line| writeln!(file, "{line}")))?;
        }
        let file = OpenOptions::new().create(true).append(true).open(&path).map_err(error)?;
        self.file = Some(file);
        self.every = start.log_every;
        Ok(())
    }

    /// Writes a line, at once: the log of a killed run ends where the run did. One that can not be
    /// written is no reason to lose the training.
    fn line(&mut self, line: Line) {
        if let Some(file) = &mut self.file {
            let _ = file.write_all(format!("{}\n", Value::Object(line)).as_bytes());
        }
    }
}

/// Whether a line is of a step that the checkpoint holds. One that was cut is of none.
fn is_before(line: &str, start: &Start<'_>) -> bool {
    let line: Value = serde_json::from_str(line).unwrap_or_default();
    let number = |key: &str| line[key].as_u64().map(|number| number as usize);
    let epoch = number("epoch").is_none_or(|epoch| epoch <= start.epoch);
    epoch && number("step").is_some_and(|step| step <= start.step)
}

/// The line of an event, if it has one. Of the steps, each `every`-th has.
pub(super) fn line_of(event: &Event<'_>, every: usize) -> Option<Line> {
    match event {
        Event::Step(step) if step.step.is_multiple_of(every.max(1)) => Some(step_line(step)),
        Event::Judged(judged) if !judged.epoch_end => Some(judged_line(judged)),
        Event::Epoch(epoch) => Some(epoch_line(epoch)),
        _ => None,
    }
}

fn step_line(step: &StepEvent<'_>) -> Line {
    let mut line = Map::new();
    let rate = step.items as f64 / step.seconds;
    line.insert("step".into(), json!(step.step));
    line.insert("loss".into(), json!(step.loss));
    line.insert("lr".into(), json!(step.lr));
    line.insert("items_per_second".into(), json!(rate.round()));
    line.insert("wait_seconds".into(), json!(step.wait));
    line.insert("memory".into(), json!(step.memory));
    for (name, value) in [("grad_norm", step.grad_norm), ("scale", step.scale)] {
        if let Some(value) = value {
            line.insert(name.into(), json!(value));
        }
    }
    line
}

fn judged_line(judged: &Judged<'_>) -> Line {
    let mut line = Map::new();
    line.insert("step".into(), json!(judged.step));
    for (name, value) in judged.valid.iter().flat_map(|valid| valid.values()) {
        line.insert(format!("valid {name}"), json!(value));
    }
    line
}

fn epoch_line(epoch: &EpochRecord) -> Line {
    let mut line = Map::new();
    line.insert("epoch".into(), json!(epoch.epoch + 1));
    line.insert("step".into(), json!(epoch.step));
    line.insert("seconds".into(), json!(epoch.seconds));
    line.insert("lr".into(), json!(epoch.lr));
    for (set, values) in [("train", &epoch.train), ("valid", &epoch.valid)] {
        for (name, value) in values {
            line.insert(format!("{set} {name}"), json!(value));
        }
    }
    line
}

impl Callback for JsonLines {
    fn on(&mut self, event: &Event<'_>) -> Result<Flow> {
        match event {
            Event::Start(start) => self.start(start)?,
            Event::End(_) => self.file = None,
            event => {
                if let Some(line) = line_of(event, self.every) {
                    self.line(line);
                }
            }
        }
        Ok(Flow::Continue)
    }
}
