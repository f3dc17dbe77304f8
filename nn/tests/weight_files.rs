//! Files of other programs: PyTorch's and NumPy's are read to the last bit, what they could run is
//! refused, entries are renamed, shards are written and read.
//!
//! The files are made by `fixtures/files.py`.

extern crate kiln_nn as kiln;

use std::fs;
use std::path::{Path, PathBuf};

use kiln_nn::store::{Value, WeightFormat};
use kiln_nn::{BatchNorm1dConfig, LinearConfig, Module, Sequential, StateDict, WeightFile};
use kiln_tensor::{DType, Device, TensorData};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/files").join(name)
}

/// What the script expects in a file.
fn expected(file: &str) -> Vec<(String, TensorData)> {
    let all = StateDict::load(fixture("expected.safetensors")).unwrap();
    let prefix = format!("{file}:");
    let of_file = |(name, data): (&str, &TensorData)| {
        Some((name.strip_prefix(&prefix)?.to_string(), data.clone()))
    };
    all.iter().filter_map(of_file).collect()
}

fn entries(state: &StateDict) -> Vec<(String, TensorData)> {
    state.iter().map(|(path, data)| (path.to_string(), data.clone())).collect()
}

/// A folder of its own for one test, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let name = format!("kiln-weight-files-{}-{test}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn files_of_pytorch_and_numpy_are_read_to_the_last_bit() {
    for file in [
        "plain.pt",
        "protocol4.pth",
        "checkpoint.pt",
        "views.pt",
        "dtypes.pt",
        "tensor.pt",
        "list.pt",
        "stored.npz",
        "deflated.npz",
    ] {
        let expected = expected(file.split('.').next().unwrap());
        assert!(!expected.is_empty(), "{file}");
        let path = fixture(file);
        assert_eq!(entries(&StateDict::load(&path).unwrap()), expected, "{file}");
        let bytes = WeightFile::from_bytes(fs::read(&path).unwrap()).unwrap();
        assert_eq!(entries(&bytes.into_state_dict().unwrap()), expected, "{file} in memory");
        // SAFETY: nobody changes the fixtures while the test runs.
        let mapped = unsafe { WeightFile::open_mapped(&path) }.unwrap();
        for (name, data) in &expected {
            assert_eq!(mapped.get(name), Some((data.shape(), data.dtype())), "{file}: {name}");
            assert_eq!(mapped.read(name).unwrap(), *data, "{file}: {name}");
        }
        assert_eq!(mapped.len(), expected.len());
    }
}

#[test]
fn every_dtype_of_pytorch_is_known() {
    let state = StateDict::load(fixture("dtypes.pt")).unwrap();
    let dtypes: Vec<_> = state.iter().map(|(_, data)| data.dtype()).collect();
    let pairs = StateDict::load(fixture("pairs.pt")).unwrap().get("pairs").unwrap().dtype();
    assert_eq!(pairs, DType::Complex128);
    assert!(DType::ALL.iter().all(|dtype| *dtype == pairs || dtypes.contains(dtype)));
}

#[test]
fn plain_values_of_a_checkpoint() {
    let file = WeightFile::open(fixture("checkpoint.pt")).unwrap();
    assert_eq!(file.format(), WeightFormat::PyTorch);
    for (path, value) in [
        ("epoch", Value::Int(3)),
        ("best", Value::Float(0.25)),
        ("done", Value::Bool(false)),
        ("note", Value::Text("größer".into())),
        ("nothing", Value::None),
        ("negative", Value::Int(-(1 << 40))),
        ("7.None", Value::Int(1)),
        ("7.2.5", Value::Int(2)),
        ("7.True", Value::Int(3)),
        ("optimizer.param_groups.0.lr", Value::Float(1e-3)),
        ("optimizer.param_groups.0.amsgrad", Value::Bool(false)),
        ("schedule.milestones.5", Value::Int(1)),
    ] {
        assert_eq!(file.value(path), Some(&value), "{path}");
    }
    let list = |values: &[Value]| Some(Value::List(values.to_vec()));
    assert_eq!(file.value("size").cloned(), list(&[Value::Int(2), Value::Int(3)]));
    assert_eq!(file.value("history").cloned(), list(&[Value::Float(0.5), Value::Float(0.25)]));
    let classes = ["cat", "dog"].map(|name| Value::Text(name.into()));
    let reversed = [classes[1].clone(), classes[0].clone()];
    let set = file.value("classes").cloned();
    assert!(set == list(&classes) || set == list(&reversed), "{set:?}");
    // What is no plain value, or too large for one, is left out.
    for path in ["seed", "dtype", "device", "raw", "model"] {
        assert_eq!(file.value(path), None, "{path}");
    }
    assert_eq!(file.values().find(|(path, _)| *path == "epoch").unwrap().1, &Value::Int(3));
}

