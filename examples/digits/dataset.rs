//! The UCI optical digits, which are part of the program: see `examples/data/README.md`.

use kiln::prelude::*;
use kiln::{Error, Result};

pub const CLASSES: usize = 10;
const SIDE: usize = 8;
const PIXELS: usize = SIDE * SIDE;
/// Value of the darkest pixel.
const INK: f32 = 16.0;

/// Images with their labels.
pub struct Digits {
    /// `[n, 1, 8, 8]`, 0 for paper to 1 for ink.
    pub images: Tensor<4>,
    /// `[n]`
    pub labels: Tensor<1, Int>,
}

impl Digits {
    /// The 1,437 training and 360 test images.
    pub fn load(device: &Device) -> Result<(Self, Self)> {
        let (header, items) = include_bytes!("../data/digits.bin").split_at(16);
        let count = |at: usize| {
            u32::from_le_bytes(header[at..at + 4].try_into().expect("four bytes")) as usize
        };
        let (train, test) = (count(4), count(8));
        if &header[..4] != b"DIG8" || items.len() != (train + test) * (PIXELS + 1) {
            return Err(Error::File {
                path: "examples/data/digits.bin".into(),
                what: "is damaged; get it again or make it with digits.py".into(),
            });
        }
        let (train, test) = items.split_at(train * (PIXELS + 1));
        Ok((Self::read(train, device), Self::read(test, device)))
    }

    /// Items of 64 pixels and a label.
    fn read(items: &[u8], device: &Device) -> Self {
        let items = items.chunks_exact(PIXELS + 1);
        let n = items.len();
        let pixels = items.clone().flat_map(|item| &item[..PIXELS]);
        let pixels: Vec<f32> = pixels.map(|&pixel| pixel as f32 / INK).collect();
        let labels: Vec<i64> = items.map(|item| item[PIXELS] as i64).collect();
        Self {
            images: Tensor::from_data(TensorData::new(pixels, [n, 1, SIDE, SIDE]), device),
            labels: Tensor::from_data(labels, device),
        }
    }

    pub fn len(&self) -> usize {
        self.labels.dims()[0]
    }
}

/// Images drawn with characters, four in a row, each with what the network says of it.
pub fn gallery(images: &Tensor<4>, labels: &Tensor<1, Int>, probabilities: &Tensor<2>) -> String {
    const PER_ROW: usize = 4;
    const SHADES: [&str; 5] = ["  ", "░░", "▒▒", "▓▓", "██"];
    let pixels: Vec<f32> = images.to_data().iter().collect();
    let labels: Vec<i64> = labels.to_data().iter().collect();
    let probabilities: Vec<f64> = probabilities.to_data().iter().collect();
    let numbers: Vec<usize> = (0..labels.len()).collect();
    let mut text = String::new();
    for row in numbers.chunks(PER_ROW) {
        for y in 0..SIDE {
            for &image in row {
                let line = &pixels[image * PIXELS + y * SIDE..][..SIDE];
                let shade = |&pixel: &f32| SHADES[(pixel * 4.0).round() as usize % SHADES.len()];
                text.extend(line.iter().map(shade));
                text += "    ";
            }
            text += "\n";
        }
        for &image in row {
            let scores = &probabilities[image * CLASSES..][..CLASSES];
            let best = (0..CLASSES).max_by(|&a, &b| scores[a].total_cmp(&scores[b]));
            let best = best.expect("ten classes");
            let right = best as i64 == labels[image];
            let truth = if right { String::new() } else { format!(", is {}", labels[image]) };
            let words = format!("{best} ({:.1} %){truth}", 100.0 * scores[best]);
            text += &format!("{words:20}");
        }
        text += "\n\n";
    }
    text
}
