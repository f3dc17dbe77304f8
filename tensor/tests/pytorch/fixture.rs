//! A file of tensors that PyTorch wrote.

use std::collections::HashMap;
use std::sync::LazyLock;

use kiln_tensor::{AnyTensor, DType, Device, Kind, Shape, Tensor, TensorData, Tolerance};
use safetensors::{Dtype, SafeTensors};

/// One rounding on each side, and few in between.
pub const SHORT: f64 = 1e-6;
/// Sums of many products.
pub const LONG: f64 = 1e-5;

/// The tensors of a file by name.
pub struct Fixture(LazyLock<HashMap<String, TensorData>>);

impl Fixture {
    /// Reads the file at first use: `Fixture::new(|| load(include_bytes!(..)))`.
    pub const fn new(load: fn() -> HashMap<String, TensorData>) -> Self {
        Self(LazyLock::new(load))
    }

    pub fn data(&self, name: &str) -> &TensorData {
        self.0.get(name).unwrap_or_else(|| panic!("no {name} in the fixture"))
    }

    pub fn any(&self, name: &str) -> AnyTensor {
        AnyTensor::from_data(self.data(name), &Device::cpu()).unwrap()
    }

    pub fn get<const D: usize, K: Kind>(&self, name: &str) -> Tensor<D, K> {
        Tensor::from_any(self.any(name))
    }

    /// Within `relative` of PyTorch, where numbers below 1 are sums that cancelled and count as 1.
    #[track_caller]
    pub fn near(&self, name: &str, y: &AnyTensor, relative: f64) {
        println!("{name}");
        let tolerance = Tolerance::<f32>::rel_abs(relative, relative);
        y.to_data().unwrap().assert_approx_eq(self.data(name), tolerance);
    }

    /// Bit for bit, dtype included.
    #[track_caller]
    pub fn same(&self, name: &str, y: &AnyTensor) {
        println!("{name}");
        y.to_data().unwrap().assert_eq(self.data(name), true);
    }
}

pub fn load(file: &[u8]) -> HashMap<String, TensorData> {
    let load = |(name, view): (String, safetensors::tensor::TensorView<'_>)| {
        let dtype = match view.dtype() {
            Dtype::F64 => DType::F64,
            Dtype::F32 => DType::F32,
            Dtype::F16 => DType::F16,
            Dtype::BF16 => DType::BF16,
            Dtype::I64 => DType::I64,
            Dtype::I32 => DType::I32,
            Dtype::U8 => DType::U8,
            Dtype::BOOL => DType::Bool,
            other => panic!("{name} has {other:?}"),
        };
        let shape = Shape::new(view.shape());
        (name, TensorData::from_bytes(view.data(), shape, dtype).unwrap())
    };
    SafeTensors::deserialize(file).unwrap().tensors().into_iter().map(load).collect()
}
