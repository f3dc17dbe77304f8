//! How close sentences are in meaning, by a BERT model of Hugging Face's.
//!
//! The folder of a model holds `config.json`, `tokenizer.json` and `model.safetensors`; one of the
//! best for its size is `sentence-transformers/all-MiniLM-L6-v2`. On a terminal, the table is
//! coloured.
//!
//! ```text
//! $ cargo run --release -p embeddings -- --model DIR \
//!     "A cat sits on the mat." "A kitten is lying on a rug." "The stock market fell sharply." \
//!     "Shares dropped because of fears." "How do I train a network in Rust?"
//!          1      2      3      4      5
//!   1  1.000  0.569  0.081  0.084 -0.044   A cat sits on the mat.
//!   2  0.569  1.000  0.060  0.009 -0.024   A kitten is lying on a rug.
//!   3  0.081  0.060  1.000  0.512 -0.008   The stock market fell sharply.
//!   4  0.084  0.009  0.512  1.000  0.047   Shares dropped because of fears.
//!   5 -0.044 -0.024 -0.008  0.047  1.000   How do I train a network in Rust?
//! ```

mod bert;
mod embedder;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use embedder::Embedder;
use lexopt::prelude::*;

const HELP: &str = "\
Shows how close sentences are in meaning, by a BERT model.

usage: embeddings --model DIR [flags] [SENTENCE]...

  --model DIR    folder with config.json, tokenizer.json
                 and model.safetensors
  --file FILE    sentences too, one on each line
  --device NAME  cpu, cuda or cuda:1                [cpu]
  --help         this text
";

struct Args {
    model: PathBuf,
    device: String,
    sentences: Vec<String>,
}

fn main() -> ExitCode {
    let run = parse().and_then(|args| match args {
        None => {
            print!("{HELP}");
            Ok(())
        }
        Some(args) => show(&args).map_err(|error| error.to_string()),
    });
    match run {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

/// `None` if the user asked for help. An error is one line that says what to do.
fn parse() -> Result<Option<Args>, String> {
    let hint = |error: lexopt::Error| format!("{error}; `--help` lists the flags");
    let (mut model, mut device, mut sentences) = (None, "cpu".to_string(), Vec::new());
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next().map_err(hint)? {
        match argument {
            Long("help") | Short('h') => return Ok(None),
            Long("model") => model = Some(parser.value().map_err(hint)?.into()),
            Long("device") => {
                device = parser.value().and_then(|name| name.string()).map_err(hint)?;
            }
            Long("file") => {
                let path: PathBuf = parser.value().map_err(hint)?.into();
                let text = std::fs::read_to_string(&path)
                    .map_err(|error| format!("{}: {error}", path.display()))?;
                let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
                sentences.extend(lines.map(String::from));
            }
            Value(sentence) => sentences.push(sentence.string().map_err(hint)?),
            flag => return Err(hint(flag.unexpected())),
        }
    }
    let model = model.ok_or("`--model DIR` is needed; `--help` lists the flags")?;
    if sentences.len() < 2 {
        return Err("at least two sentences are needed, to be compared".into());
    }
    Ok(Some(Args { model, device, sentences }))
}

fn show(args: &Args) -> kiln::Result<()> {
    let device = kiln::device(&args.device)?;
    let embedder = Embedder::load(&args.model, &device)?;
    let start = Instant::now();
    let vectors = embedder.embed(&args.sentences)?;
    let similarities = vectors.matmul(vectors.transpose()).to_vec::<f32>();
    let seconds = start.elapsed().as_secs_f64();
    print!("{}", table::draw(&args.sentences, &similarities));
    let n = args.sentences.len();
    println!("\n{n} sentences in {:.1} ms, {:.0} per second", 1e3 * seconds, n as f64 / seconds);
    Ok(())
}
