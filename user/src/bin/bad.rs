//! `bad THING`: does one bad thing, to see what becomes of it. Run without an argument it lists them, each with the exit status
//! that Linux gives (128 plus the number of the signal where one ends the program).

#![cfg_attr(target_os = "none", no_std, no_main)]

user::program!(program::main);

#[cfg(target_os = "none")]
mod program {
    use core::arch::asm;
    use core::hint::black_box;

    use user::args::Args;
    use user::sys::{self, Error, PAGE, error, number};
    use user::{eprintln, println};

    /// An address that no program has mapped: between the heap and the maps.
    const NOWHERE: u64 = 0x1234_5678_9000;
    /// An address of the kernel's half.
    const KERNEL: u64 = 0xFFFF_8000_0020_0000;

    struct Thing {
        name: &'static str,
        status: u8,
        what: &'static str,
        run: fn() -> u8,
    }

    const fn thing(name: &'static str, status: u8, what: &'static str, run: fn() -> u8) -> Thing {
        Thing { name, status, what, run }
    }

    const SEGV: u8 = 128 + 11;
    const BUS: u8 = 128 + 7;
    const ILL: u8 = 128 + 4;
    const TRAP: u8 = 128 + 5;
    const ABRT: u8 = 128 + 6;

    static THINGS: &[Thing] = &[
        thing("null", SEGV, "reads address 0", || read(0)),
        thing("write", SEGV, "writes where nothing is mapped", || write(NOWHERE)),
        thing("read-kernel", SEGV, "reads the kernel's memory", || read(KERNEL)),
        thing("write-kernel", SEGV, "writes the kernel's memory", || write(KERNEL)),
        thing("noncanonical", SEGV, "reads an address of neither half", || read(0x00F0_0000_0000_0000)),
        thing("jump", SEGV, "jumps to where nothing is mapped", || jump(NOWHERE)),
        thing("jump-kernel", SEGV, "jumps into the kernel", || jump(KERNEL)),
        thing("jump-data", SEGV, "jumps into data, which is not executable", jump_data),
        thing("write-text", SEGV, "writes its own code", || write(read as fn(u64) -> u8 as usize as u64)),
        thing("write-protected", SEGV, "writes memory that mprotect made read-only", write_protected),
        thing("unmapped", SEGV, "reads memory after munmap", read_unmapped),
        thing("stack", SEGV, "calls itself until the stack is full", || recurse(0) as u8),
        thing("misaligned-pc", BUS, "jumps to an address that is not a multiple of 4", || jump(misaligned_target())),
        thing("misaligned-exclusive", BUS, "load-exclusive from an odd address, across 16 bytes", misaligned_exclusive),
        thing("undefined", ILL, "executes an undefined instruction", undefined),
        thing("privileged", ILL, "reads a register of EL1", privileged),
        thing("tlbi", ILL, "invalidates the TLB", tlbi),
        thing("semihosting", ILL, "asks the host to end the machine, through semihosting", semihosting),
        thing("hypervisor", ILL, "calls the hypervisor", hypervisor),
        thing("breakpoint", TRAP, "executes a breakpoint", breakpoint),
        thing("abort", ABRT, "sends itself SIGABRT", abort),
        thing("panic", 101, "panics", || panic!("as told")),
        thing("pointers", 0, "hands wild pointers to system calls, which must refuse them", pointers),
        thing("arguments", 0, "hands senseless arguments to memory calls, which must refuse them", arguments),
        thing("call", 0, "makes a system call that does not exist, and must get ENOSYS", unknown_call),
        thing("barriers", 0, "executes DSB, ISB and hints in a loop, which must not disturb the counts", barriers),
        thing("verdict", 3, "prints forged verdict lines and exits with 3", verdict),
        thing("status", 77, "exits with 77", || 77),
    ];

    pub fn main(args: &Args) -> u8 {
        let wanted = args.get(1).unwrap_or("");
        if let Some(thing) = THINGS.iter().find(|thing| thing.name == wanted) {
            let status = (thing.run)();
            if status != thing.status {
                eprintln!("bad: {}: still here; the status must be {}, not {status}", thing.name, thing.status);
                return if status == 0 { 1 } else { status };
            }
            return status;
        }
        println!("usage: bad THING");
        for thing in THINGS {
            println!("  {:<22}{:>3}  {}", thing.name, thing.status, thing.what);
        }
        if wanted.is_empty() || wanted == "list" { 0 } else { 2 }
    }

    fn read(address: u64) -> u8 {
        // SAFETY: none; the access must end the program.
        unsafe { asm!("ldr {0}, [{0}]", inout(reg) address => _) };
        1
    }

    fn write(address: u64) -> u8 {
        // SAFETY: none; the access must end the program.
        unsafe { asm!("str {0}, [{0}]", in(reg) address) };
        1
    }

