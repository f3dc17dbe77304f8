//! The GPT example learns, writes, and resumes as if it had never stopped.

mod formula;
#[path = "../examples/gpt/model.rs"]
mod model;
#[allow(dead_code)]
#[path = "../examples/gpt/run.rs"]
mod run;
#[allow(dead_code)]
#[path = "../examples/gpt/text.rs"]
mod text;

use kiln::prelude::*;
use kiln::train::Checkpoint;
use model::{Gpt, GptConfig};
use run::{Run, Settings};
use text::Vocabulary;

const TEXT: &str = "the cat sat on the mat and the dog sat on the cat; ";

fn settings(steps: usize) -> Settings {
    Settings { steps, batch_size: 4, lr: 0.01, seed: 1 }
}

fn start() -> (Run, Vec<i64>) {
    let vocabulary = Vocabulary::of(TEXT);
    let tokens = vocabulary.encode(&TEXT.repeat(8)).unwrap();
    let config = GptConfig::new(vocabulary.len(), 16, 2, 2, 32);
    (Run::new(config, vocabulary, &Device::cpu()), tokens)
}

fn bytes(model: &Gpt) -> Vec<Vec<u8>> {
    model.state_dict().iter().map(|(_, data)| data.bytes().to_vec()).collect()
}

#[test]
fn it_learns_a_text_and_writes_it() {
    let (mut run, tokens) = start();
    let mut losses = Vec::new();
    run.train(&tokens, &settings(120), 120, &Device::cpu(), |loss| losses.push(loss));
    let chance = (run.vocabulary.len() as f64).ln();
    assert!((losses[0] - chance).abs() < 0.2, "{} at first, {chance} by chance", losses[0]);
    let loss = run.test(&tokens, &Device::cpu());
    assert!(loss < 0.5, "{loss} after 120 steps");
    let written = run.write("the c", 40, 0.1).unwrap();
    assert!(written.starts_with("the cat "), "{written}");
    assert_eq!(written.chars().count(), 45);
}

#[test]
fn a_resumed_run_is_the_same_run_bit_for_bit() {
    let device = Device::cpu();
    let (mut whole, tokens) = start();
    formula::fill(&mut whole.model);
    let mut expected = Vec::new();
    whole.train(&tokens, &settings(8), 8, &device, |loss| expected.push(loss));

    let path = std::env::temp_dir().join(format!("kiln_gpt_{}.safetensors", std::process::id()));
    let (mut run, _) = start();
    formula::fill(&mut run.model);
    let mut losses = Vec::new();
    run.train(&tokens, &settings(8), 5, &device, |loss| losses.push(loss));
    run.save(&path).unwrap();
    let mut run = Run::load(&path, &device).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(run.step, 5);
    run.train(&tokens, &settings(8), 8, &device, |loss| losses.push(loss));
    assert_eq!(losses, expected);
    assert!(bytes(&run.model) == bytes(&whole.model));
}

/// The likeliest characters, with a fresh look at the whole text for each.
fn likeliest(model: &Gpt, prompt: &[i64], count: usize) -> Vec<i64> {
    let mut text = prompt.to_vec();
    for _ in 0..count {
        let tokens =
            Tensor::from_data(TensorData::new(text.clone(), [1, text.len()]), &Device::cpu());
        let logits = no_grad(|| model.forward(&tokens)).narrow(1, text.len() - 1, 1);
        text.push(logits.argmax(2).item());
    }
    text
}

#[test]
fn writing_with_a_cache_gives_what_writing_without_one_gives() {
    let (run, tokens) = start();
    // So cold that only the likeliest character is drawn.
    let written = run.model.generate(&tokens[..5], 11, 1e-6);
    assert_eq!(written, likeliest(&run.model, &tokens[..5], 11));
}

#[test]
fn writing_goes_on_beyond_the_block_size() {
    let (run, tokens) = start();
    let written = run.model.generate(&tokens[..40], 50, 1.0);
    assert_eq!(written.len(), 90);
    assert_eq!(written[..40], tokens[..40]);
}

#[test]
fn a_character_that_was_not_in_the_text_is_an_error() {
    let (run, _) = start();
    let error = run.write("Q", 1, 1.0).unwrap_err().to_string();
    assert_eq!(error, "vocabulary: the network was not trained on the character 'Q'");
}

#[test]
fn a_file_of_something_else_is_an_error() {
    let path = std::env::temp_dir().join(format!("kiln_no_gpt_{}.safetensors", std::process::id()));
    let error = |change: &dyn Fn(&mut Checkpoint)| {
        start().0.save(&path).unwrap();
        let mut checkpoint = Checkpoint::load(&path).unwrap();
        change(&mut checkpoint);
        checkpoint.save(&path).unwrap();
        let error = Run::load(&path, &Device::cpu()).err().expect("it does not fit").to_string();
        std::fs::remove_file(&path).unwrap();
        error
    };
    let size = Vocabulary::of(TEXT).len();
    let config = |layers: usize| GptConfig::new(size, 16, layers, 2, 32).to_text();
    let huge = error(&|checkpoint| checkpoint.set("config", config(usize::MAX)));
    assert!(huge.contains("has not the weights"), "{huge}");
    let smaller = error(&|checkpoint| checkpoint.set("config", config(1)));
    assert!(smaller.contains("unexpected transformer.h.1"), "{smaller}");
    let text = error(&|checkpoint| checkpoint.set("config", "[1, 2]"));
    assert!(text.contains("no valid `config`"), "{text}");
    let chars = error(&|checkpoint| checkpoint.set("vocabulary", "ab"));
    assert!(chars.contains("no valid `vocabulary`"), "{chars}");
    let step = error(&|checkpoint| checkpoint.set("step", -1));
    assert!(step.contains("no valid `step`"), "{step}");
}
