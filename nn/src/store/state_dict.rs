//! Values by path in memory.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path as FilePath;

use indexmap::IndexMap;
use kiln_tensor::{AnyTensor, DType, Error, OrFail, Result, Shape, TensorData, fail};

use super::fit::Entries;
use super::{WeightFile, npz, remap, safetensors, shards};
use crate::module::{Path, Visitor};

/// Values of parameters and buffers by path: those of a model in the order of declaration, those of
/// a file sorted by path. A file can have texts by name as well: its metadata.
#[derive(Clone, Debug, Default)]
pub struct StateDict {
    pub(super) entries: IndexMap<String, TensorData>,
    pub(super) metadata: BTreeMap<String, String>,
}

impl StateDict {
    /// The values of a model, given its `visit`.
    pub(crate) fn of(visit: impl FnOnce(&mut dyn Visitor)) -> Self {
        struct Collect(StateDict);
        impl Visitor for Collect {
            fn tensor(&mut self, path: &Path<'_>, tensor: &AnyTensor) {
                self.0.entries.insert(path.to_string(), tensor.to_data().or_fail());
            }
            fn tied(&mut self, path: &Path<'_>, _: &Path<'_>, tensor: &AnyTensor) {
                self.tensor(path, tensor);
            }
        }
        let mut collect = Collect(Self::default());
        visit(&mut collect);
        collect.0
    }

    /// The values of a path.
    pub fn get(&self, path: &str) -> Option<&TensorData> {
        self.entries.get(path)
    }

    /// Sets the values of a path.
    pub fn insert(&mut self, path: impl Into<String>, data: TensorData) {
        self.entries.insert(path.into(), data);
    }

    /// Every path with its values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &TensorData)> {
        self.entries.iter().map(|(path, data)| (path.as_str(), data))
    }

    /// The number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The texts that a safetensors file holds besides tensors.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// The texts that a safetensors file holds besides tensors, to be changed. Hugging Face's
    /// transformers want `format` to be `pt`, if there are any.
    pub fn metadata_mut(&mut self) -> &mut BTreeMap<String, String> {
        &mut self.metadata
    }

    /// The same with all floats as `dtype`, to store them in half precision; integers, bools and
    /// complex numbers stay as they are. Panics if `dtype` is not one of floats.
    ///
    /// ```
    /// # extern crate kiln_nn as kiln;
    /// use kiln_nn::{LinearConfig, Module};
    /// use kiln_tensor::{DType, Device};
    /// let state = LinearConfig::new(3, 2).init(&Device::cpu()).state_dict().to_dtype(DType::BF16);
    /// assert_eq!(state.get("weight").unwrap().dtype(), DType::BF16);
    /// ```
    #[track_caller]
    pub fn to_dtype(&self, dtype: DType) -> Self {
        if !dtype.is_float() {
            let rule = "weights are floats".into();
            fail(Error::DType { op: "to_dtype", dtypes: vec![dtype], rule });
        }
        let convert = |(path, data): (&String, &TensorData)| {
            let dtype = if data.dtype().is_float() { dtype } else { data.dtype() };
            (path.clone(), data.convert_dtype(dtype))
        };
        Self {
            entries: self.entries.iter().map(convert).collect(),
            metadata: self.metadata.clone(),
        }
    }

    /// Renames entries, and returns how many have another name now. A rule is a
    /// [`PathPattern`](crate::PathPattern) and what takes its place, in which each star stands for
    /// what the one at its place in the pattern stood for. Each rule is applied to what those before
    /// it made. An error, and nothing renamed, if the stars of a rule differ or two entries would
    /// have the same name.
    ///
    /// ```
    /// use kiln_nn::StateDict;
    /// use kiln_tensor::TensorData;
    /// let mut state = StateDict::default();
    /// state.insert("bert.encoder.layer.0.norm.gamma", TensorData::from([1.0f32]));
    /// state.rename(&[
    ///     ("bert.**", "**"),               // without a prefix
    ///     ("encoder.layer.*.**", "*.**"),  // without the names between
    ///     ("**.gamma", "**.weight"),       // Hugging Face's old names
    ///     ("**.beta", "**.bias"),
    /// ])?;
    /// assert!(state.get("0.norm.weight").is_some());
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    pub fn rename(&mut self, rules: &[(&str, &str)]) -> Result<usize> {
        self.remap(|entries| remap::rename(entries, rules))
    }

    /// Leaves out the entries that do not fit a [`PathPattern`](crate::PathPattern), as the
    /// optimizer of a checkpoint whose model is under `model.**`, and returns how many are left. An
    /// error, and none left out, if none fits, which is nearly always a mistake in the pattern.
    pub fn keep(&mut self, pattern: &str) -> Result<usize> {
        self.remap(|entries| remap::keep(entries, pattern))
    }

    fn remap<R>(&mut self, change: impl FnOnce(&mut Vec<(String, TensorData)>) -> R) -> R {
        let mut entries = std::mem::take(&mut self.entries).into_iter().collect();
        let result = change(&mut entries);
        self.entries = entries.into_iter().collect();
        result
    }

    /// Writes a file that appears whole or not at all: an `.npz` file if `path` ends so, else a
    /// safetensors file. NumPy has no bf16, which is written as f32.
    pub fn save(&self, path: impl AsRef<FilePath>) -> Result<()> {
        let path = path.as_ref();
        let ending = path.extension().and_then(|ending| ending.to_str());
        match ending {
            Some("npz") => npz::save(path, self.iter()),
            Some(ending @ ("pt" | "pth" | "bin" | "json" | "npy")) => {
                let what = format!(
                    "can not be written: Kiln writes `.safetensors` and `.npz`, not `.{ending}`"
                );
                Err(super::file_error(&path.display().to_string(), what))
            }
            _ => safetensors::save(path, self.iter(), &self.metadata),
        }
    }

    /// Writes safetensors files of at most `max_bytes` of values each (more only if a single tensor
    /// has more), named as Hugging Face does: for the path `model.safetensors` they are
    /// `model-00001-of-00003.safetensors` and so on, and `model.safetensors.index.json` says what is
    /// where. If one file is enough, it is `path` itself.
    ///
    /// What an earlier call left at `path` goes: the index before anything is written, so that it
    /// never names files of two calls. To keep it until the new one is whole, write into a new
    /// folder.
    pub fn save_sharded(&self, path: impl AsRef<FilePath>, max_bytes: usize) -> Result<()> {
        let entries: Vec<_> = self.iter().collect();
        shards::save(path.as_ref(), &entries, &self.metadata, max_bytes)
    }

    /// Reads a file of any format that [`WeightFile::open`] knows. Nothing in it is trusted: a
    /// damaged or truncated file is an error.
    pub fn load(path: impl AsRef<FilePath>) -> Result<Self> {
        WeightFile::open(path)?.into_state_dict()
    }
}

impl IntoIterator for StateDict {
    type Item = (String, TensorData);
    type IntoIter = indexmap::map::IntoIter<String, TensorData>;

    /// Every path with its values, given away.
    fn into_iter(self) -> Self::IntoIter {
        self.entries.into_iter()
    }
}

impl Entries for StateDict {
    fn paths(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    fn layout(&self, path: &str) -> Option<(Shape, DType)> {
        self.get(path).map(|data| (data.shape(), data.dtype()))
    }

    fn values(&self, path: &str) -> Result<Cow<'_, TensorData>> {
        Ok(Cow::Borrowed(self.get(path).expect("it has a layout")))
    }
}
