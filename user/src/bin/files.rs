//! `files`: checks of memory files and of the maps of them. Prints one line for each check and exits with 1 if any failed; they hold on a
//! Linux kernel too.

#![cfg_attr(target_os = "none", no_std, no_main)]

user::program!(program::main);

#[cfg(target_os = "none")]
mod program {
    use user::args::Args;
    use user::check::{self, Checks};
    use user::memory_file::{DATA, HOLE, KEEP_SIZE, MemoryFile, PRIVATE, PUNCH_HOLE, SHARED, map_shared, sync};
    use user::process::{self, End, spawn, wait_for};
    use user::sigbus;
    use user::sys::{self, Error, PAGE, advice, error, number};

    const PAGES: u64 = 32;
    const SIZE: u64 = PAGES * PAGE;
    const ENODEV: i32 = 19;
    const ENXIO: i32 = 6;
    const EOPNOTSUPP: i32 = 95;
    /// BUS_ADRERR.
    const NO_SUCH_PAGE: u64 = 2;

    pub fn main(_: &Args) -> u8 {
        const CHECKS: Checks = &[
            ("a file has the size that it was told, and is zero", sizes),
            ("a shared map and its file are one", shared),
            ("a private map reads the file and keeps what it writes", private),
            ("a child shares a shared map, and has its own of a private one", children),
            ("a child shares anonymous memory that is shared", unnamed),
            ("an access beyond the end is SIGBUS with its address", beyond),
            ("what was cut off is zero when the file grows, private copies too", cut),
            ("MADV_PAGEOUT and MADV_DONTNEED leave what a file has", taken_out),
            ("protection changes, and mremap moves, what was mapped", changed),
            ("mremap of length 0 maps a shared map once more", twice),
            ("a map outlives its descriptor", outlives),
            ("what was paged out is in swap, and counted there", swapped),
            ("a range is filled, a hole is made, and found", ranges),
            ("MADV_REMOVE makes a hole, in a file alone", removed),
            ("a sealed file stays what it is", sealed),
            ("a file in /tmp without a name is one too", nameless),
            ("what can not be is refused", refused),
        ];
        check::all(&[CHECKS], |check| check())
    }

    /// The first word of a page of a map.
    fn get(map: u64, page: u64) -> u64 {
        // SAFETY: called for maps of this program alone, that are there and may be read.
        unsafe { ((map + page * PAGE) as *const u64).read_volatile() }
    }

    fn set(map: u64, page: u64, word: u64) {
        // SAFETY: as above; they may be written, and hold nothing but such words.
        unsafe { ((map + page * PAGE) as *mut u64).write_volatile(word) }
    }

    fn fill(map: u64, pages: u64) {
        (0..pages).for_each(|page| set(map, page, page + 1000));
    }

    fn holds(map: u64, pages: u64) -> bool {
        (0..pages).all(|page| get(map, page) == page + 1000)
    }

    fn unmap(map: u64) -> Result<u64, Error> {
        // SAFETY: each check has maps of its own, which nobody uses after it.
        unsafe { sys::unmap(map, SIZE) }
    }

    fn advise(map: u64, advice: u64) -> Result<u64, Error> {
        // SAFETY: no advice here takes contents away.
        unsafe { sys::advise(map, SIZE, advice) }
    }

    /// A file with a shared map of all of it.
    fn mapped() -> Result<(MemoryFile, u64), Error> {
        let file = MemoryFile::new(c"files", SIZE)?;
        Ok((file, file.map(SIZE, SHARED, 0)?))
    }

    fn sizes() -> Result<bool, Error> {
        let file = MemoryFile::new(c"sizes", 3 * PAGE + 5)?;
        let told = file.size()? == 3 * PAGE + 5 && file.word(2 * PAGE)? == 0;
        sys::write(file.0, b"from the start")?;
        let end = file.seek_end(2 * PAGE)?;
        let grown = sys::write(file.0, b"end")? == 3 && file.size()? == 5 * PAGE + 8 && end == 5 * PAGE + 5;
        let mut bytes = [0; 8];
        let read = process::read(file.0, &mut bytes)? == 0 && file.word(0)? == u64::from_le_bytes(*b"from the");
        process::close(file.0)?;
        Ok(told && grown && read)
    }

