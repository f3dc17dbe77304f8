//! What optimizers have in common.

use std::fmt::Debug;

use kiln_autograd::Gradients;
use kiln_nn::{Module, Path, PathPattern, StateDict, VisitorMut};
use kiln_tensor::op::Update;
use kiln_tensor::profile::{self, Pass};
use kiln_tensor::{AnyTensor, Error, OrFail, Result, Updates, fail};

use crate::clip::GradientClipping;
use crate::state::{Slot, State};

/// Improves the parameters of a model by their gradients.
pub trait Optimizer {
    /// Updates, in place, every parameter of `model` that has a gradient. The optimizer's state
    /// belongs to the parameters by their path. Panics if a parameter changed its shape or dtype
    /// since the last step.
    #[track_caller]
    fn step<M: Module>(&mut self, model: &mut M, grads: Gradients);

    /// The learning rate.
    fn lr(&self) -> f64;

    /// Sets the learning rate of the next steps; that of a group keeps its ratio to it.
    fn set_lr(&mut self, lr: f64);

    /// The state of every parameter under `path.name`, with PyTorch's names
    /// (`fc1.weight.exp_avg`), the number of its steps under `path.step`, and the learning rate
    /// under `lr`: all that the next step needs besides the settings.
    fn state_dict(&self) -> StateDict;

    /// Takes back what [`Optimizer::state_dict`] gave, for the parameters of `model`. An error that
    /// names every difference, and an unchanged optimizer, if anything is missing, of another shape
    /// or belongs to no parameter. A parameter without any entry starts anew.
    fn load_state_dict<M: Module>(&mut self, model: &M, state: &StateDict) -> Result<()>;
}

/// The settings of an optimizer, and how they move one parameter. With one of your own, [`Optim`]
/// is an optimizer of your own.
///
/// ```
/// use kiln_optim::{Algorithm, Optim, Optimizer, Slot};
/// use kiln_tensor::op::Update;
/// use kiln_tensor::{AnyTensor, Result};
///
/// /// Steps of one size, in the direction of the sign of the gradient.
/// #[derive(Clone, Debug)]
/// struct SignSgd {
///     lr: f64,
/// }
///
/// impl Algorithm for SignSgd {
///     fn lr(&self) -> f64 {
///         self.lr
///     }
///     fn set_lr(&mut self, lr: f64) {
///         self.lr = lr;
///     }
///     fn step(
///         &self,
///         param: &mut AnyTensor,
///         grad: &AnyTensor,
///         _: &mut Slot,
///     ) -> Result<Option<Update>> {
///         let new = param.detach().sub(&grad.sign().mul_scalar(self.lr));
///         *param = new.with_tracked(param.tracked().cloned());
///         Ok(None)
///     }
/// }
///
/// let mut optim = Optim::new(SignSgd { lr: 0.1 });
/// # use kiln_autograd::Autograd;
/// # let mut model = kiln_nn::Param::new(kiln_tensor::Tensor::<1>::from([3.0]));
/// # let grads = model.square().backward();
/// optim.step(&mut model, grads);
/// # assert!((model.item::<f32>() - 2.9).abs() < 1e-6);
/// ```
pub trait Algorithm: Clone + Debug {
    /// The learning rate.
    fn lr(&self) -> f64;

    /// Sets the learning rate.
    fn set_lr(&mut self, lr: f64);

    /// An error if a setting makes no sense.
    fn check(&self) -> Result<()> {
        Ok(())
    }

    /// The names of the state tensors that a parameter needs.
    fn states(&self, param: &AnyTensor) -> &'static [&'static str] {
        let _ = param;
        &[]
    }

    /// The first value of a state tensor; zeros like the parameter, f32 for half types.
    fn start(&self, name: &str, param: &AnyTensor) -> AnyTensor {
        let _ = name;
        Slot::zeros(param)
    }

    /// Moves a parameter and its state by one step. Where that is one [`Update`] of the parameter and
    /// its first state tensors, gives this instead: the updates of all parameters run together.
    fn step(
        &self,
        param: &mut AnyTensor,
        grad: &AnyTensor,
        slot: &mut Slot,
    ) -> Result<Option<Update>>;
}

