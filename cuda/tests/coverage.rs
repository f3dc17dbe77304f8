//! `docs/cuda.md` says which operations have no kernel. Here the table of operations says so too.

#[path = "../../tensor/tests/common/mod.rs"]
mod common;
#[allow(dead_code)]
mod emulator;

use std::collections::BTreeSet;

use common::{Numbers, values};
use emulator::Emulator;
use kiln_cuda::CudaBackend;
use kiln_tensor::op::samples::Case;
use kiln_tensor::op::{Op, all_samples};
use kiln_tensor::{AnyTensor, Backend, DType, Device};

/// The names in the row of the table that begins so; none where there is no such row.
fn row(how: &str) -> BTreeSet<&'static str> {
    let page = include_str!("../../docs/cuda.md");
    let start = format!("| {how} | ");
    let row = page.lines().find_map(|line| line.strip_prefix(&start)).unwrap_or("");
    row.split('`').skip(1).step_by(2).collect()
}

/// Whether other operations make it up. Those of linear algebra are of each other, and of two that
/// have no kernel.
fn has_parts(case: &Case) -> bool {
    let mut numbers = Numbers(7);
    let inputs: Vec<AnyTensor> = (case.inputs.iter())
        .map(|input| values(input, DType::F32, DType::I64, &mut numbers))
        .map(|data| AnyTensor::from_data(&data, &Device::cpu()).unwrap())
        .collect();
    let linear_algebra = matches!(case.op, Op::Factor(_) | Op::Solve(_));
    !linear_algebra && case.op.spec().decompose(&inputs.iter().collect::<Vec<_>>()).is_some()
}

#[test]
fn the_page_on_cuda_lists_what_has_no_kernel() {
    let backend = CudaBackend::new(Emulator::new(&[], 64, (8, 0))).unwrap();
    let (mut composed, mut missing) = (BTreeSet::new(), BTreeSet::new());
    // Views are kernels nowhere.
    let kernels = all_samples().cases.into_iter().filter(|case| !matches!(case.op, Op::View(_)));
    for case in kernels.filter(|case| !backend.supports(&case.op)) {
        let list = if has_parts(&case) { &mut composed } else { &mut missing };
        list.insert(case.op.spec().name());
    }
    assert_eq!(row("composed of others"), composed);
    // A build without linear algebra has no samples of it.
    assert!(missing.is_subset(&row("an error")), "{missing:?}");
}
