//! A function on the gradient of one tensor.

use kiln_tensor::op::View;
use kiln_tensor::{AnyTensor, Error, Result, Tensor, Tracked};

use crate::mode::{self, Mode, no_grad};
use crate::node::Node;

/// What a hook's node knows.
pub(crate) struct Hook {
    pub parent: Tracked,
    function: Box<Function>,
}

/// Looks at a gradient, and may give another one to go on.
type Function = dyn Fn(&AnyTensor) -> Option<AnyTensor> + Send + Sync;

impl Hook {
    /// The gradient that goes on.
    pub fn run(&self, gradient: AnyTensor) -> Result<AnyTensor> {
        let Some(changed) = (self.function)(&gradient) else { return Ok(gradient) };
        if changed.meta() != gradient.meta() {
            let shapes = vec![gradient.shape(), changed.shape()];
            let rule = "a hook must return a gradient of the same shape and dtype".into();
            return Err(Error::Shape { op: "hook", shapes, rule });
        }
        Ok(changed)
    }
}

/// The same values, with `function` called on the gradient that flows back through the result:
/// it may look at it (and return `None`), or return another one to go on. As
/// `torch.Tensor.register_hook`, on this handle of the tensor. An untracked tensor, which has no
/// gradient, stays as it is.
///
/// ```
/// use kiln_autograd::{Autograd, hook};
/// use kiln_tensor::Tensor;
/// let x = Tensor::<1>::from([3.0]).require_grad();
/// let clipped = hook(&x, |gradient| Some(gradient.clamp(-1, 1)));
/// let grads = (&clipped * &clipped).backward();
/// assert_eq!(x.grad(&grads).unwrap().item::<f32>(), 1.0);
/// ```
pub fn hook<const D: usize>(
    tensor: &Tensor<D>,
    function: impl Fn(&Tensor<D>) -> Option<Tensor<D>> + Send + Sync + 'static,
) -> Tensor<D> {
    let any = tensor.as_any();
    let Some(parent) = any.tracked().cloned() else { return tensor.clone() };
    if mode::get() != Mode::Record {
        return tensor.clone();
    }
    let function = move |gradient: &AnyTensor| {
        function(&Tensor::from_any(gradient.clone())).map(Tensor::into_any)
    };
    let node = Node::hook(Hook { parent, function: Box::new(function) });
    let same = no_grad(|| any.apply(View::Reshape(any.shape()), &[]));
    Tensor::from_any(same.with_tracked(Some(Tracked { node, output: 0 })))
}
