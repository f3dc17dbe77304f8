//! Every sample of every operation, in every float dtype and memory layout, against the reference
//! backend; on one, two and three threads; in place; and against its own decomposition.

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::LazyLock;

use common::{Memory, Numbers, repeated, tensor, values};
use kiln_tensor::num_complex::Complex;
use kiln_tensor::op::samples::{Case, Input, Samples, Values, bool, float, float_in, int};
use kiln_tensor::op::{
    ArgReduce, Assign, Axes, Binary, BinaryKind, BinaryScalar, Cast, Cat, Gather, IndexingUpdateOp,
    LayerNorm, MatMul, Meta, Op, Reduce, ReduceKind, Scatter, Select, Softmax, Unary, UnaryKind,
    View, Where, all_samples,
};
use kiln_tensor::{
    AnyTensor, AxisSlice, DType, Device, Outputs, Result, Scalar, TensorData, apply, apply_owned,
    create,
};
use rayon::{ThreadPool, ThreadPoolBuilder};

static POOLS: LazyLock<[ThreadPool; 3]> =
    LazyLock::new(|| [1, 2, 3].map(|n| ThreadPoolBuilder::new().num_threads(n).build().unwrap()));

fn run(op: &Op, inputs: &[&AnyTensor], device: Device) -> Result<Outputs> {
    match inputs {
        [] => create(op, device).map(|output| Outputs::from_buf([output])),
        inputs => apply(op, inputs),
    }
}

/// How exactly a kernel computes its outputs.
#[derive(Clone, Copy, PartialEq)]
enum Exactness {
    /// Moves numbers or compares them: no rounding at all.
    Exact,
    /// One function of each element.
    Elementwise,
    /// Adds many terms, or rounds between several functions.
    Sums,
    /// Decomposes matrices, whose condition magnifies every rounding.
    Conditioned,
    /// Rounds to its dtype several times, of which later steps make at most this often as much.
    Rounds(f64),
}

fn exactness(op: &Op) -> Exactness {
    use Exactness::*;
    match op {
        Op::View(_) | Op::Where(_) | Op::Cat(_) | Op::Select(_) | Op::Gather(_) => Exact,
        Op::Assign(_) => Exact,
        Op::Scatter(op) => match op.update {
            IndexingUpdateOp::Add | IndexingUpdateOp::Mul => Sums,
            _ => Exact,
        },
        Op::ArgReduce(_) | Op::MaxPool2d(_) | Op::Cast(_) | Op::Fill(_) => Exact,
        Op::Sort(_) | Op::Nonzero(_) | Op::SearchSorted(_) => Exact,
        Op::Scan(op) if op.kind.has_indices() => Exact,
        Op::Reduce(op) if matches!(op.kind, ReduceKind::Max | ReduceKind::Min) => Exact,
        // The logarithm of a large number less as large a sum.
        Op::Unary(op) if op.kind == UnaryKind::Digamma => Sums,
        Op::Polar(_) | Op::Unary(_) | Op::Binary(_) | Op::BinaryScalar(_) | Op::Arange(_) => {
            Elementwise
        }
        Op::Factor(_) | Op::Solve(_) => Conditioned,
        Op::Fused(_) => Rounds(16.0),
        _ => Sums,
    }
}

