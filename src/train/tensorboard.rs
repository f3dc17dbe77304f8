//! A log of a training that TensorBoard shows.

mod message;
mod record;

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use kiln_nn::Module;
use kiln_tensor::{Error, Result};

use self::message::Message;
use super::event::{Callback, Event, Flow, Start};
use super::jsonl::{Line, line_of};

/// What TensorBoard calls the format.
const VERSION: &[u8] = b"brain.Event:2";
/// Buckets of a histogram.
const BUCKETS: usize = 32;

/// Writes event files for TensorBoard, `tensorboard --logdir runs`, with the numbers of
/// `metrics.jsonl`.
///
/// They are two runs, so that curves of one name lie over each other: `tensorboard/train` has `loss`
/// and each metric at the end of an epoch, and `step/loss`, `step/lr`, `step/grad_norm`, .. of single
/// steps; `tensorboard/valid` has what validations gave. A run that is resumed writes on in files of
/// its own, which take back what the old ones say of later steps.
///
/// ```
/// use kiln::train::{TensorBoard, TrainerConfig};
/// let trainer = TrainerConfig::new(10)
///     .with_folder("runs/first")
///     .init()
///     .callback(TensorBoard::new().with_histograms(500));
/// ```
#[derive(Default)]
pub struct TensorBoard {
    folder: Option<PathBuf>,
    histograms: Option<usize>,
    files: Option<Files>,
}

struct Files {
    train: File,
    valid: File,
    log_every: usize,
}

impl TensorBoard {
    /// Event files in the folder of the run.
    pub fn new() -> Self {
        Self::default()
    }

    /// Event files below this folder.
    pub fn to_folder(path: impl AsRef<Path>) -> Self {
        Self { folder: Some(path.as_ref().into()), ..Self::default() }
    }

    /// Histograms of all parameters too, after each `every`-th step.
    pub fn with_histograms(mut self, every: usize) -> Self {
        self.histograms = Some(every.max(1));
        self
    }

    fn start(&mut self, start: &Start<'_>) -> Result<()> {
        let own = start.folder.map(|folder| folder.join("tensorboard"));
        let Some(folder) = self.folder.clone().or(own) else { return Ok(()) };
        let open = |set: &str| {
            let folder = folder.join(set);
            open(&folder, start.step).map_err(|cause| Error::File {
                path: folder.display().to_string(),
                what: format!("the files for TensorBoard can not be written: {cause}"),
            })
        };
        let (train, valid) = (open("train")?, open("valid")?);
        self.files = Some(Files { train, valid, log_every: start.log_every });
        Ok(())
    }
}

impl Callback for TensorBoard {
    fn on(&mut self, event: &Event<'_>) -> Result<Flow> {
        if let Event::Start(start) = event {
            self.start(start)?;
        }
        let Some(files) = &mut self.files else { return Ok(Flow::Continue) };
        if let Some(line) = line_of(event, files.log_every) {
            files.write(&line);
        }
        match event {
            Event::Step(step) if self.histograms.is_some_and(|n| step.step.is_multiple_of(n)) => {
                write(&mut files.train, step.step, histograms(step.model)?);
            }
            Event::End(_) | Event::Failed(_) => self.files = None,
            _ => {}
        }
        Ok(Flow::Continue)
    }
}

impl Files {
    /// Writes the numbers of a line, each into the file of its set.
    fn write(&mut self, line: &Line) {
        let step = line.get("step").and_then(|step| step.as_u64()).unwrap_or(0) as usize;
        let (mut train, mut valid) = (Vec::new(), Vec::new());
        let of_step = !line.contains_key("epoch");
        for (name, value) in line.iter().filter(|(name, _)| *name != "step") {
            // What is no number in JSON was not finite.
            let value = value.as_f64().unwrap_or(f64::NAN) as f32;
            match name.split_once(' ') {
                Some(("train", name)) => train.push(scalar(name, value)),
                Some(("valid", name)) => valid.push(scalar(name, value)),
                None if of_step => train.push(scalar(&format!("step/{name}"), value)),
                _ => {}
            }
        }
        write(&mut self.train, step, train);
        write(&mut self.valid, step, valid);
    }
}

