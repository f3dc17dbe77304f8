//! Products by the library: a stand-in for cuBLASLt gets what the backend asks of it, computes what
//! NVIDIA documents, and the results must be those of the CPU backend. Needs g++ for the rest.

mod emulator;
#[allow(dead_code)]
mod samples;

use std::io::Write;

use emulator::{Emulator, Products, has_compiler};
use kiln_autograd::{Backward, leaf};
use kiln_cuda::{CudaBackend, Gemm, GemmActivation, set_allows_tf32};
use kiln_tensor::op::samples::{Samples, complex, float};
use kiln_tensor::op::{Activation, MatMul, MatMulSums, all_samples};
use kiln_tensor::{AnyTensor, DType, Device, Tensor};
use samples::Memory;

/// A device with the library, and what that was asked for. None, and a word of it, without g++.
fn device(capability: (u32, u32)) -> Option<(Device, Products)> {
    if !has_compiler() {
        let _ = writeln!(std::io::stderr(), "skipped: there is no g++ to compile the kernels");
        return None;
    }
    let products = Products::default();
    let emulator = Emulator::new(&[], 64, capability).with_library(products.clone());
    Some((Device::custom(CudaBackend::new(emulator).unwrap()), products))
}

/// Runs products of a size that the library gets, in many layouts, and gives those it got.
fn products(dtype: DType, extents: [usize; 3]) -> Option<Vec<Gemm>> {
    let (device, products) = device((8, 0))?;
    let [m, k, n] = extents;
    let mut cases = Samples::default();
    let activated = |activation| MatMul { bias: true, activation };
    let number = |shape: Vec<usize>| if dtype.is_complex() { complex(shape) } else { float(shape) };
    cases.rough(MatMul::default(), [number(vec![m, k]), number(vec![k, n])]);
    cases.rough(MatMul::default(), [number(vec![2, m, k]), number(vec![k, n])]);
    cases.rough(MatMul::default(), [number(vec![2, m, k]), number(vec![2, k, n])]);
    if !dtype.is_complex() {
        use Activation::{GeluTanh, Relu, Silu};
        for op in [None, Some(Relu), Some(GeluTanh), Some(Silu)].map(activated) {
            cases.rough(op, [float([m, k]), float([k, n]), float([n])]);
        }
    }
    // What the library can read, in pairs of two kinds and of one, and what it can not.
    use Memory::{Contiguous, Sliced, Tangled, Transposed};
    for layouts in [&[Contiguous, Transposed, Sliced][..], &[Transposed], &[Sliced, Tangled]] {
        let types = (dtype.real(), DType::I64);
        let table = samples::check_laid_out(&cases.cases, types, device, layouts);
        assert_eq!(samples::print(&table)[1..], [0, 0], "{dtype}");
    }
    let products = products.lock().unwrap().clone();
    assert!(products.iter().all(|product| product.dtype == dtype));
    Some(products)
}

#[test]
fn products_of_floats_are_those_of_the_cpu() {
    for dtype in [DType::F32, DType::F64] {
        let Some(products) = products(dtype, [33, 40, 35]) else { return };
        let some = |what: fn(&Gemm) -> bool| assert!(products.iter().any(what), "{products:?}");
        some(|product| product.a.transposed && product.b.transposed);
        some(|product| !product.a.transposed && !product.b.transposed);
        some(|product| product.batch == 2 && product.a.step > 0);
        some(|product| product.batch == 1 && product.n == 2 * 33);
        some(|product| product.epilogue.activation == Some(GemmActivation::Relu));
        some(|product| product.epilogue.activation == Some(GemmActivation::GeluTanh));
        // SiLU comes after it, by a kernel.
        some(|product| product.epilogue.bias && product.epilogue.activation.is_none());
    }
}

#[test]
fn products_of_halves_are_rounded_once() {
    let Some(products) = products(DType::BF16, [130, 128, 129]) else { return };
    assert!(products.iter().any(|product| product.epilogue.activation.is_some()));
    assert!(products.iter().any(|product| product.a.transposed));
}

#[test]
fn products_of_complex_numbers_are_those_of_the_cpu() {
    for dtype in [DType::Complex64, DType::Complex128] {
        let Some(products) = products(dtype, [5, 6, 7]) else { return };
        assert!(products.iter().any(|product| product.batch == 2));
    }
}

