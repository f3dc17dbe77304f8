//! How processes find each other: rank 0 listens where all know it, hears from each of the others
//! where that one listens, and tells each where the next one does.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io::{ErrorKind, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::thread;
use std::time::{Duration, Instant};

use kiln_nn::Config;
use kiln_tensor::{Error, Result};

use super::group::ProcessGroup;
use super::group_error;
use super::ring::{Ring, readable};
use super::socket::{duration, read_exact};

const OP: &str = "process group";
const JOIN: [u8; 8] = *b"kilnjoin";
const WELCOME: [u8; 8] = *b"kilnwelc";
const NEIGHBOUR: [u8; 8] = *b"kilnring";
/// Changes with the format of messages.
const VERSION: u32 = 1;
/// Bytes of the text of a welcome.
const MOST_TEXT: usize = 1000;
/// How long a stranger that says nothing is listened to, and a port that is taken waited for.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between attempts to reach a rank that does not listen yet.
const PAUSE: Duration = Duration::from_millis(10);

/// The settings of a group over TCP: the default of `torch.distributed.init_process_group`.
///
/// ```
/// use kiln::dist::TcpConfig;
/// // The only rank needs no connection. With more, each makes the same call with its own rank.
/// let group = TcpConfig::new("127.0.0.1:29500", 0, 1).with_timeout(30.0).init()?;
/// assert_eq!(group.sum(&[2.0, 3.0])?, [2.0, 3.0]);
/// # Ok::<(), kiln::Error>(())
/// ```
#[derive(Config, Debug, PartialEq)]
pub struct TcpConfig {
    /// The address where rank 0 listens and that all others reach, `host:port`.
    #[config(into)]
    pub master: String,
    /// The number of this process, from 0.
    pub rank: usize,
    /// How many processes there are.
    pub world_size: usize,
    /// Seconds after which an operation that waits for another rank is an error. One rank may have
    /// more to do than the others, such as a validation: that must be done within this time.
    #[config(default = 600.0)]
    pub timeout: f64,
}

impl TcpConfig {
    /// The settings of the environment variables `MASTER_ADDR`, `MASTER_PORT`, `RANK` and
    /// `WORLD_SIZE`, which [`launch`](super::launch) sets, as launchers for PyTorch do. An error
    /// that names the variable if one is missing or no number.
    pub fn from_env() -> Result<Self> {
        let variable = |name: &str| {
            std::env::var(name).map_err(|_| {
                let what = format!("the environment variable {name} is not set to a text");
                group_error(OP, what)
            })
        };
        let number = |name: &str| {
            let text = variable(name)?;
            text.parse::<usize>()
                .map_err(|_| group_error(OP, format!("{name} is `{text}`, which is no number")))
        };
        let master = format!("{}:{}", variable("MASTER_ADDR")?, number("MASTER_PORT")?);
        Ok(Self::new(master, number("RANK")?, number("WORLD_SIZE")?))
    }

    /// Waits for all other processes, and joins them. An error if that takes longer than the
    /// timeout, or if the processes disagree about their number.
    pub fn init(&self) -> Result<ProcessGroup> {
        let (rank, world) = (self.rank, self.world_size);
        if rank >= world {
            let what = format!("the rank {rank} must be below the world size {world}");
            return Err(group_error(OP, what));
        }
        let config = self.clone();
        let timeout = duration(self.timeout)?;
        ProcessGroup::new(move || Ok(Box::new(config.join(timeout)?)))
    }

    fn join(&self, timeout: Duration) -> Result<Ring> {
        let deadline = Instant::now() + timeout;
        if self.world_size == 1 {
            return Ok(Ring::alone(timeout));
        }
        let (place, listener) =
            if self.rank == 0 { self.welcome(deadline)? } else { self.ask(deadline)? };
        let next = (self.rank + 1) % self.world_size;
        let next = reach(next, &[place.next], deadline)?;
        let mut hello = NEIGHBOUR.to_vec();
        hello.extend(place.session.to_le_bytes());
        hello.extend((self.rank as u32).to_le_bytes());
        (&next).write_all(&hello).map_err(io_error)?;
        let before = (self.rank + self.world_size - 1) % self.world_size;
        let previous = accept_neighbour(&listener, before, place.session, deadline)?;
        Ring::new([self.rank, self.world_size], next, previous, timeout).map_err(io_error)
    }

