//! Derivatives of functions, as in `torch.func`. Gradients are differentiable themselves, so all of
//! these come from backward passes over the one table of rules.

use kiln_tensor::{AnyTensor, Error, Shape, Tensor, fail};

use crate::api::leaf;
use crate::backward::Backward;

/// `y = f(x)` with a fresh leaf for `x`.
fn evaluate<const D: usize, const D2: usize>(
    f: impl Fn(&Tensor<D>) -> Tensor<D2>,
    x: &Tensor<D>,
) -> (Tensor<D>, Tensor<D2>) {
    let x = Tensor::from_any(leaf(&x.as_any().detach()));
    let y = f(&x);
    (x, y)
}

/// The gradient of `output` by `input`; zeros if it does not depend on it.
fn gradient(
    options: Backward,
    output: &AnyTensor,
    seed: Option<AnyTensor>,
    input: &AnyTensor,
) -> AnyTensor {
    if output.tracked().is_none() {
        return input.detach().zeros_like();
    }
    let mut found = options.grad_with(&[output], &[seed], &[input]);
    found.swap_remove(0).unwrap_or_else(|| input.detach().zeros_like())
}

/// `f(x)`, and `cotangent` times the Jacobian of `f` at `x`: a backward pass with that seed.
#[track_caller]
pub fn vjp<const D: usize, const D2: usize>(
    f: impl Fn(&Tensor<D>) -> Tensor<D2>,
    x: &Tensor<D>,
    cotangent: &Tensor<D2>,
) -> (Tensor<D2>, Tensor<D>) {
    let (x, y) = evaluate(f, x);
    let seed = Some(cotangent.as_any().clone());
    let dx = gradient(Backward::new(), y.as_any(), seed, x.as_any());
    (y.detach(), Tensor::from_any(dx))
}

/// `f(x)`, and the Jacobian of `f` at `x` times `tangent`: the derivative along a direction, as
/// `torch.func.jvp`.
///
/// A backward pass is a linear function of its seed, and the derivative of that function is the
/// Jacobian itself: two backward passes make a forward one, over the same table of rules (Townsend
/// 2017, "A new trick for calculating Jacobian vector products").
///
/// ```
/// use kiln_autograd::jvp;
/// use kiln_tensor::Tensor;
/// let x = Tensor::<1>::from([1.0, 2.0]);
/// let (y, dy) = jvp(|x: &Tensor<1>| x.square(), &x, &Tensor::from([1.0, 10.0]));
/// assert_eq!(y.into_data().to_vec::<f32>()?, [1.0, 4.0]);
/// assert_eq!(dy.into_data().to_vec::<f32>()?, [2.0, 40.0]);
/// # Ok::<(), kiln_tensor::Error>(())
/// ```
#[track_caller]
pub fn jvp<const D: usize, const D2: usize>(
    f: impl Fn(&Tensor<D>) -> Tensor<D2>,
    x: &Tensor<D>,
    tangent: &Tensor<D>,
) -> (Tensor<D2>, Tensor<D2>) {
    let (x, y) = evaluate(f, x);
    // Any seed will do: the pass is linear in it.
    let seed = leaf(&y.as_any().detach().zeros_like());
    let dx = gradient(Backward::new().create_graph(), y.as_any(), Some(seed.clone()), x.as_any());
    let dy = gradient(Backward::new(), &dx, Some(tangent.as_any().clone()), &seed);
    (y.detach(), Tensor::from_any(dy))
}

