//! The TLB of one simulated CPU: an ordinary one. It keeps every translation that an access has needed, and where the last-level
//! table of each 2 MiB was found, until an invalidation covers it; then it forgets at once. It never evicts.
//!
//! What the architecture leaves open is decided by the seed: a folded block becomes one entry of 64 KiB or one of 4 KiB (R_JQQTC).

use std::collections::HashMap;

use super::random::Random;
use super::walk::Walk;
use crate::addr::{Asid, PAGE_SHIFT, PhysAddr, VirtAddr, level_shift};
use crate::descriptor::Descriptor;
use crate::features::Features;
use crate::slot::CONT_PTES;
use crate::tlb_op::{Depth, Form, TlbOp};

/// What an entry is found by.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Key {
    /// `None` for a global one.
    asid: Option<Asid>,
    /// log2 of its bytes.
    shift: u32,
    /// Its address in units of its size.
    number: u64,
}

impl Key {
    fn overlaps(&self, first: u64, pages: u64) -> bool {
        let start = self.number << (self.shift - PAGE_SHIFT);
        let end = start + (1 << (self.shift - PAGE_SHIFT));
        start < first + pages && first < end
    }
}

/// A translation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// Its attributes as they were walked.
    pub(super) descriptor: Descriptor,
    base: u64,
    shift: u32,
    level: u8,
}

impl Entry {
    /// Where it puts `address`.
    pub(super) fn output(&self, address: VirtAddr) -> PhysAddr {
        PhysAddr::new(self.base | (address.as_u64() & ((1 << self.shift) - 1)))
    }
}

/// The level of the descriptors whose targets `tables` holds.
const TABLE_LEVEL: u8 = 2;

/// The TLB.
#[derive(Debug)]
pub(super) struct Tlb {
    entries: HashMap<Key, Entry>,
    /// Last-level tables by ASID and number of the 2 MiB.
    tables: HashMap<(Asid, u64), PhysAddr>,
    /// A bit for each size that an entry may have.
    shifts: u64,
    random: Random,
}

impl Tlb {
    pub(super) fn new(random: Random) -> Self {
        Self { entries: HashMap::new(), tables: HashMap::new(), shifts: 0, random }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len() + self.tables.len()
    }

    fn sizes(&self) -> impl Iterator<Item = u32> + use<> {
        let shifts = self.shifts;
        (PAGE_SHIFT..48).filter(move |shift| shifts & (1 << shift) != 0)
    }

    fn key(asid: Option<Asid>, shift: u32, address: VirtAddr) -> Key {
        Key { asid, shift, number: address.as_u64() >> shift }
    }

    /// The entry that translates `address`, the smallest if there are several.
    pub(super) fn lookup(&self, asid: Asid, address: VirtAddr) -> Option<(Key, Entry)> {
        self.sizes()
            .flat_map(|shift| [Self::key(Some(asid), shift, address), Self::key(None, shift, address)])
            .find_map(|key| {
                let entry = self.entries.get(&key)?;
                Some((key, *entry))
            })
    }

    /// Forgets one entry.
    pub(super) fn remove(&mut self, key: Key) {
        self.entries.remove(&key);
    }

    /// The last-level table for `address`, if it was found before.
    pub(super) fn table(&self, asid: Asid, address: VirtAddr) -> Option<PhysAddr> {
        self.tables.get(&(asid, address.as_u64() >> level_shift(TABLE_LEVEL))).copied()
    }

    /// Keeps the last-level table that a walk went through.
    pub(super) fn fill_table(&mut self, asid: Asid, address: VirtAddr, walk: &Walk) {
        if walk.level == 3 {
            self.tables.insert((asid, address.as_u64() >> level_shift(TABLE_LEVEL)), walk.table);
        }
    }

    /// Keeps the result of a walk that may be kept: mapped, and its access flag set.
    pub(super) fn fill(&mut self, asid: Asid, address: VirtAddr, walk: &Walk) {
        let mut shift = level_shift(walk.level);
        if walk.descriptor.is_folded() && self.random.below(2) == 0 {
            shift += CONT_PTES.trailing_zeros();
        }
        let base = walk.descriptor.address().as_u64() & !((1 << shift) - 1);
        let asid = (!walk.descriptor.is_global()).then_some(asid);
        self.shifts |= 1 << shift;
        let entry = Entry { descriptor: walk.descriptor, base, shift, level: walk.level };
        self.entries.insert(Self::key(asid, shift, address), entry);
    }

    /// Does what a TLBI says.
    pub(super) fn invalidate(&mut self, op: TlbOp, features: Features) {
        match op.form {
            Form::All => {
                self.entries.clear();
                self.tables.clear();
                self.shifts = 0;
            }
            Form::Asid => {
                let asid = mask(op.operand_asid(), features);
                self.entries.retain(|key, _| key.asid != Some(asid));
                self.tables.retain(|&(owner, _), _| owner != asid);
            }
            Form::Page | Form::Range | Form::PageAnyAsid => self.invalidate_pages(op, features),
        }
    }

    fn invalidate_pages(&mut self, op: TlbOp, features: Features) {
        let Some((start, pages)) = op.pages() else { return };
        let asid = (op.form != Form::PageAnyAsid).then_some(mask(op.operand_asid(), features));
        let level = level_hint(op, features);
        let at_level = |entry: u8| level == 0 || level == entry;
        let whose = |owner: Option<Asid>| owner.is_none() || asid.is_none() || owner == asid;
        if let (Some(asid), true) = (asid, pages <= self.entries.len()) {
            for shift in self.sizes() {
                for page in 0..pages {
                    for owner in [Some(asid), None] {
                        let key = Self::key(owner, shift, start.add_pages(page));
                        if self.entries.get(&key).is_some_and(|entry| at_level(entry.level)) {
                            self.entries.remove(&key);
                        }
                    }
                }
            }
        } else {
            let (first, pages) = (start.page_number(), pages as u64);
            self.entries.retain(|key, entry| !(whose(key.asid) && at_level(entry.level) && key.overlaps(first, pages)));
        }
        if op.depth == Depth::WalkCaches && at_level(TABLE_LEVEL) {
            let (first, end) = (start.as_u64(), start.add_pages(pages).as_u64());
            let covered = |number: u64| {
                let start = number << level_shift(TABLE_LEVEL);
                start < end && first < start + (1 << level_shift(TABLE_LEVEL))
            };
            self.tables.retain(|&(owner, number), _| !(whose(Some(owner)) && covered(number)));
        }
    }
}

/// An ASID as wide as the CPU has it.
pub(super) fn mask(asid: Asid, features: Features) -> Asid {
    if features.asid_bits < 16 { Asid::new(asid.as_u16() & 0xff) } else { asid }
}

/// The level hint of an operation by address, 0 for none. CPUs without FEAT_TTL ignore that of the page form.
fn level_hint(op: TlbOp, features: Features) -> u8 {
    let field = match op.form {
        Form::Range => op.operand >> 37,
        _ if features.level_hint && (op.operand >> 46) & 3 != 0 => op.operand >> 44,
        _ => 0,
    };
    (field & 3) as u8
}
