//! Automatic mixed precision.

use kiln_autograd::{Autograd, checkpoint};
use kiln_tensor::{
    DType, Device, Distribution, Tensor, Tolerance, activation, autocast, guard, module,
    no_autocast,
};

fn random<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), &Device::cpu())
}

#[test]
fn each_operation_runs_in_the_precision_of_the_lists() {
    let x = random([3, 4]);
    let whole = Tensor::<2, kiln_tensor::Int>::from([[1, 2], [3, 4]]);
    for half in [DType::F16, DType::BF16] {
        autocast(half, || {
            let y = module::linear(&x, random([4, 5]), Some(random([5])));
            assert_eq!(y.dtype(), half);
            assert_eq!(activation::relu(&y).dtype(), half, "as its input");
            for full in [y.exp(), y.log(), y.powf_scalar(2), activation::softmax(&y, 1)] {
                assert_eq!(full.dtype(), DType::F32);
            }
            assert_eq!((y.sum().dtype(), y.max().dtype()), (DType::F32, half));
            assert_eq!((&y + &random([3, 5])).dtype(), DType::F32, "the wider one");
            assert_eq!(Tensor::cat(vec![y.clone(), random([3, 5])], 0).dtype(), DType::F32);
            let mask = y.greater_elem(0);
            assert_eq!(random([3, 5]).mask_where(mask, &y).dtype(), DType::F32);
            let double = Tensor::<2>::from_data([[1.0]], (&Device::cpu(), DType::F64));
            assert_eq!(double.matmul(&double).dtype(), DType::F64, "left alone");
            assert_eq!(whole.sum().dtype(), DType::I64);
            assert_eq!(no_autocast(|| x.matmul(x.transpose())).dtype(), DType::F32);
        });
        assert_eq!(x.matmul(x.transpose()).dtype(), DType::F32, "it ends");
    }
    assert!(guard(|| autocast(DType::F32, || ())).is_err());
}

/// A step of a small network in bf16: gradients are f32, and those of f32 up to the rounding of
/// bf16 (8 bits, a few roundings in a row).
#[test]
fn gradients_are_those_of_full_precision_up_to_rounding() {
    let (w, b) = (random([16, 8]).require_grad(), random([8]).require_grad());
    let v = random([8, 1]).require_grad();
    let x = random([32, 16]);
    let loss = || {
        let h = activation::tanh(module::linear(&x, &w, Some(b.clone())));
        module::linear(&h, &v, None).square().mean()
    };
    let gradients = |loss: Tensor<1>| {
        let grads = loss.backward();
        let all = [w.as_any(), b.as_any(), v.as_any()].map(|t| grads.get(t).unwrap().clone());
        all.map(|gradient| {
            assert_eq!(gradient.dtype(), DType::F32);
            gradient.to_data().unwrap()
        })
    };
    let full = gradients(loss());
    // Inside or outside of it, backward computes the same.
    let inside = autocast(DType::BF16, || gradients(loss()));
    let outside = gradients(autocast(DType::BF16, loss));
    assert_eq!(inside, outside);
    for (half, full) in inside.iter().zip(&full) {
        assert_ne!(half, full, "it did run in half precision");
        half.assert_approx_eq(full, Tolerance::<f32>::rel_abs(0.05, 0.05));
    }
}

#[test]
fn a_segment_is_computed_again_in_its_precision() {
    let (x, w) = (random([4, 8]).require_grad(), random([8, 8]));
    let run = |x: &Tensor<2>| x.matmul(&w).tanh();
    let plain = autocast(DType::BF16, || run(&x));
    let captured = w.clone();
    let again =
        autocast(DType::BF16, || checkpoint(move |x: &Tensor<2>| x.matmul(&captured).tanh(), &x));
    assert_eq!(plain.to_data(), again.to_data());
    let [a, b] = [plain, again].map(|y| x.grad(&y.backward()).unwrap().into_data());
    assert_eq!(a, b);
}
