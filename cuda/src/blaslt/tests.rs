//! A recorder in the place of the library.

use std::cell::RefCell;

use super::*;
use crate::gemm::{Matrix, gemm};

thread_local! {
    /// The calls of this thread, as `function(arguments)`.
    static CALLS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

fn note(call: String) -> c_int {
    CALLS.with_borrow_mut(|calls| calls.push(call));
    0
}

fn calls() -> Vec<String> {
    CALLS.take()
}

/// Gives out a pointer that was not given out before.
unsafe fn give(to: *mut Handle) {
    let number = CALLS.with_borrow(|calls| calls.len()) + 1;
    // SAFETY: passed on to the caller.
    unsafe { *to = std::ptr::without_provenance_mut(number) };
}

unsafe extern "C" fn create(to: *mut Handle) -> c_int {
    // SAFETY: as the library's.
    unsafe { give(to) };
    note("create".into())
}

unsafe extern "C" fn desc_create(to: *mut Handle, compute: c_int, scale: c_int) -> c_int {
    // SAFETY: as the library's.
    unsafe { give(to) };
    note(format!("desc(compute {compute}, scale {scale})"))
}

unsafe extern "C" fn layout_create(
    to: *mut Handle,
    data: c_int,
    rows: u64,
    columns: u64,
    leading: i64,
) -> c_int {
    // SAFETY: as the library's.
    unsafe { give(to) };
    note(format!("layout(type {data}, {rows} x {columns}, {leading})"))
}

unsafe extern "C" fn set(_: Handle, attribute: c_int, value: *const c_void, size: usize) -> c_int {
    // SAFETY: as the library's.
    let value = unsafe {
        match size {
            4 => i64::from(value.cast::<i32>().read()),
            8 => value.cast::<i64>().read(),
            _ => return 7,
        }
    };
    note(format!("set({attribute}, {value}, {size} bytes)"))
}

unsafe extern "C" fn destroy(_: Handle) -> c_int {
    note("destroy".into())
}

unsafe extern "C" fn heuristic(
    _: Handle,
    _: Handle,
    _: Handle,
    _: Handle,
    _: Handle,
    _: Handle,
    _: Handle,
    wanted: c_int,
    results: *mut Choice,
    found: *mut c_int,
) -> c_int {
    // SAFETY: as the library's.
    unsafe {
        (*results).algorithm = [9; 8];
        *found = 1;
    }
    note(format!("heuristic({wanted})"))
}

unsafe extern "C" fn refuses(
    _: Handle,
    _: Handle,
    _: Handle,
    _: Handle,
    _: Handle,
    _: Handle,
    _: Handle,
    _: c_int,
    _: *mut Choice,
    _: *mut c_int,
) -> c_int {
    note("refused".into());
    NOT_SUPPORTED
}

unsafe extern "C" fn matmul(
    _: Handle,
    _: Handle,
    alpha: *const c_void,
    a: u64,
    _: Handle,
    b: u64,
    _: Handle,
    beta: *const c_void,
    c: u64,
    c_layout: Handle,
    d: u64,
    d_layout: Handle,
    algorithm: *const c_void,
    workspace: u64,
    bytes: usize,
    _: Handle,
) -> c_int {
    assert_eq!((c, c_layout), (d, d_layout));
    // SAFETY: as the library's.
    let (alpha, beta, algorithm) = unsafe {
        (alpha.cast::<f32>().read(), beta.cast::<f32>().read(), algorithm.cast::<u64>().read())
    };
    note(format!(
        "matmul({alpha} {a} {b} {beta} {d}, algorithm {algorithm}, {bytes} at {workspace})"
    ))
}

const RECORDER: Api = Api {
    create,
    desc_create,
    desc_set: set,
    desc_destroy: destroy,
    layout_create,
    layout_set: set,
    layout_destroy: destroy,
    preference_create: create,
    preference_set: set,
    preference_destroy: destroy,
    heuristic,
    matmul,
};

fn blas(api: Api) -> BlasLt {
    CALLS.take();
    let blas = BlasLt::with(api, (4096, 1 << 20)).unwrap();
    assert_eq!(calls(), ["create"]);
    blas
}

/// `[2, 3]` by the transpose of `[4, 3]`, twice, with bias and ReLU.
fn product(dtype: DType) -> Gemm {
    let left = Matrix { rows: 2, columns: 3, row_stride: 3, column_stride: 1, step: 6 };
    let right = Matrix { rows: 3, columns: 4, row_stride: 1, column_stride: 3, step: 12 };
    let epilogue =
        Epilogue { bias: true, activation: Some(GemmActivation::Relu), ..Epilogue::default() };
    gemm(dtype, [left, right], 2, epilogue).unwrap()
}

fn run(blas: &BlasLt, gemm: &Gemm, vector: u64) -> Result<bool> {
    let at = Addresses { a: 100, b: 200, d: 300, vector };
    // SAFETY: the recorder reads nothing at these addresses.
    unsafe { blas.matmul(gemm, at, null_mut()) }
}

/// The numbers are those of the header files `cublasLt.h`, `cublas_api.h` and `library_types.h`.
#[test]
fn a_product_becomes_these_calls_and_later_only_one() {
    let blas = blas(RECORDER);
    let gemm = Gemm { alignment: [16, 8, 256, 4], ..product(DType::BF16) };
    assert!(run(&blas, &gemm, 400).unwrap());
    let product = "matmul(1 100 200 0 300, algorithm 9, 1048576 at 4096)";
    let expected = [
        "desc(compute 68, scale 0)",
        "set(3, 1, 4 bytes)",   // A is transposed,
        "set(4, 0, 4 bytes)",   // B is not;
        "set(7, 6, 4 bytes)",   // ReLU and bias,
        "set(8, 400, 8 bytes)", // which is there.
        "layout(type 14, 3 x 4, 3)",
        "set(5, 2, 4 bytes)",  // Two in a batch,
        "set(6, 12, 8 bytes)", // this far apart.
        "layout(type 14, 3 x 2, 3)",
        "set(5, 2, 4 bytes)",
        "set(6, 6, 8 bytes)",
        "layout(type 14, 4 x 2, 4)",
        "set(5, 2, 4 bytes)",
        "set(6, 8, 8 bytes)",
        "create",
        "set(1, 1048576, 8 bytes)", // The workspace.
        "set(5, 16, 4 bytes)",
        "set(6, 8, 4 bytes)",
        "set(7, 256, 4 bytes)",
        "set(8, 256, 4 bytes)",
        "heuristic(1)",
        "destroy",
        "set(8, 400, 8 bytes)",
        product,
    ];
    assert_eq!(calls(), expected);
    // The plan is kept; the bias may lie elsewhere.
    assert!(run(&blas, &gemm, 500).unwrap());
    assert_eq!(calls(), ["set(8, 500, 8 bytes)", product]);
    // Another alignment may want another algorithm.
    assert!(run(&blas, &Gemm { alignment: [4; 4], ..gemm }, 400).unwrap());
    assert!(calls().contains(&"heuristic(1)".to_string()));
    drop(blas);
    assert_eq!(calls(), ["destroy"; 8], "two descriptors and six layouts");
}

#[test]
fn types_of_elements_decide_in_what_is_added_up() {
    for (dtype, tf32, expected) in [
        (DType::F16, false, ["desc(compute 68, scale 0)", "layout(type 2, 3 x 4, 3)"]),
        (DType::F32, false, ["desc(compute 68, scale 0)", "layout(type 0, 3 x 4, 3)"]),
        (DType::F32, true, ["desc(compute 77, scale 0)", "layout(type 0, 3 x 4, 3)"]),
        (DType::F64, true, ["desc(compute 70, scale 1)", "layout(type 1, 3 x 4, 3)"]),
        (DType::Complex64, false, ["desc(compute 68, scale 4)", "layout(type 4, 3 x 4, 3)"]),
        (DType::Complex128, false, ["desc(compute 70, scale 5)", "layout(type 5, 3 x 4, 3)"]),
    ] {
        let blas = blas(RECORDER);
        let epilogue = Epilogue::default();
        assert!(run(&blas, &Gemm { tf32, epilogue, ..product(dtype) }, 0).unwrap());
        let calls = calls();
        assert!(expected.iter().all(|call| calls.contains(&call.to_string())), "{calls:?}");
        assert!(calls.contains(&"set(7, 1, 4 bytes)".into()), "no epilogue: {calls:?}");
    }
    assert_eq!(one(DType::F64)[..8], 1f64.to_ne_bytes());
    assert_eq!(one(DType::Complex64)[..8], [1f32.to_ne_bytes(), [0; 4]].concat());
}

/// The sums go where the bias would be: BGRADB, which wants B transposed.
#[test]
fn sums_are_an_epilogue_too() {
    let blas = blas(RECORDER);
    let left = Matrix { rows: 2, columns: 3, row_stride: 1, column_stride: 2, step: 0 };
    let right = Matrix { rows: 3, columns: 4, row_stride: 4, column_stride: 1, step: 0 };
    let epilogue = Epilogue { sums: true, ..Epilogue::default() };
    let gemm = gemm(DType::F16, [left, right], 1, epilogue).unwrap();
    assert!(run(&blas, &gemm, 400).unwrap());
    let calls = calls();
    let settings = ["set(4, 1, 4 bytes)", "set(7, 512, 4 bytes)", "set(8, 400, 8 bytes)"];
    assert!(settings.iter().all(|call| calls.contains(&call.to_string())), "{calls:?}");
}

#[test]
fn what_no_algorithm_does_is_asked_for_once() {
    let blas = blas(Api { heuristic: refuses, ..RECORDER });
    assert!(!run(&blas, &product(DType::F32), 400).unwrap());
    assert!(calls().contains(&"refused".to_string()));
    assert!(!run(&blas, &product(DType::F32), 400).unwrap());
    assert_eq!(calls(), Vec::<String>::new());
    // A type that the library does not know is not even asked for.
    assert!(!run(&blas, &product(DType::I32), 400).unwrap());
    assert_eq!(calls(), Vec::<String>::new());
}

#[test]
fn a_failed_call_is_named() {
    unsafe extern "C" fn fails(_: Handle, _: c_int, _: *const c_void, _: usize) -> c_int {
        7
    }
    let blas = blas(Api { layout_set: fails, ..RECORDER });
    let error = run(&blas, &product(DType::F32), 400).unwrap_err().to_string();
    assert_eq!(error, "matmul: cuBLASLt failed: an attribute returned status 7");
    let destroyed = calls().iter().filter(|call| *call == "destroy").count();
    assert_eq!(destroyed, 2, "the descriptor and the layout made so far");
}
