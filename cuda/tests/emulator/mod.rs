//! The kernels on the host: compiled by g++ with `emu/emu.h`, run on host memory by the same
//! backend that drives a GPU.

use std::alloc::Layout;
use std::collections::HashMap;
use std::ffi::c_void;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use kiln_cuda::{Addresses, Factor, Gemm, GemmActivation, Launch, Program, Runtime, programs};
use kiln_tensor::num_complex::Complex;
use kiln_tensor::{DType, Error, Result, TensorData};

/// What stands behind each kernel: a function that runs it.
const ENTRY: &str = r#"
extern "C" int ENTRY_OF(NAME)(const unsigned* grid, unsigned threads, const void* params, size_t bytes) {
    Params p;
    if (bytes != sizeof p) return 1;
    memcpy((void*)&p, params, sizeof p);
    emu::run({grid[0], grid[1], grid[2]}, threads, [&] { NAME(p); });
    return 0;
}"#;
const PASTE: &str = "#define PASTE(a, b) a##b\n#define ENTRY_OF(name) PASTE(run_, name)\n";

type Entry = unsafe extern "C" fn(*const u32, u32, *const c_void, usize) -> i32;

/// A device that is this process.
pub struct Emulator {
    /// In which batch a kernel is.
    batches: Vec<Vec<Program>>,
    places: HashMap<String, usize>,
    /// Libraries that are compiled, by the name of their first kernel.
    libraries: Mutex<HashMap<String, libloading::Library>>,
    /// Options of the compiler beside the usual ones.
    options: Vec<&'static str>,
    capability: (u32, u32),
    /// The products that stand-in for cuBLASLt has computed; without one there is no library.
    products: Option<Products>,
}

/// Products, as a device got them.
pub type Products = Arc<Mutex<Vec<Gemm>>>;

/// Whether there is a compiler.
pub fn has_compiler() -> bool {
    Command::new("g++").arg("--version").output().is_ok_and(|output| output.status.success())
}

impl Emulator {
    /// With these options of the compiler, which gets `together` kernels at a time.
    pub fn new(options: &[&'static str], together: usize, capability: (u32, u32)) -> Self {
        let mut batches: Vec<Vec<Program>> = Vec::new();
        // Those of the same types together: a test of one dtype then needs few batches.
        let types = |program: &Program| -> String {
            let is_type = |word: &&str| word.starts_with(['f', 'i', 'u', 'b']) && word.len() < 5;
            program.name.split('_').filter(is_type).collect()
        };
        let mut all = programs();
        all.sort_by_key(|program| {
            (program.family.name, program.has_barriers(), types(program), program.name.clone())
        });
        for program in all {
            match batches.last_mut() {
                Some(last)
                    if last[0].family == program.family
                        && last[0].has_barriers() == program.has_barriers()
                        && last.len() < together =>
                {
                    last.push(program);
                }
                _ => batches.push(vec![program]),
            }
        }
        let places = batches.iter().enumerate().flat_map(|(place, batch)| {
            batch.iter().map(move |program| (program.name.clone(), place))
        });
        let places = places.collect();
        let (libraries, options) = (Mutex::default(), options.to_vec());
        Self { batches, places, libraries, options, capability, products: None }
    }

    /// With a library of matrix products, which notes each.
    #[allow(dead_code)]
    pub fn with_library(self, products: Products) -> Self {
        Self { products: Some(products), ..self }
    }

    /// Compiles a batch, unless an earlier run of the tests did.
    fn library(&self, batch: &[Program]) -> libloading::Library {
        let header = concat!(env!("CARGO_MANIFEST_DIR"), "/emu/emu.h");
        let serial = if batch[0].has_barriers() { "" } else { "#define EMU_SERIAL\n" };
        let emulator = std::fs::read_to_string(header).unwrap();
        let text = format!("{serial}{emulator}\n{PASTE}{}", Program::source_of(batch, ENTRY));
        let mut hasher = DefaultHasher::new();
        (&text, &self.options).hash(&mut hasher);
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("emulated");
        std::fs::create_dir_all(&folder).unwrap();
        let name = format!("{}-{:016x}", batch[0].family.name, hasher.finish());
        let library = folder.join(format!("{name}.so"));
        if !library.exists() {
            // Another thread or process may be at the same.
            static COUNT: AtomicUsize = AtomicUsize::new(0);
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let unique = format!("{name}-{}-{count}", std::process::id());
            let source = folder.join(format!("{unique}.cpp"));
            let object = folder.join(format!("{unique}.so"));
            std::fs::write(&source, text).unwrap();
            let output = Command::new("g++")
                .args(["-std=c++20", "-O1", "-fPIC", "-shared", "-pthread", "-ffp-contract=off"])
                .args([
                    "-Wall",
                    "-Wno-unknown-pragmas",
                    "-Wno-unused",
                    "-Wno-tautological-compare",
                    "-Wno-psabi",
                    "-Wno-volatile",
                ])
                .args(&self.options)
                .arg("-o")
                .args([&object, &source])
                .output()
                .unwrap();
            let messages = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "g++ refuses {}: {messages}", source.display());
            std::fs::rename(&object, &library).unwrap();
            std::fs::remove_file(&source).unwrap();
        }
        // SAFETY: the library has no initialisers beyond those of C++.
        unsafe { libloading::Library::new(&library) }.unwrap()
    }
}

