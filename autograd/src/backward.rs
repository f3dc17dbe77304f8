//! The walk from outputs to leaves.

use std::collections::BTreeMap;
use std::sync::Arc;

use kiln_tensor::op::BinaryKind;
use kiln_tensor::{AnyTensor, Differentiable, Error, Result, Tensor};
use smallvec::SmallVec;

use crate::mode::with_mode;
use crate::node::{Node, Parent, parent};
use crate::rules::{self, Context};

/// The gradients that a backward pass computed, one for each leaf that it reached.
#[derive(Debug, Default)]
pub struct Gradients {
    by_node: BTreeMap<u64, AnyTensor>,
}

impl Gradients {
    /// The gradient of a leaf; `None` if the pass did not reach it.
    pub fn get(&self, tensor: &AnyTensor) -> Option<&AnyTensor> {
        self.by_node.get(&node_id(tensor)?)
    }

    /// Takes the gradient of a leaf out.
    pub fn remove(&mut self, tensor: &AnyTensor) -> Option<AnyTensor> {
        self.by_node.remove(&node_id(tensor)?)
    }

    /// Puts a gradient in the place of that of a leaf: a clipped one, or one averaged over
    /// processes. Panics if the tensor is not tracked or shapes differ.
    #[track_caller]
    pub fn insert(&mut self, tensor: &AnyTensor, gradient: AnyTensor) {
        const OP: &str = "gradients";
        let Some(id) = node_id(tensor) else {
            let rule = "the tensor is not tracked; call `require_grad` on it".into();
            kiln_tensor::fail(Error::Autograd { op: OP, rule })
        };
        if tensor.shape() != gradient.shape() {
            let shapes = vec![tensor.shape(), gradient.shape()];
            let rule = "a gradient has the shape of its tensor".into();
            kiln_tensor::fail(Error::Shape { op: OP, shapes, rule });
        }
        self.by_node.insert(id, gradient);
    }

    /// How many leaves have a gradient.
    pub fn len(&self) -> usize {
        self.by_node.len()
    }

    /// Whether no leaf has one.
    pub fn is_empty(&self) -> bool {
        self.by_node.is_empty()
    }

    /// Every gradient, in the order in which their leaves were made.
    pub fn iter(&self) -> impl Iterator<Item = &AnyTensor> {
        self.by_node.values()
    }

    /// Every gradient, to be changed in place.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut AnyTensor> {
        self.by_node.values_mut()
    }
}

fn node_id(tensor: &AnyTensor) -> Option<u64> {
    Some(parent(tensor.tracked()?)?.node.id)
}

/// A backward pass with options. [`Autograd::backward`](crate::Autograd::backward) is the plain one.
///
/// ```
/// use kiln_autograd::{Autograd, Backward};
/// use kiln_tensor::Tensor;
/// // The derivative of x^3 at 2 is 12, and the derivative of that again is 12.
/// let x = Tensor::<1>::from([2.0]).require_grad();
/// let first = Backward::new().create_graph().run(&(&x * &x * &x));
/// let dx = x.grad(&first).unwrap();
/// assert_eq!(dx.item::<f32>(), 12.0);
/// assert_eq!(x.grad(&dx.backward()).unwrap().item::<f32>(), 12.0);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Backward {
    retain_graph: bool,
    create_graph: bool,
    seed: Option<AnyTensor>,
}

impl Backward {
    /// Frees the graph as it goes, and starts with a gradient of ones.
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps what the graph saved, so that another backward pass may run over it.
    pub fn retain_graph(mut self) -> Self {
        self.retain_graph = true;
        self
    }

    /// Records the pass itself, so that the gradients can be differentiated. Keeps the graph too.
    pub fn create_graph(mut self) -> Self {
        self.create_graph = true;
        self
    }

    /// Starts with this gradient of the output instead of ones.
    pub fn seed<const D: usize, K: Differentiable>(
        mut self,
        gradient: impl AsRef<Tensor<D, K>>,
    ) -> Self {
        self.seed = Some(gradient.as_ref().as_any().clone());
        self
    }

