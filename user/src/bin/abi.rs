//! `abi`: checks what a Linux program may count on at EL0: the stack and its auxiliary vector, registers, clocks, system calls.
//! Prints one line for each check and exits with 1 if any failed. It passes on a Linux kernel too, which is what it is for: the
//! same program on both shows where this kernel differs.

#![cfg_attr(target_os = "none", no_std, no_main)]

user::program!(program::main);

#[cfg(target_os = "none")]
mod program {
    use core::arch::asm;

    use user::args::Args;
    use user::check::{self, Checks};
    use user::sys::{self, PAGE, number};

    /// Keys of the auxiliary vector, from `<elf.h>`.
    mod at {
        pub const PHDR: u64 = 3;
        pub const PHENT: u64 = 4;
        pub const PHNUM: u64 = 5;
        pub const PAGESZ: u64 = 6;
        pub const ENTRY: u64 = 9;
        pub const UID: u64 = 11;
        pub const EUID: u64 = 12;
        pub const HWCAP: u64 = 16;
        pub const CLKTCK: u64 = 17;
        pub const SECURE: u64 = 23;
        pub const RANDOM: u64 = 25;
        pub const EXECFN: u64 = 31;
        pub const MINSIGSTKSZ: u64 = 51;
    }

    unsafe extern "C" {
        /// The first instruction of the program.
        fn _start();
    }

    type Check = fn(&Args) -> bool;

    pub fn main(args: &Args) -> u8 {
        const CHECKS: Checks<Check> = &[
            ("the stack is 16-aligned and holds argc", stack),
            ("the auxiliary vector describes this program", vector),
            ("AT_RANDOM points at 16 bytes that are not all zero", random),
            ("AT_HWCAP has FP and ASIMD", hwcap),
            ("cache registers can be read, DC ZVA clears a block", caches),
            ("the counter can be read and agrees with CLOCK_MONOTONIC", counter),
            ("CLOCK_MONOTONIC never goes back", monotonic),
            ("TPIDR_EL0 keeps its value over calls and faults", thread_pointer),
            ("general registers keep their values over a call", general_registers),
            ("vector registers, FPCR and FPSR keep theirs over calls and faults", vector_registers),
            ("new memory is zero, and stays what was written", memory),
            ("maps go where they are told, and never over another", placement),
            ("the heap grows and shrinks", heap),
            ("protection and MADV_DONTNEED do what they say", protection),
            ("mremap moves, grows and shrinks what was written", moves),
            ("getrandom fills all it is asked for", getrandom),
        ];
        check::all(&[CHECKS], |check| Ok(check(args)))
    }

    fn stack(args: &Args) -> bool {
        // SAFETY: argc's own word.
        let argc = unsafe { (args.stack() as *const u64).read() };
        args.stack() % 16 == 0 && argc >= 1 && args.get(argc as usize - 1).is_some()
    }

    fn vector(args: &Args) -> bool {
        let get = |key| args.auxiliary(key);
        let phdr = get(at::PHDR).unwrap_or(0);
        // SAFETY: _start is only named.
        let entry = _start as unsafe extern "C" fn() as usize as u64;
        phdr % 8 == 0
            && phdr != 0
            && get(at::PHENT) == Some(56)
            && get(at::PHNUM).is_some_and(|count| count > 0 && count < 20)
            && get(at::PAGESZ) == Some(PAGE)
            && get(at::ENTRY) == Some(entry)
            && get(at::CLKTCK) == Some(100)
            && get(at::SECURE) == Some(0)
            && get(at::UID) == get(at::EUID)
            && get(at::EXECFN).is_some_and(|name| name != 0)
            && get(at::MINSIGSTKSZ).is_none_or(|size| size >= 4096)
    }

    fn random(args: &Args) -> bool {
        let Some(address) = args.auxiliary(at::RANDOM) else { return false };
        // SAFETY: the kernel promises 16 bytes there.
        unsafe { (address as *const [u8; 16]).read() != [0; 16] }
    }

    fn hwcap(args: &Args) -> bool {
        args.auxiliary(at::HWCAP).is_some_and(|bits| bits & 3 == 3)
    }

    fn caches(_: &Args) -> bool {
        let (ctr, dczid): (u64, u64);
        // SAFETY: reads of registers that Linux opens to EL0.
        unsafe { asm!("mrs {0}, ctr_el0", "mrs {1}, dczid_el0", out(reg) ctr, out(reg) dczid) };
        let line = 4 << (ctr >> 16 & 15);
        let zva_prohibited = dczid & 0x10 != 0;
        let Ok(page) = sys::map(PAGE, sys::PROT_READ | sys::PROT_WRITE) else { return false };
        let word = page as *mut u64;
        // SAFETY: a page of our own; a block is never larger than 2 KiB. DC CVAU and IC IVAU are what makes new code visible.
        unsafe {
            word.write_volatile(1);
            asm!("dc cvau, {0}", "dsb ish", "ic ivau, {0}", "dsb ish", "isb", in(reg) page);
            if !zva_prohibited {
                asm!("dc zva, {0}", in(reg) page);
            }
            line >= 16 && word.read_volatile() == u64::from(zva_prohibited)
        }
    }