/// How far a value of `dtype` may lie from the exact `expected`, where the largest value of all
/// outputs is `largest`.
fn bound(exactness: Exactness, dtype: DType, expected: f64, largest: f64) -> f64 {
    let size = expected.abs();
    // What a kernel computes before it rounds: halves are computed in f32.
    let compute = if dtype.real() == DType::F64 { f64::EPSILON } else { f32::EPSILON as f64 };
    let computed = match exactness {
        Exactness::Exact => 0.0,
        // Math functions are within 2 units of the last place (their own tests show it); a scalar
        // like 0.1 is rounded to the dtype first, which moves a product by another unit. Sums of
        // opposite signs cancel, so the unit is that of numbers of about 1/4 at least. Some
        // functions multiply a few of these.
        Exactness::Elementwise => 8.0 * compute * size.max(0.25),
        // Each sum is rounded in the unit of its largest partial result. Where one sum happens to
        // cancel to almost nothing, its neighbours show how large these were; and where a slice has
        // no variance, the normalisations have `1 / sqrt(epsilon)`, which multiplies the error of
        // the mean, among their outputs.
        Exactness::Sums => 16.0 * compute * largest.max(1.0),
        Exactness::Conditioned => 1e4 * compute * largest.max(1.0),
        Exactness::Rounds(often) => often * dtype.real().epsilon() * largest.max(1.0),
    };
    // The final rounding of halves: half a unit, below the normal numbers half the least step.
    let rounding = match dtype {
        DType::F16 => size * dtype.epsilon() / 2.0 + 2f64.powi(-25),
        DType::BF16 => size * dtype.epsilon() / 2.0,
        _ => 0.0,
    };
    computed + rounding
}

fn check(
    what: &dyn Fn() -> String,
    exactness: Exactness,
    actual: &AnyTensor,
    wide: &TensorData,
    largest: f64,
) {
    assert_eq!(actual.shape(), wide.shape(), "shape of {}", what());
    let dtype = actual.dtype();
    let narrow = actual.to_data().unwrap();
    if dtype.is_complex() {
        // An error of one part is measured by the size of the number.
        let pairs = narrow.iter::<Complex<f64>>().zip(wide.iter::<Complex<f64>>());
        for (i, (a, e)) in pairs.enumerate() {
            let bound = bound(exactness, dtype, e.norm(), largest);
            let near =
                |a: f64, e: f64| a == e || (a - e).abs() <= bound || a.is_nan() && e.is_nan();
            assert!(near(a.re, e.re) && near(a.im, e.im), "{}: [{i}] {a} not {e}", what());
        }
        return;
    }
    if !dtype.is_float() {
        let expected = wide.convert_dtype(dtype);
        assert_eq!(narrow.bytes(), expected.bytes(), "{}\n{narrow}\n{expected}", what());
        return;
    }
    for (i, (a, e)) in narrow.iter::<f64>().zip(wide.iter::<f64>()).enumerate() {
        let close = (a - e).abs() <= bound(exactness, dtype, e, largest);
        assert!(a == e || close || a.is_nan() && e.is_nan(), "{}: [{i}] {a} not {e}", what());
    }
}

fn largest(outputs: &[TensorData]) -> f64 {
    let finite = |x: &f64| x.is_finite();
    outputs
        .iter()
        .flat_map(|y| y.iter::<Complex<f64>>())
        .map(|z| z.norm())
        .filter(finite)
        .fold(0.0, f64::max)
}

/// The dtype of an input: statistics of half types are kept in f32.
fn input_dtype(op: &Op, i: usize, float: DType) -> DType {
    let statistics = match op {
        Op::LayerNormBackward(_) | Op::BatchNormBackward(_) => i == 1 || i == 2,
        Op::AttentionBackward(_) => i == 3 || i == 5,
        Op::CrossEntropyBackward(_) => i == 2 || i == 3,
        _ => false,
    };
    if statistics && float != DType::F64 { DType::F32 } else { float }
}

/// The values for the oracle: floats as f64, but where the operation itself is about dtypes.
fn widened(op: &Op, data: &TensorData) -> TensorData {
    match op {
        Op::Cast(_) => data.clone(),
        _ if data.dtype().is_float() => data.convert_dtype(DType::F64),
        _ if data.dtype().is_complex() => data.convert_dtype(DType::Complex128),
        _ => data.clone(),
    }
}

fn oracle(op: &Op, inputs: &[TensorData]) -> Vec<TensorData> {
    let device = Device::reference();
    let inputs: Vec<_> =
        inputs.iter().map(|x| AnyTensor::from_data(&widened(op, x), &device).unwrap()).collect();
    let outputs = run(op, &inputs.iter().collect::<Vec<_>>(), device).unwrap();
    outputs.iter().map(|y| y.to_data().unwrap()).collect()
}

