//! What the user asked for.

use std::path::PathBuf;

use crate::common::Flags;

pub const HELP: &str = "\
Trains a network to solve Burgers' equation, by which a sine wave becomes steep.

usage: pinn [flags]

  --steps N       steps of Adam                         [1000]
  --refine N      steps of L-BFGS after them, each of
                  20 iterations                         [15]
  --points N      points at which the equation must
                  hold                                  [2000]
  --lr RATE       learning rate of Adam at the start    [0.002]
  --seed N        seed of weights and points            [0]
  --device NAME   cpu, cuda or cuda:1                   [cpu]
  --out FILE      the solution and the loss, drawn      [pinn.svg]
  --help          this text
";

pub struct Args {
    pub steps: usize,
    pub refine: usize,
    pub points: usize,
    pub lr: f64,
    pub seed: u64,
    pub device: String,
    pub out: PathBuf,
}

impl Args {
    /// `None` if the user asked for help. An error is one line that says what to do.
    pub fn parse() -> Result<Option<Self>, String> {
        let mut args = Self {
            steps: 1000,
            refine: 15,
            points: 2000,
            lr: 0.002,
            seed: 0,
            device: "cpu".into(),
            out: "pinn.svg".into(),
        };
        let mut flags = Flags::from_env();
        while let Some(flag) = flags.next()? {
            match flag.as_str() {
                "--help" | "-h" => return Ok(None),
                "--steps" => args.steps = flags.number("a whole number", |_| true)?,
                "--refine" => args.refine = flags.number("a whole number", |_| true)?,
                "--points" => args.points = flags.count()?,
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
