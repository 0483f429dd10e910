//! What the tables of a range hold, for programs that look (reference 6.2): sums, and an answer for each page. Looking changes nothing,
//! and completes nothing that reclaim has deferred; what it reads of tables is counted like any other read.

use core::ops::AddAssign;

use mmu::{Descriptor, TABLE_SPAN, VirtAddr};

use crate::folio::Folio;
use crate::frame::HugeSize;
use crate::hugetlb::HugeSlot;
use crate::memory::Memory;
use crate::space::Space;
use crate::swap::{SwapEntry, Swapped, bad_frame};
use crate::walk::for_each_table_as_is;

/// What one entry says.
#[derive(Clone, Copy, Debug)]
pub enum Look<'m> {
    /// It maps a page of a folio.
    Page(Descriptor, Folio<'m>),
    /// It maps a part of a huge page.
    Huge(Descriptor, Folio<'m>),
    /// It maps the shared page of zeros.
    Zero(Descriptor),
    /// Its page is swapped out.
    Swapped(Swapped),
    /// No page is there, and userfaultfd protects it.
    Marker(Descriptor),
    /// The memory that was there is bad.
    Bad(Descriptor),
}

/// Sums over a range: in pages, but for those in proportion.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Usage {
    /// Mapped.
    pub resident: u64,
    /// Mapped, each divided by how often it is: in bytes, times 4096.
    pub proportional: u64,
    /// Of those, dirty ones.
    pub proportional_dirty: u64,
    /// Clean, and mapped more than once.
    pub shared_clean: u64,
    /// Dirty, and mapped more than once.
    pub shared_dirty: u64,
    /// Clean, and mapped once.
    pub private_clean: u64,
    /// Dirty, and mapped once.
    pub private_dirty: u64,
    /// Touched since somebody looked.
    pub referenced: u64,
    /// Anonymous.
    pub anonymous: u64,
    /// Given up by MADV_FREE and not written since.
    pub lazily_freed: u64,
    /// Parts of huge pages, which are not among the mapped ones, that are mapped more than once, and once.
    pub huge_shared: u64,
    /// Those that are mapped once.
    pub huge_private: u64,
    /// Swapped out.
    pub swapped: u64,
    /// Swapped out, each divided by how many entries name it: in bytes, times 4096.
    pub swapped_proportional: u64,
}

/// A page in proportion: its bytes, times 4096 so that a part of it is still exact enough.
const WHOLE: u64 = mmu::PAGE_SIZE << 12;

impl Usage {
    fn add(&mut self, memory: &Memory, look: Look<'_>) {
        match look {
            // As on Linux, the page of zeros is nobody's.
            Look::Zero(_) | Look::Marker(_) | Look::Bad(_) => {}
            Look::Page(entry, folio) => self.add_page(entry, folio),
            Look::Huge(_, folio) if folio.mapcount() > 1 => self.huge_shared += 1,
            Look::Huge(..) => self.huge_private += 1,
            Look::Swapped(Swapped { entry, .. }) => {
                self.swapped += 1;
                self.swapped_proportional += WHOLE / memory.swap.count(entry).max(1) as u64;
            }
        }
    }

    fn add_page(&mut self, entry: Descriptor, folio: Folio<'_>) {
        let maps = folio.page_maps(folio.index_of(entry.frame())).max(1) as u64;
        let is_dirty = entry.is_dirty() || folio.is_dirty();
        self.resident += 1;
        self.anonymous += u64::from(!folio.is_file());
        self.proportional += WHOLE / maps;
        self.proportional_dirty += if is_dirty { WHOLE / maps } else { 0 };
        self.referenced += u64::from(entry.is_young() || folio.is_referenced());
        self.lazily_freed += u64::from(!folio.is_swap_backed() && !is_dirty);
        let sum = match (maps > 1, is_dirty) {
            (true, true) => &mut self.shared_dirty,
            (true, false) => &mut self.shared_clean,
            (false, true) => &mut self.private_dirty,
            (false, false) => &mut self.private_clean,
        };
        *sum += 1;
    }
}

impl AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.resident += other.resident;
        self.proportional += other.proportional;
        self.proportional_dirty += other.proportional_dirty;
        self.shared_clean += other.shared_clean;
        self.shared_dirty += other.shared_dirty;
        self.private_clean += other.private_clean;
        self.private_dirty += other.private_dirty;
        self.referenced += other.referenced;
        self.anonymous += other.anonymous;
        self.lazily_freed += other.lazily_freed;
        self.huge_shared += other.huge_shared;
        self.huge_private += other.huge_private;
        self.swapped += other.swapped;
        self.swapped_proportional += other.swapped_proportional;
    }
}

impl Memory {
    /// Sums over `start..end`.
    pub fn usage(&self, space: &Space, start: VirtAddr, end: VirtAddr) -> Usage {
        let mut usage = Usage::default();
        self.look(space, start, end, |_, look| usage.add(self, look));
        usage
    }

