//! Slices, assignment to them, and picking and scattering by index or mask.

use kiln_tensor::{
    Bool, DType, Device, IndexingUpdateOp, Int, PadMode, Shape, Slice, Tensor, TensorData, s,
};

use crate::common::*;

fn range<const D: usize>(shape: [usize; D]) -> Tensor<D, Int> {
    let n: usize = shape.iter().product();
    Tensor::<1, Int>::arange(0..n as i64, &Device::cpu()).reshape(shape)
}

#[test]
fn slices_are_written_as_ranges_with_steps() {
    let x = range([6]);
    equals(x.slice(s![0..10;2]), [0, 2, 4]);
    equals(x.slice(s![1..;-1]), [5, 4, 3, 2, 1]);
    equals(x.slice(s![-4..-1]), [2, 3, 4]);
    equals(x.slice(s![..=-2]), [0, 1, 2, 3, 4]);
    equals(x.slice(s![..=2]), [0, 1, 2]);
    equals(x.slice(s![1..=-1;3]), [1, 4]);
    equals(x.slice(s![-1]), [5]);
    equals(x.slice(s![-100..100]), [0, 1, 2, 3, 4, 5]);
    equals(x.slice(s![2..usize::MAX]), [2, 3, 4, 5]);
    equals(x.slice(s![1..5;-isize::MAX]), [4]);
    for empty in [s![4..2], s![3..3], s![7..], s![..-9], s![-9..-7;-1], s![6]] {
        assert_eq!(x.slice(empty).dims(), [0], "{empty}");
    }
    let m = range([2, 3]);
    equals(m.slice(s![.., ..;-1]), [[2, 1, 0], [5, 4, 3]]);
    equals(m.slice(s![1, 0..3;2,]), [[3, 5]]);
    equals(m.slice([s![0..2;-1]]), [[3, 4, 5], [0, 1, 2]]);
    // Arrays, slices, vectors and tuples of parts.
    equals(m.slice([0..1, 1..3]), [[1, 2]]);
    equals(m.slice([..]), [[0, 1, 2], [3, 4, 5]]);
    equals(m.slice(1..), [[3, 4, 5]]);
    equals(m.slice((.., 1..2)), [[1], [4]]);
    equals(m.slice((-1, ..=1)), [[3, 4]]);
    let parts: Vec<Slice> = vec![s![..], s![2]];
    equals(m.slice(&parts), [[2], [5]]);
    equals(m.slice(&parts[1..]), TensorData::new(Vec::<i64>::new(), [0, 3]));
    equals(m.slice(parts), [[2], [5]]);
    equals(m.slice_dim(-1, s![..;2]), [[0, 2], [3, 5]]);
    equals(m.slice_dim(0, -1), [[3, 4, 5]]);
    equals(m.slice_dim(1, 1..), [[1, 2], [4, 5]]);
    assert_eq!(
        text(|| m.slice_dim(2, ..)),
        "slice_dim: axis 2 is out of range for a tensor of rank 2"
    );
    assert_eq!(text(|| m.slice(s![..;0])), "slice: the step must not be zero");
    assert_eq!(
        text(|| m.slice((.., .., ..))),
        "slice: shapes [2, 3] do not fit: 3 parts for 2 axes"
    );
}

#[test]
fn a_slice_knows_its_range_and_prints_as_it_is_written() {
    assert_eq!(Slice::new(-3, None, 2).to_range(5), 2..5);
    assert_eq!(Slice::from(1..9).to_range(5), 1..5);
    assert_eq!(Slice::from_range_stepped(0..10, -3).output_size(8), 3);
    assert_eq!(Slice::with_step(4, Some(2), 1).output_size(8), 0);
    assert_eq!(Slice::index(-1).to_range(3), 2..3);
    assert!(s![..;-1].is_reversed() && s![..;-1].step() == -1);
    assert_eq!(Slice::default(), Slice::full());
    let shown = [s![..], s![3], s![1..], s![..4], s![2..9;-2], s![-1], s![0]];
    let shown: Vec<_> = shown.iter().map(Slice::to_string).collect();
    assert_eq!(shown, ["..", "3", "1..", "..4", "2..9;-2", "-1..", "0"]);
}

