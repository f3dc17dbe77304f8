//! Inputs for the table-driven tests: numbers without a generator of the crate under test, and
//! tensors whose memory is laid out in every way that views can make.

#![allow(dead_code)]

use kiln_tensor::num_complex::Complex;
use kiln_tensor::op::samples::{Input, Values};
use kiln_tensor::op::{Op, View};
use kiln_tensor::{AnyTensor, AxisSlice, DType, Device, Shape, TensorData, apply};

/// SplitMix64 (Steele et al. 2014).
pub struct Numbers(pub u64);

impl Numbers {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Uniform on `[0, 1)`.
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// The values of one sample input, floats rounded to `float` and integers as `int`.
pub fn values(input: &Input, float: DType, int: DType, numbers: &mut Numbers) -> TensorData {
    let n = input.shape.num_elements();
    match input.values {
        Values::Float(low, high) => {
            let values: Vec<f64> = (0..n).map(|_| low + (high - low) * numbers.unit()).collect();
            TensorData::new(values, input.shape).convert_dtype(float)
        }
        Values::Int(low, high) => {
            let mut one = || low + (numbers.next() % (high - low) as u64) as i64;
            let values: Vec<i64> = (0..n).map(|_| one()).collect();
            TensorData::new(values, input.shape).convert_dtype(int)
        }
        Values::Complex(low, high) => {
            let mut part = || low + (high - low) * numbers.unit();
            let values: Vec<Complex<f64>> = (0..n).map(|_| Complex::new(part(), part())).collect();
            TensorData::new(values, input.shape).convert_dtype(float.complex())
        }
        Values::Bool => {
            let values: Vec<bool> = (0..n).map(|_| numbers.next() & 1 == 1).collect();
            TensorData::new(values, input.shape)
        }
    }
}

/// How the elements of an input lie in memory.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Memory {
    Contiguous,
    /// The axes in reverse order.
    Transposed,
    /// From the middle of a larger tensor.
    Sliced,
    /// One axis backwards: a negative stride.
    Reversed(usize),
    /// Every second element of each axis.
    Strided,
    /// Axes reversed, every axis backwards with gaps.
    Tangled,
    /// One axis of the sample repeats its first entry: stride zero.
    Broadcast(usize),
}

impl Memory {
    /// Every way for tensors of up to `rank` axes.
    pub fn all(rank: usize) -> Vec<Memory> {
        use Memory::*;
        let mut all = vec![Contiguous, Transposed, Sliced, Strided, Tangled];
        all.extend((0..rank).map(Reversed));
        all.extend((0..rank).map(Broadcast));
        all
    }
}

/// `data` with its first entry along `axis` repeated over the whole axis, as a broadcast axis has
/// it; unchanged for other layouts.
pub fn repeated(data: &TensorData, memory: Memory) -> TensorData {
    let shape = data.shape();
    match memory {
        Memory::Broadcast(axis) if shape.rank() > 0 => {
            let axis = axis % shape.rank();
            rearranged(data, &shape, |index| index[axis] = 0)
        }
        _ => data.clone(),
    }
}

/// Every index of `shape` in row-major order.
pub fn indices(shape: &[usize]) -> impl Iterator<Item = Vec<usize>> + use<'_> {
    (0..shape.iter().product()).map(move |mut linear: usize| {
        let mut index = vec![0; shape.len()];
        for axis in (0..shape.len()).rev() {
            index[axis] = linear % shape[axis];
            linear /= shape[axis];
        }
        index
    })
}

pub fn linear(shape: &[usize], index: &[usize]) -> usize {
    index.iter().zip(shape).fold(0, |linear, (i, n)| linear * n + i)
}

