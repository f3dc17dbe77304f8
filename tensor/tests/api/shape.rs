//! Making tensors, other shapes of them, putting together and taking apart.

use kiln_tensor::grid::{
    GridIndexing, GridOptions, GridSparsity, IndexPos, affine_grid_2d, meshgrid, meshgrid_stack,
};
use kiln_tensor::{
    Bool, DType, Device, Float, FloatDType, Int, IntDType, Shape, Tensor, TensorData,
};

use crate::common::*;

fn zeros<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    Tensor::zeros(shape, &Device::cpu())
}

fn range<const D: usize>(shape: [usize; D]) -> Tensor<D, Int> {
    let n: usize = shape.iter().product();
    Tensor::<1, Int>::arange(0..n as i64, &Device::cpu()).reshape(shape)
}

#[test]
fn tensors_are_made_like_others() {
    let device = Device::cpu();
    let x = Tensor::<1>::from_floats([1.0, 2.0], (&device, DType::F16));
    equals(x.full_like(7), [7.0, 7.0]);
    assert_eq!((x.empty_like().dtype(), x.full_like(1).dtype()), (DType::F16, DType::F16));
    equals(Tensor::<1, Int>::from_ints([1, 2], &device), [1, 2]);
    equals(Tensor::<1, Bool>::from_bool(TensorData::from([true]), &device), [true]);
    equals(Tensor::<2, Int>::eye(2, &device), [[1, 0], [0, 1]]);
    assert_eq!((x.rank(), x.num_dims(), x.is_empty()), (1, 1, false));
    assert!(Tensor::<2, Int>::empty([0, 2], &device).is_empty());
    equals(Tensor::<1>::arange_float(0.0, 1.0, 0.3, &device), [0.0, 0.3, 0.6, 0.9]);
    equals(Tensor::<1>::arange_float(1.0, 1.0, 2.0, &device), Vec::<f32>::new());
    for (start, end, step) in [(0.0, 1.0, 0.0), (0.0, 1.0, -1.0), (0.0, f64::NAN, 1.0)] {
        let message = text(|| Tensor::<1>::arange_float(start, end, step, &device));
        assert!(message.starts_with("arange: steps of"), "{message}");
    }
    equals(Tensor::<1>::linspace(5.0, 6.0, 0, &device), Vec::<f32>::new());
    equals(Tensor::<1>::linspace(5.0, 6.0, 1, &device), [5.0]);
    let exact = Tensor::<1>::linspace(-0.1, 0.1, 3, (&device, DType::F64));
    assert_eq!(exact.into_data().to_vec::<f64>().unwrap(), [-0.1, 0.0, 0.1]);
}

#[test]
fn numbers_become_rows_with_one_hot() {
    equals(floats([1.0, 0.0]).one_hot::<2>(2), [[0.0, 1.0], [1.0, 0.0]]);
    let x = ints([0, -1]);
    equals(x.one_hot_fill::<2>(3, 5.0, 1.0, -1), [[5, 1, 1], [1, 1, 5]]);
    equals(x.one_hot_fill::<2>(3, 5.0, 1.0, 0), [[5, 1], [1, 1], [1, 5]]);
    assert_eq!(text(|| x.one_hot::<2>(3)), "scatter: index -1 is out of range for 3 entries");
    assert!(text(|| ints([3]).one_hot::<2>(3)).contains("index 3"));
    assert_eq!(text(|| ints([0]).one_hot::<2>(0)), "one_hot: at least one class is needed");
    assert!(text(|| x.one_hot_fill::<2>(3, 1, 0, 2)).contains("axis 2"));
}

