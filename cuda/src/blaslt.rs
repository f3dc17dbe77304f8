//! The calls of cuBLASLt: from a [`Gemm`] to descriptors and an algorithm, which are kept.

use std::collections::HashMap;
use std::ffi::{c_int, c_void};
use std::ptr::null_mut;
use std::sync::{Mutex, PoisonError};

use cudarc::cublaslt::sys::{
    cublasComputeType_t as Compute, cublasLtEpilogue_t as Epilogues,
    cublasLtMatmulDescAttributes_t as DescAttribute,
    cublasLtMatmulPreferenceAttributes_t as Preference,
    cublasLtMatrixLayoutAttribute_t as LayoutAttribute, cudaDataType,
};
use kiln_tensor::{DType, Error, Result};

use crate::NoCuda;
use crate::gemm::{Addresses, Epilogue, Factor, Gemm, GemmActivation};
use crate::library::Library::CublasLt;

/// What the library calls a handle, a descriptor, a layout, a stream: pointers that mean nothing here.
type Handle = *mut c_void;

/// CUBLAS_STATUS_NOT_SUPPORTED: no algorithm does this.
const NOT_SUPPORTED: c_int = 15;

/// More products than a program of fixed shapes has. Past them all are forgotten and found again.
const MOST_PLANS: usize = 4096;

/// What the choice of an algorithm gives: `cublasLtMatmulHeuristicResult_t`.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
struct Choice {
    algorithm: [u64; 8],
    workspace_bytes: usize,
    status: c_int,
    waves: f32,
    reserved: [c_int; 4],
}

type Set = unsafe extern "C" fn(Handle, c_int, *const c_void, usize) -> c_int;
type Destroy = unsafe extern "C" fn(Handle) -> c_int;

/// The functions of the library.
#[derive(Clone, Copy)]
struct Api {
    create: unsafe extern "C" fn(*mut Handle) -> c_int,
    desc_create: unsafe extern "C" fn(*mut Handle, c_int, c_int) -> c_int,
    desc_set: Set,
    desc_destroy: Destroy,
    layout_create: unsafe extern "C" fn(*mut Handle, c_int, u64, u64, i64) -> c_int,
    layout_set: Set,
    layout_destroy: Destroy,
    preference_create: unsafe extern "C" fn(*mut Handle) -> c_int,
    preference_set: Set,
    preference_destroy: Destroy,
    heuristic: unsafe extern "C" fn(
        Handle,
        Handle,
        Handle,
        Handle,
        Handle,
        Handle,
        Handle,
        c_int,
        *mut Choice,
        *mut c_int,
    ) -> c_int,
    matmul: unsafe extern "C" fn(
        Handle,
        Handle,
        *const c_void,
        u64,
        Handle,
        u64,
        Handle,
        *const c_void,
        u64,
        Handle,
        u64,
        Handle,
        *const c_void,
        u64,
        usize,
        Handle,
    ) -> c_int,
}

impl Api {
    fn load() -> Result<Self, NoCuda> {
        // SAFETY: these are the types that `cublasLt.h` gives to these functions, with addresses on
        // the device as numbers.
        unsafe {
            Ok(Self {
                create: CublasLt.function("cublasLtCreate")?,
                desc_create: CublasLt.function("cublasLtMatmulDescCreate")?,
                desc_set: CublasLt.function("cublasLtMatmulDescSetAttribute")?,
                desc_destroy: CublasLt.function("cublasLtMatmulDescDestroy")?,
                layout_create: CublasLt.function("cublasLtMatrixLayoutCreate")?,
                layout_set: CublasLt.function("cublasLtMatrixLayoutSetAttribute")?,
                layout_destroy: CublasLt.function("cublasLtMatrixLayoutDestroy")?,
                preference_create: CublasLt.function("cublasLtMatmulPreferenceCreate")?,
                preference_set: CublasLt.function("cublasLtMatmulPreferenceSetAttribute")?,
                preference_destroy: CublasLt.function("cublasLtMatmulPreferenceDestroy")?,
                heuristic: CublasLt.function("cublasLtMatmulAlgoGetHeuristic")?,
                matmul: CublasLt.function("cublasLtMatmul")?,
            })
        }
    }
}

