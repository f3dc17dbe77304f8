//! What the user asked for.

use std::path::PathBuf;

use crate::common::Flags;

pub const HELP: &str = "\
Trains a small GPT on the characters of a text, and lets it write.

usage: gpt [flags]

  --data FILE       the text                         [Kiln's own sources]
  --steps N         training steps in all            [2000]
  --every N         steps between two reports        [250]
  --batch-size N    pieces of text in a step         [12]
  --block-size N    characters of a piece            [64]
  --layers N        blocks of the network            [4]
  --heads N         attention heads of a block       [4]
  --width N         features of a character          [128]
  --lr RATE         highest learning rate            [0.001]
  --seed N          seed of weights, order, samples  [0]
  --device NAME     cpu, cuda or cuda:1              [cpu]
  --out DIR         folder of gpt.safetensors and
                    gpt.svg                          [.]
  --resume          go on from gpt.safetensors; the
                    network is as large as there
  --write N         do not train: write N characters
                    with the network of gpt.safetensors
  --prompt TEXT     what a written text begins with  [a line break]
  --temperature T   below 1: more likely characters  [0.8]
  --help            this text
";

pub struct Args {
    pub data: Option<PathBuf>,
    pub steps: usize,
    pub every: usize,
    pub batch_size: usize,
    pub block_size: usize,
    pub layers: usize,
    pub heads: usize,
    pub width: usize,
    pub lr: f64,
    pub seed: u64,
    pub device: String,
    pub out: PathBuf,
    pub resume: bool,
    pub write: Option<usize>,
    pub prompt: Option<String>,
    pub temperature: f64,
}

impl Args {
    /// `None` if the user asked for help. An error is one line that says what to do.
    pub fn parse() -> Result<Option<Self>, String> {
        let mut args = Self {
            data: None,
            steps: 2000,
            every: 250,
            batch_size: 12,
            block_size: 64,
            layers: 4,
            heads: 4,
            width: 128,
            lr: 0.001,
            seed: 0,
            device: "cpu".into(),
            out: ".".into(),
            resume: false,
            write: None,
            prompt: None,
            temperature: 0.8,
        };
        let mut flags = Flags::from_env();
        while let Some(flag) = flags.next()? {
            match flag.as_str() {
                "--help" | "-h" => return Ok(None),
                "--data" => args.data = Some(flags.path()?),
                "--steps" => args.steps = flags.count()?,
                "--every" => args.every = flags.count()?,
                "--batch-size" => args.batch_size = flags.count()?,
                "--block-size" => args.block_size = flags.count()?,
                "--layers" => args.layers = flags.count()?,
                "--heads" => args.heads = flags.count()?,
                "--width" => args.width = flags.count()?,
                "--lr" => args.lr = flags.positive()?,
                "--seed" => args.seed = flags.seed()?,
                "--device" => args.device = flags.text("the name of a device")?,
                "--out" => args.out = flags.path()?,
                "--resume" => args.resume = true,
                "--write" => args.write = Some(flags.count()?),
                "--prompt" => args.prompt = Some(flags.text("a text")?),
                "--temperature" => args.temperature = flags.positive()?,
                _ => return flags.unknown(),
            }
        }
        if !args.width.is_multiple_of(args.heads) {
            let Self { width, heads, .. } = args;
            return Err(format!("--width {width} does not divide by --heads {heads}"));
        }
        if args.prompt.as_deref() == Some("") {
            return Err("--prompt needs at least one character".into());
        }
        Ok(Some(args))
    }
}