    fn ticks() -> (u64, u64) {
        let (ticks, frequency);
        // SAFETY: reads of registers that Linux opens to EL0.
        unsafe { asm!("isb", "mrs {0}, cntvct_el0", "mrs {1}, cntfrq_el0", out(reg) ticks, out(reg) frequency) };
        (ticks, frequency)
    }

    fn counter(_: &Args) -> bool {
        let (clock, (before, frequency)) = (sys::monotonic(), ticks());
        for _ in 0..100_000 {
            core::hint::black_box(0);
        }
        let ((after, _), clock) = (ticks(), sys::monotonic() - clock);
        let counted = (u128::from(after - before) * 1_000_000_000 / u128::from(frequency)) as u64;
        frequency > 1_000_000 && after > before && clock >= counted && clock - counted < 10_000_000
    }

    fn monotonic(_: &Args) -> bool {
        let mut last = 0;
        (0..1000).all(|_| {
            let now = sys::monotonic();
            let ok = now >= last;
            last = now;
            ok
        })
    }

    /// Makes system calls and page faults, of which the kernel must leave no trace in registers.
    fn disturb() {
        let page = sys::map(PAGE, sys::PROT_READ | sys::PROT_WRITE).unwrap_or(0);
        // SAFETY: a page of our own.
        unsafe {
            (page as *mut u64).write_volatile(7);
            let _ = sys::advise(page, PAGE, sys::advice::PAGEOUT);
            (page as *mut u64).read_volatile();
            let _ = sys::unmap(page, PAGE);
        }
    }

    fn thread_pointer(_: &Args) -> bool {
        let (value, found) = (0x1122_3344_5566_7788u64, &mut 0u64);
        // SAFETY: this program keeps nothing in the thread pointer.
        unsafe { asm!("msr tpidr_el0, {0}", in(reg) value) };
        disturb();
        // SAFETY: a read.
        unsafe { asm!("mrs {0}, tpidr_el0", out(reg) * found) };
        *found == value
    }

    fn general_registers(_: &Args) -> bool {
        let wrong: u64;
        // SAFETY: getppid (173) changes x0 alone; every register used is declared. x18, x19 and x29 belong to the compiler.
        unsafe {
            asm!(
                "mov x1, #1", "mov x2, #2", "mov x3, #3", "mov x4, #4", "mov x5, #5", "mov x6, #6", "mov x7, #7", "mov x9, #9",
                "mov x10, #10", "mov x11, #11", "mov x12, #12", "mov x13, #13", "mov x14, #14", "mov x15, #15", "mov x16, #16",
                "mov x17, #17", "mov x20, #20", "mov x21, #21", "mov x28, #28", "mov x30, #30",
                "mov x8, #173", "svc #0",
                "sub x0, x1, #1", "sub x8, x8, #173", "orr x0, x0, x8",
                "sub x2, x2, #2", "orr x0, x0, x2", "sub x3, x3, #3", "orr x0, x0, x3", "sub x4, x4, #4", "orr x0, x0, x4",
                "sub x5, x5, #5", "orr x0, x0, x5", "sub x6, x6, #6", "orr x0, x0, x6", "sub x7, x7, #7", "orr x0, x0, x7",
                "sub x9, x9, #9", "orr x0, x0, x9", "sub x10, x10, #10", "orr x0, x0, x10", "sub x11, x11, #11", "orr x0, x0, x11",
                "sub x12, x12, #12", "orr x0, x0, x12", "sub x13, x13, #13", "orr x0, x0, x13",
                "sub x14, x14, #14", "orr x0, x0, x14", "sub x15, x15, #15", "orr x0, x0, x15",
                "sub x16, x16, #16", "orr x0, x0, x16", "sub x17, x17, #17", "orr x0, x0, x17",
                "sub x20, x20, #20", "orr x0, x0, x20", "sub x21, x21, #21", "orr x0, x0, x21",
                "sub x28, x28, #28", "orr x0, x0, x28", "sub x30, x30, #30", "orr x0, x0, x30",
                lateout("x0") wrong, out("x1") _, out("x2") _, out("x3") _, out("x4") _, out("x5") _, out("x6") _, out("x7") _,
                out("x8") _, out("x9") _, out("x10") _, out("x11") _, out("x12") _, out("x13") _, out("x14") _, out("x15") _,
                out("x16") _, out("x17") _, out("x20") _, out("x21") _, out("x28") _, out("x30") _,
            );
        }
        wrong == 0
    }

