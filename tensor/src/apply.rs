//! The way of every operation: shape rule, allocation, kernel, tape.

use std::any::Any;
use std::panic::Location;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::any::AnyTensor;
use crate::autocast::{self, autocast_dtype};
use crate::op::{Meta, Metas, Op};
use crate::watch::watched;
use crate::{Backend, Device, Error, Result, deterministic, fuse, profile, trace};

/// The outputs of an operation; nearly always one.
pub type Outputs = SmallVec<[AnyTensor; 1]>;

/// What follows the operations on a tensor: the tape.
///
/// A tracked tensor carries one of these. The tensor crate knows no more of differentiation.
pub trait Track: Any + Send + Sync {
    /// Larger than those of all that it depends on.
    fn id(&self) -> u64;

    /// Called after an operation computed `outputs`, if an input is tracked. Attaches what the
    /// outputs are tracked by, or refuses the operation.
    fn record(&self, applied: Applied<'_>, outputs: &mut [AnyTensor]) -> Result<()>;
}

/// An operation that was applied.
pub struct Applied<'a> {
    /// The operation.
    pub op: &'a Op,
    /// What it was applied to.
    pub inputs: &'a [&'a AnyTensor],
    /// Whether the inputs are known to have the shape and dtype of the one output.
    pub alike: bool,
    /// The line that applied it.
    pub caller: &'static Location<'static>,
}

/// What tracks a tensor: an output of a node.
#[derive(Clone)]
pub struct Tracked {
    /// The node.
    pub node: Arc<dyn Track>,
    /// Which of its outputs.
    pub output: u32,
}

impl Tracked {
    /// What distinguishes it from all others.
    #[inline]
    pub fn key(&self) -> (u64, u32) {
        (self.node.id(), self.output)
    }
}

/// Applies `op` to `inputs`: checks them, allocates the outputs, runs the kernel, tells the tape.
#[inline]
#[track_caller]
pub fn apply(op: &Op, inputs: &[&AnyTensor]) -> Result<Outputs> {
    let Some(first) = inputs.first() else {
        let rule = "an operation without inputs needs a device".into();
        return Err(Error::Argument { op: op.spec().name(), rule });
    };
    if let Some(half) = autocast_dtype()
        && let Some(cast) = autocast::inputs(op, inputs, half)
    {
        let inputs: SmallVec<[&AnyTensor; 4]> = cast.iter().collect();
        return apply(op, &inputs);
    }
    if let Op::View(view) = op {
        let (layout, dtype) = (view.layout(first.layout())?, view.dtype(first.dtype())?);
        let mut outputs: Outputs = SmallVec::from_buf([first.view_as(layout, dtype)]);
        record(Applied { op, inputs, alike: false, caller: Location::caller() }, &mut outputs)?;
        return Ok(outputs);
    }
    if watched() && fuse::recording() {
        return apply_noted(op, inputs, Location::caller());
    }
    apply_now(op, inputs, Location::caller())
}

/// As [`apply`], inside of [`fuse`](crate::fuse()).
#[cold]
fn apply_noted(
    op: &Op,
    inputs: &[&AnyTensor],
    caller: &'static Location<'static>,
) -> Result<Outputs> {
    let Some(mut outputs) = fuse::link(op, inputs)? else {
        return apply_now(op, inputs, caller);
    };
    record(Applied { op, inputs, alike: false, caller }, &mut outputs)?;
    fuse::follow(&outputs[0]);
    Ok(outputs)
}

/// As [`apply`], for what is no view and in the right precision.
#[inline]
fn apply_now(
    op: &Op,
    inputs: &[&AnyTensor],
    caller: &'static Location<'static>,
) -> Result<Outputs> {
    if is_alike(op, inputs) {
        return apply_alike(op, inputs, caller).map(|output| SmallVec::from_buf([output]));
    }
    let first = inputs[0];
    let mut outputs = allocate_like(&infer(op, inputs, first.device())?, first)?;
    run(op, inputs, &outputs)?;
    finish(op, inputs, false, &mut outputs, caller)?;
    Ok(outputs)
}

