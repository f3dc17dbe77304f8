//! Sorting, selection, running totals and searches.

use kiln_tensor::op::{Axes, Nonzero, Op, ReduceKind, SearchSorted};
use kiln_tensor::{
    AnyTensor, Bool, DType, Device, Float, Int, Kind, QuantileInterpolation, Tensor, TensorData,
    apply,
};

use crate::common::{bools, close, equals, floats, ints, text, two_by_three};

const LINEAR: QuantileInterpolation = QuantileInterpolation::Linear;

fn empty<const D: usize, K: Kind>(shape: [usize; D]) -> Tensor<D, K> {
    Tensor::from_data(TensorData::new(Vec::<f32>::new(), shape), &Device::cpu())
}

/// Numbers that jump up and down, with repetitions.
fn jumping(n: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 7919 + 13) % 1009) as f32 - 500.0).collect()
}

#[test]
fn sorting() {
    let x = Tensor::<2>::from([[3.0, 1.0, 2.0], [0.0, 5.0, -1.0]]);
    equals(x.sort(1), [[1.0, 2.0, 3.0], [-1.0, 0.0, 5.0]]);
    equals(x.sort_descending(0), [[3.0, 5.0, 2.0], [0.0, 1.0, -1.0]]);
    equals(x.argsort(-1), [[1, 2, 0], [2, 0, 1]]);
    equals(x.argsort_descending(-1), [[0, 2, 1], [1, 0, 2]]);
    let (values, indices) = ints([5, 1, 5, 1]).sort_with_indices(0);
    equals(values, [1, 1, 5, 5]);
    equals(indices, [1, 3, 0, 2]);
    // Equal entries keep their order downwards as well.
    equals(ints([5, 1, 5, 1]).argsort_descending(0), [0, 2, 1, 3]);
    equals(bools([true, false, true]).argsort(0), [1, 0, 2]);
    assert_eq!(empty::<2, Float>([3, 0]).sort(1).dims(), [3, 0]);
    assert_eq!(empty::<2, Int>([0, 3]).sort_with_indices(1).1.dims(), [0, 3]);
    equals(floats([7.0]).sort_with_indices(0).1, [0]);
}

#[test]
fn every_dtype_sorts_at_the_ends_of_its_range() {
    for dtype in DType::ALL.into_iter().filter(|dtype| dtype.is_int()) {
        let data = TensorData::new(vec![0i64, i64::MAX, i64::MIN, -1, 255, 1], [6]);
        let x = Tensor::<1, Int>::from_any(
            AnyTensor::from_data(&data.convert_dtype(dtype), &Device::cpu()).unwrap(),
        );
        // Wide enough for every integer type.
        let numbers = |x: &Tensor<1, Int>| -> Vec<i128> {
            let data = x.to_data();
            match dtype {
                DType::U64 => data.iter::<u64>().map(i128::from).collect(),
                _ => data.iter::<i64>().map(i128::from).collect(),
            }
        };
        let mut expected = numbers(&x);
        expected.sort();
        assert_eq!(numbers(&x.sort(0)), expected, "{dtype}");
        expected.reverse();
        assert_eq!(numbers(&x.sort_descending(0)), expected, "{dtype}");
    }
}

#[test]
fn long_rows_are_sorted_by_several_threads() {
    let numbers = jumping(200_000);
    let mut expected: Vec<(f32, i64)> = numbers.iter().copied().zip(0..).collect();
    expected.sort_by(|a, b| a.0.total_cmp(&b.0));
    let x = Tensor::<1>::from(numbers.as_slice());
    for x in [x.clone(), x.cast(DType::F64)] {
        let (values, indices) = x.sort_with_indices(0);
        let found = values.to_data().iter().zip(indices.to_data().iter()).collect::<Vec<_>>();
        assert!(found == expected);
        let (_, top) = x.topk_smallest_with_indices(70_000, 0);
        assert!(top.to_data().iter::<i64>().eq(expected[..70_000].iter().map(|x| x.1)));
    }
}

