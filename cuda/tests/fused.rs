//! Kernels that are generated for chains, run on the host: chains of all kinds give the bits of
//! their links one by one, and gradients those of the CPU. Needs g++.

#[path = "../../tensor/tests/common/mod.rs"]
mod common;
#[allow(dead_code)]
mod emulator;

use std::io::Write;
use std::sync::Arc;

use common::{Memory, Numbers, repeated, tensor, values};
use emulator::{Emulator, has_compiler};
use kiln_autograd::Autograd;
use kiln_cuda::CudaBackend;
use kiln_tensor::op::samples::{Input, Values};
use kiln_tensor::op::{
    Arg, Binary, BinaryKind, BinaryScalar, Cast, Chain, Fill, Fused, Link, Meta, Op, Operation,
    Unary, UnaryKind, Where,
};
use kiln_tensor::{
    AnyTensor, DType, Device, Scalar, Shape, Tensor, TensorData, Tolerance, activation, apply, fuse,
};

/// The emulated device, if kernels can be compiled.
fn device() -> Option<Device> {
    if !has_compiler() {
        let _ = writeln!(std::io::stderr(), "skipped: there is no g++");
        return None;
    }
    Some(Device::custom(CudaBackend::new(Emulator::new(&[], 64, (8, 0))).unwrap()))
}

/// What the links of a random chain may be.
struct Links<'a> {
    dtypes: &'a [DType],
    unary: &'a [UnaryKind],
    binary: &'a [BinaryKind],
}

fn pick<T: Copy>(from: &[T], numbers: &mut Numbers) -> T {
    from[numbers.next() as usize % from.len()]
}

/// A chain of up to 12 links, and the dtypes of its inputs.
fn random_chain(links: &Links<'_>, shape: Shape, numbers: &mut Numbers) -> (Chain, Vec<DType>) {
    let inputs: Vec<DType> =
        (0..1 + numbers.next() % 5).map(|_| pick(links.dtypes, numbers)).collect();
    let mut known: Vec<(Arg, Meta)> =
        (inputs.iter().enumerate()).map(|(i, &x)| (Arg::Input(i), Meta::new(shape, x))).collect();
    let mut chain = Chain { inputs: inputs.len(), ..Chain::default() };
    let length = 1 + numbers.next() as usize % 12;
    while chain.links.len() < length {
        let (first, meta) = pick(&known, numbers);
        let same: Vec<Arg> =
            known.iter().filter(|(_, y)| y.dtype == meta.dtype).map(|(arg, _)| *arg).collect();
        let masks = known.iter().filter(|(_, y)| y.dtype == DType::Bool).map(|(arg, _)| *arg);
        let masks: Vec<Arg> = masks.collect();
        let scalar = scalar(meta.dtype, numbers);
        let (op, args): (Op, Vec<Arg>) = match numbers.next() % 8 {
            0 => (Cast { dtype: pick(links.dtypes, numbers) }.into(), vec![first]),
            1 => {
                let meta = Meta::new(shape, pick(links.dtypes, numbers));
                (Fill { value: self::scalar(meta.dtype, numbers), meta }.into(), vec![])
            }
            2 if !masks.is_empty() => {
                let mask = pick(&masks, numbers);
                (Where.into(), vec![mask, first, pick(&same, numbers)])
            }
            3 => {
                let (kind, reversed) = (pick(links.binary, numbers), numbers.next() & 1 == 1);
                (BinaryScalar { kind, scalar, reversed }.into(), vec![first])
            }
            4 | 5 => {
                let kind = pick(links.binary, numbers);
                // Integers in the way of division by zero have a test of their own.
                let kind = if meta.dtype.is_float() { kind } else { whole(kind) };
                (Binary { kind }.into(), vec![first, pick(&same, numbers)])
            }
            _ => (Unary { kind: pick(links.unary, numbers) }.into(), vec![first]),
        };
        let metas: Vec<Meta> =
            args.iter().map(|arg| known.iter().find(|(y, _)| y == arg).unwrap().1).collect();
        // A number on the left may be divided by zeros.
        let divides =
            matches!(&op, Op::BinaryScalar(op) if op.reversed && whole(op.kind) != op.kind);
        let Ok(result) = op.spec().infer(&metas) else { continue };
        if divides && !meta.dtype.is_float() {
            continue;
        }
        known.push((Arg::Link(chain.links.len()), result[0]));
        chain.links.push(Link { op, args: args.into() });
    }
    // The last result, and up to three on the way.
    chain.outputs.push(length - 1);
    for _ in 0..numbers.next() % 4 {
        let other = numbers.next() as usize % length;
        if !chain.outputs.contains(&other) {
            chain.outputs.push(other);
        }
    }
    (chain, inputs)
}

