//! `look`: checks of the files that tell about memory, and of the calls on them: what maps, smaps, pagemap, status and mincore say of a
//! map must be what was done to it. Prints one line for each check and exits with 1 if any failed. Those of large folios' switches
//! need root on Linux.

#![cfg_attr(target_os = "none", no_std, no_main)]

user::program!(program::main);

#[cfg(target_os = "none")]
mod program {
    use core::ffi::CStr;

    use user::args::Args;
    use user::check::{self, Checks};
    use user::numbers;
    use user::process::{self, End};
    use user::sys::{self, Error, PAGE, advice, error, number};
    use user::told::{self, EXCLUSIVE, PRESENT, SWAPPED, read_at};

    const CHECKS: Checks = &[
        ("maps has a line for a map, with its protection", maps),
        ("smaps and status say what is resident, and what is swapped out", resident),
        ("pagemap and mincore agree with what was touched and paged out", pages),
        ("pagemap of pages that a child shares says so", shared),
        ("smaps and status say what is locked, and that it stays", locked),
        ("copies of a descriptor share its position, pread64 leaves it", positions),
        ("/proc has this process, and its program", directory),
        ("another process's files can be read, until it ends", other),
        ("relative paths start from where chdir went", relative),
        ("a folio size can be switched, and its counters count", sizes),
        ("huge pages can be set aside, and given back", pools),
        ("status says how much memory was present at most", peak),
        ("what can not be read, written or found is refused", refusals),
    ];

    pub fn main(_: &Args) -> u8 {
        check::all(&[CHECKS], |check| check())
    }

    /// A file's text, of at most so many bytes.
    struct Text {
        bytes: [u8; 24 << 10],
        length: usize,
    }

    impl Text {
        fn of(path: &CStr) -> Result<Self, Error> {
            let file = process::open(path, 0)?;
            let mut text = Self { bytes: [0; 24 << 10], length: 0 };
            loop {
                let count = process::read(file, &mut text.bytes[text.length..])?;
                text.length += count;
                if count == 0 {
                    break;
                }
            }
            process::close(file)?;
            Ok(text)
        }

        fn as_str(&self) -> &str {
            core::str::from_utf8(&self.bytes[..self.length]).unwrap_or("")
        }

        /// The lines of smaps from the one of the area at `address` on.
        fn area(&self, address: u64) -> Option<&str> {
            let starts = |line: &str| {
                let (start, _) = line.split_once('-')?;
                (u64::from_str_radix(start, 16).ok()? == address).then_some(())
            };
            let line = self.as_str().lines().find(|line| starts(line).is_some())?;
            let at = line.as_ptr().addr() - self.bytes.as_ptr().addr();
            self.as_str().get(at..)
        }
    }