#[test]
fn selection() {
    let x = Tensor::<2>::from([[3.0, 1.0, 2.0], [0.0, 5.0, -1.0]]);
    equals(x.topk(2, 1), [[3.0, 2.0], [5.0, 0.0]]);
    equals(x.argtopk(1, 0), [[0, 1, 0]]);
    equals(x.topk_smallest(1, -1), [[1.0], [-1.0]]);
    let (values, indices) = ints([4, 9, 9, 4, 9]).topk_with_indices(4, 0);
    equals(values, [9, 9, 9, 4]);
    equals(indices, [1, 2, 4, 0]);
    assert_eq!(x.topk(0, 1).dims(), [2, 0]);
    equals(x.topk(3, 1), [[3.0, 2.0, 1.0], [5.0, 0.0, -1.0]]);
    let (value, index) = x.kthvalue(2, 1);
    equals(value, [[2.0], [0.0]]);
    equals(index, [[2], [0]]);
    let (value, index) = ints([1, 3, 3, 2, 2]).mode(0);
    equals(value, [2]);
    equals(index, [4]);
    assert!(text(|| x.topk(4, 1)).contains("topk: shapes [2, 3] do not fit: axis 1 has no 4"));
    assert!(text(|| x.topk_smallest(4, 5)).contains("axis 5 is out of range"));
    assert!(text(|| x.kthvalue(0, 1)).contains("k is 0, but axis 1 has the ranks 1 to 3"));
    assert!(text(|| empty::<2, Float>([2, 0]).median(1)).contains("median"));
    assert!(text(|| empty::<2, Float>([2, 0]).mode(1)).contains("axis 1 has no entries"));
    assert_eq!(empty::<2, Float>([0, 2]).median(1).dims(), [0, 1]);
}

#[test]
fn medians() {
    let x = Tensor::<2>::from([[4.0, 1.0, 3.0, 2.0], [1.0, f32::NAN, 0.0, 5.0]]);
    equals(x.median(1), [[2.0], [f32::NAN]]);
    equals(x.median_with_indices(1).1, [[3], [1]]);
    equals(x.nanmedian(1), [[2.0], [1.0]]);
    equals(x.nanmedian_with_indices(1).1, [[3], [0]]);
    equals(ints([9, 7, 8]).median(0), [8]);
    equals(floats([f32::NAN, f32::NAN]).nanmedian(0), [f32::NAN]);
}

#[test]
fn quantiles() {
    let x = floats([0.0, 10.0, 20.0, 30.0]);
    close(x.quantile(0.25, 0, LINEAR), [7.5]);
    close(x.quantile(0.5, -1, QuantileInterpolation::Midpoint), [15.0]);
    let rows = Tensor::<2>::from([[0.0, 4.0], [8.0, 10.0], [1.0, 1.0]]);
    equals(rows.quantiles(floats([0.5, 1.0]), 1, LINEAR), [[2.0, 9.0, 1.0], [4.0, 10.0, 1.0]]);
    // Halves are computed in f32: half of 2049 and 2051 is no half.
    let half = Tensor::<1>::from([2048.0, 2052.0]).cast(DType::F16);
    equals(half.quantile(0.5, 0, LINEAR), [2050.0]);
    assert!(text(|| x.quantile(1.5, 0, LINEAR)).contains("lies in 0 to 1, not at 1.5"));
    assert!(text(|| x.quantile(f64::NAN, 0, LINEAR)).contains("not at NaN"));
    assert!(text(|| empty::<1, Float>([0]).quantile(0.5, 0, LINEAR)).contains("quantile"));
}

#[test]
fn running_totals() {
    let x = two_by_three();
    equals(x.cumsum(0), [[0.0, 1.0, 2.0], [3.0, 5.0, 7.0]]);
    equals(x.cumprod(-1), [[0.0, 0.0, 0.0], [3.0, 12.0, 60.0]]);
    equals(ints([3, 1, 4, 1, 5]).cummax(0), [3, 3, 4, 4, 5]);
    let (values, indices) = ints([3, 1, 4, 1, 5]).cummin_with_indices(0);
    equals(values, [3, 1, 1, 1, 1]);
    equals(indices, [0, 1, 1, 3, 3]);
    close(floats([0.0, 0.0]).logcumsumexp(0), [0.0, std::f32::consts::LN_2]);
    equals(floats([0.5, 2.0, 3.0]).linear_recurrence(floats([1.0, 1.0, 1.0]), 0), [1.0, 3.0, 10.0]);
    assert_eq!(empty::<2, Float>([2, 0]).cumsum(1).dims(), [2, 0]);
    assert_eq!(empty::<2, Float>([0, 2]).cummax_with_indices(1).1.dims(), [0, 2]);
    // Narrow integers wrap.
    equals(ints([200, 100]).cast(DType::U8).cumsum(0), [200, 44]);
    let text = text(|| floats([1.0]).linear_recurrence(floats([1.0, 2.0]), 0));
    assert!(text.contains("linear_recurrence: shapes [1] and [2] do not fit"), "{text}");
}