fn same_bits(what: &dyn Fn() -> String, a: &[AnyTensor], b: &[AnyTensor]) {
    assert_eq!(a.len(), b.len());
    for (a, b) in a.iter().zip(b) {
        let (a, b) = (a.to_data().unwrap(), b.to_data().unwrap());
        assert_eq!(a.dtype(), b.dtype(), "{}", what());
        assert!(a.bytes() == b.bytes(), "{}\n{a}\n{b}", what());
    }
}

/// Runs one case in one dtype, and returns how many layouts of it were compared.
fn check_case(case: &Case, float: DType, int: DType, seed: u64) -> usize {
    let op = &case.op;
    let mut numbers = Numbers(seed);
    // Bytes hold no index of a long axis, and unsigned types no negative numbers.
    let holds = |x: &Input| match x.values {
        Values::Int(low, high) => {
            (low >= 0 || !int.is_unsigned()) && (high < 128 || int.size() > 1)
        }
        _ => true,
    };
    let int = if case.inputs.iter().all(holds) { int } else { DType::I32 };
    let data: Vec<TensorData> = (case.inputs.iter().enumerate())
        .map(|(i, input)| values(input, input_dtype(op, i, float), int, &mut numbers))
        .collect();
    let metas: Vec<Meta> = data.iter().map(|x| Meta::new(x.shape(), x.dtype())).collect();
    if matches!(float, DType::F16 | DType::BF16) && op.spec().infer(&metas).is_err() {
        return 0; // The parts of complex numbers are f32 or f64.
    }
    let rank = data.iter().map(|x| x.shape().rank()).max().unwrap_or(0);
    let ways = Memory::all(rank);
    // The reference is slow: large cases are not computed again for each broadcast axis.
    let large = data.iter().map(TensorData::num_elements).sum::<usize>() > 5000;
    let contiguous = oracle(op, &data);
    let mut runs = 0;
    for (w, &way) in ways.iter().enumerate() {
        // All inputs laid out alike, then each in another way.
        for mixed in [false, true] {
            let memory = |i: usize| if mixed { ways[(w + i) % ways.len()] } else { way };
            let broadcast = (0..data.len()).any(|i| matches!(memory(i), Memory::Broadcast(_)));
            // A matrix of equal rows or columns has no inverse, and no unique decomposition.
            let singular = broadcast && exactness(op) == Exactness::Conditioned;
            if (mixed && data.len() < 2) || (broadcast && large) || singular {
                continue;
            }
            let what = || {
                let memory: Vec<_> = (0..data.len()).map(memory).collect();
                format!("{op:?} of {float} {:?} laid out {memory:?}", case.inputs)
            };
            let inputs: Vec<AnyTensor> =
                data.iter().enumerate().map(|(i, x)| tensor(x, memory(i), Device::cpu())).collect();
            let inputs: Vec<&AnyTensor> = inputs.iter().collect();
            if let Op::View(view) = op
                && view.layout(inputs[0].layout()).is_err()
            {
                continue; // This layout can not be reshaped without a copy.
            }
            let repeated: Vec<_> =
                data.iter().enumerate().map(|(i, x)| repeated(x, memory(i))).collect();
            let again = broadcast.then(|| oracle(op, &repeated));
            let expected = again.as_ref().unwrap_or(&contiguous);
            let [outputs, two, three] =
                [0, 1, 2].map(|i| POOLS[i].install(|| run(op, &inputs, Device::cpu()).unwrap()));
            same_bits(&|| format!("two threads: {}", what()), &outputs, &two);
            same_bits(&|| format!("three threads: {}", what()), &outputs, &three);
            let metas: Vec<Meta> = inputs.iter().map(|x| x.meta()).collect();
            let metas = op.spec().infer(&metas).unwrap();
            assert_eq!(metas.len(), outputs.len(), "{}", what());
            let largest = largest(expected);
            for ((output, expected), meta) in outputs.iter().zip(expected).zip(metas) {
                assert_eq!(output.meta(), meta, "{}", what());
                check(&what, exactness(op), output, expected, largest);
            }
            in_place(&what, op, &data, &inputs, &outputs, memory(0));
            decomposed(&what, op, &inputs, &outputs);
            runs += 1;
        }
    }
    runs
}

