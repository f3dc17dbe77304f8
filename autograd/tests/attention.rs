//! Attention and its gradient: over several tiles against PyTorch (`attention.py` beside the fixture
//! of the tensor crate wrote the values), and at its edges.

#[path = "../../tensor/tests/pytorch/fixture.rs"]
#[allow(dead_code)] // Shared: no test file uses all of it.
mod fixture;

use fixture::{Fixture, load};
use kiln_autograd::{Autograd, leaf};
use kiln_tensor::module::{
    AttentionMask, AttentionModuleOptions, attention, scaled_dot_product_attention,
};
use kiln_tensor::{AnyTensor, Bool, Device, Distribution, Int, Tensor};

static TORCH: Fixture =
    Fixture::new(|| load(include_bytes!("../../tensor/tests/fixtures/attention.safetensors")));

fn t(x: &AnyTensor) -> Tensor<4> {
    Tensor::from_any(x.clone())
}

/// The result and the gradients of `sum(y * dy)` by each input; `dy` counts from one where it is
/// not given.
fn run(
    inputs: &[AnyTensor],
    dy: Option<AnyTensor>,
    function: impl Fn(&[AnyTensor]) -> Tensor<4>,
) -> (AnyTensor, Vec<AnyTensor>) {
    let leaves: Vec<AnyTensor> = inputs.iter().map(leaf).collect();
    let y = function(&leaves).into_any();
    let count = || Tensor::<1>::ones([y.num_elements()], &Device::cpu()).cumsum(0).into_any();
    let dy = dy.unwrap_or_else(|| count().reshape(y.shape()));
    let total = Tensor::<1>::from_any(y.mul(&dy).reshape([y.num_elements()])).sum();
    let grads = total.backward();
    let grads = leaves.iter().map(|leaf| grads.get(leaf).expect("a gradient").clone()).collect();
    (y.detach(), grads)
}

fn normal(shape: [usize; 4]) -> AnyTensor {
    Tensor::<4>::random(shape, Distribution::Normal(0.0, 1.0), &Device::cpu()).into_any()
}

fn values(x: &AnyTensor) -> Vec<f32> {
    x.to_data().unwrap().to_vec().unwrap()
}

#[test]
fn tiles_agree_with_pytorch() {
    let attend = |causal| {
        move |i: &[AnyTensor]| {
            let bias = i.get(3).map(|bias| AttentionMask::Add(t(bias)));
            scaled_dot_product_attention(t(&i[0]), t(&i[1]), t(&i[2]), bias, 0.0, causal, None)
        }
    };
    let with = |is_causal, softcap| {
        move |i: &[AnyTensor]| {
            let options = AttentionModuleOptions { scale: None, softcap, is_causal };
            attention(t(&i[0]), t(&i[1]), t(&i[2]), None, None, options)
        }
    };
    type Function = Box<dyn Fn(&[AnyTensor]) -> Tensor<4>>;
    let cases: [(&str, &[&str], Function); 7] = [
        ("causal", &["q", "k", "v"], Box::new(attend(true))),
        ("groups", &["q", "k", "v"], Box::new(attend(true))),
        ("tiles", &["q", "k", "v"], Box::new(attend(false))),
        ("last", &["q", "k", "v"], Box::new(with(true, None))),
        ("bias", &["q", "k", "v", "bias"], Box::new(attend(false))),
        ("next", &["q", "k", "v", "bias"], Box::new(attend(false))),
        ("softcap", &["q", "k", "v"], Box::new(with(false, Some(2.0)))),
    ];
    for (name, names, function) in cases {
        let inputs: Vec<_> =
            names.iter().map(|input| TORCH.any(&format!("{name}.{input}"))).collect();
        let (y, grads) = run(&inputs, Some(TORCH.any(&format!("{name}.dy"))), function);
        TORCH.near(&format!("{name}.y"), &y, 1e-5);
        for (input, grad) in names.iter().zip(&grads) {
            TORCH.near(&format!("{name}.{input}.grad"), grad, 1e-5);
        }
    }
}

#[test]
fn transposed_views_give_the_bits_of_contiguous_ones() {
    let inputs = [normal([2, 3, 45, 8]), normal([2, 3, 45, 8]), normal([2, 3, 45, 8])];
    let attend = |i: &[AnyTensor]| {
        scaled_dot_product_attention(t(&i[0]), t(&i[1]), t(&i[2]), None, 0.0, true, None)
    };
    let (y, grads) = run(&inputs, None, attend);
    // As a layer has them: [batch, time, heads, d] in memory.
    let views = inputs.map(|x| t(&x).swap_dims(1, 2).into_any().contiguous());
    let (y2, grads2) = run(&views, None, |i| {
        let [q, k, v] = [0, 1, 2].map(|x| t(&i[x]).swap_dims(1, 2));
        scaled_dot_product_attention(q, k, v, None, 0.0, true, None)
    });
    assert_eq!(values(&y), values(&y2));
    for (grad, other) in grads.iter().zip(&grads2) {
        assert_eq!(values(grad), values(&t(other).swap_dims(1, 2).into_any()));
    }
}

