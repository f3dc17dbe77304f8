//! Convolution and pooling of images, and their gradients, by their definitions.

use kiln_tensor::op::{
    AvgPool2d, AvgPool2dBackward, Conv2d, Conv2dInputGrad, Conv2dOptions, Conv2dWeightGrad,
    MaxPool2d, Pool2dOptions,
};
use kiln_tensor::{AnyTensor, DType, Result, Shape};

use super::elementwise::{FLOATS, c_type};
use super::index::code_of;
use super::reduce::wide_type;
use crate::backend::Kernels;
use crate::geometry::{blocks_for, threads_for};
use crate::params::{Operand, Params, address};
use crate::program::{CONV, MAX_POOL_BACK, POOL, Program};

fn pair(x: [usize; 2]) -> [i64; 2] {
    x.map(|x| x as i64)
}

fn four(shape: &Shape) -> [i64; 4] {
    shape.dims::<4>().map(|extent| extent as i64)
}

/// What a kernel of convolution computes, by its number in `conv.cu`.
#[derive(Clone, Copy)]
enum What {
    Result,
    ImageGradient,
    WeightGradient,
}

#[derive(Clone, Copy)]
#[repr(C)]
struct ConvParameters {
    count: i64,
    x_dims: [i64; 4],
    w_dims: [i64; 4],
    y_dims: [i64; 4],
    first: Operand,
    second: Operand,
    bias: u64,
    output: u64,
    bias_stride: i64,
    stride: [i64; 2],
    padding: [i64; 2],
    dilation: [i64; 2],
    groups: i64,
}

// SAFETY: the fields are integers of eight bytes.
unsafe impl Params for ConvParameters {}

/// Terms of a sum from which on a block does it rather than a warp.
const LONG: usize = 4096;

fn conv_program(dtype: DType, what: What, long: bool) -> Program {
    let (name, group) = match what {
        What::Result => ("forward", 1),
        What::ImageGradient => ("image", 1),
        What::WeightGradient if long => ("weight_long", 256),
        What::WeightGradient => ("weight", 32),
    };
    let definitions = [
        ("T", c_type(dtype).to_string()),
        ("WHAT", (what as u8).to_string()),
        ("GROUP", group.to_string()),
    ];
    Program::new(&CONV, format!("conv_{name}_{dtype}"), definitions)
}

fn conv(
    kernels: &Kernels,
    what: What,
    options: &Conv2dOptions,
    [x, w, y]: [&Shape; 3],
    inputs: &[&AnyTensor],
    output: &AnyTensor,
) -> Result<()> {
    let count = output.num_elements();
    if count == 0 {
        return Ok(());
    }
    let bias = inputs.get(2);
    let params = ConvParameters {
        count: count as i64,
        x_dims: four(x),
        w_dims: four(w),
        y_dims: four(y),
        first: Operand::of(inputs[0]),
        second: Operand::of(inputs[1]),
        bias: bias.map_or(0, |bias| address(bias)),
        output: address(output),
        bias_stride: bias.map_or(0, |bias| bias.layout().strides()[0] as i64),
        stride: pair(options.stride),
        padding: pair(options.padding),
        dilation: pair(options.dilation),
        groups: options.groups as i64,
    };
    let long = y[0] * y[2] * y[3] >= LONG;
    let launch = match what {
        What::WeightGradient if long => blocks_for(count),
        What::WeightGradient => blocks_for(count.div_ceil(8)),
        _ => threads_for(count),
    };
    // SAFETY: the parameters are those of the family, whose taps stay inside of all tensors.
    unsafe { kernels.launch(&conv_program(output.dtype(), what, long), launch, &params) }
}

pub(super) fn conv2d(
    kernels: &Kernels,
    op: &Conv2d,
    inputs: &[&AnyTensor],
    y: &AnyTensor,
) -> Result<()> {
    let shapes = [&inputs[0].shape(), &inputs[1].shape(), &y.shape()];
    conv(kernels, What::Result, &op.options, shapes, inputs, y)
}

pub(super) fn input_grad(
    kernels: &Kernels,
    op: &Conv2dInputGrad,
    inputs: &[&AnyTensor],
    dx: &AnyTensor,
) -> Result<()> {
    let shapes = [&dx.shape(), &inputs[1].shape(), &inputs[0].shape()];
    conv(kernels, What::ImageGradient, &op.options, shapes, inputs, dx)
}

pub(super) fn weight_grad(
    kernels: &Kernels,
    op: &Conv2dWeightGrad,
    inputs: &[&AnyTensor],
    dw: &AnyTensor,
) -> Result<()> {
    let shapes = [&inputs[0].shape(), &dw.shape(), &inputs[1].shape()];
    conv(kernels, What::WeightGradient, &op.options, shapes, inputs, dw)
}

/// What a kernel of pooling computes, by its number in `pool.cu`.
#[derive(Clone, Copy)]
enum Pooling {
    Max,
    Mean,
    MeanGradient,
}

#[derive(Clone, Copy)]
#[repr(C)]
struct PoolParameters {
    count: i64,
    size: [i64; 2],
    windows: [i64; 2],
    channels: i64,
    input: Operand,
    output: u64,
    places: u64,
    kernel: [i64; 2],
    stride: [i64; 2],
    padding: [i64; 2],
    dilation: [i64; 2],
    counts_padding: i64,
}

