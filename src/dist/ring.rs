//! All processes in a ring over TCP: each sends to the next one and receives from the one before.
//!
//! The ring all-reduce is that of Patarasuk & Yuan, "Bandwidth optimal all-reduce algorithms for
//! clusters of workstations" (2009). The values are cut into as many chunks as there are ranks. In a
//! first round each chunk goes around and collects the sum, in a second one the sums go around. A
//! rank sends and receives about twice the size of the values, however many ranks there are; a chunk
//! is added up in one order and by one rank after the other, so all get the same bits every time.

use std::net::{SocketAddr, TcpStream};
use std::ops::{Add, Range};
use std::time::{Duration, Instant};

use kiln_tensor::{Error, Result};

use super::collective::Collective;
use super::frame::{HEADER, Header, Kind};
use super::group_error;
use super::socket::{Writer, read_exact};

/// Bytes of a message: what is received stays in the cache until it is added.
const PIECE: usize = 128 << 10;
/// Bytes that a rank may bring to an all_gather.
const MOST_GATHERED: u64 = 1 << 28;
/// Bytes of a text from another rank.
const MOST_TEXT: u64 = 1000;
/// How long a rank that gives up tries to say why.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// One place in the ring.
pub(super) struct Ring {
    rank: usize,
    world_size: usize,
    timeout: Duration,
    /// None if there is only one rank.
    neighbours: Option<Neighbours>,
}

/// The connections of a rank.
pub(super) struct Neighbours {
    next: Writer,
    next_name: String,
    previous: TcpStream,
    previous_name: String,
    timeout: Duration,
    sent: u64,
    received: u64,
    /// What was received last.
    piece: Vec<u8>,
}

/// A rank with its address, for texts.
fn name(rank: usize, address: std::io::Result<SocketAddr>) -> String {
    match address {
        Ok(address) => format!("rank {rank} ({address})"),
        Err(_) => format!("rank {rank}"),
    }
}

impl Ring {
    pub fn alone(timeout: Duration) -> Self {
        Self { rank: 0, world_size: 1, timeout, neighbours: None }
    }

    pub fn new(
        [rank, world_size]: [usize; 2],
        next: TcpStream,
        previous: TcpStream,
        timeout: Duration,
    ) -> std::io::Result<Self> {
        // A message is small or filled: waiting for more to send along would only cost time.
        next.set_nodelay(true)?;
        let neighbours = Neighbours {
            next_name: name((rank + 1) % world_size, next.peer_addr()),
            previous_name: name((rank + world_size - 1) % world_size, previous.peer_addr()),
            next: Writer::new(next, timeout)?,
            previous,
            timeout,
            sent: 0,
            received: 0,
            piece: Vec::new(),
        };
        Ok(Self { rank, world_size, timeout, neighbours: Some(neighbours) })
    }

    /// Works with the neighbours, if there are any. If that fails, the next rank is told why.
    fn work(&mut self, work: impl FnOnce(&mut Neighbours) -> Result<()>) -> Result<()> {
        let Some(neighbours) = &mut self.neighbours else { return Ok(()) };
        work(neighbours).inspect_err(|error| {
            if let Error::Device { what, .. } = error {
                neighbours.abort(what);
            }
        })
    }

    fn all_reduce<T: Number>(&mut self, values: &mut [T]) -> Result<()> {
        let (rank, world, len) = (self.rank, self.world_size, values.len());
        // Chunks are numbered around the ring, `world` more than in the texts to stay above zero.
        let chunk = |i: usize| {
            let i = i % world;
            len * i / world..len * (i + 1) / world
        };
        self.work(|neighbours| {
            for step in 0..world - 1 {
                let sent = rank + world - step;
                neighbours.exchange(values, chunk(sent), chunk(sent - 1), Add::add)?;
            }
            for step in 0..world - 1 {
                let sent = rank + 1 + world - step;
                neighbours.exchange(values, chunk(sent), chunk(sent - 1), |_, sum| sum)?;
            }
            Ok(())
        })
    }
}

