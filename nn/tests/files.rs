//! Weight files: what is saved is what is loaded, bit for bit; what does not fit is named; PyTorch's
//! files are read.

extern crate kiln_nn as kiln;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use kiln_nn::{
    BatchNorm2dConfig, Buffer, Conv2dConfig, Flatten, Gelu, LinearConfig, MaxPool2dConfig, Module,
    Param, Relu, Sequential, StateDict, atomic_write,
};
use kiln_tensor::{Bool, Complex, ComplexScalar, DType, Device, Int, Shape, Tensor, TensorData};

/// A folder of its own for one test, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("kiln-files-{}-{test}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn names(&self) -> Vec<String> {
        let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name();
        let mut names: Vec<_> =
            fs::read_dir(&self.0).unwrap().map(|e| name(e).into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn cpu() -> Device {
    Device::cpu()
}

/// One entry of every dtype, with the values that a detour over another type would lose.
#[derive(Module, Clone)]
struct Every {
    f64: Param<Tensor<1>>,
    f32: Param<Tensor<2>>,
    f16: Param<Tensor<1>>,
    bf16: Param<Tensor<1>>,
    i64: Buffer<Tensor<0, Int>>,
    i32: Buffer<Tensor<1, Int>>,
    u8: Buffer<Tensor<1, Int>>,
    ints: Vec<Buffer<Tensor<1, Int>>>,
    bool: Buffer<Tensor<1, Bool>>,
    complex: Buffer<Tensor<1, Complex>>,
    empty: Param<Tensor<3>>,
}

impl Every {
    fn new(full: bool) -> Self {
        let floats = |dtype: DType| {
            let values = [0.1, -0.0, f64::MAX, f64::MIN_POSITIVE, f64::NAN, f64::INFINITY];
            let values = if full { values } else { [0.0; 6] };
            Tensor::<1>::from_data(values, (&cpu(), dtype))
        };
        let one = full as i64;
        let number = ComplexScalar::new(one as f64, -2.5 * one as f64);
        Self {
            f64: floats(DType::F64).into(),
            f32: floats(DType::F32).reshape([2, 3]).into(),
            f16: floats(DType::F16).into(),
            bf16: floats(DType::BF16).into(),
            i64: Buffer::new(Tensor::full([], one * i64::MIN, &cpu())),
            i32: Buffer::new(Tensor::full([3], -7 * one, (&cpu(), DType::I32))),
            u8: Buffer::new(Tensor::full([5], 255 * one, (&cpu(), DType::U8))),
            ints: [DType::I16, DType::I8, DType::U64, DType::U32, DType::U16]
                .map(|dtype| Buffer::new(Tensor::full([2], 77 * one, (&cpu(), dtype))))
                .into(),
            bool: Buffer::new(Tensor::from([full, false, full])),
            complex: Buffer::new(Tensor::full([2], number, &cpu())),
            empty: Tensor::zeros([2, 0, 3], &cpu()).into(),
        }
    }
}

/// Every path with dtype, shape and bytes.
fn bits(module: &impl Module) -> Vec<(String, DType, Shape, Vec<u8>)> {
    let state = module.state_dict();
    let entry = |(path, data): (&str, &TensorData)| {
        (path.to_string(), data.dtype(), data.shape(), data.bytes().to_vec())
    };
    state.iter().map(entry).collect()
}

#[test]
fn every_dtype_comes_back_bit_for_bit() {
    let folder = Folder::new("round-trip");
    let (model, mut other) = (Every::new(true), Every::new(false));
    assert_ne!(bits(&other), bits(&model));
    model.save_file(folder.file("model")).unwrap();
    other.load_file(folder.file("model")).unwrap();
    assert_eq!(bits(&other), bits(&model));
    assert_eq!(folder.names(), ["model"], "and nothing else is left");
    let dtypes: Vec<_> = bits(&model).into_iter().map(|(_, dtype, ..)| dtype).collect();
    // The format has no name for pairs of f64: saving them is an error, which writes nothing.
    let nameless = |dtype: &&DType| **dtype != DType::Complex128;
    assert!(DType::ALL.iter().filter(nameless).all(|dtype| dtypes.contains(dtype)));
    let pairs = Tensor::<1, Complex>::zeros([1], (&cpu(), DType::Complex128));
    let error = Buffer::new(pairs).save_file(folder.file("pairs")).unwrap_err().to_string();
    assert!(error.contains("complex128"), "{error}");
    assert_eq!(folder.names(), ["model"]);
}

#[test]
fn views_are_saved_as_the_values_that_they_show() {
    let folder = Folder::new("views");
    let values = Tensor::<2>::from([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]);
    let model = Param::new(values.transpose().narrow(0, 1, 2));
    model.save_file(folder.file("model")).unwrap();
    let mut other = Param::new(Tensor::<2>::zeros([2, 2], &cpu()));
    other.load_file(folder.file("model")).unwrap();
    assert_eq!(other.to_data().to_vec::<f32>().unwrap(), [2.0, 5.0, 3.0, 6.0]);
}

#[test]
fn a_loaded_parameter_is_still_the_same_leaf() {
    let folder = Folder::new("leaf");
    let mut model = LinearConfig::new(2, 2).init(&cpu());
    let file = folder.file("model");
    model.save_file(&file).unwrap();
    model.weight.set_trainable(false);
    model.load_file(&file).unwrap();
    let tracked: Vec<_> = model.named_params().iter().map(|p| p.1.tracked().is_some()).collect();
    assert_eq!(tracked, [false, true], "the frozen weight is frozen, the bias is trained");
}

#[derive(Module, Clone)]
struct Two {
    a: kiln_nn::Linear,
    b: Vec<kiln_nn::Linear>,
}

fn two(wide: usize, layers: usize) -> Two {
    let layer = |inputs| LinearConfig::new(inputs, 2).init(&cpu());
    Two { a: layer(wide), b: (0..layers).map(|_| layer(2)).collect() }
}

#[test]
fn a_strict_error_names_every_difference_and_changes_nothing() {
    let folder = Folder::new("strict");
    let file = folder.file("model");
    two(3, 14).save_file(&file).unwrap();

    let mut model = two(4, 2);
    let before = bits(&model);
    let error = model.load_file(&file).unwrap_err().to_string();
    assert!(error.contains(file.to_str().unwrap()), "{error}");
    assert!(error.contains("a.weight is [2, 4] but [2, 3] in the file"), "{error}");
    for i in 2..14 {
        assert!(error.contains(&format!("b.{i}.weight")), "{error}");
        assert!(error.contains(&format!("b.{i}.bias")), "{error}");
    }
    assert!(!error.contains("b.1.") && !error.contains("missing"), "{error}");
    assert_eq!(bits(&model), before);

    let mut model = two(3, 30);
    let before = bits(&model);
    let error = model.load_file(&file).unwrap_err().to_string();
    for i in 14..30 {
        assert!(error.contains(&format!("b.{i}.weight b.{i}.bias")), "{error}");
    }
    assert!(!error.contains("unexpected") && !error.contains("b.13."), "{error}");
    assert_eq!(bits(&model), before);
}

#[test]
fn partial_loading_takes_what_fits_and_reports_the_rest() {
    let folder = Folder::new("partial");
    let file = folder.file("model");
    let source = two(3, 2);
    source.save_file(&file).unwrap();

    let mut model = two(4, 1);
    model.b.push(LinearConfig::new(2, 2).with_bias(false).init(&cpu()));
    model.b.push(LinearConfig::new(2, 2).init(&cpu()));
    let report = model.load_file_partial(&file).unwrap();
    assert_eq!(report.loaded, ["a.bias", "b.0.weight", "b.0.bias", "b.1.weight"]);
    assert_eq!(report.missing, ["b.2.weight", "b.2.bias"]);
    assert_eq!(report.unexpected, ["b.1.bias"]);
    let shapes = ([2, 4].into(), [2, 3].into());
    assert_eq!(report.misshapen, [("a.weight".to_string(), shapes.0, shapes.1)]);
    assert!(report.converted.is_empty() && !report.is_complete());
    assert_eq!(
        report.to_string(),
        "4 loaded, missing b.2.weight b.2.bias, unexpected b.1.bias, \
         a.weight is [2, 4] but [2, 3] in the file"
    );
    assert_eq!(model.b[1].weight.to_data(), source.b[1].weight.to_data());
}

#[test]
fn values_take_the_dtype_of_the_model_and_the_report_says_so() {
    let folder = Folder::new("dtype");
    let half = Tensor::<1>::from_data([0.5, -2.0], (&cpu(), DType::F16));
    vec![Param::new(half)].save_file(folder.file("half")).unwrap();
    let mut model = vec![Param::new(Tensor::<1>::zeros([2], &cpu()))];
    let report = model.load_file_partial(folder.file("half")).unwrap();
    assert!(report.is_complete());
    assert_eq!(report.converted, [("0".to_string(), DType::F16, DType::F32)]);
    assert_eq!(report.to_string(), "1 loaded, 0 converted from f16 to f32");
    assert_eq!(model[0].dtype(), DType::F32);
    assert_eq!(model[0].to_data().to_vec::<f32>().unwrap(), [0.5, -2.0]);
}

#[test]
fn a_state_dict_of_a_file_is_sorted_by_path() {
    let folder = Folder::new("sorted");
    Every::new(true).save_file(folder.file("model")).unwrap();
    let state = StateDict::load(folder.file("model")).unwrap();
    let paths: Vec<_> = state.iter().map(|(path, _)| path).collect();
    let mut sorted = paths.clone();
    sorted.sort();
    assert_eq!(paths, sorted);
    assert_eq!((state.len(), state.is_empty()), (15, false));
}

#[test]
fn a_state_dict_can_be_changed() {
    let mut state = StateDict::default();
    assert!(state.is_empty() && state.get("a").is_none());
    state.insert("a", TensorData::from([1.0f32]));
    state.insert("a", TensorData::from([2.0f32, 3.0]));
    assert_eq!(state.len(), 1);
    assert_eq!(state.get("a").unwrap().dims(), [2]);
}

#[test]
fn a_file_of_pytorch_loads_strictly() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let mut model = Sequential::new()
        .add(Conv2dConfig::new([1, 4], [3, 3]).with_padding([1, 1]).init(&cpu()))
        .add(BatchNorm2dConfig::new(4).init(&cpu()))
        .add(Relu::new())
        .add(MaxPool2dConfig::new([2, 2]).init())
        .add(Conv2dConfig::new([4, 6], [3, 3]).init(&cpu()))
        .add(Gelu::new())
        .add(Flatten::new())
        .add(LinearConfig::new(24, 10).init(&cpu()));
    let file = folder.join("model.safetensors");
    model.load_file(&file).unwrap();
    let loaded = StateDict::load(&file).unwrap();
    for (path, data) in model.state_dict().iter() {
        assert_eq!(Some(data), loaded.get(path), "{path}");
    }
    assert_eq!(loaded.get("1.num_batches_tracked").unwrap().to_vec::<i64>().unwrap(), [1]);
}