/// An elementwise operation that takes over the memory of its first input gives the same bits.
fn in_place(
    what: &dyn Fn() -> String,
    op: &Op,
    data: &[TensorData],
    inputs: &[&AnyTensor],
    outputs: &[AnyTensor],
    memory: Memory,
) {
    if !op.spec().elementwise() || memory != Memory::Contiguous {
        return;
    }
    let exclusive = AnyTensor::from_data(&data[0], &Device::cpu()).unwrap();
    let address = exclusive.buffer().address();
    let output = apply_owned(op, exclusive, &inputs[1..]).unwrap();
    let reused = output.buffer().address() == address;
    let fits = outputs.len() == 1 && outputs[0].meta() == inputs[0].meta();
    assert_eq!(reused, fits, "reuse in {}", what());
    same_bits(&|| format!("in place: {}", what()), &outputs[..1], &[output]);
}

/// What a backend without this kernel would compute is the same up to rounding, and to the bit where
/// operations were only put together. Other halves are left out: the parts round where the kernel
/// does not.
fn decomposed(what: &dyn Fn() -> String, op: &Op, inputs: &[&AnyTensor], outputs: &[AnyTensor]) {
    if let Op::Fused(_) = op {
        let parts = op.spec().decompose(inputs).expect("it consists of them");
        return same_bits(what, outputs, &parts);
    }
    if outputs.iter().any(|y| matches!(y.dtype(), DType::F16 | DType::BF16)) {
        return;
    }
    let Some(parts) = op.spec().decompose(inputs) else { return };
    assert_eq!(parts.len(), outputs.len(), "{}", what());
    let outputs: Vec<_> = outputs.iter().map(|y| y.to_data().unwrap()).collect();
    for (part, output) in parts.iter().zip(&outputs) {
        assert_eq!(part.dtype(), output.dtype(), "{}", what());
        let what = || format!("decomposition of {}", what());
        check(&what, Exactness::Sums, part, output, largest(&outputs));
    }
}

/// The numbers of a case depend on it alone, not on its place in the table (FNV-1a).
fn seed(case: &Case) -> u64 {
    let mix = |hash: u64, byte| (hash ^ byte as u64).wrapping_mul(0x0000_0100_0000_01B3);
    format!("{case:?}").bytes().fold(0xCBF2_9CE4_8422_2325, mix)
}

/// Checks every case, and lists all that fail rather than only the first.
fn check_cases(cases: &[Case], float: DType, int: DType) {
    let outcomes: Vec<_> = cases
        .iter()
        .map(|case| catch_unwind(AssertUnwindSafe(|| check_case(case, float, int, seed(case)))))
        .collect();
    let failed = outcomes.iter().filter(|outcome| outcome.is_err()).count();
    assert_eq!(failed, 0, "cases of {} failed, each for the reason printed above", cases.len());
    let runs: usize = outcomes.into_iter().flatten().sum();
    println!("{} samples, {runs} layouts in {float}", cases.len());
    assert!(runs > cases.len());
}

fn check_all(float: DType, int: DType) {
    check_cases(&all_samples().cases, float, int);
}

#[test]
fn samples_agree_with_the_reference_in_f64_and_i64() {
    check_all(DType::F64, DType::I64);
}

#[test]
fn samples_agree_with_the_reference_in_f32_and_i32() {
    check_all(DType::F32, DType::I32);
}

#[test]
fn samples_agree_with_the_reference_in_f16_and_u8() {
    check_all(DType::F16, DType::U8);
}

#[test]
fn samples_agree_with_the_reference_in_bf16_and_i64() {
    check_all(DType::BF16, DType::I64);
}

#[test]
fn integers_of_every_width_agree_with_the_reference() {
    let whole = |case: &Case| case.inputs.iter().any(|x| matches!(x.values, Values::Int(..)));
    let cases: Vec<Case> = all_samples().cases.into_iter().filter(whole).collect();
    for int in [DType::I8, DType::U8, DType::I16, DType::U16, DType::I32, DType::U32, DType::U64] {
        check_cases(&cases, DType::F32, int);
    }
}

