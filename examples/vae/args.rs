//! What the user asked for.

use std::path::PathBuf;
use std::str::FromStr;

use lexopt::prelude::*;

pub const HELP: &str = "\
Trains a variational autoencoder on images of digits and draws new ones.

usage: vae [flags]

  --epochs N      times that every image is seen        [60]
  --batch-size N  images of one step                    [64]
  --lr RATE       learning rate                         [0.002]
  --hidden N      features between images and points    [256]
  --latent N      dimensions of a point                 [8]
  --seed N        seed of weights, order and noise      [0]
  --device NAME   cpu, cuda or cuda:1                   [cpu]
  --data FILE     other images, such as MNIST's
                  train-images-idx3-ubyte (or .gz)
  --out FILE      the picture                           [vae.png]
  --help          this text
";

pub struct Args {
    pub epochs: usize,
    pub batch_size: usize,
    pub lr: f64,
    pub hidden: usize,
    pub latent: usize,
    pub seed: u64,
    pub device: String,
    pub data: Option<PathBuf>,
    pub out: PathBuf,
}

impl Args {
    /// `None` if the user asked for help. An error is one line that says what to do.
    pub fn parse() -> Result<Option<Self>, String> {
        let mut args = Self {
            epochs: 60,
            batch_size: 64,
            lr: 0.002,
            hidden: 256,
            latent: 8,
            seed: 0,
            device: "cpu".into(),
            data: None,
            out: "vae.png".into(),
        };
        let mut parser = lexopt::Parser::from_env();
        let hint = |error: lexopt::Error| format!("{error}; `--help` lists the flags");
        while let Some(flag) = parser.next().map_err(hint)? {
            match flag {
                Long("help") | Short('h') => return Ok(None),
                Long("epochs") => args.epochs = positive("--epochs", &mut parser)?,
                Long("batch-size") => args.batch_size = positive("--batch-size", &mut parser)?,
                Long("hidden") => args.hidden = positive("--hidden", &mut parser)?,
                Long("latent") => args.latent = positive("--latent", &mut parser)?,
                Long("seed") => {
                    args.seed = number("--seed", &mut parser, "a whole number", |_: &u64| true)?;
                }
                Long("lr") => {
                    let valid = |&lr: &f64| lr.is_finite() && lr > 0.0;
                    args.lr = number("--lr", &mut parser, "a number above 0", valid)?;
                }
                Long("device") => {
                    args.device = parser.value().and_then(|name| name.string()).map_err(hint)?;
                }
                Long("data") => args.data = Some(parser.value().map_err(hint)?.into()),
                Long("out") => args.out = parser.value().map_err(hint)?.into(),
                flag => return Err(hint(flag.unexpected())),
            }
        }
        Ok(Some(args))
    }
}

fn positive(flag: &str, parser: &mut lexopt::Parser) -> Result<usize, String> {
    let valid = |&n: &usize| (1..=1_000_000).contains(&n);
    number(flag, parser, "a whole number from 1 to 1000000", valid)
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
