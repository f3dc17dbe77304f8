//! L-BFGS.

mod line_search;

use std::collections::VecDeque;

use kiln_autograd::Autograd;
use kiln_nn::{Config, LoadReport, Module, Path, StateDict, Visitor, VisitorMut};
use kiln_tensor::op::{Axes, ReduceKind, Rule, SgdRule, Update};
use kiln_tensor::profile::{self, Pass};
use kiln_tensor::{AnyTensor, Error, OrFail, Result, Tensor, TensorData, fail, update};

use self::line_search::{Point, strong_wolfe};
use crate::check;
use crate::state::number;

/// How far an [`Lbfgs`] goes along its direction.
#[derive(Config, Debug, PartialEq)]
pub enum LineSearch {
    /// As far as the learning rate says.
    None,
    /// To a point that fulfils the strong Wolfe conditions.
    StrongWolfe,
}

/// What an [`Lbfgs`] is made of.
#[derive(Config, Debug, PartialEq)]
pub struct LbfgsConfig {
    /// Learning rate; of a line search the first guess.
    #[config(default = 1.0)]
    pub lr: f64,
    /// Iterations of one step.
    #[config(default = 20)]
    pub max_iter: usize,
    /// Evaluations of one step; 5/4 of the iterations if not set.
    pub max_eval: Option<usize>,
    /// A gradient whose largest element is no larger ends a step.
    #[config(default = 1e-7)]
    pub tolerance_grad: f64,
    /// A change of parameters or loss that is no larger ends a step.
    #[config(default = 1e-9)]
    pub tolerance_change: f64,
    /// How many changes of the gradient are remembered.
    #[config(default = 100)]
    pub history_size: usize,
    /// How far it goes.
    #[config(default = LineSearch::None)]
    pub line_search: LineSearch,
}

impl LbfgsConfig {
    /// Makes the optimizer. Panics if a setting makes no sense.
    #[track_caller]
    pub fn init(&self) -> Lbfgs {
        check::not_negative("lbfgs", [("lr", self.lr)]).or_fail();
        check::rule("lbfgs", self.history_size > 0, || "history_size must not be zero".into())
            .or_fail();
        Lbfgs { config: self.clone(), iterations: 0, evaluations: 0, memory: None }
    }
}

/// Steps along the curvature that the last gradients show (Nocedal 1980; Liu & Nocedal 1989):
/// `torch.optim.LBFGS`. For small models and whole data sets; each step evaluates the loss several
/// times.
///
/// ```
/// use kiln_nn::{LinearConfig, MseLoss, Reduction};
/// use kiln_optim::{LbfgsConfig, LineSearch};
/// use kiln_tensor::{Device, Tensor};
/// let mut model = LinearConfig::new(1, 1).init(&Device::cpu());
/// let (x, y) = (Tensor::<2>::from([[1.0], [2.0]]), Tensor::<2>::from([[3.0], [5.0]]));
/// let mut optim = LbfgsConfig::new().with_line_search(LineSearch::StrongWolfe).init();
/// optim.step_closure(&mut model, |model| {
///     MseLoss::new().forward(model.forward(&x), &y, Reduction::Mean)
/// });
/// assert!((model.weight.to_data().iter::<f32>().next().unwrap() - 2.0).abs() < 1e-3);
/// ```
#[derive(Clone, Debug)]
pub struct Lbfgs {
    config: LbfgsConfig,
    iterations: u64,
    evaluations: u64,
    /// None before the first step.
    memory: Option<Memory>,
}

/// What the last iteration left. All tensors are flat, as long as all parameters together.
#[derive(Clone, Debug)]
struct Memory {
    direction: AnyTensor,
    length: f64,
    gradient: AnyTensor,
    /// Changes of the gradient and of the parameters, and one over their product.
    history: VecDeque<(AnyTensor, AnyTensor, f64)>,
    /// The scale of the inverse curvature.
    scale: f64,
}

fn dot(a: &AnyTensor, b: &AnyTensor) -> f64 {
    sum(&a.mul(b))
}

fn sum(x: &AnyTensor) -> f64 {
    x.reduce(ReduceKind::Sum, Axes::all(x.rank())).item::<f64>()
}

fn largest(x: &AnyTensor) -> f64 {
    x.abs().reduce(ReduceKind::Max, Axes::all(x.rank())).item::<f64>()
}

/// `x + factor * y`
fn add(x: &mut AnyTensor, factor: f64, y: &AnyTensor) {
    update(&Update::new(Rule::Sgd(SgdRule::new(-factor))).into(), y, &mut [x]).or_fail();
}

/// The trainable parameters of a model.
fn params(model: &impl Module) -> Vec<AnyTensor> {
    struct Collect(Vec<AnyTensor>);
    impl Visitor for Collect {
        fn param(&mut self, _: &Path<'_>, param: &AnyTensor) {
            self.0.extend(param.tracked().is_some().then(|| param.clone()));
        }
    }
    let mut collect = Collect(Vec::new());
    model.visit(&Path::ROOT, &mut collect);
    collect.0
}

