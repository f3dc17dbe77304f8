//! The slow backend: every primitive in its most obvious form, in f64; everything else by its
//! decomposition. It is the oracle that the kernels of other backends are tested against, so it is
//! written to be read, and shares no code with them.

mod assign;
mod complex;
mod image;
mod order;
mod random;
mod reduce;
mod scalar;
mod special;

use half::{bf16, f16};
use num_complex::Complex;

use self::image::{max_pool, shares, taps};
use self::reduce::{arg_reduce, reduce};
use self::scalar::{binary, unary};
use crate::backend::Backend;
use crate::layout::Layout;
use crate::op::{BinaryKind, Op};
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
        DType::I16 => read::<i16>(x, position),
        DType::I8 => read::<i8>(x, position),
        DType::U64 => read::<u64>(x, position),
        DType::U32 => read::<u32>(x, position),
        DType::U16 => read::<u16>(x, position),
        DType::U8 => read::<u8>(x, position),
        DType::Bool => read::<bool>(x, position),
        dtype => unreachable!("{dtype} has an oracle of its own"),
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
        DType::I16 => write(y, position, value as i64 as i16),
        DType::I8 => write(y, position, value as i64 as i8),
        DType::U64 => write(y, position, value as i128 as u64),
        DType::U32 => write(y, position, value as i64 as u32),
        DType::U16 => write(y, position, value as i64 as u16),
        DType::U8 => write(y, position, value as i64 as u8),
        DType::Bool => write(y, position, value != 0.0),
        DType::Complex64 => write::<Complex<f32>>(y, position, Element::from_f64(value)),
        DType::Complex128 => write::<Complex<f64>>(y, position, Element::from_f64(value)),
    }
}

/// A float as an integer of the narrow types: cut toward zero, and at the ends of the range.
fn saturate(dtype: DType, x: f64) -> f64 {
    match dtype {
        DType::I32 => x as i32 as f64,
        DType::I16 => x as i16 as f64,
        DType::I8 => x as i8 as f64,
        DType::U64 => x as u64 as f64,
        DType::U32 => x as u32 as f64,
        DType::U16 => x as u16 as f64,
        DType::U8 => x as u8 as f64,
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

    fn in_host_memory(&self) -> bool {
        true
    }

    fn execute(&self, op: &Op, inputs: &[&AnyTensor], outputs: &[AnyTensor]) -> Result<()> {
        if complex::concerns(inputs, outputs) {
            return complex::execute(op, inputs, outputs);
        }
        let arrays: Vec<Array> = inputs.iter().map(|x| Array::of(x)).collect();
        let shape = outputs[0].shape();
        let results = match op {
            Op::Fill(op) => vec![map(&shape, |_| op.value.to_f64())],
            Op::Arange(op) => {
                vec![map(&shape, |i| op.start.to_f64() + i[0] as f64 * op.step.to_f64())]
            }
            Op::Random(op) => vec![random::random(op, &shape)],
            Op::Sample(op) => {
                let draw = |(i, &x): (usize, &f64)| {
                    crate::random::sample(op.kind, op.seed, op.offset + i as u64, x)
                };
                let values = arrays[0].values.iter().enumerate().map(draw).collect();
                vec![Array { shape: shape.to_vec(), values }]
            }
            Op::Multinomial(op) => vec![random::multinomial(op, &arrays[0], &shape)?],
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
                let scalar = if dtype.is_float() || op.kind.is_comparison() {
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
            Op::Assign(op) => assign::assign(op, &arrays[0], &arrays[1])?,
            Op::Scatter(op) => assign::scatter(op, &arrays, outputs[0].dtype())?,
            Op::RavelIndex(op) => assign::ravel_index(op, &arrays[0], &shape)?,
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
            // The oracle of these is a property, not another implementation: see the tests of linalg.
            Op::Factor(op) if !crate::cpu::linalg::is_composed(op) => {
                return crate::cpu::linalg::factor(op, inputs[0], outputs);
            }
            Op::Solve(op) => {
                return crate::cpu::linalg::solve(op, [inputs[0], inputs[1]], &outputs[0]);
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
            Op::Sort(op) => order::sort(op, &arrays[0], &shape),
            Op::Scan(op) => order::scan(op, &arrays[0]),
            Op::LinearRecurrence(op) => vec![order::recurrence(op, &arrays[0], &arrays[1])],
            Op::Nonzero(op) => vec![order::nonzero(op, &arrays[0])?],
            Op::SearchSorted(op) => vec![order::search_sorted(op, &arrays[0], &arrays[1])],
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
    if kind.divides() && !dtype.is_float() && divisor.values.contains(&0.0) {
        return Err(Error::Argument { op: kind.name(), rule: "division by zero".into() });
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
