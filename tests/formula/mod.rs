//! Parameters that both frameworks compute, so that no file has to hold them:
//! `tests/fixtures/formula.py` has the same and says how.

use kiln::prelude::*;

/// Numbers in `-1..1`.
pub fn uniform(path: &str) -> impl Iterator<Item = f64> {
    let seed = path.bytes().fold(0xCBF2_9CE4_8422_2325u64, |hash, byte| {
        (hash ^ byte as u64).wrapping_mul(0x100_0000_01B3)
    });
    (1u64..).map(move |i| {
        let mut x = seed.wrapping_add(i.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^= x >> 31;
        (x >> 40) as f64 / (1 << 23) as f64 - 1.0
    })
}

/// f32 numbers within `scale` of `center`.
pub fn data(path: &str, shape: impl Into<Shape>, center: f64, scale: f64) -> TensorData {
    let shape = shape.into();
    let values = uniform(path).map(|x| (center + scale * x) as f32);
    TensorData::new(values.take(shape.num_elements()).collect::<Vec<_>>(), shape)
}

/// Sets every parameter and running statistic of floats of a module.
pub fn fill(model: &mut impl Module) {
    let mut made = StateDict::default();
    for (path, old) in model.named_params().into_iter().chain(model.named_buffers()) {
        let (shape, last) = (old.shape(), path.rsplit('.').next());
        let new = if !old.dtype().is_float() {
            old.to_data().unwrap()
        } else if shape.len() > 1 {
            let inputs: usize = shape[1..].iter().product();
            data(&path, shape, 0.0, (6.0 / inputs as f64).sqrt())
        } else if matches!(last, Some("weight" | "running_var")) {
            data(&path, shape, 1.0, 0.25)
        } else {
            data(&path, shape, 0.0, 0.1)
        };
        made.insert(path, new);
    }
    assert!(model.load_state_dict(&made).is_complete());
}