#[test]
fn a_factor_is_summed_while_it_is_read() {
    for dtype in [DType::F32, DType::F64, DType::BF16] {
        let Some((device, products)) = device((8, 0)) else { return };
        let mut cases = Samples::default();
        cases.rough(MatMulSums, [float([130, 128]), float([128, 129])]);
        // Where it lies transposed; elsewhere the sums are a kernel of their own.
        use Memory::{Contiguous, Transposed};
        for (layouts, sums) in [(&[Transposed][..], true), (&[Contiguous], false)] {
            let types = (dtype, DType::I64);
            let table = samples::check_laid_out(&cases.cases, types, device, layouts);
            assert_eq!(samples::print(&table), [1, 0, 0], "{dtype}");
            let product = products.lock().unwrap().pop().unwrap();
            assert_eq!((product.epilogue.sums, product.b.transposed), (sums, sums), "{dtype}");
        }
        assert!(products.lock().unwrap().is_empty(), "one product each");
    }
}

#[test]
fn a_linear_layer_has_one_product_for_the_gradients_of_weight_and_bias() {
    let Some((device, products)) = device((8, 0)) else { return };
    let gradients = |device: Device| -> Vec<Vec<f32>> {
        let number = |i: usize| (i * 7 % 23) as f32 / 23.0 - 0.5;
        let numbers = |shape: [usize; 2]| {
            let values: Vec<f32> = (0..shape[0] * shape[1]).map(number).collect();
            leaf(Tensor::<1>::from_data(&values[..], &device).reshape(shape).as_any())
        };
        let (x, weight, bias) = (numbers([2 * 30, 40]), numbers([50, 40]), numbers([1, 50]));
        let op = MatMul { bias: true, activation: Some(Activation::Relu) };
        let rows = x.reshape([2, 30, 40]);
        let y = rows.apply(op, &[&weight.transpose(), &bias.reshape([50])]);
        let loss = y.mul(&y);
        let found = Backward::new().grad(&[&loss], &[&x, &weight, &bias]);
        let values = |x: Option<AnyTensor>| x.unwrap().to_data().unwrap().to_vec().unwrap();
        found.into_iter().map(values).collect()
    };
    let (found, expected) = (gradients(device), gradients(Device::cpu()));
    for (found, expected) in found.iter().flatten().zip(expected.iter().flatten()) {
        assert!((found - expected).abs() < 1e-4 * expected.abs().max(1.0), "{found} {expected}");
    }
    let products = products.lock().unwrap();
    assert_eq!(products.len(), 3, "{products:?}");
    assert_eq!(products.iter().filter(|product| product.epilogue.sums).count(), 1);
}

#[test]
fn recurrent_layers_multiply_once_a_step() {
    let Some((device, products)) = device((8, 0)) else { return };
    let cases = all_samples().cases;
    for (name, steps) in [("lstm", 5), ("gru", 7), ("lstm_backward", 5), ("gru_backward", 7)] {
        // The last one is large enough for the library.
        let case = cases.iter().rfind(|case| case.op.spec().name() == name).unwrap().clone();
        let types = (DType::F32, DType::I64);
        let table = samples::check_laid_out(&[case], types, device, &[Memory::Contiguous]);
        assert_eq!(samples::print(&table), [1, 0, 0]);
        let products = std::mem::take(&mut *products.lock().unwrap());
        let with =
            |what: fn(&Gemm) -> bool| products.iter().filter(|product| what(product)).count();
        let counts = [products.len(), with(|it| it.epilogue.bias), with(|it| it.epilogue.sums)];
        // Backward there is one more, for the gradients of weight and bias over all steps.
        let backward = name.ends_with("backward");
        assert_eq!(counts, if backward { [steps + 1, 0, 1] } else { [steps, steps, 0] }, "{name}");
    }
}

#[test]
fn small_products_and_wild_layouts_are_our_own() {
    let Some((device, products)) = device((8, 0)) else { return };
    let mut cases = Samples::default();
    cases.rough(MatMul::default(), [float([3, 4]), float([4, 5])]);
    let table = samples::check(&cases.cases, DType::F32, DType::I64, device, false);
    assert_eq!(samples::print(&table)[1..], [0, 0]);
    assert!(products.lock().unwrap().is_empty());
}

#[test]
fn tf32_is_used_where_it_is_allowed() {
    let Some((device, products)) = device((8, 0)) else { return };
    let x = kiln_tensor::Tensor::<2>::ones([64, 64], &device);
    set_allows_tf32(true);
    let _ = x.matmul(&x);
    set_allows_tf32(false);
    let _ = x.matmul(&x);
    let tf32: Vec<bool> = products.lock().unwrap().iter().map(|product| product.tf32).collect();
    assert_eq!(tf32, [true, false]);
}
