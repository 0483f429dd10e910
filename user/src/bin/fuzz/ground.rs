//! What children change for all: switches of the kernel's, pools of huge pages, the swap device. After a round it is put back, so that a
//! seed does the same whatever was before it. And what there must be as much of afterwards as before.

use core::ffi::CStr;

use user::process::{self, CLOEXEC};
use user::sys::{call, number};
use user::told;

const ON: &[&str] = &["on", "off"];
const UNIT: &[&str] = &["folio", "page"];
const ENABLED: &[&str] = &["always", "madvise", "never", "inherit"];
const POOL: &[&str] = &["0", "1", "3", "8"];

/// Switches, with words for them.
pub const SWITCHES: &[(&CStr, &[&str])] = &[
    (c"/sys/kernel/unfold/policy/unmap", &["page", "folio", "gather"]),
    (c"/sys/kernel/unfold/policy/contpte", ON),
    (c"/sys/kernel/unfold/policy/tlbi", &["range", "single"]),
    (c"/sys/kernel/unfold/policy/flush", &["deferred", "immediate"]),
    (c"/sys/kernel/unfold/policy/bbm", &["flush", "elide"]),
    (c"/sys/kernel/unfold/policy/getter", &["early", "full"]),
    (c"/sys/kernel/unfold/policy/uffd_check", ON),
    (c"/sys/kernel/unfold/policy/uffd_batch", ON),
    (c"/sys/kernel/unfold/policy/swapin", UNIT),
    (c"/sys/kernel/unfold/policy/lazyfree", UNIT),
    (c"/sys/kernel/unfold/policy/asid_bits", &["4", "5", "8", "16"]),
    (c"/sys/kernel/unfold/policy/thp", &["16K=always", "64K=always;128K=madvise", "2M=always", "64K=never"]),
    (c"/sys/kernel/unfold/policy/transparent_hugepage", &["always", "madvise", "never"]),
    (c"/sys/kernel/mm/hugepages/hugepages-64kB/nr_hugepages", POOL),
    (c"/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", POOL),
    (c"/sys/kernel/mm/transparent_hugepage/hugepages-32kB/enabled", ENABLED),
    (c"/sys/kernel/mm/transparent_hugepage/hugepages-64kB/enabled", ENABLED),
    (c"/sys/kernel/mm/transparent_hugepage/hugepages-2048kB/enabled", ENABLED),
];

/// The first of them, which say all that the others do, in words that they take.
const KEPT: usize = 15;
/// Bytes of the longest.
const LONGEST: usize = 256;

/// The state of what children change.
pub struct Ground {
    switches: [[u8; LONGEST]; KEPT],
}

impl Ground {
    /// How it is now.
    pub fn now() -> Self {
        let mut switches = [[0; LONGEST]; KEPT];
        for (text, (path, _)) in switches.iter_mut().zip(SWITCHES) {
            if let Ok(file) = process::open(path, CLOEXEC) {
                let _ = process::read(file, text);
                let _ = process::close(file);
            }
        }
        Self { switches }
    }

    /// Puts it back, with the swap device in use.
    pub fn put_back(&self) {
        for (text, (path, _)) in self.switches.iter().zip(SWITCHES) {
            let length = text.iter().position(|&byte| byte == 0).unwrap_or(LONGEST);
            write(path, &text[..length]);
        }
        use_swap(true);
    }
}

/// Writes a word to a file, if it takes it.
pub fn write(path: &CStr, word: &[u8]) {
    if let Ok(file) = process::open(path, 1) {
        // SAFETY: the kernel reads the word.
        let _ = unsafe { call(number::WRITE, [file as u64, word.as_ptr().addr() as u64, word.len() as u64, 0, 0, 0]) };
        let _ = process::close(file);
    }
}

/// Has the swap device be in use, or not.
pub fn use_swap(in_use: bool) {
    let number = if in_use { number::SWAPON } else { number::SWAPOFF };
    // SAFETY: the kernel reads the path.
    let _ = unsafe { call(number, [c"/dev/ram0".as_ptr().addr() as u64, 0, 0, 0, 0, 0]) };
}

/// Numbers of what there must be as much of afterwards as before.
pub type Stock = [u64; 8];
/// What they are of.
pub const NAMES: [&str; size_of::<Stock>() / 8] =
    ["kB of memory", "kB of swap", "bytes of pipes", "of texts", "of listings", "of areas", "of files", "threads"];

/// How much there is of it. As if it was free counts memory that is bad, or the heap's, which keeps what it takes, or that of huge pages,
/// of which there may be fewer in the end; and so do slots of the swap device whose page is in memory: this process's own have some,
/// where a child's copy was to be paged out.
pub fn stock() -> Stock {
    let names = ["MemFree:", "HardwareCorrupted:", "Hugetlb:", "SwapFree:", "SwapCached:"];
    let [free, bad, huge, swap, cached] = told::numbers(c"/proc/meminfo", names);
    let names = ["total", "pipes", "texts", "listings", "areas", "memory_files"];
    let [heap, pipes, texts, listings, areas, files] = told::numbers(c"/sys/kernel/unfold/heap", names);
    [free + bad + heap / 1024 + huge, swap + cached, pipes, texts, listings, areas, files, told::threads()]
}