/// The library on one device.
pub(crate) struct BlasLt {
    api: Api,
    // A handle as a number, which any thread may use.
    handle: usize,
    /// Where algorithms may write what is theirs, and how much. One place for all: on one stream no
    /// two run at a time.
    workspace: (u64, usize),
    /// None for what no algorithm does.
    plans: Mutex<HashMap<Gemm, Option<Plan>>>,
}

/// How a product is computed.
struct Plan {
    desc: Object,
    a: Object,
    b: Object,
    d: Object,
    choice: Choice,
}

/// Something of the library's, destroyed when dropped.
struct Object {
    // A pointer as a number, which any thread may use.
    pointer: usize,
    destroy: Destroy,
}

impl Object {
    /// What `create` makes.
    fn new(
        name: &'static str,
        destroy: Destroy,
        create: impl FnOnce(*mut Handle) -> c_int,
    ) -> Result<Self> {
        let mut pointer = null_mut();
        check(name, create(&mut pointer))?;
        Ok(Self { pointer: pointer.addr(), destroy })
    }

    fn handle(&self) -> Handle {
        std::ptr::without_provenance_mut(self.pointer)
    }

    /// Sets an attribute whose type is that of `value`.
    fn set<T: Copy>(&self, set: Set, attribute: c_int, value: T) -> Result<()> {
        let (bytes, size) = ((&raw const value).cast(), size_of::<T>());
        // SAFETY: the object is of the kind that `set` takes, which copies as many bytes as it is
        // told, or refuses them where the attribute has another size.
        check("an attribute", unsafe { set(self.handle(), attribute, bytes, size) })
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        // SAFETY: the object is used no more.
        unsafe { (self.destroy)(self.handle()) };
    }
}

fn check(call: &str, status: c_int) -> Result<()> {
    match status {
        0 => Ok(()),
        _ => Err(Error::Device {
            op: "matmul",
            what: format!("cuBLASLt failed: {call} returned status {status}"),
        }),
    }
}

fn data_type(dtype: DType) -> Option<c_int> {
    Some(match dtype {
        DType::F16 => cudaDataType::CUDA_R_16F,
        DType::BF16 => cudaDataType::CUDA_R_16BF,
        DType::F32 => cudaDataType::CUDA_R_32F,
        DType::F64 => cudaDataType::CUDA_R_64F,
        DType::Complex64 => cudaDataType::CUDA_C_32F,
        DType::Complex128 => cudaDataType::CUDA_C_64F,
        _ => return None,
    } as c_int)
}

/// In what is added up.
fn compute_type(dtype: DType, tf32: bool) -> c_int {
    let compute = match dtype.real() {
        DType::F64 => Compute::CUBLAS_COMPUTE_64F,
        DType::F32 if tf32 => Compute::CUBLAS_COMPUTE_32F_FAST_TF32,
        _ => Compute::CUBLAS_COMPUTE_32F,
    };
    compute as c_int
}

/// The type of the numbers that scale the product: halves are scaled in f32.
fn scale_type(dtype: DType) -> DType {
    if matches!(dtype, DType::F16 | DType::BF16) { DType::F32 } else { dtype }
}

/// One in a scale type, with zeros behind it: the imaginary part, and what is not read.
fn one(scale: DType) -> [u8; 16] {
    let mut bytes = [0; 16];
    match scale.real() {
        DType::F64 => bytes[..8].copy_from_slice(&1f64.to_ne_bytes()),
        _ => bytes[..4].copy_from_slice(&1f32.to_ne_bytes()),
    }
    bytes
}

