//! Steps of optimizers for many parameters at once.

use kiln_tensor::op::Update;
use kiln_tensor::{AnyTensor, DType, PendingUpdate, Result};

use super::many::{CHUNK, Chunks, PARAMETER_BYTES, most};
use super::update::{members, numbers, step, update};
use crate::backend::Kernels;
use crate::params::{Params, address};
use crate::program::{Program, UPDATE_MANY};

/// How many parameters a launch takes, with this many targets each.
const fn most_of(targets: usize) -> usize {
    most(16 * 8, (2 + targets) * 8)
}

#[derive(Clone, Copy)]
#[repr(C)]
struct Parameters<const N: usize, const M: usize> {
    gradients: [u64; M],
    targets: [[u64; N]; M],
    counts: [i64; M],
    numbers: [f64; 12],
    gradient_stride: i64,
    maximize: i64,
    tensors: i64,
    chunks: i64,
    first: [u32; M],
}

// SAFETY: the fields are numbers of eight bytes and an even number of those of four.
unsafe impl<const N: usize, const M: usize> Params for Parameters<N, M> {}

/// Updates that one kernel computes with the same numbers.
struct Group<'a> {
    /// Those of all its gradients.
    strides: [bool; 2],
    updates: Vec<&'a PendingUpdate>,
}

/// Whether a step of 0 leads from one element of a gradient to the next, as where all are one number,
/// and whether one of 1 does.
fn strides(grad: &AnyTensor) -> [bool; 2] {
    let layout = grad.layout();
    let mut axes = layout.shape().iter().zip(layout.strides());
    [axes.all(|(&extent, &step)| extent == 1 || step == 0), layout.is_contiguous()]
}

fn dtypes(update: &PendingUpdate) -> impl Iterator<Item = DType> {
    update.targets.iter().map(AnyTensor::dtype)
}

/// In groups as large as can be. What lies in no simple order, or has states of different dtypes,
/// goes by itself.
pub(crate) fn update_all(kernels: &Kernels, updates: &[PendingUpdate]) -> Result<()> {
    let mut groups: Vec<Group> = Vec::new();
    for update in updates.iter().filter(|update| update.grad.num_elements() > 0) {
        let like = dtypes(update).skip(2).all(|dtype| dtype == update.targets[1].dtype());
        let strides = strides(&update.grad).map(|leads| leads && like);
        if strides == [false; 2] {
            self::update(kernels, &update.op, &update.inputs(), &update.targets)?;
            continue;
        }
        let common = |group: &Group| [0, 1].map(|i| group.strides[i] && strides[i]);
        let fits = |group: &&mut Group| {
            let first = group.updates[0];
            common(group) != [false; 2] && first.op == update.op && dtypes(first).eq(dtypes(update))
        };
        match groups.iter_mut().find(fits) {
            Some(group) => {
                group.strides = common(group);
                group.updates.push(update);
            }
            None => groups.push(Group { strides, updates: vec![update] }),
        }
    }
    groups.iter().try_for_each(|group| match group.updates[0].targets.len() {
        1 => run::<1, { most_of(1) }>(kernels, group),
        2 => run::<2, { most_of(2) }>(kernels, group),
        3 => run::<3, { most_of(3) }>(kernels, group),
        4 => run::<4, { most_of(4) }>(kernels, group),
        _ => run::<5, { most_of(5) }>(kernels, group),
    })
}

fn run<const N: usize, const M: usize>(kernels: &Kernels, group: &Group) -> Result<()> {
    const { assert!(size_of::<Parameters<N, M>>() <= PARAMETER_BYTES) };
    let PendingUpdate { op, targets, .. } = group.updates[0];
    let program = program(op, targets[0].dtype(), targets[N.min(2) - 1].dtype());
    for updates in group.updates.chunks(M) {
        let table = Chunks::new(updates.iter().map(|update| update.grad.num_elements()));
        let mut params = Parameters::<N, M> {
            gradients: [0; M],
            targets: [[0; N]; M],
            counts: table.counts,
            numbers: numbers(op),
            gradient_stride: group.strides[1] as i64,
            maximize: op.maximize as i64,
            tensors: table.tensors,
            chunks: table.chunks,
            first: table.first,
        };
        for (i, update) in updates.iter().enumerate() {
            params.gradients[i] = address(&update.grad);
            params.targets[i] = std::array::from_fn(|k| address(&update.targets[k]));
        }
        // SAFETY: the parameters are those of the program, which has as many targets. These lie
        // without gaps, as what an update changes does, and no two of them are one tensor.
        unsafe { kernels.launch(&program, table.launch(), &params)? };
    }
    Ok(())
}

fn program(op: &Update, dtype: DType, state: DType) -> Program {
    let (name, mut definitions) = step(op, dtype, state);
    definitions.extend([
        ("MOST", most_of(1 + op.states()).to_string()),
        ("CHUNK", CHUNK.to_string()),
        ("PACK", (16 / dtype.size()).to_string()),
    ]);
    Program::new(&UPDATE_MANY, format!("update_many_{name}"), definitions)
}

pub(super) fn programs() -> Vec<Program> {
    members().map(|(form, dtype, state)| program(&form, dtype, state)).collect()
}