#[test]
fn a_query_that_sees_nothing_has_no_gradient() {
    let inputs = [normal([1, 2, 40, 4]), normal([1, 2, 50, 4]), normal([1, 2, 50, 4])];
    let blind = Tensor::<1, Int>::arange(0..40, &Device::cpu())
        .float()
        .equal_scalar(7.0)
        .reshape([1, 1, 40, 1]);
    let (y, grads) = run(&inputs, None, |i| {
        let [q, k, v] = [0, 1, 2].map(|x| t(&i[x]));
        attention(q, k, v, Some(blind.clone()), None, Default::default())
    });
    assert!(y.narrow(2, 7, 1).to_data().unwrap().iter::<f32>().all(|y| y == 0.0));
    assert!(y.narrow(2, 8, 1).to_data().unwrap().iter::<f32>().all(|y| y != 0.0));
    assert!(values(&grads[0].narrow(2, 7, 1)).iter().all(|&x| x == 0.0));
    assert!(grads.iter().flat_map(values).all(f32::is_finite));
    // More queries than keys, the last of which sees them all: the first ones see none.
    let inputs = [normal([1, 1, 9, 4]), normal([1, 1, 3, 4]), normal([1, 1, 3, 4])];
    let (y, grads) = run(&inputs, None, |i| {
        let options = AttentionModuleOptions { is_causal: true, ..Default::default() };
        attention(t(&i[0]), t(&i[1]), t(&i[2]), None, None, options)
    });
    assert!(values(&y.narrow(2, 0, 6)).iter().all(|&y| y == 0.0));
    assert!(values(&grads[0].narrow(2, 0, 6)).iter().all(|&x| x == 0.0));
    assert!(values(&y.narrow(2, 6, 3)).iter().all(|&y| y != 0.0));
    assert!(grads.iter().flat_map(values).all(f32::is_finite));
}

#[test]
fn large_scores_do_not_overflow() {
    // Queries and keys of 2e4 in direction `i`: each query sees its own key alone.
    for n in [4, 300] {
        let eye = Tensor::<2>::eye(n, &Device::cpu()).mul_scalar(2e4).reshape([1, 1, n, n]);
        let value = normal([1, 1, n, 5]);
        let inputs = [eye.as_any().clone(), eye.into_any(), value.clone()];
        let (y, grads) = run(&inputs, None, |i| {
            scaled_dot_product_attention(t(&i[0]), t(&i[1]), t(&i[2]), None, 0.0, false, Some(1.0))
        });
        assert_eq!(values(&y), values(&value));
        // The probabilities do not move, so queries and keys have no gradient, but for the rounding
        // of `dy . value`, of up to 5 x 5n x 4, which a key of 2e4 multiplies.
        let bound = 2e4 * 8.0 * f32::EPSILON * (5.0 * 5.0 * n as f32 * 4.0);
        let largest = grads[..2].iter().flat_map(values).map(f32::abs).fold(0.0, f32::max);
        assert!(largest <= bound, "{largest} is over {bound}");
        let dy: Vec<f32> = (1..=n * 5).map(|i| i as f32).collect();
        assert_eq!(values(&grads[2]), dy);
    }
}

#[test]
fn a_bias_of_one_row_gathers_the_gradients_of_all() {
    let inputs =
        [normal([2, 2, 6, 3]), normal([2, 1, 5, 3]), normal([2, 1, 5, 4]), normal([1, 1, 1, 5])];
    let mask = Tensor::<4, Bool>::from([[[[false, true, false, false, false]]]]);
    let attend = |i: &[AnyTensor]| {
        let (mask, bias) = (Some(mask.clone()), Some(t(&i[3])));
        attention(t(&i[0]), t(&i[1]), t(&i[2]), mask, bias, Default::default())
    };
    let (y, grads) = run(&inputs, None, attend);
    // The same bias for each pair of head and query on its own.
    let mut wide = inputs.clone();
    wide[3] = t(&inputs[3]).expand([2, 2, 6, 5]).into_any().contiguous();
    let (y2, grads2) = run(&wide, None, attend);
    assert_eq!(values(&y), values(&y2));
    let sum = values(&grads2[3].sum_to(&inputs[3].shape()));
    assert_eq!(values(&grads[3]), sum);
    assert_eq!(sum[1], 0.0, "a hidden key has no gradient");
    assert!(sum[0] != 0.0);
}
