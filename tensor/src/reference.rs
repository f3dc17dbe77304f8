//! The slow backend: every primitive in its most obvious form, in f64; everything else by its
//! decomposition. It is the oracle that the kernels of other backends are tested against, so it is
//! written to be read, and shares no code with them.

use half::{bf16, f16};

use crate::backend::Backend;
use crate::layout::Layout;
use crate::op::{
    AvgPool2d, BinaryKind, Conv2dOptions, Distribution, Op, Pool2dOptions, ReduceKind, UnaryKind,
};
use crate::random::{philox, uniform_f32, uniform_f64};
use crate::{AnyTensor, DType, Element, Error, Result, Scalar};

pub(crate) struct Reference;

/// Values in row-major order.
struct Array {
    shape: Vec<usize>,
    values: Vec<f64>,
}

impl Array {
    fn of(x: &AnyTensor) -> Self {
        let values = (0..x.num_elements()).map(|i| load(x, x.layout().position(i))).collect();
        Self { shape: x.shape().to_vec(), values }
    }

    fn zeros(shape: &[usize]) -> Self {
        Self { shape: shape.to_vec(), values: vec![0.0; shape.iter().product()] }
    }

    fn linear(&self, index: &[usize]) -> usize {
        index.iter().zip(&self.shape).fold(0, |linear, (i, n)| linear * n + i)
    }

    fn at(&self, index: &[usize]) -> f64 {
        self.values[self.linear(index)]
    }

    fn at_mut(&mut self, index: &[usize]) -> &mut f64 {
        let linear = self.linear(index);
        &mut self.values[linear]
    }

    /// The element that broadcasts to `index` of a larger shape.
    fn broadcast_at(&self, index: &[usize]) -> f64 {
        let own = &index[index.len() - self.shape.len()..];
        let own: Vec<_> = own.iter().zip(&self.shape).map(|(&i, &n)| i.min(n - 1)).collect();
        self.at(&own)
    }

    fn store(&self, y: &AnyTensor) {
        self.values.iter().enumerate().for_each(|(i, &x)| save(y, i, x));
    }
}

/// Every index of `shape`, in row-major order.
fn indices(shape: &[usize]) -> impl Iterator<Item = Vec<usize>> + use<'_> {
    (0..shape.iter().product()).map(move |mut linear: usize| {
        let mut index = vec![0; shape.len()];
        for axis in (0..shape.len()).rev() {
            index[axis] = linear % shape[axis];
            linear /= shape[axis];
        }
        index
    })
}

fn load(x: &AnyTensor, position: usize) -> f64 {
    fn read<E: Element>(x: &AnyTensor, position: usize) -> f64 {
        // SAFETY: the position is inside of the buffer, whose elements are of this type.
        unsafe { (x.buffer().address() as *const E).add(position).read() }.to_f64()
    }
    match x.dtype() {
        DType::F64 => read::<f64>(x, position),
        DType::F32 => read::<f32>(x, position),
        DType::F16 => read::<f16>(x, position),
        DType::BF16 => read::<bf16>(x, position),
        DType::I64 => read::<i64>(x, position),
        DType::I32 => read::<i32>(x, position),
        DType::U8 => read::<u8>(x, position),
        DType::Bool => read::<bool>(x, position),
    }
}

fn save(y: &AnyTensor, position: usize, value: f64) {
    fn write<E: Element>(y: &AnyTensor, position: usize, value: E) {
        // SAFETY: the position is inside of the output, whose elements are of this type.
        unsafe { (y.buffer().address() as *mut E).add(position).write(value) }
    }
    match y.dtype() {
        DType::F64 => write(y, position, value),
        DType::F32 => write(y, position, value as f32),
        DType::F16 => write::<f16>(y, position, Element::from_f64(value)),
        DType::BF16 => write::<bf16>(y, position, Element::from_f64(value)),
        // The arithmetic of narrow integers wraps.
        DType::I64 => write(y, position, value as i64),
        DType::I32 => write(y, position, value as i64 as i32),
        DType::U8 => write(y, position, value as i64 as u8),
        DType::Bool => write(y, position, value != 0.0),
    }
}

