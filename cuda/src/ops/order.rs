//! Running totals, sorting and searching along one axis.

use kiln_tensor::op::{
    BinaryKind, BinaryScalar, LinearRecurrence, Nonzero, Scan, ScanKind, SearchSorted, Sort,
};
use kiln_tensor::{AnyTensor, DType, MAX_RANK, Result, Scalar, apply};

use super::copy::axes_of;
use super::elementwise::c_type;
use super::rows::Rows;
use crate::backend::Kernels;
use crate::geometry::{blocks_for, threads_for};
use crate::params::{Operand, Params, address};
use crate::program::{NONZERO, Program, SCAN, SEARCH_SORTED, SORT};

/// The longest row that is sorted: the work grows with the square of the length.
const LONGEST_SORT: usize = 1 << 17;

#[derive(Clone, Copy)]
#[repr(C)]
struct ScanParameters {
    rows: i64,
    n: i64,
    dims: [i64; MAX_RANK],
    first: Operand,
    second: Operand,
    output_strides: [i64; MAX_RANK],
    output: u64,
    places: u64,
    first_stride: i64,
    second_stride: i64,
    output_stride: i64,
    rank: i64,
}

// SAFETY: the fields are integers of eight bytes.
unsafe impl Params for ScanParameters {}

fn scan_program(kind: Option<ScanKind>, dtype: DType) -> Program {
    let (name, next, start) = match kind {
        Some(ScanKind::Sum) => ("sum", "fn::add(total, now)", "now"),
        Some(ScanKind::Prod) => ("prod", "fn::mul(total, now)", "now"),
        Some(ScanKind::Max) => ("max", "now >= total", ""),
        Some(ScanKind::Min) => ("min", "now <= total", ""),
        Some(ScanKind::LogSumExp) => ("logsumexp", "log_add_exp(total, now)", "now"),
        // h = a h + b
        None => ("recurrence", "now * total + second", "second"),
    };
    let places = kind.is_some_and(ScanKind::has_indices);
    let definitions = [
        ("T", c_type(dtype).to_string()),
        ("NEXT", next.to_string()),
        ("START", start.to_string()),
        ("PLACES", (places as u8).to_string()),
    ];
    Program::new(&SCAN, format!("scan_{name}_{dtype}"), definitions)
}

fn scan_rows(
    kernels: &Kernels,
    (axis, kind): (usize, Option<ScanKind>),
    [x, second]: [&AnyTensor; 2],
    [y, places]: [Option<&AnyTensor>; 2],
) -> Result<()> {
    let Some(y) = y.filter(|y| y.num_elements() > 0) else { return Ok(()) };
    let rows = Rows::new(axis, [x, second, y]);
    let params = ScanParameters {
        rows: rows.count as i64,
        n: rows.n as i64,
        dims: rows.walk.dims,
        first: rows.operand(0, x),
        second: if kind.is_none() { rows.operand(1, second) } else { Operand::NONE },
        output_strides: rows.walk.strides[2],
        output: address(y),
        places: places.map_or(0, address),
        first_stride: rows.along[0],
        second_stride: rows.along[1],
        output_stride: rows.along[2],
        rank: rows.walk.rank as i64,
    };
    let program = scan_program(kind, y.dtype());
    // SAFETY: the parameters are those of the family; the walk stays inside of all tensors.
    unsafe { kernels.launch(&program, threads_for(rows.count), &params) }
}

pub(super) fn scan(
    kernels: &Kernels,
    op: &Scan,
    x: &AnyTensor,
    outputs: &[AnyTensor],
) -> Result<()> {
    scan_rows(kernels, (op.axis, Some(op.kind)), [x, x], [outputs.first(), outputs.get(1)])
}

pub(super) fn recurrence(
    kernels: &Kernels,
    op: &LinearRecurrence,
    inputs: [&AnyTensor; 2],
    h: &AnyTensor,
) -> Result<()> {
    scan_rows(kernels, (op.axis, None), inputs, [Some(h), None])
}

#[derive(Clone, Copy)]
#[repr(C)]
struct SortParameters {
    rows: i64,
    n: i64,
    start: i64,
    ranks: i64,
    dims: [i64; MAX_RANK],
    input: Operand,
    output_strides: [i64; MAX_RANK],
    output: u64,
    places: u64,
    input_stride: i64,
    output_stride: i64,
    rank: i64,
}

// SAFETY: the fields are integers of eight bytes.
unsafe impl Params for SortParameters {}

fn sort_program(dtype: DType, descending: bool) -> Program {
    let name = format!("sort_{}_{dtype}", if descending { "descending" } else { "ascending" });
    let definitions =
        [("T", c_type(dtype).to_string()), ("DESCENDING", (descending as u8).to_string())];
    Program::new(&SORT, name, definitions)
}