    /// Rank 0: hears from all others, and tells each its place.
    fn welcome(&self, deadline: Instant) -> Result<(Place, TcpListener)> {
        let listener = self.listen(deadline.min(Instant::now() + PATIENCE))?;
        let mut members: Vec<Option<Member>> = (0..self.world_size).map(|_| None).collect();
        let mut left = self.world_size - 1;
        let mut strangers = 0;
        while left > 0 {
            let stream = accept(&listener, deadline).map_err(|error| {
                let absent = (1..self.world_size).filter(|&rank| members[rank].is_none());
                let absent: Vec<_> = absent.map(|rank| rank.to_string()).collect();
                let strangers = match strangers {
                    0 => String::new(),
                    n => format!("; {n} connections that spoke something else were closed"),
                };
                let what = format!(
                    "rank 0 waits at {} for the ranks {}, {error}{strangers}",
                    self.master,
                    absent.join(", ")
                );
                group_error(OP, what)
            })?;
            let Some(hello) = Hello::read(&stream, deadline) else {
                strangers += 1;
                continue;
            };
            let known = members.get(hello.rank).is_some_and(Option::is_some);
            if let Some(reason) = self.objection(&hello, known) {
                let told = members.iter().flatten().map(|member| &member.stream);
                for member in told.chain([&stream]) {
                    let _ = send_welcome(member, 0, Err(&reason));
                }
                return Err(group_error(OP, reason));
            }
            let address = stream.peer_addr().map_err(io_error)?;
            let address = SocketAddr::new(address.ip(), hello.port);
            members[hello.rank] = Some(Member { stream, address });
            left -= 1;
        }
        // So that nobody takes a rank of another group for a neighbour.
        let session = RandomState::new().build_hasher().finish();
        for (rank, member) in members.iter().enumerate() {
            let next = members.get(rank + 1).and_then(Option::as_ref);
            let next = next.map_or(String::new(), |next| next.address.to_string());
            if let Some(member) = member {
                send_welcome(&member.stream, session, Ok(&next)).map_err(|error| {
                    group_error(OP, format!("rank {rank} can not be written to ({error})"))
                })?;
            }
        }
        let next = members[1].as_ref().expect("all are here").address;
        Ok((Place { session, next }, listener))
    }

    /// Listens for the others. Somebody else may have the port for a moment: a run that is about to
    /// end, or a connection that happened to be given it.
    fn listen(&self, deadline: Instant) -> Result<TcpListener> {
        loop {
            match TcpListener::bind(&self.master) {
                Ok(listener) => return Ok(listener),
                Err(error) if error.kind() == ErrorKind::AddrInUse && Instant::now() < deadline => {
                    thread::sleep(PAUSE);
                }
                Err(error) => {
                    let what = format!("rank 0 can not listen at {} ({error})", self.master);
                    return Err(group_error(OP, what));
                }
            }
        }
    }

    /// Why the process that said `hello` can not be a part of this group.
    fn objection(&self, hello: &Hello, known: bool) -> Option<String> {
        let (rank, world) = (hello.rank, hello.world_size);
        if hello.version != VERSION {
            return Some(format!("rank {rank} speaks version {}, rank 0 {VERSION}", hello.version));
        }
        if world != self.world_size {
            let own = self.world_size;
            return Some(format!("rank {rank} was told of {world} processes, rank 0 of {own}"));
        }
        if rank == 0 || rank >= world {
            return Some(format!("a process calls itself rank {rank} of {world}"));
        }
        known.then(|| format!("two processes call themselves rank {rank}"))
    }

    /// All other ranks: tell rank 0 where they listen, and hear where the next one does.
    fn ask(&self, deadline: Instant) -> Result<(Place, TcpListener)> {
        let master: Vec<SocketAddr> = self
            .master
            .to_socket_addrs()
            .map_err(|error| {
                group_error(OP, format!("{}: no such address ({error})", self.master))
            })?
            .collect();
        let stream = reach(0, &master, deadline)?;
        let own = stream.local_addr().map_err(io_error)?;
        let listener = TcpListener::bind((own.ip(), 0)).map_err(io_error)?;
        let port = listener.local_addr().map_err(io_error)?.port();
        let (rank, world_size) = (self.rank, self.world_size);
        let hello = Hello { version: VERSION, world_size, rank, port };
        (&stream).write_all(&hello.to_bytes()).map_err(io_error)?;
        let (session, next) = read_welcome(&stream, deadline)?;
        let next = match next.is_empty() {
            true => stream.peer_addr().map_err(io_error)?,
            false => next.parse().map_err(|_| {
                group_error(OP, format!("rank 0 sent `{next}`, which is no address"))
            })?,
        };
        Ok((Place { session, next }, listener))
    }
}

/// A rank that rank 0 has heard from, and where it listens.
struct Member {
    stream: TcpStream,
    address: SocketAddr,
}

/// What a rank needs to know to find its neighbours.
struct Place {
    session: u64,
    next: SocketAddr,
}

/// What a rank says to rank 0.
struct Hello {
    version: u32,
    world_size: usize,
    rank: usize,
    port: u16,
}

