//! Address spaces: the areas, the translation tables and the accounts of one program.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};

use mmu::mutant::{self, Mutant};
use mmu::{Asid, Cause, Operation, Table, VirtAddr};

use crate::errno::Errno;
use crate::folio::Folio;
use crate::memory::Memory;
use crate::pgtable::{TableGuard, Tables};
use crate::sync::{Rank, RwLock};
use crate::tlb::{Gather, PendingFlush};
use crate::vma::{AreaFlags, Areas};

pub use advise::advice;
pub use asid::Asids;
pub(crate) use populate::Populate;

mod advise;
mod asid;
mod populate;

/// Which addresses a program has, and where its heap ends.
#[derive(Debug)]
pub struct Layout {
    /// The areas.
    pub areas: Areas,
    /// Where the heap starts; 0 before a program is loaded.
    pub brk_start: u64,
    /// Where the heap ends, to the byte.
    pub brk: u64,
    /// What new areas are beside what is asked of them (mlockall).
    pub future: AreaFlags,
}

/// One address space. Holding an `Arc` keeps the value, not the memory: that goes with
/// [`destroy_space`](Memory::destroy_space).
#[derive(Debug)]
pub struct Space {
    id: u64,
    context: asid::Context,
    /// The translation tables.
    pub tables: Tables,
    /// What reclaim has deferred.
    pub tlb: PendingFlush,
    layout: RwLock<Layout>,
    anon_pages: AtomicI64,
    file_pages: AtomicI64,
    peak: AtomicI64,
    swap_entries: AtomicI64,
    huge_pages: AtomicI64,
    on_swap_list: AtomicBool,
    /// Batches that have emptied entries here and not flushed them yet.
    pub(crate) discarding: AtomicU32,
}

impl Space {
    /// A number that no other space of the machine has.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The identifier its translations carry. Before it first runs, [`Asid::RESERVED`], under which no TLB holds anything.
    #[inline(always)]
    pub fn asid(&self) -> Asid {
        self.context.asid()
    }

    /// Its areas and heap.
    pub fn layout(&self) -> &RwLock<Layout> {
        &self.layout
    }

    /// Locks the last-level table that translates `address`; `None` if there is none.
    #[inline]
    pub fn lock_table<'a>(&'a self, memory: &'a Memory, address: VirtAddr) -> Option<TableGuard<'a>> {
        TableGuard::lock(memory, self, address)
    }

    /// The same, with the table allocated where there is none.
    ///
    /// # Errors
    /// `ENOMEM` if a table page can not be had.
    pub(crate) fn lock_new_table<'a>(&'a self, memory: &'a Memory, address: VirtAddr) -> Result<TableGuard<'a>, Errno> {
        loop {
            if let Some(table) = self.lock_table(memory, address) {
                return Ok(table);
            }
            self.tables.ensure(memory, address)?;
        }
    }

    /// Present pages of anonymous memory (Linux's MM_ANONPAGES).
    pub fn anon_pages(&self) -> i64 {
        self.anon_pages.load(Ordering::Relaxed)
    }

    /// Swap entries (MM_SWAPENTS).
    pub fn swap_entries(&self) -> i64 {
        self.swap_entries.load(Ordering::Relaxed)
    }

    /// Pages of 4 KiB that huge pages have, which are not among the present ones (Linux's `hugetlb_usage`).
    pub fn huge_pages(&self) -> i64 {
        self.huge_pages.load(Ordering::Relaxed)
    }

    /// Changes the count of pages that huge pages have.
    pub(crate) fn add_huge(&self, pages: i64) {
        self.huge_pages.fetch_add(pages, Ordering::Relaxed);
    }

    /// Present pages of memory files (MM_SHMEMPAGES).
    pub fn file_pages(&self) -> i64 {
        self.file_pages.load(Ordering::Relaxed)
    }

    /// Changes the count of present pages of memory files.
    #[inline]
    pub fn add_file(&self, pages: i64) {
        self.note_peak(pages);
        self.file_pages.fetch_add(pages, Ordering::Relaxed);
    }