#[test]
fn a_model_loads_from_a_checkpoint() {
    let mut file = WeightFile::open(fixture("checkpoint.pt")).unwrap();
    let mut model = Sequential::new()
        .add(LinearConfig::new(3, 2).init(&Device::cpu()))
        .add(BatchNorm1dConfig::new(2).init(&Device::cpu()));
    let error = model.load_from(&file).unwrap_err().to_string();
    assert!(
        error.contains("missing 0.weight") && error.contains("unexpected generator"),
        "{error}"
    );
    assert_eq!(file.keep("model.**").unwrap(), 7);
    assert_eq!(file.rename(&[("model.**", "**")]).unwrap(), 7);
    let report = model.load_from(&file).unwrap();
    assert_eq!((report.loaded.len(), report.is_complete()), (7, true));
    for (path, data) in model.state_dict().iter() {
        assert_eq!(*data, file.read(path).unwrap(), "{path}");
    }
    assert!(file.read("generator").unwrap_err().to_string().contains("no entry generator"));
}

#[test]
fn what_could_run_or_is_not_understood_is_refused_and_says_why() {
    let canary = Path::new("kiln-canary");
    for (file, reason) in [
        ("attack.pt", "`posix.system`"),
        ("attack4.pt", "`posix.system`"),
        ("inst.pt", "instruction 0x53 is none that builds data"),
        ("module.pt", "`torch.nn.modules.linear.Linear`"),
        ("sparse.pt", "`torch._utils._rebuild_sparse_tensor`"),
        ("float8.pt", "`torch.float8_e4m3fn`"),
        ("conjugated.pt", "resolve_conj"),
        ("legacy.pt", "before version 1.6"),
        ("script.pt", "TorchScript"),
        ("compressed.pt", "compressed member archive/data.pkl"),
    ] {
        let path = fixture(file);
        let error = StateDict::load(&path).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
        assert!(error.starts_with(path.to_str().unwrap()), "{error}");
    }
    assert!(!canary.exists() && !fixture("kiln-canary").exists(), "nothing was run");
}

/// Three entries of 24, 16 and 8 bytes.
fn three() -> StateDict {
    let mut state = StateDict::default();
    state.insert("c", TensorData::from([[1.0f32, 2.0, 3.0], [4.0, 5.0, 6.0]]));
    state.insert("a", TensorData::from([1i64, 2]));
    state.insert("b", TensorData::from([0.5f64]));
    state.metadata_mut().insert("format".into(), "pt".into());
    state
}

fn sorted(state: &StateDict) -> Vec<(String, TensorData)> {
    let mut entries = entries(state);
    entries.sort_by(|(a, _), (b, _)| a.cmp(b));
    entries
}

#[test]
fn metadata_comes_back() {
    let folder = Folder::new("metadata");
    let path = folder.file("model.safetensors");
    three().save(&path).unwrap();
    let state = StateDict::load(&path).unwrap();
    assert_eq!(state.metadata(), three().metadata());
    assert_eq!(entries(&state), sorted(&three()));
    assert_eq!(WeightFile::open(&path).unwrap().metadata()["format"], "pt");
}

#[test]
fn shards_are_written_and_read_as_one() {
    let folder = Folder::new("shards");
    let path = folder.file("model.safetensors");
    three().save_sharded(&path, 24).unwrap();
    let shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
    assert_eq!(folder.names(), [shards[0], shards[1], "model.safetensors.index.json"]);
    assert_eq!(StateDict::load(folder.file(shards[0])).unwrap().len(), 1);
    assert_eq!(StateDict::load(folder.file(shards[1])).unwrap().len(), 2);
    let index = fs::read_to_string(folder.file("model.safetensors.index.json")).unwrap();
    assert!(index.contains("\"total_size\": 48"), "{index}");
    // By the index, by the folder, and by the name it was saved under.
    for path in [folder.file("model.safetensors.index.json"), folder.0.clone(), path.clone()] {
        let state = StateDict::load(&path).unwrap();
        assert_eq!(entries(&state), sorted(&three()));
        assert_eq!(state.metadata(), three().metadata());
    }
    // SAFETY: nobody else knows the files.
    let mapped = unsafe { WeightFile::open_mapped(&folder.0) }.unwrap();
    assert_eq!(mapped.format(), WeightFormat::Index);
    assert_eq!(entries(&mapped.into_state_dict().unwrap()), sorted(&three()));
    // One file is enough: no index is left that would name the old ones.
    three().save_sharded(&path, 48).unwrap();
    assert_eq!(folder.names(), [shards[0], shards[1], "model.safetensors"]);
    assert_eq!(entries(&StateDict::load(&folder.0).unwrap()), sorted(&three()));
    // A tensor that is larger than a shard has one of its own; the file of before is gone.
    three().save_sharded(&path, 1).unwrap();
    assert_eq!(folder.names().len(), 2 + 3 + 1);
    assert_eq!(entries(&StateDict::load(&path).unwrap()), sorted(&three()));
    // Nothing at all is one file.
    StateDict::default().save_sharded(folder.file("none.safetensors"), 1).unwrap();
    assert!(StateDict::load(folder.file("none.safetensors")).unwrap().is_empty());
    let error = three().save_sharded(folder.file("model"), 1).unwrap_err().to_string();
    assert!(error.contains("must end in `.safetensors`"), "{error}");
}

