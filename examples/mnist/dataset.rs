//! MNIST (LeCun et al. 1998) from its files.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use kiln::data::take;
use kiln::prelude::*;
use kiln::{Error, Result};

pub const CLASSES: usize = 10;
pub const TRAIN: [&str; 2] = ["train-images-idx3-ubyte", "train-labels-idx1-ubyte"];
pub const TEST: [&str; 2] = ["t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"];
const SIDE: usize = 28;
/// MNIST has 60,000 images; no file of images is believed that says much more.
const MOST: usize = 1_000_000;

/// Images with their labels.
pub struct Mnist {
    /// `[n, 1, 28, 28]` bytes, 0 for paper to 255 for ink.
    images: Tensor<4, Int>,
    /// `[n]`
    labels: Tensor<1, Int>,
}

impl Mnist {
    /// The images of a pair of files, plain or with `.gz` at the end of their names.
    pub fn read(folder: &Path, [images, labels]: [&str; 2], device: &Device) -> Result<Self> {
        let (pixels, [n, rows, columns]) = read_idx(&find(folder, images)?)?;
        let (classes, [labelled]) = read_idx(&find(folder, labels)?)?;
        let wrong = |what| Err(Error::File { path: folder.display().to_string(), what });
        if [rows, columns] != [SIDE; 2] {
            return wrong(format!("{images} has images of {rows} x {columns} pixels, not 28 x 28"));
        }
        if n != labelled || n == 0 {
            return wrong(format!("there are {n} images in {images}, but {labelled} in {labels}"));
        }
        if let Some(class) = classes.iter().find(|class| **class as usize >= CLASSES) {
            return wrong(format!("{labels} has a label {class}; the largest is 9"));
        }
        let labels: Vec<i64> = classes.into_iter().map(i64::from).collect();
        Ok(Self {
            images: Tensor::from_data(TensorData::new(pixels, [n, 1, SIDE, SIDE]), device),
            labels: Tensor::from_data(labels, device),
        })
    }

    pub fn len(&self) -> usize {
        self.labels.dims()[0]
    }

    /// Some of the images, `[n, 1, 28, 28]` from 0 to 1, with their labels, `[n]`.
    pub fn batch(&self, indices: &[usize]) -> (Tensor<4>, Tensor<1, Int>) {
        (take(&self.images, indices).float() / 255.0, take(&self.labels, indices))
    }

    /// The images before and from `at` on.
    pub fn split(&self, at: usize) -> (Self, Self) {
        let part = |start: usize, len: usize| Self {
            images: self.images.narrow(0, start, len),
            labels: self.labels.narrow(0, start, len),
        };
        (part(0, at), part(at, self.len() - at))
    }
}

/// Whether the folder has both files.
pub fn has(folder: &Path, names: [&str; 2]) -> bool {
    names.iter().all(|name| find(folder, name).is_ok())
}

fn find(folder: &Path, name: &str) -> Result<PathBuf> {
    let paths = [folder.join(name), folder.join(format!("{name}.gz"))];
    paths.into_iter().find(|path| path.is_file()).ok_or_else(|| Error::File {
        path: folder.display().to_string(),
        what: format!("has neither {name} nor {name}.gz; `--download` gets them"),
    })
}

/// The bytes of an idx file and the extents of its `N` axes.
pub fn read_idx<const N: usize>(path: &Path) -> Result<(Vec<u8>, [usize; N])> {
    let error = |what: String| Error::File { path: path.display().to_string(), what };
    let damaged = |cause: io::Error| error(format!("can not be read: {cause}"));
    let file = File::open(path).map_err(damaged)?;
    let zipped = path.extension().is_some_and(|extension| extension == "gz");
    let mut file: Box<dyn Read> =
        if zipped { Box::new(GzDecoder::new(file)) } else { Box::new(io::BufReader::new(file)) };
    let mut word = || {
        let mut bytes = [0; 4];
        file.read_exact(&mut bytes).map(|()| bytes).map_err(damaged)
    };
    // Two zeros, the code of bytes, the number of axes; then the extent of each.
    if word()? != [0, 0, 8, N as u8] {
        return Err(error(format!("is no idx file of bytes with {N} axes")));
    }
    let mut extents = [0; N];
    for extent in &mut extents {
        *extent = u32::from_be_bytes(word()?) as usize;
    }
    let size = extents.iter().try_fold(1usize, |size, &extent| size.checked_mul(extent));
    let size = size.filter(|&size| size <= MOST * SIDE * SIDE);
    let size = size.ok_or_else(|| error(format!("says that it is as large as {extents:?}")))?;
    // One byte more than there should be, if there is one. What is not there is not allocated.
    let mut bytes = Vec::new();
    file.take(size as u64 + 1).read_to_end(&mut bytes).map_err(damaged)?;
    if bytes.len() != size {
        let what = format!("does not have the {size} bytes of {extents:?} that its header says");
        return Err(error(what));
    }
    Ok((bytes, extents))
}
