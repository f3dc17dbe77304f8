//! A picture of many small images.

use kiln::prelude::*;
use kiln::{Error, Result};

/// Between images, in pixels of the picture.
const GAP: usize = 4;
/// Between the rows that belong together and the next ones.
const BREAK: usize = 14;
const PAPER: u8 = 255;

/// Rows of images on white paper, all of the same size.
pub struct Gallery {
    size: [usize; 2],
    /// How many pixels of the picture one of an image becomes, in each direction.
    zoom: usize,
    columns: usize,
    /// From top to bottom, each as wide as the picture.
    lines: Vec<u8>,
}

impl Gallery {
    /// For `columns` images of `height` and `width` in a row.
    pub fn new([height, width]: [usize; 2], columns: usize) -> Self {
        let zoom = (48 / height.max(1)).max(1);
        let mut gallery = Self { size: [height, width], zoom, columns, lines: Vec::new() };
        gallery.space(BREAK);
        gallery
    }

    pub fn width(&self) -> usize {
        2 * BREAK + self.columns * (self.size[1] * self.zoom + GAP) - GAP
    }

    /// Adds rows of images `[n, height * width]`, 0 for paper to 1 for ink.
    pub fn add(&mut self, images: &Tensor<2>) {
        let ([height, width], zoom) = (self.size, self.zoom);
        let pixels: Vec<f32> = images.to_data().iter().collect();
        let images: Vec<&[f32]> = pixels.chunks(height * width).collect();
        for row in images.chunks(self.columns) {
            for y in 0..height * zoom {
                let mut line = vec![PAPER; self.width()];
                for (column, image) in row.iter().enumerate() {
                    let left = BREAK + column * (width * zoom + GAP);
                    let source = &image[y / zoom * width..][..width];
                    for (x, pixel) in line[left..][..width * zoom].iter_mut().enumerate() {
                        let ink = source[x / zoom].clamp(0.0, 1.0);
                        *pixel = (255.0 * (1.0 - ink)).round() as u8;
                    }
                }
                self.lines.extend(line);
            }
            self.space(GAP);
        }
    }

    /// Sets the rows so far apart from the next ones.
    pub fn end_group(&mut self) {
        self.space(BREAK);
    }

    fn space(&mut self, height: usize) {
        self.lines.resize(self.lines.len() + height * self.width(), PAPER);
    }

    /// The picture as a PNG file.
    pub fn to_png(&self) -> Result<Vec<u8>> {
        let (width, mut file) = (self.width(), Vec::new());
        let mut encoder =
            png::Encoder::new(&mut file, width as u32, (self.lines.len() / width) as u32);
        encoder.set_color(png::ColorType::Grayscale);
        encoder.set_depth(png::BitDepth::Eight);
        let written = encoder.write_header().and_then(|mut writer| {
            writer.write_image_data(&self.lines)?;
            writer.finish()
        });
        written.map_err(|error| Error::Argument { op: "png", rule: error.to_string() })?;
        Ok(file)
    }
}
