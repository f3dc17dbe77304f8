//! What the user asked for.

use std::path::PathBuf;

use crate::common::Flags;

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
        let mut flags = Flags::from_env();
        while let Some(flag) = flags.next()? {
            match flag.as_str() {
                "--help" | "-h" => return Ok(None),
                "--epochs" => args.epochs = flags.count()?,
                "--batch-size" => args.batch_size = flags.count()?,
                "--hidden" => args.hidden = flags.count()?,
                "--latent" => args.latent = flags.count()?,
                "--data" => args.data = Some(flags.path()?),
                "--seed" => args.seed = flags.seed()?,
                "--lr" => args.lr = flags.positive()?,
                "--device" => args.device = flags.text("the name of a device")?,
                "--out" => args.out = flags.path()?,
                _ => return flags.unknown(),
            }
        }
        Ok(Some(args))
    }
}
