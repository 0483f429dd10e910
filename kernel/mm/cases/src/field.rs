//! A field: an area of a space that a case works on, page by page. Page 0 is the reference's A0.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use mm::fault::Access;
use mm::folio::Folio;
use mm::map::{MapFlags, MapRequest};
use mm::pgtable::TableGuard;
use mm::remap::{MoveFlags, MoveRequest};
pub use mm::space::advice;
use mm::vma::Prot;
use mm::{Errno, Memory, OpenFile, Space};
use mmu::{Descriptor, PAGE_SIZE, PhysAddr, Slot, VirtAddr};

use crate::bench::Bench;
use crate::check::{Outcome, failed, same};

/// The size of a folio in KiB.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Size(pub u32);

impl Size {
    /// Its order.
    pub const fn order(self) -> u32 {
        (self.0 / 4).ilog2()
    }

    /// Its pages.
    pub const fn pages(self) -> usize {
        self.0 as usize / 4
    }
}

/// Read and write.
pub fn read_write() -> Prot {
    Prot::READ | Prot::WRITE
}

/// An area that a case works on.
pub struct Field<'b, 'm> {
    bench: &'b Bench<'m>,
    /// Whose it is.
    pub space: Arc<Space>,
    /// Page 0.
    pub start: VirtAddr,
    /// How many pages there are.
    pub pages: usize,
}

impl<'b, 'm> Field<'b, 'm> {
    /// Where fields are: the start of a last-level table.
    pub const BASE: VirtAddr = VirtAddr::new(0x55_0000_0000);

    /// Maps an area in `space`.
    ///
    /// # Errors
    /// If it can not be mapped there.
    pub fn new(bench: &'b Bench<'m>, space: Arc<Space>, start: VirtAddr, pages: usize) -> Result<Self, String> {
        Self::of_kind(bench, space, start, pages, MapFlags::PRIVATE)
    }

    /// Maps an area of another kind than a private one.
    ///
    /// # Errors
    /// If it can not be mapped there.
    pub fn of_kind(
        bench: &'b Bench<'m>,
        space: Arc<Space>,
        start: VirtAddr,
        pages: usize,
        kind: MapFlags,
    ) -> Result<Self, String> {
        let request = MapRequest {
            address: start.as_u64(),
            length: pages as u64 * PAGE_SIZE,
            prot: read_write(),
            flags: kind | MapFlags::ANONYMOUS | MapFlags::FIXED,
        };
        bench.memory().mmap(&space, request).map_err(failed("mmap"))?;
        Ok(Self { bench, space, start, pages })
    }

    /// Maps a file from its page `first` on, shared or private.
    ///
    /// # Errors
    /// If it can not be mapped there.
    pub fn of_file(
        bench: &'b Bench<'m>,
        space: Arc<Space>,
        (start, pages): (VirtAddr, usize),
        (file, first): (&OpenFile<'m>, u64),
        kind: MapFlags,
    ) -> Result<Self, String> {
        let request = MapRequest {
            address: start.as_u64(),
            length: pages as u64 * PAGE_SIZE,
            prot: read_write(),
            flags: kind | MapFlags::FIXED,
        };
        bench.memory().mmap_file(&space, request, file, first * PAGE_SIZE).map_err(failed("mmap of a file"))?;
        Ok(Self { bench, space, start, pages })
    }

    /// The same area in a child of its space.
    ///
    /// # Errors
    /// If the space can not be forked.
    pub fn fork(&self) -> Result<Self, String> {
        let space = self.bench.fork(&self.space)?;
        Ok(Self { bench: self.bench, space, start: self.start, pages: self.pages })
    }

    /// The program that has the area exits.
    pub fn exit(self) {
        self.bench.exit(&self.space);
    }

    pub(crate) fn memory(&self) -> &'m Memory {
        self.bench.memory()
    }

    /// The program leaves the CPU.
    pub(crate) fn leave(&self) {
        self.bench.cpu().leave(self.memory());
    }

    /// The address of a page.
    pub fn va(&self, page: usize) -> VirtAddr {
        self.start.add_pages(page)
    }

    /// The physical address of a byte, faulting it in as a program's access does.
    ///
    /// # Errors
    /// If the program would be killed, or the access never succeeds.
    pub fn access(&self, page: usize, offset: usize, write: bool) -> Result<PhysAddr, String> {
        let address = self.va(page).add_bytes(offset as u64);
        for _ in 0..8 {
            if let Some(found) = self.bench.cpu().access(self.memory(), &self.space, address, write) {
                return Ok(found);
            }
            let access = if write { Access::Write } else { Access::Read };
            let fault = self.memory().fault(&self.space, address, access);
            fault.map_err(|error| format!("fault at page {page}, write {write}: {error:?}"))?;
        }
        Err(format!("access to page {page}, write {write}, faults for ever: {}", self.shape(page, 1)))
    }