/// Which parameters a group holds.
#[derive(Clone, Debug, PartialEq)]
pub enum ParamSelect {
    /// Those whose path fits the pattern.
    Paths(PathPattern),
    /// Those with one axis at most: biases, and the scales and shifts of norms.
    Vectors,
}

impl ParamSelect {
    fn holds(&self, path: &str, param: &AnyTensor) -> bool {
        match self {
            ParamSelect::Paths(pattern) => pattern.matches(path),
            ParamSelect::Vectors => param.rank() <= 1,
        }
    }
}

impl From<&str> for ParamSelect {
    fn from(pattern: &str) -> Self {
        Self::Paths(pattern.into())
    }
}

impl From<PathPattern> for ParamSelect {
    fn from(pattern: PathPattern) -> Self {
        Self::Paths(pattern)
    }
}

/// Parameters with settings of their own.
#[derive(Clone, Debug)]
struct Group<A> {
    select: ParamSelect,
    algorithm: A,
    /// Its learning rate in units of that of the optimizer.
    ratio: f64,
}

/// An optimizer that moves each parameter by an [`Algorithm`].
#[derive(Clone, Debug)]
pub struct Optim<A> {
    algorithm: A,
    groups: Vec<Group<A>>,
    clipping: Option<GradientClipping>,
    state: State,
}

impl<A: Algorithm> Optim<A> {
    /// An optimizer with these settings. Panics if one makes no sense.
    #[track_caller]
    pub fn new(algorithm: A) -> Self {
        algorithm.check().or_fail();
        Self { algorithm, groups: Vec::new(), clipping: None, state: State::default() }
    }

    /// Gives some parameters settings of their own: those of the optimizer, changed by `change`. A
    /// parameter belongs to the first group that holds it. Panics if a setting makes no sense.
    ///
    /// ```
    /// use kiln_optim::{AdamWConfig, ParamSelect};
    /// // No decay of biases and norms; a lower rate for the body.
    /// let optim = AdamWConfig::new(1e-3)
    ///     .init()
    ///     .with_group(ParamSelect::Vectors, |settings| settings.with_weight_decay(0.0))
    ///     .with_group("body.**", |settings| kiln_optim::AdamWConfig { lr: 1e-4, ..settings });
    /// ```
    #[track_caller]
    pub fn with_group(
        mut self,
        select: impl Into<ParamSelect>,
        change: impl FnOnce(A) -> A,
    ) -> Self {
        let algorithm = change(self.algorithm.clone());
        algorithm.check().or_fail();
        let base = self.algorithm.lr();
        let ratio = if base == 0.0 { 1.0 } else { algorithm.lr() / base };
        self.groups.push(Group { select: select.into(), algorithm, ratio });
        self
    }

    /// Clips the gradients of each step before it.
    pub fn with_grad_clipping(mut self, clipping: GradientClipping) -> Self {
        self.clipping = Some(clipping);
        self
    }

    /// Changes settings of all groups in the course of a training, such as the momentum. Panics if
    /// one makes no sense then.
    ///
    /// ```
    /// let mut optim = kiln_optim::SgdConfig::new(0.1).with_momentum(0.5).init();
    /// optim.configure(|settings| settings.momentum = 0.9);
    /// ```
    #[track_caller]
    pub fn configure(&mut self, change: impl Fn(&mut A)) {
        for algorithm in self.algorithms() {
            change(algorithm);
            algorithm.check().or_fail();
        }
    }

    /// The settings of the parameters that are in no group.
    pub fn settings(&self) -> &A {
        &self.algorithm
    }