    /// Runs the pass from `output`. Panics if it is not tracked, if it is complex and there is no
    /// seed, if the seed has another shape, or if the graph was freed by an earlier pass.
    #[track_caller]
    pub fn run<const D: usize, K: Differentiable>(self, output: &Tensor<D, K>) -> Gradients {
        const OP: &str = "backward";
        let output = output.as_any();
        let Some(root) = output.tracked().and_then(parent) else {
            let rule = "the tensor does not depend on any that requires a gradient".into();
            kiln_tensor::fail(Error::Autograd { op: OP, rule })
        };
        if let Some(seed) = &self.seed
            && seed.shape() != output.shape()
        {
            let rule = "the output's gradient must have its shape".into();
            let shapes = vec![seed.shape(), output.shape()];
            kiln_tensor::fail(Error::Shape { op: OP, shapes, rule });
        }
        if self.seed.is_none() && output.dtype().is_complex() {
            let rule = "a complex result has no order to descend; take a real loss, or say what its \
                        gradient is with `Backward::new().seed(..)`";
            kiln_tensor::fail(Error::Autograd { op: OP, rule: rule.into() });
        }
        let seed = self.seed.unwrap_or_else(|| output.ones_like());
        let retain = self.retain_graph || self.create_graph;
        let walk = Walk { retain, create_graph: self.create_graph, boundary: &[] };
        let by_node = match walk.run([(root, seed)]) {
            Ok(by_node) => by_node,
            Err(error) => kiln_tensor::fail(error),
        };
        Gradients { by_node }
    }
}

/// How a walk goes over the graph.
pub(crate) struct Walk<'a> {
    /// Whether saved values stay for another walk.
    pub retain: bool,
    /// Whether the walk itself is recorded.
    pub create_graph: bool,
    /// Nodes that are treated as leaves, by id.
    pub boundary: &'a [u64],
}

/// A node with the gradients of its outputs that have arrived so far.
struct Pending {
    node: Arc<Node>,
    gradients: SmallVec<[Option<AnyTensor>; 1]>,
}

impl Walk<'_> {
    /// Gradients of the leaves below `roots`, by the id of their node.
    pub fn run(
        &self,
        roots: impl IntoIterator<Item = (Parent, AnyTensor)>,
    ) -> Result<BTreeMap<u64, AnyTensor>> {
        with_mode(self.create_graph, || {
            let mut pending = BTreeMap::new();
            let mut leaves = BTreeMap::new();
            for (root, gradient) in roots {
                arrive(&mut pending, &root, gradient);
            }
            // The newest node first: all that depend on it have been visited by then.
            while let Some((id, Pending { node, gradients })) = pending.pop_last() {
                match &node.step {
                    Some(step) if !self.boundary.contains(&id) => {
                        let Some(saved) = step.saved(self.retain) else {
                            let rule = "the graph was freed by an earlier backward pass; \
                                        use `Backward::new().retain_graph()` for the first one";
                            let op = step.op.spec().name();
                            return Err(Error::Autograd { op, rule: rule.into() });
                        };
                        let context =
                            Context { node: &node, step, saved, create_graph: self.create_graph };
                        let results = rules::gradients(context, gradients)?;
                        for (input, gradient) in step.inputs.iter().zip(results) {
                            if let (Some(parent), Some(gradient)) = (&input.parent, gradient) {
                                debug_assert_eq!(gradient.meta(), input.meta, "{:?}", step.op);
                                arrive(&mut pending, parent, gradient);
                            }
                        }
                    }
                    _ => leaves.extend(gradients.into_iter().flatten().next().map(|g| (id, g))),
                }
            }
            Ok(leaves)
        })
    }
}

/// Adds a gradient to what has arrived at an output: in place, if nobody else holds that.
fn arrive(pending: &mut BTreeMap<u64, Pending>, to: &Parent, gradient: AnyTensor) {
    let entry = pending.entry(to.node.id).or_insert_with(|| {
        let outputs = to.node.step.as_ref().map_or(1, |step| step.outputs);
        Pending { node: to.node.clone(), gradients: SmallVec::from_elem(None, outputs) }
    });
    let slot = &mut entry.gradients[to.output as usize];
    *slot = Some(match slot.take() {
        Some(sum) => sum.binary_owned(BinaryKind::Add, &gradient),
        None => gradient,
    });
}
