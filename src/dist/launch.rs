//! Starting the processes of a group on one machine.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::net::TcpListener;
use std::ops::Range;
use std::process::{Child, Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use kiln_tensor::{Error, Result};

use super::group::ProcessGroup;
use super::group_error;
use super::rendezvous::TcpConfig;

const OP: &str = "launch";
/// Between looks at whether a process has ended.
const PAUSE: Duration = Duration::from_millis(10);
/// How long the others may go on after one failed: they are about to notice it themselves.
const GRACE: Duration = Duration::from_secs(10);

/// Makes `processes` of this one: `torchrun --nproc-per-node` in the program itself.
///
/// The process that the user started starts copies of itself, with the same arguments, waits for
/// them and gets `None`; a copy gets its group. In a process that a launcher started, with the
/// environment variables of [`TcpConfig::from_env`], it joins the group of these. One process needs
/// no copy.
///
/// The copies share the cores: `KILN_NUM_THREADS` is set to a part of them, unless it is set. An
/// error if a copy fails; the others are ended then.
pub fn launch(processes: usize) -> Result<Option<ProcessGroup>> {
    if ["RANK", "WORLD_SIZE"].iter().all(|name| std::env::var_os(name).is_some()) {
        return ProcessGroup::from_env().map(Some);
    }
    if processes == 1 {
        return TcpConfig::new("", 0, 1).init().map(Some);
    }
    let program = std::env::current_exe().map_err(io_error)?;
    spawn_local(processes, |_| {
        let mut command = Command::new(&program);
        command.args(std::env::args_os().skip(1));
        command
    })?;
    Ok(None)
}

/// Runs a command for each of `processes` ranks, with the environment variables of
/// [`TcpConfig::from_env`], and waits for all of them. As soon as one fails, the others have a few
/// seconds to end; the error names it.
pub fn spawn_local(processes: usize, mut command: impl FnMut(usize) -> Command) -> Result<()> {
    if processes == 0 {
        return Err(group_error(OP, "there must be one process at least"));
    }
    let port = free_port()?;
    let cores = thread::available_parallelism().map_or(1, |cores| cores.get());
    let threads = (cores / processes).max(1);

    let mut running = Running(Vec::new());
    for rank in 0..processes {
        let mut command = command(rank);
        command.env("MASTER_ADDR", "127.0.0.1").env("MASTER_PORT", port.to_string());
        command.env("RANK", rank.to_string()).env("WORLD_SIZE", processes.to_string());
        command.env("LOCAL_RANK", rank.to_string());
        if std::env::var_os("KILN_NUM_THREADS").is_none() {
            command.env("KILN_NUM_THREADS", threads.to_string());
        }
        let child = command.spawn().map_err(|error| {
            let program = command.get_program().display();
            group_error(OP, format!("{program} can not be started ({error})"))
        })?;
        running.0.push((rank, child));
    }
    let mut failed: Option<(usize, ExitStatus, Instant)> = None;
    while !running.0.is_empty() {
        for (rank, status) in running.ended()? {
            if !status.success() && failed.is_none() {
                failed = Some((rank, status, Instant::now()));
            }
        }
        if failed.is_some_and(|(_, _, when)| when.elapsed() > GRACE) {
            break;
        }
        thread::sleep(PAUSE);
    }
    match failed {
        Some((rank, status, _)) => Err(group_error(OP, format!("rank {rank} failed ({status})"))),
        None => Ok(()),
    }
}

/// A port where rank 0 can listen. It is below those that most systems give away on their own, so
/// that it is hardly taken meanwhile.
fn free_port() -> Result<u16> {
    const PORTS: Range<u16> = 20_000..32_000;
    let random = RandomState::new().build_hasher().finish();
    let start = (random % PORTS.len() as u64) as usize;
    let free = |&port: &u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    PORTS.cycle().skip(start).take(PORTS.len()).find(free).ok_or_else(|| {
        group_error(OP, format!("no port of {} to {} is free", PORTS.start, PORTS.end - 1))
    })
}

/// Processes that are ended when nobody waits for them any more.
struct Running(Vec<(usize, Child)>);

impl Running {
    /// Those that have ended since it was asked last.
    fn ended(&mut self) -> Result<Vec<(usize, ExitStatus)>> {
        let mut ended = Vec::new();
        for (rank, child) in &mut self.0 {
            if let Some(status) = child.try_wait().map_err(io_error)? {
                ended.push((*rank, status));
            }
        }
        self.0.retain(|(rank, _)| ended.iter().all(|(other, _)| other != rank));
        Ok(ended)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        for (_, child) in &mut self.0 {
            // It may have ended on its own.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn io_error(error: std::io::Error) -> Error {
    group_error(OP, error.to_string())
}