    /// Shows `see` every entry of `start..end` that holds something, with its address. It is called under the table's lock.
    pub fn look<'m>(&'m self, space: &Space, start: VirtAddr, end: VirtAddr, mut see: impl FnMut(VirtAddr, Look<'m>)) {
        self.look_into_blocks(space, (start, end), &mut see);
        for_each_table_as_is(self, space, (start, end), |table, mut address, stop| {
            while address < stop {
                let entry = table.get(table.slot(address));
                if let Some(look) = self.look_at(entry) {
                    see(address, look);
                }
                address = address.add_pages(1);
            }
            stop
        });
    }

    /// The same for what no last-level table maps.
    fn look_into_blocks<'m>(
        &'m self,
        space: &Space,
        (start, end): (VirtAddr, VirtAddr),
        see: &mut impl FnMut(VirtAddr, Look<'m>),
    ) {
        let mut block = start.align_down(TABLE_SPAN);
        while block < end {
            let next = block.add_bytes(TABLE_SPAN);
            let slot = HugeSlot::lock(self, space, HugeSize::Block, block);
            let entry = slot.as_ref().map_or(Descriptor::NONE, HugeSlot::get);
            let is_block = entry.is_present() && !entry.is_table();
            for page in start.max(block).page_number()..end.min(next).page_number() {
                let inside = (page - block.page_number()) as usize;
                if is_block {
                    let folio = self.frames.folio_of(entry.frame());
                    see(block.add_pages(inside), Look::Huge(entry.advance(inside), folio));
                } else if let Some(look) = self.look_at(entry).filter(|_| !entry.is_present()) {
                    see(block.add_pages(inside), look);
                }
            }
            block = next;
        }
    }

    fn look_at(&self, entry: Descriptor) -> Option<Look<'_>> {
        if entry.is_none() {
            None
        } else if entry.is_marker() {
            Some(Look::Marker(entry))
        } else if bad_frame(entry).is_some() {
            Some(Look::Bad(entry))
        } else if !entry.is_present() {
            SwapEntry::from_descriptor(entry).map(Look::Swapped)
        } else if entry.is_special() {
            Some(Look::Zero(entry))
        } else {
            let folio = self.frames.folio_of(entry.frame());
            Some(if folio.is_huge() { Look::Huge(entry, folio) } else { Look::Page(entry, folio) })
        }
    }

    /// What `/proc/PID/pagemap` says of the pages from `start` on, a word each.
    pub fn pagemap(&self, space: &Space, start: VirtAddr, words: &mut [u64]) {
        words.fill(0);
        let end = start.add_pages(words.len());
        self.look(space, start, end, |address, look| {
            let index = (address.page_number() - start.page_number()) as usize;
            words[index] = pagemap_word(look);
        });
    }

    /// Says of each page from `start` on for which the table has something whether it is in memory.
    pub(crate) fn mark_resident(&self, space: &Space, start: VirtAddr, pages: &mut [u8]) {
        let end = start.add_pages(pages.len());
        self.look(space, start, end, |address, look| {
            let index = (address.page_number() - start.page_number()) as usize;
            pages[index] = match look {
                Look::Swapped(Swapped { entry, .. }) => u8::from(self.swap.is_cached(entry, 1)),
                // As on Linux, bad memory is not on its way from anywhere.
                Look::Page(..) | Look::Huge(..) | Look::Zero(_) | Look::Bad(_) => 1,
                Look::Marker(_) => 0,
            };
        });
    }
}

/// Bits of a word of pagemap.
mod bit {
    pub const EXCLUSIVE: u64 = 1 << 56;
    pub const UFFD_WP: u64 = 1 << 57;
    pub const FILE: u64 = 1 << 61;
    pub const SWAPPED: u64 = 1 << 62;
    pub const PRESENT: u64 = 1 << 63;
    /// Where the slot of a swapped page begins, above the device.
    pub const SLOT: u32 = 5;
}

fn pagemap_word(look: Look<'_>) -> u64 {
    let flag = |condition: bool, bit: u64| if condition { bit } else { 0 };
    match look {
        Look::Page(entry, folio) => {
            let alone = folio.page_maps(folio.index_of(entry.frame())) == 1;
            let flags = flag(alone, bit::EXCLUSIVE) | flag(entry.is_uffd(), bit::UFFD_WP);
            bit::PRESENT | flags | flag(folio.is_file(), bit::FILE) | entry.frame().as_u64()
        }
        Look::Huge(entry, folio) => {
            let flags = flag(folio.mapcount() == 1, bit::EXCLUSIVE) | flag(entry.is_uffd(), bit::UFFD_WP);
            bit::PRESENT | flags | entry.frame().as_u64()
        }
        Look::Zero(entry) => bit::PRESENT | flag(entry.is_uffd(), bit::UFFD_WP) | entry.frame().as_u64(),
        Look::Swapped(Swapped { entry, uffd, .. }) => {
            bit::SWAPPED | flag(uffd, bit::UFFD_WP) | u64::from(entry.slot) << bit::SLOT | u64::from(entry.device)
        }
        Look::Marker(entry) => bit::UFFD_WP | other_word(entry),
        Look::Bad(entry) => other_word(entry),
    }
}

/// What Linux says of an entry that is no page: swapped out, to a device and a slot that stand for something else.
const fn other_word(entry: Descriptor) -> u64 {
    let (kind, offset) = (entry.bits() >> 6 & 0x1f, entry.bits() >> 12);
    bit::SWAPPED | offset << bit::SLOT | kind
}
