//! Parameters by path, and safetensors files of them.

use std::fmt;
use std::path::Path as FilePath;

use kiln_tensor::{AnyTensor, DType, Error, OrFail, Result, Shape, TensorData, atomic_write};
use safetensors::tensor::{Dtype, SafeTensors, View};

use crate::module::{Path, Visitor, VisitorMut};

/// Values of parameters and buffers by path: those of a model in the order of declaration, those of
/// a file, which keeps no order, sorted by path.
#[derive(Clone, Debug, Default)]
pub struct StateDict {
    entries: Vec<(String, TensorData)>,
}

/// What became of each entry when a [`StateDict`] was loaded into a model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// Paths that took their values.
    pub loaded: Vec<String>,
    /// Paths of the model that the file lacks; they keep their values.
    pub missing: Vec<String>,
    /// Paths of the file that the model lacks.
    pub unexpected: Vec<String>,
    /// Paths whose shapes differ: in the model, and in the file. They keep their values.
    pub misshapen: Vec<(String, Shape, Shape)>,
    /// Paths whose values were converted: from the dtype of the file to that of the model.
    pub converted: Vec<(String, DType, DType)>,
}

impl LoadReport {
    /// Whether model and file have the same entries of the same shapes.
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty() && self.unexpected.is_empty() && self.misshapen.is_empty()
    }

    /// An error that names every difference, if there is one.
    pub(crate) fn strict(&self, path: &FilePath) -> Result<()> {
        if self.is_complete() {
            return Ok(());
        }
        let what = format!(
            "does not fit the model: {self}; load it with `load_file_partial` to take what fits"
        );
        Err(Error::File { path: path.display().to_string(), what })
    }
}

/// `12 loaded, missing a.weight, unexpected b.weight, fc.weight is [2, 3] but [4, 3] in the file`.
impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} loaded", self.loaded.len())?;
        for (what, paths) in [("missing", &self.missing), ("unexpected", &self.unexpected)] {
            if !paths.is_empty() {
                write!(f, ", {what} {}", paths.join(" "))?;
            }
        }
        for (path, model, file) in &self.misshapen {
            write!(f, ", {path} is {model} but {file} in the file")?;
        }
        for (path, from, to) in &self.converted {
            write!(f, ", {path} converted from {from} to {to}")?;
        }
        Ok(())
    }
}

