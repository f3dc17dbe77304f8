//! Stand-ins for the driver, the compiler and NCCL. Needs a C compiler.

use std::path::Path;
use std::process::Command;

/// Builds the stand-ins into a folder; false without a compiler.
pub fn build(folder: &Path) -> bool {
    let (cuda, nccl) = (include_str!("cuda.c"), include_str!("nccl.c"));
    std::fs::create_dir_all(folder).unwrap();
    for (library, source) in [("libcuda.so", cuda), ("libnvrtc.so", cuda), ("libnccl.so.2", nccl)] {
        let (file, library) = (folder.join("source.c"), folder.join(library));
        std::fs::write(&file, source).unwrap();
        let mut compiler = Command::new("cc");
        compiler.args(["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]);
        let Ok(output) = compiler.arg(file).arg("-o").arg(library).output() else { return false };
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    true
}

/// Lets a process find the stand-ins in a folder, which note its calls in a file. The device does not
/// get done as long as there is a file of this name with `.hangs` behind it.
pub fn give(command: &mut Command, folder: &Path, log: &Path) {
    command.env("LD_LIBRARY_PATH", folder).env("KILN_CUDA_LIB", folder).env("KILN_CACHE", "");
    command.env("FAKE_CUDA_LOG", log).env("FAKE_CUDA_HANGS", log.with_extension("hangs"));
}