    // Writes and reads all of the FP and SIMD state. In a file of its own dialect, since the compiler of this target knows no FP.
    core::arch::global_asm!(
        ".arch_extension fp",
        ".arch_extension simd",
        ".macro each_pair instruction",
        "\\instruction q0, q1, [x0]",
        "\\instruction q2, q3, [x0, #32]",
        "\\instruction q4, q5, [x0, #64]",
        "\\instruction q6, q7, [x0, #96]",
        "\\instruction q8, q9, [x0, #128]",
        "\\instruction q10, q11, [x0, #160]",
        "\\instruction q12, q13, [x0, #192]",
        "\\instruction q14, q15, [x0, #224]",
        "\\instruction q16, q17, [x0, #256]",
        "\\instruction q18, q19, [x0, #288]",
        "\\instruction q20, q21, [x0, #320]",
        "\\instruction q22, q23, [x0, #352]",
        "\\instruction q24, q25, [x0, #384]",
        "\\instruction q26, q27, [x0, #416]",
        "\\instruction q28, q29, [x0, #448]",
        "\\instruction q30, q31, [x0, #480]",
        ".endm",
        "load_vectors:",
        "each_pair ldp",
        "msr fpcr, x1",
        "msr fpsr, x2",
        "ret",
        "store_vectors:",
        "each_pair stp",
        "mrs x1, fpcr",
        "mrs x2, fpsr",
        "orr x0, x1, x2",
        "ret",
    );

    unsafe extern "C" {
        fn load_vectors(registers: &[u64; 64], fpcr: u64, fpsr: u64);
        fn store_vectors(registers: &mut [u64; 64]) -> u64;
    }

    fn vector_registers(_: &Args) -> bool {
        // FPCR.RMode = towards zero; FPSR.IXC and .QC.
        const FPCR: u64 = 3 << 22;
        const FPSR: u64 = 1 << 27 | 1 << 4;
        let mut values = [0u64; 64];
        for (index, value) in (1u64..).zip(&mut values) {
            *value = index.wrapping_mul(0x0101_0101_0101_0101);
        }
        let mut found = [0u64; 64];
        // SAFETY: compiled code of this target uses none of these registers.
        let control = unsafe {
            load_vectors(&values, FPCR, FPSR);
            disturb();
            store_vectors(&mut found)
        };
        found == values && control == FPCR | FPSR
    }

    fn memory(_: &Args) -> bool {
        const PAGES: u64 = 64;
        let Ok(start) = sys::map(PAGES * PAGE, sys::PROT_READ | sys::PROT_WRITE) else { return false };
        let pages = || (0..PAGES).map(|page| (page, (start + page * PAGE + page * 8) as *mut u64));
        // SAFETY: words of our own map.
        unsafe {
            let zero = pages().all(|(_, word)| word.read_volatile() == 0);
            pages().for_each(|(page, word)| word.write_volatile(page + 1));
            zero && pages().all(|(page, word)| word.read_volatile() == page + 1)
                && sys::unmap(start, PAGES * PAGE).is_ok()
        }
    }

    fn placement(_: &Args) -> bool {
        const RW: u64 = sys::PROT_READ | sys::PROT_WRITE;
        const FIXED: u64 = 0x10;
        const FIXED_NOREPLACE: u64 = 0x10_0000;
        // SAFETY: what is mapped over is a map of our own, which nothing refers to.
        let mmap = |address, length, flags| unsafe {
            sys::call(number::MMAP, [address, length, RW, 0x22 | flags, u64::MAX, 0])
        };
        let Ok(start) = mmap(0, 4 * PAGE, 0) else { return false };
        let word = (start + PAGE) as *mut u64;
        // SAFETY: words and pages of our own map.
        unsafe {
            word.write_volatile(5);
            let taken = mmap(start + PAGE, PAGE, FIXED_NOREPLACE) == Err(sys::Error(17));
            let kept = word.read_volatile() == 5;
            let replaced = mmap(start + PAGE, PAGE, FIXED) == Ok(start + PAGE) && word.read_volatile() == 0;
            let _ = sys::unmap(start, 4 * PAGE);
            let hinted = mmap(start, 2 * PAGE, 0) == Ok(start);
            let elsewhere = mmap(start + PAGE, PAGE, 0).is_ok_and(|other| other != start + PAGE);
            taken && kept && replaced && hinted && elsewhere
        }
    }