/// Changes each trainable parameter, given its number.
fn change(model: &mut impl Module, change: impl FnMut(usize, &mut AnyTensor)) {
    struct Change<F>(usize, F);
    impl<F: FnMut(usize, &mut AnyTensor)> VisitorMut for Change<F> {
        fn param(&mut self, _: &Path<'_>, param: &mut AnyTensor) {
            if param.tracked().is_some() {
                (self.1)(self.0, param);
                self.0 += 1;
            }
        }
    }
    model.visit_mut(&Path::ROOT, &mut Change(0, change));
}

/// Moves all parameters along a flat direction.
fn walk(model: &mut impl Module, length: f64, direction: &AnyTensor) {
    let mut start = 0;
    change(model, |_, param| {
        let part = direction.narrow(0, start, param.num_elements()).reshape(param.shape());
        start += param.num_elements();
        add(param, length, &part.cast(param.dtype()));
    });
}

impl Memory {
    /// The direction by the two loops of Nocedal (1980), after `gradient` was found at the end of
    /// the last one.
    fn turn(&mut self, gradient: &AnyTensor, capacity: usize) {
        let change = gradient.sub(&self.gradient);
        let step = self.direction.mul_scalar(self.length);
        let product = dot(&change, &step);
        if product > 1e-10 {
            if self.history.len() == capacity {
                self.history.pop_front();
            }
            self.scale = product / dot(&change, &change);
            self.history.push_back((change, step, 1.0 / product));
        }
        let mut direction = gradient.neg();
        let mut shares = vec![0.0; self.history.len()];
        for (share, (change, step, inverse)) in shares.iter_mut().zip(&self.history).rev() {
            *share = dot(step, &direction) * inverse;
            add(&mut direction, -*share, change);
        }
        direction = direction.mul_scalar(self.scale);
        for (share, (change, step, inverse)) in shares.iter().zip(&self.history) {
            let back = dot(change, &direction) * inverse;
            add(&mut direction, share - back, step);
        }
        self.direction = direction;
    }
}

impl Lbfgs {
    /// Makes several iterations, each of which computes the loss of the model once or more often.
    /// Gives the loss before them.
    #[track_caller]
    pub fn step_closure<M: Module, const D: usize>(
        &mut self,
        model: &mut M,
        mut loss: impl FnMut(&M) -> Tensor<D>,
    ) -> f64 {
        let _pass = profile::pass(Pass::Optimizer);
        let mut loss = |model: &M| {
            let _pass = profile::pass(Pass::Forward);
            loss(model)
        };
        if params(model).is_empty() {
            return loss(model).item();
        }
        let mut evaluate = |model: &M| {
            let loss = loss(model);
            let grads = loss.backward();
            let flat = |param: &AnyTensor| {
                let grad =
                    grads.get(param).map_or_else(|| param.detach().zeros_like(), |g| g.detach());
                grad.reshape([param.num_elements()])
            };
            let parts: Vec<AnyTensor> = params(model).iter().map(flat).collect();
            (loss.item::<f64>(), AnyTensor::cat(&parts.iter().collect::<Vec<_>>(), 0))
        };
        let LbfgsConfig { lr, max_iter, tolerance_grad, tolerance_change, .. } = self.config;
        let max_eval = self.config.max_eval.unwrap_or(max_iter * 5 / 4);
        let (first, mut gradient) = evaluate(model);
        let (mut value, mut evaluations) = (first, 1);
        self.evaluations += 1;
        if largest(&gradient) <= tolerance_grad {
            return first;
        }
        for iteration in 1..=max_iter {
            self.iterations += 1;
            let memory = match &mut self.memory {
                Some(memory) => {
                    if memory.gradient.shape() != gradient.shape() {
                        let (ours, theirs) = (memory.gradient.shape(), gradient.shape());
                        let rule = format!("{theirs} trainable numbers now, {ours} before");
                        fail(Error::Argument { op: "lbfgs", rule });
                    }
                    memory.turn(&gradient, self.config.history_size);
                    memory.length = lr;
                    memory
                }
                none => {
                    let length = (1.0 / sum(&gradient.abs())).min(1.0) * lr;
                    let (direction, history) = (gradient.neg(), VecDeque::new());
                    let gradient = gradient.clone();
                    none.insert(Memory { direction, length, gradient, history, scale: 1.0 })
                }
            };
            memory.gradient = gradient.clone();
            let before = value;
            let slope = dot(&gradient, &memory.direction);
            if slope > -tolerance_change {
                break;
            }
            let mut used = 0;
            if self.config.line_search == LineSearch::StrongWolfe {
                let start = params(model);
                let direction = &memory.direction;
                let mut at = |length: f64| {
                    walk(model, length, direction);
                    let (value, gradient) = evaluate(model);
                    change(model, |index, param| {
                        *param = start[index].with_tracked(param.tracked().cloned());
                    });
                    used += 1;
                    let slope = dot(&gradient, direction);
                    Point { length, value, gradient, slope }
                };
                let here = Point { length: 0.0, value, gradient: gradient.clone(), slope };
                let most = max_eval.saturating_sub(evaluations);
                let width = largest(direction);
                let end = strong_wolfe(&mut at, here, memory.length, width, tolerance_change, most);
                (memory.length, value, gradient) = (end.length, end.value, end.gradient);
                walk(model, memory.length, &memory.direction);
            } else {
                walk(model, memory.length, &memory.direction);
                if iteration != max_iter {
                    (value, gradient) = evaluate(model);
                    used = 1;
                }
            }
            evaluations += used;
            self.evaluations += used as u64;
            let moved = largest(&memory.direction) * memory.length.abs();
            if evaluations >= max_eval
                || largest(&gradient) <= tolerance_grad
                || moved <= tolerance_change
                || (value - before).abs() < tolerance_change
            {
                break;
            }
        }
        first
    }