    /// The number behind a name at the start of a line.
    fn value(text: &str, name: &str) -> Option<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        numbers::size(line.split_whitespace().next()?)
    }

    const PAGES: u64 = 16;

    /// A new map of `PAGES` pages, each written to.
    fn filled() -> Result<u64, Error> {
        let address = sys::map(PAGES * PAGE, sys::PROT_READ | sys::PROT_WRITE)?;
        (0..PAGES).for_each(|page| write(address, page));
        Ok(address)
    }

    fn write(address: u64, page: u64) {
        // SAFETY: a page of a map of our own.
        unsafe { ((address + page * PAGE) as *mut u64).write_volatile(page + 1) };
    }

    fn page_out(address: u64, pages: u64) -> Result<u64, Error> {
        // SAFETY: the contents stay.
        unsafe { sys::advise(address, pages * PAGE, advice::PAGEOUT) }
    }

    fn done(address: u64) -> Result<u64, Error> {
        // SAFETY: a map of our own, which is not used again.
        unsafe { sys::unmap(address, PAGES * PAGE) }
    }

    fn maps() -> Result<bool, Error> {
        let address = filled()?;
        // Two areas, as their protection differs.
        // SAFETY: the first page is only read later.
        unsafe { sys::protect(address, PAGE, sys::PROT_READ) }?;
        let text = Text::of(c"/proc/self/maps")?;
        let first = text.area(address).is_some_and(|line| line.split(' ').nth(1) == Some("r--p"));
        let second = text.area(address + PAGE).is_some_and(|line| line.split(' ').nth(1) == Some("rw-p"));
        let stack = text.as_str().lines().any(|line| line.ends_with("[stack]"));
        done(address)?;
        Ok(first && second && stack)
    }

    /// Resident and swapped out, in kilobytes.
    fn amounts(address: u64) -> Result<Option<(u64, u64, u64)>, Error> {
        let text = Text::of(c"/proc/self/smaps")?;
        let area = text.area(address);
        Ok(area.and_then(|area| Some((value(area, "Rss:")?, value(area, "Private_Dirty:")?, value(area, "Swap:")?))))
    }

    fn of_process() -> Result<(u64, u64), Error> {
        let text = Text::of(c"/proc/self/status")?;
        let value = |name| value(text.as_str(), name).unwrap_or(0);
        Ok((value("VmRSS:"), value("VmSwap:")))
    }

    fn resident() -> Result<bool, Error> {
        // A neighbour would be one area with it.
        let address = filled()?;
        // SAFETY: nothing is lost.
        unsafe { sys::advise(address, PAGES * PAGE, advice::HUGEPAGE) }?;
        let (all, before) = (amounts(address)?, of_process()?);
        page_out(address, PAGES / 2)?;
        let (half, after) = (amounts(address)?, of_process()?);
        done(address)?;
        let (kilobytes, out) = (PAGES * 4, PAGES * 2);
        Ok(all == Some((kilobytes, kilobytes, 0))
            && half == Some((out, out, out))
            && after == (before.0 - out, before.1 + out))
    }

    /// The words of pagemap for the pages of a map.
    fn words(address: u64) -> Result<[u64; PAGES as usize], Error> {
        told::pagemap(address)
    }

    fn in_memory(address: u64) -> Result<[u8; PAGES as usize], Error> {
        let mut pages = [0u8; PAGES as usize];
        // SAFETY: the kernel writes a byte for each page.
        unsafe { sys::call(number::MINCORE, [address, PAGES * PAGE, pages.as_mut_ptr().addr() as u64, 0, 0, 0]) }?;
        Ok(pages)
    }

    fn pages() -> Result<bool, Error> {
        let address = sys::map(PAGES * PAGE, sys::PROT_READ | sys::PROT_WRITE)?;
        let empty = words(address)? == [0; PAGES as usize] && in_memory(address)? == [0; PAGES as usize];
        // Pages of one size, so that only what is touched is there.
        // SAFETY: nothing is lost.
        unsafe { sys::advise(address, PAGES * PAGE, advice::NOHUGEPAGE) }?;
        (0..PAGES).step_by(2).for_each(|page| write(address, page));
        let touched = words(address)?;
        let present = in_memory(address)?;
        page_out(address, 8)?;
        let after = words(address)?;
        let right = (0..PAGES as usize).all(|page| {
            let is_touched = page % 2 == 0;
            let is_out = is_touched && page < 8;
            let flags = touched[page] & (PRESENT | SWAPPED | EXCLUSIVE);
            let wanted = if is_touched { PRESENT | EXCLUSIVE } else { 0 };
            flags == wanted
                && present[page] & 1 == u8::from(is_touched)
                && (after[page] & SWAPPED != 0) == is_out
                && (after[page] & PRESENT != 0) == (is_touched && !is_out)
        });
        done(address)?;
        Ok(empty && right)
    }

    fn shared() -> Result<bool, Error> {
        let address = filled()?;
        let child = process::spawn(|| {
            let shared =
                words(address).is_ok_and(|words| words.iter().all(|word| word & (PRESENT | EXCLUSIVE) == PRESENT));
            write(address, 3);
            let own = words(address).is_ok_and(|words| words[3] & EXCLUSIVE != 0);
            u8::from(!(shared && own))
        })?;
        let good = process::wait_for(child)? == End::Exited(0);
        let alone = words(address)?.iter().all(|word| word & EXCLUSIVE != 0);
        done(address)?;
        Ok(good && alone)
    }

    fn locked() -> Result<bool, Error> {
        let address = sys::map(PAGES * PAGE, sys::PROT_READ | sys::PROT_WRITE)?;
        // SAFETY: no contents change.
        let lock = |number| unsafe { sys::call(number, [address, PAGES * PAGE, 0, 0, 0, 0]) };
        lock(number::MLOCK)?;
        let smaps = Text::of(c"/proc/self/smaps")?;
        let area = smaps.area(address).unwrap_or("");
        let flags = area.lines().find_map(|line| line.strip_prefix("VmFlags:")).unwrap_or("");
        let status = Text::of(c"/proc/self/status")?;
        let kilobytes = PAGES * 4;
        let told = value(area, "Locked:") == Some(kilobytes)
            && value(area, "Rss:") == Some(kilobytes)
            && flags.split(' ').any(|flag| flag == "lo")
            && value(status.as_str(), "VmLck:") == Some(kilobytes);
        let stays = page_out(address, PAGES) == Err(Error(error::EINVAL));
        lock(number::MUNLOCK)?;
        page_out(address, PAGES)?;
        let goes = amounts(address)?.is_some_and(|(_, _, out)| out == kilobytes);
        done(address)?;
        Ok(told && stays && goes)
    }

    fn seek(file: i32, offset: i64, whence: u64) -> Result<u64, Error> {
        // SAFETY: touches no memory.
        unsafe { sys::call(number::LSEEK, [file as u64, offset as u64, whence, 0, 0, 0]) }
    }

    fn positions() -> Result<bool, Error> {
        let file = process::open(c"/proc/self/status", 0)?;
        let (mut first, mut again, mut next) = ([0; 8], [0; 8], [0; 8]);
        process::read(file, &mut first)?;
        process::duplicate(file, 20)?;
        read_at(20, &mut again, 0)?;
        process::read(20, &mut next)?;
        let right = first == again && first != next && seek(file, 0, 1)? == 16 && seek(file, 4, 0)? == 4;
        process::read(20, &mut next)?;
        process::close(20)?;
        process::close(file)?;
        Ok(right && first[4..] == next[..4] && seek(file, 0, 0) == Err(Error(error::EBADF)))
    }

    fn directory() -> Result<bool, Error> {
        let file = process::open(c"/proc", 0o4_0000)?;
        let mut own = [0u8; 16];
        let digits = decimal(process::own_number(), &mut own);
        let mut found = false;
        loop {
            let mut entries = [0u8; 512];
            let call = [file as u64, entries.as_mut_ptr().addr() as u64, 512, 0, 0, 0];
            // SAFETY: the kernel writes into the buffer.
            let count = unsafe { sys::call(number::GETDENTS64, call) }? as usize;
            if count == 0 {
                break;
            }
            let mut at = 0;
            while at < count {
                let length = usize::from(u16::from_le_bytes([entries[at + 16], entries[at + 17]]));
                let name = entries[at + 19..at + length].split(|&byte| byte == 0).next().unwrap_or(&[]);
                found |= name == digits;
                at += length;
            }
        }
        process::close(file)?;
        let mut path = [0u8; 64];
        let to = path.as_mut_ptr().addr() as u64;
        let from = c"/proc/self/exe".as_ptr().addr() as u64;
        // SAFETY: the kernel writes into the buffer.
        let length = unsafe { sys::call(number::READLINKAT, [u64::MAX, from, to, 64, 0, 0]) }? as usize;
        Ok(found && path[..length].ends_with(b"look") && path[0] == b'/')
    }

    fn decimal(mut number: u64, into: &mut [u8; 16]) -> &[u8] {
        let mut at = into.len();
        loop {
            at -= 1;
            into[at] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                return &into[at..];
            }
        }
    }

    fn other() -> Result<bool, Error> {
        let ([read, write], [asked, ask]) = (process::pipe(0)?, process::pipe(0)?);
        let child = process::spawn(|| {
            let _ = (process::close(ask), sys::write(write, b"!"));
            u8::from(process::read(asked, &mut [0; 1]) != Ok(0))
        })?;
        process::read(read, &mut [0; 1])?;
        let mut path = *b"/proc/0000000000000000/status\0";
        let mut number = [b'0'; 16];
        let length = decimal(child, &mut number).len();
        path[6..6 + length].copy_from_slice(&number[16 - length..]);
        path.copy_within(22.., 6 + length);
        let path = CStr::from_bytes_until_nul(&path).unwrap_or(c"");
        let text = Text::of(path)?;
        let right =
            value(text.as_str(), "Pid:") == Some(child) && value(text.as_str(), "PPid:") == Some(process::own_number());
        process::close(ask)?;
        let ended = process::wait_for(child)? == End::Exited(0);
        [read, write, asked].into_iter().try_for_each(|end| process::close(end).map(drop))?;
        Ok(right && ended && process::open(path, 0) == Err(Error(error::ENOENT)))
    }

    fn relative() -> Result<bool, Error> {
        // SAFETY: the kernel reads the path.
        let go = |path: &CStr| unsafe { sys::call(number::CHDIR, [path.as_ptr().addr() as u64, 0, 0, 0, 0, 0]) };
        go(c"/proc/self")?;
        let near = process::open(c"../meminfo", 0)?;
        process::close(near)?;
        let nowhere = go(c"/proc/self/nothing") == Err(Error(error::ENOENT));
        let file = go(c"/proc/meminfo") == Err(Error(error::ENOTDIR));
        go(c"/")?;
        Ok(nowhere && file)
    }

    /// The memory of this process: how much is there, and the most that was, in KiB.
    fn present() -> Result<(u64, u64), Error> {
        let status = Text::of(c"/proc/self/status")?;
        let line = |name| value(status.as_str(), name).unwrap_or(0);
        Ok((line("VmRSS:"), line("VmHWM:")))
    }

    fn peak() -> Result<bool, Error> {
        const BYTES: u64 = 64 * PAGE;
        let address = sys::map(BYTES, sys::PROT_READ | sys::PROT_WRITE)?;
        (0..BYTES / PAGE / PAGES).for_each(|part| write(address + part * PAGES * PAGE, 1));
        let (full, _) = present()?;
        // SAFETY: the map is not used again.
        unsafe { sys::unmap(address, BYTES) }?;
        let (after, peak) = present()?;
        Ok(after < full && peak >= full)
    }

    const POOL: &CStr = c"/sys/kernel/mm/hugepages/hugepages-64kB/nr_hugepages";
    const FREE: &CStr = c"/sys/kernel/mm/hugepages/hugepages-64kB/free_hugepages";

    /// Sets the pool's size. Returns the memory that all pools have then, in KiB.
    fn set_aside(count: &[u8]) -> Result<u64, Error> {
        let file = process::open(POOL, 1)?;
        let written = sys::write(file, count);
        process::close(file)?;
        written?;
        Ok(value(Text::of(c"/proc/meminfo")?.as_str(), "Hugetlb:").unwrap_or(0))
    }

    fn pools() -> Result<bool, Error> {
        let before = set_aside(b"0")?;
        let with = set_aside(b"3\n")?;
        let free = Text::of(FREE)?.as_str() == "3\n";
        let refused = set_aside(b"many") == Err(Error(error::EINVAL));
        Ok(with == before + 3 * 64 && free && refused && set_aside(b"0")? == before)
    }

    const SIZE: &CStr = c"/sys/kernel/mm/transparent_hugepage/hugepages-64kB/enabled";
    const ALLOCATED: &CStr = c"/sys/kernel/mm/transparent_hugepage/hugepages-64kB/stats/anon_fault_alloc";
    const THERE: &CStr = c"/sys/kernel/mm/transparent_hugepage/hugepages-64kB/stats/nr_anon";

    fn switch(word: &[u8]) -> Result<usize, Error> {
        let file = process::open(SIZE, 1)?;
        let written = sys::write(file, word);
        process::close(file)?;
        written
    }

    fn sizes() -> Result<bool, Error> {
        let number = |path| Text::of(path).map(|text| value(text.as_str(), "").unwrap_or(0));
        switch(b"always\n")?;
        let said = Text::of(SIZE)?.as_str() == "[always] inherit madvise never\n";
        let (allocated, there) = (number(ALLOCATED)?, number(THERE)?);
        let address = sys::map(2 * PAGES * PAGE, sys::PROT_READ | sys::PROT_WRITE)?;
        let aligned = address.next_multiple_of(PAGES * PAGE);
        write(aligned, 5);
        let counted = number(ALLOCATED)? == allocated + 1 && number(THERE)? == there + 1;
        let whole = words(aligned)?.iter().all(|word| word & PRESENT != 0);
        let refused = switch(b"perhaps") == Err(Error(error::EINVAL));
        switch(b"never")?;
        // SAFETY: the map is not used again.
        unsafe { sys::unmap(address, 2 * PAGES * PAGE) }?;
        Ok(said && counted && whole && refused && number(THERE)? == there)
    }

    fn refusals() -> Result<bool, Error> {
        let pagemap = process::open(c"/proc/self/pagemap", 0)?;
        let odd = read_at(pagemap, &mut [0; 8], 4) == Err(Error(error::EINVAL));
        let beyond = read_at(pagemap, &mut [0; 8], 1 << 40) == Ok(0);
        let unwritten = sys::write(pagemap, b"x") == Err(Error(error::EBADF));
        // SAFETY: the kernel must refuse to write there.
        let nowhere = unsafe { sys::call(number::READ, [pagemap as u64, 8, 8, 0, 0, 0]) } == Err(Error(error::EFAULT));
        process::close(pagemap)?;
        let proc = process::open(c"/proc", 0)?;
        let directory = process::read(proc, &mut [0; 8]) == Err(Error(error::EISDIR));
        process::close(proc)?;
        let absent = process::open(c"/proc/self/nothing", 0) == Err(Error(error::ENOENT));
        let inside = process::open(c"/proc/meminfo/x", 0) == Err(Error(error::ENOTDIR));
        Ok(odd && beyond && unwritten && nowhere && directory && absent && inside)
    }
}
