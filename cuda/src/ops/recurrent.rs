//! Recurrent layers: for each step one product with the state and one kernel for the cells. The
//! gradient of the weight is one product over all steps.
//!
//! What is multiplied has the dtype of the layer. What is only carried from step to step, the cells of
//! an LSTM and the state of a GRU, stays in the type that is computed in.

use kiln_tensor::op::{MatMul, Recurrent, RecurrentBackward, RecurrentCell};
use kiln_tensor::{AnyTensor, DType, Result};

use super::copy::dense;
use super::elementwise::{FLOATS, Function, c_type, fill_words, map_memory};
use super::matmul::{Place, product, product_with_sums};
use super::pointwise::cast;
use super::reduce::{sum_rows, wide_type};
use crate::backend::{Kernels, Workspace};
use crate::geometry::{index_type, needs_wide_index, threads_for};
use crate::params::{Params, address};
use crate::program::{Family, Program, RECURRENT_CELL, RECURRENT_CELL_BACKWARD};

#[derive(Clone, Copy)]
#[repr(C)]
struct Parameters {
    count: i64,
    h: i64,
    x: u64,
    u: u64,
    state: u64,
    carried: u64,
    y: u64,
    gates: u64,
    cells: u64,
    lengths: u64,
    time: i64,
}

// SAFETY: the fields are integers of eight bytes.
unsafe impl Params for Parameters {}

#[derive(Clone, Copy)]
#[repr(C)]
struct BackwardParameters {
    count: i64,
    h: i64,
    y: u64,
    gates: u64,
    cells: u64,
    dy: u64,
    last_y: u64,
    last_cells: u64,
    first_y: u64,
    first_cells: u64,
    product: u64,
    past: u64,
    carried: u64,
    dx: u64,
    du: u64,
    before: u64,
    lengths: u64,
    time: i64,
    last_time: i64,
}

// SAFETY: the fields are integers of eight bytes.
unsafe impl Params for BackwardParameters {}

fn program(family: &'static Family, cell: RecurrentCell, dtype: DType, wide: bool) -> Program {
    let (name, number) = match cell {
        RecurrentCell::Lstm => ("lstm", 0),
        RecurrentCell::Gru => ("gru", 1),
        RecurrentCell::Tanh => ("tanh", 2),
        RecurrentCell::Relu => ("relu", 3),
    };
    let index = index_type(wide);
    let definitions = [
        ("INDEX", index.to_string()),
        ("T", c_type(dtype).to_string()),
        ("CELL", number.to_string()),
        ("GATES", cell.gates().to_string()),
    ];
    Program::new(family, format!("{}_{name}_{dtype}_{index}", family.name), definitions)
}

/// The dtype that a layer computes in.
fn wide(dtype: DType) -> DType {
    if dtype == DType::F64 { DType::F64 } else { DType::F32 }
}

/// Extents of a layer, and the order of its steps.
struct Plan {
    dtype: DType,
    cell: RecurrentCell,
    time: usize,
    batch: usize,
    h: usize,
    reverse: bool,
}

impl Plan {
    fn new(op: &Recurrent, y: &AnyTensor) -> Self {
        let [time, batch, h] = y.shape().dims();
        Self { dtype: y.dtype(), cell: op.cell, time, batch, h, reverse: op.reverse }
    }

    /// Entries of a state.
    fn count(&self) -> usize {
        self.batch * self.h
    }

    /// Columns of what enters the gates.
    fn width(&self) -> usize {
        self.cell.gates() * self.h
    }

    /// The time of the `i`-th step that is taken.
    fn step(&self, i: usize) -> usize {
        if self.reverse { self.time - 1 - i } else { i }
    }

    fn bytes(&self, elements: usize) -> usize {
        elements * self.dtype.size()
    }

    /// Step `t` of something `[time, batch, width]`; nothing of nothing.
    fn part(&self, start: u64, t: usize, width: usize) -> u64 {
        if start == 0 { 0 } else { start + self.bytes(t * self.batch * width) as u64 }
    }
}

/// Copies a tensor to memory in a dtype.
fn convert(kernels: &Kernels, x: &AnyTensor, dtype: DType, to: u64) -> Result<()> {
    let from = dense(kernels, x)?;
    let function = cast(x.dtype(), dtype).function;
    map_memory(kernels, &function, &[from.address], to, x.num_elements())
}

/// Lengths as the kernels read them: none where there are none.
fn read_lengths<'a>(
    kernels: &'a Kernels,
    lengths: Option<&AnyTensor>,
) -> Result<Option<Workspace<'a>>> {
    let Some(lengths) = lengths else { return Ok(None) };
    let read = kernels.workspace(8 * lengths.num_elements())?;
    convert(kernels, lengths, DType::I64, read.address())?;
    Ok(Some(read))
}

fn address_of(memory: &Option<Workspace>) -> u64 {
    memory.as_ref().map_or(0, Workspace::address)
}

/// Numbers that are carried from step to step in the type that is computed in: in the output that they
/// end up in, or, where that is narrower, in a workspace.
struct Carried<'a> {
    output: &'a AnyTensor,
    apart: Option<Workspace<'a>>,
}

