//! MNIST (LeCun et al. 1998) from its files.

use std::path::{Path, PathBuf};

use kiln::data::{read_idx, take};
use kiln::prelude::*;
use kiln::{Error, Result};

pub const CLASSES: usize = 10;
pub const TRAIN: [&str; 2] = ["train-images-idx3-ubyte", "train-labels-idx1-ubyte"];
pub const TEST: [&str; 2] = ["t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"];
const SIDE: usize = 28;

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
        let (pixels, [n, rows, columns]) = read_bytes(&find(folder, images)?)?;
        let (classes, [labelled]) = read_bytes(&find(folder, labels)?)?;
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
fn read_bytes<const N: usize>(path: &Path) -> Result<(Vec<u8>, [usize; N])> {
    let data = read_idx(path)?;
    match (data.dtype(), <[usize; N]>::try_from(data.dims())) {
        (DType::U8, Ok(extents)) => Ok((data.to_vec()?, extents)),
        (dtype, _) => {
            let what = format!("is {dtype} {}, not bytes of {N} axes", data.shape());
            Err(Error::File { path: path.display().to_string(), what })
        }
    }
}