#[test]
fn an_index_leads_nowhere_but_to_files_beside_it() {
    let folder = Folder::new("index");
    let inside = folder.file("inside");
    fs::create_dir(&inside).unwrap();
    three().save(folder.file("secret.safetensors")).unwrap();
    three().save(inside.join("beside.safetensors")).unwrap();
    let load = |name: &str, entry: &str| {
        let index = serde_json::json!({ "metadata": {}, "weight_map": { entry: name } });
        fs::write(inside.join("model.safetensors.index.json"), index.to_string()).unwrap();
        StateDict::load(&inside)
    };
    assert_eq!(load("beside.safetensors", "a").unwrap().len(), 1, "what it does not name is out");
    let error = load("beside.safetensors", "x").unwrap_err().to_string();
    assert!(error.contains("names x in beside.safetensors, which lacks it"), "{error}");
    let error = load("absent.safetensors", "a").unwrap_err().to_string();
    assert!(error.contains("absent.safetensors: can not be read"), "{error}");
    let absolute = folder.file("secret.safetensors");
    for name in [
        "../secret.safetensors",
        "./../secret.safetensors",
        "x/../../secret.safetensors",
        "..\\secret.safetensors",
        "C:secret.safetensors",
        "./beside.safetensors",
        "beside.safetensors/",
        "..",
        ".",
        "",
        "/",
        "a\0b",
        absolute.to_str().unwrap(),
    ] {
        let error = load(name, "a").unwrap_err().to_string();
        assert!(error.contains("which is not one beside it"), "{name:?}: {error}");
    }
    let error = load("model.safetensors.index.json", "a").unwrap_err().to_string();
    assert!(error.contains("is an index, which needs the files"), "{error}");
    for text in ["{", "{}", r#"{"weight_map": 3}"#, r#"{"weight_map": {"a": null}}"#] {
        fs::write(inside.join("model.safetensors.index.json"), text).unwrap();
        let error = StateDict::load(&inside).unwrap_err().to_string();
        assert!(error.contains("is no valid index"), "{text}: {error}");
    }
}

#[test]
fn folders_are_searched_as_hugging_face_does() {
    let folder = Folder::new("folder");
    let error = StateDict::load(&folder.0).unwrap_err().to_string();
    assert!(error.contains("a folder without weights: none of model.safetensors,"), "{error}");
    fs::copy(fixture("plain.pt"), folder.file("pytorch_model.bin")).unwrap();
    assert_eq!(entries(&StateDict::load(&folder.0).unwrap()), expected("plain"));
    // Shards can be of any format.
    let index = r#"{"weight_map": {"0.weight": "pytorch_model.bin"}}"#;
    fs::write(folder.file("model.safetensors.index.json"), index).unwrap();
    assert_eq!(StateDict::load(&folder.0).unwrap().len(), 1);
    three().save(folder.file("model.safetensors")).unwrap();
    assert_eq!(StateDict::load(&folder.0).unwrap().len(), 3);
}

#[cfg(unix)]
#[test]
fn a_device_is_no_file() {
    let error = StateDict::load("/dev/zero").unwrap_err().to_string();
    assert!(error.contains("/dev/zero: can not be read: it is not a file"), "{error}");
}

#[test]
fn half_precision_is_for_floats_alone() {
    let folder = Folder::new("half");
    let path = folder.file("model.safetensors");
    three().to_dtype(DType::BF16).save(&path).unwrap();
    let state = StateDict::load(&path).unwrap();
    let dtypes = [DType::I64, DType::BF16, DType::BF16];
    assert_eq!(["a", "b", "c"].map(|name| state.get(name).unwrap().dtype()), dtypes);
    assert_eq!(state.get("b").unwrap().iter::<f64>().collect::<Vec<_>>(), [0.5]);
    assert_eq!(state.metadata(), three().metadata());
    let rule = kiln_tensor::guard(|| three().to_dtype(DType::I32)).unwrap_err().to_string();
    assert!(rule.contains("weights are floats"), "{rule}");
}