/// As [`apply`], for the first output. The common case by a shorter way than through a list.
#[inline]
#[track_caller]
pub(crate) fn apply_one(op: &Op, inputs: &[&AnyTensor]) -> Result<AnyTensor> {
    let common = !watched() && autocast_dtype().is_none() && !matches!(op, Op::View(_));
    if common && is_alike(op, inputs) {
        return apply_alike(op, inputs, Location::caller());
    }
    apply(op, inputs).map(|mut outputs| outputs.swap_remove(0))
}

/// Whether the inputs are dense, and each is like the one output.
#[inline]
fn is_alike(op: &Op, inputs: &[&AnyTensor]) -> bool {
    let first = inputs[0];
    op.spec().preserves_meta(first.dtype(), inputs.len())
        && first.is_dense()
        && inputs[1..].iter().all(|input| input.is_like(first))
}

/// As [`apply_now`], where [`is_alike`].
#[inline]
fn apply_alike(
    op: &Op,
    inputs: &[&AnyTensor],
    caller: &'static Location<'static>,
) -> Result<AnyTensor> {
    let mut output = AnyTensor::uninitialized_like(inputs[0], inputs[0].dtype())?;
    run(op, inputs, std::slice::from_ref(&output))?;
    finish(op, inputs, true, std::slice::from_mut(&mut output), caller)?;
    Ok(output)
}

/// What comes after the kernel: the search for numbers that are none, and the tape.
#[inline]
fn finish(
    op: &Op,
    inputs: &[&AnyTensor],
    alike: bool,
    outputs: &mut [AnyTensor],
    caller: &'static Location<'static>,
) -> Result<()> {
    if crate::anomaly::detects_anomaly() {
        crate::anomaly::check(op.spec().name(), inputs, outputs, caller)?;
    }
    record(Applied { op, inputs, alike, caller }, outputs)
}

/// Applies an operation without inputs.
pub fn create(op: &Op, device: Device) -> Result<AnyTensor> {
    let metas = op.spec().infer(&[])?;
    let mut outputs = allocate(&metas, device)?;
    run(op, &[], &outputs)?;
    outputs.pop().ok_or_else(|| unreachable!("every operation has an output"))
}

/// As [`apply`], with the first input given away: where nobody else holds it, an elementwise
/// operation writes its result over it instead of into fresh memory.
#[inline]
#[track_caller]
pub fn apply_owned(op: &Op, mut first: AnyTensor, rest: &[&AnyTensor]) -> Result<AnyTensor> {
    apply_assign(op, &mut first, rest)?;
    Ok(first)
}

/// As [`apply_owned`], with the result in the place of the first input. After an error, that holds
/// what it held.
#[track_caller]
pub(crate) fn apply_assign(op: &Op, first: &mut AnyTensor, rest: &[&AnyTensor]) -> Result<()> {
    let inputs: SmallVec<[&AnyTensor; 3]> =
        std::iter::once(&*first).chain(rest.iter().copied()).collect();
    let untracked = inputs.iter().all(|x| x.tracked().is_none());
    let reusable = op.spec().elementwise() && untracked && !(watched() && fuse::recording());
    if !reusable {
        let result = apply(op, &inputs)?.swap_remove(0);
        drop(inputs);
        *first = result;
        return Ok(());
    }
    let metas = infer(op, &inputs, first.device())?;
    drop(inputs);
    let reuse = metas.len() == 1 && metas[0] == first.meta() && first.is_exclusive();
    let mut outputs =
        if reuse { SmallVec::from_buf([first.alias()]) } else { allocate(&metas, first.device())? };
    let inputs: SmallVec<[&AnyTensor; 3]> =
        std::iter::once(&*first).chain(rest.iter().copied()).collect();
    run(op, &inputs, &outputs)?;
    drop(inputs);
    *first = outputs.swap_remove(0);
    Ok(())
}