fn layout(bytes: usize) -> Layout {
    Layout::from_size_align(bytes, 256).unwrap()
}

impl Runtime for Emulator {
    fn name(&self) -> &str {
        "emulated"
    }

    fn compute_capability(&self) -> (u32, u32) {
        self.capability
    }

    fn alloc(&self, bytes: usize) -> Option<usize> {
        // SAFETY: the size is not zero.
        let memory = unsafe { std::alloc::alloc(layout(bytes)) };
        if memory.is_null() {
            return None;
        }
        // Memory that nobody wrote holds NaN.
        // SAFETY: as many bytes were reserved.
        unsafe { memory.write_bytes(0xFF, bytes) };
        Some(memory as usize)
    }

    unsafe fn free(&self, address: usize, bytes: usize) {
        // SAFETY: passed on to the caller.
        unsafe { std::alloc::dealloc(address as *mut u8, layout(bytes)) }
    }

    unsafe fn upload(&self, source: &[u8], address: usize, _: u64) -> Result<()> {
        // SAFETY: passed on to the caller.
        unsafe { std::ptr::copy_nonoverlapping(source.as_ptr(), address as *mut u8, source.len()) };
        Ok(())
    }

    unsafe fn download(&self, address: usize, target: &mut [u8]) -> Result<()> {
        // SAFETY: passed on to the caller.
        unsafe {
            std::ptr::copy_nonoverlapping(address as *const u8, target.as_mut_ptr(), target.len());
        }
        Ok(())
    }

    unsafe fn launch(&self, program: &Program, launch: Launch, params: &[u8]) -> Result<()> {
        let batch = match self.places.get(&program.name) {
            Some(&place) => &self.batches[place],
            // Generated when it is needed.
            None if program.family.name == "fused" => std::slice::from_ref(program),
            None => {
                let name = &program.name;
                let what = format!("{name} is not among all programs, so nothing tests it");
                return Err(Error::Device { op: "launch", what });
            }
        };
        let listed = batch.iter().find(|listed| listed.name == program.name);
        assert_eq!(listed, Some(program), "two programs have the name {}", program.name);
        // What the emulator keeps, and the shared memory of kernels, is there once in a process.
        static RUNNING: Mutex<()> = Mutex::new(());
        let _running = RUNNING.lock().unwrap_or_else(|locked| locked.into_inner());
        let mut libraries = self.libraries.lock().unwrap_or_else(|locked| locked.into_inner());
        let library = libraries.entry(batch[0].name.clone()).or_insert_with(|| self.library(batch));
        let name = format!("run_{}", program.name);
        // SAFETY: the library was compiled with a function of this type for each kernel.
        let code = unsafe {
            let entry = library.get::<Entry>(name.as_bytes()).unwrap();
            entry(launch.grid.as_ptr(), launch.threads, params.as_ptr().cast(), params.len())
        };
        assert_eq!(code, 0, "{} has parameters of another size", program.name);
        Ok(())
    }

