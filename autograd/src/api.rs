//! Differentiation as methods of tensors.

use kiln_tensor::{AnyTensor, Differentiable, Error, Tensor, Tracked};

use crate::backward::{Backward, Gradients};
use crate::node::{Node, Origin, node};

/// Differentiation of float and complex tensors; the prelude brings it in. The gradient by a complex
/// number is `dL/dre + i dL/dim`, as in PyTorch.
pub trait Autograd: Sized {
    /// This tensor as a leaf whose gradient backward computes. A tensor that is tracked already is
    /// returned as it is.
    fn require_grad(&self) -> Self;

    /// Whether operations on this tensor are recorded.
    fn is_tracked(&self) -> bool;

    /// Whether this is a leaf whose gradient backward computes.
    fn is_require_grad(&self) -> bool;

    /// [`Autograd::require_grad`] if `require`, else the same values cut off from the tape.
    fn set_require_grad(&self, require: bool) -> Self;

    /// The same values cut off from the tape: `detach` under the name that Burn has for leaving its
    /// autodiff backend.
    fn inner(&self) -> Self;

    /// The tensor as it is. It undoes [`Autograd::inner`] in code written for Burn; here every tensor
    /// can be differentiated.
    fn from_inner(tensor: Self) -> Self;

    /// The gradients of this tensor, summed over its elements, by every leaf it depends on. Frees
    /// the graph; [`Backward`] has options. Panics if the tensor is not tracked, if it is complex, or
    /// if its graph was freed before.
    #[track_caller]
    fn backward(&self) -> Gradients;

    /// As [`Autograd::backward`], but keeps the graph for another pass.
    #[track_caller]
    fn backward_retain(&self) -> Gradients;

    /// This leaf's gradient; `None` if backward did not reach it.
    fn grad(&self, gradients: &Gradients) -> Option<Self>;

    /// Takes this leaf's gradient out.
    fn grad_remove(&self, gradients: &mut Gradients) -> Option<Self>;

    /// Puts `gradient` in the place of this leaf's gradient: [`Gradients::insert`].
    #[track_caller]
    fn grad_replace(&self, gradients: &mut Gradients, gradient: impl AsRef<Self>);
}

impl<const D: usize, K: Differentiable> Autograd for Tensor<D, K> {
    fn require_grad(&self) -> Self {
        Tensor::from_any(leaf(self.as_any()))
    }

    fn is_tracked(&self) -> bool {
        self.as_any().tracked().is_some()
    }

    fn is_require_grad(&self) -> bool {
        let tracked = self.as_any().tracked();
        tracked.is_some_and(|tracked| matches!(node(&tracked.node).origin, Origin::Leaf))
    }

    fn set_require_grad(&self, require: bool) -> Self {
        if require { self.require_grad() } else { self.detach() }
    }

    fn inner(&self) -> Self {
        self.detach()
    }

    fn from_inner(tensor: Self) -> Self {
        tensor
    }

    #[track_caller]
    fn backward(&self) -> Gradients {
        Backward::new().run(self)
    }

    #[track_caller]
    fn backward_retain(&self) -> Gradients {
        Backward::new().retain_graph().run(self)
    }

    fn grad(&self, gradients: &Gradients) -> Option<Self> {
        gradients.get(self.as_any()).cloned().map(Tensor::from_any)
    }

    fn grad_remove(&self, gradients: &mut Gradients) -> Option<Self> {
        gradients.remove(self.as_any()).map(Tensor::from_any)
    }

    #[track_caller]
    fn grad_replace(&self, gradients: &mut Gradients, gradient: impl AsRef<Self>) {
        gradients.insert(self.as_any(), gradient.as_ref().as_any().clone());
    }
}

/// A float or complex tensor of any rank as a leaf; one that is tracked already stays as it is. Panics for
/// integers and bools.
#[track_caller]
pub fn leaf(tensor: &AnyTensor) -> AnyTensor {
    if !tensor.dtype().is_differentiable() {
        let (op, dtypes) = ("require_grad", vec![tensor.dtype()]);
        kiln_tensor::fail(Error::DType {
            op,
            dtypes,
            rule: "only floats and complex numbers have gradients".into(),
        });
    }
    if tensor.tracked().is_some() {
        return tensor.clone();
    }
    tensor.with_tracked(Some(Tracked { node: Node::leaf(), output: 0 }))
}