    /// Changes the count that a folio's pages belong to.
    #[inline]
    pub(crate) fn add_pages_of(&self, folio: Folio<'_>, pages: i64) {
        if folio.is_file() { self.add_file(pages) } else { self.add_anon(pages) }
    }

    /// Changes the count of present pages of anonymous memory.
    #[inline]
    pub fn add_anon(&self, pages: i64) {
        self.note_peak(pages);
        self.anon_pages.fetch_add(pages, Ordering::Relaxed);
    }

    /// The most pages of anonymous memory and memory files that were present at a time (VmHWM).
    pub fn peak(&self) -> i64 {
        self.peak.load(Ordering::Relaxed).max(self.anon_pages() + self.file_pages())
    }

    /// The mark is brought up to date where pages go, not where they come, which is where costs matter (reference 4.25).
    #[inline]
    fn note_peak(&self, pages: i64) {
        if pages < 0 {
            let present = self.anon_pages() + self.file_pages();
            if present > self.peak.load(Ordering::Relaxed) {
                self.peak.fetch_max(present, Ordering::Relaxed);
            }
        }
    }

    /// Changes the count of swap entries.
    #[inline]
    pub fn add_swap(&self, entries: i64) {
        self.swap_entries.fetch_add(entries, Ordering::Relaxed);
    }

    /// Says that the tables may hold swap entries from now on, so that swapoff must look here. Before the first one is written.
    #[inline]
    pub fn prepare_for_swap(&self) {
        if mutant::or(Mutant::NotListed, !self.on_swap_list.load(Ordering::Relaxed), false) {
            self.on_swap_list.store(true, Ordering::Release);
        }
    }

    /// Whether the tables may hold swap entries.
    pub fn may_swap(&self) -> bool {
        self.on_swap_list.load(Ordering::Acquire)
    }
}

/// The number of the next space. Numbers only tell spaces apart in reports, so all machines may share it.
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

impl Memory {
    /// An empty address space.
    ///
    /// # Errors
    /// `ENOMEM` if there is no frame for its first table.
    pub fn create_space(&self) -> Result<Arc<Space>, Errno> {
        let layout =
            Layout { areas: Areas::for_memory(self.frames.total()), brk_start: 0, brk: 0, future: AreaFlags::empty() };
        let space = Arc::new(Space {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            context: asid::Context::new(),
            tables: Tables::new(self)?,
            tlb: PendingFlush::new(),
            layout: RwLock::new(Rank::Areas, layout),
            anon_pages: AtomicI64::new(0),
            file_pages: AtomicI64::new(0),
            peak: AtomicI64::new(0),
            swap_entries: AtomicI64::new(0),
            huge_pages: AtomicI64::new(0),
            on_swap_list: AtomicBool::new(false),
            discarding: AtomicU32::new(0),
        });
        if let Err(error) = self.spaces.enter(&space) {
            self.destroy_space(&space);
            return Err(error);
        }
        Ok(space)
    }

    /// Makes this CPU run in `space`.
    pub fn activate(&self, space: &Space) {
        self.asids.switch_to(self, &space.context, space.tables.root());
    }

    /// Makes this CPU run in no space: user addresses translate to nothing.
    pub fn deactivate(&self) {
        // A page of zeros is an empty table.
        self.asids.leave(self, Table::new(self.zero_frame().start(), 0));
    }

    /// How often ASIDs ran out and a new generation of them began.
    pub fn asid_rollovers(&self) -> u64 {
        self.asids.rollovers()
    }

    /// Gives back all that a space has: its pages, swap slots and tables. It may not be active on any CPU, and nobody may use it
    /// afterwards; one flush of its ASID is all the TLB sees of it.
    pub fn destroy_space(&self, space: &Arc<Space>) {
        debug_assert!(!self.asids.is_running(&space.context), "a space was destroyed while a CPU runs in it");
        let _underway = self.begin(Operation::Exit);
        self.spaces.leave(space);
        let mut gather = Gather::new(self, space, Cause::Zap);
        let end = VirtAddr::new(mmu::USER_END);
        self.remove_areas(space, &mut space.layout.write(), (VirtAddr::new(0), end), &mut gather);
        gather.table(space.tables.root(), VirtAddr::new(0), end);
        gather.finish_space();
    }
}
