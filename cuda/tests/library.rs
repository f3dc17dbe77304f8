//! Products by the library: a stand-in for cuBLASLt gets what the backend asks of it, computes what
//! NVIDIA documents, and the results must be those of the CPU backend. Needs g++ for the rest.

mod emulator;
#[allow(dead_code)]
mod samples;

use std::io::Write;

use emulator::{Emulator, Products, has_compiler};
use kiln_cuda::{CudaBackend, Gemm, GemmActivation, set_allows_tf32};
use kiln_tensor::op::samples::{Samples, complex, float};
use kiln_tensor::op::{Activation, MatMul};
use kiln_tensor::{DType, Device};
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
