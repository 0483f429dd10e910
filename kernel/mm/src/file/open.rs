//! A file as its user has it: read, written, resized.

use alloc::sync::Arc;
use core::ops::Deref;

use mmu::mutant::{self, Mutant};
use mmu::{Cause, Operation, PAGE_SHIFT, PAGE_SIZE};

use super::contents::Found;
use super::{Contents, FileId, MemoryFile, Place};
use crate::errno::Errno;
use crate::folio::Folio;
use crate::memory::Memory;
use crate::policy::Advice;
use crate::rmap::Extent;
use crate::sync::WriteGuard;
use crate::tlb::Gather;
use crate::zap;

/// Pages that a file may have: as many as a page's offset can tell apart.
const MAX_PAGES: usize = 1 << 36;
/// The largest size of a file.
pub const MAX_SIZE: u64 = (MAX_PAGES as u64) << PAGE_SHIFT;

/// A file that somebody has open. Dropped, it is closed.
#[derive(Debug)]
pub struct OpenFile<'m> {
    memory: &'m Memory,
    file: Arc<MemoryFile>,
}

impl Memory {
    /// A new file of `size` bytes, all a hole, without a name.
    ///
    /// # Errors
    /// `ENOMEM`; `EFBIG` for more than [`MAX_SIZE`].
    pub fn open_file(&self, size: u64) -> Result<OpenFile<'_>, Errno> {
        self.open_named_file("", size)
    }

    /// The same with a name, which need not be its alone.
    ///
    /// # Errors
    /// As [`open_file`](Self::open_file).
    pub fn open_named_file(&self, name: &str, size: u64) -> Result<OpenFile<'_>, Errno> {
        let open = OpenFile { memory: self, file: self.create_file(name)? };
        open.resize(size)?;
        Ok(open)
    }
}

impl Memory {
    /// Opens a file once more that somebody has open, or an area maps; `None` if it is gone.
    pub fn reopen_file(&self, id: FileId) -> Option<OpenFile<'_>> {
        let file = self.files.get(id)?;
        file.try_add_user().then_some(OpenFile { memory: self, file })
    }
}

