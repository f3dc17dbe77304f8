//! A seed decides the first values of parameters. Alone in its file: the generator belongs to the
//! device, and tests of one file run side by side.

use kiln_nn::Initializer;
use kiln_tensor::Device;

#[test]
fn the_same_seed_gives_the_same_values() {
    let device = Device::cpu();
    let (min, max) = (-2.0, 2.0);
    for initializer in [
        Initializer::Uniform { min, max },
        Initializer::Normal { mean: 0.0, std: 1.0 },
        Initializer::TruncatedNormal { mean: 0.0, std: 1.0, min, max },
        Initializer::KaimingUniform { gain: 1.0, fan_out_only: false },
        Initializer::KaimingNormal { gain: 1.0, fan_out_only: true },
        Initializer::XavierUniform { gain: 1.0 },
        Initializer::XavierNormal { gain: 1.0 },
        #[cfg(feature = "linalg")]
        Initializer::Orthogonal { gain: 1.0 },
        Initializer::Sparse { sparsity: 0.5, std: 1.0 },
    ] {
        let values = |seed| {
            device.seed(seed);
            initializer.init::<2>([6, 5], &device).to_data()
        };
        assert_eq!(values(7), values(7), "{initializer:?}");
        assert_ne!(values(7), values(8), "{initializer:?}");
    }
}