impl StateDict {
    /// The values of a model, given its `visit`.
    pub(crate) fn of(visit: impl FnOnce(&mut dyn Visitor)) -> Self {
        struct Collect(StateDict);
        impl Visitor for Collect {
            fn tensor(&mut self, path: &Path<'_>, tensor: &AnyTensor) {
                self.0.entries.push((path.to_string(), tensor.to_data().or_fail()));
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
        self.entries.iter().find(|(name, _)| name == path).map(|(_, data)| data)
    }

    /// Sets the values of a path.
    pub fn insert(&mut self, path: impl Into<String>, data: TensorData) {
        let path = path.into();
        match self.entries.iter_mut().find(|(name, _)| *name == path) {
            Some(entry) => entry.1 = data,
            None => self.entries.push((path, data)),
        }
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

    /// What [`StateDict::load_into`] would do, without doing it.
    pub(crate) fn check_fit(&self, visit: impl FnOnce(&mut dyn Visitor)) -> LoadReport {
        struct Check<'a>(&'a StateDict, LoadReport);
        impl Visitor for Check<'_> {
            fn tensor(&mut self, path: &Path<'_>, tensor: &AnyTensor) {
                self.0.entry(path, tensor, &mut self.1);
            }
            fn tied(&mut self, path: &Path<'_>, owner: &Path<'_>, tensor: &AnyTensor) {
                self.0.tied_entry(path, owner, tensor, &mut self.1);
            }
        }
        let mut check = Check(self, LoadReport::default());
        visit(&mut check);
        self.note_unexpected(check.1)
    }

    /// Gives the values to a model, given its `visit_mut`: what fits is taken, the rest reported.
    /// Values take the dtype of the model.
    pub(crate) fn load_into(&self, visit: impl FnOnce(&mut dyn VisitorMut)) -> LoadReport {
        struct Load<'a>(&'a StateDict, LoadReport);
        impl VisitorMut for Load<'_> {
            fn tensor(&mut self, path: &Path<'_>, tensor: &mut AnyTensor) {
                if let Some(data) = self.0.entry(path, tensor, &mut self.1) {
                    set(tensor, data);
                }
            }
            fn tied(&mut self, path: &Path<'_>, owner: &Path<'_>, tensor: &mut AnyTensor) {
                if let Some(data) = self.0.tied_entry(path, owner, tensor, &mut self.1) {
                    set(tensor, data);
                }
            }
        }
        let mut load = Load(self, LoadReport::default());
        visit(&mut load);
        self.note_unexpected(load.1)
    }

    /// The values for `tensor`, if they fit; notes what becomes of it.
    fn entry(
        &self,
        path: &Path<'_>,
        tensor: &AnyTensor,
        report: &mut LoadReport,
    ) -> Option<&TensorData> {
        let path = path.to_string();
        let Some(data) = self.get(&path) else {
            report.missing.push(path);
            return None;
        };
        if data.shape() != tensor.shape() {
            report.misshapen.push((path, tensor.shape(), data.shape()));
            return None;
        }
        if data.dtype() != tensor.dtype() {
            report.converted.push((path.clone(), data.dtype(), tensor.dtype()));
        }
        report.loaded.push(path);
        Some(data)
    }

    /// As [`StateDict::entry`] for the second name of a tensor that was shown as `owner`: one of the
    /// names is enough.
    fn tied_entry(
        &self,
        path: &Path<'_>,
        owner: &Path<'_>,
        tensor: &AnyTensor,
        report: &mut LoadReport,
    ) -> Option<&TensorData> {
        self.get(&path.to_string())?;
        let data = self.entry(path, tensor, report);
        if data.is_some() {
            report.missing.retain(|missing| !owner.is(missing));
        }
        data
    }

    fn note_unexpected(&self, mut report: LoadReport) -> LoadReport {
        let known = |path: &str| {
            report.loaded.iter().any(|known| known == path)
                || report.misshapen.iter().any(|(known, ..)| known == path)
        };
        let unexpected: Vec<_> = self
            .iter()
            .map(|(path, _)| path)
            .filter(|path| !known(path))
            .map(String::from)
            .collect();
        report.unexpected = unexpected;
        report
    }

    /// Writes a safetensors file that appears whole or not at all.
    pub fn save(&self, path: impl AsRef<FilePath>) -> Result<()> {
        let path = path.as_ref();
        let error = |what: String| Error::File { path: path.display().to_string(), what };
        let mut views = Vec::with_capacity(self.entries.len());
        for (name, data) in &self.entries {
            let unknown = || error(format!("can not hold {name}, which is {}", data.dtype()));
            let dtype = to_file(data.dtype()).ok_or_else(unknown)?;
            views.push((name, Entry { data, dtype }));
        }
        let bytes = safetensors::serialize(views, None)
            .map_err(|cause| error(format!("can not be written: {cause}")))?;
        atomic_write(path, |file| file.write_all(&bytes))
    }

    /// Reads a safetensors file. Nothing in it is trusted: a damaged or truncated file is an error.
    pub fn load(path: impl AsRef<FilePath>) -> Result<Self> {
        let path = path.as_ref();
        let error = |what: String| Error::File { path: path.display().to_string(), what };
        let bytes =
            std::fs::read(path).map_err(|cause| error(format!("can not be read: {cause}")))?;
        let damaged =
            |cause: &dyn fmt::Display| error(format!("is no valid safetensors file: {cause}"));
        let file = SafeTensors::deserialize(&bytes).map_err(|cause| damaged(&cause))?;
        let mut entries = Vec::new();
        for (name, view) in file.iter() {
            let unknown =
                || error(format!("{name} has the dtype {:?}, which Kiln lacks", view.dtype()));
            let dtype = from_file(view.dtype()).ok_or_else(unknown)?;
            let shape = Shape::try_new(view.shape()).map_err(|cause| damaged(&cause))?;
            let data = TensorData::from_bytes(view.data(), shape, dtype);
            entries.push((name.to_string(), data.map_err(|cause| damaged(&cause))?));
        }
        // They come out of a hash table.
        entries.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(Self { entries })
    }
}

/// Gives a tensor of a model values of the same shape; it stays the same leaf, of the same dtype.
fn set(tensor: &mut AnyTensor, data: &TensorData) {
    let data = data.convert_dtype(tensor.dtype());
    let values = AnyTensor::from_data(&data, &tensor.device()).or_fail();
    *tensor = values.with_tracked(tensor.tracked().cloned());
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
    fn data(&self) -> std::borrow::Cow<'_, [u8]> {
        self.data.bytes().into()
    }
    fn data_len(&self) -> usize {
        self.data.bytes().len()
    }
}

fn to_file(dtype: DType) -> Option<Dtype> {
    DTYPES.iter().find(|(ours, _)| *ours == dtype).map(|(_, theirs)| *theirs)
}

fn from_file(dtype: Dtype) -> Option<DType> {
    DTYPES.iter().find(|(_, theirs)| *theirs == dtype).map(|(ours, _)| *ours)
}

// The bytes of a file are little-endian, and so are tensors in memory on every system that Kiln
// runs on.
const _: () = assert!(cfg!(target_endian = "little"), "big-endian systems are not supported");