/// The Jacobian of `f` at `x`: element `[i.., j..]` is the derivative of output `i..` by input
/// `j..`. `D3` is the sum of both ranks. One backward pass for each output element.
///
/// ```
/// use kiln_autograd::jacobian;
/// use kiln_tensor::Tensor;
/// let x = Tensor::<1>::from([1.0, 2.0]);
/// let j: Tensor<2> = jacobian(|x: &Tensor<1>| x.square(), &x);
/// assert_eq!(j.into_data().to_vec::<f32>()?, [2.0, 0.0, 0.0, 4.0]);
/// # Ok::<(), kiln_tensor::Error>(())
/// ```
#[track_caller]
pub fn jacobian<const D: usize, const D2: usize, const D3: usize>(
    f: impl Fn(&Tensor<D>) -> Tensor<D2>,
    x: &Tensor<D>,
) -> Tensor<D3> {
    if D + D2 != D3 {
        let rule = format!("has rank {D2} + {D}, not {D3}");
        fail(Error::Argument { op: "jacobian", rule });
    }
    let (x, y) = evaluate(f, x);
    Tensor::from_any(rows(y.as_any(), x.as_any()))
}

/// The gradient of each element of `y` by `x`: `[y.., x..]`.
fn rows(y: &AnyTensor, x: &AnyTensor) -> AnyTensor {
    let n = y.num_elements();
    let mut dims = y.shape().to_vec();
    dims.extend_from_slice(&x.shape());
    if n == 0 {
        return x.detach().zeros_like().reshape([0]).reshape(Shape::new(dims));
    }
    let flat = x.num_elements();
    let unit = |i: usize| {
        let zeros = y.detach().zeros_like().reshape([n]);
        let one = zeros.narrow(0, 0, 1).ones_like();
        let (before, after) = (zeros.narrow(0, 0, i), zeros.narrow(0, i + 1, n - i - 1));
        AnyTensor::cat(&[&before, &one, &after], 0).reshape(y.shape())
    };
    let row = |i| gradient(Backward::new().retain_graph(), y, Some(unit(i)), x).reshape([1, flat]);
    let rows: Vec<AnyTensor> = (0..n).map(row).collect();
    AnyTensor::cat(&rows.iter().collect::<Vec<_>>(), 0).reshape(Shape::new(dims))
}

/// The second derivatives of a function with one output element: `[x.., x..]`, rank `D2 = 2 D`.
#[track_caller]
pub fn hessian<const D: usize, const D2: usize>(
    f: impl Fn(&Tensor<D>) -> Tensor<1>,
    x: &Tensor<D>,
) -> Tensor<D2> {
    if 2 * D != D2 {
        fail(Error::Argument { op: "hessian", rule: format!("has rank {}, not {D2}", 2 * D) });
    }
    let (x, y) = evaluate(f, x);
    check_scalar("hessian", &y);
    let dx = gradient(Backward::new().create_graph(), y.as_any(), None, x.as_any());
    Tensor::from_any(rows(&dx, x.as_any()))
}

/// `f(x)`, and the Hessian of `f` at `x` times `vector`, which costs no more than a few passes: the
/// Hessian is never made. `f` has one output element.
///
/// ```
/// use kiln_autograd::hvp;
/// use kiln_tensor::Tensor;
/// let x = Tensor::<1>::from([1.0, 2.0]);
/// let cubes = |x: &Tensor<1>| x.powi_scalar(3).sum();
/// let (_, product) = hvp(cubes, &x, &Tensor::from([1.0, 10.0]));
/// assert_eq!(product.into_data().to_vec::<f32>()?, [6.0, 120.0]);
/// # Ok::<(), kiln_tensor::Error>(())
/// ```
#[track_caller]
pub fn hvp<const D: usize>(
    f: impl Fn(&Tensor<D>) -> Tensor<1>,
    x: &Tensor<D>,
    vector: &Tensor<D>,
) -> (Tensor<1>, Tensor<D>) {
    let (x, y) = evaluate(f, x);
    check_scalar("hvp", &y);
    let dx = gradient(Backward::new().create_graph(), y.as_any(), None, x.as_any());
    let product = gradient(Backward::new(), &dx, Some(vector.as_any().clone()), x.as_any());
    (y.detach(), Tensor::from_any(product))
}

#[track_caller]
fn check_scalar(op: &'static str, y: &Tensor<1>) {
    if y.num_elements() != 1 {
        let rule = "the function must have one output element".into();
        fail(Error::Shape { op, shapes: vec![y.shape()], rule });
    }
}
