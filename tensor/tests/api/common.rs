//! Short words for the tests of the typed face.

#![allow(dead_code)]

use kiln_tensor::{Bool, Device, Int, Kind, Tensor, TensorData, Tolerance, guard};

#[track_caller]
pub fn equals<const D: usize, K: Kind>(
    x: impl AsRef<Tensor<D, K>>,
    expected: impl Into<TensorData>,
) {
    x.as_ref().to_data().assert_eq(&expected.into(), false);
}

#[track_caller]
pub fn close<const D: usize>(x: impl AsRef<Tensor<D>>, expected: impl Into<TensorData>) {
    let tolerance = Tolerance::<f32>::rel_abs(1e-6, 1e-6);
    x.as_ref().to_data().assert_approx_eq(&expected.into(), tolerance);
}

pub fn floats<const N: usize>(values: [f32; N]) -> Tensor<1> {
    Tensor::from(values)
}

pub fn ints<const N: usize>(values: [i64; N]) -> Tensor<1, Int> {
    Tensor::from(values)
}

pub fn bools<const N: usize>(values: [bool; N]) -> Tensor<1, Bool> {
    Tensor::from(values)
}

/// `[[0, 1, 2], [3, 4, 5]]`.
pub fn two_by_three() -> Tensor<2> {
    Tensor::<1, Int>::arange(0..6, &Device::cpu()).reshape([2, 3]).float()
}

/// The text of the error that `work` ends with.
#[track_caller]
pub fn text<T>(work: impl FnOnce() -> T) -> String {
    match guard(work) {
        Ok(_) => panic!("no error"),
        Err(error) => error.to_string(),
    }
}