pub(super) fn sort(
    kernels: &Kernels,
    op: &Sort,
    x: &AnyTensor,
    outputs: &[AnyTensor],
) -> Result<()> {
    let (y, n) = (&outputs[0], x.shape()[op.axis]);
    if y.num_elements() == 0 {
        return Ok(());
    }
    if x.dtype().is_complex() || n > LONGEST_SORT {
        return Err(kernels.missing(format!("rows of {n} {}", x.dtype())));
    }
    // The output has as many rows; only its extent along the axis differs.
    let others = || (0..x.rank()).filter(|&axis| axis != op.axis);
    let walk = crate::geometry::Walk::over(&x.shape(), [x.layout(), y.layout()], others());
    let rows: usize = others().map(|axis| x.shape()[axis]).product();
    let (start, ranks) = op.ranks.unwrap_or((0, n));
    let params = SortParameters {
        rows: rows as i64,
        n: n as i64,
        start: start as i64,
        ranks: ranks as i64,
        dims: walk.dims,
        input: Operand::new(x, walk.strides[0]),
        output_strides: walk.strides[1],
        output: address(y),
        places: address(&outputs[1]),
        input_stride: x.layout().strides()[op.axis] as i64,
        output_stride: y.layout().strides()[op.axis] as i64,
        rank: walk.rank as i64,
    };
    let program = sort_program(x.dtype(), op.descending);
    // SAFETY: the parameters are those of the family; the walk stays inside of all tensors.
    unsafe { kernels.launch(&program, threads_for(rows * n), &params) }
}

#[derive(Clone, Copy)]
#[repr(C)]
struct SearchParameters {
    count: i64,
    n: i64,
    dims: [i64; MAX_RANK],
    values: Operand,
    sorted: Operand,
    output: u64,
    sorted_stride: i64,
    rank: i64,
}

// SAFETY: the fields are integers of eight bytes.
unsafe impl Params for SearchParameters {}

fn search_program(dtype: DType, right: bool) -> Program {
    let name = format!("search_{}_{dtype}", if right { "right" } else { "left" });
    let definitions = [("T", c_type(dtype).to_string()), ("RIGHT", (right as u8).to_string())];
    Program::new(&SEARCH_SORTED, name, definitions)
}

pub(super) fn search_sorted(
    kernels: &Kernels,
    op: &SearchSorted,
    [sorted, values]: [&AnyTensor; 2],
    y: &AnyTensor,
) -> Result<()> {
    let count = y.num_elements();
    if count == 0 {
        return Ok(());
    }
    if values.dtype().is_complex() {
        return Err(kernels.missing(values.dtype()));
    }
    let last = sorted.rank() - 1;
    let mut rows = Operand::of(sorted);
    let sorted_stride = std::mem::replace(&mut rows.strides[last], 0);
    let params = SearchParameters {
        count: count as i64,
        n: sorted.shape()[last] as i64,
        dims: axes_of(y.layout()).0,
        values: Operand::of(values),
        sorted: rows,
        output: address(y),
        sorted_stride,
        rank: y.rank() as i64,
    };
    let program = search_program(values.dtype(), op.right);
    // SAFETY: the parameters are those of the family; the walk stays inside of all tensors.
    unsafe { kernels.launch(&program, threads_for(count), &params) }
}

#[derive(Clone, Copy)]
#[repr(C)]
struct NonzeroParameters {
    count: i64,
    found: i64,
    dims: [i64; MAX_RANK],
    input: Operand,
    output: u64,
    fault: u64,
    operation: u32,
    rank: i32,
}

// SAFETY: the fields are integers of eight bytes and a last pair of four: there are no gaps.
unsafe impl Params for NonzeroParameters {}

fn nonzero_program(dtype: DType) -> Program {
    Program::new(&NONZERO, format!("nonzero_{dtype}"), [("T", c_type(dtype).to_string())])
}

pub(super) fn nonzero(kernels: &Kernels, op: &Nonzero, x: &AnyTensor, y: &AnyTensor) -> Result<()> {
    if x.dtype().is_complex() {
        let zero =
            BinaryScalar { kind: BinaryKind::NotEqual, scalar: Scalar::Int(0), reversed: false };
        let hits = apply(&zero.into(), &[&x.detach()])?.swap_remove(0);
        return nonzero(kernels, op, &hits, y);
    }
    let (fault, operation) = kernels.fault();
    let params = NonzeroParameters {
        count: x.num_elements() as i64,
        found: op.count as i64,
        dims: axes_of(x.layout()).0,
        input: Operand::of(x),
        output: address(y),
        fault,
        operation,
        rank: x.rank() as i32,
    };
    // SAFETY: the parameters are those of the family; the kernel writes no more than `found` rows.
    unsafe { kernels.launch(&nonzero_program(x.dtype()), blocks_for(1), &params) }
}

pub(super) fn programs() -> Vec<Program> {
    let mut all = Vec::new();
    for dtype in DType::ALL.into_iter().filter(|dtype| !dtype.is_complex()) {
        all.push(nonzero_program(dtype));
        for flag in [true, false] {
            all.extend([sort_program(dtype, flag), search_program(dtype, flag)]);
        }
        if dtype == DType::Bool {
            continue;
        }
        for kind in ScanKind::ALL {
            if kind != ScanKind::LogSumExp || dtype.is_float() {
                all.push(scan_program(Some(kind), dtype));
            }
        }
        all.extend(dtype.is_float().then(|| scan_program(None, dtype)));
    }
    all
}
