//! TTBR0_EL1: which space a CPU runs, and under which ASID. Rules MS-28 and MS-30.

use super::rule::Rule;
use super::tables::{NO_TABLE, TableId};
use super::{Judged, Model};
use crate::addr::{Asid, PhysAddr, VirtAddr};

impl Model {
    /// TTBR0_EL1 was written.
    pub(crate) fn activate(&mut self, cpu: usize, root: PhysAddr, asid: Asid) -> Judged {
        let relied = self.relies_on_isb(cpu);
        let asid = self.contexts.mask(asid);
        let root = self.table_in(root.frame()).unwrap_or(NO_TABLE);
        self.contexts.leave(self.cpus[cpu].asid, cpu);
        if root != NO_TABLE {
            self.check_asid(cpu, root, asid)?;
            self.tables.node_mut(root).asid = asid;
            self.contexts.enter(asid, root, cpu);
            let Self { stale, cpus, .. } = self;
            stale.may_be_walked_by(cpu, asid, |stored| stored.event <= cpus[usize::from(stored.cpu)].ordered);
        }
        let when = self.when(cpu);
        let this = &mut self.cpus[cpu];
        (this.root, this.asid, this.needs_isb) = (root, asid, Some(when));
        relied
    }

    /// A space is about to run under an ASID: is that free of another space's translations, and of what this one has had meanwhile?
    fn check_asid(&self, cpu: usize, root: TableId, asid: Asid) -> Judged {
        let (context, last) = (self.contexts.get(asid), self.tables.node(root).asid);
        let runs_elsewhere =
            last != asid && self.contexts.get(last).root == root && self.contexts.get(last).active != 0;
        let what = match () {
            () if runs_elsewhere => "a space gets another ASID while a CPU runs it under the last one",
            () if context.holders == 0 || (context.root == root && last == asid) => return Ok(()),
            () => "an ASID is used again while translations of its last space may be held",
        };
        Err(self.breach_at(cpu, Rule::ReusedAsid, what, VirtAddr::default(), asid))
    }

    /// Instructions in memory were invalidated, or cleaned to where fetches find them.
    pub(crate) fn instructions_changed(&mut self, cpu: usize) -> Judged {
        self.cpus[cpu].needs_isb = Some(self.when(cpu));
        Ok(())
    }
}
