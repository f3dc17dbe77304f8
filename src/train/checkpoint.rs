//! Checkpoints: one file that holds all that a training needs to go on.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;

use kiln_nn::{Module, StateDict, WeightFile, atomic_write, safetensors_parts};
use kiln_tensor::{Device, Error, Generator, Result};

/// Stands where the checksum will be while it is computed.
const NO_SUM: &str = "00000000";
/// What the checksum follows in the header.
const SUM_KEY: &str = "\"checksum\":\"";
/// What names the version that wrote the file.
const VERSION: &str = "kiln";

/// All that a training needs to go on: parts of named tensors (`model`, `optim`, ..) and texts.
///
/// The file is a safetensors file, whose tensors are `part.name` and whose metadata holds the texts
/// and a checksum (CRC-32) of every byte of the file: one that was cut or changed anywhere is
/// refused. A [`Trainer`](super::Trainer) writes them by itself; a loop of your own does it so:
///
/// ```
/// use kiln::prelude::*;
/// use kiln::train::Checkpoint;
///
/// # let path = std::env::temp_dir().join("kiln_checkpoint_doc.safetensors");
/// let device = Device::cpu();
/// let mut model = LinearConfig::new(2, 2).init(&device);
/// let mut optim = AdamConfig::new(0.01).init();
///
/// let mut checkpoint = Checkpoint::new();
/// checkpoint.insert("model", model.state_dict());
/// checkpoint.insert("optim", optim.state_dict());
/// checkpoint.insert_generator(&device);
/// checkpoint.set("batch", 500);
/// checkpoint.save(&path)?;
///
/// let checkpoint = Checkpoint::load(&path)?;
/// checkpoint.load_model("model", &mut model)?;
/// optim.load_state_dict(&model, &checkpoint.part("optim"))?;
/// checkpoint.restore_generator(&device)?;
/// assert_eq!(checkpoint.get("batch"), Some("500"));
/// # std::fs::remove_file(path).ok();
/// # Ok::<(), kiln::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Checkpoint {
    parts: BTreeMap<String, StateDict>,
    texts: BTreeMap<String, String>,
}

impl Checkpoint {
    /// An empty checkpoint.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a part, whose name has no dot.
    pub fn insert(&mut self, part: &str, state: StateDict) {
        self.parts.insert(part.into(), state);
    }

    /// The part with this name; an empty one if there is none.
    pub fn part(&self, part: &str) -> StateDict {
        self.parts.get(part).cloned().unwrap_or_default()
    }

    /// Whether there is such a part.
    pub fn has(&self, part: &str) -> bool {
        self.parts.contains_key(part)
    }

    /// Sets a text.
    pub fn set(&mut self, name: &str, text: impl Display) {
        self.texts.insert(name.into(), text.to_string());
    }

    /// The text with this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.texts.get(name).map(String::as_str)
    }

    /// Gives `model` its values back. An error unless all are there, with their shapes and dtypes,
    /// and no others.
    pub fn load_model(&self, part: &str, model: &mut impl Module) -> Result<()> {
        let report = model.load_state_dict(&self.part(part));
        if report.is_complete() && report.converted.is_empty() {
            return Ok(());
        }
        let rule = format!("`{part}` does not fit the model: {report}");
        Err(Error::Argument { op: "checkpoint", rule })
    }

    /// Notes where the random numbers of a device are.
    pub fn insert_generator(&mut self, device: &Device) {
        let Generator { seed, offset } = device.generator();
        self.set(&generator_key(device), format!("{seed} {offset}"));
    }

    /// Continues the random numbers of a device from where they were; an error if that was not
    /// noted.
    pub fn restore_generator(&self, device: &Device) -> Result<()> {
        let key = generator_key(device);
        let parse = |text: &str| {
            let (seed, offset) = text.split_once(' ')?;
            Some(Generator { seed: seed.parse().ok()?, offset: offset.parse().ok()? })
        };
        let generator = self.get(&key).and_then(parse).ok_or_else(|| {
            let rule = format!("it does not tell where the random numbers of {device} were");
            Error::Argument { op: "checkpoint", rule }
        })?;
        device.set_generator(generator);
        Ok(())
    }

    /// Writes the file, which appears whole or not at all and survives a power cut from then on.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let error = |what: String| Error::File { path: path.display().to_string(), what };
        let mut texts = self.texts.clone();
        texts.insert("checksum".into(), NO_SUM.into());
        texts.insert(VERSION.into(), env!("CARGO_PKG_VERSION").into());
        let entries = self.parts.iter().flat_map(|(part, state)| {
            state.iter().map(move |(name, data)| (format!("{part}.{name}"), data))
        });
        let (mut head, values) = safetensors_parts(entries, &texts).map_err(error)?;
        let at = find_sum(&head).ok_or_else(|| error("has no place for its checksum".into()))?;
        let sum = checksum(&head, at, values.iter().map(|data| data.bytes()));
        head[at..at + NO_SUM.len()].copy_from_slice(sum.as_bytes());
        atomic_write(path, |file| {
            file.write_all(&head)?;
            values.iter().try_for_each(|data| file.write_all(data.bytes()))
        })
    }

    /// Reads a file. One that was cut, changed or written by something else is an error that says
    /// so.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let error = |what: String| Error::File { path: path.display().to_string(), what };
        let damaged = |cause: &dyn Display| error(format!("is a damaged checkpoint: {cause}"));
        let bytes: Arc<[u8]> =
            std::fs::read(path).map_err(|cause| error(format!("can not be read: {cause}")))?.into();
        let file = WeightFile::from_bytes(bytes.clone()).map_err(|cause| damaged(&cause))?;
        let at = find_sum(&bytes).ok_or_else(|| {
            error(
                "is no checkpoint: it has no checksum (weights alone are read by `load_file`)"
                    .into(),
            )
        })?;
        if &bytes[at..at + NO_SUM.len()] != checksum(&bytes, at, std::iter::empty()).as_bytes() {
            return Err(damaged(&"its checksum is not that of its bytes"));
        }
        let state = file.into_state_dict().map_err(|cause| damaged(&cause))?;
        let mut checkpoint = Self { texts: state.metadata().clone(), ..Self::default() };
        checkpoint.texts.remove("checksum");
        for (name, data) in state {
            let (part, path) = name.split_once('.').unwrap_or((&name, ""));
            checkpoint.parts.entry(part.into()).or_default().insert(path, data);
        }
        Ok(checkpoint)
    }
}

fn generator_key(device: &Device) -> String {
    format!("generator.{device}")
}

/// Where the digits of the checksum are: a key of the header's texts. No text and no name can look
/// like it, because quotes inside of them are escaped.
fn find_sum(bytes: &[u8]) -> Option<usize> {
    let (len, rest) = bytes.split_first_chunk::<8>()?;
    let header = rest.get(..usize::try_from(u64::from_le_bytes(*len)).ok()?)?;
    let found = header.windows(SUM_KEY.len()).position(|window| window == SUM_KEY.as_bytes())?;
    let at = 8 + found + SUM_KEY.len();
    (at + NO_SUM.len() <= 8 + header.len()).then_some(at)
}

/// The checksum of a file that starts with `head` and goes on with `rest`; its own, at `at`, counts
/// as zeros.
fn checksum<'a>(head: &[u8], at: usize, rest: impl Iterator<Item = &'a [u8]>) -> String {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&head[..at]);
    hasher.update(NO_SUM.as_bytes());
    hasher.update(&head[at + NO_SUM.len()..]);
    rest.for_each(|bytes| hasher.update(bytes));
    format!("{:08x}", hasher.finalize())
}
