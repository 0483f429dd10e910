//! Page faults: from an access that the tables do not allow to one that they do, or to an error (reference 4.29).
//!
//! Every way through has the same shape: look at the entry under its table's lock; get what is needed with no lock of a table held;
//! lock again, and go on only if the entry is as it was. Whatever has changed meanwhile, the fault begins anew. The areas stay
//! locked for reading throughout, so that the area looked at is the area mapped into.

mod anonymous;
mod copy;
mod file;
mod huge;
mod swap_in;

use alloc::sync::Arc;
use core::fmt;

use mmu::mutant::{self, Mutant};
use mmu::{Descriptor, Fact, Operation, VirtAddr};

pub(crate) use anonymous::{descending, map_fresh};
pub use mmu::Access;

use crate::errno::Errno;
use crate::memory::Memory;
use crate::pgtable::TableGuard;
use crate::rmap;
use crate::space::{Layout, Space};
use crate::swap::SwapEntry;
use crate::tlb;
use crate::vma::{Area, AreaFlags, Prot};
use crate::watch::Notice;

/// Whether an area allows an access. On arm64 writable and executable memory can be read.
fn is_allowed(access: Access, area: &Area) -> bool {
    match access {
        Access::Read => !area.prot.is_empty(),
        Access::Write => area.prot.contains(Prot::WRITE),
        Access::Execute => area.prot.contains(Prot::EXECUTE),
    }
}

/// Why an access can not be allowed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FaultError {
    /// No area has the address: SIGSEGV with SEGV_MAPERR.
    NotMapped,
    /// The area does not allow it: SIGSEGV with SEGV_ACCERR.
    Denied,
    /// There is no memory for it.
    OutOfMemory,
    /// The swap device does not give the page back: SIGBUS.
    SwapRead,
    /// The file ends before it: SIGBUS with BUS_ADRERR.
    BeyondEnd,
    /// There is no huge page for it: SIGBUS.
    NoHugePage,
    /// Its memory is bad: SIGBUS, with log2 of the bytes that are lost.
    Poisoned(u32),
    /// The area's monitor says what is to become of the access: wait for it, and try again.
    Watched(Notice),
}

impl fmt::Display for FaultError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::NotMapped => "nothing is mapped there",
            Self::Denied => "the mapping does not allow it",
            Self::OutOfMemory => "out of memory",
            Self::SwapRead => "the swap device failed to give the page back",
            Self::BeyondEnd => "the file ends before it",
            Self::NoHugePage => "no huge page is free",
            Self::Poisoned(_) => "the memory that was there is bad",
            Self::Watched(_) => "whoever watches the memory has not answered",
        })
    }
}

impl core::error::Error for FaultError {}

impl From<Errno> for FaultError {
    /// On the way of a fault only allocations return error numbers.
    fn from(_: Errno) -> Self {
        Self::OutOfMemory
    }
}

/// Pages that a fault which finds no memory tries to get back before it begins anew.
const SHRINK_BATCH: usize = 32;

/// How far a fault came.
enum Outcome {
    /// The access will succeed.
    Resolved,
    /// Something has changed, or was prepared: begin anew.
    Again,
    /// The area needs an anon_vma first.
    NeedsAnonVma,
}

type Handled = Result<Outcome, FaultError>;

/// A fault under way, in an area that stays what it is.
struct Fault<'a> {
    memory: &'a Memory,
    space: &'a Space,
    area: &'a Area,
    /// The page.
    address: VirtAddr,
    access: Access,
    /// Whether the page must be the space's alone afterwards, though it is only read: somebody is about to remember where it is.
    unshare: bool,
}

impl Memory {
    /// Makes an access possible that a program, or the kernel for it, tried in vain.
    ///
    /// # Errors
    /// If the program must not do that, or memory or the swap device fail.
    pub fn fault(&self, space: &Arc<Space>, address: VirtAddr, access: Access) -> Result<(), FaultError> {
        self.resolve(space, address, access, false)
    }

    /// Makes a page readable that is the space's alone, with a copy if need be (Linux's FAULT_FLAG_UNSHARE).
    pub(crate) fn unshare(&self, space: &Arc<Space>, address: VirtAddr) -> Result<(), FaultError> {
        self.resolve(space, address, Access::Read, true)
    }

