//! Chains of elementwise operations in one pass: the bits of the operations one by one.

use kiln_tensor::op::Op;
use kiln_tensor::{
    Bool, DType, Device, Distribution, Int, Tensor, activation, autocast, fuse, guard, trace,
};

/// The operations that ran.
fn names<T>(work: impl FnOnce() -> T) -> Vec<&'static str> {
    trace(work).1.iter().map(|step| step.op.spec().name()).collect()
}

fn random<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), &Device::cpu())
}

/// Fused and one by one give the same bits.
fn same_bits<const D: usize>(compute: impl Fn() -> Tensor<D>) {
    let (apart, fused) = (compute().into_data(), fuse(&compute).into_data());
    assert_eq!(fused.dtype(), apart.dtype());
    assert_eq!(fused.shape(), apart.shape());
    assert!(fused.bytes() == apart.bytes(), "{fused}\n{apart}");
}

/// As [`same_bits`], and fused is one operation, but for numbers that become tensors.
fn same<const D: usize>(compute: impl Fn() -> Tensor<D>) {
    same_bits(&compute);
    let mut ran = names(|| fuse(&compute));
    ran.retain(|name| *name != "fill");
    assert_eq!(ran, ["fused"]);
}

#[test]
fn a_chain_is_one_operation_of_the_same_bits() {
    for shape in [[1, 1], [3, 5], [37, 53], [129, 1021]] {
        let [a, b, c, d] = [(); 4].map(|_| random(shape));
        same(|| activation::gelu(&a * &b + &c) * &d);
        same(|| (&a - &b).exp() / ((&a - &b).exp() + 1.0) - activation::silu(a.abs().sqrt()));
        same(|| (-&a + 2.0).powf_scalar(3.0) + (b.abs() + 0.5).recip() + &c.clamp(-0.5, 0.5) * &d);
        same(|| (&a * 100.0).sin() + &b.tanh() * c.sign() - d.floor());
    }
}

#[test]
fn half_types_round_after_each_operation() {
    for dtype in [DType::F16, DType::BF16] {
        let [a, b, c] = [(); 3].map(|_| random([41, 67]).cast(dtype));
        same(|| activation::gelu(&a * &b + 0.1) * &c);
        same(|| (&a * &b).cast(DType::F32) + 0.1 - c.cast(DType::F32).tanh());
    }
}

#[test]
fn what_no_kernel_computes_in_one_pass_is_computed_all_the_same() {
    let [a, b] = [(); 2].map(|_| random([41, 67]));
    same_bits(|| activation::gelu(&a.cast(DType::F64) * &b.cast(DType::F64)).tanh());
    let wide = a.cast(DType::F64);
    same(|| activation::gelu(&wide * 2.0) * wide.tanh());
    same_bits(|| (&wide * 2.0).cast(DType::F32) + &b);
    same_bits(|| (&a * 2.0 + &b).int().float() * &b);
}

#[test]
fn masks_choose_inside_of_a_chain() {
    let (a, b) = (random([31, 83]), random([31, 83]));
    let outside: Tensor<2, Bool> = b.greater_elem(0.3);
    same(|| (&a * 2.0).mask_where(a.greater(&b).bool_and(&outside), &b));
    same(|| a.exp().mask_fill(a.lower(&b).bool_not(), -1.0));
    same(|| a.equal_elem(0.0).bool_or(&outside).float() * &b);
    let bools = fuse(|| a.greater(&b).bool_xor(&outside));
    assert_eq!(bools.into_data(), a.greater(&b).bool_xor(&outside).into_data());
}

#[test]
fn views_and_broadcasts_are_read_where_they_lie() {
    let (a, row, column) = (random([40, 60]), random([60]), random([40, 1]));
    same(|| (&a * row.unsqueeze::<2>() + &column).tanh());
    same(|| (a.transpose() * 2.0 - row.unsqueeze::<2>().transpose()).abs());
    same(|| (a.slice([5..25, 3..59]).flip([0, 1]) * 3.0 + 1.0).exp());
    // What is smaller than the result may be computed on the way.
    same(|| (row.unsqueeze::<2>() * 2.0 + 1.0) * (column.exp() + &a));
    same(|| column.zeros_like() + (&a + 1.0) * 2.0);
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let (a, b) = (random([300, 1000]), random([300, 1000]));
    let compute = || fuse(|| activation::gelu(&a * &b) + &a).into_data();
    let all = compute();
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap().install(compute);
    assert!(all.bytes() == one.bytes());
}

