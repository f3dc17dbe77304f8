//! Clipping of gradients.

use kiln_autograd::{Autograd, Gradients};
use kiln_optim::*;
use kiln_tensor::{DType, Tensor};

fn grads(values: [[f32; 2]; 2]) -> (Tensor<1>, Tensor<1>, Gradients) {
    let [a, b] = values.map(|_| Tensor::<1>::from([1.0, 1.0]).require_grad());
    let [x, y] = values.map(Tensor::<1>::from);
    let grads = ((&a * &x).sum() + (&b * &y).sum()).backward();
    (a, b, grads)
}

fn values(x: &Tensor<1>, grads: &Gradients) -> Vec<f32> {
    x.grad(grads).unwrap().to_data().to_vec().unwrap()
}

#[test]
fn all_gradients_together() {
    // torch.nn.utils.clip_grad_norm_: 13 is the norm of (3, 4, 12, 0).
    let (a, b, mut grads) = grads([[3.0, 4.0], [12.0, 0.0]]);
    assert_eq!(grad_norm(&grads, 2.0), 13.0);
    assert_eq!(grad_norm(&grads, 1.0), 19.0);
    assert_eq!(grad_norm(&grads, f64::INFINITY), 12.0);
    assert_eq!(clip_grad_norm(&mut grads, 100.0).unwrap(), 13.0);
    assert_eq!(values(&a, &grads), [3.0, 4.0], "small enough");
    assert_eq!(clip_grad_norm(&mut grads, 6.5).unwrap(), 13.0);
    for (actual, expected) in values(&a, &grads).iter().zip([1.5, 2.0]) {
        assert!((actual - expected).abs() < 1e-6);
    }
    assert!((values(&b, &grads)[0] - 6.0).abs() < 1e-6);
}

#[test]
fn each_gradient_and_each_element() {
    let (a, b, mut all) = grads([[3.0, 4.0], [0.5, 0.0]]);
    clip_grad_norm_each(&mut all, 1.0);
    assert!((values(&a, &all)[0] - 0.6).abs() < 1e-6);
    assert_eq!(values(&b, &all), [0.5, 0.0]);
    let (a, _, mut all) = grads([[3.0, -4.0], [0.5, 0.0]]);
    clip_grad_value(&mut all, 1.0);
    assert_eq!(values(&a, &all), [1.0, -1.0]);
}

#[test]
fn a_norm_that_is_not_finite_is_an_error_and_changes_nothing() {
    for bad in [f32::NAN, f32::INFINITY] {
        let (a, _, mut all) = grads([[3.0, 4.0], [bad, 0.0]]);
        let error = clip_grad_norm(&mut all, 1.0).unwrap_err().to_string();
        assert!(error.starts_with("clip_grad_norm: the norm of the gradients is"), "{error}");
        assert_eq!(values(&a, &all), [3.0, 4.0]);
    }
    assert!(grad_norm(&grads([[f32::NAN, 1.0], [5.0, 5.0]]).2, f64::INFINITY).is_nan());
}

#[test]
fn halves_do_not_overflow() {
    let x = Tensor::<1>::from([1.0, 1.0]).cast(DType::F16).require_grad();
    let mut grads = (&x * 1000.0).backward();
    assert!((clip_grad_norm(&mut grads, 1.0).unwrap() - 1000.0 * 2f64.sqrt()).abs() < 0.1);
}

#[test]
fn an_optimizer_clips_before_its_step() {
    for (clipping, expected) in [
        (GradientClipping::Value(0.5), 0.5),
        (GradientClipping::Norm(0.25), 0.75),
        (GradientClipping::GlobalNorm(0.25), 0.75),
    ] {
        let mut model = kiln_nn::Param::new(Tensor::<1>::from([1.0]));
        let mut optim = SgdConfig::new(1.0).init().with_grad_clipping(clipping);
        let grads = (&*model * 10.0).backward();
        optim.step(&mut model, grads);
        assert!((model.item::<f32>() - expected).abs() < 1e-5);
    }
}
