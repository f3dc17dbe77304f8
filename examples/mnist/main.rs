//! Trains a convolutional network on MNIST.
//!
//! ```text
//! cargo run --release --example mnist -- --download   # gets the files into the folder `mnist`
//! cargo run --release --example mnist -- --data DIR   # files that are there, plain or .gz
//! cargo run --release --example mnist -- --help
//! ```
//!
//! It prints the network's layers, progress, and a confusion matrix, and writes `mnist.safetensors`,
//! the weights, and `mnist.svg`, the learning curves. With nothing but the 10,000 test images in the
//! folder it trains on 9,000 of them and tests on the other 1,000; that run ends with
//!
//! ```text
//! test accuracy: 98.50 %
//! ```
//!
//! (the same number on any number of threads; processors with other instruction sets round
//! differently).

#[path = "../common/mod.rs"]
mod common;
mod dataset;
mod download;
mod model;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use common::Flags;
use dataset::{CLASSES, Mnist};
use kiln::Result;
use kiln::data::Batches;
use kiln::nn::Summary;
use kiln::optim::schedule::CosineAnnealingLr;
use kiln::prelude::*;
use kiln::train::{Chart, ConfusionMatrix, Progress, Series};
use model::Net;

const HELP: &str = "\
Trains a convolutional network on MNIST.

usage: mnist [flags]

  --data DIR      folder of the four files of MNIST,
                  plain or .gz                          [mnist]
  --download      get the files that are missing
  --epochs N      times that every image is seen        [5]
  --batch-size N  images of one step                    [64]
  --lr RATE       learning rate at the start            [0.002]
  --seed N        seed of weights, order and dropout    [0]
  --device NAME   cpu, cuda or cuda:1                   [cpu]
  --out DIR       folder of mnist.safetensors and
                  mnist.svg                             [.]
  --help          this text
";

const WEIGHTS: &str = "mnist.safetensors";
const CURVES: &str = "mnist.svg";

struct Args {
    data: PathBuf,
    download: bool,
    epochs: usize,
    batch_size: usize,
    lr: f64,
    seed: u64,
    device: String,
    out: PathBuf,
}

fn main() -> ExitCode {
    common::run(|| match parse()? {
        None => {
            print!("{HELP}");
            Ok(())
        }
        Some(args) => train(&args).map_err(|error| error.to_string()),
    })
}

fn parse() -> std::result::Result<Option<Args>, String> {
    let mut args = Args {
        data: "mnist".into(),
        download: false,
        epochs: 5,
        batch_size: 64,
        lr: 0.002,
        seed: 0,
        device: "cpu".into(),
        out: ".".into(),
    };
    let mut flags = Flags::from_env();
    while let Some(flag) = flags.next()? {
        match flag.as_str() {
            "--help" | "-h" => return Ok(None),
            "--data" => args.data = flags.path()?,
            "--download" => args.download = true,
            "--epochs" => args.epochs = flags.count()?,
            "--batch-size" => args.batch_size = flags.count()?,
            "--lr" => args.lr = flags.positive()?,
            "--seed" => args.seed = flags.seed()?,
            "--device" => args.device = flags.text("the name of a device")?,
            "--out" => args.out = flags.path()?,
            _ => return flags.unknown(),
        }
    }
    Ok(Some(args))
}