    fn resolve(&self, space: &Arc<Space>, address: VirtAddr, access: Access, unshare: bool) -> Result<(), FaultError> {
        let _underway = self.begin(Operation::Fault);
        let address = address.page();
        loop {
            let layout = space.layout().read();
            let area = layout.areas.find(address).ok_or(FaultError::NotMapped)?;
            if !is_allowed(access, area) {
                return Err(FaultError::Denied);
            }
            let fault = Fault { memory: self, space, area, address, access, unshare };
            match fault.handle() {
                Ok(Outcome::Resolved) => return Ok(()),
                Ok(Outcome::Again) => {}
                Err(FaultError::OutOfMemory) if self.shrink_deferred_splits(SHRINK_BATCH) > 0 => {}
                Err(error) => return Err(error),
                Ok(Outcome::NeedsAnonVma) => {
                    drop(layout);
                    self.give_anon_vma(space, &mut space.layout().write(), address)?;
                }
            }
        }
    }

    /// Brings a page back that is swapped out, if it still is, whatever its area allows. The areas are locked for reading.
    ///
    /// # Errors
    /// `ENOMEM` if there is no memory for it, `EIO` if the device does not give it back.
    pub(crate) fn bring_back(&self, space: &Space, area: &Area, address: VirtAddr) -> Result<(), Errno> {
        let _underway = self.begin(Operation::Fault);
        let fault = Fault { memory: self, space, area, address, access: Access::Read, unshare: false };
        let Some(entry) = space.lock_table(self, address).map(|table| table.get(table.slot(address))) else {
            return Ok(());
        };
        if SwapEntry::from_descriptor(entry).is_none() {
            return Ok(());
        }
        match fault.swap_in(entry) {
            Ok(Outcome::NeedsAnonVma) => {
                self.note_defect("an area without an anon_vma has a swap entry");
                Err(Errno::EIO)
            }
            Ok(_) => Ok(()),
            Err(FaultError::SwapRead) => Err(Errno::EIO),
            Err(_) => Err(Errno::ENOMEM),
        }
    }

    /// Faults the page in unless an access needs no fault. Returns how many pages from it on need none any more: at least one.
    pub(crate) fn populate_page(
        &self,
        space: &Arc<Space>,
        address: VirtAddr,
        access: Access,
    ) -> Result<usize, FaultError> {
        let _underway = self.begin(Operation::Fault);
        if let Some(size) = self.huge_size_at(space, address) {
            self.fault(space, address, access)?;
            return Ok(size.pages() - address.page_number() as usize % size.pages());
        }
        let ready = |address: VirtAddr| {
            let table = space.lock_table(self, address)?;
            let slot = table.slot(address);
            let entry = table.get(slot);
            let fits = entry.is_valid() && (access != Access::Write || entry.is_writable());
            fits.then(|| table.batch_hint(slot, entry))
        };
        if let Some(pages) = ready(address) {
            return Ok(pages);
        }
        self.fault(space, address, access)?;
        Ok(ready(address).unwrap_or(1))
    }

    /// Gives the area at `address` an anon_vma: that of a neighbour which it could be merged with but for its protection, so that it can
    /// be when that changes; or a new one.
    pub(crate) fn give_anon_vma(
        &self,
        space: &Arc<Space>,
        layout: &mut Layout,
        address: VirtAddr,
    ) -> Result<(), FaultError> {
        let Some(area) = layout.areas.find(address).filter(|area| area.anon.is_none()).copied() else { return Ok(()) };
        let before = layout.areas.last_before(area.start).filter(|before| before.continues_in(&area));
        let after = layout.areas.first_from(area.end).filter(|after| area.continues_in(after));
        let shared = before.and_then(|area| area.anon).or(after.and_then(|area| area.anon));
        let anon = match shared {
            Some(anon) => anon,
            None => rmap::create(self)?,
        };
        let change = layout.areas.plan_change(&area, area.start, area.end, |area| area.anon = Some(anon));
        Ok(self.apply(space, layout, &change)?)
    }
}