    /// A program stores bytes, within one page.
    ///
    /// # Errors
    /// As [`access`](Self::access).
    pub fn store(&self, page: usize, offset: usize, bytes: &[u8]) -> Outcome {
        let place = self.access(page, offset, true)?;
        self.memory().door.write_bytes(place, bytes);
        Ok(())
    }

    /// A program loads one byte.
    ///
    /// # Errors
    /// As [`access`](Self::access).
    pub fn load(&self, page: usize, offset: usize) -> Result<u8, String> {
        let place = self.access(page, offset, false)?;
        let mut byte = [0];
        self.memory().door.read_bytes(place, &mut byte);
        Ok(byte[0])
    }

    /// A program writes whole pages, so that each byte tells its place.
    ///
    /// # Errors
    /// As [`access`](Self::access).
    pub fn fill(&self, first: usize, count: usize) -> Outcome {
        (first..first + count).try_for_each(|page| self.store(page, 0, &self.content(page)))
    }

    /// A program writes one zero byte to each page.
    ///
    /// # Errors
    /// As [`access`](Self::access).
    pub fn touch(&self, first: usize, count: usize) -> Outcome {
        (first..first + count).try_for_each(|page| self.store(page, 0, &[0]))
    }

    /// A program reads one byte of each page.
    ///
    /// # Errors
    /// As [`access`](Self::access).
    pub fn read(&self, first: usize, count: usize) -> Outcome {
        (first..first + count).try_for_each(|page| self.load(page, 0).map(drop))
    }

    /// A program reads whole pages: they must hold what [`fill`](Self::fill) wrote.
    ///
    /// # Errors
    /// The first byte that differs.
    pub fn verify(&self, first: usize, count: usize) -> Outcome {
        (first..first + count).try_for_each(|page| self.must_hold(page, &self.content(page)))
    }

    /// A program reads whole pages: they must be zero.
    ///
    /// # Errors
    /// The first byte that is not.
    pub fn verify_zero(&self, first: usize, count: usize) -> Outcome {
        (first..first + count).try_for_each(|page| self.must_hold(page, &[0; PAGE_SIZE as usize]))
    }

    /// A program reads a whole page, which must hold this.
    ///
    /// # Errors
    /// The first byte that differs.
    pub fn must_hold(&self, page: usize, wanted: &[u8]) -> Outcome {
        let place = self.access(page, 0, false)?;
        let mut bytes = vec![0; PAGE_SIZE as usize];
        self.memory().door.read_bytes(place, &mut bytes);
        match bytes.iter().zip(wanted).position(|(seen, wanted)| seen != wanted) {
            None => Ok(()),
            Some(at) => Err(format!("page {page} byte {at}: {:#x} instead of {:#x}", bytes[at], wanted[at])),
        }
    }

    /// What [`fill`](Self::fill) writes to a page: no two pages and no two words of a page alike.
    pub fn content(&self, page: usize) -> Vec<u8> {
        let seed = self.va(page).page_number().wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        (0..PAGE_SIZE / 8).flat_map(|word| seed.wrapping_mul(2 * word + 1).to_le_bytes()).collect()
    }

    /// Does `work` with the lock of the table of a page.
    ///
    /// # Panics
    /// If there is no table: the case has not touched the page.
    pub fn with_table<R>(&self, page: usize, work: impl FnOnce(&TableGuard<'_>, Slot) -> R) -> R {
        match self.space.lock_table(self.memory(), self.va(page)) {
            Some(table) => work(&table, table.slot(self.va(page))),
            None => panic!("page {page} has no table"),
        }
    }

    /// The raw entry of a page; none where there is no table.
    pub fn entry(&self, page: usize) -> Descriptor {
        let table = self.space.tables.find(self.memory(), self.va(page));
        table.map_or(Descriptor::NONE, |table| self.memory().door.load(table.slot(self.va(page))))
    }

    /// The folio that a page's entry maps.
    ///
    /// # Panics
    /// If it maps none.
    pub fn folio(&self, page: usize) -> Folio<'m> {
        let entry = self.entry(page);
        assert!(entry.is_present(), "page {page} maps nothing");
        self.memory().frames.folio_of(entry.frame())
    }

