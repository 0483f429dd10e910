//! How a breach comes to be told: of an entry that some CPU may still hold, of one in a table, or of memory.

use super::rule::Rule;
use super::stale::Stale;
use super::tables::TableId;
use super::{Breach, Model};
use crate::addr::{Asid, PAGE_SHIFT, PhysAddr, VirtAddr};

impl Model {
    /// A breach that a replaced entry makes possible: its rule is `rule`, unless an invalidation was meant for it and says more.
    pub(super) fn breach(&self, cpu: usize, rule: Rule, what: &'static str, stale: &Stale, page: u64) -> Breach {
        let rule = match stale.near {
            _ if stale.is_issued() => Rule::IncompleteTlbi,
            Some(near) => near.rule,
            None => rule,
        };
        self.breach_exactly(cpu, rule, what, stale, page)
    }

    /// The same of this rule and no other.
    pub(super) fn breach_exactly(
        &self,
        cpu: usize,
        rule: Rule,
        what: &'static str,
        stale: &Stale,
        page: u64,
    ) -> Breach {
        let address = VirtAddr::new(page << PAGE_SHIFT);
        Breach { held: Some(stale.held(page)), ..self.breach_at(cpu, rule, what, address, stale.asid) }
    }

    /// A breach without an entry in some TLB.
    pub(super) fn breach_at(
        &self,
        cpu: usize,
        rule: Rule,
        what: &'static str,
        address: VirtAddr,
        asid: Asid,
    ) -> Breach {
        Breach { rule, what, when: self.when(cpu), address, asid, held: None }
    }

    /// The same at an entry of a table, by its address, if the tables of a space lead there.
    pub(super) fn breach_at_entry(
        &self,
        cpu: usize,
        rule: Rule,
        what: &'static str,
        table: TableId,
        index: usize,
    ) -> Breach {
        let place = self.tables.place(table, index);
        let (address, asid) = place
            .map_or((VirtAddr::default(), Asid::RESERVED), |place| (place.address, self.tables.node(place.root).asid));
        self.breach_at(cpu, rule, what, address, asid)
    }

    /// The same about memory, whoever's it is: the address is a physical one.
    pub(super) fn breach_in_memory(&self, cpu: usize, rule: Rule, what: &'static str, address: PhysAddr) -> Breach {
        self.breach_at(cpu, rule, what, VirtAddr::new(address.as_u64()), Asid::RESERVED)
    }
}
