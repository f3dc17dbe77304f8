//! Checkpoints: one file that holds all that a training needs to go on.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Display;
use std::path::Path;

use kiln_nn::{Module, StateDict, atomic_write};
use kiln_tensor::{DType, Device, Error, Generator, Result, Shape, TensorData};
use safetensors::tensor::{Dtype, SafeTensors, View};

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
        let mut views = Vec::new();
        for (part, state) in &self.parts {
            for (name, data) in state.iter() {
                let unknown = || error(format!("can not hold {name}, which is {}", data.dtype()));
                let dtype = to_file(data.dtype()).ok_or_else(unknown)?;
                views.push((format!("{part}.{name}"), Entry { data, dtype }));
            }
        }
        let mut texts: HashMap<String, String> = self.texts.clone().into_iter().collect();
        texts.insert("checksum".into(), NO_SUM.into());
        texts.insert(VERSION.into(), env!("CARGO_PKG_VERSION").into());
        let mut bytes = safetensors::serialize(views, Some(texts))
            .map_err(|cause| error(format!("can not be written: {cause}")))?;
        let at = find_sum(&bytes).ok_or_else(|| error("has no place for its checksum".into()))?;
        let sum = checksum(&bytes, at);
        bytes[at..at + NO_SUM.len()].copy_from_slice(sum.as_bytes());
        atomic_write(path, |file| file.write_all(&bytes))
    }

    /// Reads a file. One that was cut, changed or written by something else is an error that says
    /// so.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let error = |what: String| Error::File { path: path.display().to_string(), what };
        let damaged = |cause: &dyn Display| error(format!("is a damaged checkpoint: {cause}"));
        let bytes =
            std::fs::read(path).map_err(|cause| error(format!("can not be read: {cause}")))?;
        let file = SafeTensors::deserialize(&bytes).map_err(|cause| damaged(&cause))?;
        let at = find_sum(&bytes).ok_or_else(|| {
            error(
                "is no checkpoint: it has no checksum (weights alone are read by `load_file`)"
                    .into(),
            )
        })?;
        let sum = checksum(&bytes, at);
        if &bytes[at..at + NO_SUM.len()] != sum.as_bytes() {
            return Err(damaged(&"its checksum is not that of its bytes"));
        }
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|cause| damaged(&cause))?;
        let mut checkpoint = Self::new();
        checkpoint.texts.extend(header.metadata().clone().unwrap_or_default());
        checkpoint.texts.remove("checksum");
        let mut names = file.names();
        names.sort();
        for name in names {
            let view = file.tensor(name).map_err(|cause| damaged(&cause))?;
            let unknown = || damaged(&format!("{name} has the dtype {:?}", view.dtype()));
            let dtype = from_file(view.dtype()).ok_or_else(unknown)?;
            let shape = Shape::try_new(view.shape()).map_err(|cause| damaged(&cause))?;
            let data = TensorData::from_bytes(view.data(), shape, dtype);
            let data = data.map_err(|cause| damaged(&cause))?;
            let (part, path) = name.split_once('.').unwrap_or((name, ""));
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

/// The checksum of a file whose own, at `at`, reads zero.
fn checksum(bytes: &[u8], at: usize) -> String {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&bytes[..at]);
    hasher.update(NO_SUM.as_bytes());
    hasher.update(&bytes[at + NO_SUM.len()..]);
    format!("{:08x}", hasher.finalize())
}

/// Dtypes and how files name them. Pairs of f64 have no name there.
const DTYPES: [(DType, Dtype); 14] = [
    (DType::Bool, Dtype::BOOL),
    (DType::U8, Dtype::U8),
    (DType::I8, Dtype::I8),
    (DType::U16, Dtype::U16),
    (DType::I16, Dtype::I16),
    (DType::U32, Dtype::U32),
    (DType::I32, Dtype::I32),
    (DType::U64, Dtype::U64),
    (DType::I64, Dtype::I64),
    (DType::F16, Dtype::F16),
    (DType::BF16, Dtype::BF16),
    (DType::F32, Dtype::F32),
    (DType::F64, Dtype::F64),
    (DType::Complex64, Dtype::C64),
];

fn to_file(dtype: DType) -> Option<Dtype> {
    DTYPES.iter().find(|(ours, _)| *ours == dtype).map(|(_, theirs)| *theirs)
}

fn from_file(dtype: Dtype) -> Option<DType> {
    DTYPES.iter().find(|(_, theirs)| *theirs == dtype).map(|(ours, _)| *ours)
}

struct Entry<'a> {
    data: &'a TensorData,
    dtype: Dtype,
}

impl View for Entry<'_> {
    fn dtype(&self) -> Dtype {
        self.dtype
    }
    fn shape(&self) -> &[usize] {
        self.data.dims()
    }
    fn data(&self) -> Cow<'_, [u8]> {
        self.data.bytes().into()
    }
    fn data_len(&self) -> usize {
        self.data.bytes().len()
    }
}
