//! Kernels compile to machine code, within budgets of registers and shared memory and with nothing
//! spilled. Needs NVRTC and no GPU: `pip install nvidia-cuda-nvrtc`.

use std::io::Write;

use kiln_cuda::{CompileError, Family, Program, compile, compiler_version, programs};

/// Registers that a kernel of a family may use, of the 65536 of a multiprocessor: two blocks of 256
/// threads fit. Products hold their tiles in registers; theirs is one block, or two of 128 threads.
fn registers(family: &Family) -> u32 {
    if family.name.starts_with("matmul") { 184 } else { 128 }
}

/// Static shared memory of a block.
const SHARED: u32 = 48 << 10;

/// What the assembler says of one kernel.
#[derive(Debug, Default)]
struct Usage {
    name: String,
    registers: u32,
    spilled: u32,
    shared: u32,
}

/// Reads the log of the assembler.
fn usages(log: &str) -> Vec<Usage> {
    let mut all: Vec<Usage> = Vec::new();
    let before = |line: &str, what: &str| {
        let number = line.split(what).next()?.split_whitespace().next_back()?;
        line.contains(what).then(|| number.trim_end_matches(',').parse::<u32>().ok())?
    };
    for line in log.lines() {
        if let Some((_, rest)) = line.split_once("Compiling entry function '") {
            let name = rest.split('\'').next().unwrap().to_string();
            all.push(Usage { name, ..Usage::default() });
        }
        let Some(last) = all.last_mut() else { continue };
        last.registers = before(line, " registers").unwrap_or(last.registers);
        last.spilled += before(line, " bytes spill stores").unwrap_or(0);
        last.shared = before(line, " bytes smem").unwrap_or(last.shared);
    }
    all
}

/// Whether kernels can be compiled here; if not, says why, past the capture of the test harness.
fn can_compile() -> bool {
    let reason = compiler_version().err();
    if let Some(reason) = &reason {
        let _ = writeln!(std::io::stderr(), "skipped: {reason}");
    }
    reason.is_none()
}

/// Compiles programs for one architecture, many at once, and tells those that take too much.
fn check(programs: &[Program], architecture: (u32, u32), over: &mut Vec<String>) -> usize {
    let name = format!("sm_{}{}", architecture.0, architecture.1);
    let fitting: Vec<Program> =
        programs.iter().filter(|program| program.family.since <= architecture).cloned().collect();
    for group in fitting.chunk_by(|a, b| a.family == b.family) {
        for batch in group.chunks(64) {
            let family = batch[0].family;
            let cubin = compile(family.name, &Program::source_of(batch, ""), &name).unwrap();
            assert!(cubin.code.starts_with(b"\x7fELF"), "{name}");
            let usages = usages(&cubin.log);
            let mut found: Vec<&str> = usages.iter().map(|usage| usage.name.as_str()).collect();
            let mut named: Vec<&str> = batch.iter().map(|program| program.name.as_str()).collect();
            found.sort_unstable();
            named.sort_unstable();
            assert_eq!(found, named, "{name}: {}", cubin.log);
            for usage in usages {
                let fits = (1..=registers(family)).contains(&usage.registers);
                if !fits || usage.spilled > 0 || usage.shared > SHARED {
                    over.push(format!("{name}: {usage:?}"));
                }
            }
        }
    }
    fitting.len()
}

/// All kernels with KILN_TEST_EVERY_KERNEL, which takes minutes; else a sample of each family.
#[test]
fn kernels_compile_for_every_architecture_within_their_budgets() {
    if !can_compile() {
        return;
    }
    let all = programs();
    let sample: Vec<Program> = all
        .chunk_by(|a, b| a.family == b.family)
        .flat_map(|family| family.iter().step_by(family.len().div_ceil(4)).cloned())
        .collect();
    let every = std::env::var_os("KILN_TEST_EVERY_KERNEL").is_some();
    let mut over = Vec::new();
    for architecture in [(7, 5), (8, 0), (8, 6), (8, 9), (9, 0)] {
        let count = check(if every { &all } else { &sample }, architecture, &mut over);
        println!("{count} kernels of {} for {architecture:?}", all.len());
    }
    assert!(over.is_empty(), "over budget:\n{}", over.join("\n"));
}

#[test]
fn bad_kernels_are_refused_or_over_budget() {
    if !can_compile() {
        return;
    }
    let error =
        compile("broken", "__global__ void broken() { no such thing; }", "sm_80").unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("the kernel broken does not compile for sm_80"), "{text}");
    assert!(text.contains("error"), "{text}");
    // Only the assembler knows that these instructions came with Ampere.
    let new = r#"extern "C" __global__ void k() { asm volatile("cp.async.commit_group;"); }"#;
    assert!(compile("new", new, "sm_80").is_ok());
    assert!(matches!(compile("new", new, "sm_75"), Err(CompileError::Refused { .. })));
    let unknown = compile("k", new, "sm_11").unwrap_err();
    assert!(matches!(unknown, CompileError::UnknownArchitecture { .. }), "{unknown}");
    // More numbers at once than 16 registers hold.
    let spills = r#"
        extern "C" __global__ void __launch_bounds__(1024, 2) spills(float* x) {
            float y[96];
            #pragma unroll
            for (int i = 0; i < 96; i++) y[i] = x[i * 1024 + threadIdx.x];
            __syncthreads();
            #pragma unroll
            for (int i = 0; i < 96; i++) x[i * 1024 + threadIdx.x] = y[95 - i] * y[(i * 7) % 96];
        }"#;
    let usages = usages(&compile("spills", spills, "sm_80").unwrap().log);
    assert!(usages[0].spilled > 0, "{usages:?}");
}
