//! `uffd`: memory that a program watches by userfaultfd, with a child as the monitor, which has inherited the descriptor, and a thread.
//! Pages that are missing are copied or zeroed by the monitor; writes to protected pages are told, after page-out and swap-in as before.
//! The same of memory files (`files`), or with the argument `huge` of huge pages. Prints a line for each check, and exits with 1 if one
//! failed. It holds on a Linux kernel too.

#![cfg_attr(target_os = "none", no_std, no_main)]

user::program!(program::main);

#[cfg(target_os = "none")]
mod files;
#[cfg(target_os = "none")]
mod huge;

#[cfg(target_os = "none")]
mod program {
    use super::{files, huge};
    use user::args::Args;
    use user::check::{self, Checks};
    use user::process::{self, End, signal};
    use user::sys::{self, Error, PAGE, advice, call, number};
    use user::{eprintln, thread};

    const API: u64 = 0xC018_AA3F;
    pub const REGISTER: u64 = 0xC020_AA00;
    const UNREGISTER: u64 = 0x8010_AA01;
    pub const COPY: u64 = 0xC028_AA03;
    const ZEROPAGE: u64 = 0xC020_AA04;
    pub const WRITEPROTECT: u64 = 0xC018_AA06;
    /// What is watched, by REGISTER.
    pub const MISSING: u64 = 1;
    pub const PROTECTED: u64 = 2;
    /// What WRITEPROTECT does.
    pub const PROTECT: u64 = 1;
    pub const ALLOW: u64 = 0;
    /// The flags of a message about a write to what is protected.
    pub const WRITE_PROTECTED: u64 = 1 | 2;
    /// A folio of 64K.
    pub const PAGES: u64 = 16;
    const EEXIST: i32 = 17;

    pub fn main(args: &Args) -> u8 {
        const CHECKS: Checks = &[
            ("missing pages are copied and zeroed", missing),
            ("protected pages are told, through page-out", protected),
            ("a thread is the monitor, of the kernel's copies too", by_thread),
            ("calls that bring pages in wait for the monitor", populated),
            ("missing pages of a file are copied and zeroed", files::missing),
            ("protected pages of a file are told, whatever became of them", files::protected),
            ("watched no longer when nobody has the descriptor", closed),
            ("what is refused", refused),
        ];
        const OF_HUGE_PAGES: Checks = &[("huge pages are copied and told as wholes", huge::watched)];
        let checks = if args.get(1) == Some("huge") { OF_HUGE_PAGES } else { CHECKS };
        let Ok(watchdog) = process::spawn(end_what_hangs) else {
            eprintln!("uffd: no child for its time limit");
            return 1;
        };
        let failed = check::all(&[checks], |check| check());
        if end(watchdog) == Ok(true) { failed } else { 1 }
    }

    /// Bounds every wait of all the others: for a monitor's answer, for a message, for a byte.
    fn end_what_hangs() -> u8 {
        const SECONDS: u64 = 60;
        let ended = process::sleep(SECONDS * 1_000_000_000);
        eprintln!("uffd: the checks were not done after {SECONDS} s");
        // The whole group: this process too.
        u8::from(ended.and_then(|_| process::kill(0, signal::KILL)).is_err())
    }

    /// A request with its structure, in which the kernel answers.
    pub fn request<const N: usize>(descriptor: i32, request: u64, words: &mut [u64; N]) -> Result<u64, Error> {
        let words = words.as_mut_ptr().addr() as u64;
        // SAFETY: the structures of these requests are words; the memory that a request fills is that which the program watches.
        unsafe { call(number::IOCTL, [descriptor as u64, request, words, 0, 0, 0]) }
    }

    pub fn open() -> Result<i32, Error> {
        // SAFETY: touches no memory.
        let descriptor = unsafe { call(number::USERFAULTFD, [0; 6]) }? as i32;
        request(descriptor, API, &mut [0xAA, 0, 0])?;
        Ok(descriptor)
    }

    pub fn watch(descriptor: i32, address: u64, mode: u64) -> Result<u64, Error> {
        request(descriptor, REGISTER, &mut [address, PAGES * PAGE, mode, 0])
    }

    pub fn write_protect(descriptor: i32, address: u64, pages: u64, mode: u64) -> Result<u64, Error> {
        request(descriptor, WRITEPROTECT, &mut [address, pages * PAGE, mode])
    }

