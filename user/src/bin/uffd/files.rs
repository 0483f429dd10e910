//! Memory files that are watched: pages that a monitor puts into one, and protection that outlives the entries of its pages.

use user::memory_file::{MemoryFile, PRIVATE, SHARED};
use user::process;
use user::sys::{self, Error, PAGE, advice};

use super::program::{
    MISSING, PAGES, PROTECT, PROTECTED, allow_for_ever, end, fill_for_ever, load, open, store, watch, write_protect,
};

/// A file of as many pages as are watched, and a map of it.
fn map(kind: u64) -> Result<(MemoryFile, u64), Error> {
    let file = MemoryFile::new(c"uffd", PAGES * PAGE)?;
    Ok((file, file.map(PAGES * PAGE, kind, 0)?))
}

/// What the monitor copies goes into the file where it is shared, and is the area's own where it is not.
pub fn missing() -> Result<bool, Error> {
    let mut ok = true;
    for kind in [SHARED, PRIVATE] {
        let (descriptor, (file, base)) = (open()?, map(kind)?);
        // No folio of 64K is inside so short a file: it gets a page alone.
        file.resize(7 * PAGE)?;
        file.set_word(6 * PAGE, 66)?;
        file.resize(PAGES * PAGE)?;
        watch(descriptor, base, MISSING)?;
        let monitor = process::spawn(|| fill_for_ever(descriptor, base).unwrap_or(1))?;
        // The file has the seventh page, so nobody is asked for it.
        let right = |page: u64| match page {
            6 => 66,
            page if page % 2 == 1 => 0,
            page => page + 1,
        };
        ok &= (0..PAGES).all(|page| load(base, page) == right(page));
        store(base, 3, 77);
        let in_file = |page: u64, word: u64| file.word(page * PAGE) == Ok(if kind == SHARED { word } else { 0 });
        ok &= in_file(2, 3) && in_file(3, 77) && in_file(5, 0) && file.word(6 * PAGE) == Ok(66);
        ok &= end(monitor)?;
        [descriptor, file.0].into_iter().try_for_each(|number| process::close(number).map(drop))?;
    }
    Ok(ok)
}

/// What happens to the pages that are protected. Each leaves markers, and the pages from this one on zero.
const EVENTS: [(Event, u64); 3] = [(Event::PageOut, PAGES), (Event::DontNeed, PAGES), (Event::Cut, 8)];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Event {
    PageOut,
    DontNeed,
    Cut,
}

impl Event {
    fn happen(self, file: MemoryFile, base: u64, kept: u64) -> Result<(), Error> {
        match self {
            // SAFETY: contents stay as they are.
            Self::PageOut => unsafe { sys::advise(base, PAGES * PAGE, advice::PAGEOUT) }.map(drop),
            // SAFETY: the file keeps what is shared, and private copies are not made.
            Self::DontNeed => unsafe { sys::advise(base, PAGES * PAGE, advice::DONTNEED) }.map(drop),
            Self::Cut => file.resize(kept * PAGE).and_then(|()| file.resize(PAGES * PAGE)),
        }
    }
}

/// A write to what was protected is told, whatever became of the page meanwhile.
pub fn protected() -> Result<bool, Error> {
    let mut ok = true;
    for kind in [SHARED, PRIVATE] {
        for (event, kept) in EVENTS {
            let (descriptor, (file, base)) = (open()?, map(kind)?);
            (0..PAGES).try_for_each(|page| file.set_word(page * PAGE, page + 1).map(drop))?;
            let right = |page: u64| if page < kept { page + 1 } else { 0 };
            ok &= (0..PAGES).all(|page| load(base, page) == page + 1);
            watch(descriptor, base, PROTECTED)?;
            write_protect(descriptor, base, PAGES, PROTECT)?;
            let [told, tell] = process::pipe(0)?;
            let monitor = process::spawn(|| allow_for_ever(descriptor, base, tell).unwrap_or(1))?;
            event.happen(file, base, kept)?;
            ok &= is_marked(base, 9)? && is_marked(base, 10)?;
            // One is read before it is written, the other is not.
            ok &= load(base, 9) == right(9);
            for written in [9, 10] {
                let mut page = [0];
                store(base, written, 100 + written);
                ok &= process::read(told, &mut page)? == 1 && u64::from(page[0]) == written;
                ok &= load(base, written) == 100 + written && !is_marked(base, written)?;
            }
            ok &= (0..9).chain(11..PAGES).all(|page| load(base, page) == right(page));
            ok &= is_marked(base, 0)? && is_marked(base, 15)?;
            ok &= file.word(10 * PAGE)? == if kind == SHARED { 110 } else { right(10) };
            ok &= end(monitor)?;
            let open = [descriptor, told, tell, file.0];
            open.into_iter().try_for_each(|number| process::close(number).map(drop))?;
        }
    }
    Ok(ok)
}

/// Whether pagemap says that userfaultfd protects a page.
fn is_marked(base: u64, page: u64) -> Result<bool, Error> {
    const UFFD_WP: u64 = 1 << 57;
    let pagemap = MemoryFile(process::open(c"/proc/self/pagemap", 0)?);
    let word = pagemap.word((base / PAGE + page) * 8)?;
    process::close(pagemap.0)?;
    Ok(word & UFFD_WP != 0)
}