/// A float as an integer of the narrow types: cut toward zero, and at the ends of the range.
fn saturate(dtype: DType, x: f64) -> f64 {
    match dtype {
        DType::I32 => (x as i32).into(),
        DType::U8 => (x as u8).into(),
        _ => x,
    }
}

impl Backend for Reference {
    fn name(&self) -> &str {
        "reference"
    }

    fn alloc(&self, bytes: usize) -> Option<usize> {
        crate::cpu::Cpu.alloc(bytes)
    }

    unsafe fn free(&self, address: usize, bytes: usize) {
        // SAFETY: passed on to the caller.
        unsafe { crate::cpu::Cpu.free(address, bytes) }
    }

    unsafe fn upload(&self, source: &[u8], address: usize) -> Result<()> {
        // SAFETY: passed on to the caller.
        unsafe { crate::cpu::Cpu.upload(source, address) }
    }

    unsafe fn download(&self, address: usize, target: &mut [u8]) -> Result<()> {
        // SAFETY: passed on to the caller.
        unsafe { crate::cpu::Cpu.download(address, target) }
    }

    fn execute(&self, op: &Op, inputs: &[&AnyTensor], outputs: &[AnyTensor]) -> Result<()> {
        let arrays: Vec<Array> = inputs.iter().map(|x| Array::of(x)).collect();
        let shape = outputs[0].shape();
        let results = match op {
            Op::Fill(op) => vec![map(&shape, |_| op.value.to_f64())],
            Op::Arange(op) => {
                vec![map(&shape, |i| op.start.to_f64() + i[0] as f64 * op.step.to_f64())]
            }
            Op::Random(op) => vec![random(op, outputs[0].dtype(), &shape)],
            Op::Cast(op) if inputs[0].dtype().is_float() => {
                vec![map(&shape, |i| saturate(op.dtype, arrays[0].at(i)))]
            }
            Op::Cast(_) => vec![map(&shape, |i| arrays[0].at(i))],
            Op::Unary(op) => {
                let dtype = inputs[0].dtype();
                vec![map(&shape, |i| unary(op.kind, dtype, arrays[0].at(i)))]
            }
            Op::Binary(op) => {
                let dtype = inputs[0].dtype();
                check_divisor(op.kind, dtype, &arrays[1])?;
                let [a, b] = [&arrays[0], &arrays[1]];
                vec![map(&shape, |i| binary(op.kind, dtype, a.broadcast_at(i), b.broadcast_at(i)))]
            }
            Op::BinaryScalar(op) => {
                let dtype = inputs[0].dtype();
                let scalar = if dtype.is_float() {
                    op.scalar.to_f64()
                } else {
                    Scalar::Int(op.scalar.to_i64()).to_f64()
                };
                if op.reversed {
                    check_divisor(op.kind, dtype, &arrays[0])?;
                }
                vec![map(&shape, |i| {
                    let x = arrays[0].at(i);
                    let (a, b) = if op.reversed { (scalar, x) } else { (x, scalar) };
                    binary(op.kind, dtype, a, b)
                })]
            }
            Op::Where(_) => vec![map(&shape, |i| {
                let chosen = if arrays[0].broadcast_at(i) != 0.0 { 1 } else { 2 };
                arrays[chosen].broadcast_at(i)
            })],
            Op::Reduce(op) => vec![reduce(op.kind, &arrays[0], &shape)],
            Op::ArgReduce(op) => vec![arg_reduce(op.max, op.axis, &arrays[0], &shape)],
            Op::Cat(op) => {
                let mut y = Array::zeros(&shape);
                let mut start = 0;
                for x in &arrays {
                    for mut i in indices(&x.shape) {
                        let value = x.at(&i);
                        i[op.axis] += start;
                        *y.at_mut(&i) = value;
                    }
                    start += x.shape[op.axis];
                }
                vec![y]
            }
            Op::Select(op) => {
                let entry = entries("select", &arrays[1], arrays[0].shape[op.axis])?;
                vec![map(&shape, |i| {
                    let mut from = i.to_vec();
                    from[op.axis] = entry[i[op.axis]];
                    arrays[0].at(&from)
                })]
            }
            Op::SelectBackward(op) => {
                let entry = entries("select_backward", &arrays[1], op.extent)?;
                let mut y = Array::zeros(&shape);
                for i in indices(&arrays[0].shape) {
                    let mut to = i.clone();
                    to[op.axis] = entry[i[op.axis]];
                    *y.at_mut(&to) += arrays[0].at(&i);
                }
                vec![y]
            }
            Op::Gather(op) => {
                let entry = entries("gather", &arrays[1], arrays[0].shape[op.axis])?;
                vec![map(&shape, |i| {
                    let mut from = i.to_vec();
                    from[op.axis] = entry[arrays[1].linear(i)];
                    arrays[0].at(&from)
                })]
            }
            Op::GatherBackward(op) => {
                let entry = entries("gather_backward", &arrays[1], op.shape[op.axis])?;
                let mut y = Array::zeros(&shape);
                for (k, i) in indices(&arrays[0].shape).enumerate() {
                    let mut to = i.clone();
                    to[op.axis] = entry[k];
                    *y.at_mut(&to) += arrays[0].at(&i);
                }
                vec![y]
            }
            Op::Unview(op) => {
                let view = op.view.layout(&Layout::contiguous(op.shape))?;
                let mut y = Array::zeros(&shape);
                for (i, x) in arrays[0].values.iter().enumerate() {
                    y.values[view.position(i)] += x;
                }
                vec![y]
            }
            Op::MatMul(op) if !op.bias && op.activation.is_none() => {
                vec![matmul(&arrays[0], &arrays[1], &shape)]
            }
            Op::Conv2d(op) => {
                let mut y = Array::zeros(&shape);
                for (yi, xi, wi) in taps(&op.options, &arrays[0].shape, &arrays[1].shape, &shape) {
                    *y.at_mut(&yi) += arrays[0].at(&xi) * arrays[1].at(&wi);
                }
                if op.bias {
                    indices(&shape).for_each(|i| *y.at_mut(&i) += arrays[2].values[i[1]]);
                }
                vec![y]
            }
            Op::Conv2dInputGrad(op) => {
                let (dy, w, mut dx) = (&arrays[0], &arrays[1], Array::zeros(&shape));
                for (yi, xi, wi) in taps(&op.options, &shape, &w.shape, &dy.shape) {
                    *dx.at_mut(&xi) += dy.at(&yi) * w.at(&wi);
                }
                vec![dx]
            }
            Op::Conv2dWeightGrad(op) => {
                let (x, dy, mut dw) = (&arrays[0], &arrays[1], Array::zeros(&shape));
                for (yi, xi, wi) in taps(&op.options, &x.shape, &shape, &dy.shape) {
                    *dw.at_mut(&wi) += dy.at(&yi) * x.at(&xi);
                }
                vec![dw]
            }
            Op::MaxPool2d(op) => max_pool(&op.options, &arrays[0], &shape),
            Op::MaxPool2dBackward(_) => {
                let pixels = shape[2] * shape[3];
                let entry = entries("max_pool2d_backward", &arrays[1], pixels)?;
                let mut dx = Array::zeros(&shape);
                for (k, i) in indices(&arrays[0].shape).enumerate() {
                    let to = [i[0], i[1], entry[k] / shape[3], entry[k] % shape[3]];
                    *dx.at_mut(&to) += arrays[0].values[k];
                }
                vec![dx]
            }
            Op::AvgPool2d(op) => {
                let mut y = Array::zeros(&shape);
                for (yi, xi, share) in shares(op, &arrays[0].shape, &shape) {
                    *y.at_mut(&yi) += arrays[0].at(&xi) * share;
                }
                vec![y]
            }
            Op::AvgPool2dBackward(op) => {
                let mut dx = Array::zeros(&shape);
                for (yi, xi, share) in shares(&op.pool, &shape, &arrays[0].shape) {
                    *dx.at_mut(&xi) += arrays[0].at(&yi) * share;
                }
                vec![dx]
            }
            composite => return decompose(composite, inputs, outputs),
        };
        results.iter().zip(outputs).for_each(|(result, output)| result.store(output));
        Ok(())
    }
}

