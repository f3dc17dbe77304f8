//! Forecasts a chaotic series with an LSTM.
//!
//! ```text
//! cargo run --release --example lstm             # 15 s on two busy cores
//! cargo run --release --example lstm -- --help
//! ```
//!
//! The series is that of Mackey and Glass, which never repeats itself. The network learns to say the
//! next value from those before. Then it is given 100 values of a part that it never saw and
//! forecasts the next 200, each from its own last forecast. It prints
//!
//! ```text
//! error of 100 forecasts in standard deviations of the series
//! values ahead        1     20     84    200
//! LSTM            0.004  0.029  0.070  0.152
//! last value      0.160  1.754  1.387  0.837
//! mean            0.899  0.999  0.943  1.070
//! ```
//!
//! (processors with other instruction sets round differently), and writes `lstm.svg`, the first
//! forecast beside the truth.

#[path = "../common/mod.rs"]
mod common;
mod model;
mod series;

use std::path::PathBuf;
use std::process::ExitCode;

use common::Flags;
use kiln::Result;
use kiln::data::Batches;
use kiln::optim::schedule::CosineAnnealingLr;
use kiln::prelude::*;
use kiln::train::{Chart, Progress, Series};
use model::Forecaster;
use series::{mackey_glass, pieces};

const HELP: &str = "\
Forecasts a chaotic series with an LSTM.

usage: lstm [flags]

  --epochs N      passes over the series                      [10]
  --hidden N      features of the LSTM's state                [64]
  --lr RATE       learning rate at the start                  [0.005]
  --seed N        seed of weights and order                   [0]
  --device NAME   cpu, cuda or cuda:1                         [cpu]
  --out DIR       folder of lstm.svg                          [.]
  --help          this text
";

/// Values that the network trains on; as many that it never saw follow.
const TRAINED: usize = 3000;
/// Values of a training sequence, and those before a forecast.
const SEEN: usize = 100;
/// How far a forecast goes, and how many of them are tested.
const AHEAD: usize = 200;
const FORECASTS: usize = 100;
/// The distances at which forecasts are judged.
const JUDGED: [usize; 4] = [1, 20, 84, 200];
const BATCH: usize = 32;

struct Args {
    epochs: usize,
    hidden: usize,
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
        Some(args) => forecast(&args).map_err(|error| error.to_string()),
    })
}

fn parse() -> std::result::Result<Option<Args>, String> {
    let mut args =
        Args { epochs: 10, hidden: 64, lr: 0.005, seed: 0, device: "cpu".into(), out: ".".into() };
    let mut flags = Flags::from_env();
    while let Some(flag) = flags.next()? {
        match flag.as_str() {
            "--help" | "-h" => return Ok(None),
            "--epochs" => args.epochs = flags.count()?,
            "--hidden" => args.hidden = flags.count()?,
            "--lr" => args.lr = flags.positive()?,
            "--seed" => args.seed = flags.seed()?,
            "--device" => args.device = flags.text("the name of a device")?,
            "--out" => args.out = flags.path()?,
            _ => return flags.unknown(),
        }
    }
    Ok(Some(args))
}

fn forecast(args: &Args) -> Result<()> {
    let device = kiln::device(&args.device)?;
    device.seed(args.seed);
    let series = mackey_glass(2 * TRAINED);
    let (train, test) = series.split_at(TRAINED);
    let mut model = Forecaster::new(args.hidden, &device);
    fit(&mut model, train, args, &device);

    let space = (test.len() - SEEN - AHEAD) / (FORECASTS - 1);
    let starts: Vec<usize> = (0..FORECASTS).map(|i| i * space).collect();
    let windows = pieces(test, &starts, SEEN + AHEAD, &device);
    let (known, truth) = (windows.narrow(1, 0, SEEN), windows.narrow(1, SEEN, AHEAD));
    let forecast = model.forecast(&known, AHEAD);
    let last = known.narrow(1, SEEN - 1, 1).expand([FORECASTS, AHEAD, 1]);
    println!("error of {FORECASTS} forecasts in standard deviations of the series");
    println!("values ahead  {}", JUDGED.map(|ahead| format!("{ahead:>7}")).concat());
    for (name, guess) in [("LSTM", &forecast), ("last value", &last), ("mean", &truth.zeros_like())]
    {
        let error = (guess - &truth).square().mean_dim(0).sqrt(); // [1, AHEAD, 1]
        let error: Vec<f32> = error.to_data().iter().collect();
        println!("{name:14}{}", JUDGED.map(|ahead| format!("{:7.3}", error[ahead - 1])).concat());
    }

    let path = args.out.join("lstm.svg");
    let svg = draw(&windows, &forecast).to_svg();
    kiln::nn::atomic_write(&path, |file| file.write_all(svg.as_bytes()))?;
    println!("wrote {}", path.display());
    Ok(())
}

/// Trains on all pieces of the series: at each value, the next one is to be found.
fn fit(model: &mut Forecaster, series: &[f32], args: &Args, device: &Device) {
    let batches = Batches::new(series.len() - SEEN, BATCH).shuffled(args.seed);
    let schedule = CosineAnnealingLr::new(args.lr, args.epochs * batches.len());
    let clipping = GradientClipping::GlobalNorm(1.0);
    let mut optim = AdamConfig::new(args.lr).init().with_grad_clipping(clipping);
    let mut progress = Progress::new(args.epochs, batches.len());
    for epoch in 0..args.epochs {
        for (step, starts) in batches.epoch(epoch).enumerate() {
            optim.set_lr(schedule.lr_at(epoch * batches.len() + step));
            let piece = pieces(series, &starts, SEEN + 1, device);
            let (x, y) = (piece.narrow(1, 0, SEEN), piece.narrow(1, 1, SEEN));
            let loss = MseLoss::new().forward(model.forward(&x), y, Reduction::Mean);
            optim.step(model, loss.backward());
            progress.step(loss.item(), None);
        }
        progress.epoch_end(&[]);
    }
    progress.finish();
}

/// The first forecast of the test, beside the truth with what was known.
fn draw(truth: &Tensor<3>, forecast: &Tensor<3>) -> Chart {
    let line = |name: &str, values: &Tensor<3>, start: usize| {
        let values: Vec<f64> = values.narrow(0, 0, 1).to_data().iter().collect();
        let points = values.into_iter().enumerate();
        Series::new(name, points.map(|(i, value)| ((start + i) as f64, value)))
    };
    let lines = vec![line("truth", truth, 0), line("LSTM", forecast, SEEN)];
    let title = format!("forecast after {SEEN} values");
    Chart::new("Mackey-Glass").panel(title, "time", "standard deviations", lines)
}
