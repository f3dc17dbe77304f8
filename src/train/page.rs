//! What a run leaves to look at: `curves.svg` and `report.html`.

mod environment;
mod html;
mod sections;

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use kiln_nn::{Module, atomic_write};
use kiln_tensor::Result;

use self::environment::environment;
use super::event::{Callback, Event, Flow, Judged, Start, StepEvent};
use super::history::History;
use super::jsonl::line_of;
use super::record::{EpochRecord, Report};
use super::{Chart, ConfusionMatrix, Metrics, Stop};

/// Writes `curves.svg` and `report.html` into the folder of the run, after each epoch and at its
/// end. Pages that are in the way of short epochs are left out: they take at most a twentieth of
/// the time.
#[derive(Default)]
pub(super) struct Page {
    run: Option<Run>,
    /// When the files were written, and how long that took.
    written: Option<(Instant, Duration)>,
}

/// All that the page tells.
struct Run {
    folder: PathBuf,
    title: String,
    log_every: usize,
    epochs: usize,
    status: Status,
    history: History,
    records: Vec<EpochRecord>,
    monitor: String,
    /// The best value of the monitored number, and the step of it.
    best: Option<(f64, usize)>,
    confusion: Option<ConfusionMatrix>,
    layers: Vec<Layer>,
    /// The settings of the training and of the model, as JSON.
    settings: Vec<(&'static str, String)>,
    environment: Vec<(&'static str, String)>,
    warnings: Vec<String>,
    steps: usize,
    seconds: f64,
    /// Examples of this process, and the seconds that they took.
    pace: (usize, f64),
}

enum Status {
    Running,
    Finished,
    /// It stopped before its time, for this reason.
    Stopped(String),
    Failed(String),
}

/// A layer that has parameters, or that has no layers within.
struct Layer {
    path: String,
    kind: &'static str,
    /// Names and shapes.
    params: Vec<(String, String)>,
    count: usize,
    trained: usize,
    is_leaf: bool,
}

impl Page {
    /// Writes the files. What can not be written is no reason to lose the training.
    fn write(&mut self) {
        let Some(run) = &self.run else { return };
        let start = Instant::now();
        let _ = run.curves().save(run.folder.join("curves.svg"));
        let page = run.html();
        let _ =
            atomic_write(&run.folder.join("report.html"), |file| file.write_all(page.as_bytes()));
        self.written = Some((Instant::now(), start.elapsed()));
    }

    fn is_due(&self) -> bool {
        self.written.is_none_or(|(when, cost)| when.elapsed() >= 19 * cost)
    }
}

impl Callback for Page {
    fn on(&mut self, event: &Event<'_>) -> Result<Flow> {
        if let Event::Start(start) = event {
            self.run = Run::new(start);
        }
        let Some(run) = &mut self.run else { return Ok(Flow::Continue) };
        if let Some(line) = line_of(event, run.log_every) {
            run.history.add(&line);
        }
        match event {
            Event::Step(step) => run.step(step),
            Event::Judged(judged) => run.judge(judged),
            Event::Epoch(epoch) => {
                run.records.push((*epoch).clone());
                run.seconds += epoch.seconds;
                if self.is_due() {
                    self.write();
                }
            }
            Event::Warning(text) => run.warnings.push(text.to_string()),
            Event::End(report) => {
                run.end(report);
                self.write();
            }
            Event::Failed(error) => {
                run.status = Status::Failed(error.to_string());
                self.write();
            }
            Event::Start(_) | Event::Saved(_) => {}
        }
        Ok(Flow::Continue)
    }
}

impl Run {
    fn new(start: &Start<'_>) -> Option<Self> {
        let folder = start.folder?.to_path_buf();
        // `runs/first/..` has no name of its own.
        let whole = std::fs::canonicalize(&folder).unwrap_or_else(|_| folder.clone());
        let title = whole.file_name().unwrap_or(whole.as_os_str()).to_string_lossy().into_owned();
        let mut settings = vec![("Training", kiln_nn::Config::to_text(start.config))];
        settings.extend(start.settings.map(|text| ("Model", text.to_string())));
        Some(Self {
            title,
            log_every: start.log_every,
            epochs: start.epochs,
            status: Status::Running,
            history: History::read(&folder.join("metrics.jsonl")),
            records: start.history.to_vec(),
            monitor: start.monitor.to_string(),
            best: start.best.first().map(|best| (best.value, best.step)),
            confusion: None,
            layers: layers(start.model),
            settings,
            environment: environment(start),
            warnings: Vec::new(),
            steps: start.step,
            seconds: start.history.iter().map(|record| record.seconds).sum(),
            pace: (0, 0.0),
            folder,
        })
    }

    fn step(&mut self, step: &StepEvent<'_>) {
        self.steps = step.step;
        self.pace.0 += step.items;
        self.pace.1 += step.seconds;
    }

    fn judge(&mut self, judged: &Judged<'_>) {
        if judged.best {
            self.best = Some((judged.value, judged.step));
        }
        self.look_for_confusion(judged.valid.unwrap_or(judged.train));
    }

    fn look_for_confusion(&mut self, metrics: &Metrics) {
        if let Some(matrix) = metrics.metric::<ConfusionMatrix>() {
            self.confusion = Some(matrix.clone());
        }
    }

    fn end(&mut self, report: &Report) {
        self.status = match &report.stop {
            Stop::Finished => Status::Finished,
            stop => Status::Stopped(stop.to_string()),
        };
        (self.steps, self.seconds) = (report.steps, report.seconds);
        self.best = report.best.first().map(|best| (best.value, best.step));
        if let Some(metrics) = &report.valid {
            self.look_for_confusion(metrics);
        }
    }

    fn curves(&self) -> Chart {
        let quantities = self.history.quantities().into_iter();
        quantities.fold(Chart::new(&self.title), |chart, quantity| {
            chart.panel(quantity.name, "step", "", quantity.series)
        })
    }
}

/// The layers of a model in order, each with the parameters that belong to no layer within it.
fn layers(model: &dyn Module) -> Vec<Layer> {
    let layer =
        |path, kind| Layer { path, kind, params: Vec::new(), count: 0, trained: 0, is_leaf: true };
    let mut layers: Vec<Layer> =
        model.named_modules().into_iter().map(|(path, kind)| layer(path, kind)).collect();
    if layers.first().is_none_or(|first| !first.path.is_empty()) {
        layers.insert(0, layer(String::new(), ""));
    }
    let places = layers.iter().enumerate().map(|(i, layer)| (layer.path.clone(), i));
    let places: HashMap<String, usize> = places.collect();
    // The root, whose path is empty, is around everything.
    let around = |path: &str| {
        let mut path = path;
        loop {
            path = path.rsplit_once('.').map_or("", |(owner, _)| owner);
            if let Some(&place) = places.get(path) {
                return place;
            }
        }
    };
    for i in 1..layers.len() {
        let parent = around(&layers[i].path);
        layers[parent].is_leaf = false;
    }
    for (path, tensor) in model.named_params() {
        let layer = &mut layers[around(&path)];
        let name = path[layer.path.len()..].trim_start_matches('.').to_string();
        layer.params.push((name, tensor.shape().to_string()));
        layer.count += tensor.num_elements();
        if tensor.tracked().is_some() {
            layer.trained += tensor.num_elements();
        }
    }
    layers.retain(|layer| layer.is_leaf || !layer.params.is_empty());
    layers
}
