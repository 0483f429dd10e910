//! `badswap [SIZE]`: what a program sees of a swap device that fails. Writes SIZE bytes (64K), pages them out, and reads every page
//! with a handler for SIGBUS. A page that can not be read back is reported, and then the kernel is asked to read it too (`write`).
//! Every other page must be as it was written; a bad page that is given up (MADV_DONTNEED) is an empty one again.

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
user::program!(program::main);

#[cfg(not(target_os = "none"))]
fn main() {}

#[cfg(target_os = "none")]
mod program {
    use core::arch::asm;
    use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

    use user::args::Args;
    use user::numbers::size;
    use user::pattern::Fill;
    use user::sys::{self, Error, PAGE, advice, number};
    use user::{eprintln, println, process};

    const WORDS: usize = PAGE as usize / 8;
    const SIGBUS: u64 = 7;
    /// The handler wants all three arguments.
    const SA_SIGINFO: u64 = 4;
    /// Where the `siginfo` of a fault has the address, and its `ucontext` the program counter.
    const SI_ADDR: usize = 16;
    const UC_PC: usize = 176 + 8 + 32 * 8;

    /// SIGBUS so far, and `si_code` and `si_addr` of the last one.
    static COUNT: AtomicU64 = AtomicU64::new(0);
    static CODE: AtomicU64 = AtomicU64::new(0);
    static ADDRESS: AtomicU64 = AtomicU64::new(0);

    pub fn main(args: &Args) -> u8 {
        let length = args.iter().next().map_or(Some(64 << 10), size).filter(|&size| size > 0 && size % PAGE == 0);
        let Some(length) = length else {
            eprintln!("usage: badswap [SIZE]");
            return 2;
        };
        match run(length) {
            Ok(()) => 0,
            Err((what, Error(error))) => {
                eprintln!("badswap: {what} failed with error {error}");
                1
            }
        }
    }

    type Failed = (&'static str, Error);

    fn run(length: u64) -> Result<(), Failed> {
        handle_sigbus().map_err(|error| ("rt_sigaction", error))?;
        let address = sys::map(length, sys::PROT_READ | sys::PROT_WRITE).map_err(|error| ("mmap", error))?;
        for page in 0..length / PAGE {
            Fill::Pattern.write(words(address, page), page * WORDS as u64, 1);
        }
        advise(address, length, advice::PAGEOUT)?;
        let mut right = 0;
        for page in 0..length / PAGE {
            if is_bad(address + page * PAGE) {
                report(address + page * PAGE, page)?;
            } else if Fill::Pattern.first_wrong(words(address, page), page * WORDS as u64, 1).is_none() {
                right += 1;
            } else {
                println!("page {page}: not what was written");
            }
        }
        println!("{right} pages are as they were written");
        Ok(())
    }

    /// The words of a page of the map.
    fn words(address: u64, page: u64) -> &'static mut [u64] {
        // SAFETY: inside the map, which stays; no page is used by two at a time.
        unsafe { core::slice::from_raw_parts_mut((address + page * PAGE) as *mut u64, WORDS) }
    }

    fn advise(address: u64, length: u64, advice: u64) -> Result<(), Failed> {
        // SAFETY: the map is ours, and its contents are looked at only as they must be after the advice.
        unsafe { sys::advise(address, length, advice) }.map(|_| ()).map_err(|error| ("madvise", error))
    }

    /// Says what a page does that can not be read.
    fn report(address: u64, page: u64) -> Result<(), Failed> {
        let place = if ADDRESS.load(Relaxed) == address { "its address" } else { "another address" };
        println!("page {page}: SIGBUS with code {} and {place}", CODE.load(Relaxed));
        // SAFETY: the kernel only reads the byte, or does not.
        match unsafe { sys::call(number::WRITE, [1, address, 1, 0, 0, 0]) } {
            Ok(_) => println!("page {page}: the kernel can read it"),
            Err(Error(error)) => println!("page {page}: write ends with error {error}"),
        }
        advise(address, PAGE, advice::DONTNEED)?;
        let state = if is_bad(address) { "still bad" } else { "empty" };
        println!("page {page}: {state} when it was given up");
        Ok(())
    }

    /// Whether a load from the address raises SIGBUS.
    fn is_bad(address: u64) -> bool {
        let before = COUNT.load(Relaxed);
        // SAFETY: a load from the map; the handler goes on behind it if it fails, and x9 is not used then.
        unsafe { asm!("ldrb w9, [{}]", in(reg) address, out("x9") _, options(nostack)) };
        COUNT.load(Relaxed) != before
    }

    fn handle_sigbus() -> Result<(), Error> {
        process::handle(SIGBUS, on_sigbus as *const () as usize as u64, SA_SIGINFO).map(|_| ())
    }

    /// Notes the signal, and has the program go on behind the instruction.
    extern "C" fn on_sigbus(_signal: i32, info: *const u8, context: *mut u8) {
        // SAFETY: what the kernel gives a handler: a `siginfo` and a `ucontext`, which is read back when it returns.
        unsafe {
            CODE.store(info.add(8).cast::<u32>().read().into(), Relaxed);
            ADDRESS.store(info.add(SI_ADDR).cast::<u64>().read(), Relaxed);
            let pc = context.add(UC_PC).cast::<u64>();
            pc.write(pc.read() + 4);
        }
        COUNT.fetch_add(1, Relaxed);
    }
}