    fn shared() -> Result<bool, Error> {
        let (file, map) = mapped()?;
        fill(map, PAGES);
        let read = (0..PAGES).all(|page| file.word(page * PAGE) == Ok(page + 1000));
        file.set_word(7 * PAGE, 7)?;
        let other = file.map(SIZE - 4 * PAGE, SHARED, 4 * PAGE)?;
        set(other, 5, 9);
        let seen = get(map, 7) == 7 && get(other, 3) == 7 && get(map, 9) == 9;
        // The kernel reads from the file into another page of it.
        // SAFETY: the page is the map's, and holds what this program wrote there.
        let itself = unsafe { file.read_to(9 * PAGE, map + 20 * PAGE, PAGE) }? == PAGE && get(other, 16) == 9;
        sync(map, SIZE)?;
        // SAFETY: not used after it.
        unsafe { sys::unmap(other, SIZE - 4 * PAGE) }?;
        unmap(map)?;
        process::close(file.0)?;
        Ok(read && seen && itself)
    }

    fn private() -> Result<bool, Error> {
        let (file, map) = mapped()?;
        let own = file.map(SIZE, PRIVATE, 0)?;
        set(own, 3, 33);
        fill(map, PAGES);
        let reads = get(own, 4) == 1004 && get(own, 3) == 33;
        set(own, 5, 55);
        set(map, 5, 5);
        set(map, 6, 6);
        let keeps = (get(own, 5), get(own, 6), get(map, 3), file.word(5 * PAGE)?) == (55, 6, 1003, 5);
        advise(own, advice::PAGEOUT)?;
        let back = (get(own, 3), get(own, 5), get(own, 4)) == (33, 55, 1004);
        unmap(map)?;
        unmap(own)?;
        process::close(file.0)?;
        Ok(reads && keeps && back)
    }

    fn children() -> Result<bool, Error> {
        let (file, map) = mapped()?;
        let own = file.map(SIZE, PRIVATE, 0)?;
        fill(map, PAGES);
        set(own, 2, 22);
        let child = spawn(|| {
            let inherits = get(own, 2) == 22 && get(own, 3) == 1003;
            set(own, 2, 222);
            set(map, 4, 44);
            u8::from(!(inherits && file.set_word(6 * PAGE, 66).is_ok() && get(own, 4) == 44))
        })?;
        let end = wait_for(child)?;
        let seen = (get(map, 4), get(map, 6), get(own, 2), get(own, 6)) == (44, 66, 22, 66);
        unmap(map)?;
        unmap(own)?;
        process::close(file.0)?;
        Ok(end == End::Exited(0) && seen)
    }

    fn unnamed() -> Result<bool, Error> {
        let map = map_shared(SIZE)?;
        set(map, 1, 11);
        let child = spawn(|| {
            fill(map, PAGES);
            u8::from(advise(map, advice::PAGEOUT).is_err())
        })?;
        let end = wait_for(child)?;
        let seen = holds(map, PAGES);
        unmap(map)?;
        Ok(end == End::Exited(0) && seen)
    }

    fn beyond() -> Result<bool, Error> {
        sigbus::handle()?;
        let (file, map) = mapped()?;
        file.resize(3 * PAGE + 1)?;
        let inside = sigbus::load(map + 3 * PAGE + 100).is_none();
        let outside = sigbus::load(map + 4 * PAGE + 8)
            .is_some_and(|told| (told.code, told.address) == (NO_SUCH_PAGE, map + 4 * PAGE + 8));
        // SAFETY: the kernel only reads, or does not.
        let copied = unsafe { sys::call(sys::number::WRITE, [1, map + 4 * PAGE, 1, 0, 0, 0]) };
        file.resize(SIZE)?;
        let again = sigbus::load(map + 4 * PAGE).is_none();
        unmap(map)?;
        process::close(file.0)?;
        Ok(inside && outside && copied == Err(Error(error::EFAULT)) && again)
    }

    fn cut() -> Result<bool, Error> {
        let (file, map) = mapped()?;
        let own = file.map(SIZE, PRIVATE, 0)?;
        fill(map, PAGES);
        fill(own, PAGES);
        file.resize(5 * PAGE + 4)?;
        file.resize(SIZE)?;
        let zero = |map| (6..PAGES).all(|page| get(map, page) == 0);
        let kept = holds(map, 5) && holds(own, 6) && file.word(5 * PAGE)? == 1005 && file.word(5 * PAGE + 8)? == 0;
        let gone = zero(map) && zero(own);
        unmap(map)?;
        unmap(own)?;
        process::close(file.0)?;
        Ok(kept && gone)
    }

    fn taken_out() -> Result<bool, Error> {
        let (file, map) = mapped()?;
        fill(map, PAGES);
        advise(map, advice::PAGEOUT)?;
        let back = holds(map, PAGES);
        advise(map, advice::COLD)?;
        advise(map, advice::DONTNEED)?;
        let again = holds(map, PAGES) && file.word(31 * PAGE)? == 1031;
        let free = advise(map, advice::FREE) == Err(Error(error::EINVAL));
        unmap(map)?;
        process::close(file.0)?;
        Ok(back && again && free)
    }

