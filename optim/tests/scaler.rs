//! The scale of losses is that of `torch.amp.GradScaler`. `fixtures/scaler.py` says how the numbers
//! were made.

use std::path::Path;

use kiln_autograd::Autograd;
use kiln_nn::StateDict;
use kiln_optim::GradScalerConfig;
use kiln_tensor::Tensor;

#[test]
fn the_scale_grows_and_falls_as_in_pytorch() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let fixture = StateDict::load(folder.join("scaler.safetensors")).unwrap();
    for case in ["usual", "other", "largest"] {
        let numbers = |name: &str| -> Vec<f64> {
            fixture.get(&format!("{case}.{name}")).unwrap().iter().collect()
        };
        let settings = numbers("settings");
        let mut scaler = GradScalerConfig::new()
            .with_scale(settings[0])
            .with_growth(settings[1])
            .with_backoff(settings[2])
            .with_interval(settings[3] as usize)
            .init();
        let weight = Tensor::<1>::from([1.0, 1.0]).require_grad();
        let mut scales = Vec::new();
        for finite in numbers("finite") {
            let factor = if finite == 1.0 { 1.0 } else { f32::INFINITY };
            let loss = (&weight * 1e-30 * Tensor::<1>::from([1.0, factor])).sum();
            let grads = scaler.unscale(scaler.scale(&loss).backward());
            assert_eq!(grads.is_some(), finite == 1.0, "{case}");
            scales.push(scaler.current());
        }
        assert_eq!(scales, numbers("scales"), "{case}");
    }
}