fn decompose(op: &Op, inputs: &[&AnyTensor], outputs: &[AnyTensor]) -> Result<()> {
    let inputs: Vec<_> = inputs.iter().map(|x| x.detach()).collect();
    let inputs: Vec<_> = inputs.iter().collect();
    let Some(results) = op.spec().decompose(&inputs) else {
        let what = "the reference has no such primitive".into();
        return Err(Error::Device { op: op.spec().name(), what });
    };
    let results: Vec<_> = results.iter().map(Array::of).collect();
    results.iter().zip(outputs).for_each(|(result, output)| result.store(output));
    Ok(())
}

fn check_divisor(kind: BinaryKind, dtype: DType, divisor: &Array) -> Result<()> {
    let op = match kind {
        BinaryKind::Div => "div",
        BinaryKind::Rem => "remainder",
        _ => return Ok(()),
    };
    if !dtype.is_float() && divisor.values.contains(&0.0) {
        return Err(Error::Argument { op, rule: "division by zero".into() });
    }
    Ok(())
}

fn map(shape: &[usize], f: impl Fn(&[usize]) -> f64) -> Array {
    Array { shape: shape.to_vec(), values: indices(shape).map(|i| f(&i)).collect() }
}

fn entries(op: &'static str, array: &Array, size: usize) -> Result<Vec<usize>> {
    let check = |&x: &f64| match x as i64 {
        index if (0..size as i64).contains(&index) => Ok(index as usize),
        index => Err(Error::Index { op, index, size }),
    };
    array.values.iter().map(check).collect()
}

