//! The shape rules themselves.

use kiln_tensor::op::{Binary, BinaryKind, Meta, all_samples};
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
fn a_wrong_number_of_inputs_is_an_error() {
    let x = AnyTensor::from_data(&TensorData::from([1.0f32, 2.0]), &Device::cpu()).unwrap();
    let add = Binary { kind: BinaryKind::Add }.into();
    for inputs in [&[&x][..], &[&x, &x, &x]] {
        let error = apply(&add, inputs).unwrap_err().to_string();
        assert_eq!(error, format!("add: expected 2 inputs, found {}", inputs.len()));
    }
}
