//! The MNIST example reads its files, refuses damaged ones, and learns.

#[allow(dead_code)]
#[path = "../examples/mnist/dataset.rs"]
mod dataset;
#[allow(dead_code)]
#[path = "../examples/mnist/download.rs"]
mod download;
#[path = "../examples/mnist/model.rs"]
mod model;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use dataset::{Mnist, TEST};
use flate2::Compression;
use flate2::write::GzEncoder;
use kiln::prelude::*;
use model::Net;

/// A folder that goes away with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("kiln_mnist_{name}_{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn idx(extents: &[u32], bytes: &[u8]) -> Vec<u8> {
    let mut file = vec![0, 0, 8, extents.len() as u8];
    extents.iter().for_each(|extent| file.extend(extent.to_be_bytes()));
    file.extend(bytes);
    file
}

fn write_gz(path: &Path, bytes: &[u8]) {
    let mut file = GzEncoder::new(fs::File::create(path).unwrap(), Compression::fast());
    file.write_all(bytes).unwrap();
    file.finish().unwrap();
}

/// `n` images with a bar whose place says the class.
fn bars(n: usize) -> (Vec<u8>, Vec<u8>) {
    let labels: Vec<u8> = (0..n).map(|i| (i * 7 % 10) as u8).collect();
    let mut pixels = vec![0; n * 28 * 28];
    for (image, label) in pixels.chunks_mut(28 * 28).zip(&labels) {
        image[28 * (2 * *label as usize + 4)..][..28].fill(255);
    }
    (idx(&[n as u32, 28, 28], &pixels), idx(&[n as u32], &labels))
}

#[test]
fn plain_and_compressed_files_are_read_and_learned() {
    let (folder, device) = (Folder::new("read"), Device::cpu());
    let (images, labels) = bars(200);
    write_gz(&folder.0.join("t10k-images-idx3-ubyte.gz"), &images);
    fs::write(folder.0.join("t10k-labels-idx1-ubyte"), labels).unwrap();
    assert!(dataset::has(&folder.0, TEST) && !dataset::has(&folder.0, dataset::TRAIN));
    let (train, test) = Mnist::read(&folder.0, TEST, &device).unwrap().split(160);
    assert_eq!((train.len(), test.len()), (160, 40));
    let (image, label) = test.batch(&[1]); // number 161, whose class is 7
    assert_eq!(label.item::<i64>(), 7);
    assert_eq!(image.sum().item::<f32>(), 28.0);
    assert_eq!(image.slice(s![0, 0, 18, ..]).min().item::<f32>(), 1.0);

    let mut model = Net::new(&device);
    let mut optim = AdamWConfig::new(0.002).init();
    for batch in kiln::data::Batches::new(train.len(), 16).shuffled(0).epoch(0) {
        let (images, labels) = train.batch(&batch);
        let loss = CrossEntropyLoss::new().forward(&model.forward(&images), &labels);
        optim.step(&mut model, loss.backward());
    }
    model.eval();
    let (images, labels) = test.batch(&(0..40).collect::<Vec<_>>());
    let said = no_grad(|| model.forward(&images)).argmax(1).reshape([40]);
    let accuracy: f64 = said.equal(&labels).float().mean().item();
    assert!(accuracy > 0.9, "{accuracy}");
}

#[test]
fn files_that_do_not_belong_together_are_errors() {
    let folder = Folder::new("pairs");
    let error = |images: Vec<u8>, labels: Vec<u8>| {
        fs::write(folder.0.join(TEST[0]), images).unwrap();
        fs::write(folder.0.join(TEST[1]), labels).unwrap();
        Mnist::read(&folder.0, TEST, &Device::cpu()).err().expect("damaged").to_string()
    };
    let (images, labels) = bars(3);
    assert!(error(images.clone(), bars(2).1).contains("3 images"));
    assert!(error(images, idx(&[3], &[0, 10, 1])).contains("label 10"));
    assert!(error(idx(&[3, 1, 1], &[0; 3]), labels).contains("1 x 1 pixels"));
    let missing = Mnist::read(&folder.0, dataset::TRAIN, &Device::cpu()).err().expect("missing");
    assert!(missing.to_string().contains("`--download` gets them"));
}

#[test]
fn a_download_is_checked_by_its_sum() {
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(download::check(b"", empty), Ok(()));
    assert!(download::check(b"x", empty).unwrap_err().contains("is not the file that is known"));
}