/// A number above zero.
fn scalar(dtype: DType, numbers: &mut Numbers) -> Scalar {
    match dtype.is_float() {
        true => Scalar::Float(0.5 + numbers.unit()),
        false => Scalar::Int(1 + (numbers.next() % 5) as i64),
    }
}

/// Another function in place of those that divide.
fn whole(kind: BinaryKind) -> BinaryKind {
    use BinaryKind::*;
    if matches!(kind, Div | FloorDiv | Rem | Fmod) { Mul } else { kind }
}

/// How an input of random numbers lies, for every second chain not as the others.
fn memory(chain: u64, numbers: &mut Numbers) -> Memory {
    use Memory::*;
    let all = [Contiguous, Transposed, Sliced, Tangled, Broadcast(0), Broadcast(1), Reversed(0)];
    if chain.is_multiple_of(2) { Contiguous } else { pick(&all, numbers) }
}

/// Fails where two results differ in more than the bits of what is no number.
fn same(actual: &TensorData, expected: &TensorData, chain: &Chain) {
    assert_eq!(actual.dtype(), expected.dtype());
    if !actual.dtype().is_float() {
        return assert_eq!(actual.bytes(), expected.bytes(), "{chain:#?}");
    }
    for (i, (a, e)) in actual.iter::<f64>().zip(expected.iter::<f64>()).enumerate() {
        assert!(a == e || a.is_nan() && e.is_nan(), "{i}: {a} instead of {e} of {chain:#?}");
    }
}

/// Runs random chains on `device`, and their links one by one on `other`.
fn check(links: &Links<'_>, chains: std::ops::Range<u64>, device: Device, other: Device) {
    let shapes: [&[usize]; 6] = [&[1], &[7], &[3, 5], &[2, 3, 37], &[257], &[1031]];
    for number in chains {
        let numbers = &mut Numbers(number);
        let shape = Shape::new(pick(&shapes, numbers));
        let (chain, dtypes) = random_chain(links, shape, numbers);
        let (mut inputs, mut others) = (Vec::new(), Vec::new());
        for dtype in dtypes {
            let of = match dtype {
                DType::Bool => Values::Bool,
                dtype if dtype.is_float() => Values::Float(-3.0, 3.0),
                dtype if dtype.is_unsigned() => Values::Int(0, 9),
                _ => Values::Int(-9, 9),
            };
            let data = values(&Input { shape, values: of }, dtype, dtype, numbers);
            let memory = memory(number, numbers);
            inputs.push(tensor(&data, memory, device));
            others.push(AnyTensor::from_data(&repeated(&data, memory), &other).unwrap());
        }
        let op = Fused { chain: Arc::new(chain) };
        let expected = op.decompose(&others.iter().collect::<Vec<_>>()).unwrap();
        let fused = apply(&op.clone().into(), &inputs.iter().collect::<Vec<_>>()).unwrap();
        for (y, expected) in fused.iter().zip(&expected) {
            same(&y.to_data().unwrap(), &expected.to_data().unwrap(), &op.chain);
        }
    }
}

/// Functions that are exact, so that the CPU has their bits.
#[test]
fn chains_of_all_dtypes_have_the_bits_of_the_cpu() {
    use BinaryKind::*;
    use UnaryKind::{Abs, Ceil, Floor, Neg, Not, Recip, Relu, Sign, Sqrt, Square, Trunc};
    let Some(device) = device() else { return };
    let links = Links {
        dtypes: &DType::ALL[..13],
        unary: &[Neg, Abs, Sign, Square, Not, Recip, Sqrt, Floor, Ceil, Trunc, Relu],
        binary: &[Add, Sub, Mul, Div, Max, Min, Equal, Less, GreaterEqual, And, Or, Xor],
    };
    check(&links, 0..40, device, Device::cpu());
}

