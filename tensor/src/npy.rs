//! NumPy's files: `.npy` for one array, `.npz` for several by name.
//!
//! ```
//! use kiln_tensor::{Tensor, npy};
//! # let folder = std::env::temp_dir().join(format!("kiln-npy-{}", std::process::id()));
//! # std::fs::create_dir_all(&folder).unwrap();
//! # let path = folder.join("x.npy");
//! let x = Tensor::<2>::from([[1.0, 2.0], [3.0, 4.0]]);
//! npy::write(&path, &x.to_data())?; // in Python: numpy.load("x.npy")
//! let y = Tensor::<2>::from(npy::read(&path)?);
//! assert_eq!(y.to_data(), x.to_data());
//! # std::fs::remove_dir_all(&folder).unwrap();
//! # Ok::<(), kiln_tensor::Error>(())
//! ```
//!
//! The format is described in NumPy's `numpy/lib/format.py`. Nothing that is read is trusted: a
//! damaged file is an error, and no more memory is taken than the file can fill. Arrays of Python
//! objects are refused, as reading them would run what they say.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::Path;

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use crate::{AnyTensor, DType, Device, Error, Result, Shape, TensorData, atomic_write};

const MAGIC: &[u8] = b"\x93NUMPY";
/// The longest header that is read; those of NumPy have about a hundred bytes.
const LONGEST_HEADER: usize = 1 << 16;
/// The most bytes that one byte of a deflated file stands for.
const LARGEST_RATIO: u64 = 1032;

/// NumPy's name of each dtype, and the bytes that are in reverse order on the other kind of
/// machine. NumPy has no bf16.
const DTYPES: [(&str, DType, usize); 14] = [
    ("b1", DType::Bool, 1),
    ("u1", DType::U8, 1),
    ("u2", DType::U16, 2),
    ("u4", DType::U32, 4),
    ("u8", DType::U64, 8),
    ("i1", DType::I8, 1),
    ("i2", DType::I16, 2),
    ("i4", DType::I32, 4),
    ("i8", DType::I64, 8),
    ("f2", DType::F16, 2),
    ("f4", DType::F32, 4),
    ("f8", DType::F64, 8),
    ("c8", DType::Complex64, 4),
    ("c16", DType::Complex128, 8),
];

/// The array of a `.npy` file: either byte order, rows or columns first.
pub fn read(path: impl AsRef<Path>) -> Result<TensorData> {
    let path = path.as_ref();
    let (file, length) = open(path)?;
    read_array(&path.display().to_string(), &mut io::BufReader::new(file), length)
}

/// The array in the bytes of a `.npy` file.
pub fn from_bytes(mut bytes: &[u8]) -> Result<TensorData> {
    let length = bytes.len() as u64;
    read_array("npy", &mut bytes, length)
}

/// Writes a `.npy` file that appears whole or not at all. NumPy has no bf16: it is written as f32.
pub fn write(path: impl AsRef<Path>, data: &TensorData) -> Result<()> {
    atomic_write(path.as_ref(), |file| write_array(file, data))
}

/// The bytes of a `.npy` file.
pub fn to_bytes(data: &TensorData) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_array(&mut bytes, data).expect("memory takes all bytes");
    bytes
}

/// The arrays of a `.npz` file with their names, in the order of the file.
pub fn read_archive(path: impl AsRef<Path>) -> Result<Vec<(String, TensorData)>> {
    let path = path.as_ref();
    read_archive_from(io::BufReader::new(open(path)?.0), &path.display().to_string())
}

/// As [`read_archive`], of a file that is open or in memory; errors call it `name`.
pub fn read_archive_from(
    reader: impl Read + Seek,
    name: &str,
) -> Result<Vec<(String, TensorData)>> {
    let damaged =
        |cause: zip::result::ZipError| file_error(name, format!("not a .npz file: {cause}"));
    let mut archive = ZipArchive::new(reader).map_err(damaged)?;
    // Otherwise a small file could hold one large array under a thousand names.
    if archive.has_duplicate_names() || archive.has_overlapping_files().map_err(damaged)? {
        return Err(file_error(name, "two of its arrays have the same name or bytes".into()));
    }
    let mut arrays = Vec::new();
    for i in 0..archive.len() {
        let mut entry = archive.by_index(i).map_err(damaged)?;
        let file = entry.name().map_err(damaged)?.into_owned();
        let member = format!("{name}: {file}");
        let Some(array) = file.strip_suffix(".npy").map(String::from) else {
            return Err(file_error(&member, "not an array: the name does not end in .npy".into()));
        };
        let length = entry.size().min(entry.compressed_size().saturating_mul(LARGEST_RATIO));
        let data = read_array(&member, &mut entry, length)?;
        // The checksum is compared at the end.
        if !matches!(entry.read(&mut [0]), Ok(0)) {
            return Err(file_error(&member, "the file is damaged".into()));
        }
        arrays.push((array, data));
    }
    Ok(arrays)
}