/// A tensor of `shape` whose element at `index` is that of `data` at `source(index)`.
fn rearranged(data: &TensorData, shape: &Shape, source: impl Fn(&mut Vec<usize>)) -> TensorData {
    let (size, from) = (data.dtype().size(), data.shape());
    let mut bytes = Vec::with_capacity(shape.num_elements() * size);
    for mut index in indices(shape) {
        source(&mut index);
        let at = linear(&from, &index) * size;
        bytes.extend_from_slice(&data.bytes()[at..at + size]);
    }
    TensorData::from_bytes(bytes, *shape, data.dtype()).unwrap()
}

/// `data` inside of a larger tensor: entry `i` of each axis at `start + i * step`, all other places
/// poisoned with NaN, -1 or true, so that a kernel which reads them is found out.
fn embedded(data: &TensorData, steps: &[isize], margin: usize, device: Device) -> AnyTensor {
    let shape = data.shape();
    let large: Vec<usize> =
        (0..shape.rank()).map(|a| 2 * margin + shape[a].max(1) * steps[a].unsigned_abs()).collect();
    let slices: Vec<AxisSlice> = (0..shape.rank())
        .map(|axis| {
            let (len, step) = (shape[axis], steps[axis]);
            let reach = len.saturating_sub(1) * step.unsigned_abs();
            let start = if step < 0 { margin + reach } else { margin };
            AxisSlice { axis, start, len, step }
        })
        .collect();
    let size = data.dtype().size();
    let poison = if data.dtype() == DType::Bool { 1 } else { 0xFF };
    let mut bytes = vec![poison; large.iter().product::<usize>() * size];
    for (i, index) in indices(&shape).enumerate() {
        let place = |(i, slice): (&usize, &AxisSlice)| {
            (slice.start as isize + *i as isize * slice.step) as usize
        };
        let place: Vec<usize> = index.iter().zip(&slices).map(place).collect();
        let to = linear(&large, &place) * size;
        bytes[to..to + size].copy_from_slice(&data.bytes()[i * size..(i + 1) * size]);
    }
    let large = TensorData::from_bytes(bytes, Shape::new(large), data.dtype()).unwrap();
    let large = AnyTensor::from_data(&large, &device).unwrap();
    view(&large, View::Slice(slices.into_iter().collect()))
}

pub fn view(x: &AnyTensor, view: View) -> AnyTensor {
    apply(&Op::View(view), &[x]).unwrap().swap_remove(0)
}

fn reversed_axes(rank: usize) -> View {
    View::Permute((0..rank as u8).rev().collect())
}

/// A tensor with the values of `data` (of [`repeated`] for a broadcast), laid out as `memory`.
pub fn tensor(data: &TensorData, memory: Memory, device: Device) -> AnyTensor {
    let shape = data.shape();
    let rank = shape.rank();
    if rank == 0 || memory == Memory::Contiguous {
        return AnyTensor::from_data(&repeated(data, memory), &device).unwrap();
    }
    let turned = || {
        let dims: Vec<usize> = shape.iter().rev().copied().collect();
        rearranged(data, &Shape::new(dims), |index| index.reverse())
    };
    match memory {
        Memory::Contiguous => unreachable!(),
        Memory::Transposed => {
            let turned = AnyTensor::from_data(&turned(), &device).unwrap();
            view(&turned, reversed_axes(rank))
        }
        Memory::Sliced => embedded(data, &vec![1; rank], 2, device),
        Memory::Reversed(axis) => {
            let mut steps = vec![1; rank];
            steps[axis % rank] = -1;
            embedded(data, &steps, 0, device)
        }
        Memory::Strided => embedded(data, &vec![2; rank], 1, device),
        Memory::Tangled => {
            view(&embedded(&turned(), &vec![-2; rank], 1, device), reversed_axes(rank))
        }
        Memory::Broadcast(axis) => {
            let axis = axis % rank;
            let one = rearranged(data, &shape.with(axis, shape[axis].min(1)), |_| {});
            let one = AnyTensor::from_data(&one, &device).unwrap();
            if shape[axis] == 0 { one } else { view(&one, View::Expand(shape)) }
        }
    }
}
