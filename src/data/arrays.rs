//! Arrays in files.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use flate2::read::GzDecoder;
use kiln_nn::StateDict;
use kiln_tensor::{Element, Error, Result, Shape, TensorData, npy};

/// The arrays of a file by name: of a `.npz` or `.safetensors` file, or the one of a `.npy` or idx
/// file, whose name is then the file's without its extension.
///
/// ```
/// use kiln::data::{TensorDataset, read_arrays};
/// use kiln::prelude::*;
/// # let folder = std::env::temp_dir();
/// # let path = folder.join(format!("kiln-arrays-{}.npz", std::process::id()));
/// # let (x, y) = (TensorData::zeros::<f32, _>([5, 3]), TensorData::zeros::<i64, _>([5]));
/// # kiln::tensor::npy::write_archive(&path, [("x", &x), ("y", &y)], false)?;
/// let arrays = read_arrays(&path)?; // numpy.savez("train.npz", x=x, y=y)
/// let (Some(x), Some(y)) = (arrays.get("x"), arrays.get("y")) else { panic!("no x or y") };
/// let device = Device::cpu();
/// let x = Tensor::<2>::from_data(x.clone(), &device);
/// let y = Tensor::<1, Int>::from_data(y.clone(), &device);
/// let dataset = TensorDataset::new((x, y));
/// # std::fs::remove_file(&path).unwrap();
/// # Ok::<(), kiln::Error>(())
/// ```
pub fn read_arrays(path: impl AsRef<Path>) -> Result<StateDict> {
    let path = path.as_ref();
    let mut arrays = StateDict::default();
    let stem = || path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("safetensors") => return StateDict::load(path),
        Some("npz") => {
            for (name, data) in npy::read_archive(path)? {
                arrays.insert(name, data);
            }
        }
        Some("npy") => arrays.insert(stem(), npy::read(path)?),
        _ => arrays.insert(stem(), read_idx(path)?),
    }
    Ok(arrays)
}

/// The array of an idx file, the format of MNIST, as it is or compressed by gzip.
///
/// Nothing in it is trusted: a damaged file is an error, and no more memory is taken than the file
/// can fill. (A compressed one can fill a thousand times its size.)
pub fn read_idx(path: impl AsRef<Path>) -> Result<TensorData> {
    let path = path.as_ref();
    read(path).map_err(|cause| match cause.kind() {
        io::ErrorKind::InvalidData => file_error(path, cause.to_string()),
        _ => file_error(path, format!("can not be read: {cause}")),
    })
}

fn file_error(path: &Path, what: String) -> Error {
    Error::File { path: path.display().to_string(), what }
}

fn read(path: &Path) -> io::Result<TensorData> {
    let mut file = BufReader::new(File::open(path)?);
    if io::BufRead::fill_buf(&mut file)?.starts_with(&[0x1f, 0x8b]) {
        decode(&mut GzDecoder::new(file))
    } else {
        decode(&mut file)
    }
}

/// The format: two zeros, the type, the number of extents, the extents, the elements; all numbers
/// with the highest byte first.
fn decode(reader: &mut dyn Read) -> io::Result<TensorData> {
    let mut start = [0; 4];
    reader.read_exact(&mut start)?;
    let [0, 0, kind, rank] = start else {
        return Err(damaged("is no idx file: it does not start as one".into()));
    };
    let mut dims = Vec::new();
    for _ in 0..rank {
        let mut extent = [0; 4];
        reader.read_exact(&mut extent)?;
        dims.push(u32::from_be_bytes(extent) as usize);
    }
    let shape = Shape::try_new(&dims).map_err(|cause| damaged(cause.to_string()))?;
    match kind {
        0x08 => elements(reader, shape, u8::from_be_bytes),
        0x09 => elements(reader, shape, i8::from_be_bytes),
        0x0b => elements(reader, shape, i16::from_be_bytes),
        0x0c => elements(reader, shape, i32::from_be_bytes),
        0x0d => elements(reader, shape, f32::from_be_bytes),
        0x0e => elements(reader, shape, f64::from_be_bytes),
        _ => Err(damaged(format!("elements of type {kind:#04x} are not known"))),
    }
}

fn elements<E: Element, const SIZE: usize>(
    reader: &mut dyn Read,
    shape: Shape,
    element: fn([u8; SIZE]) -> E,
) -> io::Result<TensorData> {
    let needed = shape.num_elements() * SIZE;
    // It grows with what there is, whatever the header says. One byte more shows what follows.
    let mut bytes = Vec::new();
    reader.take(needed as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() != needed {
        let there = if bytes.len() < needed { bytes.len().to_string() } else { "more".into() };
        return Err(damaged(format!("{needed} bytes of {shape} are needed, there are {there}")));
    }
    let values: Vec<E> = bytes.as_chunks().0.iter().map(|bytes| element(*bytes)).collect();
    Ok(TensorData::new(values, shape))
}

fn damaged(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