/// Writes a `.npz` file that appears whole or not at all; `compressed` as `numpy.savez_compressed`.
pub fn write_archive<'a>(
    path: impl AsRef<Path>,
    arrays: impl IntoIterator<Item = (&'a str, &'a TensorData)>,
    compressed: bool,
) -> Result<()> {
    let method = if compressed { CompressionMethod::Deflated } else { CompressionMethod::Stored };
    let options = SimpleFileOptions::default().compression_method(method);
    atomic_write(path.as_ref(), |file| {
        let mut archive = ZipWriter::new_stream(file);
        for (name, data) in arrays {
            // Only with the longer form of lengths can an entry have more than 4 GiB.
            let options = options.large_file(data.bytes().len() >= 1 << 31);
            archive.start_file(format!("{name}.npy"), options)?;
            write_array(&mut archive, data)?;
        }
        archive.finish()?;
        Ok(())
    })
}

fn file_error(path: &str, what: String) -> Error {
    Error::File { path: path.into(), what }
}

fn open(path: &Path) -> Result<(File, u64)> {
    let open = || {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        Ok((file, length))
    };
    open().map_err(|cause: io::Error| {
        file_error(&path.display().to_string(), format!("can not be read: {cause}"))
    })
}

/// What the header says.
struct Header {
    dtype: DType,
    /// Groups of this many bytes are in reverse order, if this is not 1.
    reversed: usize,
    columns_first: bool,
    shape: Vec<usize>,
}

/// Reads an array that is all of `length` bytes.
fn read_array(path: &str, reader: &mut dyn Read, length: u64) -> Result<TensorData> {
    let error = |what: String| file_error(path, what);
    let truncated = |cause: io::Error| error(format!("can not be read: {cause}"));
    let mut start = [0; 8];
    reader.read_exact(&mut start).map_err(truncated)?;
    if !start.starts_with(MAGIC) {
        return Err(error("not a .npy file: it does not start as one".into()));
    }
    let header_length = match start[6] {
        1 => {
            let mut bytes = [0; 2];
            reader.read_exact(&mut bytes).map_err(truncated)?;
            u16::from_le_bytes(bytes) as usize
        }
        2 | 3 => {
            let mut bytes = [0; 4];
            reader.read_exact(&mut bytes).map_err(truncated)?;
            u32::from_le_bytes(bytes) as usize
        }
        version => return Err(error(format!("version {version} of .npy files is not known"))),
    };
    if header_length > LONGEST_HEADER {
        return Err(error(format!("a header of {header_length} bytes is too long")));
    }
    let mut header = vec![0; header_length];
    reader.read_exact(&mut header).map_err(truncated)?;
    let header = parse(&String::from_utf8_lossy(&header)).map_err(error)?;
    let mut dims = header.shape;
    if header.columns_first {
        dims.reverse();
    }
    let shape = Shape::try_new(&dims).map_err(|cause| error(cause.to_string()))?;
    let before = 8 + if start[6] == 1 { 2 } else { 4 } + header_length as u64;
    let needed = (shape.num_elements() * header.dtype.size()) as u64;
    if before + needed != length {
        let there = length.saturating_sub(before);
        let what =
            format!("{needed} bytes of {shape} {} are needed, there are {there}", header.dtype);
        return Err(error(what));
    }
    let data = TensorData::filled(shape, header.dtype, |bytes| {
        reader.read_exact(bytes).map_err(truncated)?;
        if header.reversed > 1 {
            bytes.chunks_exact_mut(header.reversed).for_each(<[u8]>::reverse);
        }
        Ok(())
    })
    .map_err(|cause| match cause {
        Error::File { .. } | Error::Memory { .. } => cause,
        cause => error(cause.to_string()),
    })?;
    if !header.columns_first || shape.rank() < 2 {
        return Ok(data);
    }
    let axes: Vec<u8> = (0..shape.rank() as u8).rev().collect();
    AnyTensor::from_owned_data(data, &Device::cpu())?.permute(&axes).to_data()
}