    unsafe fn gemm(&self, gemm: &Gemm, at: Addresses) -> Result<bool> {
        let Some(products) = &self.products else { return Ok(false) };
        products.lock().unwrap().push(*gemm);
        // SAFETY: passed on to the caller.
        unsafe { multiply(gemm, at) };
        Ok(true)
    }

    fn sync(&self) -> Result<()> {
        Ok(())
    }
}

/// What cuBLASLt documents: `D = activation(A B + bias)` of column-major matrices, or `D = A B` with the
/// sum of each column of B, added up in more digits than there.
///
/// # Safety
/// The matrices lie at these addresses.
unsafe fn multiply(gemm: &Gemm, at: Addresses) {
    let Gemm { m, n, k, batch, dtype, .. } = *gemm;
    for (address, bytes) in [at.a, at.b, at.d, at.vector].into_iter().zip(gemm.alignment) {
        assert!(address.is_multiple_of(bytes.into()), "{address:#x} is no multiple of {bytes}");
    }
    let read = |address: u64, count: usize| -> Vec<Complex<f64>> {
        // SAFETY: passed on to the caller.
        let bytes =
            unsafe { std::slice::from_raw_parts(address as *const u8, count * dtype.size()) };
        TensorData::from_bytes(bytes, [count], dtype).unwrap().iter().collect()
    };
    let factor =
        |address: u64, Factor { transposed, leading, step }, rows: usize, columns: usize| {
            let (rows, columns) = if transposed { (columns, rows) } else { (rows, columns) };
            assert!(leading >= rows, "columns overlap");
            let matrix = read(address, (batch - 1) * step + (columns - 1) * leading + rows);
            move |number: usize, row: usize, column: usize| {
                let (row, column) = if transposed { (column, row) } else { (row, column) };
                matrix[number * step + column * leading + row]
            }
        };
    let (a, b) = (factor(at.a, gemm.a, m, k), factor(at.b, gemm.b, k, n));
    let bias = if gemm.epilogue.bias { read(at.vector, m) } else { vec![Complex::default(); m] };
    let mut d = Vec::with_capacity(batch * m * n);
    for number in 0..batch {
        for column in 0..n {
            for (row, bias) in bias.iter().enumerate() {
                let terms = (0..k).map(|i| a(number, row, i) * b(number, i, column));
                let x = terms.sum::<Complex<f64>>() + bias;
                d.push(match gemm.epilogue.activation {
                    None => x,
                    Some(GemmActivation::Relu) => x.re.max(0.0).into(),
                    Some(GemmActivation::GeluTanh) => {
                        let inner = 0.797_884_560_802_865_4 * (x.re + 0.044715 * x.re.powi(3));
                        (0.5 * x.re * (1.0 + inner.tanh())).into()
                    }
                });
            }
        }
    }
    if gemm.epilogue.sums {
        assert!(gemm.b.transposed, "the library sums B only where it lies transposed");
        let columns = (0..n).map(|column| (0..k).map(|i| b(0, i, column).re).sum());
        // SAFETY: passed on to the caller.
        unsafe { write(at.vector, TensorData::new(columns.collect::<Vec<f64>>(), [n]), dtype) };
    }
    let data = if dtype.is_complex() {
        TensorData::new(d, [batch * m * n])
    } else {
        TensorData::new(d.iter().map(|x| x.re).collect(), [batch * m * n])
    };
    // SAFETY: passed on to the caller.
    unsafe { write(at.d, data, dtype) };
}

/// Writes numbers, rounded once.
///
/// # Safety
/// There is room for them at the address.
unsafe fn write(address: u64, data: TensorData, dtype: DType) {
    let data = data.convert_dtype(dtype);
    let bytes = data.bytes();
    // SAFETY: passed on to the caller.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), address as *mut u8, bytes.len()) };
}