#[test]
fn a_running_sum_of_many_numbers_is_exact_to_the_last_place() {
    let n = 1 << 20;
    let sums = Tensor::<1>::full([n], 0.1, &Device::cpu()).cumsum(0);
    let exact = 0.1f32 as f64 * n as f64;
    assert_eq!(sums.slice(-1).item::<f32>(), exact as f32);
    // 1024 is the largest sum of halves whose steps are this fine.
    let halves = Tensor::<1>::full([1024], 1.0, &Device::cpu()).cast(DType::BF16).cumsum(0);
    equals(halves.slice(-1), [1024.0]);
}

#[test]
fn positions() {
    let x = Tensor::<2, Int>::from([[0, 7, 0], [1, 0, 2]]);
    equals(x.argwhere(), [[0, 1], [1, 0], [1, 2]]);
    let [rows, columns] = x.greater_elem(0).nonzero().try_into().unwrap();
    equals(rows, [0, 1, 1]);
    equals(columns, [1, 0, 2]);
    equals(x.mask_select(x.greater_elem(1)), [7, 2]);
    equals(bools([true, false]).mask_select(bools([true, true])), [true, false]);
    assert_eq!(x.greater_elem(9).argwhere().dims(), [0, 2]);
    assert_eq!(x.mask_select(x.greater_elem(9)).dims(), [0]);
    assert_eq!(empty::<2, Bool>([0, 3]).nonzero()[1].dims(), [0]);
    // NaN is not zero.
    equals(floats([0.0, f32::NAN, -0.0]).argwhere(), [[1]]);
    let text = text(|| floats([1.0, 2.0]).mask_select(bools([true, true, false])));
    assert!(text.contains("mask_select: shapes [2] and [3] do not fit"), "{text}");
}

#[test]
fn positions_in_several_chunks() {
    let n = 200_001;
    let numbers: Vec<i64> = (0..n).map(|i| (i * 7919 % 13 == 0) as i64).collect();
    let expected: Vec<i64> = (0..n).filter(|&i| numbers[i as usize] != 0).collect();
    let x = Tensor::<1, Int>::from(numbers.as_slice());
    for x in [x.clone(), x.flip([0]).contiguous().flip([0])] {
        equals(x.argwhere(), TensorData::new(expected.clone(), [expected.len(), 1]));
    }
}

/// The number of positions is a field of the operation: on other values it is an error.
#[test]
fn a_wrong_count_is_refused() {
    let x = floats([1.0, 0.0, 2.0]);
    for device in [Device::cpu(), Device::reference()] {
        let x = x.to_device(&device).into_any();
        let error = apply(&Op::from(Nonzero { count: 1 }), &[&x]).unwrap_err().to_string();
        assert!(error.contains("1 elements were counted, and 2 are not zero"), "{error}");
        let error = apply(&Op::from(Nonzero { count: 4 }), &[&x]).unwrap_err().to_string();
        assert!(error.contains("nonzero: shapes [3] do not fit: it has no 4 elements"), "{error}");
    }
    // Without values there is nothing to count.
    let text = text(|| x.to_device(&Device::shape_only()).argwhere());
    assert!(text.contains("no values to read"), "{text}");
}

#[test]
fn distinct_values() {
    let x = Tensor::<2, Int>::from([[3, 1, 3], [1, 1, -2]]);
    equals(x.unique(), [-2, 1, 3]);
    let (values, inverse, counts) = x.unique_inverse_counts();
    equals(values, [-2, 1, 3]);
    equals(inverse, [[2, 1, 2], [1, 1, 0]]);
    equals(counts, [1, 3, 2]);
    let (values, inverse, counts) = x.unique_consecutive_inverse_counts();
    equals(values, [3, 1, 3, 1, -2]);
    equals(inverse, [[0, 1, 2], [3, 3, 4]]);
    equals(counts, [1, 1, 1, 2, 1]);
    equals(bools([true, true]).unique(), [true]);
    let (values, inverse, counts) = empty::<1, Float>([0]).unique_inverse_counts();
    assert_eq!([values.dims(), inverse.dims(), counts.dims()], [[0]; 3]);
}

