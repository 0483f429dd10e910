//! Ranges of a file: filled before they are needed, or made a hole (fallocate, MADV_REMOVE), and searched for what is there (SEEK_DATA,
//! SEEK_HOLE).

use mmu::mutant::{self, Mutant};
use mmu::{Cause, Operation, PAGE_SHIFT, PAGE_SIZE, VirtAddr};

use super::contents::Found;
use super::{Contents, MAX_SIZE, OpenFile};
use crate::errno::Errno;
use crate::memory::Memory;
use crate::rmap::Extent;
use crate::sync::take_turns;
use crate::tlb::Gather;
use crate::usage::Look;
use crate::zap;

impl OpenFile<'_> {
    /// Fills the holes of a range with pages of zeros, and has the file reach to its end, unless `keep_size` (fallocate, mode 0 and
    /// FALLOC_FL_KEEP_SIZE). After each page others have their turn.
    ///
    /// # Errors
    /// `EFBIG` beyond [`MAX_SIZE`]; `EPERM` if the file is sealed against that size; `ENOMEM`; `EINTR` if the task that asks is being
    /// ended. What was filled by then stays.
    pub fn fill(&self, offset: u64, length: u64, keep_size: bool) -> Result<(), Errno> {
        let end = end_of(offset, length)?;
        let contents = self.contents();
        contents.check_size(end.max(contents.size()))?;
        drop(contents);
        let mut index = offset >> PAGE_SHIFT;
        while index < end.div_ceil(PAGE_SIZE) {
            let part = self.contents().find(index);
            match part {
                Some(part) => index = part.end(),
                None if !take_turns() => return Err(Errno::EINTR),
                None => self.fill_hole(self.memory(), index, self.orders(), end)?,
            }
        }
        if !keep_size {
            self.contents_mut().grow_to(end);
        }
        Ok(())
    }

    /// Makes a range a hole: its pages are taken out of every area, but copies in private ones stay; what is left of a page becomes zeros
    /// (fallocate with FALLOC_FL_PUNCH_HOLE). Large folios that lie in it in part keep their pages, which become zeros.
    ///
    /// # Errors
    /// `EFBIG` beyond [`MAX_SIZE`]; `EPERM` if the file is sealed against writes; `EIO` or `ENOMEM` where a page at its borders is in
    /// swap and does not come back: then nothing has changed. `ENOMEM` also where there is no room to remember the hole: then a part of
    /// it is made.
    pub fn punch(&self, offset: u64, length: u64) -> Result<(), Errno> {
        let end = end_of(offset, length)?;
        let _underway = self.memory().begin(Operation::Unmap);
        let mut contents = self.lock_with_borders(&[offset, end])?;
        contents.check_write(0)?;
        let (first, last) = (offset.div_ceil(PAGE_SIZE), end >> PAGE_SHIFT);
        if first < last {
            self.unmap_of_file(first, (last - first) as usize);
            contents.take_out(self.memory(), (first, last))?;
        }
        contents.clear(self.memory(), offset, end);
        Ok(())
    }

    /// Takes pages of the file out of every area. The contents are locked, so no fault brings one back.
    fn unmap_of_file(&self, first: u64, pages: usize) {
        let memory = self.memory();
        let Some(areas) = memory.anon.get(self.areas()) else { return };
        for (extent, range) in areas.extents().at(first, pages) {
            let mut gather = Gather::new(memory, &extent.space, Cause::Zap);
            if mutant::or(Mutant::PunchTakesCopies, extent.backing.is_shared(), true) {
                zap::zap_range(memory, &extent.space, (zap::Areas::Shared, extent.rest()), range, &mut gather);
            } else {
                zap_but_copies(memory, extent, range, &mut gather);
            }
            gather.finish();
        }
    }

    /// The first byte from `offset` on that is data, or that is in a hole; the end of the file counts as a hole.
    ///
    /// # Errors
    /// `ENXIO` if there is none, or the file ends before `offset`.
    pub fn seek(&self, offset: u64, data: bool) -> Result<u64, Errno> {
        let contents = self.contents();
        let size = contents.size();
        let mut at = offset;
        while at < size {
            let index = at >> PAGE_SHIFT;
            let next = contents.first_from(index);
            match next.filter(|part| part.first <= index) {
                Some(_) if data => return Ok(at),
                Some(part) => at = part.end() << PAGE_SHIFT,
                None if !data => return Ok(at),
                None => at = next.map_or(size, |part| part.first << PAGE_SHIFT),
            }
        }
        if data || offset >= size { Err(Errno::ENXIO) } else { Ok(size) }
    }
}

impl Contents {
    /// Makes zeros of the bytes of a range that are in memory; those of whole pages in swap are out by now.
    fn clear(&self, memory: &Memory, offset: u64, end: u64) {
        let mut at = offset;
        while at < end {
            let stop = end.min((at & !(PAGE_SIZE - 1)) + PAGE_SIZE);
            match self.place(at) {
                Found::Memory(place) => {
                    memory.door.write_bytes(place, &[0; PAGE_SIZE as usize][..(stop - at) as usize]);
                    at = stop;
                }
                Found::Swap => at = stop,
                // Nothing is found up to the next run, however far that is.
                Found::Hole => {
                    let next = self.first_from(at >> PAGE_SHIFT).map_or(end, |part| part.first << PAGE_SHIFT);
                    at = next.max(stop);
                }
            }
        }
    }
}

/// Takes the file's own pages out of a private area.
fn zap_but_copies<'m>(memory: &'m Memory, extent: &Extent, range: (VirtAddr, VirtAddr), gather: &mut Gather<'m>) {
    let mut from = range.0;
    while from < range.1 {
        let stop = range.1.min(from.table_end());
        let mut run: Option<(VirtAddr, VirtAddr)> = None;
        memory.look(&extent.space, from, stop, |address, look| {
            let is_of_file = matches!(look, Look::Page(_, folio) if folio.is_file());
            run = match run {
                None if is_of_file => Some((address, address.add_pages(1))),
                Some((start, end)) if is_of_file && end == address => Some((start, end.add_pages(1))),
                run => run,
            };
        });
        if let Some(run) = run {
            zap::zap_range(memory, &extent.space, (zap::Areas::Shared, extent.rest()), run, gather);
        }
        from = run.map_or(stop, |(_, end)| end);
    }
}

/// The end of a range of bytes that a file may have.
fn end_of(offset: u64, length: u64) -> Result<u64, Errno> {
    offset.checked_add(length).filter(|&end| end <= MAX_SIZE).ok_or(Errno::EFBIG)
}