impl<'a> Fault<'a> {
    fn handle(&self) -> Handled {
        if let Some(size) = self.area.huge() {
            return self.huge(size);
        }
        let Some(table) = self.space.lock_table(self.memory, self.address) else {
            return self.first_touch(Descriptor::NONE);
        };
        let entry = table.get(table.slot(self.address));
        if entry.is_absent() {
            drop(table);
            self.first_touch(entry)
        } else if entry.is_device_exclusive() {
            self.take_back(&table, entry)
        } else if !entry.is_present() {
            drop(table);
            self.swap_in(entry)
        } else if !entry.is_valid() {
            // No access at all, in an area that allows some: protections change under the areas' lock, so this can not be.
            Err(FaultError::Denied)
        } else if self.access == Access::Write && self.is_watched(entry) {
            self.ask_monitor(true)
        } else if (self.access == Access::Write && !entry.is_writable()) || (self.unshare && self.is_shared(entry)) {
            self.take_alone(table, entry)
        } else if mutant::is(Mutant::SpuriousIsFatal) && entry.is_young() {
            Err(FaultError::Denied)
        } else {
            self.touch(&table, entry);
            Ok(Outcome::Resolved)
        }
    }

    /// No page is there, as `found` says.
    fn first_touch(&self, found: Descriptor) -> Handled {
        match self.area.backing.file() {
            Some(file) => self.file(file, found),
            None if self.is_asked_first() => self.ask_monitor(false),
            None => self.anonymous(),
        }
    }

    /// Whether the area's monitor fills what is missing.
    fn is_asked_first(&self) -> bool {
        mutant::or(Mutant::MissingNotTold, self.area.flags.contains(AreaFlags::UFFD_MISSING), false)
    }

    /// A device has the page to itself: it is the program's again.
    fn take_back(&self, table: &TableGuard<'_>, entry: Descriptor) -> Handled {
        let folio = self.memory.frames.folio_of(entry.frame());
        let mut protection = self.area.protection();
        protection.write &= folio.is_exclusive(folio.index_of(entry.frame()));
        table.set(table.slot(self.address), Descriptor::user_page(entry.frame(), protection));
        Ok(Outcome::Again)
    }

    /// The entry allows the access. Either this CPU leaves the access flag or the dirty state to software, or the fault is spurious: an
    /// unfold had taken the entry away for a moment, or this CPU's TLB has an older one.
    fn touch(&self, table: &TableGuard<'_>, entry: Descriptor) {
        let young = entry.make_young();
        let wanted = if self.access == Access::Write { young.make_dirty() } else { young };
        if table.set_access_flags(table.slot(self.address), wanted, true) {
            self.memory.count().faults_flags.add(1);
        } else {
            self.memory.count().faults_spurious.add(1);
            tlb::flush_local(self.memory, self.space, self.address, 1);
        }
        self.note_resolved(table);
    }

    /// Whether a write to what `entry` maps is the monitor's to allow.
    fn is_watched(&self, entry: Descriptor) -> bool {
        let is_watched = entry.is_uffd() && self.area.flags.contains(AreaFlags::UFFD_WP);
        mutant::or(Mutant::WatchedWriteAllowed, is_watched, false)
    }

    /// Has the area's monitor asked about the page, which is protected, or else missing.
    fn ask_monitor(&self, is_protected: bool) -> Handled {
        let monitor = self.area.monitor.ok_or(FaultError::Denied)?;
        self.memory.count().faults_watched.add(1);
        let address = self.area.huge().map_or(self.address, |size| self.address.align_down(size.bytes()));
        let access = self.access;
        Err(FaultError::Watched(Notice { monitor, address, access, is_protected }))
    }

    /// Says that the access will succeed by its entry, which the table's lock keeps as it is.
    fn note_resolved(&self, table: &TableGuard<'_>) {
        if !is_allowed(self.access, self.area) {
            return;
        }
        self.memory.door.fact(Fact::Resolved(table.slot(self.address), self.access));
    }

    /// The table for the address, allocated if need be, and locked.
    fn lock_table(&self) -> Result<TableGuard<'a>, FaultError> {
        Ok(self.space.lock_new_table(self.memory, self.address)?)
    }
}
