//! What the user asked for.

use std::path::PathBuf;

use crate::common::Flags;

pub const HELP: &str = "\
Trains a small convolutional network on real handwritten digits.

usage: digits [flags]

  --epochs N      times that every image is seen        [20]
  --batch-size N  images of one step                    [64]
  --lr RATE       learning rate at the start            [0.004]
  --seed N        seed of weights, order and dropout    [0]
  --device NAME   cpu, cuda or cuda:1                   [cpu]
  --out DIR       folder of digits.safetensors and
                  digits.svg                            [.]
  --run DIR       keep the run there: a report, curves,
                  a log, and checkpoints from which it
                  goes on
  --predict       load the weights and show what the
                  network says of eight test images
                  (others with another --seed)
  --help          this text
";

pub struct Args {
    pub epochs: usize,
    pub batch_size: usize,
    pub lr: f64,
    pub seed: u64,
    pub device: String,
    pub out: PathBuf,
    pub run: Option<PathBuf>,
    pub predict: bool,
}

impl Args {
    /// `None` if the user asked for help. An error is one line that says what to do.
    pub fn parse() -> Result<Option<Self>, String> {
        let mut args = Self {
            epochs: 20,
            batch_size: 64,
            lr: 0.004,
            seed: 0,
            device: "cpu".into(),
            out: ".".into(),
            run: None,
            predict: false,
        };
        let mut flags = Flags::from_env();
        while let Some(flag) = flags.next()? {
            match flag.as_str() {
                "--help" | "-h" => return Ok(None),
                "--predict" => args.predict = true,
                "--epochs" => args.epochs = flags.count()?,
                "--batch-size" => args.batch_size = flags.count()?,
                "--seed" => args.seed = flags.seed()?,
                "--lr" => args.lr = flags.positive()?,
                "--device" => args.device = flags.text("the name of a device")?,
                "--out" => args.out = flags.path()?,
                "--run" => args.run = Some(flags.path()?),
                _ => return flags.unknown(),
            }
        }
        Ok(Some(args))
    }
}
