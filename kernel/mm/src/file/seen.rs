//! What programs see of a file's pages where their tables have nothing: smaps counts those in swap, mincore those in memory (reference
//! 6.2). pagemap does not look here: as on Linux, a page of a file that is swapped out is none to it.

use mmu::VirtAddr;

use super::{Contents, Place};
use crate::memory::Memory;
use crate::space::Space;
use crate::usage::Usage;
use crate::vma::{Area, Prot};

impl Memory {
    /// Sums over an area: what its tables have, and what its file has in swap. The latter is not in proportion to who else maps it, as
    /// on Linux, where the kernel does not know.
    pub fn usage_of(&self, space: &Space, area: &Area) -> Usage {
        let mut usage = self.usage(space, area.start, area.end);
        let Some(file) = area.backing.file().and_then(|id| self.files.get(id)) else { return usage };
        let contents = file.contents();
        let mut swapped = contents.swapped_among(area.index_of(area.start), area.index_of(area.end));
        if swapped > 0 && !area.backing.is_shared() && area.prot.contains(Prot::WRITE) {
            // A copy that the area has hides the file's page.
            self.look(space, area.start, area.end, |address, _| {
                let index = area.index_of(address);
                swapped -= contents.swapped_among(index, index + 1);
            });
        }
        usage.swapped += swapped;
        usage
    }

    /// Whether each page from `start` on, all of which are of this area, is in memory, as mincore tells: mapped, or in the area's file,
    /// or in the swap cache.
    pub fn resident_of(&self, space: &Space, area: &Area, start: VirtAddr, pages: &mut [u8]) {
        pages.fill(0);
        if let Some(file) = area.backing.file().and_then(|id| self.files.get(id)) {
            let contents = file.contents();
            for (index, page) in (area.index_of(start)..).zip(&mut *pages) {
                *page = match contents.find(index).map(|part| part.place_of(index)) {
                    None => 0,
                    Some(Place::Memory(_)) => 1,
                    Some(Place::Swap(entry)) => u8::from(self.swap.is_cached(entry, 1)),
                };
            }
        }
        self.mark_resident(space, start, pages);
    }
}

impl Contents {
    /// How many of the pages `first..end` are in swap.
    fn swapped_among(&self, first: u64, end: u64) -> u64 {
        let (mut index, mut swapped) = (first, 0);
        while let Some(part) = self.first_from(index).and_then(|part| part.piece(index, end)) {
            swapped += if matches!(part.place, Place::Swap(_)) { part.pages as u64 } else { 0 };
            index = part.end();
        }
        swapped
    }
}
