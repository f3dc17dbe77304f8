//! Trains a small GPT on the characters of a text, and lets it write.
//!
//! ```text
//! cargo run --release --example gpt                       # on Kiln's own sources
//! cargo run --release --example gpt -- --data TEXT        # on any file of text
//! cargo run --release --example gpt -- --data TEXT --resume --steps 4000
//! cargo run --release --example gpt -- --write 500 --prompt "fn main"
//! cargo run --release --example gpt -- --help
//! ```
//!
//! Every 250 steps it prints how well the network does, on the text and on a tenth of it that is
//! not trained on, and what it writes. On "Tiny Shakespeare" (a megabyte of plays, from Karpathy's
//! char-rnn), a run without other flags takes a minute on two cores and ends with
//!
//! ```text
//! step  2000/2000  loss 1.7638  test loss 1.9144  28667 tokens/s
//!   | Teat that and to sleet crest.
//!   |
//!   | CORIANUS:
//!   | But woo her reas,
//!   | Canour hall Pood entraught evering ith fortly forcent.
//! ```
//!
//! (processors with other instruction sets round differently). `gpt.safetensors` is a checkpoint of
//! the network, the optimizer's state and the number of steps: a run that is stopped goes on from there with
//! `--resume` and the same flags, as if it had never stopped. PyTorch can load it, see `pytorch.py`.
//! `gpt.svg` shows the loss.

mod args;
#[path = "../common/mod.rs"]
mod common;
mod model;
mod run;
mod text;

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use args::Args;
use kiln::prelude::*;
use kiln::train::{Chart, Series};
use kiln::{Error, Result};
use model::GptConfig;
use run::{Run, Settings};
use text::Vocabulary;

const SAVED: &str = "gpt.safetensors";
const CURVES: &str = "gpt.svg";
/// Characters that a report shows of what the network writes.
const SHOWN: usize = 200;

fn main() -> ExitCode {
    common::run(|| match Args::parse()? {
        None => {
            print!("{}", args::HELP);
            Ok(())
        }
        Some(args) if args.write.is_some() => write(&args).map_err(|error| error.to_string()),
        Some(args) => train(&args).map_err(|error| error.to_string()),
    })
}

fn train(args: &Args) -> Result<()> {
    let device = kiln::device(&args.device)?;
    device.seed(args.seed);
    create_folder(&args.out)?;
    let path = args.out.join(SAVED);
    let text = text::read(args.data.as_deref())?;
    let mut run =
        if args.resume { Run::load(&path, &device)? } else { start(args, &text, &device) };
    let tokens = run.vocabulary.encode(&text)?;
    // The last tenth is not trained on: it shows what the network makes of a text that is new.
    let (train, valid) = tokens.split_at(tokens.len() / 10 * 9);
    check(args, &run, train.len().min(valid.len()))?;
    let prompt = prompt(args, &run);
    run.vocabulary.encode(&prompt)?;
    println!(
        "{} characters, {} different; a network of {} parameters",
        tokens.len(),
        run.vocabulary.len(),
        run.model.num_params()
    );

    let settings =
        Settings { steps: args.steps, batch_size: args.batch_size, lr: args.lr, seed: args.seed };
    let tokens_of_step = args.batch_size * run.model.config.block_size;
    let mut curves = [Vec::new(), Vec::new()];
    while run.step < args.steps {
        let (first, start) = (run.step, Instant::now());
        let until = (first / args.every + 1) * args.every;
        let mut losses = Vec::new();
        run.train(train, &settings, until.min(args.steps), &device, |loss| losses.push(loss));
        let seconds = start.elapsed().as_secs_f64();

        let mean = losses.iter().sum::<f64>() / losses.len() as f64;
        let test = run.test(valid, &device);
        let speed = (losses.len() * tokens_of_step) as f64 / seconds;
        println!(
            "step {:>5}/{}  loss {mean:.4}  test loss {test:.4}  {speed:.0} tokens/s",
            run.step, args.steps
        );
        println!("{}\n", indent(&run.write(&prompt, SHOWN, args.temperature)?));
        curves[0].push((run.step as f64, mean));
        curves[1].push((run.step as f64, test));
        run.save(&path)?;
    }
    let [train, test] = curves;
    let series = vec![Series::new("train", train), Series::new("test", test)];
    let svg = Chart::new("GPT").panel("loss", "step", "loss", series).to_svg();
    let drawing = args.out.join(CURVES);
    kiln::nn::atomic_write(&drawing, |file| file.write_all(svg.as_bytes()))?;
    println!("wrote {} and {}", path.display(), drawing.display());
    Ok(())
}

/// A run from the beginning, as the flags say.
fn start(args: &Args, text: &str, device: &Device) -> Run {
    let vocabulary = Vocabulary::of(text);
    let Args { block_size, layers, heads, width, .. } = *args;
    let config = GptConfig::new(vocabulary.len(), block_size, layers, heads, width);
    Run::new(config, vocabulary, device)
}

/// What can not be trained is an error before the first step. `part` is the length of the shorter
/// part of the text.
fn check(args: &Args, run: &Run, part: usize) -> Result<()> {
    let error = |rule: String| Err(Error::Argument { op: "gpt", rule });
    if run.step >= args.steps {
        let steps = run.step;
        return error(format!("{steps} steps are done already; `--steps` must be higher"));
    }
    let block_size = run.model.config.block_size;
    if part <= block_size {
        let needed = 10 * (block_size + 1);
        return error(format!(
            "a block size of {block_size} needs a text of {needed} characters or more"
        ));
    }
    Ok(())
}

/// Writes with the network that was saved.
fn write(args: &Args) -> Result<()> {
    let device = kiln::device(&args.device)?;
    device.seed(args.seed);
    let run = Run::load(&args.out.join(SAVED), &device)?;
    println!("{}", run.write(&prompt(args, &run), args.write.unwrap_or(SHOWN), args.temperature)?);
    Ok(())
}

/// What a written text begins with: the first character in order, a line break in most texts, if
/// the user says nothing.
fn prompt(args: &Args, run: &Run) -> String {
    args.prompt.clone().unwrap_or_else(|| run.vocabulary.decode(&[0]))
}

fn create_folder(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(|error| Error::File {
        path: folder.display().to_string(),
        what: format!("the folder for the results can not be made: {error}"),
    })
}

/// Each line behind a bar.
fn indent(text: &str) -> String {
    let lines: Vec<String> = text.trim_matches('\n').lines().map(|l| format!("  | {l}")).collect();
    lines.join("\n")
}
