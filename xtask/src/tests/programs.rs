//! Programs at EL0 and bad input: one table.

use super::case::{Case, Machine, Subject};
use super::files::FileKind;
use super::{Tally, Test};
use crate::jobs::Bench;

use FileKind as F;
use Subject::{Absent, File, Job, Ours};

const A72: Machine = Machine::cpu("cortex-a72");
const N1: Machine = Machine::cpu("neoverse-n1");
const EL2: Machine = Machine { el2: true, ..Machine::cpu("max") };

const SEGV: u8 = 128 + 11;
const BUS: u8 = 128 + 7;
const ILL: u8 = 128 + 4;
const TRAP: u8 = 128 + 5;
const ABRT: u8 = 128 + 6;
const NOT_EXECUTABLE: u8 = 126;
const NOT_FOUND: u8 = 127;
const BAD_COMMAND_LINE: u8 = 2;
const NOT_STARTED: u8 = 1;
const PANIC: u8 = 101;

/// What `badswap` prints when its fourth page can not be read back. 2 is BUS_ADRERR, 14 EFAULT.
const BAD_PAGE: &str = "page 3: SIGBUS with code 2 and its address
page 3: write ends with error 14
page 3: empty when it was given up
15 pages are as they were written
";

/// What `huge` prints.
const HUGE_PAGES: &str = "64K: 4 reserved, one more: error 12
64K: page out: error 22
64K: munmap of a page: error 22
64K: a child writes its copy: right
64K: SIGBUS with code 4, its address, 2^16 bytes are lost
64K: SIGBUS with code 4, its address, 2^16 bytes are lost
2M: 4 reserved, one more: error 12
2M: page out: error 22
2M: munmap of a page: error 22
2M: a child writes its copy: right
2M: SIGBUS with code 4, its address, 2^21 bytes are lost
2M: SIGBUS with code 4, its address, 2^21 bytes are lost
4K: SIGBUS with code 4, its address, 2^12 bytes are lost
4K: SIGBUS with code 4, its address, 2^12 bytes are lost
4K: again: error 133
";

/// What its steps cost: a huge page is one TLBI, whatever takes it out.
const HUGE_COUNTS: &[(&str, &str)] = &[
    ("64K: first touch", "tlbi_range=0 tlbi_page=0"),
    ("64K: munmap of one", "tlbi_range=1 tlbi_page=0 dsb_ishst=1 dsb_ish=1"),
    ("64K: fork", "tlbi_asid=1 tlbi_range=0 tlbi_page=0"),
    ("64K: MADV_HWPOISON", "tlbi_range=1 tlbi_page=0 dsb_ishst=1 dsb_ish=1"),
    ("2M: first touch", "tlbi_range=0 tlbi_page=0"),
    ("2M: munmap of one", "tlbi_range=1 tlbi_page=0 dsb_ishst=1 dsb_ish=1"),
    ("2M: fork", "tlbi_asid=1 tlbi_range=0 tlbi_page=0"),
    ("2M: MADV_HWPOISON", "tlbi_range=1 tlbi_page=0 dsb_ishst=1 dsb_ish=1"),
    // The split unfolds the block, then one page goes.
    ("4K: MADV_HWPOISON", "tlbi_range=1 tlbi_page=1"),
];

/// A program of ours that must end well.
const fn good(name: &'static str, command: &'static [&'static str]) -> Case {
    Case::new(name, Ours(command))
}

/// A program in a machine whose swap device leaves little of its memory.
const fn pressed(
    name: &'static str,
    swap: &'static str,
    words: &'static str,
    command: &'static [&'static str],
) -> Case {
    Case { machine: Machine { memory: "256M", ..Machine::cpu("max") }, swap, words, ..good(name, command) }
}

/// `bad THING` must end with `status`, and the kernel say `messages`.
const fn bad(
    name: &'static str,
    command: &'static [&'static str],
    status: u8,
    messages: &'static [&'static str],
) -> Case {
    Case { status, messages, ..Case::new(name, Ours(command)) }
}