/// Reads the header, a dictionary as Python writes it: `{'descr': '<f4', 'fortran_order': False,
/// 'shape': (2, 3), }`.
fn parse(text: &str) -> Result<Header, String> {
    let wrong =
        || format!("the header is damaged: {:?}", text.chars().take(80).collect::<String>());
    let mut rest = Python(text);
    let (mut dtype, mut columns_first, mut shape) = (None, None, None);
    rest.expect('{').ok_or_else(wrong)?;
    while rest.expect('}').is_none() {
        let key = rest.string().ok_or_else(wrong)?;
        rest.expect(':').ok_or_else(wrong)?;
        match key {
            "descr" => dtype = Some(element(&mut rest)?),
            "fortran_order" => columns_first = Some(rest.truth().ok_or_else(wrong)?),
            "shape" => shape = Some(rest.tuple().ok_or_else(wrong)?),
            _ => return Err(wrong()),
        }
        if rest.expect(',').is_none() {
            rest.expect('}').ok_or_else(wrong)?;
            break;
        }
    }
    if !rest.0.trim_matches([' ', '\n', '\0']).is_empty() {
        return Err(wrong());
    }
    match (dtype, columns_first, shape) {
        (Some((dtype, reversed)), Some(columns_first), Some(shape)) => {
            Ok(Header { dtype, reversed, columns_first, shape })
        }
        _ => Err(wrong()),
    }
}

/// The dtype that `descr` says, and the size of the groups of bytes that are in reverse order.
fn element(rest: &mut Python) -> Result<(DType, usize), String> {
    let Some(descr) = rest.string() else {
        return Err("arrays of records are not supported".into());
    };
    let (order, name) = match descr.split_at_checked(1) {
        Some((order @ ("<" | ">" | "|" | "="), name)) => (order, name),
        _ => ("=", descr),
    };
    if name.starts_with('O') {
        let what = "it holds pickled Python objects, which are not read as they could run code";
        return Err(what.into());
    }
    let Some(&(_, dtype, group)) = DTYPES.iter().find(|known| known.0 == name) else {
        return Err(format!("elements of type {descr:?} are not supported"));
    };
    let other = if cfg!(target_endian = "little") { ">" } else { "<" };
    Ok((dtype, if order == other { group } else { 1 }))
}

/// The rest of a text in Python's notation.
struct Python<'a>(&'a str);

impl<'a> Python<'a> {
    fn expect(&mut self, token: char) -> Option<()> {
        self.0 = self.0.trim_start().strip_prefix(token)?;
        Some(())
    }

    /// A string without escapes.
    fn string(&mut self) -> Option<&'a str> {
        let text = self.0.trim_start();
        let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
        let (string, rest) = text[1..].split_once(quote)?;
        self.0 = rest;
        Some(string)
    }

    fn truth(&mut self) -> Option<bool> {
        let text = self.0.trim_start();
        let (value, rest) = match text.strip_prefix("True") {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix("False")?),
        };
        self.0 = rest;
        Some(value)
    }

    /// Numbers in parentheses.
    fn tuple(&mut self) -> Option<Vec<usize>> {
        let mut numbers = Vec::new();
        self.expect('(')?;
        while self.expect(')').is_none() {
            let text = self.0.trim_start();
            let (digits, rest) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
            numbers.push(digits.parse().ok()?);
            // Python 2 wrote `3L`.
            self.0 = rest.strip_prefix('L').unwrap_or(rest);
            if self.expect(',').is_none() {
                self.expect(')')?;
                break;
            }
        }
        Some(numbers)
    }
}

fn write_array(file: &mut dyn Write, data: &TensorData) -> io::Result<()> {
    let Some(&(name, _, group)) = DTYPES.iter().find(|known| known.1 == data.dtype()) else {
        return write_array(file, &data.convert_dtype(DType::F32));
    };
    let order = match group {
        1 => '|',
        _ if cfg!(target_endian = "little") => '<',
        _ => '>',
    };
    let shape = match data.dims() {
        [n] => format!("({n},)"),
        dims => format!("({})", dims.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")),
    };
    let mut header =
        format!("{{'descr': '{order}{name}', 'fortran_order': False, 'shape': {shape}, }}");
    // The elements begin at a multiple of 64 bytes.
    let before = MAGIC.len() + 4;
    let padding = (before + header.len() + 1).next_multiple_of(64) - (before + header.len() + 1);
    header.extend(std::iter::repeat_n(' ', padding));
    header.push('\n');
    file.write_all(MAGIC)?;
    file.write_all(&[1, 0])?;
    file.write_all(&(header.len() as u16).to_le_bytes())?;
    file.write_all(header.as_bytes())?;
    file.write_all(data.bytes())
}
