//! All counters of a CPU as one value: what passed through the door, and what memory management counts beside it.
//!
//! A name stands for the same in every place where it is shown: tables, JSON records, `/proc`. Names of TLBI, DSB and ISB are those of
//! the QEMU plugin's own counts.

use core::fmt;

use mm::Memory;
use mm::count::Counters;
use mmu::{Cause, Depth, Dsb, Events, Form, Scope, TlbOp};

/// The door's counters of descriptor accesses.
const ACCESSES: [&str; 7] = ["reads", "swaps", "stores", "exchanges", "update_reads", "table_reads", "table_stores"];

/// TLBI by name. Those by ASID and of all have no leaf form: they count under one name.
const TLBI: [(&str, Form, Depth, Scope); 16] = [
    ("tlbi_page", Form::Page, Depth::Leaf, Scope::Broadcast),
    ("tlbi_page_walk", Form::Page, Depth::WalkCaches, Scope::Broadcast),
    ("tlbi_range", Form::Range, Depth::Leaf, Scope::Broadcast),
    ("tlbi_range_walk", Form::Range, Depth::WalkCaches, Scope::Broadcast),
    ("tlbi_anypage", Form::PageAnyAsid, Depth::Leaf, Scope::Broadcast),
    ("tlbi_anypage_walk", Form::PageAnyAsid, Depth::WalkCaches, Scope::Broadcast),
    ("tlbi_asid", Form::Asid, Depth::WalkCaches, Scope::Broadcast),
    ("tlbi_all", Form::All, Depth::WalkCaches, Scope::Broadcast),
    ("tlbi_page_local", Form::Page, Depth::Leaf, Scope::Local),
    ("tlbi_page_walk_local", Form::Page, Depth::WalkCaches, Scope::Local),
    ("tlbi_range_local", Form::Range, Depth::Leaf, Scope::Local),
    ("tlbi_range_walk_local", Form::Range, Depth::WalkCaches, Scope::Local),
    ("tlbi_anypage_local", Form::PageAnyAsid, Depth::Leaf, Scope::Local),
    ("tlbi_anypage_walk_local", Form::PageAnyAsid, Depth::WalkCaches, Scope::Local),
    ("tlbi_asid_local", Form::Asid, Depth::WalkCaches, Scope::Local),
    ("tlbi_all_local", Form::All, Depth::WalkCaches, Scope::Local),
];

/// TLBI by cause. The names do not begin as those above do, since these are the same TLBI a second time.
const CAUSES: [&str; Cause::COUNT] = [
    "cause_convert",
    "cause_unmap",
    "cause_pending",
    "cause_zap",
    "cause_protect",
    "cause_move",
    "cause_access",
    "cause_advise",
    "cause_replace",
    "cause_fork",
    "cause_table",
    "cause_rollover",
    "cause_kernel",
    "cause_test",
];

/// DSB by kind, in the order of [`Dsb`].
const DSB: [&str; Dsb::COUNT] = ["dsb_ishst", "dsb_ish", "dsb_nshst", "dsb_nsh"];

const FROM_TLBI: usize = ACCESSES.len();
const FROM_CAUSES: usize = FROM_TLBI + TLBI.len();
const FROM_DSB: usize = FROM_CAUSES + CAUSES.len();
const ISB: usize = FROM_DSB + DSB.len();
const FROM_MM: usize = ISB + 1;
const COUNT: usize = FROM_MM + Counters::NAMES.len();

/// The names of all counters, in order.
const NAMES: [&str; COUNT] = names();

const fn names() -> [&'static str; COUNT] {
    let mut names = [""; COUNT];
    let mut index = 0;
    while index < COUNT {
        names[index] = if index < FROM_TLBI {
            ACCESSES[index]
        } else if index < FROM_CAUSES {
            TLBI[index - FROM_TLBI].0
        } else if index < FROM_DSB {
            CAUSES[index - FROM_CAUSES]
        } else if index < ISB {
            DSB[index - FROM_DSB]
        } else if index == ISB {
            "isb"
        } else {
            Counters::NAMES[index - FROM_MM]
        };
        index += 1;
    }
    names
}

/// The value of every counter at a moment, or the difference between two.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Counts([u64; COUNT]);

impl Counts {
    /// All at zero.
    pub const ZERO: Self = Self([0; COUNT]);

    /// The counters of this CPU now.
    pub fn now(memory: &Memory) -> Self {
        let mut counts = Self::ZERO;
        counts.take_events(memory.door.events());
        counts.0[FROM_MM..].copy_from_slice(&memory.count().values());
        counts
    }

    fn take_events(&mut self, events: &Events) {
        let accesses = [
            &events.reads,
            &events.swaps,
            &events.stores,
            &events.exchanges,
            &events.update_reads,
            &events.table_reads,
            &events.table_stores,
        ];
        let tlbi = TLBI.iter().map(|&(_, form, depth, scope)| {
            let count = |depth| events.tlbi[TlbOp { form, depth, scope, operand: 0 }.kind()].get();
            let leaf_too = matches!(form, Form::Asid | Form::All);
            count(depth) + if leaf_too { count(Depth::Leaf) } else { 0 }
        });
        let values = accesses.iter().map(|counter| counter.get()).chain(tlbi);
        let values = values.chain(events.tlbi_causes.iter().chain(&events.dsb).map(mmu::Counter::get));
        for (place, value) in self.0.iter_mut().zip(values.chain([events.isb.get()])) {
            *place = value;
        }
    }

