//! Host values: made, read, compared, and passed to and from tensors without a copy.

use half::f16;
use kiln_tensor::{
    AnyTensor, Bool, DType, Device, Distribution, Element, ElementConversion, Float, Generator,
    Int, Tensor, TensorData, Tolerance, Transaction,
};

use crate::common::text;

/// What a failed comparison says.
fn failure(work: impl FnOnce() + std::panic::UnwindSafe) -> String {
    let payload = std::panic::catch_unwind(work).expect_err("it should differ");
    payload.downcast_ref::<String>().expect("a text").clone()
}

#[test]
fn data_is_made_of_arrays_slices_and_vectors() {
    let deep = TensorData::from([[[[[1u8, 2]], [[3, 4]]]]]);
    assert_eq!(deep.dims(), [1, 1, 2, 1, 2]);
    assert_eq!((deep.rank(), deep.num_elements(), deep.dtype()), (5, 4, DType::U8));
    assert_eq!(TensorData::from(2.5f32).shape().rank(), 0);
    assert_eq!(TensorData::from([1.5, 2.5]).dtype(), DType::F64);
    assert_eq!(TensorData::from([3usize, 4]), TensorData::from(&[3i64, 4][..]));
    assert_eq!(TensorData::from(&[3usize, 4][..]), TensorData::from(vec![3i64, 4]));
    assert_eq!(TensorData::new::<f32, _>(vec![1.elem(); 3], [3]), TensorData::ones::<f32, _>([3]));
    assert_eq!(TensorData::zeros::<bool, _>([2]), TensorData::from([false, false]));
    assert_eq!(TensorData::full([2, 1], 7i32), TensorData::from([[7i32], [7]]));
    let half = TensorData::full_dtype([2], 0.5, DType::F16);
    assert_eq!(half, TensorData::from([f16::from_f32(0.5); 2]));
    assert!(text(|| TensorData::new(vec![1.0f32; 5], [2, 3])).contains("there are 5 values"));
    let bytes = TensorData::from_bytes(vec![1, 0, 0, 0, 2, 0, 0, 0], [2], DType::I32).unwrap();
    assert_eq!(bytes, TensorData::from([i32::from_le(1), i32::from_le(2)]));
    assert!(TensorData::from_bytes([0; 7], [2], DType::I32).is_err());
    assert!(TensorData::from_bytes([2], [1], DType::Bool).is_err());
}

#[test]
fn data_is_read_as_its_type_or_converted() {
    let mut data = TensorData::from([[1.5f32, -2.0], [300.0, 0.0]]);
    assert_eq!(data.as_slice::<f32>().unwrap(), [1.5, -2.0, 300.0, 0.0]);
    data.as_mut_slice::<f32>().unwrap()[1] = -2.5;
    assert_eq!(data.to_vec::<f32>().unwrap(), data.try_to_vec::<f32>().unwrap());
    assert_eq!(data.iter::<i64>().collect::<Vec<_>>(), [1, -2, 300, 0]);
    assert_eq!(data.convert::<bool>(), TensorData::from([[true, true], [true, false]]));
    assert_eq!(data.convert_dtype(DType::I32).try_into_vec::<i32>().unwrap(), [1, -2, 300, 0]);
    let error = data.as_slice::<f64>().unwrap_err().to_string();
    assert_eq!(
        error,
        "as_slice: dtypes f32 do not fit: the values are not f64; convert them first"
    );
    assert!(data.clone().into_vec::<i32>().is_err() && data.to_vec::<u8>().is_err());
    assert!(data.as_mut_slice::<i32>().is_err());
    assert_eq!(data.clone(), data);
    assert_ne!(data.convert::<f64>(), data);
    let empty = TensorData::from([0f64; 0]);
    assert!(
        empty.as_slice::<f64>().unwrap().is_empty() && empty.into_vec::<f64>().unwrap().is_empty()
    );
}

#[test]
fn numbers_convert_to_elements() {
    assert_eq!((3.elem::<f32>(), 2.9.elem::<i64>(), true.elem::<f64>()), (3.0, 2, 1.0));
    assert_eq!((300.elem::<u8>(), f16::ONE.elem::<f32>(), 0.elem::<bool>()), (44, 1.0, false));
    assert_eq!(<f32 as Element>::dtype(), DType::F32);
}

