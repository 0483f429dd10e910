//! The memory files: their folios are theirs, their slots have a count for them, and there are as many as they believe.

use super::{Finding, Place, Rule, Seen, is, same};
use crate::file::{MemoryFile, Part, Place as Where};
use crate::memory::Memory;

/// What files have.
#[derive(Default)]
struct Pages {
    present: u64,
    swapped: u64,
}

/// Looks at every folio and every slot of every file, and adds it to what was seen.
pub(super) fn recount(memory: &Memory, seen: &mut Seen) -> Result<(), Finding> {
    let mut all = Pages::default();
    for file in memory.files.all().unwrap_or_default() {
        let Pages { present, swapped } = check(memory, &file, seen)?;
        all.present += present;
        all.swapped += swapped;
    }
    same(Rule::Ms43, "pages of files", Place::Files, memory.files.pages() as u64, all.present)?;
    same(Rule::Ms43, "pages of files in swap", Place::Files, memory.files.swapped() as u64, all.swapped)
}

fn check(memory: &Memory, file: &MemoryFile, seen: &mut Seen) -> Result<Pages, Finding> {
    let mut pages = Pages::default();
    for part in file.contents().parts() {
        match part.place {
            Where::Memory(_) => {
                check_folios(memory, file, part, seen)?;
                pages.present += part.pages as u64;
            }
            Where::Swap(entry) => {
                for page in 0..part.pages {
                    seen.slots.entry(entry.advance(page)).or_default().entries += 1;
                }
                pages.swapped += part.pages as u64;
            }
        }
    }
    Ok(pages)
}

/// A run in memory is made of whole folios, which know that they are the file's.
fn check_folios(memory: &Memory, file: &MemoryFile, part: Part, seen: &mut Seen) -> Result<(), Finding> {
    let mut index = part.first;
    while let Some(frame) = part.frame_of(index).filter(|_| index < part.end()) {
        let folio = memory.frames.folio_of(frame);
        let place = Place::Folio(frame);
        same(Rule::Ms43, "first frame of a folio in a file", place, folio.head().as_u64(), frame.as_u64())?;
        let is_mapping = folio.mapping() == Some((file.areas(), index));
        is(Rule::Ms43, "in the reverse map of its file", place, is_mapping, true)?;
        is(Rule::Ms43, "dirty, as what is in a file and not in swap is", place, folio.is_dirty(), true)?;
        seen.folio(&folio).filed += folio.pages() as u64;
        index += folio.pages() as u64;
    }
    same(Rule::Ms43, "one past a run of folios in a file", Place::Files, index, part.end())
}