    /// What was counted after `earlier`.
    pub fn since(&self, earlier: &Self) -> Self {
        Self(core::array::from_fn(|index| self.0[index].wrapping_sub(earlier.0[index])))
    }

    /// A counter by its name.
    ///
    /// # Panics
    /// If there is no counter of this name.
    pub fn get(&self, name: &str) -> u64 {
        match NAMES.iter().position(|&known| known == name) {
            Some(index) => self.0[index],
            None => panic!("there is no counter '{name}'"),
        }
    }

    /// The sum of the counters whose names begin with `prefix`.
    pub fn sum(&self, prefix: &str) -> u64 {
        self.iter().filter(|(name, _)| name.starts_with(prefix)).map(|(_, value)| value).sum()
    }

    /// What an observer of memory sees on table pages: loads, stores and atomic instructions, of entries of all levels. The names are
    /// the plugin's.
    pub fn entry_accesses(&self) -> [(&'static str, u64); 3] {
        let total = |names: &[&str]| names.iter().map(|name| self.get(name)).sum();
        [
            ("entry_loads", total(&["reads", "update_reads", "table_reads"])),
            ("entry_stores", total(&["stores"])),
            ("entry_atomics", total(&["swaps", "exchanges", "table_stores"])),
        ]
    }

    /// Every counter with its name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        NAMES.into_iter().zip(self.0)
    }

    /// The counters that are not zero as fields of a JSON object, each with a comma before it.
    pub fn fields(&self) -> Fields<'_> {
        Fields(self)
    }
}

/// For people: one counter a line, those at zero left out.
impl fmt::Display for Counts {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = NAMES.iter().map(|name| name.len()).max().unwrap_or(0);
        let mut counted = self.iter().filter(|&(_, value)| value != 0);
        counted.try_for_each(|(name, value)| writeln!(out, "{name:width$}  {:>15}", super::grid::Grouped(value)))
    }
}

/// See [`Counts::fields`].
#[derive(Debug)]
pub struct Fields<'a>(&'a Counts);

impl fmt::Display for Fields<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut counted = self.0.iter().filter(|&(_, value)| value != 0);
        counted.try_for_each(|(name, value)| write!(out, r#","{name}":{value}"#))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn every_name_is_there_once() {
        for (index, name) in NAMES.iter().enumerate() {
            assert!(!name.is_empty() && !NAMES[..index].contains(name), "{name}");
        }
    }

    #[test]
    fn causes_have_their_names() {
        for (ours, name) in CAUSES.iter().zip(Cause::NAMES) {
            assert_eq!(ours.strip_prefix("cause_"), Some(name));
        }
        for (ours, name) in DSB.iter().zip(Dsb::NAMES) {
            assert_eq!(ours.strip_prefix("dsb_"), Some(name));
        }
    }

    #[test]
    fn every_event_is_counted_under_its_name() {
        let events = Events::new();
        let ops = TLBI.iter().map(|&(_, form, depth, scope)| TlbOp { form, depth, scope, operand: 0 });
        for (index, op) in ops.enumerate() {
            events.tlbi[op.kind()].add(index as u64 + 1);
        }
        events.reads.add(100);
        events.table_stores.add(101);
        events.tlbi_causes[Cause::Test as usize].add(102);
        events.dsb[Dsb::Nsh as usize].add(103);
        events.isb.add(104);
        let mut counts = Counts::ZERO;
        counts.take_events(&events);
        for (index, (name, ..)) in TLBI.iter().enumerate() {
            assert_eq!(counts.get(name), index as u64 + 1, "{name}");
        }
        let others = ["reads", "table_stores", "cause_test", "dsb_nsh", "isb"].map(|name| counts.get(name));
        assert_eq!(others, [100, 101, 102, 103, 104]);
        assert_eq!(counts.sum("tlbi_"), (1..=16).sum());
    }

    #[test]
    fn every_access_is_seen_once_from_outside() {
        let mut counts = Counts::ZERO;
        for (place, index) in counts.0.iter_mut().zip(0..ACCESSES.len()) {
            *place = 10u64.pow(index as u32);
        }
        let seen = counts.entry_accesses();
        assert_eq!(seen, [("entry_loads", 110_001), ("entry_stores", 100), ("entry_atomics", 1_001_010)]);
    }

    #[test]
    fn json_has_what_is_not_zero() {
        let mut counts = Counts::ZERO;
        assert_eq!(counts.fields().to_string(), "");
        counts.0[0] = 5;
        counts.0[ISB] = 1;
        assert_eq!(counts.fields().to_string(), r#","reads":5,"isb":1"#);
        assert_eq!(counts.since(&counts), Counts::ZERO);
    }
}
