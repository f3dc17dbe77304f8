//! The network, and what it has to fulfil.

use std::f64::consts::PI;

use kiln::prelude::*;

/// Viscosity of the fluid.
pub const VISCOSITY: f64 = 0.1 / PI;

/// A function `u(x, t)`: linear layers with tanh between them, which is smooth, as derivatives of
/// derivatives need it.
#[derive(Module, Clone, Debug)]
pub struct Net {
    layers: Vec<Linear>,
}

impl Net {
    pub fn new(hidden_layers: usize, width: usize, device: &Device) -> Self {
        let init = Initializer::XavierNormal { gain: 1.0 };
        let linear = |inputs, outputs| {
            LinearConfig::new(inputs, outputs).with_initializer(init).init(device)
        };
        let between = (1..hidden_layers).map(|_| linear(width, width));
        let first = std::iter::once(linear(2, width));
        Self { layers: first.chain(between).chain([linear(width, 1)]).collect() }
    }

    /// `x` and `t` `[n, 1]` to `u` `[n, 1]`.
    pub fn forward(&self, x: &Tensor<2>, t: &Tensor<2>) -> Tensor<2> {
        let (last, hidden) = self.layers.split_last().expect("at least one layer");
        let input = Tensor::cat(vec![x.clone(), t.clone()], 1);
        last.forward(&hidden.iter().fold(input, |h, layer| layer.forward(&h).tanh()))
    }
}

/// Points in the domain, all `[n, 1]`: -1 to 1 in space and 0 to 1 in time.
#[derive(Clone, Debug)]
pub struct Points {
    /// Where the equation has to hold.
    pub inside: (Tensor<2>, Tensor<2>),
    /// Where values are known: at the start and at both ends.
    pub border: (Tensor<2>, Tensor<2>),
    /// These values.
    pub known: Tensor<2>,
}

impl Points {
    /// Random points: `n` inside, a sixteenth as many at the start and at each end.
    pub fn random(n: usize, device: &Device) -> Self {
        let uniform = |n: usize, from: f64| {
            Tensor::<2>::random([n, 1], Distribution::Uniform(from, 1.0), device)
        };
        let few = n.div_ceil(16);
        let inside = (uniform(n, -1.0), uniform(n, 0.0));
        let start = uniform(few, -1.0);
        let ends = Tensor::cat(
            vec![Tensor::full([few, 1], -1.0, device), Tensor::full([few, 1], 1.0, device)],
            0,
        );
        let known = Tensor::cat(vec![-(&start * PI).sin(), ends.zeros_like()], 0);
        let t = Tensor::cat(vec![start.zeros_like(), uniform(2 * few, 0.0)], 0);
        Self { inside, border: (Tensor::cat(vec![start, ends], 0), t), known }
    }
}

/// How far `model` is from a solution of Burgers' equation, `u_t + u u_x = VISCOSITY u_xx`, and from
/// the known values: the sum of both mean squares.
pub fn loss(model: &Net, points: &Points) -> Tensor<1> {
    let (x, t) = (points.inside.0.require_grad(), points.inside.1.require_grad());
    let u = model.forward(&x, &t);
    let [u_x, u_t] = derivatives(&u, [&x, &t]);
    let [u_xx] = derivatives(&u_x, [&x]);
    let residual = u_t + u * u_x - u_xx * VISCOSITY;
    let border = model.forward(&points.border.0, &points.border.1) - &points.known;
    residual.square().mean() + border.square().mean()
}

/// The derivatives of each row of `y` by the same row of each of `xs`, which can be differentiated
/// again, by `xs` and by the parameters.
pub fn derivatives<const N: usize>(y: &Tensor<2>, xs: [&Tensor<2>; N]) -> [Tensor<2>; N] {
    // Rows do not depend on each other, so the gradient of their sum has the derivative of each.
    let grads = Backward::new().create_graph().grad(&[y.as_any()], &xs.map(|x| x.as_any()));
    let mut grads = grads.into_iter().zip(xs);
    std::array::from_fn(|_| match grads.next() {
        Some((Some(grad), _)) => Tensor::from_any(grad),
        Some((None, x)) => x.zeros_like(), // y does not depend on it
        None => unreachable!("one for each x"),
    })
}