#[test]
fn archives_of_numpy_are_written() {
    let folder = Folder::new("npz");
    let path = folder.file("model.npz");
    let mut model = LinearConfig::new(3, 2).init(&Device::cpu());
    model.save_file(&path).unwrap();
    let file = WeightFile::open(&path).unwrap();
    assert_eq!(file.format(), WeightFormat::Npz);
    assert!(model.load_from(&file).unwrap().converted.is_empty());
    model.to_dtype(DType::BF16);
    model.save_file(&path).unwrap();
    let report = model.load_file(&path).unwrap();
    assert_eq!(report.converted.len(), 2, "NumPy has no bf16");
    // Other endings would lie.
    for name in ["model.pt", "model.pth", "model.bin", "model.json", "model.npy"] {
        let error = model.save_file(folder.file(name)).unwrap_err().to_string();
        assert!(error.contains("Kiln writes `.safetensors` and `.npz`"), "{error}");
    }
    assert_eq!(folder.names(), ["model.npz"]);
}

/// What rules make of a name.
fn renamed(name: &str, rules: &[(&str, &str)]) -> String {
    let mut state = StateDict::default();
    state.insert(name, TensorData::from([1.0f32]));
    state.rename(rules).unwrap();
    state.iter().next().unwrap().0.to_string()
}

#[test]
fn names_are_changed_by_pattern() {
    for (name, from, to, expected) in [
        ("bert.fc.weight", "bert.**", "**", "fc.weight"),
        ("fc.weight", "bert.**", "**", "fc.weight"),
        ("fc.weight", "**", "model.**", "model.fc.weight"),
        ("gamma", "**.gamma", "**.weight", "weight"),
        ("a.b.gamma", "**.gamma", "**.weight", "a.b.weight"),
        ("a.gamma.b", "**.gamma", "**.weight", "a.gamma.b"),
        ("h.11.attn.c.bias", "h.*.attn.**", "layers.*.**", "layers.11.c.bias"),
        ("norm2.weight", "norm*.weight", "norms.*.weight", "norms.2.weight"),
        ("layer1.conv22.bias", "layer?.conv*.bias", "?.*.bias", "1.22.bias"),
        ("xay.b", "*a*.*", "*-*_*", "x-y_b"),
        ("größe.ü.x", "gr?ße.**", "?.**", "ö.ü.x"),
        ("a.b.c.d", "**.b.**", "**.x.**", "a.x.c.d"),
        ("b.b.b", "**.b", "**.x", "b.b.x"),
        ("a.lm.weight", "**.lm.*", "head", "head"),
        ("weight", "weight", "bias", "bias"),
    ] {
        assert_eq!(renamed(name, &[(from, to)]), expected, "{name}: {from} to {to}");
    }
    // Each rule sees what those before it made.
    let rules = [("bert.**", "**"), ("encoder.layer.*.**", "*.**"), ("**.beta", "**.bias")];
    assert_eq!(renamed("bert.encoder.layer.3.norm.beta", &rules), "3.norm.bias");
}

#[test]
fn renaming_is_all_or_nothing() {
    let mut state = three();
    assert_eq!(state.rename(&[("a", "b2"), ("b", "a"), ("b2", "b")]).unwrap(), 2, "a swap");
    assert_eq!(state.get("b").unwrap().dtype(), DType::I64);
    let before = entries(&state);
    for (rules, text) in [
        ([("*", "x")], "c and b would both be named x"),
        ([("*", "**")], "`*` can not become `**`: both must have the same stars"),
        ([("a", "*")], "`a` can not become `*`"),
        ([("*.?", "?.*")], "the same stars and question marks in the same order"),
    ] {
        let error = state.rename(&rules).unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
    }
    let error = state.keep("model.**").unwrap_err().to_string();
    assert!(error.contains("`model.**` fits none of 3 entries (c, b, a, ..)"), "{error}");
    assert_eq!(entries(&state), before);
    assert_eq!(state.keep("a").unwrap(), 1);
    assert_eq!(state.len(), 1);
}

#[test]
fn a_file_that_became_shorter_is_an_error() {
    let folder = Folder::new("shorter");
    let path = folder.file("model.safetensors");
    three().save(&path).unwrap();
    let file = WeightFile::open(&path).unwrap();
    let length = fs::metadata(&path).unwrap().len();
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(length - 1).unwrap();
    assert!(file.read("a").is_ok());
    let error = file.read("c").unwrap_err().to_string();
    assert!(error.contains("model.safetensors: can not be read"), "{error}");
    assert!(file.into_state_dict().is_err());
}
