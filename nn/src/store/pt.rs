//! Files of `torch.save`: a zip archive with a pickle that describes tensors, and their bytes.

use std::collections::HashMap;
use std::io::BufReader;

use kiln_tensor::Result;
use zip::{CompressionMethod, ZipArchive};

use super::pickle::{self, Item, Object, Pickle};
use super::rebuild::TensorRef;
use super::source::{Reader, Source};
use super::weight_file::{Entry, Layout, WeightFile};

/// What to do with a file that PyTorch wrote before version 1.6.
pub(super) const LEGACY: &str = "is a pickle without an archive, as PyTorch wrote before version \
    1.6; write it anew in Python: torch.save(torch.load(path, weights_only=True), path)";

/// How deep dictionaries and lists can be inside of each other.
const MAX_DEPTH: usize = 64;

/// A plain value of a PyTorch file.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `None`.
    None,
    /// A bool.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A float.
    Float(f64),
    /// A text.
    Text(String),
    /// A list, tuple or set of plain values.
    List(Vec<Value>),
}

/// Where the members of an archive are, by name.
type Members = HashMap<String, (u64, u64)>;

/// Whether a zip archive holds arrays of NumPy alone.
pub(super) fn is_npz(source: &Source) -> Result<bool> {
    let archive = archive(source)?;
    Ok(archive.file_names_raw().all(|name| name.ends_with(b".npy")))
}

fn archive(source: &Source) -> Result<ZipArchive<BufReader<Reader<'_>>>> {
    ZipArchive::new(BufReader::new(Reader::new(source)))
        .map_err(|cause| source.error(format!("is no valid zip archive: {cause}")))
}

/// Reads the description of the tensors.
pub(super) fn open(source: Source, file: &mut WeightFile) -> Result<()> {
    let members = members(&source)?;
    let root = members.keys().find_map(|name| {
        name.strip_suffix("data.pkl").filter(|root| root.is_empty() || is_folder(root))
    });
    let Some(root) = root else {
        return Err(source.error("is a zip archive, but neither of `torch.save` nor an .npz file"));
    };
    if let Some(&(start, len)) = members.get(&format!("{root}byteorder"))
        && source.read_vec(start, len.min(8))? != b"little"
    {
        return Err(source.error("was written on a big-endian machine; save it anew on another"));
    }
    let (start, len) = members[&format!("{root}data.pkl")];
    let bytes = source.read_vec(start, len)?;
    let pickle = pickle::parse(&bytes).map_err(|what| source.error(what))?;
    let mut walk = Walk {
        pickle: &pickle,
        members: &members,
        data: format!("{root}data/"),
        text: 64 * bytes.len() + (1 << 16),
        values: source.len().saturating_mul(8).saturating_add(1 << 16),
        file,
    };
    walk.item(pickle.root, &mut String::new(), 0).map_err(|what| source.error(what))?;
    file.sources.push(source);
    Ok(())
}

/// Whether this is the name of one folder, with a slash at the end.
fn is_folder(name: &str) -> bool {
    name.find('/') == Some(name.len() - 1)
}

/// The members of an archive. None is compressed, as `torch.save` leaves them, and none shares its
/// bytes with others: so all of them together are no larger than the file.
fn members(source: &Source) -> Result<Members> {
    let mut archive = archive(source)?;
    let damaged = |cause| source.error(format!("is no valid zip archive: {cause}"));
    if archive.has_duplicate_names() || archive.has_overlapping_files().map_err(damaged)? {
        return Err(source.error("is damaged: two of its members have the same name or bytes"));
    }
    if archive.file_names_raw().any(|name| name.ends_with(b"/constants.pkl")) {
        let what = "is a TorchScript model, which is a program; save its `state_dict()` in Python";
        return Err(source.error(what));
    }
    let mut members = HashMap::new();
    for i in 0..archive.len() {
        let member = archive.by_index_raw(i).map_err(damaged)?;
        let name = member.name().map_err(damaged)?.into_owned();
        if member.compression() != CompressionMethod::Stored || member.encrypted() {
            return Err(source.error(format!(
                "has the compressed member {name}, which `torch.save` writes none of; save it anew"
            )));
        }
        let (start, len) = (member.data_start().unwrap_or(u64::MAX), member.size());
        if start.checked_add(len).is_none_or(|end| end > source.len()) {
            return Err(source.error(format!("is truncated: {name} is not all there")));
        }
        members.insert(name, (start, len));
    }
    Ok(members)
}

/// A walk over what a pickle describes, for its tensors and plain values.
struct Walk<'a> {
    pickle: &'a Pickle<'a>,
    members: &'a Members,
    /// The folder of the storages.
    data: String,
    /// How many bytes of names and texts may still come. A pickle can show one object in many
    /// places, and so be of any size when it is walked over.
    text: usize,
    /// How many bytes of values may still come, as tensors can share their bytes. Models share
    /// some, but seldom all of them more than once.
    values: u64,
    file: &'a mut WeightFile,
}

