//! Gradients against finite differences.

use kiln_tensor::num_complex::Complex;
use kiln_tensor::op::View;
use kiln_tensor::{AnyTensor, Outputs, TensorData, Tracked};

use crate::api::leaf;
use crate::mode::{Mode, no_grad, with_mode};
use crate::walk::Walk;

/// How far a gradient may be from the finite difference.
#[derive(Clone, Copy, Debug)]
pub struct Check {
    /// Step to both sides of each element.
    pub step: f64,
    /// Largest accepted absolute error.
    pub absolute: f64,
    /// Largest accepted error relative to the finite difference.
    pub relative: f64,
}

impl Default for Check {
    fn default() -> Self {
        // The central difference errs by about step^2 in its third derivative and by 1e-16 / step
        // from rounding: with f64 both are below 1e-9 here.
        Self { step: 1e-5, absolute: 1e-6, relative: 1e-5 }
    }
}

impl Check {
    /// Compares the gradients of `function` at `inputs` with central differences, for every float
    /// and complex input and output. The inputs should be f64 or complex128. The error says which element of which input
    /// differs, and by how much.
    ///
    /// ```
    /// use kiln_autograd::check::Check;
    /// use kiln_tensor::{AnyTensor, Device, TensorData};
    /// let x = AnyTensor::from_data(&TensorData::from([0.5f64, 2.0]), &Device::cpu())?;
    /// Check::default().first_order(&[x], |inputs| vec![inputs[0].exp()].into()).unwrap();
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    pub fn first_order(
        &self,
        inputs: &[AnyTensor],
        function: impl Fn(&[AnyTensor]) -> Outputs,
    ) -> Result<(), String> {
        let outputs = no_grad(|| function(inputs));
        let seeds: Vec<AnyTensor> =
            outputs.iter().enumerate().map(|(i, output)| weights(output, i)).collect();
        let analytic = gradients(inputs, &seeds, false, &function)?;
        let total = |inputs: &[AnyTensor]| -> f64 {
            let outputs = no_grad(|| function(inputs));
            outputs
                .iter()
                .zip(&seeds)
                .filter(|(output, _)| output.dtype().is_differentiable())
                .map(|(output, seed)| dot(output, seed))
                .sum()
        };
        for (which, gradient) in analytic.iter().enumerate() {
            if !inputs[which].dtype().is_differentiable() {
                continue;
            }
            let values = data(&inputs[which]);
            let gradient = match gradient {
                Some(gradient) => data(gradient),
                None => vec![0.0; values.len()],
            };
            for element in 0..values.len() {
                let moved = |by: f64| {
                    let mut values = values.clone();
                    values[element] += by;
                    let mut inputs = inputs.to_vec();
                    inputs[which] = rebuild(&inputs[which], values);
                    total(&inputs)
                };
                let numeric = (moved(self.step) - moved(-self.step)) / (2.0 * self.step);
                let error = (numeric - gradient[element]).abs();
                if error.is_nan() || error > self.absolute + self.relative * numeric.abs() {
                    return Err(format!(
                        "input {which}, element {element}: the gradient is {}, differences give {numeric}",
                        gradient[element]
                    ));
                }
            }
        }
        Ok(())
    }

    /// As [`Check::first_order`], of the gradients of `function` as functions of its inputs and of
    /// the gradient of its outputs.
    pub fn second_order(
        &self,
        inputs: &[AnyTensor],
        function: impl Fn(&[AnyTensor]) -> Outputs,
    ) -> Result<(), String> {
        let outputs = no_grad(|| function(inputs));
        let floats = outputs.iter().filter(|output| output.dtype().is_differentiable()).count();
        let seeds: Vec<AnyTensor> =
            outputs.iter().enumerate().map(|(i, output)| weights(output, i)).collect();
        let arguments: Vec<AnyTensor> =
            inputs.iter().chain(seeds.iter().take(floats)).cloned().collect();
        self.first_order(&arguments, |arguments| {
            let (inputs, given) = arguments.split_at(inputs.len());
            let mut all = seeds.clone();
            all[..given.len()].clone_from_slice(given);
            let found = gradients(inputs, &all, true, &function).expect("first order works");
            let zeros = |input: &AnyTensor| input.zeros_like();
            inputs
                .iter()
                .zip(found)
                .filter(|(input, _)| input.dtype().is_differentiable())
                .map(|(input, gradient)| gradient.unwrap_or_else(|| zeros(input)))
                .collect()
        })
    }
}

/// The gradients of `sum(output * seed)` by each input.
fn gradients(
    inputs: &[AnyTensor],
    seeds: &[AnyTensor],
    create_graph: bool,
    function: impl Fn(&[AnyTensor]) -> Outputs,
) -> Result<Vec<Option<AnyTensor>>, String> {
    let track = |input: &AnyTensor| match input.dtype().is_differentiable() {
        // In a recorded pass the inputs stay connected to what they came from.
        true if input.tracked().is_some() => {
            with_mode(Mode::Record, || input.apply(View::Reshape(input.shape()), &[]))
        }
        true => leaf(input),
        false => input.clone(),
    };
    let tracked: Vec<AnyTensor> = inputs.iter().map(track).collect();
    let outputs = with_mode(Mode::Record, || function(&tracked));
    let roots: Vec<_> = outputs
        .iter()
        .zip(seeds)
        .filter_map(|(output, seed)| Some((output.tracked()?.clone(), seed.clone())))
        .collect();
    let keys: Vec<Option<(u64, u32)>> =
        tracked.iter().map(|input| input.tracked().map(Tracked::key)).collect();
    let floor = keys.iter().flatten().map(|key| key.0).max().unwrap_or(0);
    let walk = Walk { retain: create_graph, create_graph, floor, targets: None };
    let mut found = walk.run(roots).map_err(|error| error.to_string())?;
    Ok(keys.into_iter().map(|key| Some(found.remove(&key?)?.1)).collect())
}

/// Reads a tensor as f64; complex numbers as their parts, one after the other.
fn data(x: &AnyTensor) -> Vec<f64> {
    if x.dtype().is_complex() {
        return data(&x.detach().apply(View::AsReal, &[]));
    }
    x.to_data().expect("host memory").iter().collect()
}

fn dot(a: &AnyTensor, b: &AnyTensor) -> f64 {
    data(a).iter().zip(data(b)).map(|(a, b)| a * b).sum()
}

/// A tensor like `x` with other values, as [`data`] gives them.
fn rebuild(x: &AnyTensor, values: Vec<f64>) -> AnyTensor {
    if x.dtype().is_complex() {
        let pairs = values.chunks_exact(2).map(|pair| Complex::new(pair[0], pair[1]));
        let data = TensorData::new(pairs.collect::<Vec<_>>(), x.shape()).convert_dtype(x.dtype());
        return AnyTensor::from_data(&data, &x.device()).expect("host memory");
    }
    let data = TensorData::new(values, x.shape()).convert_dtype(x.dtype());
    AnyTensor::from_data(&data, &x.device()).expect("host memory")
}

/// Fixed weights of an output's elements, all different, so that errors do not cancel.
fn weights(output: &AnyTensor, salt: usize) -> AnyTensor {
    let value = |i: usize| 0.3 + ((i * 7 + salt * 3) % 11) as f64 * 0.17;
    let parts = if output.dtype().is_complex() { 2 } else { 1 };
    rebuild(output, (0..parts * output.num_elements()).map(value).collect())
}
