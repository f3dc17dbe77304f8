//! Says what is on a picture, with a ResNet-18 and torchvision's weights for it.
//!
//! ```text
//! cargo run --release --example resnet18 -- --weights resnet18.safetensors photo.ppm
//! cargo run --release --example resnet18 -- --help
//! ```
//!
//! The weights come from torchvision,
//!
//! ```text
//! python -c "import torchvision, safetensors.torch as files
//! net = torchvision.models.resnet18(weights='DEFAULT')
//! files.save_file(net.state_dict(), 'resnet18.safetensors')"
//! ```
//!
//! and `magick photo.jpg photo.ppm` makes a PPM file of a photo. Without either, the script
//! `examples/resnet18/pytorch.py` makes random weights and a picture, and says what PyTorch says of
//! it, which is what this example says:
//!
//! ```text
//! python examples/resnet18/pytorch.py
//! cargo run --release --example resnet18 -- --weights random.safetensors picture.ppm
//!
//! picture.ppm
//!  0.113 %  class 601
//!  0.111 %  class 537
//!  0.111 %  class 778
//!  0.111 %  class 904
//!  0.111 %  class 756
//! ```

#[path = "../common/mod.rs"]
mod common;
mod model;
mod picture;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use common::Flags;
use kiln::prelude::*;
use kiln::{Error, Result};
use model::ResNet18;

const HELP: &str = "\
Says what is on a picture, with a ResNet-18.

usage: resnet18 --weights FILE [flags] PICTURE..

  PICTURE         a binary PPM file
  --weights FILE  torchvision's state dict as a safetensors file
  --labels FILE   the names of the classes, a line each
  --top N         classes that are shown                        [5]
  --device NAME   cpu, cuda or cuda:1                           [cpu]
  --help          this text
";

struct Args {
    weights: PathBuf,
    labels: Option<PathBuf>,
    top: usize,
    device: String,
    pictures: Vec<PathBuf>,
}

fn main() -> ExitCode {
    common::run(|| match parse()? {
        None => {
            print!("{HELP}");
            Ok(())
        }
        Some(args) => classify(&args).map_err(|error| error.to_string()),
    })
}

fn parse() -> std::result::Result<Option<Args>, String> {
    let (mut weights, mut labels, mut top) = (None, None, 5);
    let (mut device, mut pictures) = ("cpu".into(), Vec::new());
    let mut flags = Flags::from_env();
    while let Some(flag) = flags.next()? {
        match flag.as_str() {
            "--help" | "-h" => return Ok(None),
            "--weights" => weights = Some(flags.path()?),
            "--labels" => labels = Some(flags.path()?),
            "--top" => top = flags.number("a number from 1 to 1000", |n| (1..=1000).contains(n))?,
            "--device" => device = flags.text("the name of a device")?,
            word if !word.starts_with('-') => pictures.push(word.into()),
            _ => return flags.unknown(),
        }
    }
    let weights = weights.ok_or("--weights is needed: a file of torchvision's weights")?;
    if pictures.is_empty() {
        return Err("there is no picture; `--help` shows how to give one".into());
    }
    Ok(Some(Args { weights, labels, top, device, pictures }))
}

fn classify(args: &Args) -> Result<()> {
    let device = kiln::device(&args.device)?;
    let labels = args.labels.as_deref().map(read_labels).transpose()?;
    let mut model = ResNet18::new(&device);
    model.load_file(&args.weights)?;
    model.eval();
    for path in &args.pictures {
        let picture = picture::prepare(&picture::read(path, &device)?).unsqueeze_dim(0);
        let logits = no_grad(|| model.forward(&picture));
        let (best, classes) = activation::softmax(logits, 1).topk_with_indices(args.top, 1);
        println!("{}", path.display());
        for (p, class) in best.to_data().iter::<f64>().zip(classes.to_data().iter::<i64>()) {
            let number = format!("class {class}");
            let name = labels.as_ref().map_or(&number, |labels| &labels[class as usize]);
            println!("{:6.3} %  {name}", 100.0 * p);
        }
    }
    Ok(())
}

fn read_labels(path: &Path) -> Result<Vec<String>> {
    let error = |what| Error::File { path: path.display().to_string(), what };
    let text = std::fs::read_to_string(path).map_err(|cause| error(cause.to_string()))?;
    let labels: Vec<String> = text.lines().map(String::from).collect();
    match labels.len() {
        1000 => Ok(labels),
        lines => Err(error(format!("has {lines} lines; there are 1000 classes"))),
    }
}
