//! The memory files: their folios are theirs, and as many as they believe.

use super::{Finding, Place, Rule, Seen, is, same};
use crate::file::MemoryFile;
use crate::memory::Memory;

/// Looks at every folio of every file, and adds it to what was seen.
pub(super) fn recount(memory: &Memory, seen: &mut Seen) -> Result<(), Finding> {
    let mut pages = 0;
    for file in memory.files.all().unwrap_or_default() {
        pages += check(memory, &file, seen)?;
    }
    same(Rule::Ms43, "pages of files", Place::Files, memory.files.pages() as u64, pages)
}

fn check(memory: &Memory, file: &MemoryFile, seen: &mut Seen) -> Result<u64, Finding> {
    let mut pages = 0;
    for part in file.contents().parts() {
        let folio = memory.frames.folio_of(part.head);
        let place = Place::Folio(part.head);
        same(Rule::Ms43, "first frame of a folio in a file", place, folio.head().as_u64(), part.head.as_u64())?;
        same(Rule::Ms43, "pages of a folio in a file", place, folio.pages() as u64, part.pages as u64)?;
        is(
            Rule::Ms43,
            "in the reverse map of its file",
            place,
            folio.mapping() == Some((file.areas(), part.first)),
            true,
        )?;
        seen.folio(&folio).filed += part.pages as u64;
        pages += part.pages as u64;
    }
    Ok(pages)
}