#[test]
fn what_a_chain_does_not_need_is_not_computed() {
    let (a, b) = (random([100]), random([100]));
    let (_, steps) = trace(|| {
        fuse(|| {
            let _unused = (&a + &b).exp();
            (&a * &b).exp() + &a
        })
    });
    let [step] = &steps[..] else { panic!("one operation, not {steps:?}") };
    let Op::Fused(fused) = &step.op else { panic!("not {:?}", step.op) };
    assert_eq!(fused.chain.links.len(), 3);
    assert_eq!(step.inputs.len(), 2);
    assert_eq!(step.cost().flops, 100 * (1 + 10 + 1));
}

#[test]
fn single_operations_integers_and_empty_tensors_are_as_without() {
    let (a, b) = (random([7]), random([7]));
    assert_eq!(names(|| fuse(|| &a + &b)), ["add"]);
    assert!(names(|| fuse(|| a.clone())).is_empty());
    let whole = Tensor::<1, Int>::from([1, -2, 3]);
    let (fused, apart) = (fuse(|| (&whole * 2 + 1).abs()), (&whole * 2 + 1).abs());
    assert_eq!(fused.into_data(), apart.into_data());
    let empty = random([0, 3]);
    assert_eq!(fuse(|| (&empty + 1.0).exp()).dims(), [0, 3]);
}

#[test]
fn other_operations_may_come_before_but_not_after() {
    let a = random([8, 8]);
    let sum = fuse(|| (a.matmul(&a) + 1.0).exp() - a.sum_dim(1));
    let apart = (a.matmul(&a) + 1.0).exp() - a.sum_dim(1);
    assert_eq!(sum.into_data(), apart.into_data());
    let error = guard(|| fuse(|| (&a + 1.0).sum_dim(0))).unwrap_err();
    let text = "sum: is not elementwise, but its input is not computed yet inside of `fuse`; \
                compute it before or after";
    assert_eq!(error.to_string(), text);
}

#[test]
fn reading_a_value_or_changing_the_shape_on_the_way_is_an_error() {
    let a = random([2, 3]);
    let text = |work: &dyn Fn() -> Tensor<2>| guard(|| fuse(work)).unwrap_err().to_string();
    let read = text(&|| {
        let scale: f32 = (&a + 1.0).into_data().to_vec::<f32>().unwrap()[0];
        &a * scale
    });
    assert_eq!(read, "fuse: a tensor has no values until it is computed; read it after");
    let turned = text(&|| (&a + 1.0).transpose() * a.transpose());
    let rule = "fuse: a result on the way was reshaped, permuted or sliced; do so before or after";
    assert_eq!(turned, rule);
    // After an error nothing is left of it.
    same(|| (&a + 1.0) * 2.0);
}

#[test]
fn a_tensor_kept_from_inside_has_no_values() {
    let a = random([5]);
    let mut kept = None;
    fuse(|| {
        kept = Some(&a + 1.0);
        &a * 2.0
    });
    let kept = kept.unwrap();
    assert!(guard(|| kept.exp()).is_err());
    let other = guard(|| fuse(|| (&kept * 2.0) + &a)).unwrap_err();
    assert_eq!(other.to_string(), "fuse: a tensor of another `fuse` has no values");
}

#[test]
fn a_chain_inside_of_a_chain_is_part_of_it() {
    let (a, b) = (random([9]), random([9]));
    let squash = |x: &Tensor<1>| fuse(|| x.tanh() * 0.5 + 0.5);
    same(|| squash(&(&a * &b)) - squash(&a));
}

#[test]
fn autocast_reaches_into_a_chain() {
    let a = random([9]).cast(DType::BF16);
    let compute = || autocast(DType::BF16, || (&a * 2.0).exp() + 1.0);
    let fused = autocast(DType::BF16, || fuse(|| (&a * 2.0).exp() + 1.0));
    assert_eq!(compute().dtype(), DType::F32);
    assert_eq!(fused.into_data(), compute().into_data());
}
