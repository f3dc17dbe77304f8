//! A file of weights, read entry by entry.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use kiln_tensor::{DType, Result, Shape, TensorData};

use super::fit::Entries;
use super::pt::Value;
use super::source::Source;
use super::{StateDict, file_error, npz, pt, remap, safetensors, shards};

/// The formats of weight files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WeightFormat {
    /// `.safetensors`.
    Safetensors,
    /// `.index.json`, which says which entry is in which file beside it.
    Index,
    /// `.pt`, `.pth` or `.bin` of `torch.save`.
    PyTorch,
    /// `.npz` of `numpy.savez`.
    Npz,
}

/// A file of weights. Opening it reads and checks what it says of its entries; the values of an
/// entry are read when they are asked for, so that a model loads without a second copy of itself in
/// memory (arrays of `.npz` files are read at once).
///
/// The file must not be changed while it is open: what is read then may be old, new or an error.
///
/// ```
/// # extern crate kiln_nn as kiln;
/// use kiln_nn::{LinearConfig, Module, WeightFile};
/// use kiln_tensor::Device;
/// # let folder = std::env::temp_dir().join(format!("kiln-weight-file-{}", std::process::id()));
/// # std::fs::create_dir_all(&folder).unwrap();
/// # let path = folder.join("old.safetensors");
/// let mut model = LinearConfig::new(3, 2).init(&Device::cpu());
/// # let mut old = model.state_dict();
/// # old.rename(&[("**.weight", "bert.**.gamma"), ("**.bias", "bert.**.beta")])?;
/// # old.save(&path)?;
/// let mut file = WeightFile::open(&path)?; // has `bert.gamma` and `bert.beta`
/// file.rename(&[("bert.**", "**"), ("**.gamma", "**.weight"), ("**.beta", "**.bias")])?;
/// assert_eq!(file.get("weight").unwrap().0, [2, 3].into());
/// model.load_from(&file)?;
/// # std::fs::remove_dir_all(&folder).unwrap();
/// # Ok::<(), kiln_tensor::Error>(())
/// ```
#[derive(Debug)]
pub struct WeightFile {
    name: String,
    format: WeightFormat,
    pub(super) sources: Vec<Source>,
    /// Sorted by name; no name is there twice.
    pub(super) entries: Vec<(String, Entry)>,
    pub(super) metadata: BTreeMap<String, String>,
    pub(super) values: Vec<(String, Value)>,
}

#[derive(Debug)]
pub(super) enum Entry {
    /// In the source of this number.
    Stored(usize, Layout),
    Held(TensorData),
}

/// Where the values of an entry are in a source, all inside of it.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) shape: Shape,
    pub(super) dtype: DType,
    /// The place of the first element in bytes.
    pub(super) start: u64,
    /// Steps in elements, unless the elements lie row by row; 0 for axes with one element.
    pub(super) strides: Option<Vec<usize>>,
}

impl Layout {
    /// How many bytes there are from the first element to the last one.
    pub(super) fn span(&self, strides: &[usize]) -> usize {
        if self.shape.num_elements() == 0 {
            return 0;
        }
        let steps = self.shape.iter().zip(strides).map(|(n, stride)| (n - 1) * stride);
        (steps.sum::<usize>() + 1) * self.dtype.size()
    }
}

/// How the bytes of a file are reached.
#[derive(Clone, Copy)]
enum Access {
    Read,
    Map,
}

impl Access {
    fn open(self, path: &Path) -> Result<Source> {
        match self {
            Access::Read => Source::open(path),
            // SAFETY: `open_mapped`, which alone makes this variant, passes the promise on.
            Access::Map => unsafe { Source::map(path) },
        }
    }
}