/// The error function: its Taylor series near zero, the continued fraction of its complement
/// further out (Abramowitz & Stegun 7.1.5 and 7.1.14).
fn erf(x: f64) -> f64 {
    let a = x.abs();
    if x.is_nan() || a > 6.0 {
        return if x.is_nan() { x } else { x.signum() };
    }
    if a < 2.5 {
        let (mut term, mut sum) = (x, x);
        for n in 1..80 {
            term *= -x * x / n as f64;
            sum += term / (2 * n + 1) as f64;
        }
        return sum * std::f64::consts::FRAC_2_SQRT_PI;
    }
    let fraction = (1..120).rev().fold(a, |tail, k| a + (k as f64 / 2.0) / tail);
    let complement = (-a * a).exp() / (fraction * std::f64::consts::PI.sqrt());
    x.signum() * (1.0 - complement)
}

fn unary(kind: UnaryKind, dtype: DType, x: f64) -> f64 {
    use UnaryKind::*;
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    match kind {
        Neg => -x,
        Abs => x.abs(),
        Sign if x == 0.0 || x.is_nan() => x,
        Sign => x.signum(),
        Square => x * x,
        Not if dtype == DType::Bool => (x == 0.0) as u8 as f64,
        Not => !(x as i64) as f64,
        Recip => 1.0 / x,
        Sqrt => x.sqrt(),
        Rsqrt => 1.0 / x.sqrt(),
        Exp => x.exp(),
        ExpM1 => x.exp_m1(),
        Log => x.ln(),
        Log2 => x.log2(),
        Log10 => x.log10(),
        Log1p => x.ln_1p(),
        Sin => x.sin(),
        Cos => x.cos(),
        Tan => x.tan(),
        Erf => erf(x),
        Floor => x.floor(),
        Ceil => x.ceil(),
        Round => x.round_ties_even(),
        Trunc => x.trunc(),
        Relu => {
            if x < 0.0 {
                0.0
            } else {
                x
            }
        }
        Sigmoid => sigmoid(x),
        Tanh => x.tanh(),
        Gelu => 0.5 * x * (1.0 + erf(x / 2f64.sqrt())),
        GeluTanh => {
            let u = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
            0.5 * x * (1.0 + u.tanh())
        }
        Silu => x * sigmoid(x),
        Softplus => x.max(0.0) + (-x.abs()).exp().ln_1p(),
    }
}

