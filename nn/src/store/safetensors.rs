//! Files of the safetensors format: a header that describes all tensors, and their bytes.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use kiln_tensor::{DType, Result, Shape, TensorData, atomic_write};
use safetensors::tensor::{Dtype, Metadata, TensorInfo};

use super::file_error;
use super::source::Source;
use super::weight_file::{Entry, Layout, WeightFile};

/// The longest header, as the format has it.
const LONGEST_HEADER: u64 = 100_000_000;

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

// The bytes of a file are little-endian, and so are tensors in memory on every system that Kiln
// runs on.
const _: () = assert!(cfg!(target_endian = "little"), "big-endian systems are not supported");

/// Reads the header.
pub(super) fn open(source: Source, file: &mut WeightFile) -> Result<()> {
    let damaged = |cause: &dyn std::fmt::Display| {
        source.error(format!("is no valid safetensors file: {cause}"))
    };
    if source.len() < 8 {
        return Err(damaged(&"it is shorter than the length of a header"));
    }
    let mut length = [0; 8];
    source.read(0, &mut length)?;
    let length = u64::from_le_bytes(length);
    if length > LONGEST_HEADER || length > source.len() - 8 {
        return Err(damaged(&format!("a header of {length} bytes is too long")));
    }
    let header = source.read_vec(8, length)?;
    // Reading it checks that the entries lie one behind the other, and have as many bytes as their
    // shapes and dtypes need.
    let header: Metadata = serde_json::from_slice(&header).map_err(|cause| damaged(&cause))?;
    let start = 8 + length;
    if start.checked_add(header.data_len() as u64) != Some(source.len()) {
        let there = source.len() - start;
        let what = format!(
            "its header speaks of {} bytes of values, there are {there}",
            header.data_len()
        );
        return Err(damaged(&what));
    }
    for (name, info) in header.tensors() {
        let dtype = DTYPES.iter().find(|(_, theirs)| *theirs == info.dtype);
        let Some(&(dtype, _)) = dtype else {
            let what = format!("{name} has the dtype {:?}, which Kiln lacks", info.dtype);
            return Err(source.error(what));
        };
        let shape = Shape::try_new(&info.shape).map_err(|cause| damaged(&cause))?;
        let start = start + info.data_offsets.0 as u64;
        file.entries.push((name, Entry::Stored(0, Layout { shape, dtype, start, strides: None })));
    }
    file.metadata = header.metadata().clone().unwrap_or_default().into_iter().collect();
    file.sources.push(source);
    Ok(())
}

/// Writes a file that appears whole or not at all.
pub(super) fn save<'a>(
    path: &Path,
    entries: impl Iterator<Item = (&'a str, &'a TensorData)>,
    metadata: &BTreeMap<String, String>,
) -> Result<()> {
    let entries = entries.map(|(name, data)| (name.to_string(), data));
    let parts = safetensors_parts(entries, metadata)
        .map_err(|what| file_error(&path.display().to_string(), what))?;
    atomic_write(path, |file| {
        file.write_all(&parts.0)?;
        parts.1.iter().try_for_each(|data| file.write_all(data.bytes()))
    })
}

/// A safetensors file before it is written: all that comes before the values, and the values in
/// their order. An error says what can not be in such a file. For files with something of their own
/// in the header, as a checkpoint.
#[doc(hidden)]
pub fn safetensors_parts<'a>(
    entries: impl Iterator<Item = (String, &'a TensorData)>,
    metadata: &BTreeMap<String, String>,
) -> std::result::Result<(Vec<u8>, Vec<&'a TensorData>), String> {
    let mut sorted = Vec::new();
    for (name, data) in entries {
        let dtype = DTYPES.iter().find(|(ours, _)| *ours == data.dtype());
        let unknown = || format!("can not hold {name}, which is {}", data.dtype());
        let dtype = dtype.ok_or_else(unknown)?.1;
        sorted.push((name, data, dtype));
    }
    // The widest numbers first: so all of them are aligned in the file.
    sorted.sort_by(|(a, _, a_dtype), (b, _, b_dtype)| b_dtype.cmp(a_dtype).then(a.cmp(b)));
    let values = sorted.iter().map(|(_, data, _)| *data).collect();
    let mut end = 0;
    let info = |(name, data, dtype): (String, &TensorData, Dtype)| {
        let start = end;
        end += data.bytes().len();
        let info = TensorInfo { dtype, shape: data.dims().to_vec(), data_offsets: (start, end) };
        (name, info)
    };
    let infos = sorted.into_iter().map(info).collect();
    let metadata: HashMap<_, _> = metadata.clone().into_iter().collect();
    let metadata = Some(metadata).filter(|metadata| !metadata.is_empty());
    let header = Metadata::new(metadata, infos).map_err(|cause| cause.to_string())?;
    let header = serde_json::to_vec(&header).map_err(|cause| cause.to_string())?;
    let length = header.len().next_multiple_of(8);
    if length as u64 > LONGEST_HEADER {
        return Err(format!("a header of {length} bytes is too long"));
    }
    let mut head = (length as u64).to_le_bytes().to_vec();
    head.extend(header);
    head.resize(8 + length, b' ');
    Ok((head, values))
}
