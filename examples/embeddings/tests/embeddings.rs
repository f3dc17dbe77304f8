//! The example and PyTorch agree on sentence embeddings; `pytorch.py` made the expected ones.

// Each test uses its part.
#[allow(dead_code)]
#[path = "../src/bert.rs"]
mod bert;
#[allow(dead_code)]
#[path = "../src/embedder.rs"]
mod embedder;

use std::path::{Path, PathBuf};
use std::process::Command;

use embedder::Embedder;
use kiln::nn::StateDict;
use kiln::prelude::*;

const MODEL: &str = "KILN_MINILM";

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn sentences() -> Vec<String> {
    include_str!("fixtures/sentences.txt").lines().map(String::from).collect()
}

/// A padded batch of sentences of different lengths, and each of them alone.
fn check(folder: &Path, expected: &str) {
    let embedder = Embedder::load(folder, &Device::cpu()).unwrap();
    let expected = StateDict::load(fixture(expected)).unwrap();
    let expected = expected.get("embeddings").unwrap();
    let together = embedder.embed(&sentences()).unwrap();
    together.to_data().assert_approx_eq::<f32>(expected, Tolerance::absolute(1e-5));
    let alone = sentences().into_iter().map(|one| embedder.embed(&[one]).unwrap());
    let alone = Tensor::cat(alone.collect::<Vec<_>>(), 0);
    alone.to_data().assert_approx_eq::<f32>(expected, Tolerance::absolute(1e-5));
}

#[test]
fn a_small_model_gives_the_embeddings_of_pytorch() {
    check(&fixture("tiny"), "tiny.safetensors");
}

/// With the folder of `all-MiniLM-L6-v2` in the variable `KILN_MINILM`.
#[test]
fn a_trained_model_gives_the_embeddings_of_pytorch() {
    match std::env::var_os(MODEL) {
        Some(folder) => check(Path::new(&folder), "minilm.safetensors"),
        None => println!("skipped: {MODEL} does not name the folder of the model"),
    }
}

#[test]
fn no_sentence_has_no_embedding() {
    let embedder = Embedder::load(&fixture("tiny"), &Device::cpu()).unwrap();
    assert_eq!(embedder.embed(&[]).unwrap().dims(), [0, 32]);
}

/// A copy of the small model in which `from` is `to` in one file.
fn changed(name: &str, file: &str, from: &str, to: &str) -> String {
    let folder = std::env::temp_dir().join(format!("kiln-embeddings-{name}"));
    std::fs::create_dir_all(&folder).unwrap();
    for file in ["config.json", "tokenizer.json", "model.safetensors"] {
        std::fs::copy(fixture("tiny").join(file), folder.join(file)).unwrap();
    }
    let text = std::fs::read_to_string(folder.join(file)).unwrap();
    assert!(text.contains(from));
    std::fs::write(folder.join(file), text.replace(from, to)).unwrap();
    let result = Embedder::load(&folder, &Device::cpu());
    std::fs::remove_dir_all(&folder).unwrap();
    result.err().expect("the files do not fit").to_string()
}

#[test]
fn files_that_do_not_fit_are_errors() {
    for (name, file, from, to, expected) in [
        ("act", "config.json", r#""gelu""#, r#""relu""#, "hidden_act must be \"gelu\""),
        ("heads", "config.json", r#"heads": 4"#, r#"heads": 5"#, "does not divide by 5 heads"),
        (
            "vocabulary",
            "config.json",
            r#""vocab_size": 100"#,
            r#""vocab_size": 1000000000000"#,
            "word_embeddings.weight is [1000000000000, 32], the file [100, 32]",
        ),
        ("more", "config.json", r#"layers": 2"#, r#"layers": 900"#, "has not 900 layers"),
        ("less", "config.json", r#"layers": 2"#, r#"layers": 1"#, "unexpected encoder.layer.1."),
        ("none", "config.json", r#"layers": 2"#, r#"layers": 0"#, "has not 0 layers"),
        ("token", "tokenizer.json", r#""[unused0]""#, r#""x": 7000, "y""#, "a token 7000"),
        ("text", "tokenizer.json", "{", "", "tokenizer.json"),
        ("json", "config.json", "{", "", "is no BERT"),
    ] {
        let error = changed(name, file, from, to);
        assert!(error.contains(expected), "{name}: {error}");
    }
    let error = Embedder::load(Path::new("/nowhere"), &Device::cpu()).err().unwrap();
    assert!(error.to_string().contains("/nowhere/config.json"), "{error}");
}

#[test]
fn the_program_prints_similarities_and_refuses_bad_flags_in_one_line() {
    let run =
        |args: &[&str]| Command::new(env!("CARGO_BIN_EXE_embeddings")).args(args).output().unwrap();
    let tiny = fixture("tiny");
    let tiny = tiny.to_str().unwrap();
    let output = run(&["--model", tiny, "the cat", "the cat", "how do"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success());
    assert!(text.lines().nth(1).unwrap().starts_with("  1  1.000  1.000"), "{text}");
    let file = fixture("sentences.txt");
    let file = file.to_str().unwrap();
    let output = run(&["--model", tiny, "--file", file, "--file", file]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with("the closest pairs:\n  1.000   "), "{text}");
    for (args, expected) in [
        (&["the cat", "how do"][..], "`--model DIR` is needed"),
        (&["--model", tiny, "alone"], "at least two sentences"),
        (&["--model", "/nowhere", "a", "b"], "/nowhere/config.json"),
        (&["--model", tiny, "--file", "/nowhere"], "/nowhere: "),
        (&["--model", tiny, "--colour"], "--colour"),
        (&["--model", tiny, "--device", "gpu", "a", "b"], "there is no device \"gpu\""),
    ] {
        let output = run(args);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.starts_with("error: ") && error.lines().count() == 1, "{error}");
        assert!(error.contains(expected), "{error}");
    }
}