    fn algorithms(&mut self) -> impl Iterator<Item = &mut A> {
        let groups = self.groups.iter_mut().map(|group| &mut group.algorithm);
        std::iter::once(&mut self.algorithm).chain(groups)
    }
}

/// The settings of the group with this number, from 1; those of the optimizer for 0.
fn group<'a, A>(algorithm: &'a A, groups: &'a [Group<A>], number: usize) -> &'a A {
    number.checked_sub(1).map_or(algorithm, |index| &groups[index].algorithm)
}

/// The number of the group that holds a parameter, and its settings.
fn group_of<'a, A>(
    algorithm: &'a A,
    groups: &'a [Group<A>],
    path: &Path<'_>,
    param: &AnyTensor,
) -> (usize, &'a A) {
    if groups.is_empty() {
        return (0, algorithm);
    }
    let path = path.to_string();
    let found = groups.iter().position(|group| group.select.holds(&path, param));
    let number = found.map_or(0, |index| index + 1);
    (number, group(algorithm, groups, number))
}

struct Step<'a, A> {
    algorithm: &'a A,
    groups: &'a [Group<A>],
    state: &'a mut State,
    /// The slot that probably comes next.
    next: usize,
    grads: Gradients,
    updates: Updates,
}

impl<A: Algorithm> VisitorMut for Step<'_, A> {
    fn param(&mut self, path: &Path<'_>, param: &mut AnyTensor) {
        let Some(grad) = self.grads.remove(param) else { return };
        let (algorithm, groups) = (self.algorithm, self.groups);
        let index = self.state.slot(self.next, path, || {
            let (number, settings) = group_of(algorithm, groups, path, param);
            Slot::new(path, number, settings, param)
        });
        self.next = index + 1;
        let slot = self.state.at(index);
        slot.step += 1;
        let settings = group(algorithm, groups, slot.group);
        let updates = &mut self.updates;
        let result = settings.step(param, &grad, slot).and_then(|update| match update {
            Some(op) => updates.add(op, grad, &mut slot.targets(&op, param)),
            None => Ok(()),
        });
        if let Err(error) = result {
            let rule = format!("the state of {path} does not fit: {error}");
            fail(Error::Argument { op: "optimizer step", rule });
        }
    }
}

impl<A: Algorithm> Optimizer for Optim<A> {
    #[track_caller]
    fn step<M: Module>(&mut self, model: &mut M, mut grads: Gradients) {
        let _pass = profile::pass(Pass::Optimizer);
        if let Some(clipping) = &self.clipping {
            clipping.clip(&mut grads);
        }
        let Self { algorithm, groups, state, .. } = self;
        let updates = Updates::default();
        let mut visitor = Step { algorithm, groups, state, next: 0, grads, updates };
        model.visit_mut(&Path::ROOT, &mut visitor);
        visitor.updates.run().or_fail();
    }

    fn lr(&self) -> f64 {
        self.algorithm.lr()
    }

    fn set_lr(&mut self, lr: f64) {
        self.algorithm.set_lr(lr);
        for group in &mut self.groups {
            group.algorithm.set_lr(lr * group.ratio);
        }
    }

    fn state_dict(&self) -> StateDict {
        self.state.save(self.lr())
    }

    fn load_state_dict<M: Module>(&mut self, model: &M, state: &StateDict) -> Result<()> {
        let Self { algorithm, groups, .. } = self;
        let of = |path: &Path<'_>, param: &AnyTensor| {
            let (number, settings) = group_of(algorithm, groups, path, param);
            Slot::new(path, number, settings, param)
        };
        let (slots, lr) = State::load(model, state, of)?;
        self.state = slots;
        self.set_lr(lr);
        Ok(())
    }
}

/// The penalty and the shrinking of an update by weight decay that is coupled to the gradient or
/// not.
pub(crate) fn decay(weight_decay: f64, decoupled: bool, lr: f64) -> (f64, f64) {
    if decoupled { (0.0, 1.0 - lr * weight_decay) } else { (weight_decay, 1.0) }
}