impl WeightFile {
    /// Opens a file of any format, as its content says, or a folder that has one under the name
    /// that Hugging Face gives it. If there is no file `path`, but one with the ending
    /// `.index.json` after it, opens that one.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_any(path.as_ref(), Access::Read)
    }

    /// As [`WeightFile::open`], through a memory map. It is as fast to read a whole file once
    /// without; a map shares the memory of the system's file cache where entries are read again
    /// and again.
    ///
    /// # Safety
    /// As long as the file is open, nobody may change it, or make it shorter, in which case the
    /// system kills the process. No program can make sure of that for files that others can write.
    pub unsafe fn open_mapped(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_any(path.as_ref(), Access::Map)
    }

    /// A file in memory: a `Vec<u8>`, the bytes of `include_bytes!`, a memory map of one's own.
    pub fn from_bytes(bytes: impl AsRef<[u8]> + Send + Sync + 'static) -> Result<Self> {
        let source = Source::memory("weights in memory".into(), bytes);
        let format = detect(&source)?;
        Self::of_source(source, format)
    }

    fn open_any(path: &Path, access: Access) -> Result<Self> {
        let path = locate(path)?;
        let source = access.open(&path)?;
        match detect(&source)? {
            WeightFormat::Index => {
                let open = |path: &Path| {
                    let source = access.open(path)?;
                    let format = detect(&source)?;
                    Self::of_source(source, format)
                };
                shards::open(&path, &source, open)
            }
            format => Self::of_source(source, format),
        }
    }

    /// A file that is complete in itself.
    fn of_source(source: Source, format: WeightFormat) -> Result<Self> {
        let mut file = Self::empty(source.name.clone(), format);
        match format {
            WeightFormat::Safetensors => safetensors::open(source, &mut file)?,
            WeightFormat::PyTorch => pt::open(source, &mut file)?,
            WeightFormat::Npz => npz::open(&source, &mut file)?,
            WeightFormat::Index => {
                return Err(source.error("is an index, which needs the files that it names"));
            }
        }
        file.sort()?;
        Ok(file)
    }

    pub(super) fn empty(name: String, format: WeightFormat) -> Self {
        let (sources, entries, values) = Default::default();
        Self { name, format, sources, entries, metadata: BTreeMap::new(), values }
    }

    /// Sorts the entries; an error if two have the same name.
    pub(super) fn sort(&mut self) -> Result<()> {
        self.entries.sort_by(|(a, _), (b, _)| a.cmp(b));
        match self.entries.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            Some(pair) => Err(file_error(&self.name, format!("has two entries {}", pair[0].0))),
            None => Ok(()),
        }
    }

    /// The format.
    pub fn format(&self) -> WeightFormat {
        self.format
    }

    /// The name of the file, for errors.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Every entry with its shape and dtype, sorted by path.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Shape, DType)> {
        self.entries.iter().map(|(name, entry)| {
            let (shape, dtype) = entry.layout();
            (name.as_str(), shape, dtype)
        })
    }

    /// The number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Shape and dtype of an entry.
    pub fn get(&self, path: &str) -> Option<(Shape, DType)> {
        self.find(path).map(Entry::layout)
    }

    /// Reads the values of an entry. An error if there is none.
    pub fn read(&self, path: &str) -> Result<TensorData> {
        match self.find(path) {
            Some(Entry::Stored(source, layout)) => self.sources[*source].values(layout),
            Some(Entry::Held(data)) => Ok(data.clone()),
            None => Err(file_error(&self.name, format!("has no entry {path}"))),
        }
    }

    fn find(&self, path: &str) -> Option<&Entry> {
        let at = self.entries.binary_search_by(|(name, _)| name.as_str().cmp(path)).ok()?;
        Some(&self.entries[at].1)
    }

    /// The metadata of a safetensors file: texts by name.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// What a PyTorch file holds besides tensors, as `value("epoch")`. Keys of dictionaries inside
    /// of others, and places in lists of these, are joined with dots. Only plain values are there,
    /// not dtypes, devices, bytes and integers of more than 64 bits.
    pub fn value(&self, path: &str) -> Option<&Value> {
        self.values.iter().find(|(name, _)| name == path).map(|(_, value)| value)
    }

    /// All that [`WeightFile::value`] knows, in the order of the file.
    pub fn values(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.values.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// Renames entries: see [`StateDict::rename`].
    pub fn rename(&mut self, rules: &[(&str, &str)]) -> Result<usize> {
        let renamed = remap::rename(&mut self.entries, rules)?;
        self.sort()?;
        Ok(renamed)
    }

    /// Leaves out the entries that do not fit a [`PathPattern`](crate::PathPattern): see
    /// [`StateDict::keep`].
    pub fn keep(&mut self, pattern: &str) -> Result<usize> {
        remap::keep(&mut self.entries, pattern)
    }

    /// Reads everything.
    pub fn into_state_dict(self) -> Result<StateDict> {
        let Self { sources, entries, metadata, .. } = self;
        let read = |(name, entry)| match entry {
            Entry::Stored(source, layout) => Ok((name, sources[source].values(&layout)?)),
            Entry::Held(data) => Ok((name, data)),
        };
        let entries = entries.into_iter().map(read).collect::<Result<_>>()?;
        Ok(StateDict { entries, metadata })
    }
}

impl Entry {
    fn layout(&self) -> (Shape, DType) {
        match self {
            Entry::Stored(_, layout) => (layout.shape, layout.dtype),
            Entry::Held(data) => (data.shape(), data.dtype()),
        }
    }
}

impl Entries for WeightFile {
    fn paths(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|(name, _)| name.as_str())
    }

    fn layout(&self, path: &str) -> Option<(Shape, DType)> {
        self.get(path)
    }

    fn values(&self, path: &str) -> Result<Cow<'_, TensorData>> {
        self.read(path).map(Cow::Owned)
    }
}

/// The file that is meant by `path`.
fn locate(path: &Path) -> Result<PathBuf> {
    /// The names that Hugging Face gives them, in the order in which it looks for them.
    const NAMES: [&str; 4] = [
        "model.safetensors",
        "model.safetensors.index.json",
        "pytorch_model.bin",
        "pytorch_model.bin.index.json",
    ];
    if path.is_dir() {
        let found = NAMES.iter().map(|name| path.join(name)).find(|file| file.is_file());
        return found.ok_or_else(|| {
            let what = format!("is a folder without weights: none of {}", NAMES.join(", "));
            file_error(&path.display().to_string(), what)
        });
    }
    let index = shards::index_of(path);
    Ok(if !path.exists() && index.is_file() { index } else { path.into() })
}

/// The format of a file by its first bytes.
fn detect(source: &Source) -> Result<WeightFormat> {
    let start = source.read_vec(0, source.len().min(8))?;
    if start.starts_with(b"PK\x03\x04") || start.starts_with(b"PK\x05\x06") {
        return Ok(if pt::is_npz(source)? { WeightFormat::Npz } else { WeightFormat::PyTorch });
    }
    // A safetensors file starts with the length of its header in eight bytes; the upper ones are
    // zero.
    if start.len() == 8 && start[4..] == [0; 4] {
        return Ok(WeightFormat::Safetensors);
    }
    match start.first() {
        Some(b'{') => Ok(WeightFormat::Index),
        Some(0x80) => Err(source.error(pt::LEGACY)),
        Some(0x93) if start.starts_with(b"\x93NUMPY") => {
            Err(source.error("is a single array of NumPy; read it with `npy::read`"))
        }
        // Whatever it is, the error tells what is wrong with it as one.
        _ => Ok(WeightFormat::Safetensors),
    }
}