#[test]
fn random_data_follows_its_generator() {
    let mut generator = Generator { seed: 3, offset: 0 };
    let mut draw = || TensorData::random::<f64, _>([5], Distribution::Default, &mut generator);
    let (first, second) = (draw(), draw());
    assert_ne!(first, second);
    first.assert_within_range(0.0..1.0f64);
    assert_eq!(generator.offset, 6);
    let mut again = Generator { seed: 3, offset: 0 };
    assert_eq!(TensorData::random::<f64, _>([5], Distribution::Default, &mut again), first);
    let ints = TensorData::random::<i32, _>([99], Distribution::Uniform(2.0, 5.0), &mut again);
    ints.assert_within_range_inclusive(2..=4);
}

#[test]
fn comparisons_accept_what_is_equal() {
    TensorData::from([1.0f32, f32::NAN]).assert_eq(&TensorData::from([1.0f64, f64::NAN]), false);
    TensorData::from([1i64, 2]).assert_eq(&TensorData::from([1.9f32, 2.0]), false);
    TensorData::from([0.0f32]).assert_eq(&TensorData::from([-0.0f32]), true);
    let extreme = TensorData::from([f32::INFINITY, f32::NEG_INFINITY, f32::NAN]);
    extreme.assert_approx_eq::<f32>(&extreme, Tolerance::strict());
    TensorData::from([1, 2]).assert_within_range(1..3);
    // As f16, 3.0 and 3.03 are 0.0293 apart.
    let (a, b) = (TensorData::from([3.0]), TensorData::from([3.03]));
    a.assert_approx_eq::<f16>(&b, Tolerance::absolute(0.0295));
}

#[test]
fn failed_comparisons_show_what_differs() {
    let dtype = failure(|| TensorData::from([1.0f32]).assert_eq(&TensorData::from([1.0f64]), true));
    assert_eq!(dtype, "dtypes differ: f32 but expected f64");
    let shape = failure(|| TensorData::from([1]).assert_eq(&TensorData::from([[1]]), true));
    assert_eq!(shape, "shapes differ: [1] but expected [1, 1]");
    let values = failure(|| {
        let a = TensorData::from([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]);
        let b = TensorData::from([[1.0, 2.5, 3.0], [3.0, 5.0, 7.5]]);
        a.assert_approx_eq::<f32>(&b, Tolerance::default());
    });
    assert_eq!(
        values,
        "3 of 6 values differ; largest absolute error 1.500e0 at [1, 2], largest relative error \
         3.333e-1 at [1, 0]:\n  at [0, 1]: 2 but expected 2.5\n  at [1, 0]: 4 but expected 3\n  at \
         [1, 2]: 6 but expected 7.5"
    );
    // Beyond 2^53, where floats would not tell them apart.
    let large = (1i64 << 53) + 1;
    let ints =
        failure(|| TensorData::from([large; 9]).assert_eq(&TensorData::from([large - 1; 9]), true));
    assert!(ints.contains("at [4]: 9007199254740993 but expected 9007199254740992\n  and 4 more"));
    let nan = failure(|| {
        let one = TensorData::from([1.0]);
        TensorData::from([f64::NAN]).assert_approx_eq::<f64>(&one, Tolerance::permissive());
    });
    assert!(nan.contains("largest absolute error NaN"), "{nan}");
    let range = failure(|| TensorData::from([[1.0, 2.0]]).assert_within_range(0.0..2.0));
    assert_eq!(range, "2.0 at [0, 1] is not within 0.0..2.0");
    failure(|| TensorData::from([f32::NAN]).assert_within_range_inclusive(0.0..=2.0f32));
}