fn epilogue(Epilogue { bias, activation, sums }: Epilogue) -> c_int {
    use GemmActivation::{GeluTanh, Relu};
    let epilogue = match (activation, bias) {
        _ if sums => Epilogues::CUBLASLT_EPILOGUE_BGRADB,
        (None, false) => Epilogues::CUBLASLT_EPILOGUE_DEFAULT,
        (None, true) => Epilogues::CUBLASLT_EPILOGUE_BIAS,
        (Some(Relu), false) => Epilogues::CUBLASLT_EPILOGUE_RELU,
        (Some(Relu), true) => Epilogues::CUBLASLT_EPILOGUE_RELU_BIAS,
        (Some(GeluTanh), false) => Epilogues::CUBLASLT_EPILOGUE_GELU,
        (Some(GeluTanh), true) => Epilogues::CUBLASLT_EPILOGUE_GELU_BIAS,
    };
    epilogue as c_int
}

/// `cublasOperation_t`: as it lies there, or transposed.
fn transposition(factor: Factor) -> c_int {
    factor.transposed as c_int
}

impl BlasLt {
    /// The library for the device whose context is current.
    ///
    /// # Errors
    /// It is not installed, or does not start.
    pub fn new(workspace: (u64, usize)) -> Result<Self> {
        let missing = |missing: NoCuda| Error::Device { op: "matmul", what: missing.to_string() };
        Self::with(Api::load().map_err(missing)?, workspace)
    }

    fn with(api: Api, workspace: (u64, usize)) -> Result<Self> {
        let mut handle = null_mut();
        // SAFETY: the call writes one pointer.
        check("cublasLtCreate", unsafe { (api.create)(&mut handle) })?;
        Ok(Self { api, handle: handle.addr(), workspace, plans: Mutex::default() })
    }

    fn handle(&self) -> Handle {
        std::ptr::without_provenance_mut(self.handle)
    }

    /// Starts a product on `stream`; false if the library has no algorithm for it.
    ///
    /// # Safety
    /// The matrices lie on the device at these addresses.
    pub unsafe fn matmul(&self, gemm: &Gemm, at: Addresses, stream: Handle) -> Result<bool> {
        let mut plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        if !plans.contains_key(gemm) {
            if plans.len() >= MOST_PLANS {
                plans.clear();
            }
            plans.insert(*gemm, self.plan(gemm, at)?);
        }
        let Some(plan) = &plans[gemm] else { return Ok(false) };
        self.set_vector(&plan.desc, gemm, at)?;
        let (alpha, beta) = (one(scale_type(gemm.dtype)), [0u8; 16]);
        let (workspace, bytes) = self.workspace;
        // SAFETY: the descriptors describe the matrices, which are the care of the caller; the
        // result may stand for C, of which beta takes nothing.
        let status = unsafe {
            (self.api.matmul)(
                self.handle(),
                plan.desc.handle(),
                alpha.as_ptr().cast(),
                at.a,
                plan.a.handle(),
                at.b,
                plan.b.handle(),
                beta.as_ptr().cast(),
                at.d,
                plan.d.handle(),
                at.d,
                plan.d.handle(),
                plan.choice.algorithm.as_ptr().cast(),
                workspace,
                bytes,
                stream,
            )
        };
        check("cublasLtMatmul", status).map(|()| true)
    }

    /// Tells where the bias is, or where the sums go.
    fn set_vector(&self, desc: &Object, gemm: &Gemm, at: Addresses) -> Result<()> {
        if !(gemm.epilogue.bias || gemm.epilogue.sums) {
            return Ok(());
        }
        let attribute = DescAttribute::CUBLASLT_MATMUL_DESC_BIAS_POINTER as c_int;
        desc.set(self.api.desc_set, attribute, at.vector)
    }

