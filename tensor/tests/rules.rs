//! The shape rules themselves.

use kiln_tensor::op::{
    BatchNormBackward, Binary, BinaryKind, LayerNormBackward, MatMulSums, Meta, Operation,
    all_samples,
};
use kiln_tensor::{AnyTensor, DType, Device, TensorData, apply};

/// `apply` does not ask the rule of an operation that says it preserves the meta of its inputs.
#[test]
fn operations_that_preserve_the_meta_infer_it() {
    let mut preserving = 0;
    for case in all_samples().cases {
        for dtype in DType::ALL {
            for inputs in 0..5 {
                if !case.op.spec().preserves_meta(dtype, inputs) {
                    continue;
                }
                let meta = Meta::new([2, 3], dtype);
                let inferred = case.op.spec().infer(&vec![meta; inputs]).unwrap();
                assert_eq!(inferred.as_slice(), [meta], "{:?} of {inputs} {dtype}", case.op);
                preserving += 1;
            }
        }
    }
    assert!(preserving > 100, "{preserving} cases");
}

#[test]
fn a_product_with_sums_is_of_two_matrices() {
    let of = |a: &[usize], b: &[usize], dtype: DType| {
        let metas = [Meta::new(a, dtype), Meta::new(b, dtype)];
        MatMulSums.infer(&metas).map_err(|error| error.to_string())
    };
    let [product, sums] = of(&[2, 3], &[3, 4], DType::F16).unwrap()[..] else { panic!("two") };
    assert_eq!(product, Meta::new([2, 4], DType::F16));
    assert_eq!(sums, Meta::new([2], DType::F16));
    assert_eq!(
        of(&[2, 3], &[4, 3], DType::F32).unwrap_err(),
        "matmul_sums: shapes [2, 3] and [4, 3] do not fit: the left has 3 columns, the right 4 rows; \
         they must be equal"
    );
    assert_eq!(
        of(&[2, 2, 3], &[3, 4], DType::F32).unwrap_err(),
        "matmul_sums: shapes [2, 2, 3] and [3, 4] do not fit: both must be matrices"
    );
    assert!(of(&[2, 3], &[3, 4], DType::I32).unwrap_err().starts_with("matmul_sums: dtypes i32"));
}

#[test]
fn gradients_of_norms_refuse_statistics_of_another_dtype() {
    let [x, row, channel] = [[2, 3], [2, 1], [3, 1]].map(|shape| Meta::new(shape, DType::F16));
    let layer = LayerNormBackward { affine: false };
    let error = layer.infer(&[x, row, row, x]).unwrap_err().to_string();
    assert!(error.starts_with("layer_norm_backward: dtypes"), "{error}");
    assert!(error.ends_with("statistics must be f32"), "{error}");
    let channel = Meta::new([channel.shape[0]], DType::F16);
    let error = BatchNormBackward.infer(&[x, channel, channel, x, channel]).unwrap_err();
    assert!(error.to_string().ends_with("statistics must be f32"), "{error}");
}

#[test]
fn a_wrong_number_of_inputs_is_an_error() {
    let x = AnyTensor::from_data(&TensorData::from([1.0f32, 2.0]), &Device::cpu()).unwrap();
    let add = Binary { kind: BinaryKind::Add }.into();
    for inputs in [&[&x][..], &[&x, &x, &x]] {
        let error = apply(&add, inputs).unwrap_err().to_string();
        assert_eq!(error, format!("add: expected 2 inputs, found {}", inputs.len()));
    }
}

#[test]
fn a_fraction_fills_bools_with_true() {
    for (value, expected) in [(0.68, true), (-1.0, true), (0.0, false), (f64::NAN, true)] {
        let filled = AnyTensor::full(Meta::new([2], DType::Bool), value, Device::cpu());
        assert_eq!(filled.to_data().unwrap().to_vec::<bool>().unwrap(), [expected; 2]);
    }
}
