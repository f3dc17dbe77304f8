//! The VAE example: its loss is PyTorch's, it learns, and its picture is a PNG file.
//! `examples/vae/pytorch.py` made the fixture.

#[allow(dead_code)]
#[path = "../examples/vae/dataset.rs"]
mod dataset;
#[allow(dead_code)]
#[path = "../examples/vae/gallery.rs"]
mod gallery;
#[allow(dead_code)]
#[path = "../examples/vae/model.rs"]
mod model;

use std::path::Path;

use dataset::Images;
use gallery::Gallery;
use kiln::data::{Batches, take};
use kiln::nn::StateDict;
use kiln::prelude::*;
use model::Vae;

const BATCH: usize = 16;

#[test]
fn loss_and_gradients_are_those_of_pytorch() {
    let device = Device::cpu();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/vae.safetensors");
    let fixture = StateDict::load(path).unwrap();
    let same = |name: &str, actual: TensorData| {
        let expected = fixture.get(name).unwrap();
        actual.assert_approx_eq::<f32>(expected, Tolerance::rel_abs(1e-5, 1e-5));
    };
    let mut model = Vae::new(64, 24, 5, &device);
    let mut state = StateDict::default();
    for (name, data) in fixture.iter() {
        if let Some(path) = name.strip_prefix("model.") {
            state.insert(path, data.clone());
        }
    }
    assert!(model.load_state_dict(&state).is_complete());
    let images = Images::digits(&device).unwrap().pixels.narrow(0, 0, BATCH);
    let noise = Tensor::from_data(fixture.get("noise").unwrap().clone(), &device);
    let (bce, kl) = model.losses(&images, &noise);
    same("bce", bce.to_data());
    same("kl", kl.to_data());
    let grads = ((bce + kl) / BATCH as f64).backward();
    for (path, param) in model.named_params() {
        same(&format!("grad.{path}"), grads.get(&param).unwrap().to_data().unwrap());
    }
}

#[test]
fn a_few_epochs_lower_the_loss() {
    let device = Device::cpu();
    device.seed(0);
    let images = Images::digits(&device).unwrap().pixels;
    let mut model = Vae::new(64, 64, 4, &device);
    let mut optim = AdamConfig::new(0.002).init();
    let loss = |model: &Vae, batch: &Tensor<2>| {
        let shape = [batch.dims()[0], 4];
        let noise = Tensor::random(shape, Distribution::Normal(0.0, 1.0), &device);
        let (bce, kl) = model.losses(batch, &noise);
        (bce + kl) / batch.dims()[0] as f64
    };
    let before: f64 = no_grad(|| loss(&model, &images)).item();
    for batch in Batches::new(images.dims()[0], 64).shuffled(0).epoch(0) {
        let grads = loss(&model, &take(&images, &batch)).backward();
        optim.step(&mut model, grads);
    }
    let after: f64 = no_grad(|| loss(&model, &images)).item();
    assert!(after < 0.75 * before, "{before} to {after}");
}

#[test]
fn the_picture_holds_the_images_with_ink_as_black() {
    let mut gallery = Gallery::new([2, 3], 2);
    gallery.add(&Tensor::from([[1.0, 0.0, 2.0, -1.0, 0.5, 0.0], [0.0; 6], [1.0; 6]]));
    let file = gallery.to_png().unwrap();
    let mut reader = png::Decoder::new(std::io::Cursor::new(file)).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut pixels).unwrap();
    // Pixels are 24 times as large, gaps are 4 and margins 14.
    assert_eq!((info.width, info.height), (2 * 72 + 4 + 2 * 14, 14 + 2 * (48 + 4)));
    let at = |x: usize, y: usize| pixels[(14 + y) * info.width as usize + 14 + x];
    let row = |y| [at(0, y), at(24, y), at(48, y), at(76, y)];
    assert_eq!(row(0), [0, 255, 0, 255]);
    assert_eq!(row(47), [255, 128, 255, 255]);
    assert_eq!(row(52), [0, 0, 0, 255]);
}

#[test]
fn files_of_images_are_read_and_damaged_ones_refused() {
    use std::io::Write;
    let mut file = vec![0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2];
    file.extend([0, 51, 255, 0]);
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(&file).unwrap();
    let gz = gz.finish().unwrap();
    let path = std::env::temp_dir().join(format!("kiln-vae-{}", std::process::id()));
    let read = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        Images::read(&path, &Device::cpu())
    };
    for whole in [&file, &gz] {
        let images = read(whole).unwrap();
        assert_eq!((images.len(), images.height, images.width), (2, 1, 2));
        assert_eq!(images.pixels.to_vec::<f32>(), [0.0, 0.2, 1.0, 0.0]);
        (0..whole.len()).for_each(|len| assert!(read(&whole[..len]).is_err(), "{len} bytes"));
    }
    let mut huge = file.clone();
    huge[4..16].fill(255);
    assert!(read(&huge).err().unwrap().to_string().contains("more elements than memory"));
    let labels = [0, 0, 8, 1, 0, 0, 0, 4, 1, 2, 3, 4];
    assert!(read(&labels).err().unwrap().to_string().contains("not bytes of images"));
    std::fs::remove_file(path).unwrap();
}
