//! Who holds the memory of a device, and who held it when it was most.

use std::collections::HashMap;

use super::scope::Pass;
use crate::{AnyTensor, Device, MemoryStats};

/// The operation of memory that no operation has filled so far: numbers of the host, most of all.
const DATA: &str = "data";

/// Who took some memory.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Owner {
    /// Empty until an operation claims it.
    pub operation: &'static str,
    pub pass: Pass,
    pub scope: String,
}

/// The memory that was taken during a profile, by device.
#[derive(Default)]
pub(super) struct Ledger {
    devices: Vec<Account>,
}

/// The memory of one device.
struct Account {
    device: Device,
    /// What was held when the profile began.
    start: usize,
    /// Owner and bytes of each buffer, by its address.
    live: HashMap<usize, (usize, usize)>,
    /// The first one stands for all from before the profile.
    owners: Vec<Owner>,
    numbers: HashMap<Owner, usize>,
    /// The bytes of each owner.
    held: Vec<usize>,
    total: usize,
    peak: usize,
    at_peak: Vec<usize>,
    /// The peak is now: `at_peak` is still to be written, before anything is freed.
    rising: bool,
}

/// The memory of one device during a profile, in bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct MemoryReport {
    /// The device.
    pub device: Device,
    /// Held when the profile began.
    pub start: usize,
    /// The most that was held at one time, by tensors and by running operations for themselves.
    pub peak: usize,
    /// Who held that, the largest first.
    pub holders: Vec<Holder>,
    /// Held when it ended.
    pub end: usize,
    /// The pool of the device when it ended.
    pub pool: MemoryStats,
}

/// What one operation, in one scope, had made of what was held at the peak.
#[derive(Clone, Debug, PartialEq)]
pub struct Holder {
    /// The operation; `data` for what came from the host, `scratch` for what running operations
    /// held for themselves, and empty for what was there before the profile.
    pub operation: &'static str,
    /// The pass that it was made in.
    pub pass: Pass,
    /// The path of the [`scope`](super::scope()) that it was made in.
    pub scope: String,
    /// How much.
    pub bytes: usize,
}

impl Ledger {
    fn account(&mut self, device: Device, change: usize) -> &mut Account {
        let place = self.devices.iter().position(|account| account.device == device);
        let place = place.unwrap_or_else(|| {
            // The pool has counted what is told now.
            self.devices.push(Account::new(device, device.memory().in_use.saturating_sub(change)));
            self.devices.len() - 1
        });
        &mut self.devices[place]
    }

    pub fn allocated(&mut self, device: Device, address: usize, bytes: usize, owner: &Owner) {
        self.account(device, bytes).allocated(address, bytes, owner);
    }

    pub fn freed(&mut self, device: Device, address: usize, bytes: usize) {
        self.account(device, 0).freed(address, bytes);
    }

    /// Gives what nobody has claimed of the memory of `tensors` to `owner`, and says how much it
    /// is.
    pub fn claim(&mut self, device: Device, tensors: &[AnyTensor], owner: &Owner) -> usize {
        let account = self.account(device, 0);
        tensors.iter().map(|tensor| account.claim(tensor.buffer().address(), owner)).sum()
    }

    /// What is held on `device`.
    pub fn held(&self, device: Device) -> usize {
        let account = self.devices.iter().find(|account| account.device == device);
        account.map_or(0, |account| account.total)
    }

    pub fn report(self) -> Vec<MemoryReport> {
        self.devices.into_iter().map(Account::report).collect()
    }
}

impl Account {
    fn new(device: Device, start: usize) -> Self {
        let before = Owner { operation: "", pass: Pass::Forward, scope: String::new() };
        Self {
            device,
            start,
            live: HashMap::new(),
            owners: vec![before],
            numbers: HashMap::new(),
            held: vec![start],
            total: start,
            peak: start,
            at_peak: vec![start],
            rising: false,
        }
    }

    fn number(&mut self, owner: &Owner) -> usize {
        if let Some(&number) = self.numbers.get(owner) {
            return number;
        }
        self.owners.push(owner.clone());
        self.held.push(0);
        self.numbers.insert(owner.clone(), self.held.len() - 1);
        self.held.len() - 1
    }

    fn allocated(&mut self, address: usize, bytes: usize, owner: &Owner) {
        let number = self.number(owner);
        self.live.insert(address, (number, bytes));
        self.held[number] += bytes;
        self.total += bytes;
        if self.total > self.peak {
            (self.peak, self.rising) = (self.total, true);
        }
    }

    fn freed(&mut self, address: usize, bytes: usize) {
        self.note_peak();
        let (number, bytes) = self.live.remove(&address).unwrap_or((0, bytes));
        self.held[number] = self.held[number].saturating_sub(bytes);
        self.total = self.total.saturating_sub(bytes);
    }

    fn claim(&mut self, address: usize, owner: &Owner) -> usize {
        let Some(&(number, bytes)) = self.live.get(&address) else { return 0 };
        if !self.owners[number].operation.is_empty() {
            return 0;
        }
        let new = self.number(owner);
        self.live.insert(address, (new, bytes));
        self.held[number] -= bytes;
        self.held[new] += bytes;
        bytes
    }

    fn note_peak(&mut self) {
        if std::mem::take(&mut self.rising) {
            self.at_peak.clone_from(&self.held);
        }
    }

    fn report(mut self) -> MemoryReport {
        self.note_peak();
        let owners = self.owners.into_iter().enumerate().zip(self.at_peak);
        let mut holders: Vec<Holder> = owners
            .filter(|(_, bytes)| *bytes > 0)
            .map(|((number, Owner { operation, pass, scope }), bytes)| {
                let unclaimed = number > 0 && operation.is_empty();
                Holder { operation: if unclaimed { DATA } else { operation }, pass, scope, bytes }
            })
            .collect();
        holders.sort_by_key(|holder| std::cmp::Reverse(holder.bytes));
        MemoryReport {
            device: self.device,
            start: self.start,
            peak: self.peak,
            holders,
            end: self.total,
            pool: self.device.memory(),
        }
    }
}