/// A file that is no program must be refused with `message`.
const fn refused(name: &'static str, kind: FileKind, messages: &'static [&'static str]) -> Case {
    Case { status: NOT_EXECUTABLE, messages, ..Case::new(name, File(kind)) }
}

/// A wrong command line of the kernel must be refused with `messages`.
const fn wrong(name: &'static str, words: &'static str, messages: &'static [&'static str]) -> Case {
    Case { words, status: BAD_COMMAND_LINE, messages, kernel_fails: true, ..Case::new(name, Ours(&["hello"])) }
}

/// The kernel must report its own failure.
const fn crash(name: &'static str, words: &'static str, messages: &'static [&'static str]) -> Case {
    Case { words, status: PANIC, messages, kernel_fails: true, ..Case::new(name, Job("boot")) }
}

static CASES: &[Case] = &[
    // What must work.
    Case {
        exactly: Some("hello from EL0\na b\n\n100%\n--cpu\n"),
        ..good("hello, its output alone and its arguments whole", &["hello", "a b", "", "100%", "--cpu"])
    },
    Case { machine: A72, exactly: Some("hello from EL0\n"), ..good("hello on cortex-a72", &["hello"]) },
    Case { machine: N1, exactly: Some("hello from EL0\n"), ..good("hello on neoverse-n1", &["hello"]) },
    Case { machine: EL2, exactly: Some("hello from EL0\n"), ..good("hello from EL2", &["hello"]) },
    good("Linux's binary interface", &["abi"]),
    Case { machine: A72, ..good("Linux's binary interface on cortex-a72", &["abi"]) },
    Case { machine: N1, ..good("Linux's binary interface on neoverse-n1", &["abi"]) },
    good("touch: write, page out, read again", &["touch", "256K", "write", "pageout", "read:3", "check"]),
    good(
        "touch: drop and free",
        &["touch", "1M", "write", "drop:3-40", "check", "pageout", "write:9", "check", "unmap"],
    ),
    // Memory files.
    good("memory files", &["files"]),
    Case { machine: A72, words: "thp=64K=always unmap=gather", ..good("memory files on cortex-a72", &["files"]) },
    Case { words: "thp=64K=always unmap=folio", ..good("memory files in large folios", &["files"]) },
    good("files that tell about memory", &["look"]),
    Case { machine: A72, words: "unmap=gather", ..good("files that tell about memory, on cortex-a72", &["look"]) },
    Case { words: "unmap=page", ..good("files that tell about memory, page by page", &["look"]) },
    // Pages that a device writes to: each way, in large folios and small ones.
    Case { words: "thp=64K=always unmap=page", ..good("pinned pages, page by page", &["pins"]) },
    Case { words: "thp=64K=always unmap=folio", ..good("pinned pages, by folios", &["pins"]) },
    Case { words: "thp=64K=always unmap=gather", ..good("pinned pages, gathered", &["pins"]) },
    Case { machine: A72, words: "unmap=gather", ..good("pinned pages, on cortex-a72", &["pins"]) },
    // Many programs at once.
    good("processes, pipes and signals", &["procs"]),
    Case { machine: A72, ..good("processes, pipes and signals on cortex-a72", &["procs"]) },
    Case { machine: N1, ..good("processes, pipes and signals on neoverse-n1", &["procs"]) },
    Case {
        words: "asid_bits=4 thp=64K=always unmap=gather",
        ..good("processes with large folios, and fewer ASIDs than processes", &["procs"])
    },
    bad("a program that leaves its children behind", &["procs", "leave"], 5, &[]),
    bad("a program that ends while others make processes", &["procs", "bomb"], 6, &[]),
    Case {
        machine: Machine { memory: "128M", ..Machine::cpu("max") },
        swap: "0",
        ..bad("a program that ends while others make processes, in little memory", &["procs", "bomb"], 6, &[])
    },
    bad(
        "processes that wait for each other",
        &["procs", "deadlock"],
        137,
        &["deadlock", "procs: for a child to end", "procs, process 101: for bytes in a pipe"],
    ),
    // Many threads of one program: each way, in large folios and small ones.
    Case { swap: "512M", words: "unmap=page", ..good("threads and futexes, page by page", &["threads"]) },
    Case { swap: "512M", words: "unmap=folio thp=64K=always", ..good("threads and futexes, by folios", &["threads"]) },
    Case { swap: "512M", words: "unmap=gather thp=64K=always", ..good("threads and futexes, gathered", &["threads"]) },
    Case {
        machine: A72,
        swap: "512M",
        words: "unmap=gather thp=64K=always",
        ..good("threads and futexes on cortex-a72", &["threads"])
    },
    bad(
        "threads that wait for ever",
        &["threads", "deadlock"],
        137,
        &["deadlock", "threads: for a futex", "threads, thread 101: for a futex"],
    ),
    // The other CPUs come up, and are in nobody's way.
    Case {
        machine: Machine { smp: 4, ..Machine::cpu("max") },
        messages: &["4 found (0x0, 0x1, 0x2, 0x3), 4 run"],
        ..Case::new("four CPUs are started", Job("boot"))
    },
    Case {
        machine: Machine { smp: 4, ..EL2 },
        exactly: Some("hello from EL0\n"),
        ..good("hello with four CPUs, entered at EL2", &["hello"])
    },
    // Each way, each size, on each CPU: every byte is checked after swap-in.
    swapped("page, 64K", "unmap=page thp=64K=always"),
    swapped("folio, 64K", "unmap=folio thp=64K=always"),
    swapped("gather, 64K", "unmap=gather thp=64K=always"),
    swapped("gather, 4K", "unmap=gather"),
    swapped("folio, 16K", "unmap=folio thp=16K=always"),
    swapped("gather, 2M", "unmap=gather thp=2M=always"),
    swapped("folio, 256K", "unmap=folio thp=256K=always"),
    swapped("gather, 64K, no contpte", "unmap=gather thp=64K=always contpte=off"),
    Case { machine: A72, ..swapped("gather, 64K, cortex-a72", "unmap=gather thp=64K=always") },
    Case { machine: N1, ..swapped("folio, 64K, neoverse-n1", "unmap=folio thp=64K=always") },
    Case { machine: A72, ..swapped("page, 64K, cortex-a72", "unmap=page thp=64K=always") },
    Case { swap: "512M,async", ..swapped("folio, 64K, asynchronous", "unmap=folio thp=64K=always") },
    Case { swap: "512M,async", ..swapped("gather, 64K, asynchronous", "unmap=gather thp=64K=always") },
    Case { swap: "512M,async", ..swapped("page, 4K, asynchronous", "unmap=page") },
    // What was written out comes free only when the device is done: a program that needs it waits for that.
    Case {
        machine: Machine { memory: "256M", ..Machine::cpu("max") },
        swap: "128M,async",
        words: "thp=64K=always",
        output: &["right after swap-in"],
        ..good(
            "more than memory holds, asynchronous",
            &["swapout", "64M", "--fill", "pattern", "--repeat", "3", "--verify"],
        )
    },
    // Three times as much as is left of memory, and what becomes of a program when swap is full too.
    pressed("short of memory: alone, page", "192M", "unmap=page thp=64K=always", &["pressure", "alone", "140M"]),
    pressed(
        "short of memory: alone, folio, asynchronous",
        "192M,async",
        "unmap=folio thp=64K=always",
        &["pressure", "alone", "140M"],
    ),
    pressed("short of memory: alone, gather", "192M", "unmap=gather thp=64K=always", &["pressure", "alone", "140M"]),
    pressed(
        "short of memory: together, page, 4K, asynchronous",
        "192M,async",
        "unmap=page",
        &["pressure", "together", "140M"],
    ),
    pressed(
        "short of memory: together, folio",
        "192M",
        "unmap=folio thp=64K=always",
        &["pressure", "together", "140M"],
    ),
    pressed(
        "short of memory: together, gather, 2M",
        "192M",
        "unmap=gather thp=2M=always",
        &["pressure", "together", "140M"],
    ),
    pressed("short of memory: a file, page", "192M", "unmap=page thp=64K=always", &["pressure", "file", "140M"]),
    pressed("short of memory: a file, folio, 4K", "192M", "unmap=folio", &["pressure", "file", "140M"]),
    pressed(
        "short of memory: a file, gather, asynchronous",
        "192M,async",
        "unmap=gather thp=64K=always",
        &["pressure", "file", "140M"],
    ),
    Case { swap: "512M,async", ..good("swapoff and swapon, asynchronous", &["pressure", "swapoff"]) },
    good("swapoff and swapon", &["pressure", "swapoff"]),
    Case {
        messages: &["out of memory: pressure, process 101 is killed", "KiB present", "of swap, 0 of them free"],
        exactly: Some("two hogs were killed\n"),
        ..pressed("short of memory: until a child is killed", "96M", "thp=64K=always", &["pressure", "hog"])
    },
    Case {
        messages: &["out of memory: pressure, process 101 is killed"],
        ..pressed(
            "short of memory: until a child is killed, asynchronous",
            "96M,async",
            "unmap=page",
            &["pressure", "hog"],
        )
    },
    Case {
        status: 137,
        messages: &["out of memory: pressure is killed", "memory is used up"],
        ..pressed("short of memory: until the first program is killed", "96M", "", &["pressure", "alone-hog"])
    },
    // Memory that a program watches itself.
    Case { swap: "512M", words: "thp=64K=always", ..good("userfaultfd, a child as the monitor", &["uffd"]) },
    Case {
        machine: A72,
        swap: "512M",
        words: "thp=64K=always unmap=gather uffd_batch=off",
        ..good("userfaultfd, a child as the monitor, on cortex-a72", &["uffd"])
    },
    Case { words: "hugepages=64K:2,2M:2", ..good("userfaultfd of huge pages", &["uffd", "huge"]) },
    Case {
        machine: A72,
        words: "hugepages=64K:2,2M:2",
        ..good("userfaultfd of huge pages, on cortex-a72", &["uffd", "huge"])
    },
    // A swap device with bad slots: the first 64K folio has slots 16 to 31.
    Case {
        swap: "512M,unreadable=19-19",
        words: "thp=64K=always",
        exactly: Some(BAD_PAGE),
        ..good("a page that can not be read back, SIGBUS handled", &["badswap"])
    },
    Case {
        swap: "512M,async,unreadable=19-19",
        words: "thp=64K=always",
        exactly: Some("16 pages are as they were written\n"),
        ..good("a page that is not on a bad slot yet", &["badswap"])
    },
    Case {
        swap: "512M,unreadable=19-19",
        words: "thp=64K=always",
        ..bad(
            "a page that can not be read back",
            &["touch", "64K", "write", "pageout", "read:2", "read:3"],
            BUS,
            &["SIGBUS"],
        )
    },
    Case {
        swap: "512M,unwritable=19-19",
        words: "thp=64K=always",
        exactly: Some("16 pages are as they were written\n"),
        ..good("a page that can not be written out", &["badswap"])
    },
    Case {
        swap: "512M,async,unwritable=16-600",
        words: "thp=64K=always",
        output: &["right after swap-in"],
        ..good(
            "pages that can not be written out, asynchronous",
            &["swapout", "4M", "--fill", "pattern", "--repeat", "2", "--verify"],
        )
    },
    // Huge pages, and memory that goes bad: 12 is ENOMEM, 22 EINVAL, 133 EHWPOISON, 4 BUS_MCEERR_AR.
    Case {
        words: "hugepages=64K:4,2M:4 thp=64K=always counters=on",
        exactly: Some(HUGE_PAGES),
        counts: HUGE_COUNTS,
        ..good("huge pages, and memory that goes bad", &["huge"])
    },
    Case {
        machine: A72,
        words: "hugepages=64K:4,2M:4 thp=64K=always counters=on",
        exactly: Some(HUGE_PAGES),
        counts: &[("2M: munmap of one", "tlbi_page=1"), ("64K: munmap of one", "tlbi_page=16")],
        ..good("huge pages, and memory that goes bad, on cortex-a72", &["huge"])
    },
    bad("huge pages where none was set aside", &["huge"], 1, &[]),
    wrong("unknown size of huge pages", "hugepages=32K:1", &["32K", "64K", "2M"]),
    Case {
        status: NOT_STARTED,
        messages: &["huge pages", "--hugepages"],
        kernel_fails: true,
        words: "hugepages=2M:4000",
        ..Case::new("more huge pages than memory", Ours(&["hello"]))
    },
    // A program's bugs are its own.
    bad("null pointer", &["bad", "null"], SEGV, &["SIGSEGV", "0x0"]),
    bad("wild write", &["bad", "write"], SEGV, &["SIGSEGV", "0x123456789000"]),
    bad("reads the kernel", &["bad", "read-kernel"], SEGV, &["SIGSEGV", "0xffff800000200000"]),
    bad("writes the kernel", &["bad", "write-kernel"], SEGV, &["SIGSEGV"]),
    bad("address of neither half", &["bad", "noncanonical"], SEGV, &["SIGSEGV"]),
    bad("jump to nowhere", &["bad", "jump"], SEGV, &["SIGSEGV", "0x123456789000"]),
    bad("jump into the kernel", &["bad", "jump-kernel"], SEGV, &["SIGSEGV"]),
    bad("jump into data", &["bad", "jump-data"], SEGV, &["SIGSEGV"]),
    bad("writes its code", &["bad", "write-text"], SEGV, &["SIGSEGV"]),
    bad("writes read-only memory", &["bad", "write-protected"], SEGV, &["SIGSEGV"]),
    bad("reads after munmap", &["bad", "unmapped"], SEGV, &["SIGSEGV"]),
    bad("stack overflow of a program", &["bad", "stack"], SEGV, &["SIGSEGV"]),
    bad("misaligned jump", &["bad", "misaligned-pc"], BUS, &["SIGBUS"]),
    bad("misaligned exclusive", &["bad", "misaligned-exclusive"], BUS, &["SIGBUS"]),
    bad("undefined instruction", &["bad", "undefined"], ILL, &["SIGILL"]),
    bad("register of EL1", &["bad", "privileged"], ILL, &["SIGILL"]),
    bad("TLBI at EL0", &["bad", "tlbi"], ILL, &["SIGILL"]),
    bad("semihosting at EL0", &["bad", "semihosting"], ILL, &["SIGILL"]),
    bad("HVC at EL0", &["bad", "hypervisor"], ILL, &["SIGILL"]),
    bad("breakpoint", &["bad", "breakpoint"], TRAP, &["SIGTRAP"]),
    bad("abort", &["bad", "abort"], ABRT, &["SIGABRT"]),
    bad("a program's panic", &["bad", "panic"], 101, &[]),
    bad("wild pointers to system calls", &["bad", "pointers"], 0, &[]),
    bad("senseless arguments to memory calls", &["bad", "arguments"], 0, &[]),
    bad("unknown system call", &["bad", "call"], 0, &["missing"]),
    bad("barriers and marks at EL0", &["bad", "barriers"], 0, &[]),
    bad("forged verdict", &["bad", "verdict"], 3, &[]),
    bad("a status of its own", &["bad", "status"], 77, &[]),
    Case { machine: A72, ..bad("wild write on cortex-a72", &["bad", "write"], SEGV, &["SIGSEGV"]) },
    Case { machine: A72, ..bad("stack overflow of a program on cortex-a72", &["bad", "stack"], SEGV, &["SIGSEGV"]) },
    // No program.
    Case { status: NOT_FOUND, messages: &["no such program"], ..Case::new("missing program", Absent) },
    refused("empty file", F::Empty, &["file"]),
    refused("a text", F::Text, &["not an ELF file"]),
    refused("ELF cut in its header", F::CutInHeader, &["truncated"]),
    refused("ELF cut in its program headers", F::CutInProgramHeaders, &["truncated"]),
    refused("ELF cut in a segment", F::CutInSegment, &["truncated"]),
    refused("ELF for x86-64", F::OtherMachine, &["x86-64", "not for arm64"]),
    refused("32-bit ELF", F::ThirtyTwoBits, &["64-bit"]),
    refused("big-endian ELF", F::BigEndian, &["little-endian"]),
    refused("object file", F::ObjectFile, &["object file"]),
    refused("dynamic program", F::Dynamic, &["-static"]),
    refused("wild entry", F::WildEntry, &["entry"]),
    refused("segment in the kernel's half", F::SegmentInKernel, &["segment"]),
    refused("segment past the end of addresses", F::SegmentWraps, &["segment"]),
    // Wrong words for the kernel.
    wrong("unknown key", "bogus=1", &["bogus", "unmap"]),
    wrong("no key at all", "bogus", &["bogus"]),
    wrong("unknown way to unmap", "unmap=bogus", &["bogus", "page", "folio", "gather"]),
    wrong("unknown value of contpte", "contpte=maybe", &["maybe", "on", "off"]),
    wrong("unknown folio size", "thp=65K=always", &["65K"]),
    wrong("wrong swap size", "swap=lots", &["lots"]),
    wrong("wrong behaviour of the swap device", "swap=4M,slow", &["slow", "async", "unreadable"]),
    // Too little.
    Case {
        swap: "0",
        ..bad("page-out without a swap device", &["swapout", "16M", "--fill", "pattern", "--verify"], 0, &[])
    },
    Case {
        swap: "4M",
        ..bad("page-out to a small swap device", &["swapout", "16M", "--fill", "pattern", "--verify"], 0, &[])
    },
    Case {
        machine: Machine { memory: "256M", ..Machine::cpu("max") },
        swap: "0",
        ..bad("a program that needs more memory than there is", &["swapout", "512M"], 137, &["memory"])
    },
    Case {
        machine: Machine { memory: "128M", ..Machine::cpu("max") },
        status: NOT_STARTED,
        messages: &["does not fit", "--swap"],
        kernel_fails: true,
        ..Case::new("swap device larger than memory", Ours(&["hello"]))
    },
    Case {
        machine: Machine { memory: "11M", ..Machine::cpu("max") },
        ..crash("a kernel that needs more memory than there is", "", &["too little memory"])
    },
    // The kernel's own failures are reported.
    crash("kernel panic", "crash=panic", &["panic", "on purpose"]),
    crash("kernel fault", "crash=fault", &["unexpected exception", "0xffff700012345678"]),
    crash("kernel stack overflow", "crash=overflow", &["stack overflow"]),
    crash("undefined instruction in the kernel", "crash=undefined", &["unexpected exception"]),
];

/// Pattern data swapped out and in, every byte checked.
const fn swapped(name: &'static str, words: &'static str) -> Case {
    Case {
        words,
        output: &["right after swap-in"],
        ..good(name, &["swapout", "24M", "--fill", "pattern", "--repeat", "2", "--verify"])
    }
}

/// Runs them all.
pub fn run(bench: &Bench, tally: &Tally) {
    let tests = CASES.iter().map(|case| {
        let test: Test = (format!("program: {}", case.name), Box::new(move || case.run(bench)));
        test
    });
    tally.run_all(tests.collect());
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_distinct() {
        let names: BTreeSet<_> = CASES.iter().map(|case| case.name).collect();
        assert_eq!(names.len(), CASES.len());
    }
}