    /// Waits for a message by ppoll, and reads it: its flags and address.
    pub fn next(descriptor: i32) -> Result<(u64, u64), Error> {
        const IN: u64 = 1 << 32;
        let mut entry = [u64::from(descriptor as u32) | IN];
        // SAFETY: the kernel writes the answer into the entry.
        unsafe { call(number::PPOLL, [entry.as_mut_ptr().addr() as u64, 1, 0, 0, 0, 0]) }?;
        let mut message = [0; 32];
        process::read(descriptor, &mut message)?;
        let word = |at: usize| message[at..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        Ok((word(8), word(16)))
    }

    fn address_of(page: u64, base: u64) -> *mut u64 {
        core::ptr::with_exposed_provenance_mut((base + page * PAGE) as usize)
    }

    pub fn load(base: u64, page: u64) -> u64 {
        // SAFETY: inside the map; a monitor that is another process changes it.
        unsafe { address_of(page, base).read_volatile() }
    }

    pub fn store(base: u64, page: u64, value: u64) {
        // SAFETY: as `load`.
        unsafe { address_of(page, base).write_volatile(value) }
    }

    fn map() -> Result<u64, Error> {
        sys::map(PAGES * PAGE, sys::PROT_READ | sys::PROT_WRITE)
    }

    pub fn end(monitor: u64) -> Result<bool, Error> {
        process::kill(monitor as i64, signal::KILL)?;
        Ok(process::wait_for(monitor)? == End::Killed(signal::KILL))
    }

    /// Odd pages are zeroed; even ones are copied, with their numbers in them.
    pub fn fill_for_ever(descriptor: i32, base: u64) -> Result<u8, Error> {
        let mut page = [0u64; PAGE as usize / 8];
        loop {
            let (_, address) = next(descriptor)?;
            let index = (address - base) / PAGE;
            if index % 2 == 1 {
                request(descriptor, ZEROPAGE, &mut [address, PAGE, 0, 0])?;
            } else {
                page.fill(index + 1);
                request(descriptor, COPY, &mut [address, page.as_ptr().addr() as u64, PAGE, 0, 0])?;
            }
        }
    }

    fn missing() -> Result<bool, Error> {
        let (descriptor, base) = (open()?, map()?);
        watch(descriptor, base, MISSING)?;
        let monitor = process::spawn(|| fill_for_ever(descriptor, base).unwrap_or(1))?;
        let is_right = |page: u64| load(base, page) == if page % 2 == 1 { 0 } else { page + 1 };
        let mut ok = (0..PAGES).all(is_right);
        store(base, 3, 77);
        // SAFETY: what was there is not used again.
        unsafe { sys::advise(base, 2 * PAGE, advice::DONTNEED) }?;
        store(base, 0, 5);
        ok &= load(base, 0) == 5 && load(base, 1) == 0 && load(base, 3) == 77;
        ok &= end(monitor)?;
        process::close(descriptor)?;
        Ok(ok)
    }

    /// Writes into the pipe which page was to be written, and lets it be written.
    pub fn allow_for_ever(descriptor: i32, base: u64, told: i32) -> Result<u8, Error> {
        loop {
            let (flags, address) = next(descriptor)?;
            let page = if flags == WRITE_PROTECTED { ((address - base) / PAGE) as u8 } else { 255 };
            sys::write(told, &[page])?;
            write_protect(descriptor, address, 1, ALLOW)?;
        }
    }

    fn protected() -> Result<bool, Error> {
        let (descriptor, base) = (open()?, map()?);
        (0..PAGES).for_each(|page| store(base, page, page));
        watch(descriptor, base, PROTECTED)?;
        write_protect(descriptor, base, PAGES, PROTECT)?;
        let [told, tell] = process::pipe(0)?;
        let monitor = process::spawn(|| allow_for_ever(descriptor, base, tell).unwrap_or(1))?;
        let mut pages = [0; 3];
        let mut ok = true;
        for (turn, written) in [2, 11, 2].into_iter().enumerate() {
            // SAFETY: contents stay as they are.
            unsafe { sys::advise(base, PAGES * PAGE, advice::PAGEOUT) }?;
            ok &= (0..PAGES).all(|page| load(base, page) == page);
            store(base, written, written);
            // The third write is to a page that is not protected any more: nothing is told.
            let count = if turn < 2 { process::read(told, &mut pages)? } else { 0 };
            ok &= turn == 2 || (count, u64::from(pages[0])) == (1, written);
        }
        // What is not written any more is tracked again.
        write_protect(descriptor, base, PAGES, PROTECT)?;
        store(base, 2, 2);
        ok &= process::read(told, &mut pages)? == 1 && pages[0] == 2;
        ok &= end(monitor)?;
        request(descriptor, UNREGISTER, &mut [base, PAGES * PAGE])?;
        (0..PAGES).for_each(|page| store(base, page, page));
        [descriptor, told, tell].into_iter().try_for_each(|number| process::close(number).map(drop))?;
        Ok(ok)
    }

    /// A monitor that fills so many pages.
    fn fill(descriptor: i32, base: u64, count: u64) -> Result<(), Error> {
        let mut page = [0u64; PAGE as usize / 8];
        for _ in 0..count {
            let (_, address) = next(descriptor)?;
            page.fill((address - base) / PAGE + 1);
            request(descriptor, COPY, &mut [address, page.as_ptr().addr() as u64, PAGE, 0, 0])?;
        }
        Ok(())
    }

    fn by_thread() -> Result<bool, Error> {
        let (descriptor, base) = (open()?, map()?);
        watch(descriptor, base, MISSING)?;
        let monitor = thread::spawn(move || fill(descriptor, base, 4))?;
        let mut ok = load(base, 2) == 3;
        // The kernel writes a byte into a missing page, and reads one that reaches into another; each waits for the monitor.
        let [read, write] = process::pipe(0)?;
        sys::write(write, &[0xFF])?;
        // SAFETY: the kernel writes a byte of the map.
        ok &= unsafe { call(number::READ, [read as u64, base + 4 * PAGE, 1, 0, 0, 0]) }? == 1;
        ok &= load(base, 4) == 0xFF;
        // SAFETY: the kernel reads sixteen bytes of the map.
        ok &= unsafe { call(number::WRITE, [write as u64, base + 7 * PAGE - 8, 16, 0, 0, 0]) }? == 16;
        let mut words = [0; 16];
        ok &= process::read(read, &mut words)? == 16 && words[0] == 7 && words[8] == 8;
        monitor.join()?;
        [descriptor, read, write].into_iter().try_for_each(|number| process::close(number).map(drop))?;
        // With UFFD_USER_MODE_ONLY it does not wait; nor does a process that is killed.
        ok &= user_mode_only()?;
        let killed = process::spawn(|| wait_for_nobody().map_or(1, |_| 2))?;
        process::sleep(5_000_000)?;
        process::kill(killed as i64, signal::KILL)?;
        Ok(ok && process::wait_for(killed)? == End::Killed(signal::KILL))
    }

    /// Each page is asked for once, whichever call needs it first.
    fn populated() -> Result<bool, Error> {
        let (descriptor, base) = (open()?, map()?);
        watch(descriptor, base, MISSING)?;
        let monitor = thread::spawn(move || fill(descriptor, base, PAGES))?;
        // SAFETY: contents stay as they are.
        unsafe { sys::advise(base, 4 * PAGE, advice::POPULATE_READ) }?;
        // SAFETY: as above.
        unsafe { sys::advise(base, 9 * PAGE, advice::POPULATE_WRITE) }?;
        // SAFETY: touches no memory of the program's own.
        unsafe { call(number::MLOCK, [base, PAGES * PAGE, 0, 0, 0, 0]) }?;
        monitor.join()?;
        let ok = (0..PAGES).all(|page| load(base, page) == page + 1);
        process::close(descriptor)?;
        Ok(ok)
    }

    fn user_mode_only() -> Result<bool, Error> {
        // SAFETY: touches no memory.
        let descriptor = unsafe { call(number::USERFAULTFD, [1, 0, 0, 0, 0, 0]) }? as i32;
        request(descriptor, API, &mut [0xAA, 0, 0])?;
        let base = map()?;
        watch(descriptor, base, MISSING)?;
        // SAFETY: the kernel reads the map, or does not.
        let copied = unsafe { call(number::WRITE, [1, base, 1, 0, 0, 0]) };
        // SAFETY: contents stay as they are.
        let populated = unsafe { sys::advise(base, PAGE, advice::POPULATE_READ) };
        process::close(descriptor)?;
        let refused = Err(Error(sys::error::EFAULT));
        Ok((copied, populated) == (refused, refused))
    }

    /// A copy of the kernel's that nobody answers.
    fn wait_for_nobody() -> Result<u64, Error> {
        let (descriptor, base) = (open()?, map()?);
        watch(descriptor, base, MISSING)?;
        // SAFETY: the kernel reads the map.
        unsafe { call(number::WRITE, [1, base, 1, 0, 0, 0]) }
    }

    /// The monitor ends while the parent waits for it, which has given its own descriptor up.
    fn closed() -> Result<bool, Error> {
        let (descriptor, base) = (open()?, map()?);
        watch(descriptor, base, MISSING)?;
        let monitor = process::spawn(|| u8::from(next(descriptor).is_err()))?;
        process::close(descriptor)?;
        store(base, 0, 9);
        Ok(load(base, 0) == 9 && process::wait_for(monitor)? == End::Exited(0))
    }

    fn refused() -> Result<bool, Error> {
        let (descriptor, base) = (open()?, map()?);
        let is = |outcome: Result<u64, Error>, error: i32| outcome == Err(Error(error));
        watch(descriptor, base, MISSING)?;
        let mut zero = [base, PAGE, 0, 0];
        request(descriptor, ZEROPAGE, &mut zero)?;
        let mut ok = zero[3] == PAGE;
        ok &= is(request(descriptor, ZEROPAGE, &mut zero), EEXIST) && zero[3] as i64 == -i64::from(EEXIST);
        ok &= is(request(descriptor, API, &mut [0xAB, 0, 0]), sys::error::EINVAL);
        ok &= is(request(descriptor, REGISTER, &mut [base + 1, PAGE, MISSING, 0]), sys::error::EINVAL);
        ok &= is(write_protect(descriptor, base, 1, PROTECT), sys::error::ENOENT);
        let other = open()?;
        ok &= is(watch(other, base, MISSING), 16);
        process::close(other)?;
        process::close(descriptor)?;
        Ok(ok)
    }
}
