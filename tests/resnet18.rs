//! The ResNet-18 example computes what PyTorch computes; `fixtures/resnet18.py` says what.

#[path = "../examples/resnet18/model.rs"]
mod model;
#[allow(dead_code)]
#[path = "../examples/resnet18/picture.rs"]
mod picture;

mod formula;

use std::path::Path;
use std::sync::LazyLock;

use kiln::prelude::*;
use model::ResNet18;

static FIXTURE: LazyLock<StateDict> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    StateDict::load(folder.join("resnet18.safetensors")).unwrap()
});

/// Within `tolerance` of the largest of PyTorch's numbers.
fn check(name: &str, actual: TensorData, tolerance: f64) {
    let expected = FIXTURE.get(name).unwrap();
    assert_eq!(actual.shape(), expected.shape(), "{name}");
    let largest = expected.iter::<f64>().fold(0.0, |a: f64, b| a.max(b.abs()));
    let pairs = actual.iter::<f64>().zip(expected.iter::<f64>());
    let error = pairs.fold(0.0, |a: f64, (x, y)| a.max((x - y).abs())) / largest;
    println!("{name}: {error:.1e}");
    assert!(error < tolerance, "{name} differs by {error:.1e} of its largest number");
}

fn network() -> (ResNet18, Tensor<4>) {
    let device = Device::cpu();
    let mut model = ResNet18::new(&device);
    formula::fill(&mut model);
    let images = formula::data("images", [2, 3, 64, 64], 0.0, 2.0);
    (model, Tensor::from_data(images, &device))
}

#[test]
fn logits_and_gradients_are_those_of_pytorch() {
    let (mut model, images) = network();
    model.eval();
    let images = images.require_grad();
    let logits = model.forward(&images);
    check("logits", logits.to_data(), 1e-4);
    let labels = Tensor::from([3i64, 141]);
    let grads = CrossEntropyLoss::new().forward(&logits, &labels).backward();
    let grad = images.grad(&grads).unwrap();
    check("grad.images", grad.slice(s![.., .., ..;4, ..;4]).into_data(), 1e-4);
    let params = model.named_params();
    for path in ["conv1.weight", "bn1.bias", "layer2.0.downsample.0.weight", "layer4.1.bn2.weight"]
    {
        let (_, param) = params.iter().find(|(name, _)| name == path).unwrap();
        let grad = grads.get(param).unwrap();
        check(&format!("grad.{path}"), grad.to_data().unwrap(), 1e-4);
    }
}

#[test]
fn logits_in_training_are_those_of_pytorch() {
    let (model, images) = network();
    check("logits.training", no_grad(|| model.forward(&images)).into_data(), 1e-4);
}

#[test]
fn parameters_have_the_names_of_torchvision() {
    let model = ResNet18::new(&Device::shape_only());
    assert_eq!(model.num_params(), 11_689_512);
    let state = model.named_params();
    let has = |path: &str| state.iter().any(|(name, _)| name == path);
    for path in ["conv1.weight", "bn1.weight", "layer1.0.conv2.weight", "layer4.1.bn2.bias"] {
        assert!(has(path), "{path}");
    }
    for path in ["layer2.0.downsample.0.weight", "layer3.0.downsample.1.bias", "fc.bias"] {
        assert!(has(path), "{path}");
    }
    assert!(!has("layer1.0.downsample.0.weight") && !has("conv1.bias"));
}

#[test]
fn a_picture_is_prepared_as_by_torchvision() {
    let pixels = formula::data("picture", [70, 50, 3], 0.0, 1.0);
    let mut file = b"P6\n# width and height\n50 70\n255\n".to_vec();
    file.extend(pixels.iter::<f32>().map(|x| (127.5 + 127.5 * x) as u8));
    let picture = picture::parse(&file, &Device::cpu()).unwrap();
    assert_eq!(picture.dims(), [3, 70, 50]);
    let prepared = picture::prepare(&picture).slice(s![.., ..;8, ..;8]);
    check("prepared", prepared.into_data(), 1e-5);
}

#[test]
fn a_damaged_picture_is_an_error() {
    let parse = |bytes: &[u8]| picture::parse(bytes, &Device::cpu()).unwrap_err();
    for form in ["", "P6", "P5 1 1 255\n.", "P6 1 1 65535\n......", "P6 -1 1 255\n...", "P6 # 1"] {
        assert!(parse(form.as_bytes()).contains("no binary PPM"), "{form}");
    }
    assert!(parse(b"P6 2 1 255\n...").contains("another number of pixels"));
    let huge = format!("P6 {} {} 255\n...", usize::MAX, usize::MAX);
    assert!(parse(huge.as_bytes()).contains("another number of pixels"));
    assert!(parse(b"P6 0 1 255\n").contains("without pixels"));
}