impl Hello {
    const BYTES: usize = 8 + 4 + 4 + 4 + 2;

    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = JOIN.to_vec();
        for number in [self.version, self.world_size as u32, self.rank as u32] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(self.port.to_le_bytes());
        bytes
    }

    /// `None` for what is none.
    fn read(stream: &TcpStream, deadline: Instant) -> Option<Self> {
        let mut bytes = [0; Self::BYTES];
        read_exact(stream, &mut bytes, deadline.min(Instant::now() + PATIENCE)).ok()?;
        let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"));
        let hello = Self {
            version: number(8),
            world_size: number(12) as usize,
            rank: number(16) as usize,
            port: u16::from_le_bytes([bytes[20], bytes[21]]),
        };
        (bytes[..8] == JOIN).then_some(hello)
    }
}

/// Tells a rank its session and where the next rank listens (nothing: at rank 0), or why it is
/// refused.
fn send_welcome(
    mut stream: &TcpStream,
    session: u64,
    next: Result<&str, &str>,
) -> std::io::Result<()> {
    let (text, refused) = match next {
        Ok(next) => (next, 0),
        Err(reason) => (reason, 1),
    };
    let mut bytes = WELCOME.to_vec();
    bytes.extend(session.to_le_bytes());
    bytes.extend([refused]);
    bytes.extend((text.len() as u16).to_le_bytes());
    bytes.extend(text.as_bytes());
    stream.write_all(&bytes)
}

fn read_welcome(stream: &TcpStream, deadline: Instant) -> Result<(u64, String)> {
    let error = |what: &str| group_error(OP, format!("rank 0 {what}"));
    let mut head = [0; 8 + 8 + 1 + 2];
    read_exact(stream, &mut head, deadline).map_err(|what| error(&what))?;
    let length = u16::from_le_bytes([head[17], head[18]]) as usize;
    if head[..8] != WELCOME || head[16] > 1 || length > MOST_TEXT {
        return Err(error("sent something that is no message of Kiln"));
    }
    let mut text = vec![0; length];
    read_exact(stream, &mut text, deadline).map_err(|what| error(&what))?;
    let text = readable(&text);
    match head[16] {
        0 => Ok((u64::from_le_bytes(head[8..16].try_into().expect("8 bytes")), text)),
        _ => Err(error(&format!("refused: {text}"))),
    }
}

/// Connects to a rank, as soon as it listens.
fn reach(rank: usize, addresses: &[SocketAddr], deadline: Instant) -> Result<TcpStream> {
    loop {
        let mut last = None;
        for address in addresses {
            let left = deadline.saturating_duration_since(Instant::now());
            match TcpStream::connect_timeout(address, left.max(PAUSE)) {
                // Where nobody listens, a connection may come to have both ends in this process.
                Ok(stream) if stream.local_addr().is_ok_and(|own| own == *address) => {}
                Ok(stream) => return Ok(stream),
                Err(error) => last = Some((address, error)),
            }
        }
        if Instant::now() + PAUSE > deadline {
            let why = last.map_or(String::new(), |(at, error)| format!(" at {at} ({error})"));
            return Err(group_error(OP, format!("rank {rank} can not be reached{why}")));
        }
        thread::sleep(PAUSE);
    }
}

/// A connection that somebody opens before the deadline.
fn accept(listener: &TcpListener, deadline: Instant) -> Result<TcpStream, String> {
    listener.set_nonblocking(true).map_err(|error| error.to_string())?;
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false).map_err(|error| error.to_string())?;
                return Ok(stream);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            // Of a connection that was given up before it was accepted.
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
            Err(error) => return Err(error.to_string()),
        }
        if Instant::now() > deadline {
            return Err("which did not come in time".into());
        }
        thread::sleep(PAUSE);
    }
}

/// The connection of the rank before this one, whatever else connects.
fn accept_neighbour(
    listener: &TcpListener,
    rank: usize,
    session: u64,
    deadline: Instant,
) -> Result<TcpStream> {
    loop {
        let stream = accept(listener, deadline)
            .map_err(|error| group_error(OP, format!("this one waits for rank {rank}, {error}")))?;
        let mut hello = [0; 8 + 8 + 4];
        let patience = deadline.min(Instant::now() + PATIENCE);
        let said = read_exact(&stream, &mut hello, patience);
        let expected = (rank as u32).to_le_bytes();
        if said.is_ok()
            && hello[..8] == NEIGHBOUR
            && hello[8..16] == session.to_le_bytes()
            && hello[16..] == expected
        {
            return Ok(stream);
        }
    }
}

fn io_error(error: std::io::Error) -> Error {
    group_error(OP, format!("the network: {error}"))
}
