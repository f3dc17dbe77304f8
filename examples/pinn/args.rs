//! What the user asked for.

use std::path::PathBuf;
use std::str::FromStr;

use lexopt::prelude::*;

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
        let mut parser = lexopt::Parser::from_env();
        let hint = |error: lexopt::Error| format!("{error}; `--help` lists the flags");
        while let Some(flag) = parser.next().map_err(hint)? {
            let whole = "a whole number";
            let count = |&n: &usize| n <= 10_000_000;
            match flag {
                Long("help") | Short('h') => return Ok(None),
                Long("steps") => args.steps = number("--steps", &mut parser, whole, count)?,
                Long("refine") => args.refine = number("--refine", &mut parser, whole, count)?,
                Long("points") => {
                    let valid = |n: &usize| *n > 0 && count(n);
                    args.points = number("--points", &mut parser, "a number from 1 on", valid)?;
                }
                Long("seed") => args.seed = number("--seed", &mut parser, whole, |_: &u64| true)?,
                Long("lr") => {
                    let valid = |&lr: &f64| lr.is_finite() && lr > 0.0;
                    args.lr = number("--lr", &mut parser, "a number above 0", valid)?;
                }
                Long("device") => {
                    args.device = parser.value().and_then(|name| name.string()).map_err(hint)?;
                }
                Long("out") => args.out = parser.value().map_err(hint)?.into(),
                flag => return Err(hint(flag.unexpected())),
            }
        }
        Ok(Some(args))
    }
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