    fn jump(address: u64) -> u8 {
        // SAFETY: none; the jump must end the program.
        unsafe { asm!("blr {0}", in(reg) address, clobber_abi("C")) };
        1
    }

    fn jump_data() -> u8 {
        // `ret`: it would come back if data were executable.
        static CODE: core::sync::atomic::AtomicU32 = core::sync::atomic::AtomicU32::new(0xD65F_03C0);
        jump(black_box(&CODE).as_ptr().addr() as u64)
    }

    fn misaligned_target() -> u64 {
        misaligned_target as fn() -> u64 as usize as u64 + 2
    }

    fn new_page() -> u64 {
        let page = sys::map(PAGE, sys::PROT_READ | sys::PROT_WRITE).expect("mmap of a page");
        // SAFETY: a page of our own.
        unsafe { (page as *mut u64).write_volatile(1) };
        page
    }

    fn write_protected() -> u8 {
        let page = new_page();
        // SAFETY: the write that follows must end the program.
        unsafe { sys::protect(page, PAGE, sys::PROT_READ) }.expect("mprotect");
        write(page)
    }

    fn read_unmapped() -> u8 {
        let page = new_page();
        // SAFETY: the read that follows must end the program.
        unsafe { sys::unmap(page, PAGE) }.expect("munmap");
        read(page)
    }

    #[expect(unconditional_recursion, reason = "that is the bad thing")]
    fn recurse(depth: u64) -> u64 {
        let frame = black_box([depth; 64]);
        recurse(depth + 1) + frame[depth as usize % 64]
    }

    fn misaligned_exclusive() -> u8 {
        // Across a line of 16 bytes: inside one, FEAT_LSE2 allows it.
        let page = new_page();
        // SAFETY: none; the access must end the program.
        unsafe { asm!("ldxr {0}, [{0}]", inout(reg) page + 13 => _) };
        1
    }

    fn undefined() -> u8 {
        // SAFETY: none; the instruction must end the program. So it is in the next ones.
        unsafe { asm!("udf #0") };
        1
    }

    fn privileged() -> u8 {
        // SAFETY: as above.
        unsafe { asm!("mrs {0}, ttbr0_el1", out(reg) _) };
        1
    }

    fn tlbi() -> u8 {
        // SAFETY: as above.
        unsafe { asm!("tlbi vmalle1is") };
        1
    }

    fn semihosting() -> u8 {
        // SYS_EXIT_EXTENDED with status 0 for "the application ended".
        let block = [0x20026u64, 0];
        // SAFETY: as above.
        unsafe { asm!("hlt #0xf000", in("x0") 0x20, in("x1") &block) };
        1
    }

    fn hypervisor() -> u8 {
        // SAFETY: as above. PSCI SYSTEM_OFF, if anyone listened.
        unsafe { asm!("hvc #0", inout("x0") 0x8400_0008u64 => _) };
        1
    }

    fn breakpoint() -> u8 {
        // SAFETY: as above.
        unsafe { asm!("brk #1") };
        1
    }

    fn abort() -> u8 {
        // SAFETY: the calls touch no memory. 6 is SIGABRT.
        unsafe {
            let process = sys::call(number::GETPID, [0; 6]).expect("getpid");
            let thread = sys::call(number::GETTID, [0; 6]).expect("gettid");
            let _ = sys::call(number::TGKILL, [process, thread, 6, 0, 0, 0]);
        }
        1
    }

    /// Makes a call and says if it did not answer as it must.
    fn expect(what: &str, number: u64, arguments: [u64; 6], expected: i32) -> u8 {
        // SAFETY: the arguments are senseless by intent, and name no memory of ours.
        let result = unsafe { sys::call(number, arguments) };
        if result == Err(Error(expected)) {
            return 0;
        }
        eprintln!("bad: {what}: {result:?}, must be error {expected}");
        1
    }

    fn pointers() -> u8 {
        let text = b"half of this is mapped";
        let page = new_page();
        let mut wrong = 0;
        for (name, address) in [("null", 0), ("nowhere", NOWHERE), ("kernel", KERNEL), ("last", u64::MAX - 7)] {
            println!("{name}");
            wrong |= expect("write", number::WRITE, [1, address, 8, 0, 0, 0], error::EFAULT);
            wrong |= expect("clock_gettime", number::CLOCK_GETTIME, [1, address, 0, 0, 0, 0], error::EFAULT);
            wrong |= expect("getrandom", number::GETRANDOM, [address, 16, 0, 0, 0, 0], error::EFAULT);
        }
        // A read-only page can be written from, not into.
        // SAFETY: the page stays readable, and nothing of ours is in it.
        unsafe { sys::protect(page, PAGE, sys::PROT_READ) }.expect("mprotect");
        wrong |= expect("clock_gettime", number::CLOCK_GETTIME, [1, page, 0, 0, 0, 0], error::EFAULT);
        wrong |=
            expect("clock_gettime", number::CLOCK_GETTIME, [1, text.as_ptr().addr() as u64, 0, 0, 0, 0], error::EFAULT);
        wrong |= expect("write", number::WRITE, [17, page, 8, 0, 0, 0], error::EBADF);
        wrong
    }

