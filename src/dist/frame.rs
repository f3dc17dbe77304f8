//! What every message between neighbours of the ring begins with.

/// The bytes of a header.
pub(super) const HEADER: usize = 24;

const MAGIC: [u8; 4] = *b"KILN";

/// What a message is a part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Reduce32 = 1,
    Reduce64,
    Broadcast,
    Gather,
    /// The reason, a text, for which the sender gave up.
    Abort,
}

impl Kind {
    const ALL: [Kind; 5] =
        [Kind::Reduce32, Kind::Reduce64, Kind::Broadcast, Kind::Gather, Kind::Abort];

    /// The operation, for texts.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Reduce32 => "all_reduce of f32",
            Kind::Reduce64 => "all_reduce of f64",
            Kind::Broadcast => "broadcast",
            Kind::Gather => "all_gather",
            Kind::Abort => "abort",
        }
    }
}

/// The header of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub kind: Kind,
    /// How many messages the sender sent before.
    pub number: u64,
    /// The bytes of the whole operation, of which the message holds a piece.
    pub length: u64,
}

impl Header {
    pub fn to_bytes(self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4] = self.kind as u8;
        bytes[8..16].copy_from_slice(&self.number.to_le_bytes());
        bytes[16..].copy_from_slice(&self.length.to_le_bytes());
        bytes
    }

    /// `None` if the bytes are no header.
    pub fn parse(bytes: &[u8; HEADER]) -> Option<Self> {
        let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
        let kind = Kind::ALL.into_iter().find(|&kind| kind as u8 == bytes[4])?;
        let valid = bytes[..4] == MAGIC && bytes[5..8] == [0; 3];
        valid.then(|| Self { kind, number: number(8), length: number(16) })
    }
}
