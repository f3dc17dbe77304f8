//! NumPy's files: what NumPy wrote (`fixtures/npy.py`) is read, what is written is read again, and
//! damage is an error.

use std::path::PathBuf;

use half::{bf16, f16};
use kiln_tensor::{DType, Element, Error, Shape, TensorData, npy};
use proptest::prelude::*;

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/npy").join(name)
}

/// A file of this test process that is removed in the end.
struct Temporary(PathBuf);

impl Temporary {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("kiln-{}-{name}", std::process::id())))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// What the script saves.
fn numbers(shape: impl Into<Shape>, dtype: DType) -> TensorData {
    let shape = shape.into();
    let first = if dtype == DType::U8 { 0 } else { -5 };
    let counts = first..first + shape.num_elements() as i64;
    let values: Vec<f64> = match dtype {
        DType::Bool => counts.map(|i| (i % 3 == 0) as u8 as f64).collect(),
        dtype if dtype.is_int() => counts.map(|i| i as f64).collect(),
        _ => counts.map(|i| i as f64 / 4.0).collect(),
    };
    TensorData::new(values, shape).convert_dtype(dtype)
}

#[test]
fn arrays_of_numpy_are_read() {
    for (name, dtype) in [
        ("rows_bool", DType::Bool),
        ("rows_uint8", DType::U8),
        ("rows_int32", DType::I32),
        ("rows_int64", DType::I64),
        ("rows_float16", DType::F16),
        ("rows_float32", DType::F32),
        ("rows_float64", DType::F64),
        ("big_int32", DType::I32),
        ("big_int64", DType::I64),
        ("big_float16", DType::F16),
        ("big_float32", DType::F32),
        ("big_float64", DType::F64),
        ("columns", DType::F32),
    ] {
        let data = npy::read(fixture(&format!("{name}.npy"))).unwrap();
        assert_eq!(data, numbers([2, 3, 4], dtype), "{name}");
    }
    let read = |name: &str| npy::read(fixture(name)).unwrap();
    assert_eq!(read("big_columns.npy"), numbers([3, 5], DType::F64));
    assert_eq!(read("scalar.npy"), TensorData::from(2.5f32));
    assert_eq!(read("vector.npy"), numbers([5], DType::F32));
    assert_eq!(read("empty.npy"), TensorData::zeros::<f32, _>([0, 3]));
    assert_eq!(read("version_2.npy"), numbers([2, 3], DType::F32));
    assert_eq!(read("version_3.npy"), numbers([2, 3], DType::F32));
}

#[test]
fn archives_of_numpy_are_read() {
    let weight = ("weight".to_string(), numbers([2, 3], DType::F32));
    let steps = ("steps".to_string(), TensorData::from(7i64));
    let zeros = ("zeros".to_string(), TensorData::zeros::<f64, _>([5000]));
    let stored = npy::read_archive(fixture("stored.npz")).unwrap();
    assert_eq!(stored, [weight.clone(), steps.clone()]);
    let deflated = npy::read_archive(fixture("deflated.npz")).unwrap();
    assert_eq!(deflated, [weight, steps, zeros]);
}

#[test]
fn files_are_those_of_numpy() {
    for (name, dtype) in
        [("rows_bool", DType::Bool), ("rows_int64", DType::I64), ("rows_float32", DType::F32)]
    {
        let file = std::fs::read(fixture(&format!("{name}.npy"))).unwrap();
        assert_eq!(npy::to_bytes(&numbers([2, 3, 4], dtype)), file, "{name}");
    }
    for (name, data) in [("scalar", TensorData::from(2.5f32)), ("vector", numbers([5], DType::F32))]
    {
        let file = std::fs::read(fixture(&format!("{name}.npy"))).unwrap();
        assert_eq!(npy::to_bytes(&data), file, "{name}");
    }
}

#[test]
fn every_dtype_comes_back() {
    for dtype in DType::ALL {
        for shape in [Shape::SCALAR, Shape::new([0, 3]), Shape::new([2, 3, 4])] {
            let data = numbers(shape, dtype);
            let back = npy::from_bytes(&npy::to_bytes(&data)).unwrap();
            if dtype == DType::BF16 {
                // NumPy has no such type.
                assert_eq!(back.dtype(), DType::F32);
                assert_eq!(back.convert::<bf16>(), data);
            } else {
                assert_eq!(back, data);
            }
        }
    }
    let nan = TensorData::from([f16::NAN, f16::NEG_INFINITY, f16::from_bits(0x8000)]);
    assert_eq!(npy::from_bytes(&npy::to_bytes(&nan)).unwrap(), nan);
}

#[test]
fn archives_come_back() {
    let (a, b) = (numbers([2, 3], DType::F32), numbers([700], DType::I64));
    for compressed in [false, true] {
        let file = Temporary::new(&format!("archive-{compressed}.npz"));
        npy::write_archive(&file.0, [("a", &a), ("b/c", &b)], compressed).unwrap();
        let back = npy::read_archive(&file.0).unwrap();
        assert_eq!(back, [("a".to_string(), a.clone()), ("b/c".to_string(), b.clone())]);
    }
    let file = Temporary::new("array.npy");
    npy::write(&file.0, &a).unwrap();
    assert_eq!(npy::read(&file.0).unwrap(), a);
}