#[test]
fn tolerances_bound_the_larger_number() {
    let accepts = |tolerance: Tolerance<f32>, a: f32, b: f32| tolerance.approx_eq(a, b);
    assert!(
        accepts(Tolerance::default(), 100.0, 100.4) && !accepts(Tolerance::default(), 100.0, 100.6)
    );
    assert!(
        accepts(Tolerance::balanced(), 0.0, 9e-6) && !accepts(Tolerance::balanced(), 0.0, 2e-5)
    );
    assert!(
        accepts(Tolerance::permissive(), 0.0, 0.009)
            && accepts(Tolerance::permissive(), 100.0, 100.9)
    );
    assert!(!accepts(Tolerance::strict(), 1.0, 1.0000001));
    assert!(accepts(Tolerance::strict(), 0.0, 1e-38) && !accepts(Tolerance::strict(), 0.0, 1e-36));
    assert!(
        accepts(Tolerance::relative(0.1), 9.5, 10.0)
            && !accepts(Tolerance::relative(0.1), 0.0, 1e-9)
    );
    // The bound itself is too far.
    assert!(
        !accepts(Tolerance::absolute(1), 1.0, 2.0) && accepts(Tolerance::absolute(1), 1.0, 1.75)
    );
    let set = Tolerance::<f32>::rel_abs(1e-3, 1e-3).set_relative(0.5).set_absolute(0);
    assert_eq!(set, Tolerance::relative(0.5));
    let of = |x: Tolerance<f16>| x.set_half_precision_relative(1e-1).set_half_precision_absolute(1);
    assert_eq!(of(Tolerance::default()), Tolerance::rel_abs(1e-1, 1.0));
    let single = Tolerance::<f32>::strict()
        .set_half_precision_absolute(1)
        .set_single_precision_absolute(2)
        .set_double_precision_absolute(3);
    assert_eq!(single, Tolerance::absolute(2));
    let double = Tolerance::<f64>::absolute(0.0)
        .set_single_precision_relative(0.1)
        .set_double_precision_relative(0.2);
    assert_eq!(double, Tolerance::relative(0.2));
    assert!(std::panic::catch_unwind(|| Tolerance::<f32>::relative(1.5)).is_err());
    assert!(std::panic::catch_unwind(|| Tolerance::<f32>::absolute(-1)).is_err());
}

#[test]
fn tensors_are_made_of_numbers_arrays_and_vectors() {
    assert_eq!(Tensor::<0>::from(2.5).into_scalar::<f32>(), 2.5);
    assert_eq!(Tensor::<1, Int>::from(vec![1i32, 2]).dtype(), DType::I64);
    assert!(Tensor::<2, Bool>::from([[true]]).item::<bool>());
    assert_eq!(Tensor::<1, Float>::from(&[1u8, 2][..]).into_vec::<f32>(), [1.0, 2.0]);
    assert_eq!(Tensor::<1, Int>::from([3usize]).item::<i64>(), 3);
}

#[test]
fn tensors_are_read_back() {
    let x = Tensor::<2>::from([[1.0, 2.0], [3.0, 4.0]]);
    assert_eq!(x.try_to_data().unwrap(), x.to_data());
    assert_eq!(x.to_vec::<f32>(), x.try_to_vec::<f32>().unwrap());
    assert_eq!(x.transpose().to_vec::<f32>(), [1.0, 3.0, 2.0, 4.0]);
    assert_eq!(x.transpose().into_vec::<f32>(), [1.0, 3.0, 2.0, 4.0]);
    assert!(x.try_to_vec::<f64>().is_err() && x.clone().try_into_vec::<i64>().is_err());
    assert!(x.clone().try_into_scalar::<f32>().unwrap_err().to_string().contains("one element"));
    assert_eq!(x.sum().try_into_scalar::<f64>().unwrap(), 10.0);
    assert_eq!(x.transpose().to_vec_as::<i64>(), [1, 3, 2, 4]);
    assert_eq!(x.clone().into_vec_as::<f64>(), x.clone().try_into_vec_as::<f64>().unwrap());
    assert!(Tensor::<1>::zeros([2], &Device::shape_only()).try_to_vec_as::<f32>().is_err());
    assert!(text(|| x.to_vec::<f64>()).contains("not f64"));
    assert!(Tensor::<1>::zeros([2], &Device::shape_only()).try_into_data().is_err());
    let [sum, whole] = Transaction::default()
        .register(x.sum())
        .register(&x)
        .register(x.greater(Tensor::<2>::from([[2.0]])).equal(Tensor::<2, Bool>::from([[true]])))
        .execute()[..2]
        .to_vec()
        .try_into()
        .unwrap();
    assert_eq!((sum.iter::<f32>().next(), whole), (Some(10.0), x.to_data()));
}