    /// The learning rate.
    pub fn lr(&self) -> f64 {
        self.config.lr
    }

    /// Sets the learning rate of the next steps.
    pub fn set_lr(&mut self, lr: f64) {
        self.config.lr = lr;
    }

    /// How often a loss was computed so far.
    pub fn evaluations(&self) -> u64 {
        self.evaluations
    }

    /// All that the next step needs, with PyTorch's names: `d`, `t`, `old_dirs.0`, `old_stps.0`, ..
    pub fn state_dict(&self) -> StateDict {
        let mut state = StateDict::default();
        let counts = [("n_iter", self.iterations), ("func_evals", self.evaluations)];
        for (name, count) in counts {
            state.insert(name, TensorData::new(vec![count as i64], [1]));
        }
        state.insert("lr", TensorData::new(vec![self.config.lr], [1]));
        let Some(memory) = &self.memory else { return state };
        for (name, value) in [("t", memory.length), ("H_diag", memory.scale)] {
            state.insert(name, TensorData::new(vec![value], [1]));
        }
        state.insert("d", memory.direction.to_data().or_fail());
        state.insert("prev_flat_grad", memory.gradient.to_data().or_fail());
        for (i, (change, step, inverse)) in memory.history.iter().enumerate() {
            state.insert(format!("old_dirs.{i}"), change.to_data().or_fail());
            state.insert(format!("old_stps.{i}"), step.to_data().or_fail());
            state.insert(format!("ro.{i}"), TensorData::new(vec![*inverse], [1]));
        }
        state
    }

    /// Takes back what [`Lbfgs::state_dict`] gave, for the parameters of `model`. An error, and an
    /// unchanged optimizer, if anything is missing or of another shape.
    pub fn load_state_dict(&mut self, model: &impl Module, state: &StateDict) -> Result<()> {
        const OP: &str = "lbfgs state";
        let params = params(model);
        let total: usize = params.iter().map(AnyTensor::num_elements).sum();
        let mut report = LoadReport::default();
        let [n_iter, func_evals, lr] =
            ["n_iter", "func_evals", "lr"].map(|name| number(state, name, &mut report));
        let mut memory = None;
        if let (true, Some(first)) = (state.get("d").is_some(), params.first()) {
            let flat = |name: &str, report: &mut LoadReport| match state.get(name) {
                Some(data) if data.dims() == [total] => {
                    report.loaded.push(name.into());
                    let data = data.convert_dtype(first.dtype());
                    AnyTensor::from_data(&data, &first.device())
                }
                Some(data) => {
                    report.misshapen.push((name.into(), [total].into(), data.shape()));
                    Ok(first.detach())
                }
                None => {
                    report.missing.push(name.into());
                    Ok(first.detach())
                }
            };
            let (length, scale) =
                (number(state, "t", &mut report), number(state, "H_diag", &mut report));
            let direction = flat("d", &mut report)?;
            let gradient = flat("prev_flat_grad", &mut report)?;
            let mut history = VecDeque::new();
            while state.get(&format!("old_dirs.{}", history.len())).is_some() {
                let i = history.len();
                let change = flat(&format!("old_dirs.{i}"), &mut report)?;
                let step = flat(&format!("old_stps.{i}"), &mut report)?;
                history.push_back((change, step, number(state, &format!("ro.{i}"), &mut report)));
            }
            memory = Some(Memory { direction, length, gradient, history, scale });
        }
        if !report.is_complete() || report.loaded.len() != state.len() {
            let rule = format!("it does not fit the model: {report} of {} entries", state.len());
            return Err(Error::Argument { op: OP, rule });
        }
        check::not_negative(OP, [("n_iter", n_iter), ("func_evals", func_evals), ("lr", lr)])?;
        self.config.lr = lr;
        (self.iterations, self.evaluations) = (n_iter as u64, func_evals as u64);
        self.memory = memory;
        Ok(())
    }
}
