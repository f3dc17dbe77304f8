//! Differentiation as methods of tensors.

use kiln_tensor::{AnyTensor, Differentiable, Error, Tensor, Tracked};

use crate::backward::{Backward, Gradients};
use crate::node::{Node, Origin};

/// Differentiation of float and complex tensors; the prelude brings it in. The gradient by a complex
/// number is `dL/dre + i dL/dim`, as in PyTorch.
pub trait Autograd: Sized {
    /// This tensor as a leaf whose gradient backward computes. A tensor that is tracked already is
    /// returned as it is.
    fn require_grad(&self) -> Self;

    /// Whether operations on this tensor are recorded.
    fn is_tracked(&self) -> bool;

    /// The gradients of this tensor, summed over its elements, by every leaf it depends on. Frees
    /// the graph; [`Backward`] has options. Panics if the tensor is not tracked, if it is complex, or
    /// if its graph was freed before.
    #[track_caller]
    fn backward(&self) -> Gradients;

    /// This leaf's gradient; `None` if backward did not reach it.
    fn grad(&self, gradients: &Gradients) -> Option<Self>;

    /// Takes this leaf's gradient out.
    fn grad_remove(&self, gradients: &mut Gradients) -> Option<Self>;
}

impl<const D: usize, K: Differentiable> Autograd for Tensor<D, K> {
    fn require_grad(&self) -> Self {
        Tensor::from_any(leaf(self.as_any()))
    }

    fn is_tracked(&self) -> bool {
        self.as_any().tracked().is_some()
    }

    #[track_caller]
    fn backward(&self) -> Gradients {
        Backward::new().run(self)
    }

    fn grad(&self, gradients: &Gradients) -> Option<Self> {
        gradients.get(self.as_any()).cloned().map(Tensor::from_any)
    }

    fn grad_remove(&self, gradients: &mut Gradients) -> Option<Self> {
        gradients.remove(self.as_any()).map(Tensor::from_any)
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
    tensor.with_tracked(Some(Tracked { node: Node::new(Origin::Leaf), output: 0 }))
}