impl Walk<'_> {
    fn item(&mut self, item: Item, path: &mut String, depth: usize) -> Result<(), String> {
        if depth > MAX_DEPTH {
            return Err(format!("it is nested deeper than {MAX_DEPTH}"));
        }
        self.pay(path.len() + 64)?;
        match self.pickle.object(item) {
            Some(Object::Tensor(tensor)) => {
                let entry = self.tensor(tensor).map_err(|what| format!("{path}: {what}"))?;
                self.file.entries.push((path.clone(), entry));
            }
            Some(Object::Dict(items)) => {
                for &(key, value) in items {
                    if let Some(key) = self.key(key)? {
                        self.inside(&key, value, path, depth)?;
                    }
                }
            }
            Some(Object::List(items) | Object::Tuple(items)) => {
                self.pay(items.len() * size_of::<Value>())?;
                let values = items.iter().map(|&item| self.value(item));
                if let Some(values) = values.collect::<Result<Option<_>, _>>()? {
                    self.file.values.push((path.clone(), Value::List(values)));
                    return Ok(());
                }
                for (i, &item) in items.iter().enumerate() {
                    self.inside(&i.to_string(), item, path, depth)?;
                }
            }
            _ => {
                if let Some(value) = self.value(item)? {
                    self.file.values.push((path.clone(), value));
                }
            }
        }
        Ok(())
    }

    /// What is under `key` at `path`.
    fn inside(
        &mut self,
        key: &str,
        item: Item,
        path: &mut String,
        depth: usize,
    ) -> Result<(), String> {
        let len = path.len();
        if depth > 0 {
            path.push('.');
        }
        path.push_str(key);
        self.item(item, path, depth + 1)?;
        path.truncate(len);
        Ok(())
    }

    fn pay(&mut self, text: usize) -> Result<(), String> {
        self.text = self.text.checked_sub(text).ok_or("it shows its objects in too many places")?;
        Ok(())
    }

    /// A plain value other than a list.
    fn value(&mut self, item: Item) -> Result<Option<Value>, String> {
        Ok(Some(match item {
            Item::None => Value::None,
            Item::Bool(value) => Value::Bool(value),
            Item::Int(value) => Value::Int(value),
            Item::Float(value) => Value::Float(value),
            Item::Opaque => return Ok(None),
            Item::Object(_) => match self.pickle.object(item) {
                Some(Object::Text(text)) => {
                    self.pay(text.len())?;
                    Value::Text((*text).into())
                }
                _ => return Ok(None),
            },
        }))
    }

    /// The name of an entry of a dictionary; none if the key is no plain value.
    fn key(&mut self, key: Item) -> Result<Option<String>, String> {
        Ok(self.value(key)?.and_then(|key| match key {
            Value::None => Some("None".into()),
            Value::Bool(key) => Some(if key { "True" } else { "False" }.into()),
            Value::Int(key) => Some(key.to_string()),
            Value::Float(key) => Some(key.to_string()),
            Value::Text(key) => Some(key),
            Value::List(_) => None,
        }))
    }

    /// The place of a tensor's values, after it was compared with its storage.
    fn tensor(&mut self, tensor: &TensorRef<'_>) -> Result<Entry, String> {
        let TensorRef { storage, dtype, offset, shape, strides } = tensor;
        let (dtype, shape) = (*dtype, *shape);
        let size = dtype.size() as u64;
        let member = self.members.get(&format!("{}{}", self.data, storage.key));
        let &(start, bytes) = member.ok_or("the bytes of a tensor are not in the file")?;
        // In bytes, if the storage has no dtype.
        let declared =
            storage.len.checked_mul(storage.dtype.map_or(1, |dtype| dtype.size() as u64));
        if declared != Some(bytes) {
            let what = format!("{} elements should be in {bytes} bytes", storage.len);
            return Err(format!("the storage of a tensor has another size: {what}"));
        }
        // The end of the last element, counted in elements of the storage.
        let mut end = Some(*offset);
        if shape.num_elements() > 0 {
            for (&n, &stride) in shape.iter().zip(strides) {
                let step = stride.checked_mul(n as u64 - 1);
                end = end.zip(step).and_then(|(end, step)| end.checked_add(step));
            }
            end = end.and_then(|end| end.checked_add(1));
        }
        let end = end.and_then(|end| end.checked_mul(size)).filter(|&end| end <= bytes);
        if end.is_none() {
            return Err(format!("{shape} at strides {strides:?} reaches beyond {bytes} bytes"));
        }
        let values = (shape.num_elements() as u64).saturating_mul(size);
        self.values = self.values.checked_sub(values).ok_or(
            "the tensors have more than eight times as many values as the file has bytes: \
             save them with `contiguous()`, once each",
        )?;
        let contiguous = is_contiguous(&shape, strides);
        let steps =
            shape.iter().zip(strides).map(|(&n, &step)| if n < 2 { 0 } else { step as usize });
        let strides = (!contiguous).then(|| steps.collect());
        Ok(Entry::Stored(0, Layout { shape, dtype, start: start + offset * size, strides }))
    }
}

/// Whether elements lie row by row without gaps.
fn is_contiguous(dims: &[usize], strides: &[u64]) -> bool {
    let mut expected = 1;
    dims.contains(&0)
        || dims.iter().zip(strides).rev().all(|(&n, &stride)| {
            let fits = n == 1 || stride == expected;
            expected *= n as u64;
            fits
        })
}
