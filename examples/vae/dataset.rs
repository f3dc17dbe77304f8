//! Images to learn: the digits in `examples/data`, or a file in the format of MNIST.

use std::path::Path;

use kiln::data::read_idx;
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
    pub fn read(path: &Path, device: &Device) -> Result<Self> {
        let data = read_idx(path)?;
        let (DType::U8, &[n, height, width]) = (data.dtype(), data.dims()) else {
            let what = format!("is {} {}, not bytes of images", data.dtype(), data.shape());
            return Err(damaged(path, &what));
        };
        if n * height * width == 0 {
            return Err(damaged(path, &format!("has {n} images of {height} x {width} pixels")));
        }
        let pixels = data.iter::<f32>().map(|pixel| pixel / 255.0).collect();
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
