//! Uploads by way of pinned memory: the host copies a piece into a slot and goes on, while the
//! device fetches it. Without, the driver would make the host wait for its own staging.

/// Bytes of a slot.
const SLOT: usize = 4 << 20;
/// Slots that take turns.
pub(crate) const SLOTS: usize = 4;

/// What moves pieces through the slots: the driver, or in tests a list.
pub(crate) trait Lane {
    type Error;
    /// Waits until the device has fetched what was last put into a slot.
    fn wait(&mut self, slot: usize) -> Result<(), Self::Error>;
    /// Copies a piece into a slot, lets the device fetch it to `address`, and marks that in its order.
    fn send(&mut self, slot: usize, piece: &[u8], address: usize) -> Result<(), Self::Error>;
}

/// Which slot is next.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    sent: usize,
}

impl Turns {
    /// Uploads `source` to `address` in pieces. A slot is written only after a wait for it.
    pub fn upload<L: Lane>(
        &mut self,
        lane: &mut L,
        source: &[u8],
        address: usize,
    ) -> Result<(), L::Error> {
        for (i, piece) in source.chunks(SLOT).enumerate() {
            let slot = self.sent % SLOTS;
            if self.sent >= SLOTS {
                lane.wait(slot)?;
            }
            lane.send(slot, piece, address + i * SLOT)?;
            self.sent += 1;
        }
        Ok(())
    }
}

/// Bytes of all slots together.
pub(crate) const fn staging_bytes() -> usize {
    SLOT * SLOTS
}

/// Where a slot starts.
pub(crate) const fn slot_offset(slot: usize) -> usize {
    slot * SLOT
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A device that fetches late: only when a slot is waited for, or at the end.
    struct Late {
        slots: Vec<Option<(Vec<u8>, usize)>>,
        memory: Vec<u8>,
    }

    impl Late {
        fn fetch(&mut self, slot: usize) {
            if let Some((piece, at)) = self.slots[slot].take() {
                self.memory[at..at + piece.len()].copy_from_slice(&piece);
            }
        }
    }

    impl Lane for Late {
        type Error = String;

        fn wait(&mut self, slot: usize) -> Result<(), String> {
            self.fetch(slot);
            Ok(())
        }

        fn send(&mut self, slot: usize, piece: &[u8], address: usize) -> Result<(), String> {
            if self.slots[slot].is_some() {
                return Err(format!("slot {slot} is overwritten before it was fetched"));
            }
            if piece.len() > SLOT || slot >= SLOTS {
                return Err(format!("{} bytes in slot {slot}", piece.len()));
            }
            self.slots[slot] = Some((piece.to_vec(), address));
            Ok(())
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn everything_arrives_however_late_it_is_fetched(
            sizes in proptest::collection::vec(0usize..3 * SLOT, 1..5),
        ) {
            let all: usize = sizes.iter().sum();
            let source: Vec<u8> = (0..all).map(|i| (i % 251) as u8).collect();
            let mut late = Late { slots: vec![None; SLOTS], memory: vec![255; all] };
            let (mut turns, mut at) = (Turns::default(), 0);
            for size in sizes {
                let sent = turns.upload(&mut late, &source[at..at + size], at);
                prop_assert_eq!(sent, Ok(()));
                at += size;
            }
            (0..SLOTS).for_each(|slot| late.fetch(slot));
            prop_assert!(late.memory == source);
        }
    }
}