#[test]
fn parts_are_assigned_to_in_every_kind_and_direction() {
    let x = range([2, 3]);
    equals(x.slice_assign(s![.., 0], Tensor::from([[8], [9]])), [[8, 1, 2], [9, 4, 5]]);
    equals(
        x.slice_assign(s![..;-1, 0..3;2], Tensor::from([[6, 7], [8, 9]])),
        [[8, 1, 9], [6, 4, 7]],
    );
    equals(
        x.slice_assign([1..2, 1..1], Tensor::zeros([1, 0], &Device::cpu())),
        [[0, 1, 2], [3, 4, 5]],
    );
    equals(x.slice_assign(.., x.mul_scalar(2)), [[0, 2, 4], [6, 8, 10]]);
    equals(x.t().slice_assign(0..1, Tensor::from([[7, 8]])), [[7, 8], [1, 4], [2, 5]]);
    equals(bools([true; 4]).slice_assign(s![..;3], bools([false; 2])), [false, true, true, false]);
    equals(floats([1.0; 5]).slice_fill(s![..;-2], 0.5), [0.5, 1.0, 0.5, 1.0, 0.5]);
    equals(bools([true; 3]).slice_fill(1.., false), [true, false, false]);
    let half = floats([1.0; 3]).cast(DType::BF16).slice_fill(0..1, 3.0);
    assert_eq!(half.dtype(), DType::BF16);
    equals(half, [3.0, 1.0, 1.0]);
    assert_eq!(
        text(|| x.slice_assign(s![.., 0], x.clone())),
        "assign: shapes [2, 3] and [2, 3] do not fit: the part to assign to has shape [2, 1]"
    );
}

#[test]
fn assignment_in_place_writes_only_what_nobody_shares() {
    let mut x = floats([1.0, 2.0, 3.0]);
    let address = x.as_any().buffer().address();
    x.slice_assign_inplace(1.., floats([5.0, 6.0]));
    assert_eq!(x.as_any().buffer().address(), address);
    equals(&x, [1.0, 5.0, 6.0]);
    // The values of a clone, and values that come from the tensor itself, stay what they were.
    let before = x.clone();
    x.slice_assign_inplace(s![..2], before.slice(s![1..3]));
    equals(&x, [5.0, 6.0, 6.0]);
    equals(&before, [1.0, 5.0, 6.0]);
    drop(before);
    let backwards = x.slice(s![..;-1]);
    x.slice_assign_inplace(.., backwards);
    equals(&x, [6.0, 6.0, 5.0]);
    // An error leaves the tensor as it was.
    assert!(text(|| x.clone().slice_assign_inplace(1.., floats([1.0]))).contains("assign"));
    equals(x, [6.0, 6.0, 5.0]);
}

#[test]
fn values_for_one_place_arrive_in_order() {
    use IndexingUpdateOp::*;
    let (x, index) = (ints([1, 2, 3]), ints([2, 0, 2, 2]));
    let values = ints([4, 5, 6, 2]);
    for (update, expected) in [
        (Assign, [5, 2, 2]),
        (Add, [6, 2, 15]),
        (Mul, [5, 2, 144]),
        (Min, [1, 2, 2]),
        (Max, [5, 2, 6]),
    ] {
        equals(x.scatter(0, &index, &values, update), expected);
        equals(x.select_assign(0, &index, &values, update), expected);
        let nd = index.reshape([4, 1]);
        equals(x.scatter_nd(nd, &values, update), expected);
    }
    // Any, all.
    let (mask, index) = (bools([false, true, false]), ints([0, 1, 1]));
    let values = bools([true, true, false]);
    equals(mask.scatter(0, &index, &values, Add), [true, true, false]);
    equals(mask.select_assign(0, &index, &values, Mul), [false, false, false]);
    // NaN wins, and an empty list of indices changes nothing.
    let nan = floats([f32::NAN, 1.0]);
    equals(floats([3.0, f32::NAN]).scatter(0, ints([0, 1]), nan, Max), [f32::NAN, f32::NAN]);
    let none = Tensor::<1, Int>::empty([0], &Device::cpu());
    equals(floats([3.0]).scatter(0, none, Tensor::empty([0], &Device::cpu()), Add), [3.0]);
}