    fn heap(_: &Args) -> bool {
        // SAFETY: this program has no heap of its own.
        let brk = |end| unsafe { sys::call(number::BRK, [end, 0, 0, 0, 0, 0]) }.unwrap_or(0);
        let start = brk(0);
        let grown = brk(start + 3 * PAGE + 1) == start + 3 * PAGE + 1;
        let word = (start + 3 * PAGE) as *mut u64;
        // SAFETY: a word of the heap.
        let usable = grown
            && unsafe {
                word.write_volatile(9);
                word.read_volatile() == 9
            };
        let refused = brk(1) == start + 3 * PAGE + 1;
        let shrunk = brk(start) == start && brk(start + 4 * PAGE) == start + 4 * PAGE;
        // SAFETY: as above. What comes back is new, so zero.
        usable && refused && shrunk && unsafe { word.read_volatile() } == 0 && brk(start) == start
    }

    fn protection(_: &Args) -> bool {
        let Ok(start) = sys::map(4 * PAGE, sys::PROT_READ | sys::PROT_WRITE) else { return false };
        let word = (start + 2 * PAGE) as *mut u64;
        // SAFETY: pages of our own.
        unsafe {
            word.write_volatile(6);
            let ok = sys::protect(start + PAGE, 2 * PAGE, sys::PROT_READ).is_ok() && word.read_volatile() == 6;
            let unreadable = sys::protect(start + PAGE, 2 * PAGE, 0).is_ok()
                && sys::write(1, core::slice::from_raw_parts(word.cast(), 8)) == Err(sys::Error(sys::error::EFAULT));
            let back =
                sys::protect(start, 4 * PAGE, sys::PROT_READ | sys::PROT_WRITE).is_ok() && word.read_volatile() == 6;
            let dropped = sys::advise(start, 4 * PAGE, sys::advice::DONTNEED).is_ok() && word.read_volatile() == 0;
            let hole = sys::unmap(start + PAGE, PAGE).is_ok()
                && sys::protect(start, 4 * PAGE, sys::PROT_READ) == Err(sys::Error(sys::error::ENOMEM));
            ok && unreadable && back && dropped && hole
        }
    }

    fn moves(_: &Args) -> bool {
        const MAYMOVE: u64 = 1;
        const FIXED: u64 = 2;
        const DONTUNMAP: u64 = 4;
        const PAGES: u64 = 48;
        let Ok(start) = sys::map(3 * PAGES * PAGE, sys::PROT_READ | sys::PROT_WRITE) else { return false };
        let word = |base: u64, page: u64| (base + page * PAGE) as *mut u64;
        // SAFETY: pages of our own, each read where it was moved to.
        unsafe {
            let holds = |base: u64| (0..PAGES).all(|page| word(base, page).read_volatile() == page + 1);
            let empty = |base: u64| (0..PAGES).all(|page| word(base, page).read_volatile() == 0);
            (0..PAGES).for_each(|page| word(start, page).write_volatile(page + 1));
            let (length, there) = (PAGES * PAGE, start + (2 * PAGES + 1) * PAGE);
            // By 97 pages, so that no block fits; and back, out and in again on the way.
            let shorter = sys::remap(start, length, length - PAGE, MAYMOVE | FIXED, there) == Ok(there);
            let moved = shorter && (0..PAGES - 1).all(|page| word(there, page).read_volatile() == page + 1);
            let _ = sys::advise(there, length - PAGE, sys::advice::PAGEOUT);
            let back = sys::remap(there, length - PAGE, length - PAGE, MAYMOVE | FIXED, start) == Ok(start);
            let grown = sys::remap(start, length - PAGE, length, MAYMOVE, 0);
            let Ok(base) = grown else { return false };
            let last_is_new = word(base, PAGES - 1).read_volatile() == 0;
            word(base, PAGES - 1).write_volatile(PAGES);
            let kept = sys::remap(base, length, length, MAYMOVE | DONTUNMAP, 0);
            let Ok(copy) = kept else { return false };
            let refused = sys::remap(copy, length, length, MAYMOVE | FIXED, copy + PAGE)
                == Err(sys::Error(sys::error::EINVAL))
                && sys::remap(PAGE, PAGE, 2 * PAGE, MAYMOVE, 0) == Err(sys::Error(sys::error::EFAULT));
            moved && back && last_is_new && holds(copy) && empty(base) && refused
        }
    }

    fn getrandom(_: &Args) -> bool {
        let mut bytes = [0u8; 256];
        // SAFETY: the kernel writes into `bytes` alone.
        let done = unsafe { sys::call(number::GETRANDOM, [bytes.as_mut_ptr().addr() as u64, 256, 0, 0, 0, 0]) };
        done == Ok(256) && bytes.iter().filter(|&&byte| byte == 0).count() < 16
    }
}
