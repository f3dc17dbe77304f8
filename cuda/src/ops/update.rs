//! Steps of optimizers, each in one pass over the parameter and its states.

use kiln_tensor::op::{Rule, Update};
use kiln_tensor::{AnyTensor, DType, MAX_RANK, Result};

use super::elementwise::{FLOATS, c_type};
use crate::backend::Kernels;
use crate::geometry::{Walk, index_type, needs_wide_index, threads_for};
use crate::params::{Operand, Params, address};
use crate::program::{Program, UPDATE};

/// The most tensors that a rule changes: the parameter and its states.
const MOST: usize = 5;

#[derive(Clone, Copy)]
#[repr(C)]
struct Parameters<const N: usize> {
    count: i64,
    dims: [i64; MAX_RANK],
    gradient: Operand,
    inputs: [Operand; N],
    outputs: [u64; N],
    numbers: [f64; 12],
    maximize: i64,
    rank: i64,
}

// SAFETY: the fields are numbers of eight bytes.
unsafe impl<const N: usize> Params for Parameters<N> {}

/// A rule for the kernels: its name, its numbers from `c[2]` on, and its step, in which `g` is the
/// gradient, `x[0]` the parameter and the rest of `x` its states.
fn formula(update: &Update) -> (String, Vec<f64>, String) {
    let targets = 1 + update.states();
    let (name, numbers, step) = match update.rule {
        Rule::Scale(_) => ("scale", Vec::new(), "x[0] *= g;".into()),
        Rule::Sgd(rule) => {
            let (old, new) =
                if rule.first { (0.0, 1.0) } else { (rule.momentum, 1.0 - rule.dampening) };
            let numbers = vec![rule.lr, rule.momentum, old, new];
            let step = match (targets, rule.nesterov) {
                (1, _) => "x[0] -= c[2] * g;",
                (_, false) => "x[1] = c[4] * x[1] + c[5] * g; x[0] -= c[2] * x[1];",
                (_, true) => "x[1] = c[4] * x[1] + c[5] * g; x[0] -= c[2] * (c[3] * x[1] + g);",
            };
            (if rule.nesterov { "nesterov" } else { "sgd" }, numbers, step.to_string())
        }
        Rule::Adam(rule) => {
            let numbers = vec![
                rule.beta_1,
                1.0 - rule.beta_1,
                rule.beta_2,
                1.0 - rule.beta_2,
                rule.epsilon,
                rule.rate,
                rule.look,
                rule.root,
            ];
            let square = match rule.amsgrad {
                true => "W v = x[3] = fn::maximum(x[3], x[2]);",
                false => "W v = x[2];",
            };
            let step = format!(
                "x[1] = c[2] * x[1] + c[3] * g; x[2] = c[4] * x[2] + c[5] * g * g; {square} \
                 x[0] -= (c[7] * x[1] + c[8] * g) / (fn::sqrt(v) * c[9] + c[6]);"
            );
            ("adam", numbers, step)
        }
        Rule::Adamax(rule) => (
            "adamax",
            vec![rule.rate, 1.0 - rule.beta_1, rule.beta_2, rule.epsilon],
            "x[1] += c[3] * (g - x[1]); x[2] = fn::maximum(c[4] * x[2], fn::abs(g) + c[5]); \
             x[0] -= c[2] * (x[1] / x[2]);"
                .into(),
        ),
        Rule::Adagrad(rule) => (
            "adagrad",
            vec![rule.rate, rule.epsilon],
            "x[1] += g * g; x[0] -= c[2] * (g / (fn::sqrt(x[1]) + c[3]));".into(),
        ),
        Rule::Adadelta(rule) => (
            "adadelta",
            vec![rule.lr, rule.rho, 1.0 - rule.rho, rule.epsilon],
            "x[1] = c[3] * x[1] + c[4] * g * g; \
             W step_of = fn::sqrt(x[2] + c[5]) / fn::sqrt(x[1] + c[5]) * g; \
             x[2] = c[3] * x[2] + c[4] * step_of * step_of; x[0] -= c[2] * step_of;"
                .into(),
        ),
        Rule::RmsProp(rule) => {
            let (momentum, last) = (rule.momentum != 0.0, targets - 1);
            let mut step = String::from("x[1] = c[3] * x[1] + c[4] * g * g; W v = x[1]; ");
            if rule.centered {
                step += &format!(
                    "x[{last}] += c[4] * (g - x[{last}]); \
                     v = fn::maximum(v - x[{last}] * x[{last}], (W)0); "
                );
            }
            step += "W step_of = g / (fn::sqrt(v) + c[5]); ";
            if momentum {
                step += "x[2] = c[6] * x[2] + step_of; step_of = x[2]; ";
            }
            step += "x[0] -= c[2] * step_of;";
            let numbers = vec![rule.lr, rule.alpha, 1.0 - rule.alpha, rule.epsilon, rule.momentum];
            (if rule.centered { "rmsprop_centered" } else { "rmsprop" }, numbers, step)
        }
        Rule::Rprop(rule) => (
            "rprop",
            vec![rule.shrink - 1.0, rule.grow - 1.0, rule.min_step, rule.max_step],
            "W turn = sign(g * x[1]); W turned = turn < 0 ? (W)1 : (W)0; \
             W factor = 1 + c[2] * turned + (turn > 0 ? c[3] : (W)0); \
             x[2] = clamp(x[2] * factor, c[4], c[5]); x[1] = turned > 0 ? (W)0 * g : g; \
             x[0] -= sign(x[1]) * x[2];"
                .into(),
        ),
        Rule::Asgd(rule) => (
            "asgd",
            vec![rule.rate, rule.share, 1.0 - rule.share],
            "x[0] -= c[2] * g; x[1] = c[4] * x[1] + c[3] * x[0];".into(),
        ),
        Rule::Lion(rule) => (
            "lion",
            vec![rule.lr, rule.beta_1, 1.0 - rule.beta_1, rule.beta_2, 1.0 - rule.beta_2],
            "x[0] -= c[2] * sign(c[3] * x[1] + c[4] * g); x[1] = c[5] * x[1] + c[6] * g;".into(),
        ),
        Rule::Adan(rule) => (
            "adan",
            vec![
                1.0 - rule.beta_1,
                rule.beta_2,
                rule.beta_3,
                rule.epsilon,
                rule.rate,
                rule.change_rate,
                rule.root,
                rule.shrink_after,
                if rule.first { 0.0 } else { 1.0 },
                1.0 - rule.beta_3,
            ],
            "W d = (g - x[4]) * c[10]; x[4] = g; x[1] += c[2] * (g - x[1]); \
             x[2] += (1 - c[3]) * (d - x[2]); W ahead = g + c[3] * d; \
             x[3] = c[4] * x[3] + c[11] * ahead * ahead; \
             x[0] = (x[0] - (c[7] * x[2] + c[6] * x[1]) / (fn::sqrt(x[3]) * c[8] + c[5])) * c[9];"
                .into(),
        ),
    };
    (format!("{name}_{targets}"), numbers, step)
}

