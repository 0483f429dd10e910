//! The events themselves, counted: rules MS-50 and MS-51. The door numbers its events and counts them; the model counts what reaches it.

use super::rule::Rule;
use super::{Judged, Model};
use crate::addr::VirtAddr;
use crate::events::{Dsb, Events};
use crate::tlb_op::{KINDS, TlbOp};

/// What one CPU has done, as far as the door counts it too.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    /// Events told, by the door's own numbers.
    pub(super) told: u64,
    pub(super) swaps: u64,
    pub(super) stores: u64,
    pub(super) exchanges: u64,
    pub(super) links: u64,
    pub(super) tlbi: [u64; KINDS],
    pub(super) dsb: [u64; Dsb::COUNT],
    pub(super) isb: u64,
}

impl Model {
    /// The next event of a CPU has this number.
    pub(super) fn number(&mut self, cpu: usize, number: u64) {
        let tally = &mut self.cpus[cpu].tally;
        tally.told += 1;
        if tally.told != number {
            self.lose("an event of the door never came");
        }
    }

    pub(super) fn count_tlbi(&mut self, cpu: usize, op: TlbOp) {
        self.cpus[cpu].tally.tlbi[op.kind()] += 1;
    }

    /// Holds the door's counters of a CPU against the events that it told.
    pub(crate) fn check_counters(&self, cpu: usize, events: &Events) -> Judged {
        let tally = &self.cpus[cpu].tally;
        let mut pairs = [
            (events.swaps.get(), tally.swaps),
            (events.stores.get(), tally.stores),
            (events.exchanges.get(), tally.exchanges),
            (events.table_stores.get(), tally.links),
            (events.isb.get(), tally.isb),
        ]
        .into_iter()
        .chain(events.tlbi.iter().map(crate::Counter::get).zip(tally.tlbi))
        .chain(events.dsb.iter().map(crate::Counter::get).zip(tally.dsb));
        if !cfg!(feature = "counters") || pairs.all(|(counted, told)| counted == told) {
            return Ok(());
        }
        let what = "the door's counters are not the events that passed through it";
        Err(self.breach_at(cpu, Rule::Counters, what, VirtAddr::default(), self.cpus[cpu].asid))
    }
}