#[test]
fn triangles_are_masked_and_cut_out() {
    let device = Device::cpu();
    let (t, f) = (true, false);
    equals(Tensor::<2, Bool>::triu_mask([2, 3], 1, &device), [[t, f, f], [t, t, f]]);
    equals(Tensor::<2, Bool>::tril_mask([2, 3], -1, &device), [[t, t, t], [f, t, t]]);
    equals(Tensor::<2, Bool>::diag_mask([2, 3], 1, &device), [[t, f, t], [t, t, f]]);
    assert_eq!(Tensor::<3, Bool>::tril_mask([4, 2, 2], 0, &device).dims(), [4, 2, 2]);
    equals(Tensor::<2, Bool>::triu_mask([1, 2], i64::MIN, &device), [[f, f]]);
    equals(Tensor::<2, Bool>::triu_mask([1, 2], i64::MAX, &device), [[t, t]]);
    let x = Tensor::<2>::from([[1.0, f32::NAN], [f32::INFINITY, 4.0]]);
    equals(x.triu(1), [[0.0, f32::NAN], [0.0, 0.0]]);
    equals(x.tril(0), [[1.0, 0.0], [f32::INFINITY, 4.0]]);
    assert!(text(|| floats([1.0]).triu(0)).contains("at least two axes"));
    equals(range([2, 3]).diagonal::<1>(-1, 0, 1), [3]);
    assert_eq!(range([2, 3]).diagonal::<1>(9, 0, 1).dims(), [0]);
    assert!(text(|| range([2, 3]).diagonal::<1>(0, 1, 1)).contains("not two of its axes"));
    equals(ints([1, 2]).diag_embed::<2>(-1, 0, 1), [[0, 0, 0], [1, 0, 0], [0, 2, 0]]);
}

#[test]
fn grids_hold_coordinates() {
    let axes = [ints([1, 2]), ints([3, 4, 5])];
    let [a, b] = meshgrid(&axes, GridOptions::default());
    equals(a, [[1, 1, 1], [2, 2, 2]]);
    equals(b, [[3, 4, 5], [3, 4, 5]]);
    let [a, b] = meshgrid(&axes, GridSparsity::Sparse);
    assert_eq!((a.dims(), b.dims()), ([2, 1], [1, 3]));
    let [a, _] = meshgrid(&axes, GridIndexing::Cartesian);
    equals(a, [[1, 2], [1, 2], [1, 2]]);
    let both = GridOptions::new(GridIndexing::Cartesian, GridSparsity::Sparse);
    assert_eq!(meshgrid(&axes, both)[1].dims(), [3, 1]);
    let stacked: Tensor<3, Int> = meshgrid_stack(&axes, IndexPos::Last);
    equals(stacked.slice_dim(0, 1), [[[2, 3], [2, 4], [2, 5]]]);
    assert_eq!(meshgrid_stack::<2, 3, _>(&axes, IndexPos::First).dims(), [2, 2, 3]);
    let grid = Tensor::<2, Int>::cartesian_grid::<3>([1, 2], &Device::cpu());
    equals(grid, [[[0, 0], [0, 1]]]);
    let shift = Tensor::<3>::from([[[1.0, 0.0, 0.5], [0.0, 2.0, 0.0]]]);
    equals(affine_grid_2d(&shift, [1, 1, 1, 2]), [[[[-0.5, 0.0], [1.5, 0.0]]]]);
    assert!(text(|| affine_grid_2d(&shift, [2, 1, 1, 2])).contains("for each image"));
}