#[test]
fn chains_of_f32_have_the_bits_of_their_kernels_one_by_one() {
    let Some(device) = device() else { return };
    let real = |kind: &UnaryKind| !matches!(kind, UnaryKind::Conj | UnaryKind::Not);
    let unary: Vec<UnaryKind> = UnaryKind::ALL.into_iter().filter(real).collect();
    let binary: Vec<BinaryKind> = (BinaryKind::ALL.into_iter())
        .filter(|kind| !kind.is_comparison() && !kind.is_logical())
        .collect();
    let links = Links { dtypes: &[DType::F32], unary: &unary, binary: &binary };
    check(&links, 100..110, device, device);
}

#[test]
fn gradients_are_those_of_the_cpu() {
    let Some(device) = device() else { return };
    let gradients = |device: &Device, compute: fn(&[Tensor<2>; 3]) -> Tensor<2>| {
        let mut numbers = Numbers(3);
        let leaves = [[13, 21], [1, 21], [13, 1]].map(|shape| {
            let input = Input { shape: Shape::new(shape), values: Values::Float(0.2, 1.5) };
            let data = values(&input, DType::F32, DType::I64, &mut numbers);
            Tensor::<2>::from_data(data, device).require_grad()
        });
        let grads = fuse(|| compute(&leaves)).square().sum().backward();
        leaves.map(|leaf| leaf.grad(&grads).unwrap().into_data())
    };
    let chains: [fn(&[Tensor<2>; 3]) -> Tensor<2>; 4] = [
        |[a, b, c]| activation::gelu(a * b + c) * a,
        |[a, b, c]| activation::silu(a * b).mask_where(a.greater(b), c * c * a),
        |[a, b, c]| (a / c - b).exp().tanh() + (a * 3.0).log() * c,
        |[a, b, c]| (a * b).cast(DType::BF16).cast(DType::F32) + c.sqrt(),
    ];
    for compute in chains {
        let (actual, expected) = (gradients(&device, compute), gradients(&Device::cpu(), compute));
        for (actual, expected) in actual.iter().zip(&expected) {
            actual.assert_approx_eq(expected, Tolerance::<f32>::rel_abs(2e-5, 2e-5));
        }
    }
}

#[test]
fn a_division_by_zero_is_reported_for_its_link() {
    let Some(device) = device() else { return };
    let ints = |x: [i64; 3]| Tensor::<1, kiln_tensor::Int>::from_data(x, &device);
    let (a, b, zeros) = (ints([7, 8, 9]), ints([1, 2, 3]), ints([1, 0, 2]));
    assert_eq!(fuse(|| (&a + 1) / &b).into_data(), ints([8, 4, 3]).into_data());
    let quotient = fuse(|| (&a + 1) / &zeros);
    assert_eq!(device.sync().unwrap_err().to_string(), "div: division by zero");
    drop(quotient);
    assert!(device.sync().is_ok());
}

/// Past what one kernel takes.
#[test]
fn large_and_complex_chains_run_link_by_link() {
    let Some(device) = device() else { return };
    let sums = |device: &Device| {
        let all: Vec<_> =
            (0..10).map(|i| Tensor::<1>::from_data([i as f32, 1.0], device)).collect();
        fuse(|| all.iter().skip(1).fold(all[0].clone(), |sum, x| sum * 2.0 + x)).into_data()
    };
    assert_eq!(sums(&device), sums(&Device::cpu()));
    let z = kiln_tensor::num_complex::Complex::new(1f32, 2.0);
    let data = TensorData::new(vec![z, z + 1.0, z * z], [3]);
    let square =
        Link { op: Unary { kind: UnaryKind::Square }.into(), args: [Arg::Input(0)][..].into() };
    let add = Link {
        op: Binary { kind: BinaryKind::Add }.into(),
        args: [Arg::Link(0), Arg::Input(0)][..].into(),
    };
    let chain = Chain { inputs: 1, links: vec![square, add], outputs: [1][..].into() };
    let op = Op::from(Fused { chain: Arc::new(chain) });
    let run = |device: &Device| {
        let x = AnyTensor::from_data(&data, device).unwrap();
        apply(&op, &[&x]).unwrap()[0].to_data().unwrap()
    };
    assert_eq!(run(&device), run(&Device::cpu()));
}
