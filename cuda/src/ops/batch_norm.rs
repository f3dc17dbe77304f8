//! Batch normalisation with the statistics of the batch or with given ones, and its gradient.

use kiln_tensor::op::{BatchNorm, BatchNormEval};
use kiln_tensor::{AnyTensor, DType, Result};

use super::copy::dense;
use super::elementwise::{FLOATS, c_type};
use super::rows::vector;
use crate::backend::Kernels;
use crate::geometry::blocks_for;
use crate::params::{Params, address};
use crate::program::{BATCH_NORM, Program};

#[derive(Clone, Copy, Default)]
#[repr(C)]
struct Parameters {
    images: i64,
    channels: i64,
    plane: i64,
    parts: i64,
    x: u64,
    dy: u64,
    weight: u64,
    bias: u64,
    mean: u64,
    second: u64,
    weight_stride: i64,
    bias_stride: i64,
    mean_stride: i64,
    second_stride: i64,
    output: u64,
    first_out: u64,
    second_out: u64,
    sums: u64,
    epsilon: f64,
}

// SAFETY: the fields are numbers of eight bytes.
unsafe impl Params for Parameters {}

/// Which part of the work a kernel does, by the number that it has there.
#[derive(Clone, Copy)]
enum Stage {
    All,
    Sums,
    Rest,
    Given,
}

/// Into how many parts a channel of `count` numbers is cut: enough to have about a thousand in all,
/// and no more than have some thousands of numbers.
fn parts(channels: usize, count: usize) -> usize {
    (count / 4096).min(1024usize.div_ceil(channels.max(1))).max(1)
}

impl Parameters {
    /// The shape of `x`, and how it is cut.
    fn new(x: &AnyTensor) -> Self {
        let shape = x.shape();
        let (images, channels) = (shape[0], shape[1]);
        let plane: usize = shape[2..].iter().product();
        Self {
            images: images as i64,
            channels: channels as i64,
            plane: plane as i64,
            parts: parts(channels, images * plane) as i64,
            ..Self::default()
        }
    }

    /// Room for the sums of all parts.
    fn sums_bytes(&self) -> usize {
        3 * 8 * (self.channels * self.parts) as usize
    }
}

fn program(dtype: DType, backward: bool, stage: Stage) -> Program {
    let kind = if backward { "backward" } else { "forward" };
    let name = match stage {
        Stage::All => "all",
        Stage::Sums => "sums",
        Stage::Rest => "rest",
        Stage::Given => "given",
    };
    let definitions = [
        ("T", c_type(dtype).to_string()),
        ("BACKWARD", (backward as u8).to_string()),
        ("STAGE", (stage as u8).to_string()),
    ];
    Program::new(&BATCH_NORM, format!("batch_norm_{kind}_{name}_{dtype}"), definitions)
}

/// Starts one stage.
///
/// # Safety
/// The parameters point to tensors of this dtype and of the shapes that they say.
unsafe fn launch(
    kernels: &Kernels,
    (dtype, backward, stage): (DType, bool, Stage),
    params: &Parameters,
) -> Result<()> {
    let launch = blocks_for((params.channels * params.parts) as usize);
    // SAFETY: the parameters are those of the family, and the rest the caller promised.
    unsafe { kernels.launch(&program(dtype, backward, stage), launch, params) }
}

/// Sums the parts and does the rest, in one pass where a channel is one part.
///
/// # Safety
/// As of [`launch`].
unsafe fn run(
    kernels: &Kernels,
    (dtype, backward): (DType, bool),
    mut params: Parameters,
) -> Result<()> {
    if params.channels == 0 {
        return Ok(());
    }
    if params.parts == 1 {
        // SAFETY: the caller's promise.
        return unsafe { launch(kernels, (dtype, backward, Stage::All), &params) };
    }
    let sums = kernels.workspace(params.sums_bytes())?;
    params.sums = sums.address();
    // SAFETY: the caller's promise; the workspace has room for the sums of each part.
    unsafe {
        launch(kernels, (dtype, backward, Stage::Sums), &params)?;
        launch(kernels, (dtype, backward, Stage::Rest), &params)
    }
}