#[test]
fn axes_come_and_go() {
    let x = zeros([2, 1, 3, 1]);
    assert_eq!(x.squeeze::<2>().dims(), [2, 3]);
    assert_eq!(x.squeeze_dims::<3>(&[-1]).dims(), [2, 1, 3]);
    assert_eq!(x.squeeze_dims::<2>(&[1, 3]).dims(), [2, 3]);
    assert_eq!(x.squeeze_dims::<2>(&[]).dims(), [2, 3]);
    let listed: [isize; 2] = [-3, 3];
    assert_eq!(x.squeeze_dims::<2>(&listed[..]).dims(), [2, 3]);
    assert_eq!(x.squeeze_dims::<2>(&listed.to_vec()).dims(), [2, 3]);
    assert_eq!(x.squeeze_dims::<2>(&[1u8, 3]).dims(), [2, 3]);
    assert_eq!(x.squeeze_dims::<3>(-1i64).dims(), [2, 1, 3]);
    assert!(text(|| x.squeeze_dims::<3>(&[0])).contains("axis 0 must have extent 1"));
    assert!(text(|| zeros([1]).squeeze::<0>()).contains("at least one axis must stay"));
    assert!(text(|| zeros([1, 1]).squeeze_dims::<0>(&[0, 1])).contains("at least one axis"));
    let y = zeros([3, 4, 5]);
    assert_eq!(y.unsqueeze_dims::<5>(&[1, -2]).dims(), [3, 1, 4, 1, 5]);
    assert_eq!(y.unsqueeze_dims::<6>(&[0, -1, -1]).dims(), [1, 3, 4, 5, 1, 1]);
    assert_eq!(y.unsqueeze_dims::<6>(&[0, 1, 3]).dims(), [1, 1, 3, 1, 4, 5]);
    assert_eq!(y.unsqueeze_dims::<5>(&[1usize, 1]).dims(), [3, 1, 1, 4, 5]);
    assert!(text(|| y.unsqueeze_dims::<5>(&[0, -6])).contains("axis -6"));
    assert!(text(|| y.unsqueeze_dims::<5>(&[0])).contains("do not make"));
    assert_eq!(y.unsqueeze::<5>().dims(), [1, 1, 3, 4, 5]);
    assert_eq!(y.flatten::<2>(-2, -1).dims(), [3, 20]);
    assert_eq!(y.unflatten::<4, 2>(1, [2, -1]).dims(), [3, 2, 2, 5]);
    assert_eq!(y.ravel().dims(), [60]);
    assert_eq!(y.movedim(0usize, -1).dims(), [4, 5, 3]);
    assert_eq!(y.movedim(vec![0, 1], vec![1, 0]).dims(), [4, 3, 5]);
    assert_eq!(y.movedim(0u64, -1i8).shape().as_slice(), [4, 5, 3]);
    assert_eq!(y.movedim(vec![0u16, 1], [1i16, 0]).dims(), [4, 3, 5]);
    assert!(text(|| y.movedim([0, 0], [1, 2])).contains("each of them once"));
    assert!(text(|| y.movedim(vec![0, 1], vec![0])).contains("as many axes"));
    assert!(text(|| y.movedim(0, 100)).contains("axis 100"));
    assert!(text(|| y.flip([0, 0])).contains("twice"));
    equals(range([2, 2]).rot90(1, [0, 1]), [[1, 3], [0, 2]]);
    equals(range([2, 2]).rot90(-5, [0, 1]), [[2, 0], [3, 1]]);
    equals(range([2, 2]).rot90(6, [0, 1]), [[3, 2], [1, 0]]);
    // All that a shape can be given as.
    let x = zeros([2, 3]);
    assert_eq!(x.reshape([3i64, -1]).dims(), [3, 2]);
    assert_eq!(x.reshape([6isize]).dims(), [6]);
    assert_eq!(x.reshape::<1, _>(Shape::new([6])).dims(), [6]);
    assert_eq!(x.reshape::<3, _>(vec![1, 2, 3]).dims(), [1, 2, 3]);
    assert_eq!(x.shape().as_slice(), [2, 3]);
    assert_eq!(x.broadcast_to([4i64, -1, 3]).dims(), [4, 2, 3]);
    assert_eq!(x.expand::<3, _>(Shape::new([4, 2, 3])).dims(), [4, 2, 3]);
}