/// Sizes that need several chunks (32768 elements), tiles and blocks (1024), segments (65536) and
/// strips of columns, with remainders.
fn large_samples() -> Samples {
    let mut samples = Samples::default();
    let long = 70_001;
    samples.rough(Binary { kind: BinaryKind::Add }, [float([long]), float([long])]);
    samples.rough(Binary { kind: BinaryKind::Mul }, [float([301, 257]), float([257])]);
    samples.rough(Binary { kind: BinaryKind::Sub }, [float([301, 1]), float([1, 257])]);
    samples.rough(Binary { kind: BinaryKind::Less }, [float([long]), float([1])]);
    samples.rough(Binary { kind: BinaryKind::Div }, [int([long], -99, 99), int([long], 1, 9)]);
    samples.rough(
        BinaryScalar { kind: BinaryKind::Sub, scalar: Scalar::Float(0.5), reversed: true },
        [float([257, 301])],
    );
    samples.rough(Unary { kind: UnaryKind::Exp }, [float([long])]);
    samples.rough(Unary { kind: UnaryKind::Log }, [float_in([301, 257], 0.1, 9.0)]);
    samples.rough(Unary { kind: UnaryKind::Not }, [bool([long])]);
    samples.rough(Where, [bool([301, 1]), float([301, 257]), float([257])]);
    for dtype in DType::ALL {
        samples.rough(Cast { dtype }, [float_in([257, 301], 0.0, 100.0)]);
    }
    for kind in [ReduceKind::Sum, ReduceKind::Mean, ReduceKind::Max] {
        samples.rough(Reduce { kind, axes: Axes::all(1) }, [float_in([1_000_003], -1.0, 1.0)]);
        samples.rough(Reduce { kind, axes: Axes::single(0) }, [float([131, 2077])]);
        samples.rough(Reduce { kind, axes: Axes::single(1) }, [float([3, 70_001])]);
        samples.rough(Reduce { kind, axes: Axes::single(1) }, [float([5, 300, 33])]);
        samples.rough(
            Reduce { kind, axes: [0, 2].into_iter().collect() },
            [float_in([70, 5, 301], -1.0, 1.0)],
        );
    }
    samples.rough(ArgReduce { max: true, axis: 0 }, [float([long])]);
    samples.rough(ArgReduce { max: false, axis: 0 }, [float([2077, 33])]);
    samples.rough(Softmax { axis: 1, log: false }, [float([70, 1031])]);
    samples.rough(Softmax { axis: 0, log: true }, [float([301, 257])]);
    samples.rough(LayerNorm { epsilon: 1e-5, affine: false }, [float([1031, 70])]);
    samples.rough(Cat { axis: 1 }, [float([301, 100]), float([301, 157])]);
    samples.rough(Select { axis: 0 }, [float([33, 1031]), int([70], 0, 33)]);
    samples.rough(Select { axis: 1 }, [float([301, 33]), int([257], 0, 33)]);
    samples.rough(Gather { axis: 1 }, [float([301, 33]), int([301, 257], 0, 33)]);
    for update in [IndexingUpdateOp::Assign, IndexingUpdateOp::Add] {
        let values = [float([301, 70]), int([1031, 70], 0, 301), float([1031, 70])];
        samples.rough(Scatter { axis: 0, update }, values);
        let values = [float([70, 301]), int([70, 1031], 0, 301), float([70, 1031])];
        samples.rough(Scatter { axis: 1, update }, values);
    }
    let odd =
        View::Slice([AxisSlice { axis: 1, start: 256, len: 128, step: -2 }].into_iter().collect());
    samples.rough(Assign { view: odd }, [float([550, 257]), float([550, 128])]);
    samples.rough(MatMul::default(), [float([65, 530]), float([530, 33])]);
    samples
}

#[test]
fn large_shapes_agree_with_the_reference() {
    check_cases(&large_samples().cases, DType::F32, DType::I64);
}

#[test]
fn large_shapes_agree_with_the_reference_in_half_precision() {
    check_cases(&large_samples().cases, DType::BF16, DType::U8);
}
