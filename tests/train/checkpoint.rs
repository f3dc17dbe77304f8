//! Checkpoints that are whole, damaged, or can not be written.

use std::path::PathBuf;

use kiln::prelude::*;
use kiln::train::{Checkpoint, Checkpoints};

/// A folder of its own, which is removed at the end.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new(name: &str) -> Self {
        let name = format!("kiln-train-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::remove_dir_all(&path).ok();
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

fn checkpoint(value: f32) -> Checkpoint {
    let mut checkpoint = Checkpoint::new();
    let model =
        LinearConfig::new(2, 1).with_initializer(Initializer::Constant { value: value.into() });
    checkpoint.insert("model", model.init(&Device::cpu()).state_dict());
    checkpoint.set("position", format!("{{\"checksum\":\"{value}\"}}"));
    checkpoint
}

fn weight(checkpoint: &Checkpoint) -> f32 {
    checkpoint.part("model").get("weight").unwrap().iter::<f32>().next().unwrap()
}

#[test]
fn a_checkpoint_gives_back_what_it_was_given() {
    let folder = Folder::new("whole");
    let path = folder.0.join("a.safetensors");
    let device = Device::cpu();
    let mut saved = checkpoint(0.5);
    saved.insert_generator(&device);
    saved.save(&path).unwrap();
    let loaded = Checkpoint::load(&path).unwrap();
    assert_eq!(weight(&loaded), 0.5);
    assert_eq!(loaded.get("position"), saved.get("position"));
    assert_eq!(loaded.get("kiln"), Some(env!("CARGO_PKG_VERSION")));
    assert!(loaded.has("model") && !loaded.has("optim") && loaded.part("optim").is_empty());
    loaded.restore_generator(&device).unwrap();
    // Its weights are read like those of any safetensors file.
    let weights = kiln::nn::StateDict::load(&path).unwrap();
    assert_eq!(weights.get("model.weight"), saved.part("model").get("weight"));

    let mut other = LinearConfig::new(3, 1).init(&device);
    let error = loaded.load_model("model", &mut other).unwrap_err().to_string();
    assert!(
        error.contains("`model` does not fit the model") && error.contains("[1, 2]"),
        "{error}"
    );
    let mut half = LinearConfig::new(2, 1).init(&device);
    half.to_dtype(DType::F16);
    let error = loaded.load_model("model", &mut half).unwrap_err().to_string();
    assert!(error.contains("converted from"), "{error}");
    let error = Checkpoint::new().restore_generator(&device).unwrap_err().to_string();
    assert!(error.contains("where the random numbers of cpu were"), "{error}");
}

#[test]
fn a_checkpoint_cut_at_any_byte_is_refused_and_the_one_before_is_used() {
    let folder = Folder::new("cut");
    let mut checkpoints = Checkpoints::new(&folder.0).unwrap();
    checkpoints.save(10, &checkpoint(1.0)).unwrap();
    let path = checkpoints.save(20, &checkpoint(2.0)).unwrap();
    let whole = std::fs::read(&path).unwrap();
    assert_eq!(weight(&checkpoints.latest().unwrap().unwrap().1), 2.0);
    for len in 0..whole.len() {
        std::fs::write(&path, &whole[..len]).unwrap();
        let (step, before) = checkpoints.latest().unwrap().unwrap();
        assert_eq!((step, weight(&before)), (10, 1.0), "cut to {len} of {} bytes", whole.len());
        let refused: Vec<String> = checkpoints.refused().map(|error| error.to_string()).collect();
        assert!(
            refused[0].contains("step-00000020.safetensors: is a damaged checkpoint"),
            "{refused:?}"
        );
    }
    // The next one that is whole takes the damaged one away.
    checkpoints.save(15, &checkpoint(3.0)).unwrap();
    assert_eq!(checkpoints.steps().unwrap(), [10, 15]);
}

#[test]
fn a_checkpoint_with_any_byte_changed_is_refused() {
    let folder = Folder::new("changed");
    let path = folder.0.join("a.safetensors");
    checkpoint(1.0).save(&path).unwrap();
    let whole = std::fs::read(&path).unwrap();
    for at in 0..whole.len() {
        for change in [1, 0x20, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] ^= change;
            std::fs::write(&path, &bytes).unwrap();
            assert!(Checkpoint::load(&path).is_err(), "byte {at} changed by {change}");
        }
    }
    std::fs::write(&path, [&whole[..], b"\0"].concat()).unwrap();
    assert!(Checkpoint::load(&path).is_err(), "a byte more");
}

#[test]
fn what_is_no_checkpoint_is_an_error_that_says_so() {
    let folder = Folder::new("none");
    let path = folder.0.join("step-00000001.safetensors");
    LinearConfig::new(2, 2).init(&Device::cpu()).save_file(&path).unwrap();
    let error = Checkpoint::load(&path).unwrap_err().to_string();
    assert!(error.contains("is no checkpoint: it has no checksum"), "{error}");
    let mut checkpoints = Checkpoints::new(&folder.0).unwrap();
    assert!(checkpoints.latest().unwrap_err().to_string().contains("no checkpoint"));
    assert!(
        Checkpoint::load(folder.0.join("b")).unwrap_err().to_string().contains("can not be read")
    );
    assert!(Checkpoints::new(folder.0.join("new")).unwrap().latest().unwrap().is_none());
}

#[test]
fn a_folder_that_can_not_be_written_to_is_an_error_at_once() {
    let folder = Folder::new("file");
    std::fs::write(folder.0.join("file"), "").unwrap();
    let error = Checkpoints::new(folder.0.join("file/below")).unwrap_err().to_string();
    assert!(error.contains("file/below: checkpoints can not be written there"), "{error}");
}

#[test]
fn what_is_not_to_be_kept_goes_and_later_steps_stay() {
    let folder = Folder::new("keep");
    let mut checkpoints = Checkpoints::new(&folder.0).unwrap();
    for step in [1, 2, 3, 4, 9] {
        checkpoints.save(step, &checkpoint(1.0)).unwrap();
    }
    std::fs::write(folder.0.join("notes.txt"), "").unwrap();
    checkpoints.keep(&[2, 4]);
    assert_eq!(checkpoints.steps().unwrap(), [2, 4, 9]);
    assert!(folder.0.join("notes.txt").exists());
    // What a killed process left is removed.
    let left = folder.0.join("step-00000010.safetensors.1-0.tmp");
    std::fs::write(&left, "half").unwrap();
    Checkpoints::new(&folder.0).unwrap();
    assert!(!left.exists());
}