#[test]
fn entries_are_assigned_by_index() {
    use IndexingUpdateOp::*;
    let x = range([2, 3]);
    let columns = Tensor::<2, Int>::from([[10, 20], [30, 40]]);
    equals(x.select_assign(1, ints([2, 0]), &columns, Assign), [[20, 1, 10], [40, 4, 30]]);
    equals(x.select_assign(-1, ints([1, 1]), &columns, Add), [[0, 31, 2], [3, 74, 5]]);
    equals(x.index_fill(0, ints([1]), 7), [[0, 1, 2], [7, 7, 7]]);
    let value = Tensor::<2, Int>::from([[5], [6]]);
    equals(x.select_dim::<1>(1, -1), [2, 5]);
    equals(x.select_dim::<1>(0, 0), [0, 1, 2]);
    equals(
        x.take::<0, 1>(1, Tensor::from_data(TensorData::new(vec![2], []), &Device::cpu())),
        [2, 5],
    );
    assert_eq!(
        text(|| x.select_dim::<1>(1, 3)),
        "select_dim: index 3 is out of range for 3 entries"
    );
    assert!(text(|| x.select_assign(1, ints([0, 1]), &value, Add)).contains("[2, 2] are needed"));
    for bad in [-1, 3] {
        let expected = format!("scatter: index {bad} is out of range for 3 entries");
        assert_eq!(text(|| x.select_assign(1, ints([bad]), &value, Add)), expected);
        let expected = format!("ravel_index: index {bad} is out of range for 3 entries");
        let nd = Tensor::<2, Int>::from([[0, bad]]);
        assert_eq!(text(|| x.gather_nd::<2, 1>(&nd)), expected);
        assert_eq!(text(|| x.scatter_nd(&nd, ints([0]), Add)), expected);
    }
}

#[test]
fn parts_are_named_by_indices_of_several_axes() {
    let x = range([2, 3, 2]);
    let nd = Tensor::<2, Int>::from([[1, 2], [0, 1]]);
    equals(x.gather_nd::<2, 2>(&nd), [[10, 11], [2, 3]]);
    equals(x.gather_nd::<2, 3>(Tensor::<2, Int>::from([[1]])), [[[6, 7], [8, 9], [10, 11]]]);
    let all = Tensor::<3, Int>::from([[[0, 0, 1]], [[1, 1, 0]]]);
    equals(x.gather_nd::<3, 2>(&all), [[1], [8]]);
    // No index at all names the whole tensor.
    let none = Tensor::<2, Int>::empty([2, 0], &Device::cpu());
    assert_eq!(x.gather_nd::<2, 4>(none).dims(), [2, 2, 3, 2]);
    let y = Tensor::<2>::zeros([2, 2], &Device::cpu());
    let empty = Tensor::<2, Int>::empty([0, 2], &Device::cpu());
    let none = Tensor::<1>::empty([0], &Device::cpu());
    equals(y.scatter_nd(empty, none, IndexingUpdateOp::Add), [[0.0; 2]; 2]);
    let message = text(|| y.gather_nd::<2, 1>(Tensor::<2, Int>::from([[0, 0, 0]])));
    assert!(message.contains("at most one index for each axis"), "{message}");
}

#[test]
fn masks_broadcast() {
    let x = range([2, 2]);
    let mask = Tensor::<2, Bool>::from([[true, false]]);
    equals(x.mask_fill(&mask, -1), [[-1, 1], [-1, 3]]);
    equals(x.mask_where(&mask, Tensor::from([[7], [8]])), [[7, 1], [8, 3]]);
    equals(range([1, 2]).mask_where(Tensor::from([[true], [false]]), &x), [[0, 1], [0, 1]]);
    equals(x.masked_scatter(&mask, ints([8, 9, 7])), [[8, 1], [9, 3]]);
    assert!(text(|| x.masked_scatter(&mask, ints([8]))).contains("the mask is true 2 times"));
}