    fn changed() -> Result<bool, Error> {
        const MAYMOVE: u64 = 1;
        let (file, map) = mapped()?;
        fill(map, PAGES);
        // SAFETY: read-only for the moment, and only read.
        unsafe { sys::protect(map, SIZE, sys::PROT_READ) }?;
        let read = holds(map, PAGES);
        // SAFETY: as it was.
        unsafe { sys::protect(map, SIZE, sys::PROT_READ | sys::PROT_WRITE) }?;
        set(map, 1, 1001);
        // SAFETY: not used at its old address again.
        let moved = unsafe { sys::remap(map, SIZE, 64 * SIZE, MAYMOVE, 0) }?;
        let there = holds(moved, PAGES);
        file.resize(PAGE)?;
        let end = sigbus::load(moved + PAGE).is_some() && get(moved, 0) == 1000;
        // SAFETY: not used after it.
        unsafe { sys::unmap(moved, 64 * SIZE) }?;
        process::close(file.0)?;
        Ok(read && there && end)
    }

    fn twice() -> Result<bool, Error> {
        const MAYMOVE: u64 = 1;
        let (file, map) = mapped()?;
        fill(map, PAGES);
        // SAFETY: nothing moves.
        let other = unsafe { sys::remap(map, 0, SIZE, MAYMOVE, 0) }?;
        set(other, 3, 33);
        let one = other != map && holds(other, 3) && get(map, 3) == 33;
        let own = file.map(SIZE, PRIVATE, 0)?;
        // SAFETY: nothing moves.
        let refused = unsafe { sys::remap(own, 0, SIZE, MAYMOVE, 0) } == Err(Error(error::EINVAL));
        for map in [map, other, own] {
            unmap(map)?;
        }
        process::close(file.0)?;
        Ok(one && refused)
    }

    fn outlives() -> Result<bool, Error> {
        let (file, map) = mapped()?;
        process::close(file.0)?;
        fill(map, PAGES);
        // SAFETY: the second half is not used after it.
        unsafe { sys::unmap(map + SIZE / 2, SIZE / 2) }?;
        advise_half(map)?;
        let kept = holds(map, PAGES / 2);
        // SAFETY: not used after it.
        unsafe { sys::unmap(map, SIZE / 2) }?;
        Ok(kept && file.map(SIZE, SHARED, 0) == Err(Error(error::EBADF)))
    }

    fn advise_half(map: u64) -> Result<u64, Error> {
        // SAFETY: the contents stay.
        unsafe { sys::advise(map, SIZE / 2, advice::PAGEOUT) }
    }

    /// mincore of a map's pages.
    fn resident(map: u64) -> Result<u64, Error> {
        let mut pages = [0u8; PAGES as usize];
        // SAFETY: the vector has a byte for each page.
        unsafe { sys::call(number::MINCORE, [map, SIZE, pages.as_mut_ptr().addr() as u64, 0, 0, 0]) }?;
        Ok(pages.iter().map(|page| u64::from(page & 1)).sum())
    }

    fn swapped() -> Result<bool, Error> {
        let (file, map) = mapped()?;
        let nothing = resident(map)? == 0;
        fill(map, PAGES);
        let all = resident(map)? == PAGES;
        advise(map, advice::PAGEOUT)?;
        let out = resident(map)? == 0;
        // A call brings back what it reads, and nothing maps it then.
        let read = file.word(3 * PAGE)? == 1003 && resident(map)? > 0;
        let back = holds(map, PAGES) && resident(map)? == PAGES;
        advise(map, advice::DONTNEED)?;
        let unmapped = resident(map)? == PAGES;
        unmap(map)?;
        process::close(file.0)?;
        Ok(nothing && all && out && read && back && unmapped)
    }

    fn ranges() -> Result<bool, Error> {
        let (file, map) = mapped()?;
        let empty = (file.seek(0, DATA), file.seek(0, HOLE)) == (Err(Error(ENXIO)), Ok(0));
        file.allocate(0, 2 * PAGE, 3 * PAGE)?;
        // A large folio has more than was asked for.
        let found = file.seek(0, DATA)? <= 2 * PAGE && file.seek(2 * PAGE, HOLE)? >= 5 * PAGE;
        file.allocate(KEEP_SIZE, SIZE, PAGE)?;
        let kept = file.size()? == SIZE;
        file.allocate(0, SIZE, PAGE)?;
        let grown = file.size()? == SIZE + PAGE;
        fill(map, PAGES);
        file.allocate(PUNCH_HOLE | KEEP_SIZE, 4 * PAGE + 8, 3 * PAGE)?;
        let punched = get(map, 4) == 1004 && (5..8).all(|page| get(map, page) == 0) && get(map, 8) == 1008;
        let no_data = file.seek(SIZE + 2 * PAGE, DATA) == Err(Error(ENXIO));
        let refused = file.allocate(PUNCH_HOLE, 0, PAGE) == Err(Error(EOPNOTSUPP))
            && file.allocate(0, 0, 0) == Err(Error(error::EINVAL));
        unmap(map)?;
        process::close(file.0)?;
        Ok(empty && found && kept && grown && punched && no_data && refused)
    }