impl Collective for Ring {
    fn rank(&self) -> usize {
        self.rank
    }

    fn world_size(&self) -> usize {
        self.world_size
    }

    fn timeout(&self) -> Duration {
        self.timeout
    }

    fn all_reduce_f32(&mut self, values: &mut [f32]) -> Result<()> {
        self.all_reduce(values)
    }

    fn all_reduce_f64(&mut self, values: &mut [f64]) -> Result<()> {
        self.all_reduce(values)
    }

    fn broadcast(&mut self, bytes: &mut [u8], root: usize) -> Result<()> {
        let (first, last) = (self.rank == root, (self.rank + 1) % self.world_size == root);
        let length = bytes.len() as u64;
        self.work(|neighbours| {
            for piece in pieces(0..bytes.len(), PIECE) {
                let bytes = &mut bytes[piece];
                if !first {
                    neighbours.receive(Kind::Broadcast, Some(length), |_| bytes.len())?;
                    bytes.copy_from_slice(&neighbours.piece);
                }
                if !last {
                    neighbours.send(Kind::Broadcast, length, |to| to.extend_from_slice(bytes))?;
                }
            }
            Ok(())
        })
    }

    fn all_gather(&mut self, bytes: &[u8]) -> Result<Vec<Vec<u8>>> {
        let (rank, world) = (self.rank, self.world_size);
        let mut all = vec![Vec::new(); world];
        all[rank] = bytes.to_vec();
        self.work(|neighbours| {
            for step in 0..world - 1 {
                let sent = &all[(rank + world - step) % world];
                for piece in pieces(0..sent.len(), PIECE) {
                    let fill = |to: &mut Vec<u8>| to.extend_from_slice(&sent[piece]);
                    neighbours.send(Kind::Gather, sent.len() as u64, fill)?;
                }
                // The first message tells how many bytes there are; memory is taken as they come.
                let mut received = Vec::new();
                let mut length = None;
                while length.is_none_or(|length| (received.len() as u64) < length) {
                    let left = |length: u64| (length as usize - received.len()).min(PIECE);
                    length = Some(neighbours.receive(Kind::Gather, length, left)?);
                    received.extend_from_slice(&neighbours.piece);
                }
                all[(rank + world - step - 1) % world] = received;
            }
            Ok(())
        })?;
        Ok(all)
    }
}

impl Neighbours {
    /// Sends one chunk to the next rank while another comes from the one before, where `combine`
    /// makes new values of those that are here and those that came.
    fn exchange<T: Number>(
        &mut self,
        values: &mut [T],
        sent: Range<usize>,
        received: Range<usize>,
        combine: impl Fn(T, T) -> T,
    ) -> Result<()> {
        let length = size_of_val(values) as u64;
        let mut sent = pieces(sent, PIECE / size_of::<T>());
        let mut received = pieces(received, PIECE / size_of::<T>());
        loop {
            let (out, into) = (sent.next(), received.next());
            if out.is_none() && into.is_none() {
                return Ok(());
            }
            if let Some(piece) = out {
                let values = &values[piece];
                self.send(T::KIND, length, |to| {
                    let start = to.len();
                    to.resize(start + size_of_val(values), 0);
                    let bytes = to[start..].chunks_exact_mut(size_of::<T>());
                    values.iter().zip(bytes).for_each(|(value, bytes)| value.write(bytes));
                })?;
            }
            if let Some(piece) = into {
                let values = &mut values[piece];
                self.receive(T::KIND, Some(length), |_| size_of_val(values))?;
                let bytes = self.piece.chunks_exact(size_of::<T>());
                for (value, bytes) in values.iter_mut().zip(bytes) {
                    *value = combine(*value, T::read(bytes));
                }
            }
        }
    }

    fn send(&mut self, kind: Kind, length: u64, fill: impl FnOnce(&mut Vec<u8>)) -> Result<()> {
        let header = Header { kind, number: self.sent, length };
        self.sent += 1;
        let message = |bytes: &mut Vec<u8>| {
            bytes.extend_from_slice(&header.to_bytes());
            fill(bytes);
        };
        self.next.send(message).map_err(|error| {
            group_error(kind.name(), format!("{} can not be written to ({error})", self.next_name))
        })
    }

