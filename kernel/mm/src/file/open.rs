//! A file as its user has it: read, written, resized.

use alloc::sync::Arc;
use core::ops::Deref;

use mmu::mutant::{self, Mutant};
use mmu::{Cause, Operation, PAGE_SHIFT, PAGE_SIZE};

use super::{FileId, MemoryFile};
use crate::errno::Errno;
use crate::memory::Memory;
use crate::policy::Advice;
use crate::rmap::Extent;
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

    /// Pages that it has: holes have none.
    pub fn filled_pages(&self) -> usize {
        self.file.contents().parts().map(|part| part.pages).sum()
    }

    /// Reads from `offset` on. Returns how many bytes there were.
    pub fn read(&self, offset: u64, buffer: &mut [u8]) -> usize {
        let contents = self.file.contents();
        let length = contents.size().saturating_sub(offset).min(buffer.len() as u64) as usize;
        let mut done = 0;
        while done < length {
            let at = offset + done as u64;
            let piece = &mut buffer[done..done + left_in_page(at).min(length - done)];
            match contents.place(at) {
                Some(place) => self.memory.door.read_bytes(place, piece),
                None => piece.fill(0),
            }
            done += piece.len();
        }
        length
    }

    /// Writes from `offset` on; the file grows as need be. Returns how many bytes were written, which are fewer where memory runs out.
    ///
    /// # Errors
    /// `ENOMEM` if nothing could be written; `EFBIG` beyond [`MAX_SIZE`].
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
            if let Some(place) = contents.place(at) {
                self.memory.door.write_bytes(place, bytes);
                contents.grow_to(at + bytes.len() as u64);
                return Ok(());
            }
            drop(contents);
            let orders = self.memory.policy().sizes().orders(Advice::None);
            self.file.fill_hole(self.memory, at >> PAGE_SHIFT, orders, end)?;
        }
    }

    /// Makes it longer, by a hole, or cuts it off: what lies behind is taken out of every table, copies in private areas as well, and
    /// reads as zeros if the file grows again.
    ///
    /// # Errors
    /// `EFBIG` for more than [`MAX_SIZE`].
    pub fn resize(&self, size: u64) -> Result<(), Errno> {
        if size > MAX_SIZE {
            return Err(Errno::EFBIG);
        }
        let _underway = self.memory.begin(Operation::Unmap);
        let mut contents = self.file.contents_mut();
        if contents.set_size(size) {
            self.unmap_from(contents.pages());
            contents.cut_off(self.memory);
        }
        Ok(())
    }

    /// Takes the pages from `first` on out of every area. The contents are locked, so no fault brings one back.
    fn unmap_from(&self, first: u64) {
        let Some(areas) = self.memory.anon.get(self.file.areas()) else { return };
        let is_cut = |extent: &&Extent| mutant::or(Mutant::CutSkipsPrivate, true, extent.backing.is_shared());
        for extent in areas.extents().iter().filter(is_cut) {
            let Some(range) = extent.addresses(first, MAX_PAGES - first as usize) else { continue };
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
