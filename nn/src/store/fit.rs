//! Giving values to a model: what fits is taken, the rest reported.

use std::borrow::Cow;
use std::collections::HashSet;

use kiln_tensor::{AnyTensor, DType, Result, Shape, TensorData};

use super::LoadReport;
use crate::module::{Path, Visitor, VisitorMut};

/// Values by path, in memory or in a file.
pub(crate) trait Entries {
    /// All paths.
    fn paths(&self) -> impl Iterator<Item = &str>;

    /// Shape and dtype of a path.
    fn layout(&self, path: &str) -> Option<(Shape, DType)>;

    /// The values of a path that is there.
    fn values(&self, path: &str) -> Result<Cow<'_, TensorData>>;
}

/// What [`load_into`] would do to a model, given its `visit`, without doing it.
pub(crate) fn check_fit(
    entries: &impl Entries,
    visit: impl FnOnce(&mut dyn Visitor),
) -> LoadReport {
    struct Check<'a, E>(&'a E, LoadReport);
    impl<E: Entries> Visitor for Check<'_, E> {
        fn tensor(&mut self, path: &Path<'_>, tensor: &AnyTensor) {
            note(self.0, path, tensor, &mut self.1);
        }
        fn tied(&mut self, path: &Path<'_>, owner: &Path<'_>, tensor: &AnyTensor) {
            note_tied(self.0, path, owner, tensor, &mut self.1);
        }
    }
    let mut check = Check(entries, LoadReport::default());
    visit(&mut check);
    note_unexpected(entries, check.1)
}

/// Gives values to a model, given its `visit_mut`, in the dtypes of the model. After values that can
/// not be read it takes no others.
pub(crate) fn load_into(
    entries: &impl Entries,
    visit: impl FnOnce(&mut dyn VisitorMut),
) -> Result<LoadReport> {
    struct Load<'a, E>(&'a E, LoadReport, Result<()>);
    impl<E: Entries> Load<'_, E> {
        fn take(&mut self, path: Option<String>, tensor: &mut AnyTensor) {
            if let (Some(path), Ok(())) = (path, &self.2) {
                self.2 = self.0.values(&path).and_then(|values| set(tensor, values));
            }
        }
    }
    impl<E: Entries> VisitorMut for Load<'_, E> {
        fn tensor(&mut self, path: &Path<'_>, tensor: &mut AnyTensor) {
            let path = note(self.0, path, tensor, &mut self.1);
            self.take(path, tensor);
        }
        fn tied(&mut self, path: &Path<'_>, owner: &Path<'_>, tensor: &mut AnyTensor) {
            let path = note_tied(self.0, path, owner, tensor, &mut self.1);
            self.take(path, tensor);
        }
    }
    let mut load = Load(entries, LoadReport::default(), Ok(()));
    visit(&mut load);
    load.2?;
    Ok(note_unexpected(entries, load.1))
}

/// Notes what becomes of `tensor`; its path, if there are values that fit.
fn note(
    entries: &impl Entries,
    path: &Path<'_>,
    tensor: &AnyTensor,
    report: &mut LoadReport,
) -> Option<String> {
    let path = path.to_string();
    let Some((shape, dtype)) = entries.layout(&path) else {
        report.missing.push(path);
        return None;
    };
    if shape != tensor.shape() {
        report.misshapen.push((path, tensor.shape(), shape));
        return None;
    }
    if dtype != tensor.dtype() {
        report.converted.push((path.clone(), dtype, tensor.dtype()));
    }
    report.loaded.push(path.clone());
    Some(path)
}

/// As [`note`] for the second name of a tensor that was shown as `owner`: one of the names is enough.
fn note_tied(
    entries: &impl Entries,
    path: &Path<'_>,
    owner: &Path<'_>,
    tensor: &AnyTensor,
    report: &mut LoadReport,
) -> Option<String> {
    entries.layout(&path.to_string())?;
    let path = note(entries, path, tensor, report)?;
    report.missing.retain(|missing| !owner.is(missing));
    Some(path)
}

fn note_unexpected(entries: &impl Entries, mut report: LoadReport) -> LoadReport {
    let loaded = report.loaded.iter().map(String::as_str);
    let misshapen = report.misshapen.iter().map(|(path, ..)| path.as_str());
    let known: HashSet<&str> = loaded.chain(misshapen).collect();
    let unexpected = entries.paths().filter(|path| !known.contains(path)).map(String::from);
    report.unexpected = unexpected.collect();
    report
}

/// Gives a tensor of a model values of the same shape; it stays the same leaf, of the same dtype.
fn set(tensor: &mut AnyTensor, data: Cow<'_, TensorData>) -> Result<()> {
    let data = match data {
        data if data.dtype() == tensor.dtype() => data,
        data => Cow::Owned(data.convert_dtype(tensor.dtype())),
    };
    // A copy, but into the memory that the tensors before left, which those of the model are of.
    let values = AnyTensor::from_data(&data, &tensor.device())?;
    *tensor = values.with_tracked(tensor.tracked().cloned());
    Ok(())
}