#[test]
fn padding_takes_pairs_for_the_last_axes() {
    let x = range([2, 2]);
    equals(x.pad((1, 0, 0, 1), 9), [[9, 0, 1], [9, 2, 3], [9, 9, 9]]);
    equals(x.pad([(1, 1)], PadMode::Reflect), [[1, 0, 1, 0], [3, 2, 3, 2]]);
    equals(x.pad(&[(1, 0), (0, 0)][..], PadMode::Edge), [[0, 1], [0, 1], [2, 3]]);
    equals(x.pad(vec![(0, 0), (0, 2)], PadMode::Circular), [[0, 1, 0, 1], [2, 3, 2, 3]]);
    equals(x.pad([(0, 0), (0, 0)], PadMode::default()), [[0, 1], [2, 3]]);
    equals(bools([true]).pad([(1, 0)], PadMode::default()), [false, true]);
    let nothing = Tensor::<2>::empty([0, 2], &Device::cpu());
    equals(nothing.pad((0, 0, 1, 0), 1.5), [[1.5, 1.5]]);
    assert_eq!(
        text(|| x.pad([(2, 0)], PadMode::Reflect)),
        "pad: shapes [2, 2] do not fit: Reflect padding (2, 0) is too much for axis 1 of extent 2: it \
         takes at most 1"
    );
    assert!(text(|| x.pad([(0, 3)], PadMode::Circular)).contains("Circular padding"));
    assert!(text(|| nothing.pad((0, 0, 1, 1), PadMode::Edge)).contains("edge padding"));
    assert!(text(|| nothing.pad((0, 0, 1, 1), PadMode::Reflect)).contains("Reflect padding"));
    assert_eq!(text(|| x.pad([(0, 0); 3], 0)), "pad: 3 pairs for 2 axes");
}

/// Shapes that no memory holds are refused before anything is allocated for them.
#[test]
fn absurd_shapes_are_errors() {
    let (device, huge) = (&Device::cpu(), usize::MAX);
    let x = floats([1.0, 2.0]);
    let refused: [&dyn Fn(); 21] = [
        &|| drop(Tensor::<2>::zeros([huge, 4], device)),
        &|| drop(Tensor::<2>::empty([huge / 2, 4], device)),
        &|| drop(Tensor::<2>::full([0, huge], 1, device)),
        &|| drop(Tensor::<1>::ones([isize::MAX as usize / 8], device)),
        &|| drop(Tensor::<1, Int>::arange(0..i64::MAX, device)),
        &|| drop(Tensor::<1, Int>::arange(i64::MIN..i64::MAX, device)),
        &|| drop(Tensor::<1>::arange_float(0.0, 1e300, 1e-9, device)),
        &|| drop(Tensor::<1>::linspace(0.0, 1.0, huge, device)),
        &|| drop(Tensor::<1>::logspace(0.0, 1.0, huge / 16, 2.0, device)),
        &|| drop(Tensor::<2>::eye(1 << 40, device)),
        &|| drop(x.reshape([huge, 2])),
        &|| drop(x.reshape([i64::MAX, -1])),
        &|| drop(x.expand([huge, 2])),
        &|| drop(x.repeat([huge])),
        &|| drop(x.repeat_dim(0, huge / 32)),
        &|| drop(x.pad([(huge, huge)], 0)),
        &|| drop(x.pad([(huge, 0)], PadMode::Edge)),
        &|| drop(x.one_hot::<2>(huge)),
        &|| drop(x.diag_embed::<2>(i64::MAX, 0, 1)),
        &|| drop(Tensor::<1>::random([huge / 16], Default::default(), device)),
        &|| assert_eq!(Shape::new([huge, huge]).rank(), 2),
    ];
    for (i, work) in refused.iter().enumerate() {
        println!("{i}: {}", text(work));
    }
}

#[test]
fn assigning_to_an_empty_part_changes_nothing() {
    let mut x = two_by_three();
    let row = x.slice(s![0..1]);
    equals(x.slice_assign(s![2..3], &row), [[0.0f32, 1.0, 2.0], [3.0, 4.0, 5.0]]);
    x.slice_assign_inplace(s![1..1], &row);
    equals(&x, [[0.0f32, 1.0, 2.0], [3.0, 4.0, 5.0]]);
}
