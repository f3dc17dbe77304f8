//! What an optimizer remembers, and what it refuses.

use kiln_autograd::{Autograd, Gradients};
use kiln_nn::{Linear, LinearConfig, Module, Param};
use kiln_optim::{AdamConfig, AdamWConfig, Optimizer, SgdConfig};
use kiln_tensor::{Device, Tensor, guard};

fn layer() -> Linear {
    LinearConfig::new(3, 2).init(&Device::cpu())
}

fn grads(model: &Linear) -> Gradients {
    let x = Tensor::<2>::ones([4, model.weight.dims()[1]], &Device::cpu());
    model.forward(&x).square().sum().backward()
}

fn values(model: &impl Module) -> Vec<Vec<f32>> {
    let data = |tensor: &kiln_tensor::AnyTensor| tensor.to_data().unwrap().to_vec().unwrap();
    model.named_params().iter().map(|(_, tensor)| data(tensor)).collect()
}

#[test]
fn parameters_without_a_gradient_stay() {
    let mut model = layer();
    let before = values(&model);
    AdamWConfig::new(0.1).init().step(&mut model, Gradients::default());
    assert_eq!(values(&model), before, "not even decay touches them");
}

#[test]
fn a_step_leaves_clones_of_the_model_alone() {
    let mut model = layer();
    let copy = model.clone();
    let before = values(&copy);
    let gradients = grads(&model);
    SgdConfig::new(0.1).init().step(&mut model, gradients);
    assert_eq!(values(&copy), before);
    assert_ne!(values(&model), before);
}

#[test]
fn gradients_of_a_clone_do_nothing() {
    let mut model = layer();
    let before = values(&model);
    SgdConfig::new(0.1).init().step(&mut model, grads(&layer()));
    let gradients = grads(&model.clone());
    SgdConfig::new(0.1).init().step(&mut model, gradients);
    assert_eq!(values(&model), before);
}

#[test]
fn a_clone_of_an_optimizer_goes_its_own_way() {
    let (mut a, mut optim) = (layer(), AdamConfig::new(0.1).init());
    let gradients = grads(&a);
    optim.step(&mut a, gradients);
    let (mut b, mut other) = (a.clone(), optim.clone());
    for _ in 0..3 {
        let gradients = grads(&a);
        optim.step(&mut a, gradients);
    }
    for _ in 0..3 {
        let gradients = grads(&b);
        other.step(&mut b, gradients);
    }
    assert_eq!(values(&a), values(&b));
}

#[test]
fn state_belongs_to_paths_also_when_the_order_changes() {
    // The second model declares its parameters the other way round.
    #[derive(Clone)]
    struct Pair([Param<Tensor<1>>; 2], bool);
    impl Module for Pair {
        fn visit(&self, path: &kiln_nn::Path<'_>, visitor: &mut dyn kiln_nn::Visitor) {
            for i in if self.1 { [1, 0] } else { [0, 1] } {
                self.0[i].visit(&path.index(i), visitor);
            }
        }
        fn visit_mut(&mut self, path: &kiln_nn::Path<'_>, visitor: &mut dyn kiln_nn::VisitorMut) {
            for i in if self.1 { [1, 0] } else { [0, 1] } {
                self.0[i].visit_mut(&path.index(i), visitor);
            }
        }
    }
    let run = |turn: bool| {
        let params = [[1.0f32, 2.0], [3.0, 4.0]].map(|values| Tensor::<1>::from(values).into());
        let mut model = Pair(params, false);
        let mut optim = SgdConfig::new(0.01).with_momentum(0.9).init();
        for step in 0..6 {
            model.1 = turn && step % 2 == 1;
            let loss = model.0[0].square().sum() + model.0[1].square().sum() * 3.0;
            optim.step(&mut model, loss.backward());
        }
        model.1 = false;
        values(&model)
    };
    assert_eq!(run(false), run(true));
}

#[test]
fn a_parameter_of_another_shape_is_an_error_that_names_it() {
    let (mut model, mut optim) = (layer(), AdamConfig::new(0.1).init());
    let gradients = grads(&model);
    optim.step(&mut model, gradients);
    model.weight = Tensor::zeros([2, 5], &Device::cpu()).into();
    let gradients = grads(&model);
    let error = guard(|| optim.step(&mut model, gradients)).unwrap_err().to_string();
    assert!(error.contains("the state of weight does not fit"), "{error}");
}

#[test]
fn options_that_make_no_sense_are_refused() {
    let sgd = || SgdConfig::new(0.1).with_nesterov(true);
    assert!(guard(|| sgd().init()).is_err());
    assert!(guard(|| sgd().with_momentum(0.9).with_dampening(0.1).init()).is_err());
    for (beta1, beta2) in [(1.0, 0.9), (0.9, 1.0), (-0.1, 0.9), (f64::NAN, 0.9)] {
        assert!(guard(|| AdamConfig::new(0.1).with_betas(beta1, beta2).init()).is_err());
        assert!(guard(|| AdamWConfig::new(0.1).with_betas(beta1, beta2).init()).is_err());
    }
}
