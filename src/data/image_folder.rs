//! Pictures in folders.

use std::fs;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use image::imageops::FilterType;
use image::{DynamicImage, ImageReader, Limits};
use kiln_tensor::{Device, Error, Result, Tensor, TensorData};

use super::Dataset;
use super::subset::out_of_range;

/// The most bytes of pixels that a byte of a PNG or JPEG file stands for.
const LARGEST_RATIO: u64 = 2048;

/// A folder that has a folder of pictures for each class: `torchvision.datasets.ImageFolder`.
///
/// An item is a picture, `[channels, height, width]` with values from 0 to 1, and the index of its
/// class. Classes and pictures (`.png`, `.jpg`, `.jpeg`, in folders of the class's folder too) are
/// in the order of their names. Pictures are read when they are asked for.
///
/// ```no_run
/// use kiln::data::{DataLoaderBuilder, Dataset, ImageFolder, Stack};
/// let [train, valid] = ImageFolder::open("flowers")?.resize(64, 64).random_split([0.9, 0.1], 42);
/// let train = DataLoaderBuilder::new(Stack).batch_size(32).shuffle(7).num_workers(2).build(train);
/// for batch in train.epoch(0) {
///     let (pictures, classes) = batch?; // [32, 3, 64, 64] and [32]
/// }
/// # Ok::<(), kiln::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ImageFolder {
    classes: Vec<String>,
    /// With the index of the class.
    files: Vec<(PathBuf, usize)>,
    /// Height and width.
    size: Option<(u32, u32)>,
    gray: bool,
}

impl ImageFolder {
    /// The pictures in a folder. An error if a class has none, or if there are no classes.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let (mut classes, mut files) = (Vec::new(), Vec::new());
        for folder in entries(path)?.into_iter().filter(|entry| entry.is_dir()) {
            let before = files.len();
            collect(&folder, classes.len(), &mut files)?;
            if files.len() == before {
                return Err(file_error(&folder, "there are no PNG or JPEG files in it".into()));
            }
            classes.push(folder.file_name().unwrap_or_default().to_string_lossy().into_owned());
        }
        if classes.is_empty() {
            return Err(file_error(path, "there are no folders in it, one for each class".into()));
        }
        Ok(Self { classes, files, size: None, gray: false })
    }

    /// With pictures of this size, smoothed where they shrink.
    pub fn resize(mut self, height: u32, width: u32) -> Self {
        self.size = Some((height, width));
        self
    }

    /// With one channel, the brightness, instead of red, green and blue.
    pub fn gray(mut self) -> Self {
        self.gray = true;
        self
    }

    /// The names of the classes.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// The class of each item, as [`stratified`](super::DataLoaderBuilder::stratified) takes it.
    pub fn targets(&self) -> Vec<usize> {
        self.files.iter().map(|&(_, class)| class).collect()
    }

    /// The file of each item.
    pub fn paths(&self) -> impl ExactSizeIterator<Item = &Path> {
        self.files.iter().map(|(path, _)| path.as_path())
    }
}

/// What is in a folder, in the order of the names.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let list = || fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect();
    let entries: io::Result<Vec<_>> = list();
    let mut entries =
        entries.map_err(|cause| file_error(folder, format!("can not be read: {cause}")))?;
    entries.sort();
    Ok(entries)
}

/// Appends the pictures in a folder and in those inside of it, but not behind links to folders,
/// which may lead in circles.
fn collect(folder: &Path, class: usize, files: &mut Vec<(PathBuf, usize)>) -> Result<()> {
    for entry in entries(folder)? {
        if entry.is_dir() {
            if !entry.is_symlink() {
                collect(&entry, class, files)?;
            }
        } else if is_picture(&entry) {
            files.push((entry, class));
        }
    }
    Ok(())
}

fn is_picture(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    extension
        .is_some_and(|is| ["png", "jpg", "jpeg"].iter().any(|one| one.eq_ignore_ascii_case(is)))
}

fn file_error(path: &Path, what: String) -> Error {
    Error::File { path: path.display().to_string(), what }
}

/// Decodes a file. It is its content that says which format it has.
fn decode(path: &Path) -> Result<DynamicImage> {
    let unreadable = |cause: io::Error| file_error(path, format!("can not be read: {cause}"));
    let file = fs::File::open(path).map_err(unreadable)?;
    let length = file.metadata().map_err(unreadable)?.len();
    let reader = ImageReader::new(BufReader::new(file)).with_guessed_format();
    let mut reader = reader.map_err(unreadable)?;
    // A small file that claims to be a huge picture is refused.
    let mut limits = Limits::default();
    let most = length.saturating_mul(LARGEST_RATIO).saturating_add(1 << 20);
    limits.max_alloc = limits.max_alloc.map(|limit| limit.min(most));
    reader.limits(limits);
    reader.decode().map_err(|cause| file_error(path, cause.to_string()))
}

impl Dataset for ImageFolder {
    type Item = (Tensor<3>, usize);

    fn len(&self) -> usize {
        self.files.len()
    }

    fn get(&self, index: usize) -> Result<Self::Item> {
        let Some((path, class)) = self.files.get(index) else {
            return Err(out_of_range(index, self.len()));
        };
        let mut picture = decode(path)?;
        if let Some((height, width)) = self.size {
            picture = picture.resize_exact(width, height, FilterType::Triangle);
        }
        let (height, width) = (picture.height() as usize, picture.width() as usize);
        let (pixels, channels) = match self.gray {
            true => (picture.into_luma8().into_raw(), 1),
            false => (picture.into_rgb8().into_raw(), 3),
        };
        let mut values = Vec::with_capacity(pixels.len()); // [channels, height, width]
        for channel in 0..channels {
            let values_of = pixels.iter().skip(channel).step_by(channels);
            values.extend(values_of.map(|&value| value as f32 / 255.0));
        }
        let picture = TensorData::new(values, [channels, height, width]);
        Ok((Tensor::from_data(picture, &Device::cpu()), *class))
    }
}
