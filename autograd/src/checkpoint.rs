//! Segments of a computation that are computed again for their gradients instead of being kept.

use std::collections::BTreeMap;
use std::sync::Arc;

use kiln_tensor::{
    AnyTensor, DType, Device, Error, Generator, Kind, Result, Tensor, Tracked, autocast,
    autocast_dtype, no_autocast,
};
use smallvec::SmallVec;

use crate::mode::{self, Mode, noticing, with_mode};
use crate::node::{Node, newest_id};
use crate::walk::Walk;

/// What the node of a segment knows.
pub(crate) struct Segment {
    compute: Box<dyn Fn() -> AnyTensor + Send + Sync>,
    /// The mixed precision that it was computed in.
    half: Option<DType>,
    /// Where the random numbers of the segment start.
    device: Device,
    generator: Generator,
    pub outputs: usize,
}

/// Computes `function(x)` without keeping what backward needs of it: backward computes it again,
/// with the same random numbers, and goes on from there. Trades a second forward pass for memory:
/// Chen et al. 2016, `torch.utils.checkpoint.checkpoint(use_reentrant=False)`.
///
/// Gradients reach `x` and every tracked tensor that `function` captured. Segments may contain
/// segments. As `function` lives until backward, it owns what it captures: clone tensors into it
/// (a clone of a tensor is the same leaf; a clone of a module's parameter is not, so capture
/// `Param::val()` or an `Arc` of the module).
///
/// ```
/// use kiln_autograd::{Autograd, checkpoint};
/// use kiln_tensor::Tensor;
/// let (x, w) = (Tensor::<1>::from([3.0]).require_grad(), Tensor::<1>::from([2.0]).require_grad());
/// let captured = w.clone();
/// let y = checkpoint(move |x: &Tensor<1>| (x * &captured).exp().log(), &x);
/// let grads = y.backward();
/// assert!((x.grad(&grads).unwrap().item::<f32>() - 2.0).abs() < 1e-6);
/// assert!((w.grad(&grads).unwrap().item::<f32>() - 3.0).abs() < 1e-6);
/// ```
pub fn checkpoint<const D: usize, const D2: usize, K: Kind>(
    function: impl Fn(&Tensor<D, K>) -> Tensor<D2> + Send + Sync + 'static,
    x: &Tensor<D, K>,
) -> Tensor<D2> {
    if mode::get() == Mode::Ignore {
        return function(x);
    }
    let x = x.clone();
    let half = autocast_dtype();
    let device = x.device();
    let generator = device.generator();
    let compute = move || function(&x).into_any();
    let (output, tracked) = noticing(&compute);
    // An output that is an input, unchanged, has a node of its own already.
    if !tracked || mode::get() == Mode::Notice {
        return Tensor::from_any(output);
    }
    let compute = Box::new(compute);
    let node = Node::segment(Segment { compute, half, device, generator, outputs: 1 });
    Tensor::from_any(output.with_tracked(Some(Tracked { node, output: 0 })))
}

impl Segment {
    /// Computes the segment again and walks over it. Returns what arrives at the tensors that it
    /// was computed from.
    pub fn gradients(
        &self,
        walk: &Walk<'_>,
        gradients: &SmallVec<[Option<AnyTensor>; 1]>,
    ) -> Result<Vec<(Tracked, AnyTensor)>> {
        // Every node of the recomputation has a larger id than this, every captured one a smaller.
        let floor = newest_id();
        let now = self.device.generator();
        self.device.set_generator(self.generator);
        let compute = || with_mode(Mode::Record, &self.compute);
        let output = match self.half {
            Some(half) => autocast(half, compute),
            None => no_autocast(compute),
        };
        self.device.set_generator(now);
        let Some(gradient) = gradients.first().and_then(Option::as_ref) else {
            return Ok(Vec::new());
        };
        if output.meta() != gradient.meta() {
            let rule = format!(
                "the segment gave {} {} at first and {} {} when it was computed again",
                gradient.dtype(),
                gradient.shape(),
                output.dtype(),
                output.shape()
            );
            return Err(Error::Autograd { op: "checkpoint", rule });
        }
        let Some(root) = output.tracked().cloned() else { return Ok(Vec::new()) };
        let inner = Walk { floor, ..*walk };
        let arrived: BTreeMap<(u64, u32), (Arc<Node>, AnyTensor)> =
            inner.run([(root, gradient.clone())])?;
        let parts = arrived.into_iter();
        Ok(parts
            .map(|((_, output), (node, gradient))| (Tracked { node, output }, gradient))
            .collect())
    }
}
