//! Tensors as text. Every number layout is what `torch._tensor_str._tensor_str(x, 0)` of PyTorch
//! 2 prints for the same numbers.

use kiln_tensor::{Bool, DType, Device, Float, Int, Kind, Shape, Tensor, TensorData};

/// The numbers of the text, without the line about shape and dtype.
fn numbers<const D: usize, K: Kind>(x: impl Into<Tensor<D, K>>) -> String {
    let text = x.into().to_string();
    text[..text.rfind("\nTensor[").unwrap()].to_string()
}

fn count(shape: impl Into<Shape>) -> TensorData {
    let shape = shape.into();
    TensorData::new((0..shape.num_elements() as i64).collect::<Vec<_>>(), shape)
}

#[test]
fn floats_share_one_notation() {
    assert_eq!(
        numbers::<2, Float>([[1.0, 2.0], [3.0, 4.5]]),
        "[[1.0000, 2.0000],\n [3.0000, 4.5000]]"
    );
    assert_eq!(numbers::<1, Float>([1.0, -2.0, 30.0]), "[ 1., -2., 30.]");
    assert_eq!(numbers::<1, Float>([0.00001, 1.0]), "[1.0000e-05, 1.0000e+00]");
    assert_eq!(numbers::<1, Float>([1e9, 1.0]), "[1.0000e+09, 1.0000e+00]");
    assert_eq!(numbers::<1, Float>([2000.5, 1.0]), "[2.0005e+03, 1.0000e+00]");
    assert_eq!(numbers::<1, Float>([f32::NAN, 1.5, f32::NEG_INFINITY]), "[   nan, 1.5000,   -inf]");
    assert_eq!(numbers::<1, Float>([f32::NAN, 1.0, f32::INFINITY]), "[nan, 1., inf]");
    assert_eq!(
        numbers::<3, Float>([[[0.0; 2]; 2]; 2]),
        "[[[0., 0.],\n  [0., 0.]],\n\n [[0., 0.],\n  [0., 0.]]]"
    );
    assert_eq!(
        numbers::<1, Float>(Tensor::<1>::arange(0..30, &Device::cpu()) / 7.0),
        "[0.0000, 0.1429, 0.2857, 0.4286, 0.5714, 0.7143, 0.8571, 1.0000, 1.1429, 1.2857,\n 1.4286, \
         1.5714, 1.7143, 1.8571, 2.0000, 2.1429, 2.2857, 2.4286, 2.5714, 2.7143,\n 2.8571, 3.0000, \
         3.1429, 3.2857, 3.4286, 3.5714, 3.7143, 3.8571, 4.0000, 4.1429]"
    );
}

#[test]
fn integers_and_bools_line_up() {
    assert_eq!(numbers::<2, Int>([[1, -20], [300, 4]]), "[[  1, -20],\n [300,   4]]");
    assert_eq!(numbers::<1, Int>([1i64, 1 << 60]), "[                  1, 1152921504606846976]");
    assert_eq!(numbers::<2, Bool>([[true, false]]), "[[ true, false]]");
}

#[test]
fn long_axes_are_shortened() {
    assert_eq!(
        numbers::<2, Int>(count([40, 30])),
        "[[   0,    1,    2,  ...,   27,   28,   29],\n [  30,   31,   32,  ...,   57,   58,   \
         59],\n [  60,   61,   62,  ...,   87,   88,   89],\n ...,\n [1110, 1111, 1112,  ..., 1137, \
         1138, 1139],\n [1140, 1141, 1142,  ..., 1167, 1168, 1169],\n [1170, 1171, 1172,  ..., \
         1197, 1198, 1199]]"
    );
    assert_eq!(
        numbers::<1, Float>(Tensor::<1>::arange(0..2000, &Device::cpu())),
        "[0.0000e+00, 1.0000e+00, 2.0000e+00,  ..., 1.9970e+03, 1.9980e+03,\n 1.9990e+03]"
    );
}

#[test]
fn the_last_line_says_shape_and_dtype() {
    assert_eq!(Tensor::<1>::from([1.0]).to_string(), "[1.]\nTensor[[1], f32]");
    let scalar =
        Tensor::<0>::from_data(TensorData::new(vec![3.5], []), (&Device::cpu(), DType::F16));
    assert_eq!(scalar.to_string(), "3.5000\nTensor[[], f16]");
    let empty = Tensor::<2>::zeros([0, 3], &Device::cpu());
    assert_eq!(empty.to_string(), "[]\nTensor[[0, 3], f32]");
    assert_eq!(count([2]).to_string(), "[0, 1]\nTensor[[2], i64]");
}

#[test]
fn debug_text_is_short() {
    let x = Tensor::<2>::zeros([2, 3], &Device::cpu());
    assert_eq!(format!("{x:?}"), "Tensor([2, 3], f32, cpu)");
    let shapes = Tensor::<1>::zeros([2], &Device::shape_only());
    assert_eq!(shapes.to_string(), "Tensor([2], f32, shape-only)");
    assert_eq!(format!("{:?}", count([3])), "TensorData([3], i64, [0, 1, 2])");
    assert_eq!(format!("{:?}", Device::cpu()), "cpu");
    let layout = x.transpose();
    assert_eq!(format!("{:?}", layout.as_any().layout()), "[3, 2] strides [1, 3] offset 0");
}