#[test]
fn vectors_become_tensors_and_vectors_again_without_a_copy() {
    let device = Device::cpu();
    let values: Vec<f32> = (0..1000).map(|i| i as f32).collect();
    let address = values.as_ptr();
    let x = Tensor::<2>::from_data(TensorData::new(values, [10, 100]), &device);
    assert_eq!(x.as_slice::<f32>().unwrap().as_ptr(), address);
    // A view borrows the same memory.
    let rows = x.as_any().narrow(0, 3, 2);
    assert_eq!(rows.as_slice::<f32>().unwrap()[0], 300.0);
    assert_eq!(rows.as_slice::<f32>().unwrap().as_ptr(), address.wrapping_add(300));
    drop(rows);
    // An operation that owns the tensor writes into the memory of the `Vec`.
    let y = x + 1.0;
    assert_eq!(y.as_slice::<f32>().unwrap().as_ptr(), address);
    let flat = y.reshape::<1, _>([1000]);
    drop(y);
    let back = flat.into_vec::<f32>();
    assert_eq!((back.as_ptr(), back[999]), (address, 1000.0));

    let data = AnyTensor::from_vec(back, [1000], &device).unwrap().into_data().unwrap();
    assert_eq!(data.as_slice::<f32>().unwrap().as_ptr(), address);
    let values = data.into_vec::<f32>().unwrap();
    assert_eq!(values.as_ptr(), address);
    let bools = AnyTensor::from_vec(vec![true, false], [2], &device).unwrap();
    assert_eq!(bools.as_slice::<bool>().unwrap(), [true, false]);
}

#[test]
fn shared_memory_is_copied_out_and_never_written() {
    let device = Device::cpu();
    let x = AnyTensor::from_vec(vec![1.0f32, 2.0, 3.0], [3], &device).unwrap();
    let other = x.clone();
    let address = x.as_slice::<f32>().unwrap().as_ptr();
    let changed = x.clone().into_vec::<f32>().unwrap();
    assert_ne!(changed.as_ptr(), address);
    let sum = Tensor::<1>::from_any(x) + 1.0;
    assert_ne!(sum.as_slice::<f32>().unwrap().as_ptr(), address);
    assert_eq!(other.as_slice::<f32>().unwrap(), [1.0, 2.0, 3.0]);
    // Of a part of the memory only a copy can be made.
    let part = other.narrow(0, 0, 2);
    drop((other, sum));
    assert_eq!(part.into_vec::<f32>().unwrap(), [1.0, 2.0]);
    // What the device itself allocated is copied.
    let computed = Tensor::<1>::ones([3], &device);
    assert_eq!(computed.into_vec::<f32>(), [1.0; 3]);
    let empty = AnyTensor::from_vec(Vec::<f32>::new(), [0, 3], &device).unwrap();
    assert!(empty.as_slice::<f32>().unwrap().is_empty());
    assert!(empty.into_vec::<f32>().unwrap().is_empty());
}

#[test]
fn elements_can_be_borrowed_only_as_they_lie() {
    let x = Tensor::<2>::from([[1.0, 2.0], [3.0, 4.0]]);
    let error = |result: kiln_tensor::Result<&[f32]>| result.unwrap_err().to_string();
    assert!(error(x.transpose().as_slice()).contains("copy with `contiguous`"));
    assert!(x.as_slice::<f64>().unwrap_err().to_string().contains("the elements are not f64"));
    let nowhere = Tensor::<1>::zeros([2], &Device::shape_only());
    assert!(error(nowhere.as_slice()).contains("the elements are on shape-only"));
}

/// Tensors of `Vec`s go through threads and are freed once.
#[test]
fn adopted_memory_may_be_freed_anywhere() {
    let tensors: Vec<_> = (0..20)
        .map(|i| Tensor::<1>::from(vec![i as f32; 1000]).reshape::<2, _>([10, 100]))
        .collect();
    let sums =
        std::thread::spawn(move || tensors.iter().map(|x| x.sum().item::<f32>()).sum::<f32>());
    assert_eq!(sums.join().unwrap(), 190_000.0);
}