#[track_caller]
fn text(result: Result<impl Sized, Error>) -> String {
    match result {
        Ok(_) => panic!("no error"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn what_can_not_be_read_says_why() {
    assert!(text(npy::read(fixture("objects.npy"))).contains("pickled Python objects"));
    assert!(text(npy::read(fixture("records.npy"))).contains("records"));
    assert!(text(npy::read(fixture("text.npy"))).contains("\"<U2\" are not supported"));
    assert!(text(npy::read(fixture("nothing.npy"))).contains("nothing.npy: can not be read"));
    assert!(text(npy::read(fixture("stored.npz"))).contains("not a .npy file"));
    assert!(text(npy::read_archive(fixture("scalar.npy"))).contains("not a .npz file"));
}

/// A file with this header and nothing behind it.
fn with_header(header: &str) -> Vec<u8> {
    let mut file = b"\x93NUMPY\x02\x00".to_vec();
    file.extend((header.len() as u32).to_le_bytes());
    file.extend(header.as_bytes());
    file
}

#[test]
fn headers_are_not_trusted() {
    let array = |shape: &str| {
        with_header(&format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}"))
    };
    let long = text(npy::from_bytes(&array("(1000000, 1000000)")));
    assert!(long.contains("4000000000000 bytes of [1000000, 1000000] f32 are needed, there are 0"));
    for shape in
        ["(4294967296, 4294967296)", "(0, 18446744073709551615, 3)", "(99999999999999999999,)"]
    {
        assert!(npy::from_bytes(&array(shape)).is_err(), "{shape}");
    }
    let deep = text(npy::from_bytes(&array("(1, 1, 1, 1, 1, 1, 1, 1, 1)")));
    assert!(deep.contains("at most 8 axes"), "{deep}");
    for shape in ["(", "(,)", "(-1,)", "(1 2)", "1", "(1,", "(1.5,)"] {
        let error = text(npy::from_bytes(&array(shape)));
        assert!(error.contains("the header is damaged"), "{shape}: {error}");
    }
    for header in ["", "{", "{}", "{'shape': (1,)}", "{'descr' '<f4'}", "{'other': True}", "{} {}"]
    {
        let error = text(npy::from_bytes(&with_header(header)));
        assert!(error.contains("the header is damaged"), "{header}: {error}");
    }
    let mut file = b"\x93NUMPY\x02\x00".to_vec();
    file.extend(u32::MAX.to_le_bytes());
    assert!(text(npy::from_bytes(&file)).contains("too long"));
    assert!(text(npy::from_bytes(b"\x93NUMPY\x04\x00")).contains("version 4"));
    assert!(
        text(npy::from_bytes(&{
            let mut file = with_header("{'descr': '|b1', 'fortran_order': False, 'shape': (1,)}");
            file.push(2);
            file
        }))
        .contains("a bool must be 0 or 1")
    );
    let bool =
        with_header("{\"descr\": \"|b1\", \"fortran_order\": False, \"shape\": (0L, ), }  \n");
    assert_eq!(npy::from_bytes(&bool).unwrap(), TensorData::zeros::<bool, _>([0]));
}

#[test]
fn more_bytes_than_the_shape_needs_are_an_error() {
    let mut file = npy::to_bytes(&TensorData::from([1.0f32, 2.0]));
    file.push(0);
    assert!(text(npy::from_bytes(&file)).contains("8 bytes of [2] f32 are needed, there are 9"));
}

/// An archive that claims far more than its few bytes can hold.
#[test]
fn a_small_archive_of_a_huge_array_is_an_error() {
    let mut file = std::fs::read(fixture("deflated.npz")).unwrap();
    // The lengths of the last array, 40128 bytes, wherever they are.
    let huge = 0x7fff_ffffu32.to_le_bytes();
    let length = 40128u32.to_le_bytes();
    let places: Vec<usize> = (0..file.len() - 4).filter(|&i| file[i..i + 4] == length).collect();
    assert!(!places.is_empty());
    places.iter().for_each(|&i| file[i..i + 4].copy_from_slice(&huge));
    let path = Temporary::new("huge.npz");
    std::fs::write(&path.0, &file).unwrap();
    text(npy::read_archive(&path.0));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Any damage is an error or other numbers, never a panic.
    #[test]
    fn damaged_arrays_never_panic(
        at in 0usize..136, byte in any::<u8>(), keep in 0usize..=136, flip in any::<bool>(),
    ) {
        let mut file = npy::to_bytes(&TensorData::from([1.0f64]));
        prop_assert_eq!(file.len(), 136);
        if flip {
            file[at] = byte;
        }
        file.truncate(keep);
        let result = npy::from_bytes(&file);
        prop_assert!(keep == 136 || result.is_err());
    }

    #[test]
    fn damaged_archives_never_panic(
        at in 0.0..1.0, byte in any::<u8>(), keep in 0.0..1.0, cut in any::<bool>(),
    ) {
        let mut file = std::fs::read(fixture("deflated.npz")).unwrap();
        let len = file.len() as f64;
        file[(at * len) as usize] = byte;
        if cut {
            file.truncate((keep * len) as usize);
        }
        let path = Temporary::new(&format!("damaged-{at}-{byte}.npz"));
        std::fs::write(&path.0, &file).unwrap();
        let result = npy::read_archive(&path.0);
        prop_assert!(!cut || result.is_err());
    }

    #[test]
    fn any_floats_come_back(values in prop::collection::vec(any::<f32>(), 0..99)) {
        let data = TensorData::from(values);
        prop_assert_eq!(npy::from_bytes(&npy::to_bytes(&data)).unwrap(), data);
        prop_assert_eq!(f32::dtype(), DType::F32);
    }
}