/// A new event file in a folder. After so many steps, those of others that come later do not count.
fn open(folder: &Path, step: usize) -> std::io::Result<File> {
    fs::create_dir_all(folder)?;
    let mut number = 1;
    let mut file = loop {
        // TensorBoard reads the files in the order of their names.
        let path = folder.join(format!("events.out.tfevents.{number:06}.kiln"));
        match File::create_new(path) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => number += 1,
            file => break file?,
        }
    };
    let mut version = event(0);
    version.bytes(3, VERSION);
    file.write_all(&record::framed(&version.0))?;
    let mut session = Message::default();
    session.int(1, 1); // SessionLog.status: START
    let mut start = event(step + 1);
    start.bytes(7, &session.0);
    file.write_all(&record::framed(&start.0))?;
    Ok(file)
}

/// An `Event` at a step, now.
fn event(step: usize) -> Message {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut event = Message::default();
    event.double(1, now.as_secs_f64());
    event.int(2, step as u64);
    event
}

/// Writes the values of a `Summary`, at once: the file of a killed run ends where the run did. What
/// can not be written is no reason to lose the training.
fn write(file: &mut File, step: usize, values: Vec<Message>) {
    if values.is_empty() {
        return;
    }
    let mut summary = Message::default();
    values.iter().for_each(|value| summary.bytes(1, &value.0));
    let mut event = event(step);
    event.bytes(5, &summary.0);
    let _ = file.write_all(&record::framed(&event.0));
}

/// A `Summary.Value` with one number.
fn scalar(tag: &str, number: f32) -> Message {
    let mut value = Message::default();
    value.bytes(1, tag.as_bytes());
    value.float(2, number);
    value
}

/// A `Summary.Value` with a `HistogramProto` for each parameter.
fn histograms(model: &dyn Module) -> Result<Vec<Message>> {
    let mut values = Vec::new();
    for (path, tensor) in model.named_params() {
        let numbers: Vec<f64> = tensor.detach().to_data()?.iter().collect();
        let mut value = Message::default();
        value.bytes(1, format!("parameters/{path}").as_bytes());
        value.bytes(5, &histogram(&numbers).0);
        values.push(value);
    }
    Ok(values)
}

/// Buckets of one width between the least and the largest of the finite numbers.
fn histogram(numbers: &[f64]) -> Message {
    let numbers = || numbers.iter().copied().filter(|x| x.is_finite());
    let (low, high) = (numbers().fold(f64::MAX, f64::min), numbers().fold(f64::MIN, f64::max));
    let (low, high) = if low > high { (0.0, 0.0) } else { (low, high) };
    let width = (high - low) / BUCKETS as f64;
    let mut counts = [0.0; BUCKETS];
    for x in numbers() {
        // All of one value are in the first bucket.
        let bucket = if width > 0.0 { ((x - low) / width) as usize } else { 0 };
        counts[bucket.min(BUCKETS - 1)] += 1.0;
    }
    let limits: Vec<f64> = (1..=BUCKETS).map(|i| low + width * i as f64).collect();
    let mut histogram = Message::default();
    histogram.double(1, low);
    histogram.double(2, high);
    histogram.double(3, counts.iter().sum());
    histogram.double(4, numbers().sum());
    histogram.double(5, numbers().map(|x| x * x).sum());
    histogram.doubles(6, &limits);
    histogram.doubles(7, &counts);
    histogram
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The little-endian doubles of a packed field.
    fn doubles(message: &[u8], key: u8) -> Vec<f64> {
        let start = message.windows(3).position(|bytes| bytes == [key, 0x80, 2]).unwrap() + 3;
        let bytes = message[start..start + 8 * BUCKETS].chunks(8);
        bytes.map(|bytes| f64::from_le_bytes(bytes.try_into().unwrap())).collect()
    }

    #[test]
    fn a_histogram_counts_every_finite_number_once() {
        let numbers = [0.0, 1.0, 31.9, 32.0, 5.5, f64::NAN, f64::INFINITY];
        let message = histogram(&numbers).0;
        let (limits, counts) = (doubles(&message, 0x32), doubles(&message, 0x3a));
        assert_eq!((limits[0], limits[31]), (1.0, 32.0));
        assert_eq!((counts[0], counts[1], counts[5], counts[31]), (1.0, 1.0, 1.0, 2.0));
        assert_eq!(counts.iter().sum::<f64>(), 5.0);
        for few in [&[][..], &[3.0], &[f64::NAN]] {
            let counts = doubles(&histogram(few).0, 0x3a);
            assert_eq!(counts[0], if few == [3.0] { 1.0 } else { 0.0 });
        }
    }
}
