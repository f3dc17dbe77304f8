//! Backward passes and what they give.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use kiln_tensor::op::BinaryKind;
use kiln_tensor::{AnyTensor, Differentiable, Error, OrFail, Result, Tensor, Tracked};

use crate::node::node;
use crate::ready::Ready;
use crate::walk::{Targets, Walk};

/// The gradients that a backward pass computed: one for each leaf that it reached, and one for each
/// tensor that it was [told to keep](Backward::keep).
#[derive(Clone, Debug, Default)]
pub struct Gradients {
    // By the id of the node and the output of it: in the order in which leaves were made.
    by_output: BTreeMap<(u64, u32), AnyTensor>,
}

impl Gradients {
    /// The gradient of a leaf or a kept tensor; `None` if the pass did not reach it.
    pub fn get(&self, tensor: &AnyTensor) -> Option<&AnyTensor> {
        self.by_output.get(&key(tensor)?)
    }

    /// Takes the gradient of a leaf or a kept tensor out.
    pub fn remove(&mut self, tensor: &AnyTensor) -> Option<AnyTensor> {
        self.by_output.remove(&key(tensor)?)
    }

    /// Puts a gradient in the place of that of a leaf: a clipped one, or one averaged over
    /// processes. Panics if the tensor is not tracked or shapes differ.
    #[track_caller]
    pub fn insert(&mut self, tensor: &AnyTensor, gradient: AnyTensor) {
        const OP: &str = "gradients";
        let Some(id) = key(tensor) else {
            let rule = "the tensor is not tracked; call `require_grad` on it".into();
            kiln_tensor::fail(Error::Autograd { op: OP, rule })
        };
        if tensor.shape() != gradient.shape() {
            let shapes = vec![tensor.shape(), gradient.shape()];
            let rule = "a gradient has the shape of its tensor".into();
            kiln_tensor::fail(Error::Shape { op: OP, shapes, rule });
        }
        self.by_output.insert(id, gradient);
    }

    /// Adds the gradients of another pass, in place where nobody else holds them: for batches that
    /// are too large for one pass.
    ///
    /// ```
    /// use kiln_autograd::Autograd;
    /// use kiln_tensor::Tensor;
    /// let x = Tensor::<1>::from([3.0]).require_grad();
    /// let mut grads = (&x * 2.0).backward();
    /// grads.accumulate((&x * 5.0).backward());
    /// assert_eq!(x.grad(&grads).unwrap().item::<f32>(), 7.0);
    /// ```
    pub fn accumulate(&mut self, other: Gradients) {
        for (key, gradient) in other.by_output {
            match self.by_output.entry(key) {
                Entry::Vacant(place) => {
                    place.insert(gradient);
                }
                Entry::Occupied(mut sum) => sum.get_mut().binary_assign(BinaryKind::Add, &gradient),
            }
        }
    }

    /// How many leaves have a gradient.
    pub fn len(&self) -> usize {
        self.by_output.len()
    }

    /// Whether no leaf has one.
    pub fn is_empty(&self) -> bool {
        self.by_output.is_empty()
    }

    /// Every gradient, in the order in which their leaves were made.
    pub fn iter(&self) -> impl Iterator<Item = &AnyTensor> {
        self.by_output.values()
    }

    /// Every gradient, to be changed in place.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut AnyTensor> {
        self.by_output.values_mut()
    }
}