    fn removed() -> Result<bool, Error> {
        const REMOVE: u64 = 9;
        const EACCES: i32 = 13;
        let (file, map) = mapped()?;
        let own = file.map(SIZE, PRIVATE, 0)?;
        fill(map, PAGES);
        set(own, 3, 33);
        let refused = advise(own, REMOVE) == Err(Error(EACCES));
        advise(map, REMOVE)?;
        let zero = (0..PAGES).all(|page| get(map, page) == 0) && get(own, 4) == 0 && get(own, 3) == 33;
        unmap(map)?;
        unmap(own)?;
        process::close(file.0)?;
        Ok(refused && zero)
    }

    fn sealed() -> Result<bool, Error> {
        const SHRINK: u64 = 2;
        const WRITE: u64 = 8;
        const EPERM: i32 = 1;
        const EBUSY: i32 = 16;
        let plain = MemoryFile::new(c"plain", PAGE)?;
        let refused = plain.seals() == Ok(1) && plain.seal(SHRINK) == Err(Error(EPERM));
        process::close(plain.0)?;
        let file = MemoryFile::sealable(c"sealed", SIZE)?;
        let map = file.map(SIZE, SHARED, 0)?;
        fill(map, PAGES);
        let busy = file.seal(WRITE) == Err(Error(EBUSY));
        unmap(map)?;
        file.seal(SHRINK | WRITE)?;
        let no = Err(Error(EPERM));
        let stays = file.seals() == Ok(SHRINK | WRITE)
            && file.resize(PAGE) == Err(Error(EPERM))
            && file.set_word(0, 1) == no
            && file.map(SIZE, SHARED, 0) == no
            && file.allocate(PUNCH_HOLE | KEEP_SIZE, 0, PAGE) == Err(Error(EPERM));
        let own = file.map(SIZE, PRIVATE, 0)?;
        let read = holds(own, PAGES);
        set(own, 0, 5);
        let kept = file.word(0)? == 1000;
        unmap(own)?;
        process::close(file.0)?;
        Ok(refused && busy && stays && read && kept)
    }

    fn nameless() -> Result<bool, Error> {
        /// O_TMPFILE.
        const TEMPORARY: u64 = 0o2004_0000;
        const BOTH: u64 = 2;
        const ENOTDIR: i32 = 20;
        let file = MemoryFile(process::open(c"/tmp", TEMPORARY | BOTH)?);
        file.resize(SIZE)?;
        let map = file.map(SIZE, SHARED, 0)?;
        fill(map, PAGES);
        advise(map, advice::PAGEOUT)?;
        let read = file.word(3 * PAGE)? == 1003 && holds(map, PAGES);
        unmap(map)?;
        process::close(file.0)?;
        let nothing = process::open(c"/tmp", TEMPORARY) == Err(Error(error::EINVAL));
        let elsewhere = process::open(c"/proc", TEMPORARY | BOTH) == Err(Error(EOPNOTSUPP));
        let no_directory = process::open(c"/dev/null", TEMPORARY | BOTH) == Err(Error(ENOTDIR));
        Ok(read && nothing && elsewhere && no_directory)
    }

    fn refused() -> Result<bool, Error> {
        let pipe = process::pipe(0)?;
        let no_file = MemoryFile(pipe[0]).map(PAGE, SHARED, 0) == Err(Error(ENODEV));
        let no_kind = {
            let (file, map) = mapped()?;
            unmap(map)?;
            let kind = file.map(PAGE, 0, 0) == Err(Error(error::EINVAL));
            let offset = file.map(PAGE, SHARED, 5) == Err(Error(error::EINVAL));
            process::close(file.0)?;
            let hole = sync(map, SIZE) == Err(Error(error::ENOMEM));
            kind && offset && hole && sync(map + 1, PAGE) == Err(Error(error::EINVAL))
        };
        process::close(pipe[0])?;
        process::close(pipe[1])?;
        Ok(no_file && no_kind)
    }
}
