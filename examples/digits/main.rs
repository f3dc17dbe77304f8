//! Trains a small convolutional network on real handwritten digits.
//!
//! ```text
//! cargo run --release --example digits               # trains, 3 s on two cores
//! cargo run --release --example digits -- --run run # the same, and `run/report.html` shows it
//! cargo run --release --example digits -- --predict # shows what the trained network says
//! cargo run --release --example digits -- --help
//! ```
//!
//! It prints the network's layers, shapes and parameters, then progress, then a confusion matrix,
//! and ends with the line `test accuracy: 99.72 %` (the number is the same in every run with the
//! same flags, on any number of threads; processors with other instruction sets round
//! differently). It writes `digits.safetensors`, the weights, which PyTorch
//! can load, and `digits.svg`, the learning curves.

mod args;
#[path = "../common/mod.rs"]
mod common;
mod dataset;
mod model;

use std::path::Path;
use std::process::ExitCode;

use args::Args;
use dataset::{CLASSES, Digits};
use kiln::Result;
use kiln::data::{DataLoaderBuilder, Stack, TensorDataset, take};
use kiln::nn::Summary;
use kiln::prelude::*;
use kiln::train::{Accuracy, ConfusionMatrix, Step, TrainerConfig};
use model::Net;

const WEIGHTS: &str = "digits.safetensors";
const CURVES: &str = "digits.svg";

fn main() -> ExitCode {
    common::run(|| match Args::parse()? {
        None => {
            print!("{}", args::HELP);
            Ok(())
        }
        Some(args) if args.predict => predict(&args).map_err(|error| error.to_string()),
        Some(args) => train(&args).map_err(|error| error.to_string()),
    })
}

fn train(args: &Args) -> Result<()> {
    let device = kiln::device(&args.device)?;
    device.seed(args.seed);
    create_folder(&args.out)?;
    let (train, test) = Digits::load(&device)?;
    let mut model = Net::new(&device);
    println!(
        "{}\n",
        Summary::of(&model, |model, device| {
            model.forward(&Tensor::zeros([1, 1, 8, 8], device));
        })
    );

    let batches = |size| DataLoaderBuilder::new(Stack).batch_size(size);
    let test = batches(test.len()).build(TensorDataset::new((test.images, test.labels)));
    let train = TensorDataset::new((train.images, train.labels));
    let train = batches(args.batch_size).shuffle(args.seed).build(train);
    let mut optim = AdamWConfig::new(args.lr).with_weight_decay(0.01).init();
    // The learning rate falls to zero along a cosine (Loshchilov & Hutter 2016).
    let steps = args.epochs * train.len().unwrap_or(1);
    let mut config = TrainerConfig::new(args.epochs);
    if let Some(run) = &args.run {
        config = config.with_folder(run).with_resume(true);
    }
    let mut trainer = config
        .init()
        .metric(Accuracy::new())
        .metric(ConfusionMatrix::new(CLASSES))
        .schedule(schedule::CosineAnnealingLr::new(args.lr, steps));
    let report = trainer.fit(&mut model, &mut optim, &train, Some(&test), |model, batch| {
        let (images, labels) = batch;
        let logits = model.forward(images);
        let loss = CrossEntropyLoss::new().forward(&logits, labels);
        Step::new(loss).with_output(logits, labels)
    })?;

    model.save_file(args.out.join(WEIGHTS))?;
    report.chart("Digits").save(args.out.join(CURVES))?;
    println!("wrote {} and {}\n", show(args, WEIGHTS), show(args, CURVES));
    let valid = report.valid.as_ref();
    let matrix = valid.and_then(|metrics| metrics.metric::<ConfusionMatrix>());
    if let Some(matrix) = matrix {
        println!("{matrix}\n");
        println!("test accuracy: {:.2} %", 100.0 * matrix.accuracy());
    }
    Ok(())
}

fn show(args: &Args, file: &str) -> String {
    args.out.join(file).display().to_string()
}

fn create_folder(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(|error| kiln::Error::File {
        path: folder.display().to_string(),
        what: format!(
            "the folder for the results can not be made ({error}); choose another `--out`"
        ),
    })
}

/// Shows some test images and what the trained network says of them.
fn predict(args: &Args) -> Result<()> {
    let device = kiln::device(&args.device)?;
    let path = args.out.join(WEIGHTS);
    if !path.is_file() {
        return Err(kiln::Error::File {
            path: path.display().to_string(),
            what: "no such file; train the network first (without `--predict`), or say where it \
                   is with `--out`"
                .into(),
        });
    }
    let mut model = Net::new(&device);
    model.load_file(&path).map_err(|error| match error {
        kiln::Error::File { path, what } => kiln::Error::File {
            path,
            what: format!("{what}; train the network again, without `--predict`"),
        },
        error => error,
    })?;
    model.eval();
    let (_, test) = Digits::load(&device)?;
    let shown: Vec<usize> = (0..8).map(|i| (args.seed as usize * 8 + i) % test.len()).collect();
    let (images, labels) = (take(&test.images, &shown), take(&test.labels, &shown));
    let probabilities = no_grad(|| activation::softmax(model.forward(&images), 1));
    print!("{}", dataset::gallery(&images, &labels, &probabilities));
    Ok(())
}
