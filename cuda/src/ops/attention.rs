//! Attention without stored scores, and its gradients.

use kiln_tensor::op::{Attention, AttentionBackward};
use kiln_tensor::{AnyTensor, DType, Result};

use super::composed;
use super::elementwise::c_type;
use crate::backend::Kernels;
use crate::geometry::blocks_for;
use crate::params::{Operand, Params, address};
use crate::program::{ATTENTION, ATTENTION_KEY, ATTENTION_QUERY, Family, Program};

/// Heads up to this many numbers have a kernel: what fits shared memory.
fn widest(dtype: DType) -> usize {
    if dtype == DType::F64 { 64 } else { 128 }
}

/// Rows of one side that a block does: of queries forward, of either backward.
const FORWARD_ROWS: usize = 16;
const BACKWARD_ROWS: usize = 8;

#[derive(Clone, Copy)]
#[repr(C)]
struct Parameters {
    n: i64,
    heads: i64,
    groups: i64,
    queries: i64,
    keys: i64,
    d: i64,
    e: i64,
    query: Operand,
    key: Operand,
    value: Operand,
    bias: Operand,
    dy: Operand,
    log_sum: Operand,
    delta: Operand,
    output: u64,
    log_sum_out: u64,
    dkey: u64,
    dvalue: u64,
    dbias: u64,
    scale: f64,
    softcap: f64,
    causal: i64,
    is_causal: i32,
    has_softcap: i32,
    has_bias: i32,
    padding: i32,
}

// SAFETY: the fields are numbers of eight bytes and four of four: there are no gaps.
unsafe impl Params for Parameters {}

impl Parameters {
    fn new(op: &Attention, [query, key, value]: [&AnyTensor; 3], bias: Option<&AnyTensor>) -> Self {
        let ([n, heads, queries, d], [_, groups, keys, e]) =
            (query.shape().dims::<4>(), value.shape().dims::<4>());
        let scores = kiln_tensor::Shape::new([n, heads, queries, keys]);
        let spread = |bias: &AnyTensor| {
            let layout = bias.layout().expand(&scores).expect("the shape rule broadcasts");
            Operand::new(bias, crate::params::strides(&layout))
        };
        Self {
            n: n as i64,
            heads: heads as i64,
            groups: groups as i64,
            queries: queries as i64,
            keys: keys as i64,
            d: d as i64,
            e: e as i64,
            query: Operand::of(query),
            key: Operand::of(key),
            value: Operand::of(value),
            bias: bias.map_or(Operand::NONE, spread),
            dy: Operand::NONE,
            log_sum: Operand::NONE,
            delta: Operand::NONE,
            output: 0,
            log_sum_out: 0,
            dkey: 0,
            dvalue: 0,
            dbias: 0,
            scale: op.scale,
            softcap: op.softcap.unwrap_or(1.0),
            causal: op.causal.unwrap_or(0),
            is_causal: op.causal.is_some() as i32,
            has_softcap: op.softcap.is_some() as i32,
            has_bias: bias.is_some() as i32,
            padding: 0,
        }
    }

    fn width(&self) -> usize {
        self.d.max(self.e) as usize
    }
}

fn program(family: &'static Family, dtype: DType, width: usize) -> Program {
    let width = width.next_power_of_two().max(32);
    let definitions = [("T", c_type(dtype).to_string()), ("WIDTH", width.to_string())];
    Program::new(family, format!("{}_{dtype}_{width}", family.name), definitions)
}

pub(super) fn attention(
    kernels: &Kernels,
    op: &Attention,
    inputs: &[&AnyTensor],
    outputs: &[AnyTensor],
) -> Result<()> {
    let bias = inputs.get(3).copied();
    let mut params = Parameters::new(op, [inputs[0], inputs[1], inputs[2]], bias);
    let dtype = inputs[0].dtype();
    if params.width() > widest(dtype) {
        return composed(kernels, &(*op).into(), inputs, outputs);
    }
    params.output = address(&outputs[0]);
    params.log_sum_out = address(&outputs[1]);
    let tiles = (params.queries as usize).div_ceil(FORWARD_ROWS);
    let launch = blocks_for(tiles * (params.n * params.heads) as usize);
    let program = program(&ATTENTION, dtype, params.width());
    // SAFETY: the parameters are those of the family, which stays inside of all extents.
    unsafe { kernels.launch(&program, launch, &params) }
}

pub(super) fn attention_backward(
    kernels: &Kernels,
    op: &AttentionBackward,
    inputs: &[&AnyTensor],
    outputs: &[AnyTensor],
) -> Result<()> {
    let bias = inputs.get(6).copied();
    let mut params = Parameters::new(&op.attention, [inputs[0], inputs[1], inputs[2]], bias);
    let dtype = inputs[0].dtype();
    if params.width() > widest(dtype) {
        return composed(kernels, &(*op).into(), inputs, outputs);
    }
    params.log_sum = Operand::of(inputs[3]);
    params.dy = Operand::of(inputs[4]);
    params.delta = Operand::of(inputs[5]);
    let mut next = outputs.iter();
    let mut wanted = |i: usize| op.wants[i].then(|| next.next()).flatten();
    let [dquery, dkey, dvalue, dbias] = [0, 1, 2, 3].map(&mut wanted);
    // A gradient without elements has no place.
    let place = |y: Option<&AnyTensor>| y.filter(|y| y.num_elements() > 0).map_or(0, address);
    params.output = place(dquery);
    params.dkey = place(dkey);
    params.dvalue = place(dvalue);
    params.dbias = place(dbias);
    let launch = |family: &'static Family, rows: i64, others: i64| {
        let tiles = (rows as usize).div_ceil(BACKWARD_ROWS);
        let program = program(family, dtype, params.width());
        // SAFETY: the parameters are those of both families, which stay inside of all extents.
        unsafe { kernels.launch(&program, blocks_for(tiles * others as usize), &params) }
    };
    if params.output != 0 || params.dbias != 0 {
        launch(&ATTENTION_QUERY, params.queries, params.n * params.heads)?;
    }
    if params.dkey != 0 || params.dvalue != 0 {
        launch(&ATTENTION_KEY, params.keys, params.n * params.groups)?;
    }
    Ok(())
}

pub(super) fn programs() -> Vec<Program> {
    let mut all = Vec::new();
    for dtype in [DType::F16, DType::BF16, DType::F32, DType::F64] {
        for width in [32, 64, 128].into_iter().filter(|&width| width <= widest(dtype)) {
            let families: [&'static Family; 3] = [&ATTENTION, &ATTENTION_QUERY, &ATTENTION_KEY];
            all.extend(families.map(|family| program(family, dtype, width)));
        }
    }
    all
}