/// The name of a step, and what `kernels/update.cuh` has of it.
pub(super) fn step(
    update: &Update,
    dtype: DType,
    state: DType,
) -> (String, Vec<(&'static str, String)>) {
    let (name, _, step) = formula(update);
    let definitions = vec![
        ("T", c_type(dtype).to_string()),
        ("S", c_type(state).to_string()),
        ("TARGETS", (1 + update.states()).to_string()),
        ("STEP", step),
    ];
    (format!("{name}_{dtype}_{state}"), definitions)
}

/// The numbers of the host for the kernels.
pub(super) fn numbers(update: &Update) -> [f64; 12] {
    let mut numbers = [0.0; 12];
    // A factor is no gradient, to which a penalty is added.
    let penalty = if let Rule::Scale(_) = update.rule { 0.0 } else { update.penalty };
    (numbers[0], numbers[1]) = (penalty, update.shrink);
    numbers[2..].iter_mut().zip(formula(update).1).for_each(|(to, from)| *to = from);
    numbers
}

fn program(update: &Update, dtype: DType, state: DType, wide: bool) -> Program {
    let (name, mut definitions) = step(update, dtype, state);
    let index = index_type(wide);
    definitions.push(("INDEX", index.to_string()));
    Program::new(&UPDATE, format!("update_{name}_{index}"), definitions)
}

pub(super) fn update(
    kernels: &Kernels,
    op: &Update,
    inputs: &[&AnyTensor],
    outputs: &[AnyTensor],
) -> Result<()> {
    match outputs.len() {
        1 => run::<1>(kernels, op, inputs, outputs),
        2 => run::<2>(kernels, op, inputs, outputs),
        3 => run::<3>(kernels, op, inputs, outputs),
        4 => run::<4>(kernels, op, inputs, outputs),
        _ => run::<MOST>(kernels, op, inputs, outputs),
    }
}

fn run<const N: usize>(
    kernels: &Kernels,
    op: &Update,
    inputs: &[&AnyTensor],
    outputs: &[AnyTensor],
) -> Result<()> {
    let (gradient, parameter) = (inputs[0], inputs[1]);
    let count = parameter.num_elements();
    if count == 0 {
        return Ok(());
    }
    // The states have one dtype, that of the parameter or f32.
    let state = inputs.get(2).map_or(parameter.dtype(), |state| state.dtype());
    if inputs[2..].iter().any(|other| other.dtype() != state) {
        return Err(kernels.missing("states of different dtypes"));
    }
    let shape = parameter.shape();
    // The gradient first, then at most MOST targets.
    let layouts: [_; MOST + 1] =
        std::array::from_fn(|i| inputs.get(i).unwrap_or(&gradient).layout());
    let walk = Walk::new(&shape, layouts);
    let params = Parameters::<N> {
        count: count as i64,
        dims: walk.dims,
        gradient: Operand::new(gradient, walk.strides[0]),
        inputs: std::array::from_fn(|i| Operand::new(inputs[1 + i], walk.strides[1 + i])),
        outputs: std::array::from_fn(|i| address(&outputs[i])),
        numbers: numbers(op),
        maximize: op.maximize as i64,
        rank: walk.rank as i64,
    };
    let program = program(op, parameter.dtype(), state, needs_wide_index(count));
    // SAFETY: the parameters are those of the program, which has as many targets; the walk stays
    // inside of all inputs, and each thread reads its elements before it writes them.
    unsafe { kernels.launch(&program, threads_for(count), &params) }
}

/// One update of each form that a rule has.
fn forms() -> Vec<Update> {
    use kiln_tensor::op::{
        AdadeltaRule, AdagradRule, AdamRule, AdamaxRule, AdanRule, AsgdRule, LionRule, RmsPropRule,
        RpropRule, ScaleRule, SgdRule,
    };
    let adam = AdamRule::new(1e-3, 0.9, 0.999, 1e-8, 1);
    let momentum = SgdRule { momentum: 0.9, ..SgdRule::new(0.1) };
    let rms = RmsPropRule { lr: 0.1, alpha: 0.9, epsilon: 1e-8, momentum: 0.0, centered: false };
    let rules = [
        Rule::Sgd(SgdRule::new(0.1)),
        Rule::Sgd(SgdRule { nesterov: true, ..SgdRule::new(0.1) }),
        Rule::Sgd(momentum),
        Rule::Sgd(SgdRule { nesterov: true, ..momentum }),
        Rule::Adam(adam),
        Rule::Adam(AdamRule { amsgrad: true, ..adam }),
        Rule::Adamax(AdamaxRule { rate: 0.1, beta_1: 0.9, beta_2: 0.99, epsilon: 1e-8 }),
        Rule::Adagrad(AdagradRule { rate: 0.1, epsilon: 1e-10 }),
        Rule::Adadelta(AdadeltaRule { lr: 1.0, rho: 0.9, epsilon: 1e-6 }),
        Rule::RmsProp(rms),
        Rule::RmsProp(RmsPropRule { momentum: 0.9, ..rms }),
        Rule::RmsProp(RmsPropRule { centered: true, ..rms }),
        Rule::RmsProp(RmsPropRule { centered: true, momentum: 0.9, ..rms }),
        Rule::Rprop(RpropRule { shrink: 0.5, grow: 1.2, min_step: 1e-6, max_step: 50.0 }),
        Rule::Asgd(AsgdRule { rate: 0.1, share: 0.25 }),
        Rule::Lion(LionRule { lr: 0.01, beta_1: 0.9, beta_2: 0.99 }),
        Rule::Adan(AdanRule {
            beta_1: 0.98,
            beta_2: 0.92,
            beta_3: 0.99,
            epsilon: 1e-8,
            rate: 0.01,
            change_rate: 0.02,
            root: 1.5,
            shrink_after: 0.99,
            first: false,
        }),
        Rule::Scale(ScaleRule),
    ];
    rules.map(Update::new).to_vec()
}

/// Each form with each dtype of the parameter and of its states.
pub(super) fn members() -> impl Iterator<Item = (Update, DType, DType)> {
    let halves = [DType::F16, DType::BF16].map(|half| (half, DType::F32));
    let same = FLOATS.map(|dtype| (dtype, dtype));
    let of = move |form| halves.into_iter().chain(same).map(move |(x, state)| (form, x, state));
    forms().into_iter().flat_map(of)
}

pub(super) fn programs() -> Vec<Program> {
    members().map(|(form, dtype, state)| program(&form, dtype, state, false)).collect()
}