#[inline]
pub(crate) fn infer(op: &Op, inputs: &[&AnyTensor], device: Device) -> Result<Metas> {
    for input in &inputs[1..] {
        device.check_same(op.spec().name(), input.device())?;
    }
    // Small arrays by hand: collecting two metas takes longer than most rules.
    match inputs {
        [x] => op.spec().infer(&[x.meta()]),
        [a, b] => op.spec().infer(&[a.meta(), b.meta()]),
        inputs => {
            let metas: SmallVec<[Meta; 4]> = inputs.iter().map(|input| input.meta()).collect();
            op.spec().infer(&metas)
        }
    }
}

#[inline]
fn allocate(metas: &[Meta], device: Device) -> Result<Outputs> {
    match metas {
        [meta] => Ok(SmallVec::from_buf([AnyTensor::uninitialized(*meta, device)?])),
        metas => metas.iter().map(|meta| AnyTensor::uninitialized(*meta, device)).collect(),
    }
}

/// As [`allocate`] on the device of `first`, whose layout is taken over where it fits: that is
/// quicker than to compute one.
#[inline]
fn allocate_like(metas: &[Meta], first: &AnyTensor) -> Result<Outputs> {
    match metas {
        [meta] if first.is_dense() && meta.shape == *first.shape_ref() => {
            Ok(SmallVec::from_buf([AnyTensor::uninitialized_like(first, meta.dtype)?]))
        }
        metas => allocate(metas, first.device()),
    }
}

/// Fills `outputs`, by a kernel or, where the backend has none, by the decomposition.
#[inline]
pub(crate) fn run(op: &Op, inputs: &[&AnyTensor], outputs: &[AnyTensor]) -> Result<()> {
    let backend = outputs[0].device().backend();
    if watched() {
        return run_watched(backend, op, inputs, outputs);
    }
    if backend.supports(op) {
        return backend.execute(op, inputs, outputs);
    }
    compose(backend, op, inputs, outputs)
}

/// As [`run`], and tells who wants to know.
#[cold]
fn run_watched(
    backend: &dyn Backend,
    op: &Op,
    inputs: &[&AnyTensor],
    outputs: &[AnyTensor],
) -> Result<()> {
    profile::read_environment();
    if !backend.supports(op) {
        let _part = profile::part(op.spec().name());
        profile::claim(op, outputs);
        return compose(backend, op, inputs, outputs);
    }
    deterministic::check(backend, op)?;
    profile::operation(op, inputs, outputs, || backend.execute(op, inputs, outputs))?;
    trace::note(op, inputs, outputs);
    Ok(())
}

/// Fills `outputs` by smaller operations.
#[cold]
pub(crate) fn compose(
    backend: &dyn Backend,
    op: &Op,
    inputs: &[&AnyTensor],
    outputs: &[AnyTensor],
) -> Result<()> {
    // The tape records the operation itself, not its parts.
    let detached: SmallVec<[AnyTensor; 4]> = inputs.iter().map(|input| input.alias()).collect();
    let borrowed: SmallVec<[&AnyTensor; 4]> = detached.iter().collect();
    let Some(results) = op.spec().decompose(&borrowed) else {
        let what = format!("{} has neither a kernel nor smaller parts for it", backend.name());
        return Err(Error::Device { op: op.spec().name(), what });
    };
    for (result, output) in results.iter().zip(outputs) {
        let copy = Op::from(crate::op::Cast { dtype: output.dtype() });
        backend.execute(&copy, &[result], std::slice::from_ref(output))?;
    }
    Ok(())
}

#[inline]
fn record(applied: Applied<'_>, outputs: &mut [AnyTensor]) -> Result<()> {
    match applied.inputs.iter().find_map(|input| input.tracked()) {
        Some(tracked) => tracked.node.record(applied, outputs),
        None => Ok(()),
    }
}