fn train(args: &Args) -> Result<()> {
    let device = kiln::device(&args.device)?;
    device.seed(args.seed);
    if args.download {
        download::download(&args.data)?;
    }
    let (train, test) = load(&args.data, &device)?;
    println!("{} images to train on, {} to test on\n", train.len(), test.len());
    let mut model = Net::new(&device);
    println!(
        "{}\n",
        Summary::of(&model, |model, device| {
            model.forward(&Tensor::zeros([1, 1, 28, 28], device));
        })
    );

    let batches = Batches::new(train.len(), args.batch_size).shuffled(args.seed);
    let schedule = CosineAnnealingLr::new(args.lr, args.epochs * batches.len());
    let mut optim = AdamWConfig::new(args.lr).init();
    let mut progress = Progress::new(args.epochs, batches.len());
    // Loss and accuracy after each epoch.
    let mut curves = [(); 2].map(|()| [Vec::new(), Vec::new()]);
    for epoch in 0..args.epochs {
        model.train();
        for (step, batch) in batches.epoch(epoch).enumerate() {
            optim.set_lr(schedule.lr_at(epoch * batches.len() + step));
            let (images, labels) = train.batch(&batch);
            let logits = model.forward(&images);
            let loss = CrossEntropyLoss::new().forward(&logits, &labels);
            optim.step(&mut model, loss.backward());
            progress.step(loss.item(), Some(accuracy(&logits, &labels)));
        }
        let (test_loss, matrix) = evaluate(&mut model, &test);
        let x = (epoch + 1) as f64;
        curves[0][0].push((x, progress.loss()));
        curves[0][1].push((x, test_loss));
        curves[1][0].push((x, progress.accuracy()));
        curves[1][1].push((x, matrix.accuracy()));
        progress.epoch_end(&[("test loss", test_loss), ("test accuracy", matrix.accuracy())]);
    }
    progress.finish();

    let (weights, drawing) = (args.out.join(WEIGHTS), args.out.join(CURVES));
    model.save_file(&weights)?;
    let svg = draw(curves).to_svg();
    kiln::nn::atomic_write(&drawing, |file| file.write_all(svg.as_bytes()))?;
    println!("wrote {} and {}\n", weights.display(), drawing.display());
    let (_, matrix) = evaluate(&mut model, &test);
    println!("{matrix}\n");
    println!("test accuracy: {:.2} %", 100.0 * matrix.accuracy());
    Ok(())
}

/// Images to train and to test on. Where there are only the test files, they are parted.
fn load(folder: &Path, device: &Device) -> Result<(Mnist, Mnist)> {
    let test = Mnist::read(folder, dataset::TEST, device)?;
    if dataset::has(folder, dataset::TRAIN) {
        return Ok((Mnist::read(folder, dataset::TRAIN, device)?, test));
    }
    println!(
        "{} has no training files: the last tenth of the test files is tested on, the rest \
         trained on; the accuracy can not be compared with that of others",
        folder.display()
    );
    Ok(test.split(test.len() / 10 * 9))
}

/// The share of rows whose largest logit is that of the label.
fn accuracy(logits: &Tensor<2>, labels: &Tensor<1, Int>) -> f64 {
    no_grad(|| {
        let [rows] = labels.dims();
        logits.argmax(1).reshape([rows]).equal(labels).float().mean().item()
    })
}

/// Mean loss on a set, and what was taken for what.
fn evaluate(model: &mut Net, set: &Mnist) -> (f64, ConfusionMatrix) {
    model.eval();
    let mut matrix = ConfusionMatrix::new(CLASSES);
    let mut loss = 0.0;
    for batch in Batches::new(set.len(), 500).epoch(0) {
        let (images, labels) = set.batch(&batch);
        let logits = no_grad(|| model.forward(&images));
        let mean: f64 = CrossEntropyLoss::new().forward(&logits, &labels).item();
        loss += mean * batch.len() as f64;
        let (actual, predicted) = (labels.to_data(), logits.argmax(1).into_data());
        for (actual, predicted) in actual.iter::<i64>().zip(predicted.iter::<i64>()) {
            matrix.record(actual as usize, predicted as usize);
        }
    }
    (loss / set.len() as f64, matrix)
}

fn draw(curves: [[Vec<(f64, f64)>; 2]; 2]) -> Chart {
    let panels = curves.into_iter().zip(["loss", "accuracy"]);
    panels.fold(Chart::new("MNIST"), |chart, ([train, test], what)| {
        let series = vec![Series::new("train", train), Series::new("test", test)];
        chart.panel(what, "epoch", what, series)
    })
}
