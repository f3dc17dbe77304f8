//! Pictures as ResNet takes them.

use std::path::Path;

use kiln::prelude::*;
use kiln::{Error, Result};

/// What torchvision's networks for ImageNet were trained with: the shorter side of a picture, the
/// side of the square from its middle, and mean and deviation of the colours.
const SHORT_SIDE: usize = 256;
const CROP: usize = 224;
const MEAN: [f32; 3] = [0.485, 0.456, 0.406];
const STD: [f32; 3] = [0.229, 0.224, 0.225];

/// The colours of a binary PPM file, `[3, height, width]` from 0 to 1.
pub fn read(path: &Path, device: &Device) -> Result<Tensor<3>> {
    let bytes = std::fs::read(path).map_err(|error| wrong(path, &error.to_string()))?;
    parse(&bytes, device).map_err(|what| wrong(path, what))
}

fn wrong(path: &Path, what: &str) -> Error {
    Error::File { path: path.display().to_string(), what: what.into() }
}

/// `P6`, width, height, 255, one byte of space, and the pixels.
pub fn parse(bytes: &[u8], device: &Device) -> std::result::Result<Tensor<3>, &'static str> {
    const FORM: &str = "is no binary PPM picture; `magick photo.jpg photo.ppm` makes one";
    let (words, pixels) = header(bytes).ok_or(FORM)?;
    let [b"P6", width, height, b"255"] = words else { return Err(FORM) };
    let number = |word: &[u8]| std::str::from_utf8(word).ok()?.parse::<usize>().ok();
    let (width, height) = number(width).zip(number(height)).ok_or(FORM)?;
    if width == 0 || height == 0 {
        return Err("is a picture without pixels");
    }
    let size = width.checked_mul(height).and_then(|size| size.checked_mul(3));
    if size != Some(pixels.len()) {
        return Err("has another number of pixels than its header says");
    }
    let colours: Vec<f32> = pixels.iter().map(|&byte| byte as f32 / 255.0).collect();
    let picture = Tensor::<3>::from_data(TensorData::new(colours, [height, width, 3]), device);
    Ok(picture.permute([2, 0, 1]))
}

/// The first four words, without comments, and what comes after.
fn header(bytes: &[u8]) -> Option<([&[u8]; 4], &[u8])> {
    let mut rest = bytes;
    let mut words = [&bytes[..0]; 4];
    for word in &mut words {
        rest = rest.trim_ascii_start();
        while rest.first() == Some(&b'#') {
            let end = rest.iter().position(|&byte| byte == b'\n')?;
            rest = rest[end..].trim_ascii_start();
        }
        (*word, rest) = rest.split_at(rest.iter().position(u8::is_ascii_whitespace)?);
    }
    Some((words, rest.get(1..)?))
}

/// Resized, cut and normalised, `[3, 224, 224]`.
pub fn prepare(picture: &Tensor<3>) -> Tensor<3> {
    let [_, height, width] = picture.dims();
    let short = height.min(width);
    let [tall, wide] = [height, width].map(|side| SHORT_SIDE * side / short);
    let device = picture.device();
    let rows = resize_matrix(height, tall, &device).unsqueeze_dim::<3>(0); // [1, tall, height]
    let columns = resize_matrix(width, wide, &device).unsqueeze_dim::<3>(0); // [1, wide, width]
    let resized = rows.matmul(picture).matmul(columns.transpose());
    let middle = |side: usize| ((side - CROP) as f64 / 2.0).round_ties_even() as usize;
    let cut = resized.narrow(1, middle(tall), CROP).narrow(2, middle(wide), CROP);
    let colour = |values| Tensor::<1>::from_data(values, &device).reshape([3, 1, 1]);
    (cut - colour(MEAN)) / colour(STD)
}

/// The matrix `[to, from]` that resizes one axis: each new pixel is a mean of the old ones around
/// it, whose weights fall along a triangle as wide as the new pixel, or an old one if that is wider.
fn resize_matrix(from: usize, to: usize, device: &Device) -> Tensor<2> {
    let step = from as f64 / to as f64;
    let width = step.max(1.0);
    let mut matrix = Vec::with_capacity(to * from);
    for new in 0..to {
        let center = (new as f64 + 0.5) * step;
        let weight = |old| (1.0 - ((old as f64 + 0.5 - center) / width).abs()).max(0.0);
        let sum: f64 = (0..from).map(weight).sum();
        matrix.extend((0..from).map(|old| (weight(old) / sum) as f32));
    }
    Tensor::from_data(TensorData::new(matrix, [to, from]), device)
}
