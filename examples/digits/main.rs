//! Trains a small convolutional network on real handwritten digits.
//!
//! ```text
//! cargo run --release --example digits               # trains, 3 s on two cores
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
mod dataset;
mod model;

use std::path::Path;
use std::process::ExitCode;

use args::Args;
use dataset::{CLASSES, Digits};
use kiln::Result;
use kiln::data::{Batches, take};
use kiln::nn::Summary;
use kiln::prelude::*;
use kiln::train::{Chart, ConfusionMatrix, Progress, Series};
use model::Net;

const WEIGHTS: &str = "digits.safetensors";
const CURVES: &str = "digits.svg";

fn main() -> ExitCode {
    let run = Args::parse().and_then(|args| match args {
        None => {
            print!("{}", args::HELP);
            Ok(())
        }
        Some(args) if args.predict => predict(&args).map_err(|error| error.to_string()),
        Some(args) => train(&args).map_err(|error| error.to_string()),
    });
    match run {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
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

    let batches = Batches::new(train.len(), args.batch_size).shuffled(args.seed);
    let mut optim = AdamWConfig::new(args.lr).with_weight_decay(0.01).init();
    let mut progress = Progress::new(args.epochs, batches.len());
    let mut curves = Curves::default();
    let steps = (args.epochs * batches.len()) as f64;
    for epoch in 0..args.epochs {
        model.train();
        for (step, batch) in batches.epoch(epoch).enumerate() {
            // The learning rate falls to zero along a cosine (Loshchilov & Hutter 2016).
            let done = (epoch * batches.len() + step) as f64 / steps;
            optim.set_lr(args.lr * 0.5 * (1.0 + (std::f64::consts::PI * done).cos()));

            let (images, labels) = (take(&train.images, &batch), take(&train.labels, &batch));
            let logits = model.forward(&images);
            let loss = CrossEntropyLoss::new().forward(&logits, &labels);
            let grads = loss.backward();
            optim.step(&mut model, grads);
            progress.step(loss.item(), Some(accuracy(&logits, &labels)));
        }
        let (test_loss, matrix) = evaluate(&mut model, &test);
        let metrics = [("test loss", test_loss), ("test accuracy", matrix.accuracy())];
        curves.push(epoch, [progress.loss(), progress.accuracy()], [test_loss, matrix.accuracy()]);
        progress.epoch_end(&metrics);
    }
    progress.finish();

    model.save_file(args.out.join(WEIGHTS))?;
    let svg = curves.chart().to_svg();
    kiln::nn::atomic_write(&args.out.join(CURVES), |file| file.write_all(svg.as_bytes()))?;
    let (_, matrix) = evaluate(&mut model, &test);
    println!("wrote {} and {}\n", show(args, WEIGHTS), show(args, CURVES));
    println!("{matrix}\n");
    println!("test accuracy: {:.2} %", 100.0 * matrix.accuracy());
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

/// The share of rows whose largest logit is that of the label.
fn accuracy(logits: &Tensor<2>, labels: &Tensor<1, Int>) -> f64 {
    no_grad(|| {
        let [rows] = labels.dims();
        logits.argmax(1).reshape([rows]).equal(labels).float().mean().item()
    })
}

/// Mean loss on a set, and what was taken for what.
fn evaluate(model: &mut Net, digits: &Digits) -> (f64, ConfusionMatrix) {
    model.eval();
    no_grad(|| {
        let logits = model.forward(&digits.images);
        let loss = CrossEntropyLoss::new().forward(&logits, &digits.labels);
        let mut matrix = ConfusionMatrix::new(CLASSES);
        let (actual, predicted) = (digits.labels.to_data(), logits.argmax(1).into_data());
        for (actual, predicted) in actual.iter::<i64>().zip(predicted.iter::<i64>()) {
            matrix.record(actual as usize, predicted as usize);
        }
        (loss.item(), matrix)
    })
}

/// Loss and accuracy after each epoch.
#[derive(Default)]
struct Curves {
    train: [Vec<(f64, f64)>; 2],
    test: [Vec<(f64, f64)>; 2],
}

impl Curves {
    fn push(&mut self, epoch: usize, train: [f64; 2], test: [f64; 2]) {
        for i in 0..2 {
            self.train[i].push(((epoch + 1) as f64, train[i]));
            self.test[i].push(((epoch + 1) as f64, test[i]));
        }
    }

    fn chart(self) -> Chart {
        let pairs = self.train.into_iter().zip(self.test);
        pairs.zip(["loss", "accuracy"]).fold(
            Chart::new("Digits"),
            |chart, ((train, test), what)| {
                let series = vec![Series::new("train", train), Series::new("test", test)];
                chart.panel(what, "epoch", what, series)
            },
        )
    }
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