fn binary(kind: BinaryKind, dtype: DType, a: f64, b: f64) -> f64 {
    use BinaryKind::*;
    let truth = |x: bool| x as u8 as f64;
    let (i, j) = (a as i64, b as i64);
    match kind {
        Add => a + b,
        Sub => a - b,
        Mul => a * b,
        Div if dtype.is_float() => a / b,
        Div => (a / b).trunc(),
        Rem => match a % b {
            r if r != 0.0 && (r < 0.0) != (b < 0.0) => r + b,
            r => r,
        },
        Pow => a.powf(b),
        Max if a.is_nan() || b.is_nan() => f64::NAN,
        Max => a.max(b),
        Min if a.is_nan() || b.is_nan() => f64::NAN,
        Min => a.min(b),
        Equal => truth(a == b),
        NotEqual => truth(a != b),
        Less => truth(a < b),
        LessEqual => truth(a <= b),
        Greater => truth(a > b),
        GreaterEqual => truth(a >= b),
        And => (i & j) as f64,
        Or => (i | j) as f64,
        Xor => (i ^ j) as f64,
    }
}

fn random(op: &crate::op::Random, dtype: DType, shape: &[usize]) -> Array {
    let double = dtype == DType::F64;
    let per_block = if double { 2 } else { 4 };
    let uniform = |i: usize| {
        let words = philox(op.seed, op.offset + (i / per_block) as u64);
        let k = i % per_block;
        if double {
            uniform_f64(words[2 * k], words[2 * k + 1])
        } else {
            uniform_f32(words[k]) as f64
        }
    };
    let value = |i: usize| match op.distribution {
        Distribution::Default => uniform(i),
        Distribution::Bernoulli(p) => (uniform(i) < p) as u8 as f64,
        Distribution::Uniform(low, high) => low + (high - low) * uniform(i),
        // Neighbours share a radius: one takes the cosine, the other the sine.
        Distribution::Normal(mean, std) => {
            let first = i - i % 2;
            let radius = (-2.0 * (1.0 - uniform(first)).ln()).sqrt();
            let angle = 2.0 * std::f64::consts::PI * uniform(first + 1);
            mean + std * radius * if i == first { angle.cos() } else { angle.sin() }
        }
    };
    let elements = shape.iter().product();
    Array { shape: shape.to_vec(), values: (0..elements).map(value).collect() }
}

fn reduce(kind: ReduceKind, x: &Array, shape: &[usize]) -> Array {
    let start = match kind {
        ReduceKind::Sum | ReduceKind::Mean | ReduceKind::Any => 0.0,
        ReduceKind::Prod | ReduceKind::All => 1.0,
        ReduceKind::Max => f64::NEG_INFINITY,
        ReduceKind::Min => f64::INFINITY,
    };
    let mut y = map(shape, |_| start);
    for i in indices(&x.shape) {
        let value = x.at(&i);
        let to: Vec<_> = i.iter().zip(shape).map(|(&i, &n)| i.min(n - 1)).collect();
        let total = y.at_mut(&to);
        *total = match kind {
            ReduceKind::Sum | ReduceKind::Mean => *total + value,
            ReduceKind::Prod => *total * value,
            ReduceKind::Max | ReduceKind::Any => binary(BinaryKind::Max, DType::F64, *total, value),
            ReduceKind::Min | ReduceKind::All => binary(BinaryKind::Min, DType::F64, *total, value),
        };
    }
    if kind == ReduceKind::Mean {
        let n = x.values.len() as f64 / y.values.len().max(1) as f64;
        y.values.iter_mut().for_each(|value| *value /= n);
    }
    y
}

