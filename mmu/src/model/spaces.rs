//! TTBR0_EL1: which space a CPU runs, and under which ASID. Rules MS-28 and MS-30.

use super::rule::Rule;
use super::stale::Order;
use super::tables::{NO_TABLE, TableId};
use super::{Judged, Model, one};
use crate::addr::{Asid, PhysAddr, VirtAddr};

impl Model {
    /// TTBR0_EL1 was written.
    pub(crate) fn activate(&mut self, cpu: usize, root: PhysAddr, asid: Asid) -> Judged {
        let relied = self.relies_on_isb(cpu);
        let asid = self.contexts.mask(asid);
        let root = self.table_in(root.frame()).unwrap_or(NO_TABLE);
        let last = self.cpus[cpu].asid;
        if root != NO_TABLE {
            self.check_asid(cpu, root, asid)?;
            self.check_unheld(cpu, root);
            self.tables.node_mut(root).asid = asid;
            self.contexts.enter(asid, root, cpu);
            let Self { stale, cpus, .. } = self;
            stale.may_be_walked_by(cpu, asid, |Order { by, event }| cpus[by].has_ordered(event, by == cpu));
        }
        let when = self.when(cpu);
        let this = &mut self.cpus[cpu];
        (this.root, this.asid, this.needs_isb, this.leaving) = (root, asid, Some(when), Some(last));
        relied
    }

    /// TTBR0_EL1 as it was written last is in force: the tables that it named before are not walked any more.
    pub(super) fn leave_last(&mut self, cpu: usize) {
        let asid = self.cpus[cpu].asid;
        let runs = self.cpus[cpu].root != NO_TABLE;
        if let Some(last) = self.cpus[cpu].leaving.take().filter(|&last| last != asid || !runs) {
            self.contexts.leave(last, cpu);
        }
    }

    /// A space is about to run under an ASID: is that free of another space's translations, and of what this one has had meanwhile?
    fn check_asid(&self, cpu: usize, root: TableId, asid: Asid) -> Judged {
        let (context, last) = (self.contexts.get(asid), self.tables.node(root).asid);
        let runs_elsewhere =
            last != asid && self.contexts.get(last).root == root && self.contexts.get(last).active & !one(cpu) != 0;
        let what = match () {
            () if runs_elsewhere => "a space gets another ASID while a CPU runs it under the last one",
            () if context.holders == 0 || (context.root == root && last == asid) => return Ok(()),
            () => "an ASID is used again while translations of its last space may be held",
        };
        Err(self.breach_at(cpu, Rule::ReusedAsid, what, VirtAddr::default(), asid))
    }

    /// A space is about to run: what was taken out of it, and is held by nobody, is ordered before its first walk, or nobody knows what
    /// that finds (A4).
    fn check_unheld(&mut self, cpu: usize, root: TableId) {
        let changed = self.tables.node(root).changed_unheld;
        let mut by_cpu = self.cpus.iter().zip(changed).enumerate();
        if by_cpu.any(|(by, (this, event))| !this.has_ordered(event, by == cpu)) {
            self.lose("a space runs before what was taken out of its tables is ordered by a DSB");
        }
    }

    /// Instructions in memory were invalidated, or cleaned to where fetches find them.
    pub(crate) fn instructions_changed(&mut self, cpu: usize) -> Judged {
        self.cpus[cpu].needs_isb = Some(self.when(cpu));
        Ok(())
    }
}