// SAFETY: the fields are integers of eight bytes.
unsafe impl Params for PoolParameters {}

fn pool_program(dtype: DType, what: Pooling) -> Program {
    let name = match what {
        Pooling::Max => "max",
        Pooling::Mean => "mean",
        Pooling::MeanGradient => "mean_back",
    };
    let definitions = [("T", c_type(dtype).to_string()), ("WHAT", (what as u8).to_string())];
    Program::new(&POOL, format!("pool_{name}_{dtype}"), definitions)
}

fn pool(
    kernels: &Kernels,
    (what, options, counts_padding): (Pooling, &Pool2dOptions, bool),
    [image, windows]: [&Shape; 2],
    input: &AnyTensor,
    [output, places]: [Option<&AnyTensor>; 2],
) -> Result<()> {
    let Some(output) = output.filter(|output| output.num_elements() > 0) else { return Ok(()) };
    let last = |shape: &Shape| [shape[2] as i64, shape[3] as i64];
    let params = PoolParameters {
        count: output.num_elements() as i64,
        size: last(image),
        windows: last(windows),
        channels: image[1] as i64,
        input: Operand::of(input),
        output: address(output),
        places: places.map_or(0, address),
        kernel: pair(options.kernel),
        stride: pair(options.stride),
        padding: pair(options.padding),
        dilation: pair(options.dilation),
        counts_padding: counts_padding as i64,
    };
    let launch = threads_for(output.num_elements());
    // SAFETY: the parameters are those of the family, whose taps stay inside of the image.
    unsafe { kernels.launch(&pool_program(output.dtype(), what), launch, &params) }
}

pub(super) fn max_pool2d(
    kernels: &Kernels,
    op: &MaxPool2d,
    x: &AnyTensor,
    outputs: &[AnyTensor],
) -> Result<()> {
    let shapes = [&x.shape(), &outputs[0].shape()];
    let results = [Some(&outputs[0]), Some(&outputs[1])];
    pool(kernels, (Pooling::Max, &op.options, false), shapes, x, results)
}

pub(super) fn avg_pool2d(
    kernels: &Kernels,
    op: &AvgPool2d,
    x: &AnyTensor,
    y: &AnyTensor,
) -> Result<()> {
    let what = (Pooling::Mean, &op.options, op.count_include_pad);
    pool(kernels, what, [&x.shape(), &y.shape()], x, [Some(y), None])
}

pub(super) fn avg_pool2d_backward(
    kernels: &Kernels,
    op: &AvgPool2dBackward,
    dy: &AnyTensor,
    dx: &AnyTensor,
) -> Result<()> {
    let what = (Pooling::MeanGradient, &op.pool.options, op.pool.count_include_pad);
    pool(kernels, what, [&dx.shape(), &dy.shape()], dy, [Some(dx), None])
}

#[derive(Clone, Copy)]
#[repr(C)]
struct MaxBackParameters {
    planes: i64,
    channels: i64,
    pixels: i64,
    windows: [i64; 2],
    gradient: Operand,
    places: Operand,
    sums: u64,
    output: u64,
    fault: u64,
    operation: u32,
    index_type: i32,
}

// SAFETY: the fields are integers of eight bytes and a last pair of four: there are no gaps.
unsafe impl Params for MaxBackParameters {}

fn max_back_program(dtype: DType) -> Program {
    let definitions = [("T", c_type(dtype).to_string())];
    Program::new(&MAX_POOL_BACK, format!("max_pool_back_{dtype}"), definitions)
}

pub(super) fn max_pool2d_backward(
    kernels: &Kernels,
    [dy, places]: [&AnyTensor; 2],
    dx: &AnyTensor,
) -> Result<()> {
    if dx.num_elements() == 0 {
        return Ok(());
    }
    let ([n, c, h, w], [_, _, oh, ow]) = (dx.shape().dims::<4>(), dy.shape().dims::<4>());
    // Halves are added up in f32.
    let half = c_type(dx.dtype()) != wide_type(dx.dtype());
    let sums = half.then(|| kernels.workspace(4 * dx.num_elements())).transpose()?;
    let (fault, operation) = kernels.fault();
    let params = MaxBackParameters {
        planes: (n * c) as i64,
        channels: c as i64,
        pixels: (h * w) as i64,
        windows: pair([oh, ow]),
        gradient: Operand::of(dy),
        places: Operand::of(places),
        sums: sums.as_ref().map_or(address(dx), |sums| sums.address()),
        output: address(dx),
        fault,
        operation,
        index_type: code_of(places.dtype()),
    };
    // SAFETY: the parameters are those of the family; the kernel checks each place.
    unsafe { kernels.launch(&max_back_program(dx.dtype()), threads_for(n * c), &params) }
}

pub(super) fn programs() -> Vec<Program> {
    let mut all = Vec::new();
    for dtype in FLOATS {
        let convs = [What::Result, What::ImageGradient, What::WeightGradient];
        all.extend(convs.map(|what| conv_program(dtype, what, false)));
        all.push(conv_program(dtype, What::WeightGradient, true));
        let pools = [Pooling::Max, Pooling::Mean, Pooling::MeanGradient];
        all.extend(pools.map(|what| pool_program(dtype, what)));
        all.push(max_back_program(dtype));
    }
    all
}