#[test]
fn tensors_are_joined_repeated_and_rolled() {
    let (a, b) = (ints([1, 2]), ints([3]));
    equals(Tensor::cat(vec![a.clone(), b.clone()], 0), [1, 2, 3]);
    equals(Tensor::cat([&a, &b].map(Clone::clone), -1), [1, 2, 3]);
    equals(Tensor::stack::<2>([a.clone(), a.clone()], 1), [[1, 1], [2, 2]]);
    let message = text(|| Tensor::stack::<2>([a.clone(), b.clone()], 0));
    assert_eq!(message, "stack: shapes [2] and [1] do not fit: all shapes must be equal");
    assert_eq!(text(|| Tensor::<1>::cat(Vec::new(), 0)), "cat: at least one tensor is needed");
    let (twice, back): (&[usize], &[i64]) = (&[2], &[-1]);
    equals(a.repeat(twice), [1, 2, 1, 2]);
    equals(a.roll(back, [0]), [2, 1]);
    equals(a.reshape([1, 2]).repeat([2, 2, 1]), [[1, 2, 1, 2], [1, 2, 1, 2]]);
    assert_eq!(zeros([2, 3, 4]).repeat([1, 0, 2]).dims(), [2, 0, 8]);
    assert!(text(|| a.repeat([1, 2])).contains("does not have"));
    assert_eq!(zeros([1, 2, 1, 1, 1, 1, 1, 2]).repeat_dim(1, 3).dims(), [1, 6, 1, 1, 1, 1, 1, 2]);
    equals(a.tile([3]), [1, 2, 1, 2, 1, 2]);
    let x = range([2, 3]);
    equals(x.roll([1, -1], [0, 1]), [[4, 5, 3], [1, 2, 0]]);
    equals(x.roll_dim(7, 1), [[2, 0, 1], [5, 3, 4]]);
    assert_eq!(zeros([0, 2]).roll_dim(3, 0).dims(), [0, 2]);
    assert!(text(|| x.roll([1], [0, 1])).contains("1 shifts for 2 axes"));
    equals(
        Tensor::block_diag([ints([1, 2]).reshape([2, 1]), range([1, 2])]),
        [[1, 0, 0], [2, 0, 0], [0, 0, 1]],
    );
}

#[test]
fn tensors_are_taken_apart() {
    let x = range([5]);
    let extents = |parts: Vec<Tensor<1, Int>>| -> Vec<usize> {
        parts.iter().map(Tensor::num_elements).collect()
    };
    assert_eq!(extents(x.split(2, 0)), [2, 2, 1]);
    assert_eq!(extents(x.split(9, 0)), [5]);
    assert_eq!(extents(x.chunk(3, -1)), [2, 2, 1]);
    assert_eq!(extents(x.chunk(9, 0)), [1; 5]);
    assert_eq!(extents(x.split_with_sizes([2, 0, 3], 0)), [2, 3]);
    equals(&x.split_with_sizes(vec![1, 4], 0)[1], [1, 2, 3, 4]);
    assert!(x.slice(0..0).split(0, 0).is_empty());
    assert!(text(|| x.split(0, 0)).contains("must not be zero"));
    assert!(text(|| x.split_with_sizes([2, 2], 0)).contains("must add up"));
    assert!(text(|| x.chunk(0, 0)).contains("at least one chunk"));
    let rows = range([3, 2]);
    let last: Vec<_> = rows.iter_dim(0).rev().map(|row| row.into_data()).collect();
    assert_eq!(last[0], TensorData::from([[4i64, 5]]));
    assert_eq!(rows.iter_dim(1).len(), 2);
}

#[test]
fn numbers_change_their_type() {
    let x = floats([1.7, -2.5, 0.0]);
    equals(x.int(), [1, -2, 0]);
    equals(x.bool(), [true, true, false]);
    equals(x.int().bool().int(), [1, 1, 0]);
    assert_eq!(FloatDType::from(DType::BF16), FloatDType::BF16);
    assert_eq!(IntDType::from(DType::U8), IntDType::U8);
    assert!(text(|| FloatDType::from(DType::I32)).contains("I32 is no float dtype"));
    assert!(text(|| IntDType::from(DType::F32)).contains("F32 is no integer dtype"));
    let small: Tensor<1, Int> = x.cast(IntDType::I32);
    assert_eq!(small.dtype(), DType::I32);
    let back: Tensor<1, Float> = small.cast(FloatDType::F64);
    assert_eq!(back.dtype(), DType::F64);
    assert_eq!(bools([true]).cast(FloatDType::BF16).dtype(), DType::BF16);
    assert_eq!(
        text(|| x.cast(DType::I64)),
        "cast: dtypes f32 do not fit: i64 is not of kind float; `float`, `int` and `bool` change the \
         kind"
    );
}

#[test]
fn shapes_are_made_of_arrays_and_read_like_slices() {
    let shape = Shape::from(&[2, 3]);
    assert_eq!(shape, Shape::from(vec![2, 3]));
    assert_eq!((shape.num_dims(), shape.rank(), shape.num_elements()), (2, 2, 6));
    assert_eq!((shape[1], shape.dims::<2>(), &shape[..]), (3, [2, 3], &[2, 3][..]));
    assert_eq!(zeros([2]).shape(), [2].into());
}
