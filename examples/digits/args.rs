//! What the user asked for.

use std::path::PathBuf;
use std::str::FromStr;

use lexopt::prelude::*;

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
            predict: false,
        };
        let mut parser = lexopt::Parser::from_env();
        let hint = |error: lexopt::Error| format!("{error}; `--help` lists the flags");
        while let Some(flag) = parser.next().map_err(hint)? {
            match flag {
                Long("help") | Short('h') => return Ok(None),
                Long("predict") => args.predict = true,
                Long("epochs") => args.epochs = positive("--epochs", &mut parser)?,
                Long("batch-size") => args.batch_size = positive("--batch-size", &mut parser)?,
                Long("seed") => {
                    args.seed = number("--seed", &mut parser, "a whole number", |_: &u64| true)?;
                }
                Long("lr") => {
                    let valid = |&lr: &f64| lr.is_finite() && lr > 0.0;
                    args.lr = number("--lr", &mut parser, "a number above 0", valid)?;
                }
                Long("device") => {
                    let value = parser.value().map_err(hint)?;
                    args.device = value.string().map_err(hint)?;
                }
                Long("out") => args.out = parser.value().map_err(hint)?.into(),
                flag => return Err(hint(flag.unexpected())),
            }
        }
        Ok(Some(args))
    }
}

fn positive(flag: &str, parser: &mut lexopt::Parser) -> Result<usize, String> {
    let valid = |&n: &usize| (1..=1_000_000_000).contains(&n);
    number(flag, parser, "a whole number from 1 on", valid)
}

fn number<T: FromStr>(
    flag: &str,
    parser: &mut lexopt::Parser,
    expected: &str,
    valid: impl Fn(&T) -> bool,
) -> Result<T, String> {
    let value = parser.value().map_err(|_| format!("{flag} needs {expected}"))?;
    let text = value.to_string_lossy();
    text.parse()
        .ok()
        .filter(valid)
        .ok_or_else(|| format!("{flag} needs {expected}, found `{text}`"))
}