fn key(tensor: &AnyTensor) -> Option<(u64, u32)> {
    tensor.tracked().map(Tracked::key)
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
    kept: Vec<AnyTensor>,
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

    /// Gives the gradient of `tensor` as well, which need not be a leaf: `retain_grad` of PyTorch.
    /// An untracked tensor has none.
    ///
    /// ```
    /// use kiln_autograd::{Autograd, Backward};
    /// use kiln_tensor::Tensor;
    /// let x = Tensor::<1>::from([3.0]).require_grad();
    /// let hidden = &x * 2.0;
    /// let grads = Backward::new().keep(&hidden).run(&(&hidden * &hidden));
    /// assert_eq!(hidden.grad(&grads).unwrap().item::<f32>(), 12.0);
    /// assert_eq!(x.grad(&grads).unwrap().item::<f32>(), 24.0);
    /// ```
    pub fn keep<const D: usize, K: Differentiable>(
        mut self,
        tensor: impl AsRef<Tensor<D, K>>,
    ) -> Self {
        self.kept.push(tensor.as_ref().as_any().clone());
        self
    }

    /// Runs the pass from `output`. Panics if it is not tracked, if it is complex and there is no
    /// seed, if the seed has another shape, or if the graph was freed by an earlier pass.
    #[track_caller]
    pub fn run<const D: usize, K: Differentiable>(self, output: &Tensor<D, K>) -> Gradients {
        self.run_all(output, None)
    }

    /// As [`Backward::run`], and calls `ready` with the place of a tensor in `leaves` and its
    /// gradient as soon as that is complete, while the pass goes on: the last layers come first.
    /// Each is told once, in an order that depends on the graph alone; leaves that the pass does not
    /// reach are not told. Behind a [`checkpoint`](crate::checkpoint) nothing is known to be complete
    /// until the pass is through with it.
    ///
    /// ```
    /// use kiln_autograd::{Autograd, Backward};
    /// use kiln_tensor::Tensor;
    /// let (a, b) = (Tensor::<1>::from([2.0]).require_grad(), Tensor::<1>::from([3.0]).require_grad());
    /// let y = (&a * 5.0).exp() * &b;
    /// let mut order = Vec::new();
    /// let leaves = [a.as_any().clone(), b.as_any().clone()];
    /// Backward::new().run_telling(&y, &leaves, |place, _| order.push(place));
    /// assert_eq!(order, [1, 0]);
    /// ```
    #[track_caller]
    pub fn run_telling<const D: usize, K: Differentiable>(
        self,
        output: &Tensor<D, K>,
        leaves: &[AnyTensor],
        mut ready: impl FnMut(usize, &AnyTensor),
    ) -> Gradients {
        let root = output.as_any().tracked();
        let ready = root.map(|root| Ready::new(node(&root.node), leaves, &mut ready));
        self.run_all(output, ready)
    }

    #[track_caller]
    fn run_all<const D: usize, K: Differentiable>(
        self,
        output: &Tensor<D, K>,
        ready: Option<Ready<'_>>,
    ) -> Gradients {
        let seed = self.seed.clone();
        let parents = self.kept.iter().filter_map(|tensor| tensor.tracked());
        let targets = Targets::new(parents, false);
        self.walk(&[output.as_any()], &[seed], &targets, ready).or_fail()
    }

    /// The gradients of `outputs`, summed, by `inputs` and nothing else: `torch.autograd.grad`.
    /// An input that the outputs do not depend on has none.
    ///
    /// ```
    /// use kiln_autograd::{Autograd, Backward};
    /// use kiln_tensor::Tensor;
    /// let (x, w) = (Tensor::<1>::from([3.0]).require_grad(), Tensor::<1>::from([2.0]).require_grad());
    /// let y = &x * &x * &w;
    /// let dx = Backward::new().grad(&[y.as_any()], &[x.as_any()]).swap_remove(0).unwrap();
    /// assert_eq!(dx.item::<f32>(), 12.0);
    /// ```
    #[track_caller]
    pub fn grad(self, outputs: &[&AnyTensor], inputs: &[&AnyTensor]) -> Vec<Option<AnyTensor>> {
        let seeds: Vec<_> = outputs.iter().map(|_| self.seed.clone()).collect();
        self.grad_with(outputs, &seeds, inputs)
    }

    /// As [`Backward::grad`], each output with a gradient of its own; `None` is ones.
    #[track_caller]
    pub fn grad_with(
        self,
        outputs: &[&AnyTensor],
        seeds: &[Option<AnyTensor>],
        inputs: &[&AnyTensor],
    ) -> Vec<Option<AnyTensor>> {
        let parents = inputs.iter().filter_map(|tensor| tensor.tracked());
        let targets = Targets::new(parents, true);
        let gradients = self.walk(outputs, seeds, &targets, None).or_fail();
        inputs.iter().map(|input| gradients.get(input).cloned()).collect()
    }

    fn walk(
        &self,
        outputs: &[&AnyTensor],
        seeds: &[Option<AnyTensor>],
        targets: &Targets,
        ready: Option<Ready<'_>>,
    ) -> Result<Gradients> {
        const OP: &str = "backward";
        if outputs.len() != seeds.len() {
            let rule = format!("{} outputs, but {} gradients of them", outputs.len(), seeds.len());
            return Err(Error::Argument { op: OP, rule });
        }
        let root = |(&output, seed): (&&AnyTensor, &Option<AnyTensor>)| {
            let Some(root) = output.tracked().cloned() else {
                let rule = "the tensor does not depend on any that requires a gradient".into();
                return Err(Error::Autograd { op: OP, rule });
            };
            if seed.is_none() && output.dtype().is_complex() {
                let rule = "a complex result has no order to descend; take a real loss, or say \
                            what its gradient is with `Backward::new().seed(..)`";
                return Err(Error::Autograd { op: OP, rule: rule.into() });
            }
            let seed = seed.clone().unwrap_or_else(|| output.ones_like());
            if seed.meta() != output.meta() {
                let rule = "the output's gradient must have its shape and dtype".into();
                let shapes = vec![seed.shape(), output.shape()];
                return Err(Error::Shape { op: OP, shapes, rule });
            }
            Ok((root, seed))
        };
        let roots: Vec<_> = outputs.iter().zip(seeds).map(root).collect::<Result<_>>()?;
        let retain = self.retain_graph || self.create_graph;
        let targets = Some(targets);
        let walk = Walk { retain, create_graph: self.create_graph, floor: 0, targets };
        let arrived = walk.run_telling(roots, ready)?;
        let by_output = arrived.into_iter().map(|(key, (_, gradient))| (key, gradient)).collect();
        Ok(Gradients { by_output })
    }
}
