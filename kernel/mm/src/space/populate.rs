//! Populating: the pages of a range are faulted in before anybody touches them, for MADV_POPULATE_READ and MADV_POPULATE_WRITE, for
//! MAP_POPULATE, and for areas that are locked (reference 4.24).

use alloc::sync::Arc;

use mmu::VirtAddr;
use mmu::mutant::{self, Mutant};

use crate::errno::Errno;
use crate::fault::{Access, FaultError};
use crate::memory::Memory;
use crate::space::Space;
use crate::sync;
use crate::vma::{Area, Prot};
use crate::watch;

/// What the pages are to be ready for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Populate {
    /// To be read, where the area says that it may be: it is not enough that this CPU could.
    Readable,
    /// To be written.
    Writable,
    /// For what their area allows, whatever that is: to be written where a write copies or takes a page, so that none has to later, and
    /// to be read where all share the pages, which are not dirtied for nothing.
    AsMapped,
}

impl Populate {
    /// The access that makes pages of an area ready; `None` if the area does not allow it.
    fn access(self, area: &Area) -> Option<Access> {
        let may = |prot| area.prot.contains(prot);
        match self {
            Self::Readable => {
                let may = mutant::or(Mutant::PopulatedAsReadable, may(Prot::READ), !area.prot.is_empty());
                may.then_some(Access::Read)
            }
            Self::Writable => may(Prot::WRITE).then_some(Access::Write),
            Self::AsMapped if area.prot.is_empty() => None,
            Self::AsMapped if may(Prot::WRITE) && !area.backing.is_shared() => Some(Access::Write),
            Self::AsMapped => Some(Access::Read),
        }
    }
}

impl Memory {
    /// Faults in every page of a range, as a program's own accesses would. After each table others have their turn.
    ///
    /// # Errors
    /// `EINTR` if the task that asks is being ended; `ENOMEM` where nothing is mapped or memory is short, `EINVAL` where the access is not
    /// allowed; `EFAULT` and `EHWPOISON` for what can not be read. What lies before is populated.
    pub(crate) fn populate(
        &self,
        space: &Arc<Space>,
        (start, end): (VirtAddr, VirtAddr),
        how: Populate,
    ) -> Result<(), Errno> {
        let mut address = start;
        while address < end {
            let area = space.layout().read().areas.find(address).copied().ok_or(Errno::ENOMEM)?;
            let access = how.access(&area).ok_or(Errno::EINVAL)?;
            let stop = area.end.min(end).min(address.table_end());
            while address < stop {
                match self.populate_page(space, address, access) {
                    Ok(pages) => address = address.add_pages(pages).min(stop),
                    // The areas have changed meanwhile: look again.
                    Err(FaultError::NotMapped | FaultError::Denied) => break,
                    // Whoever watches the page has answered: try again.
                    Err(FaultError::Watched(notice)) if watch::ask(notice) => {}
                    Err(error) => return Err(told(error)),
                }
            }
            if !sync::take_turns() {
                return Err(Errno::EINTR);
            }
        }
        Ok(())
    }
}

/// What the call says of a page that can not be faulted in.
fn told(error: FaultError) -> Errno {
    match error {
        FaultError::OutOfMemory | FaultError::NotMapped => Errno::ENOMEM,
        FaultError::Denied => Errno::EINVAL,
        FaultError::Poisoned(_) => Errno::EHWPOISON,
        FaultError::SwapRead | FaultError::BeyondEnd | FaultError::NoHugePage | FaultError::Watched(_) => Errno::EFAULT,
    }
}
