//! The example of a physics-informed network: its losses are PyTorch's, with second derivatives in
//! them, and what it is compared with solves the equation. `examples/pinn/pytorch.py` made the
//! fixture.

#[allow(dead_code)]
#[path = "../examples/pinn/exact.rs"]
mod exact;
#[allow(dead_code)]
#[path = "../examples/pinn/model.rs"]
mod model;

use std::path::Path;

use kiln::nn::StateDict;
use kiln::prelude::*;
use model::{Net, Points, VISCOSITY, derivatives, loss};

#[test]
fn the_first_losses_are_those_of_pytorch() {
    let device = Device::cpu();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pinn.safetensors");
    let fixture = StateDict::load(path).unwrap();
    let tensor = |name: &str| Tensor::<2>::from_data(fixture.get(name).unwrap().clone(), &device);
    let points = Points {
        inside: (tensor("inside.x"), tensor("inside.t")),
        border: (tensor("border.x"), tensor("border.t")),
        known: tensor("known"),
    };
    let mut model = Net::new(8, 20, &device);
    let mut state = StateDict::default();
    for (name, data) in fixture.iter() {
        if let Some(path) = name.strip_prefix("model.") {
            state.insert(path, data.clone());
        }
    }
    assert!(model.load_state_dict(&state).is_complete());
    let mut optim = AdamConfig::new(0.002).init();
    let mut losses = Vec::new();
    for _ in 0..20 {
        let loss = loss(&model, &points);
        losses.push(loss.item::<f32>());
        optim.step(&mut model, loss.backward());
    }
    let losses = TensorData::new(losses, [20]);
    let expected = fixture.get("losses").unwrap();
    losses.assert_approx_eq::<f32>(expected, Tolerance::relative(1e-4));
}

#[test]
fn derivatives_of_derivatives_are_right_row_by_row() {
    let x = Tensor::<2>::from([[1.0], [2.0], [-3.0]]).require_grad();
    let t = Tensor::<2>::from([[5.0], [7.0], [9.0]]).require_grad();
    let u = &x * &x * &x * &t;
    let [u_x, u_t] = derivatives(&u, [&x, &t]);
    let [u_xx, u_xt] = derivatives(&u_x, [&x, &t]);
    assert_eq!(u_x.to_vec::<f32>(), [15.0, 84.0, 243.0]);
    assert_eq!(u_t.to_vec::<f32>(), [1.0, 8.0, -27.0]);
    assert_eq!(u_xx.to_vec::<f32>(), [30.0, 84.0, -162.0]);
    assert_eq!(u_xt.to_vec::<f32>(), [3.0, 12.0, 27.0]);
}

#[test]
fn the_exact_solution_solves_the_equation_and_has_the_known_values() {
    let u = exact::solution;
    for (x, t) in [(0.3, 0.1), (-0.7, 0.4), (0.05, 0.9), (0.02, 0.5)] {
        let (h, k) = (1e-4, 1e-5);
        let u_t = (u(x, t + k) - u(x, t - k)) / (2.0 * k);
        let u_x = (u(x + h, t) - u(x - h, t)) / (2.0 * h);
        let u_xx = (u(x + h, t) - 2.0 * u(x, t) + u(x - h, t)) / (h * h);
        let residual = u_t + u(x, t) * u_x - VISCOSITY * u_xx;
        assert!(residual.abs() < 1e-3 * (1.0 + u_t.abs()), "{residual} at {x}, {t}");
    }
    for x in [-1.0, -0.5, 0.0, 0.4, 1.0] {
        let start = -(std::f64::consts::PI * x).sin();
        assert!((u(x, 0.0) - start).abs() < 1e-12 && (u(x, 1e-6) - start).abs() < 1e-3);
    }
    for t in [0.1, 0.5, 1.0] {
        assert!(u(1.0, t).abs() < 1e-9 && u(-1.0, t).abs() < 1e-9 && u(0.0, t).abs() < 1e-9);
    }
}

#[test]
fn random_points_are_in_the_domain_and_a_few_steps_lower_the_loss() {
    let device = Device::cpu();
    device.seed(0);
    let points = Points::random(200, &device);
    assert_eq!((points.inside.0.dims(), points.border.0.dims()), ([200, 1], [39, 1]));
    let within =
        |x: &Tensor<2>, low: f32| x.to_vec::<f32>().iter().all(|x| (low..=1.0).contains(x));
    assert!(within(&points.inside.0, -1.0) && within(&points.border.0, -1.0));
    assert!(within(&points.inside.1, 0.0) && within(&points.border.1, 0.0));
    let mut model = Net::new(3, 16, &device);
    let mut optim = LbfgsConfig::new().with_line_search(LineSearch::StrongWolfe).init();
    let before: f64 = loss(&model, &points).item();
    optim.step_closure(&mut model, |model| loss(model, &points));
    let after: f64 = loss(&model, &points).item();
    assert!(after < 0.8 * before, "{before} to {after}");
}
