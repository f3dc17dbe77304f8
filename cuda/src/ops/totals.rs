//! A number of each of many tensors.

use kiln_tensor::op::{Total, Totals};
use kiln_tensor::{AnyTensor, DType, Result};

use super::copy::dense;
use super::elementwise::{FLOATS, c_type};
use super::many::{CHUNK, Chunks, most};
use super::reduce::wide_type;
use crate::backend::Kernels;
use crate::geometry::blocks_for;
use crate::params::{Params, address};
use crate::program::{Program, TOTALS};

/// How many tensors a launch takes.
const MOST: usize = most(4 * 8, 2 * 8);

#[derive(Clone, Copy)]
#[repr(C)]
struct Parameters {
    inputs: [u64; MOST],
    counts: [i64; MOST],
    tensors: i64,
    chunks: i64,
    parts: u64,
    output: u64,
    first: [u32; MOST],
}

// SAFETY: the fields are numbers of eight bytes and an even number of those of four.
unsafe impl Params for Parameters {}

fn program(total: Total, dtype: DType, stage: usize) -> Program {
    let (name, value) = match total {
        Total::Squares => ("squares", "x * x"),
        Total::NotFinite => ("not_finite", "(x - x == 0 ? (W)0 : (W)1)"),
    };
    let definitions = [
        ("T", c_type(dtype).to_string()),
        ("Y", wide_type(dtype).to_string()),
        ("MOST", MOST.to_string()),
        ("CHUNK", CHUNK.to_string()),
        ("PACK", (16 / dtype.size()).to_string()),
        ("STAGE", stage.to_string()),
        ("VALUE", value.to_string()),
    ];
    Program::new(&TOTALS, format!("totals_{name}_{stage}_{dtype}"), definitions)
}

pub(super) fn totals(
    kernels: &Kernels,
    op: &Totals,
    inputs: &[&AnyTensor],
    y: &AnyTensor,
) -> Result<()> {
    let dtype = inputs[0].dtype();
    for (number, inputs) in inputs.chunks(MOST).enumerate() {
        let dense = inputs.iter().map(|x| dense(kernels, x)).collect::<Result<Vec<_>>>()?;
        let table = Chunks::new(inputs.iter().map(|x| x.num_elements()));
        let parts = kernels.workspace(table.chunks.max(1) as usize * y.dtype().size())?;
        let mut addresses = [0; MOST];
        addresses.iter_mut().zip(&dense).for_each(|(to, x)| *to = x.address);
        let params = Parameters {
            inputs: addresses,
            counts: table.counts,
            tensors: table.tensors,
            chunks: table.chunks,
            parts: parts.address(),
            output: address(y) + (number * MOST * y.dtype().size()) as u64,
            first: table.first,
        };
        let stages = [table.launch(), blocks_for(inputs.len())];
        for (stage, launch) in stages.into_iter().enumerate() {
            // SAFETY: the parameters are those of the family; the inputs lie without gaps, and there
            // is room for a sum of each chunk and of each tensor.
            unsafe { kernels.launch(&program(op.total, dtype, stage), launch, &params)? };
        }
    }
    Ok(())
}

pub(super) fn programs() -> Vec<Program> {
    let totals = [Total::Squares, Total::NotFinite].into_iter();
    let all = totals.flat_map(|total| FLOATS.map(|dtype| (total, dtype)));
    all.flat_map(|(total, dtype)| [0, 1].map(|stage| program(total, dtype, stage))).collect()
}
