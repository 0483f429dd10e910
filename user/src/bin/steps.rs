//! `steps [SIZE]`: SIZE bytes (256M) with data in every page, taken through what memory management does with them; and an eighth of
//! that, shared with a child, freed lazily, unmapped in part.
//!
//! unfold measures each step under its name (`user::sys::measured`): `./qemu-run.sh steps` makes a table of them. Contents are compared
//! in between, where it is not measured.

#![cfg_attr(target_os = "none", no_std, no_main)]

user::program!(program::main);

#[cfg(target_os = "none")]
mod program {
    use user::args::Args;
    use user::eprintln;
    use user::filled::{Failure, Map};
    use user::numbers::size;
    use user::pattern::Fill;
    use user::process::{self, End};
    use user::sys::{self, advice, measured};

    /// Every size is a multiple of this: the smaller maps are in whole folios too.
    const UNIT: u64 = 512 << 10;
    /// Bytes of a folio, as the table has them.
    const FOLIO: u64 = 64 << 10;
    const SHIFT: u64 = 2 << 20;
    const WORDS: u64 = sys::PAGE / 8;
    /// Contents that are not what they must be.
    const WRONG: Failure = ("the comparison", sys::Error(0));

    pub fn main(args: &Args) -> u8 {
        let Some(size) = args.iter().next().map_or(Some(256 << 20), size).filter(|&size| size > 0 && size % UNIT == 0)
        else {
            eprintln!("usage: steps [SIZE], in multiples of 512K");
            return 2;
        };
        let steps = [present, swapped_out, |size| relatives(size / 8), |size| lazy(size / 8), |size| partial(size / 8)];
        match steps.iter().try_for_each(|step| step(size)) {
            Ok(()) => 0,
            Err((what, error)) => {
                eprintln!("steps: {what} failed with error {}", error.0);
                1
            }
        }
    }

    fn page_out(map: &Map) -> Result<(), Failure> {
        map.advise("MADV_PAGEOUT", advice::PAGEOUT)
    }

    /// Memory that comes back.
    fn present(size: u64) -> Result<(), Failure> {
        let mut map = Map::filled(size, 1)?;
        measured(c"page-out", || page_out(&map))?;
        measured(c"swap-in by reading", || map.read_each_page());
        map.check(1)?;
        let child = measured(c"fork", || process::spawn(|| 0)).map_err(|error| ("fork", error))?;
        ended(child)?;
        measured(c"mprotect, read-only", || map.protect(sys::PROT_READ))?;
        measured(c"mprotect, writable", || map.protect(sys::PROT_READ | sys::PROT_WRITE))?;
        let place = reserve(size)?;
        measured(c"mremap, whole tables", || map.relocate(place))?;
        let place = reserve(size)? + FOLIO;
        measured(c"mremap, entries", || map.relocate(place))?;
        map.check(1)?;
        measured(c"munmap, present", || map.unmap())
    }

    /// Memory that does not.
    fn swapped_out(size: u64) -> Result<(), Failure> {
        let map = Map::filled(size, 2)?;
        page_out(&map)?;
        measured(c"munmap, swapped out", || map.unmap())
    }

    /// Memory that a child has too: shared it stays, copied it goes in both.
    fn relatives(size: u64) -> Result<(), Failure> {
        let mut map = Map::filled(size, 3)?;
        let child = process::spawn(|| match child(&mut map) {
            Ok(()) => 0,
            Err(_) => 1,
        });
        ended(child.map_err(|error| ("fork", error))?)?;
        measured(c"page-out, the parent's own", || page_out(&map))?;
        map.check(3)?;
        map.unmap()
    }

    fn child(map: &mut Map) -> Result<(), Failure> {
        measured(c"page-out, shared with a parent", || page_out(map))?;
        measured(c"copy on write", || map.pages().for_each(|page| page[0] = !page[0]));
        measured(c"page-out, a child's copies", || page_out(map))?;
        map.pages().for_each(|page| page[0] = !page[0]);
        map.check(3)
    }

    /// Memory that is given up, and written again in every fourth folio before reclaim comes.
    fn lazy(size: u64) -> Result<(), Failure> {
        let mut map = Map::filled(size, 4)?;
        measured(c"MADV_FREE", || map.advise("MADV_FREE", advice::FREE))?;
        let in_folio = (FOLIO / sys::PAGE) as usize;
        let again = Fill::Pattern.word(1, 5);
        measured(c"a page written again in each fourth folio", || {
            map.pages().step_by(4 * in_folio).for_each(|page| page[1] = again);
        });
        measured(c"page-out, freed lazily", || page_out(&map))?;
        // A folio that was written again stays, all of it; of the others each page is as it was, or empty.
        let stays = |page: usize| page / in_folio % 4 == 0;
        let right = map.pages().enumerate().all(|(number, page)| {
            let was_written = number % (4 * in_folio) == 0;
            if was_written
                && core::mem::replace(&mut page[1], Fill::Pattern.word(number as u64 * WORDS + 1, 4)) != again
            {
                return false;
            }
            holds(page, number, 4) || !stays(number) && is_empty(page)
        });
        if right { map.unmap() } else { Err(WRONG) }
    }

    /// Memory of which half of each folio is given up.
    fn partial(size: u64) -> Result<(), Failure> {
        let mut map = Map::filled(size, 6)?;
        measured(c"MADV_DONTNEED, half of each folio", || {
            let mut folios = (0..size).step_by(FOLIO as usize);
            folios.try_for_each(|folio| map.advise_part("MADV_DONTNEED", advice::DONTNEED, folio, FOLIO / 2))
        })?;
        measured(c"page-out, the other halves", || page_out(&map))?;
        let in_folio = (FOLIO / sys::PAGE) as usize;
        let right = map.pages().enumerate().all(|(number, page)| {
            if number % in_folio < in_folio / 2 { is_empty(page) } else { holds(page, number, 6) }
        });
        if right { map.unmap() } else { Err(WRONG) }
    }

    /// Whether a page of a map has the pattern that it was filled with.
    fn holds(page: &[u64], number: usize, round: u64) -> bool {
        Fill::Pattern.first_wrong(page, number as u64 * WORDS, round).is_none()
    }

    fn is_empty(page: &[u64]) -> bool {
        page.iter().all(|&word| word == 0)
    }

    /// Room for `size` bytes and a folio more, at a multiple of 2 MiB; its pages are never touched.
    fn reserve(size: u64) -> Result<u64, Failure> {
        let place = sys::map(size + 2 * SHIFT, 0).map_err(|error| ("mmap", error))?;
        Ok(place.next_multiple_of(SHIFT))
    }

    /// Waits for a child, which must have ended well.
    fn ended(child: u64) -> Result<(), Failure> {
        match process::wait_for(child) {
            Ok(End::Exited(0)) => Ok(()),
            Ok(_) => Err(("a child", sys::Error(0))),
            Err(error) => Err(("wait4", error)),
        }
    }
}