    /// Descriptors, and the algorithm that the library thinks is the fastest.
    fn plan(&self, gemm: &Gemm, at: Addresses) -> Result<Option<Plan>> {
        let Some(data) = data_type(gemm.dtype) else { return Ok(None) };
        let api = &self.api;
        let scale = data_type(scale_type(gemm.dtype)).expect("scale types are data types");
        let compute = compute_type(gemm.dtype, gemm.tf32);
        // SAFETY: the call writes one pointer.
        let desc = Object::new("cublasLtMatmulDescCreate", api.desc_destroy, |to| unsafe {
            (api.desc_create)(to, compute, scale)
        })?;
        let attributes = [
            (DescAttribute::CUBLASLT_MATMUL_DESC_TRANSA, transposition(gemm.a)),
            (DescAttribute::CUBLASLT_MATMUL_DESC_TRANSB, transposition(gemm.b)),
            (DescAttribute::CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue(gemm.epilogue)),
        ];
        for (attribute, value) in attributes {
            desc.set(api.desc_set, attribute as c_int, value)?;
        }
        // The choice of the algorithm looks at its alignment.
        self.set_vector(&desc, gemm, at)?;
        let layout = |rows: usize, columns: usize, leading: usize, step: usize| {
            let (rows, columns) = (rows as u64, columns as u64);
            // SAFETY: the call writes one pointer.
            let layout =
                Object::new("cublasLtMatrixLayoutCreate", api.layout_destroy, |to| unsafe {
                    (api.layout_create)(to, data, rows, columns, leading as i64)
                })?;
            if gemm.batch > 1 {
                let count = LayoutAttribute::CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT as c_int;
                let offset = LayoutAttribute::CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET as c_int;
                layout.set(api.layout_set, count, gemm.batch as i32)?;
                layout.set(api.layout_set, offset, step as i64)?;
            }
            Ok::<Object, Error>(layout)
        };
        let factor = |factor: Factor, rows: usize, columns: usize| {
            let (rows, columns) = if factor.transposed { (columns, rows) } else { (rows, columns) };
            layout(rows, columns, factor.leading, factor.step)
        };
        let Gemm { m, n, k, .. } = *gemm;
        let (a, b) = (factor(gemm.a, m, k)?, factor(gemm.b, k, n)?);
        let d = layout(m, n, m, m * n)?;
        let choice = self.choose(gemm, [&desc, &a, &b, &d])?;
        Ok(choice.map(|choice| Plan { desc, a, b, d, choice }))
    }

    /// The algorithm that the library thinks is the fastest, if it has any.
    fn choose(&self, gemm: &Gemm, [desc, a, b, d]: [&Object; 4]) -> Result<Option<Choice>> {
        let api = &self.api;
        // SAFETY: the call writes one pointer.
        let wanted =
            Object::new("cublasLtMatmulPreferenceCreate", api.preference_destroy, |to| unsafe {
                (api.preference_create)(to)
            })?;
        let limit = Preference::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES as c_int;
        wanted.set(api.preference_set, limit, self.workspace.1 as u64)?;
        let [of_a, of_b, of_d, _] = gemm.alignment;
        let alignments = [
            (Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, of_a),
            (Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, of_b),
            (Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, of_d),
            (Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, of_d),
        ];
        for (attribute, bytes) in alignments {
            wanted.set(api.preference_set, attribute as c_int, bytes)?;
        }
        let mut found = 0;
        let mut best = Choice::default();
        // SAFETY: all are objects of the library; one result and one number may be written.
        let status = unsafe {
            (api.heuristic)(
                self.handle(),
                desc.handle(),
                a.handle(),
                b.handle(),
                d.handle(),
                d.handle(),
                wanted.handle(),
                1,
                &mut best,
                &mut found,
            )
        };
        if status != NOT_SUPPORTED {
            check("cublasLtMatmulAlgoGetHeuristic", status)?;
        }
        Ok((status == 0 && found > 0 && best.status == 0).then_some(best))
    }
}

#[cfg(test)]
mod tests;