impl<'a> Carried<'a> {
    fn new(kernels: &'a Kernels, first: &AnyTensor, output: &'a AnyTensor) -> Result<Self> {
        let dtype = wide(output.dtype());
        let bytes = output.num_elements() * dtype.size();
        let apart = (dtype != output.dtype()).then(|| kernels.workspace(bytes)).transpose()?;
        let carried = Self { output, apart };
        convert(kernels, first, dtype, carried.address())?;
        Ok(carried)
    }

    fn address(&self) -> u64 {
        self.apart.as_ref().map_or(address(self.output), Workspace::address)
    }

    /// Writes the output, where it is not written yet.
    fn finish(&self, kernels: &Kernels) -> Result<()> {
        let Some(apart) = &self.apart else { return Ok(()) };
        let dtype = self.output.dtype();
        let function = cast(wide(dtype), dtype).function;
        let count = self.output.num_elements();
        map_memory(kernels, &function, &[apart.address()], address(self.output), count)
    }
}

pub(super) fn recurrent(
    kernels: &Kernels,
    op: &Recurrent,
    inputs: &[&AnyTensor],
    outputs: &[AnyTensor],
) -> Result<()> {
    let p = op.parts(inputs);
    let plan = Plan::new(op, &outputs[0]);
    let (dtype, batch, h, width) = (plan.dtype, plan.batch, plan.h, plan.width());
    if plan.count() == 0 {
        return Ok(());
    }
    // The last state, which holds that of each step until the next.
    let last = &outputs[1];
    convert(kernels, p.h0, dtype, address(last))?;
    let (carried, gates, cells) = match op.cell {
        RecurrentCell::Lstm => {
            let c0 = p.c0.expect("an LSTM has cells");
            (
                Some(Carried::new(kernels, c0, &outputs[2])?),
                address(&outputs[3]),
                address(&outputs[4]),
            )
        }
        RecurrentCell::Gru => (Some(Carried::new(kernels, p.h0, last)?), address(&outputs[2]), 0),
        RecurrentCell::Tanh | RecurrentCell::Relu => (None, 0, 0),
    };
    let (x, lengths) = (dense(kernels, p.x)?, read_lengths(kernels, p.lengths)?);
    // [batch, gates h]
    let u = kernels.workspace(plan.bytes(batch * width))?;
    let multiply = MatMul { bias: op.bias, activation: None };
    let (state, w) = (Place::dense(address(last), [batch, h]), Place::from(p.w).transposed());
    let bias = p.bias.map(Place::from);
    let program = program(&RECURRENT_CELL, op.cell, dtype, needs_wide_index(plan.count()));
    for t in (0..plan.time).map(|i| plan.step(i)) {
        let result = Place::dense(u.address(), [batch, width]);
        product(kernels, &multiply, dtype, [&state, &w], bias.as_ref(), result)?;
        let params = Parameters {
            count: plan.count() as i64,
            h: h as i64,
            x: plan.part(x.address, t, width),
            u: u.address(),
            state: state.address,
            carried: carried.as_ref().map_or(0, Carried::address),
            y: plan.part(address(&outputs[0]), t, h),
            gates: plan.part(gates, t, op.cell.kept() * h),
            cells: plan.part(cells, t, h),
            lengths: address_of(&lengths),
            time: t as i64,
        };
        // SAFETY: the parameters are those of the family; all that they point to has the extents of
        // the layer, and one thread reads and writes each entry that is replaced.
        unsafe { kernels.launch(&program, threads_for(plan.count()), &params)? };
    }
    match carried {
        // The last state of a GRU was rounded in each step.
        Some(cells) if op.cell == RecurrentCell::Lstm => cells.finish(kernels),
        _ => Ok(()),
    }
}

pub(super) fn recurrent_backward(
    kernels: &Kernels,
    op: &RecurrentBackward,
    inputs: &[&AnyTensor],
    outputs: &[AnyTensor],
) -> Result<()> {
    let (p, layer) = (op.parts(inputs), &op.layer);
    let plan = Plan::new(layer, p.y);
    let (dtype, cell, batch, h, width) = (plan.dtype, plan.cell, plan.batch, plan.h, plan.width());
    let (dx, dw, db) = (&outputs[0], &outputs[1], outputs.last().filter(|_| layer.bias));
    if h == 0 {
        return Ok(());
    }
    let rows = plan.time * batch;
    // The state before each step, [time, batch, h], and of a GRU what the products get, which is not
    // what the inputs get, [time, batch, gates h].
    let before = kernels.workspace(plan.bytes(rows * h).max(1))?;
    let apart = (cell == RecurrentCell::Gru)
        .then(|| kernels.workspace(plan.bytes(rows * width).max(1)))
        .transpose()?;
    let du = apart.as_ref().map_or(address(dx), Workspace::address);
    steps_back(kernels, op, inputs, outputs, [du, before.address()])?;
    let factors =
        [&Place::dense(du, [rows, width]).transposed(), &Place::dense(before.address(), [rows, h])];
    let result = || Place::dense(address(dw), [width, h]);
    let Some(db) = db else {
        return product(kernels, &MatMul::default(), dtype, factors, None, result()).map(|_| ());
    };
    if product_with_sums(kernels, dtype, factors, result(), address(db))? {
        return Ok(());
    }
    product(kernels, &MatMul::default(), dtype, factors, None, result())?;
    let types = [c_type(dtype), wide_type(dtype), c_type(dtype)];
    sum_rows(kernels, types, [rows, width], du, address(db))
}

