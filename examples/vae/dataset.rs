//! Images to learn: the digits in `examples/data`, or a file in the format of MNIST.

use std::io::Read;
use std::path::Path;

use flate2::read::GzDecoder;
use kiln::prelude::*;
use kiln::{Error, Result};

/// Grey images of one size.
pub struct Images {
    /// `[n, height * width]`, 0 to 1.
    pub pixels: Tensor<2>,
    pub height: usize,
    pub width: usize,
}

impl Images {
    /// The UCI optical digits, 8 x 8 pixels of 0 to 16, which are part of the program.
    pub fn digits(device: &Device) -> Result<Self> {
        let (header, items) = include_bytes!("../data/digits.bin").split_at(16);
        if !header.starts_with(b"DIG8") || items.len() % 65 != 0 {
            return Err(damaged(Path::new("examples/data/digits.bin"), "is damaged"));
        }
        let pixels = items.chunks_exact(65).flat_map(|item| &item[..64]); // and a label
        Ok(Self::new(pixels.map(|&pixel| pixel as f32 / 16.0).collect(), [8, 8], device))
    }

    /// A file like MNIST's `train-images-idx3-ubyte`, which may be compressed (`.gz`).
    pub fn read_idx(path: &Path, device: &Device) -> Result<Self> {
        /// No image file of this kind is larger, and a small compressed one could be anything.
        const LIMIT: u64 = 1 << 30;
        let unreadable =
            |cause: std::io::Error| damaged(path, &format!("can not be read: {cause}"));
        let mut bytes = std::fs::read(path).map_err(unreadable)?;
        if bytes.starts_with(&[0x1f, 0x8b]) {
            let mut whole = Vec::new();
            let decoder = GzDecoder::new(&bytes[..]);
            decoder.take(LIMIT).read_to_end(&mut whole).map_err(unreadable)?;
            bytes = whole;
        }
        let word = |i: usize| {
            let bytes = bytes.get(4 * i..4 * i + 4)?.try_into().ok()?;
            Some(u32::from_be_bytes(bytes) as usize)
        };
        // 0x08 for bytes, three axes.
        let sizes = match [word(0), word(1), word(2), word(3)] {
            [Some(0x0803), Some(n), Some(height), Some(width)] => [n, height, width],
            _ => return Err(damaged(path, "is no file of images like train-images-idx3-ubyte")),
        };
        let [n, height, width] = sizes;
        let pixels = &bytes[16..];
        let expected = n.checked_mul(height).and_then(|x| x.checked_mul(width));
        if expected != Some(pixels.len()) || pixels.is_empty() {
            let what =
                format!("says {n} images of {height} x {width}, has {} pixels", pixels.len());
            return Err(damaged(path, &what));
        }
        let pixels = pixels.iter().map(|&pixel| pixel as f32 / 255.0).collect();
        Ok(Self::new(pixels, [height, width], device))
    }

    fn new(pixels: Vec<f32>, [height, width]: [usize; 2], device: &Device) -> Self {
        let shape = [pixels.len() / (height * width), height * width];
        Self { pixels: Tensor::from_data(TensorData::new(pixels, shape), device), height, width }
    }

    pub fn len(&self) -> usize {
        self.pixels.dims()[0]
    }
}

fn damaged(path: &Path, what: &str) -> Error {
    Error::File { path: path.display().to_string(), what: what.into() }
}