impl OpenFile<'_> {
    /// Its size in bytes.
    pub fn size(&self) -> u64 {
        self.file.contents().size()
    }

    /// Pages that it has, in memory or in swap: holes have none.
    pub fn filled_pages(&self) -> usize {
        self.file.contents().parts().map(|part| part.pages).sum()
    }

    /// Pages that it has in swap.
    pub fn swapped_pages(&self) -> usize {
        let contents = self.file.contents();
        contents.parts().filter(|part| matches!(part.place, Place::Swap(_))).map(|part| part.pages).sum()
    }

    /// Reads from `offset` on. Returns how many bytes were read: fewer than asked for at the end of the file, and where a page does not
    /// come back from swap.
    ///
    /// # Errors
    /// If nothing could be read: `EIO` if the swap device does not give the page back, `ENOMEM` if there is no memory for it.
    pub fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, Errno> {
        let mut done = 0;
        while done < buffer.len() {
            let at = offset.saturating_add(done as u64);
            let most = left_in_page(at).min(buffer.len() - done);
            match self.read_in_page(at, &mut buffer[done..done + most]) {
                Ok(0) => break,
                Ok(length) => done += length,
                Err(error) if done == 0 => return Err(error),
                Err(_) => break,
            }
        }
        Ok(done)
    }

    /// Reads inside one page.
    fn read_in_page(&self, at: u64, buffer: &mut [u8]) -> Result<usize, Errno> {
        loop {
            let contents = self.file.contents();
            let length = contents.size().saturating_sub(at).min(buffer.len() as u64) as usize;
            let buffer = &mut buffer[..length];
            match contents.place(at) {
                Found::Memory(place) => self.memory.door.read_bytes(place, buffer),
                Found::Hole => buffer.fill(0),
                Found::Swap if length > 0 => {
                    drop(contents);
                    self.file.bring_in(self.memory, at >> PAGE_SHIFT, self.orders())?;
                    continue;
                }
                Found::Swap => {}
            }
            return Ok(length);
        }
    }

    /// Whose memory it is.
    pub(super) fn memory(&self) -> &Memory {
        self.memory
    }

    /// The orders of the folios that it gets where no area says more.
    pub(super) fn orders(&self) -> u16 {
        self.memory.policy().sizes().orders(Advice::None)
    }

    /// Writes from `offset` on; the file grows as need be. Returns how many bytes were written, which are fewer where memory runs out.
    ///
    /// # Errors
    /// `EPERM` if the file is sealed against it; `ENOMEM` if nothing could be written; `EIO` if the page is in swap and does not come
    /// back; `EFBIG` beyond [`MAX_SIZE`].
    pub fn write(&self, offset: u64, bytes: &[u8]) -> Result<usize, Errno> {
        let end = offset.checked_add(bytes.len() as u64).filter(|&end| end <= MAX_SIZE).ok_or(Errno::EFBIG)?;
        let mut done = 0;
        while done < bytes.len() {
            let at = offset + done as u64;
            let piece = &bytes[done..done + left_in_page(at).min(bytes.len() - done)];
            match self.write_in_page(at, piece, end) {
                Ok(()) => done += piece.len(),
                Err(error) if done == 0 => return Err(error),
                Err(_) => break,
            }
        }
        Ok(done)
    }

    /// Writes inside one page; `end` is how far the file will reach.
    fn write_in_page(&self, at: u64, bytes: &[u8], end: u64) -> Result<(), Errno> {
        loop {
            let mut contents = self.file.contents_mut();
            contents.check_write(at + bytes.len() as u64)?;
            let found = contents.place(at);
            if let Found::Memory(place) = found {
                self.memory.door.write_bytes(place, bytes);
                contents.grow_to(at + bytes.len() as u64);
                return Ok(());
            }
            drop(contents);
            let (index, orders) = (at >> PAGE_SHIFT, self.orders());
            match found {
                Found::Swap => drop(self.file.bring_in(self.memory, index, orders)?),
                _ => self.file.fill_hole(self.memory, index, orders, end)?,
            }
        }
    }

    /// Makes it longer, by a hole, or cuts it off: what lies behind is taken out of every table, copies in private areas as well, and
    /// reads as zeros if the file grows again.
    ///
    /// # Errors
    /// `EFBIG` for more than [`MAX_SIZE`]; `EPERM` if the file is sealed against it; `EIO` or `ENOMEM` where the last page is in swap
    /// and does not come back, which is to become zeros in part. Nothing has changed then.
    pub fn resize(&self, size: u64) -> Result<(), Errno> {
        if size > MAX_SIZE {
            return Err(Errno::EFBIG);
        }
        let _underway = self.memory.begin(Operation::Unmap);
        let mut contents = self.lock_with_borders(&[size])?;
        contents.check_size(size)?;
        if contents.set_size(size) {
            self.unmap_from(contents.pages());
            contents.cut_off(self.memory);
        }
        Ok(())
    }

    /// Locks the contents to write, where folios that reach over one of these bytes are in memory: the page with the byte, if it is not the
    /// first of a page; and any that the swap cache has, whose slots stay together as long as it does.
    pub(super) fn lock_with_borders(&self, borders: &[u64]) -> Result<WriteGuard<'_, Contents>, Errno> {
        loop {
            let contents = self.file.contents_mut();
            let is_swapped = |at: u64| contents.is_border_swapped(self.memory, at);
            let found = borders.iter().copied().find(|&at| mutant::or(Mutant::CutSkipsSwapped, is_swapped(at), false));
            let Some(at) = found else { return Ok(contents) };
            // Where memory is short, one page might have to go for the other to come, and come back for that one, for ever.
            let other = borders.iter().copied().find(|&other| other != at);
            let kept = other.filter(|_| !mutant::is(Mutant::BorderLetGo)).and_then(|at| self.keep(&contents, at));
            drop(contents);
            let result = self.file.bring_in(self.memory, at >> PAGE_SHIFT, self.orders());
            kept.into_iter().for_each(|folio| self.memory.let_go(folio));
            result?;
        }
    }

    /// Refers to the folio with this byte, if it is in memory: it stays there.
    fn keep(&self, contents: &Contents, at: u64) -> Option<Folio<'_>> {
        let index = at >> PAGE_SHIFT;
        let folio = self.memory.frames.folio_of(contents.find(index)?.frame_of(index)?);
        folio.get(1);
        Some(folio)
    }

    /// Takes the pages from `first` on out of every area. The contents are locked, so no fault brings one back.
    fn unmap_from(&self, first: u64) {
        let Some(areas) = self.memory.anon.get(self.file.areas()) else { return };
        let is_cut = |extent: &Extent| mutant::or(Mutant::CutSkipsPrivate, true, extent.backing.is_shared());
        let extents = areas.extents();
        for (extent, range) in extents.at(first, MAX_PAGES - first as usize).filter(|(extent, _)| is_cut(extent)) {
            let mut gather = Gather::new(self.memory, &extent.space, Cause::Zap);
            zap::zap_range(self.memory, &extent.space, (zap::Areas::Shared, extent.rest()), range, &mut gather);
            gather.finish();
        }
    }
}

impl Deref for OpenFile<'_> {
    type Target = MemoryFile;

    fn deref(&self) -> &MemoryFile {
        &self.file
    }
}

impl Drop for OpenFile<'_> {
    fn drop(&mut self) {
        self.memory.put_file(&self.file);
    }
}

const fn left_in_page(offset: u64) -> usize {
    (PAGE_SIZE - offset % PAGE_SIZE) as usize
}
