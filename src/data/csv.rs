//! Tables in text files.

use std::fs::File;
use std::path::{Path, PathBuf};

use ::csv::{ErrorKind, Position, Reader, ReaderBuilder};
use kiln_tensor::{Error, Result, TensorData};
use serde::de::DeserializeOwned;

use super::InMemDataset;

/// A CSV file: fields with commas between them, in quotes where needed, and names of the columns in
/// the first line. A line that can not be read is an error that names the file and the line.
///
/// ```
/// use kiln::data::{Csv, Dataset};
/// use kiln::prelude::*;
/// # let path = std::env::temp_dir().join(format!("kiln-csv-{}.csv", std::process::id()));
/// # std::fs::write(&path, "width,height,name\n1.5,2,a\n3,4.5,b\n").unwrap();
/// #[derive(serde::Deserialize, Clone)]
/// struct Flower {
///     width: f32,
///     name: String,
/// }
/// let flowers = Csv::new(&path).rows::<Flower>()?; // a dataset of structs
/// assert_eq!((flowers.get(1)?.width, flowers.get(1)?.name.as_str()), (3.0, "b"));
///
/// let table = Csv::new(&path).columns(&["height", "width"])?; // numbers
/// let x = Tensor::<2>::from_data(table, &Device::cpu());
/// assert_eq!(x.into_data().to_vec::<f32>()?, [2.0, 1.5, 4.5, 3.0]);
/// # std::fs::remove_file(&path).unwrap();
/// # Ok::<(), kiln::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Csv {
    path: PathBuf,
    delimiter: u8,
    header: bool,
}

impl Csv {
    /// The file at a path. It is opened when it is read.
    pub fn new(path: impl AsRef<Path>) -> Self {
        Self { path: path.as_ref().into(), delimiter: b',', header: true }
    }

    /// With this character between the fields, for example `b'\t'`.
    pub fn delimiter(mut self, delimiter: u8) -> Self {
        self.delimiter = delimiter;
        self
    }

    /// Without names in the first line. The columns of [`Csv::columns`] are then `"0"`, `"1"`, ..
    /// and rows are read into tuples.
    pub fn without_header(mut self) -> Self {
        self.header = false;
        self
    }

    /// All rows, in memory.
    pub fn rows<T: DeserializeOwned + Send>(&self) -> Result<InMemDataset<T>> {
        Ok(InMemDataset::new(self.stream()?.collect::<Result<_>>()?))
    }

    /// The rows one after the other, for a file that is larger than the memory; see
    /// [`build_stream`](super::DataLoaderBuilder::build_stream).
    pub fn stream<T: DeserializeOwned + Send>(
        &self,
    ) -> Result<impl Iterator<Item = Result<T>> + Send + use<T>> {
        let (reader, path) = (self.open()?, self.path.clone());
        let mut rows = reader.into_deserialize();
        Ok(std::iter::from_fn(move || {
            Some(rows.next()?.map_err(|cause| file_error(&path, &cause)))
        }))
    }

    /// Columns of numbers: f64, `[rows, columns]`. A field that is empty or no number is an error.
    pub fn columns(&self, names: &[&str]) -> Result<TensorData> {
        let error = |what| Error::File { path: self.path.display().to_string(), what };
        let mut reader = self.open()?;
        let header = if self.header {
            Some(reader.headers().map_err(|cause| file_error(&self.path, &cause))?.clone())
        } else {
            None
        };
        let find = |name: &&str| {
            let place = match &header {
                Some(header) => header.iter().position(|column| column == *name),
                None => name.parse().ok(),
            };
            place.ok_or_else(|| error(format!("there is no column {name:?}")))
        };
        let places: Vec<usize> = names.iter().map(find).collect::<Result<_>>()?;
        let (mut values, mut rows) = (Vec::new(), 0);
        for record in reader.into_records() {
            let record = record.map_err(|cause| file_error(&self.path, &cause))?;
            for (&place, name) in places.iter().zip(names) {
                let number = |field: &str| field.trim().parse::<f64>().ok();
                values.push(record.get(place).and_then(number).ok_or_else(|| {
                    let line = record.position().map_or(0, Position::line);
                    let field: String =
                        record.get(place).into_iter().flat_map(str::chars).take(40).collect();
                    error(format!("line {line}: column {name:?} is {field:?}, which is no number"))
                })?);
            }
            rows += 1;
        }
        Ok(TensorData::new(values, [rows, names.len()]))
    }

    fn open(&self) -> Result<Reader<File>> {
        let mut builder = ReaderBuilder::new();
        builder.delimiter(self.delimiter).has_headers(self.header);
        builder.from_path(&self.path).map_err(|cause| file_error(&self.path, &cause))
    }
}

fn file_error(path: &Path, cause: &::csv::Error) -> Error {
    let what = match cause.kind() {
        ErrorKind::Io(cause) => format!("can not be read: {cause}"),
        ErrorKind::Deserialize { err, .. } => err.to_string(),
        ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("{len} fields instead of {expected_len}")
        }
        ErrorKind::Utf8 { err, .. } => err.to_string(),
        _ => cause.to_string(),
    };
    let what = match cause.position() {
        Some(position) => format!("line {}: {what}", position.line()),
        None => what,
    };
    Error::File { path: path.display().to_string(), what }
}
