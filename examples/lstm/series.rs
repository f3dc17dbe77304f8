//! A chaotic series: Mackey & Glass, "Oscillation and chaos in physiological control systems" (1977).

use kiln::prelude::*;

/// Steps of the integration for one value of the series.
const FINE: usize = 10;
/// How far back the equation looks, in values.
const DELAY: usize = 17;

/// `len` values of `dx/dt = 0.2 x(t - 17) / (1 + x(t - 17)^10) - 0.1 x(t)`, one for each unit of
/// time, shifted and scaled to mean 0 and standard deviation 1.
pub fn mackey_glass(len: usize) -> Vec<f32> {
    const SETTLING: usize = 300; // values until the start is forgotten
    let mut x = vec![1.2f64; DELAY * FINE + 1];
    for _ in 0..(SETTLING + len) * FINE {
        let (now, before) = (x[x.len() - 1], x[x.len() - 1 - DELAY * FINE]);
        let change = 0.2 * before / (1.0 + before.powi(10)) - 0.1 * now;
        x.push(now + change / FINE as f64);
    }
    let values: Vec<f64> = x[x.len() - len * FINE..].iter().step_by(FINE).copied().collect();
    let mean = values.iter().sum::<f64>() / len as f64;
    let variance = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / len as f64;
    values.iter().map(|x| ((x - mean) / variance.sqrt()) as f32).collect()
}

/// The pieces of a series that start at these places, `[n, length, 1]`.
pub fn pieces(series: &[f32], starts: &[usize], length: usize, device: &Device) -> Tensor<3> {
    let values: Vec<f32> =
        starts.iter().flat_map(|&start| &series[start..start + length]).copied().collect();
    Tensor::from_data(TensorData::new(values, [starts.len(), length, 1]), device)
}