    /// Receives a message of `kind` into `piece`. `bytes` says how many it has, given the length of
    /// the whole, which must be `length` if that is known. Returns the length.
    fn receive(
        &mut self,
        kind: Kind,
        length: Option<u64>,
        bytes: impl FnOnce(u64) -> usize,
    ) -> Result<u64> {
        let deadline = Instant::now() + self.timeout;
        let from = &self.previous_name;
        let error = |what: String| group_error(kind.name(), format!("{from} {what}"));
        let mut header = [0; HEADER];
        read_exact(&self.previous, &mut header, deadline).map_err(error)?;
        let header = Header::parse(&header)
            .ok_or_else(|| error("sent something that is no message of Kiln".into()))?;
        if header.kind == Kind::Abort {
            let mut text = vec![0; header.length.min(MOST_TEXT) as usize];
            read_exact(&self.previous, &mut text, deadline).map_err(error)?;
            return Err(group_error(kind.name(), readable(&text)));
        }
        if header.kind != kind || length.is_some_and(|length| header.length != length) {
            let length = length.map_or(String::new(), |length| format!(" of {length} bytes"));
            return Err(error(format!(
                "is at an {} of {} bytes, this one at an {}{length}: all ranks must call the same \
                 operations in the same order, with values of the same shapes",
                header.kind.name(),
                header.length,
                kind.name(),
            )));
        }
        if header.number != self.received {
            return Err(error(format!(
                "sent message {} where {} was to come",
                header.number, self.received
            )));
        }
        if kind == Kind::Gather && header.length > MOST_GATHERED {
            return Err(error(format!(
                "brings {} bytes to an all_gather, more than {MOST_GATHERED}",
                header.length
            )));
        }
        self.received += 1;
        self.piece.resize(bytes(header.length), 0);
        read_exact(&self.previous, &mut self.piece, deadline).map_err(error)?;
        Ok(header.length)
    }

    /// Tells the next rank, if it can still be told, why this one gives up, and closes.
    fn abort(&mut self, reason: &str) {
        let mut end = reason.len().min(MOST_TEXT as usize);
        while !reason.is_char_boundary(end) {
            end -= 1;
        }
        let text = &reason.as_bytes()[..end];
        let _ = self.send(Kind::Abort, end as u64, |bytes| bytes.extend_from_slice(text));
        self.next.close(LAST_WORDS);
    }
}

/// A text from another rank, fit to be printed.
pub(super) fn readable(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// `range` in pieces of at most `most`; an empty one is one empty piece, so that every chunk is at
/// least one message.
fn pieces(range: Range<usize>, most: usize) -> impl Iterator<Item = Range<usize>> {
    let count = range.len().div_ceil(most).max(1);
    (0..count).map(move |i| {
        let start = range.start + i * most;
        start..range.end.min(start + most)
    })
}

/// A number that can be added up, and its bytes, which are little-endian.
trait Number: Copy + Add<Output = Self> {
    const KIND: Kind;
    fn read(bytes: &[u8]) -> Self;
    fn write(self, bytes: &mut [u8]);
}

impl Number for f32 {
    const KIND: Kind = Kind::Reduce32;
    fn read(bytes: &[u8]) -> Self {
        Self::from_le_bytes(bytes.try_into().expect("four bytes"))
    }
    fn write(self, bytes: &mut [u8]) {
        bytes.copy_from_slice(&self.to_le_bytes());
    }
}

impl Number for f64 {
    const KIND: Kind = Kind::Reduce64;
    fn read(bytes: &[u8]) -> Self {
        Self::from_le_bytes(bytes.try_into().expect("eight bytes"))
    }
    fn write(self, bytes: &mut [u8]) {
        bytes.copy_from_slice(&self.to_le_bytes());
    }
}