    /// What the entries are, runs counted: `C` folded, `P` plain, `Z` special, `I` present without access, `N` none, `E` a swap entry
    /// of an exclusive page, `S` any other swap entry, `M` a marker. Entries that map no consecutive pages or slots end a run.
    pub fn shape(&self, first: usize, count: usize) -> String {
        let kind = |entry: Descriptor| match entry {
            entry if entry.is_none() => 'N',
            entry if entry.is_folded() => 'C',
            entry if entry.is_special() => 'Z',
            entry if entry.is_valid() => 'P',
            entry if entry.is_present() => 'I',
            entry if entry.is_device_exclusive() => 'D',
            entry if entry.is_marker() => 'M',
            entry if entry.bits() & 4 != 0 => 'E',
            _ => 'S',
        };
        let entries: Vec<_> = (first..first + count).map(|page| self.entry(page)).collect();
        let follows = |index: usize| {
            let (before, now) = (entries[index - 1], entries[index]);
            kind(before) == kind(now)
                && match kind(now) {
                    'N' | 'Z' | 'M' => true,
                    'E' | 'S' => now == before.advance(1),
                    _ => now.frame() == before.frame().add(1),
                }
        };
        let mut shape = String::new();
        let mut start = 0;
        for end in 1..=count {
            if end == count || !follows(end) {
                let between = if shape.is_empty() { "" } else { " " };
                shape += &format!("{between}{}{}", kind(entries[start]), end - start);
                start = end;
            }
        }
        shape
    }

    /// The shape of entries must be this.
    ///
    /// # Errors
    /// Both shapes.
    pub fn must_look(&self, first: usize, count: usize, wanted: &str) -> Outcome {
        same("entries", self.shape(first, count).as_str(), wanted)
    }

    /// For how many of the entries `is` holds.
    pub fn how_many(&self, first: usize, count: usize, is: impl Fn(Descriptor) -> bool) -> usize {
        (first..first + count).filter(|&page| is(self.entry(page))).count()
    }

    /// madvise on some pages.
    ///
    /// # Errors
    /// As madvise.
    pub fn advise(&self, first: usize, count: usize, advice: u32) -> Result<(), Errno> {
        self.memory().madvise(&self.space, self.va(first).as_u64(), count as u64 * PAGE_SIZE, advice)
    }

    /// MADV_NOHUGEPAGE.
    pub const NOHUGEPAGE: u32 = 15;
    /// MADV_PAGEOUT.on some pages.
    ///
    /// # Errors
    /// If the call fails.
    pub fn page_out(&self, first: usize, count: usize) -> Outcome {
        self.advise(first, count, advice::PAGEOUT).map_err(failed("MADV_PAGEOUT"))
    }

    /// mprotect on some pages.
    ///
    /// # Errors
    /// If the call fails.
    pub fn protect(&self, first: usize, count: usize, prot: Prot) -> Outcome {
        let (start, length) = (self.va(first).as_u64(), count as u64 * PAGE_SIZE);
        self.memory().mprotect(&self.space, start, length, prot).map_err(failed("mprotect"))
    }

    /// munmap of some pages.
    ///
    /// # Errors
    /// If the call fails.
    pub fn unmap(&self, first: usize, count: usize) -> Outcome {
        let (start, length) = (self.va(first).as_u64(), count as u64 * PAGE_SIZE);
        self.memory().munmap(&self.space, start, length).map_err(failed("munmap"))
    }

    /// mremap of some pages to where nothing else need be, without another size.
    ///
    /// # Errors
    /// As mremap.
    pub fn move_pages(&self, first: usize, count: usize, to: usize) -> Result<u64, Errno> {
        self.remap((first, count), count, Some(to), MoveFlags::MAYMOVE | MoveFlags::FIXED)
    }

    /// mremap of some pages to `pages` at page `to`.
    ///
    /// # Errors
    /// As mremap.
    pub fn remap(
        &self,
        (first, count): (usize, usize),
        pages: usize,
        to: Option<usize>,
        flags: MoveFlags,
    ) -> Result<u64, Errno> {
        let request = MoveRequest {
            old: self.va(first).as_u64(),
            old_length: count as u64 * PAGE_SIZE,
            new_length: pages as u64 * PAGE_SIZE,
            flags,
            new_address: to.map_or(0, |page| self.va(page).as_u64()),
        };
        self.memory().mremap(&self.space, request)
    }

    /// Which page of the field an address is.
    pub fn page_at(&self, address: u64) -> usize {
        (address.wrapping_sub(self.start.as_u64()) / PAGE_SIZE) as usize
    }

    /// A program reads pages that were filled at `first` and are at `now`.
    ///
    /// # Errors
    /// The first byte that differs.
    pub fn verify_moved(&self, first: usize, count: usize, now: usize) -> Outcome {
        (0..count).try_for_each(|page| self.must_hold(now + page, &self.content(first + page)))
    }

    /// Present pages and swap entries of the space, as its accounts say.
    pub fn accounts(&self) -> (i64, i64) {
        (self.space.anon_pages(), self.space.swap_entries())
    }
}