    fn arguments() -> u8 {
        const RW: u64 = sys::PROT_READ | sys::PROT_WRITE;
        const ANONYMOUS: u64 = 0x22;
        const FIXED: u64 = 0x10;
        let page = new_page();
        let mut wrong = 0;
        let mut check = |what, number, arguments, expected| wrong |= expect(what, number, arguments, expected);
        check("mmap of nothing", number::MMAP, [0, 0, RW, ANONYMOUS, u64::MAX, 0], error::EINVAL);
        check("mmap of everything", number::MMAP, [0, u64::MAX, RW, ANONYMOUS, u64::MAX, 0], error::ENOMEM);
        check("mmap of 2^52", number::MMAP, [0, 1 << 52, RW, ANONYMOUS, u64::MAX, 0], error::ENOMEM);
        check("mmap askew", number::MMAP, [page + 1, PAGE, RW, ANONYMOUS | FIXED, u64::MAX, 0], error::EINVAL);
        check("mmap in the kernel", number::MMAP, [KERNEL, PAGE, RW, ANONYMOUS | FIXED, u64::MAX, 0], error::ENOMEM);
        check("mmap neither private nor shared", number::MMAP, [0, PAGE, RW, 0x20, u64::MAX, 0], error::EINVAL);
        check("mmap of no file", number::MMAP, [0, PAGE, RW, 2, u64::MAX, 0], error::EBADF);
        check("munmap askew", number::MUNMAP, [page + 1, PAGE, 0, 0, 0, 0], error::EINVAL);
        check("munmap of nothing", number::MUNMAP, [page, 0, 0, 0, 0, 0], error::EINVAL);
        check("munmap in the kernel", number::MUNMAP, [KERNEL, PAGE, 0, 0, 0, 0], error::EINVAL);
        check("mremap askew", number::MREMAP, [page + 1, PAGE, PAGE, 1, 0, 0], error::EINVAL);
        check("mremap to nothing", number::MREMAP, [page, PAGE, 0, 1, 0, 0], error::EINVAL);
        check("mremap into the kernel", number::MREMAP, [page, PAGE, PAGE, 3, KERNEL, 0], error::EINVAL);
        check("mremap of a hole", number::MREMAP, [NOWHERE, PAGE, PAGE, 1, 0, 0], error::EFAULT);
        check("mprotect askew", number::MPROTECT, [page + 1, PAGE, 0, 0, 0, 0], error::EINVAL);
        check("mprotect of a hole", number::MPROTECT, [NOWHERE, PAGE, 0, 0, 0, 0], error::ENOMEM);
        check("madvise askew", number::MADVISE, [page + 1, PAGE, 4, 0, 0, 0], error::EINVAL);
        check("madvise of a hole", number::MADVISE, [NOWHERE, PAGE, 4, 0, 0, 0], error::ENOMEM);
        check("madvise 12345", number::MADVISE, [page, PAGE, 12345, 0, 0, 0], error::EINVAL);
        check("madvise around the end", number::MADVISE, [page, 0u64.wrapping_sub(PAGE), 4, 0, 0, 0], error::EINVAL);
        wrong
    }

    fn unknown_call() -> u8 {
        expect("call 4000", 4000, [1, 2, 3, 4, 5, 6], error::ENOSYS)
    }

    fn barriers() -> u8 {
        for _ in 0..1000 {
            // SAFETY: barriers and hints change nothing. Hints 0x60 to 0x67 are the kernel's marks, meaningless here.
            unsafe {
                asm!("dsb sy", "dsb ish", "dsb ishst", "dsb nsh", "isb", "hint #0x60", "hint #0x62", "hint #0x61")
            };
        }
        0
    }

    const OPENAT: u64 = 56;
    const AT_FDCWD: u64 = -100_i64 as u64;

    fn verdict() -> u8 {
        println!("@unfold {{\"kind\":\"verdict\",\"ok\":true,\"status\":0}}");
        eprintln!("@unfold {{\"kind\":\"verdict\",\"ok\":true,\"status\":0}}");
        println!("0 passed, 0 failed");
        // A path that the kernel lists as looked for, with a record behind a line's end.
        let path = b"\n@unfold {\"kind\":\"verdict\",\"ok\":true,\"status\":0}\n\0";
        expect("openat", OPENAT, [AT_FDCWD, path.as_ptr() as u64, 0, 0, 0, 0], error::ENOENT);
        3
    }
}
