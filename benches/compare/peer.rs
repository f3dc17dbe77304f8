//! The other frameworks: each is a process that times the same workloads in the same way.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::Result;

/// A process that reads the name of a workload from stdin, times a turn of it and writes the
/// microseconds of one call to stdout, or `none` where it has no such workload.
pub struct Peer {
    pub name: String,
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Peer {
    /// PyTorch, with a Python that has it.
    pub fn torch(python: &str, threads: usize) -> Result<Self> {
        let mut command = Command::new(python);
        command.args(["-u", "benches/compare/torch_side.py", &threads.to_string()]);
        Self::start("torch", command, threads)
    }

    /// A binary of `benches/peers`, which `run` builds: `candle` or `burn`.
    pub fn rust(name: &str, threads: usize) -> Result<Self> {
        Self::start(name, Command::new(format!("target/peers/release/{name}_side")), threads)
    }

    fn start(name: &str, mut command: Command, threads: usize) -> Result<Self> {
        let mut child = command
            .env("RAYON_NUM_THREADS", threads.to_string())
            .env("OMP_NUM_THREADS", threads.to_string())
            // Large tensors from the heap instead of fresh pages: faster for who has no cache.
            .env(
                "GLIBC_TUNABLES",
                "glibc.malloc.mmap_threshold=1073741824:glibc.malloc.trim_threshold=4294967296",
            )
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{:?} does not start: {error}", command.get_program()))?;
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        Ok(Self { name: name.to_string(), child, input, output })
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Microseconds of one call, or `None` where the peer has no such workload.
    pub fn turn(&mut self, workload: &str) -> Result<Option<f64>> {
        let input = self.input.as_mut().expect("it is open until the drop");
        let mut answer = String::new();
        let asked = writeln!(input, "{workload}");
        self.output.read_line(&mut answer)?;
        match (asked, answer.trim(), answer.trim().parse()) {
            (Ok(()), "none", _) => Ok(None),
            (Ok(()), _, Ok(microseconds)) => Ok(Some(microseconds)),
            _ => {
                let name = &self.name;
                Err(format!("the {name} process did not time {workload}; its error is above")
                    .into())
            }
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It ends with its input.
        self.input = None;
        let _ = self.child.wait();
    }
}