#[test]
fn saving_where_it_is_impossible_leaves_everything_as_it_was() {
    let folder = Folder::new("unwritable");
    let model = two(3, 1);
    // A folder that is not empty stands in the way; a folder is missing; a file is no folder.
    fs::create_dir(folder.file("taken")).unwrap();
    fs::write(folder.file("taken/old"), "old").unwrap();
    fs::write(folder.file("file"), "old").unwrap();
    for path in ["taken", "missing/model", "file/model", ".."] {
        let error = model.save_file(folder.file(path)).unwrap_err().to_string();
        assert!(error.contains(path) && error.contains("can not be written"), "{error}");
    }
    assert_eq!(folder.names(), ["file", "taken"]);
    assert_eq!(fs::read_to_string(folder.file("taken/old")).unwrap(), "old");
    assert_eq!(fs::read_to_string(folder.file("file")).unwrap(), "old");
}

#[test]
fn a_write_that_fails_midway_leaves_the_old_file() {
    let folder = Folder::new("midway");
    let file = folder.file("model");
    atomic_write(&file, |file| file.write_all(b"old")).unwrap();
    let error = atomic_write(&file, |file| {
        file.write_all(&[0; 100_000])?;
        Err(io::Error::other("the disk is full"))
    });
    assert!(error.unwrap_err().to_string().contains("the disk is full"));
    assert_eq!(fs::read(&file).unwrap(), b"old");
    atomic_write(&file, |file| file.write_all(b"new")).unwrap();
    assert_eq!(fs::read(&file).unwrap(), b"new");
    assert_eq!(folder.names(), ["model"]);
}

#[test]
fn temporaries_of_others_are_left_alone() {
    let folder = Folder::new("others");
    let file = folder.file("model");
    // As a killed process of the same number leaves them, in a container that started anew.
    let left: Vec<_> = (0..200).map(|i| format!("model.{}-{i}.tmp", std::process::id())).collect();
    left.iter().for_each(|name| fs::write(folder.file(name), "theirs").unwrap());
    atomic_write(&file, |file| file.write_all(b"new")).unwrap();
    assert_eq!(fs::read(&file).unwrap(), b"new");
    assert_eq!(folder.names().len(), 201);
    assert!(left.iter().all(|name| fs::read(folder.file(name)).unwrap() == b"theirs"));
}