fn arg_reduce(max: bool, axis: usize, x: &Array, shape: &[usize]) -> Array {
    map(shape, |i| {
        let mut i = i.to_vec();
        let mut best = 0;
        for k in 1..x.shape[axis] {
            i[axis] = best;
            let old = x.at(&i);
            i[axis] = k;
            let new = x.at(&i);
            let wins = new.is_nan() || if max { new > old } else { new < old };
            if !old.is_nan() && wins {
                best = k;
            }
        }
        best as f64
    })
}

fn matmul(a: &Array, b: &Array, shape: &[usize]) -> Array {
    let depth = a.shape[a.shape.len() - 1];
    let last = shape.len() - 1;
    map(shape, |i| {
        (0..depth)
            .map(|k| {
                let (mut left, mut right) = (i.to_vec(), i.to_vec());
                left[last] = k;
                right[last - 1] = k;
                a.broadcast_at(&left) * b.broadcast_at(&right)
            })
            .sum()
    })
}

/// Every multiplication of a convolution: the indices into output, input and weight.
fn taps<'a>(
    options: &'a Conv2dOptions,
    x: &'a [usize],
    w: &'a [usize],
    y: &'a [usize],
) -> impl Iterator<Item = (Vec<usize>, Vec<usize>, Vec<usize>)> + 'a {
    let per_group = y[1] / options.groups;
    indices(y).flat_map(move |i| {
        let group = i[1] / per_group.max(1);
        indices(&w[1..]).filter_map(move |k| {
            let axis = |a: usize| {
                let at = i[2 + a] * options.stride[a] + k[1 + a] * options.dilation[a];
                at.checked_sub(options.padding[a]).filter(|&at| at < x[2 + a])
            };
            let input = vec![i[0], group * w[1] + k[0], axis(0)?, axis(1)?];
            Some((i.clone(), input, vec![i[1], k[0], k[1], k[2]]))
        })
    })
}

/// The pixels of the window of `i`.
fn window(options: &Pool2dOptions, size: &[usize], i: &[usize]) -> Vec<[usize; 2]> {
    let inside = |axis: usize, tap: usize| {
        let at = i[2 + axis] * options.stride[axis] + tap;
        at.checked_sub(options.padding[axis]).filter(|&at| at < size[2 + axis])
    };
    indices(&options.kernel)
        .filter_map(|tap| Some([inside(0, tap[0])?, inside(1, tap[1])?]))
        .collect()
}

fn max_pool(options: &Pool2dOptions, x: &Array, shape: &[usize]) -> Vec<Array> {
    let (mut y, mut index) = (Array::zeros(shape), Array::zeros(shape));
    for i in indices(shape) {
        let mut best: Option<(f64, usize)> = None;
        for [row, column] in window(options, &x.shape, &i) {
            let value = x.at(&[i[0], i[1], row, column]);
            if best.is_none_or(|(best, _)| !best.is_nan() && (value > best || value.is_nan())) {
                best = Some((value, row * x.shape[3] + column));
            }
        }
        let (value, at) = best.expect("padding is at most half the window");
        *y.at_mut(&i) = value;
        *index.at_mut(&i) = at as f64;
    }
    vec![y, index]
}

/// Every addition of average pooling: the indices into output and input, and the share.
fn shares<'a>(
    pool: &'a AvgPool2d,
    x: &'a [usize],
    y: &'a [usize],
) -> impl Iterator<Item = (Vec<usize>, Vec<usize>, f64)> + 'a {
    let options = &pool.options;
    indices(y).flat_map(move |i| {
        let pixels = window(options, x, &i);
        let count = if pool.count_include_pad {
            let extent = |a: usize| {
                let room = x[2 + a] + 2 * options.padding[a] - i[2 + a] * options.stride[a];
                options.kernel[a].min(room)
            };
            extent(0) * extent(1)
        } else {
            pixels.len()
        };
        pixels.into_iter().map(move |[row, column]| {
            (i.clone(), vec![i[0], i[1], row, column], 1.0 / count as f64)
        })
    })
}