pub(super) fn batch_norm(
    kernels: &Kernels,
    op: &BatchNorm,
    inputs: &[&AnyTensor],
    outputs: &[AnyTensor],
) -> Result<()> {
    let x = dense(kernels, inputs[0])?;
    let (weight, weight_stride) = vector(Some(inputs[1]));
    let (bias, bias_stride) = vector(Some(inputs[2]));
    let params = Parameters {
        x: x.address,
        weight,
        bias,
        weight_stride,
        bias_stride,
        output: address(&outputs[0]),
        first_out: address(&outputs[1]),
        second_out: address(&outputs[2]),
        epsilon: op.epsilon,
        ..Parameters::new(inputs[0])
    };
    // SAFETY: the shape rule gives the vectors a number for each channel, and the outputs theirs.
    unsafe { run(kernels, (inputs[0].dtype(), false), params) }
}

pub(super) fn batch_norm_backward(
    kernels: &Kernels,
    inputs: &[&AnyTensor],
    outputs: &[AnyTensor],
) -> Result<()> {
    let dtype = inputs[0].dtype();
    let (x, dy) = (dense(kernels, inputs[0])?, dense(kernels, inputs[3])?);
    let (mean, mean_stride) = vector(Some(inputs[1]));
    let (second, second_stride) = vector(Some(inputs[2]));
    let (weight, weight_stride) = vector(Some(inputs[4]));
    let params = Parameters {
        x: x.address,
        dy: dy.address,
        weight,
        mean,
        second,
        weight_stride,
        mean_stride,
        second_stride,
        output: address(&outputs[0]),
        first_out: address(&outputs[1]),
        second_out: address(&outputs[2]),
        ..Parameters::new(inputs[0])
    };
    // SAFETY: as above; `dy` has the shape and dtype of `x`.
    unsafe { run(kernels, (dtype, true), params) }
}

pub(super) fn batch_norm_eval(
    kernels: &Kernels,
    op: &BatchNormEval,
    inputs: &[&AnyTensor],
    y: &AnyTensor,
) -> Result<()> {
    if y.num_elements() == 0 {
        return Ok(());
    }
    let x = dense(kernels, inputs[0])?;
    let [weight, bias, mean, var] = [1, 2, 3, 4].map(|i| vector(Some(inputs[i])));
    let params = Parameters {
        x: x.address,
        weight: weight.0,
        bias: bias.0,
        mean: mean.0,
        second: var.0,
        weight_stride: weight.1,
        bias_stride: bias.1,
        mean_stride: mean.1,
        second_stride: var.1,
        output: address(y),
        epsilon: op.epsilon,
        ..Parameters::new(inputs[0])
    };
    // SAFETY: the shape rule gives each vector the dtype of `x` and a number for each channel.
    unsafe { launch(kernels, (y.dtype(), false, Stage::Given), &params) }
}

pub(super) fn programs() -> Vec<Program> {
    let mut all = Vec::new();
    for dtype in FLOATS {
        for stage in [Stage::All, Stage::Sums, Stage::Rest] {
            all.extend([true, false].map(|backward| program(dtype, backward, stage)));
        }
        all.push(program(dtype, false, Stage::Given));
    }
    all
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn channels_are_cut_into_enough_parts_and_not_too_many(
            channels in 0usize..1 << 20, count in 0usize..1 << 40,
        ) {
            let parts = parts(channels, count);
            prop_assert!((1..=1024).contains(&parts));
            prop_assert!(parts == 1 || count / parts >= 4096);
            prop_assert!(parts == 1 || channels * parts < 2048);
            // Many numbers keep all multiprocessors busy.
            prop_assert!(count < 1 << 22 || channels == 0 || channels * parts >= 1024);
        }
    }
}
