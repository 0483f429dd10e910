//! The order of stores, invalidations and barriers, judged from the machine's log (reference 2.14, I5; rules MS-11, MS-20, MS-40,
//! MS-42).
//!
//! A last-level entry that is taken out may live on in a TLB. Its time is over once a DSB has followed the store, a TLBI that DSB, and
//! a DSB ISH the TLBI. Before that the entry may not become valid again with another frame or another Contiguous bit, and the frame it
//! mapped may neither be given away nor, if the entry let a CPU write without asking the table again, be read for swap. Which addresses a TLBI names is not looked at: for that the machine's TLBs
//! are there.

use std::collections::HashMap;

use mmu::host::{Event, Record};
use mmu::{Descriptor, Dsb, Fact, Form, Pfn, PhysAddr, Role, STAGE1, Scope};

const CONTIGUOUS: u64 = STAGE1::CONTIGUOUS.mask << STAGE1::CONTIGUOUS.shift;

/// An entry that was valid and is not.
#[derive(Clone, Copy)]
struct TakenOut {
    entry: Descriptor,
    when: u64,
}

/// What the log has told so far.
#[derive(Default)]
pub struct Rules {
    now: u64,
    /// Up to when stores are ordered before what follows; invalidated by TLBI; forgotten for certain.
    ordered: u64,
    invalidated: u64,
    forgotten: u64,
    /// What each entry holds, as far as it was seen.
    entries: HashMap<u64, Descriptor>,
    taken_out: HashMap<u64, TakenOut>,
    /// When a frame was last taken out of an entry, and out of one that was not read-only.
    frames: HashMap<u64, u64>,
    written: HashMap<u64, u64>,
    /// Whether conversions went without a flush when it was last asked.
    elided: bool,
    breaches: Vec<String>,
}

impl Rules {
    /// Judges what has happened since. With `elided` blocks may change their Contiguous bit without a flush.
    pub fn judge(&mut self, log: &[Record], elided: bool) {
        let at_any_time = std::mem::replace(&mut self.elided, elided) || elided;
        for record in log {
            self.now += 1;
            self.see(record, at_any_time);
        }
    }

    /// What was found.
    pub fn breaches(&self) -> &[String] {
        &self.breaches
    }

    fn see(&mut self, record: &Record, elided: bool) {
        match record.event {
            Event::Load(place) => self.loaded(place, Descriptor::from_bits(record.seen)),
            Event::Store(place, value) => self.stored(record, place, Descriptor::from_bits(value), elided),
            Event::Swap(place, value) => {
                self.loaded(place, Descriptor::from_bits(record.seen));
                self.stored(record, place, Descriptor::from_bits(value), elided);
            }
            Event::CompareExchange(place, old, new) if record.seen == old => {
                self.loaded(place, Descriptor::from_bits(old));
                self.stored(record, place, Descriptor::from_bits(new), elided);
            }
            Event::HardwareUpdate(place, value) => self.loaded(place, Descriptor::from_bits(value)),
            Event::Tlbi(op) if op.scope == Scope::Broadcast && op.form != Form::PageAnyAsid => {
                self.invalidated = self.ordered
            }
            Event::Dsb(Dsb::Ish) => {
                self.ordered = self.now;
                self.forgotten = self.invalidated;
            }
            Event::Dsb(Dsb::IshSt) => self.ordered = self.now,
            Event::ScanPages(frame, count) => self.read(record, frame, count),
            Event::CopyPages(to, from, count) => {
                self.read(record, from, count);
                self.new_contents(to, count);
            }
            Event::ClearPages(frame, count) => self.new_contents(frame, count),
            Event::Fact(Fact::FrameRole(frame, count, Role::Folio | Role::Table)) => {
                self.given_away(record, frame, count);
            }
            _ => {}
        }
    }

    fn loaded(&mut self, place: PhysAddr, entry: Descriptor) {
        self.entries.insert(place.as_u64(), entry);
    }

    /// Pages that are filled hold no entries; if they are a table, it is new.
    fn new_contents(&mut self, frame: Pfn, count: usize) {
        for frame in frames(frame, count) {
            for place in (frame << 12..(frame + 1) << 12).step_by(8) {
                self.entries.remove(&place);
                self.taken_out.remove(&place);
            }
        }
    }

    fn stored(&mut self, record: &Record, place: PhysAddr, entry: Descriptor, elided: bool) {
        let old = self.entries.insert(place.as_u64(), entry).unwrap_or_default();
        if old.is_valid() && !entry.is_valid() {
            self.taken_out.insert(place.as_u64(), TakenOut { entry: old, when: self.now });
            self.frames.insert(old.frame().as_u64(), self.now);
            if !old.is_read_only() {
                self.written.insert(old.frame().as_u64(), self.now);
            }
        }
        if !entry.is_valid() {
            return;
        }
        let before = if old.is_valid() {
            Some(TakenOut { entry: old, when: u64::MAX })
        } else {
            self.taken_out.remove(&place.as_u64())
        };
        let Some(before) = before.filter(|before| before.when > self.forgotten) else { return };
        if before.entry.frame() != entry.frame() {
            self.breach(record, "another frame while the old translation may live on (MS-01)", place);
        } else if (before.entry.bits() ^ entry.bits()) & CONTIGUOUS != 0 && !elided {
            self.breach(record, "the Contiguous bit changes while the old translation may live on (MS-11)", place);
        }
    }

    fn read(&mut self, record: &Record, frame: Pfn, count: usize) {
        if let Some(frame) =
            frames(frame, count).find(|frame| self.written.get(frame).is_some_and(|&when| when > self.forgotten))
        {
            self.breach(record, "a page is read that a CPU may still write (MS-42)", PhysAddr::new(frame << 12));
        }
    }

    fn given_away(&mut self, record: &Record, frame: Pfn, count: usize) {
        if let Some(frame) =
            frames(frame, count).find(|frame| self.frames.get(frame).is_some_and(|&when| when > self.forgotten))
        {
            self.breach(record, "a frame is given away that a TLB may still map (MS-40)", PhysAddr::new(frame << 12));
        }
    }

    fn breach(&mut self, record: &Record, what: &str, place: PhysAddr) {
        if self.breaches.len() < 5 {
            let Record { event, location, .. } = record;
            self.breaches.push(format!("{what}: {event:?} at {place}, {}:{}", location.file(), location.line()));
        }
    }
}

fn frames(first: Pfn, count: usize) -> std::ops::Range<u64> {
    first.as_u64()..first.as_u64() + count as u64
}