/// The gradients of inputs and states, step by step. Also writes, for the gradient of the weight, what
/// the products get (`du`) and the state before each step.
fn steps_back(
    kernels: &Kernels,
    op: &RecurrentBackward,
    inputs: &[&AnyTensor],
    outputs: &[AnyTensor],
    [du, before]: [u64; 2],
) -> Result<()> {
    let p = op.parts(inputs);
    let plan = Plan::new(&op.layer, p.y);
    let (dtype, cell, batch, h, width) = (plan.dtype, plan.cell, plan.batch, plan.h, plan.width());
    let count = plan.count();
    if count == 0 {
        return Ok(());
    }
    let read = |x: Option<&AnyTensor>| x.map(|x| dense(kernels, x)).transpose();
    let [y, dy, first_y] = [read(Some(p.y))?, read(Some(p.dy))?, read(Some(p.h0))?];
    let [gates, cells, first_cells] = [read(p.gates)?, read(p.cells)?, read(p.c0)?];
    let [y, dy, first_y, gates, cells, first_cells] =
        [&y, &dy, &first_y, &gates, &cells, &first_cells]
            .map(|x| x.as_ref().map_or(0, |x| x.address));
    let lengths = read_lengths(kernels, p.lengths)?;
    // The gradient of the first state, which holds that of each state until the one before it: what
    // comes through the product, and, where there is anything, what goes past it.
    let dh = &outputs[2];
    convert(kernels, p.dh, dtype, address(dh))?;
    let words = count.div_ceil(8 / wide(dtype).size());
    let goes_past = cell == RecurrentCell::Gru || op.layer.lengths;
    let past = goes_past.then(|| kernels.workspace(8 * words)).transpose()?;
    if let Some(past) = &past {
        fill_words(kernels, past.address(), words, 0)?;
    }
    let dc = p.dc.map(|dc| Carried::new(kernels, dc, &outputs[3])).transpose()?;
    let w = Place::from(p.w);
    let program = program(&RECURRENT_CELL_BACKWARD, cell, dtype, needs_wide_index(count));
    for i in (0..plan.time).rev() {
        let t = plan.step(i);
        let last = i.checked_sub(1).map(|i| plan.step(i));
        let of_last = |start| last.map_or(0, |last| plan.part(start, last, h));
        let params = BackwardParameters {
            count: count as i64,
            h: h as i64,
            y: plan.part(y, t, h),
            gates: plan.part(gates, t, cell.kept() * h),
            cells: plan.part(cells, t, h),
            dy: plan.part(dy, t, h),
            last_y: of_last(y),
            last_cells: of_last(cells),
            first_y,
            first_cells,
            product: address(dh),
            past: address_of(&past),
            carried: dc.as_ref().map_or(0, Carried::address),
            dx: plan.part(address(&outputs[0]), t, width),
            du: plan.part(du, t, width),
            before: plan.part(before, t, h),
            lengths: address_of(&lengths),
            time: t as i64,
            last_time: last.map_or(0, |last| last as i64),
        };
        // SAFETY: the parameters are those of the family; all that they point to has the extents of
        // the layer, and one thread reads and writes each entry that is replaced.
        unsafe { kernels.launch(&program, threads_for(count), &params)? };
        let du = Place::dense(params.du, [batch, width]);
        let result = Place::dense(address(dh), [batch, h]);
        product(kernels, &MatMul::default(), dtype, [&du, &w], None, result)?;
    }
    if let Some(past) = &past {
        let at = [address(dh), past.address()];
        map_memory(kernels, &add_past(dtype), &at, address(dh), count)?;
    }
    dc.map_or(Ok(()), |dc| dc.finish(kernels))
}

/// Of a gradient what came through the product and what went past it.
fn add_past(dtype: DType) -> Function {
    let own = c_type(dtype);
    Function::new("recurrent_past", "x0 + x1", &[own, wide_type(dtype), own])
}

pub(super) fn programs() -> Vec<Program> {
    use RecurrentCell::{Gru, Lstm, Relu, Tanh};
    let mut all = Vec::new();
    for family in [&RECURRENT_CELL, &RECURRENT_CELL_BACKWARD] {
        for dtype in FLOATS {
            all.extend([Lstm, Gru, Tanh, Relu].map(|cell| program(family, cell, dtype, false)));
        }
        all.push(program(family, Lstm, DType::F32, true));
    }
    all.extend(FLOATS.map(|dtype| add_past(dtype).program(false, false)));
    all
}