#[test]
fn counts() {
    equals(ints([3, 0, 3, 1]).bincount(0), [1, 1, 0, 2]);
    equals(ints([1]).bincount(3), [0, 1, 0]);
    equals(empty::<1, Int>([0]).bincount(2), [0, 0]);
    assert_eq!(empty::<1, Int>([0]).bincount(0).dims(), [0]);
    equals(ints([1, 0, 1]).bincount_weighted(floats([0.5, 2.0, 0.25]), 0), [2.0, 0.75]);
    assert!(text(|| ints([1, -1]).bincount(0)).contains("index -1 is out of range"));
    let text = text(|| ints([1, 2]).bincount_weighted(floats([1.0]), 0));
    assert!(text.contains("bincount_weighted: shapes [2] and [1]"), "{text}");
}

#[test]
fn histograms() {
    let x = floats([0.0, 1.0, 1.0, 2.0, 4.0, f32::NAN]);
    equals(x.histc(2, 0.0, 4.0), [3.0, 2.0]);
    equals(x.histc(2, 1.0, 2.0), [2.0, 1.0]);
    let (heights, edges) = x.histogram(2, Some((0.0, 2.0)), None, true);
    equals(heights, [0.25, 0.75]);
    equals(edges, [0.0, 1.0, 2.0]);
    equals(empty::<1, Float>([0]).histc(2, 0.0, 0.0), [0.0, 0.0]);
    assert!(text(|| x.histc(2, 0.0, 0.0)).contains("histc: the elements reach from NaN to NaN"));
    assert!(text(|| x.histc(0, 0.0, 1.0)).contains("0 bins from 0 to 1"));
    assert!(text(|| x.histc(2, 1.0, 0.0)).contains("2 bins from 1 to 0"));
}

#[test]
fn searches() {
    let sorted = floats([1.0, 3.0, 3.0, 5.0]);
    let x = floats([0.0, 3.0, 5.0, f32::NAN]);
    equals(sorted.searchsorted(&x, false), [0, 1, 3, 4]);
    equals(sorted.searchsorted(&x, true), [0, 3, 4, 4]);
    equals(x.bucketize(&sorted, false), [0, 1, 3, 4]);
    equals(ints([5, 2]).bucketize(empty::<1, Int>([0]), true), [0, 0]);
    equals(ints([5, 2, 7]).is_in(ints([7, 5])), [true, false, true]);
    equals(ints([5]).is_in(empty::<1, Int>([0])), [false]);
    assert_eq!(empty::<2, Float>([2, 0]).bucketize(&sorted, true).dims(), [2, 0]);
    let rows = Tensor::<2>::from([[1.0], [2.0]]);
    let error = text(|| rows.searchsorted(Tensor::<2>::from([[1.0]]), false));
    assert!(error.contains("searchsorted: shapes [2, 1] and [1, 1] do not fit"), "{error}");
    let op = Op::from(SearchSorted { right: true });
    let error = apply(&op, &[sorted.as_any(), ints([1]).as_any()]).unwrap_err().to_string();
    assert!(error.contains("all inputs must have one dtype"), "{error}");
}

/// Sums of f32 stay within a few units of the last place of the exact sum, however long and
/// whichever axes they run along; equal numbers are the worst case, for all roundings go one way.
#[test]
fn long_sums_are_accurate() {
    let n = 1 << 26;
    let check = |x: &AnyTensor, axes: Axes, terms: usize| {
        let exact = 0.1f32 as f64 * terms as f64;
        let sums = x.reduce(ReduceKind::Sum, axes).to_data().unwrap();
        let unit = f32::EPSILON as f64 * exact / 2.0;
        let worst = sums.iter::<f64>().map(|y| (y - exact).abs() / unit).fold(0.0, f64::max);
        println!("{axes:?}: {worst:.2} units");
        assert!(worst <= 4.0, "{worst} units along {axes:?}");
    };
    let x = Tensor::<1>::full([n], 0.1, &Device::cpu()).into_any();
    check(&x, Axes::all(1), n);
    let rows = x.narrow(0, 0, 1 << 22).reshape([64, 1 << 16]);
    check(&rows, Axes::single(1), 1 << 16);
    check(&rows, Axes::single(0), 64);
    let tall = x.narrow(0, 0, 1 << 22).reshape([1 << 14, 256]);
    check(&tall, Axes::single(0), 1 << 14);
    check(&tall.transpose(), Axes::single(0), 256);
    check(&tall.transpose(), Axes::all(2), 1 << 22);
}
