//! Linux's figures, to stand beside ours. They were measured, not here, on other software than ours: they are constants, and every
//! table that shows them says where they come from.

/// How the figures of Linux were taken.
pub const CONDITIONS: [&str; 3] = [
    "Linux 7.3.4: Debian's cloud kernel, November 2026, QEMU 10.0.2, one CPU, -icount shift=0,sleep=off; TLBI and DSB by a QEMU plugin,",
    "from the program's call to its return. Same workload: mmap 256 MiB, memset, madvise(MADV_PAGEOUT), after a first one that warms",
    "the swap device up. It counts what our kernel does not have too, such as control groups and statistics.",
];

/// One of Linux's runs: 256 MiB, zero-filled, swap is zram, which zero-filled pages do not reach.
#[derive(Clone, Copy, Debug)]
pub struct Figures {
    /// The CPU, by QEMU's name for it.
    pub cpu: &'static str,
    /// The folio's size.
    pub folio: &'static str,
    /// Instructions of the call.
    pub instructions: u64,
    /// TLBI by page.
    pub by_page: u64,
    /// TLBI by range.
    pub by_range: u64,
    /// TLBI by ASID.
    pub by_asid: u64,
    /// DSB of all kinds.
    pub dsb: u64,
}

/// The size that all of Linux's runs have.
pub const BYTES: u64 = 256 << 20;

const fn figures(cpu: &'static str, folio: &'static str, numbers: [u64; 5]) -> Figures {
    let [instructions, by_page, by_range, by_asid, dsb] = numbers;
    Figures { cpu, folio, instructions, by_page, by_range, by_asid, dsb }
}

/// Linux 7.3.4, which unmaps swap-backed anonymous folios page by page.
const ZERO_FILLED: [Figures; 7] = [
    figures("max", "4K", [561_481_000, 65_548, 0, 131, 131_825]),
    figures("max", "16K", [344_226_000, 65_547, 0, 131, 82_516]),
    figures("max", "64K", [286_202_000, 65_547, 4_096, 131, 78_404]),
    figures("max", "256K", [271_650_000, 65_547, 4_096, 131, 75_306]),
    figures("max", "2M", [267_525_000, 65_545, 4_225, 0, 74_547]),
    figures("cortex-a72", "64K", [290_155_000, 131_083, 0, 131, 78_410]),
    figures("neoverse-n1", "64K", [285_901_000, 139_426, 0, 131, 86_769]),
];

/// Linux's run on this CPU with folios of this size, if there was one.
pub fn zero_filled(cpu: &str, folio: &str) -> Option<Figures> {
    ZERO_FILLED.into_iter().find(|figures| figures.cpu == cpu && figures.folio == folio)
}

/// Of the 64K run on `max`: instructions a page of the zero scan before write-out.
pub const SCAN_A_PAGE: u64 = 2_597;

/// Patterned pages, 64K folios, `max`, a RAM disk as swap: instructions of the call.
pub const PATTERNED: u64 = 253_538_000;

/// Steps of memory with data in it, 64K folios, 256 MiB, `max`: instructions of each, by the names that the program `steps` gives them.
const STEPS: [(&str, u64); 5] = [
    ("page-out", PATTERNED),
    ("swap-in by reading", 81_873_000),
    ("fork", 10_199_000),
    ("munmap, swapped out", 15_475_000),
    ("munmap, present", 14_941_000),
];

/// What Linux took for a step, if that was measured.
pub fn step(name: &str) -> Option<u64> {
    STEPS.into_iter().find(|&(step, _)| step == name).map(|(_, instructions)| instructions)
}

/// The series "Optimize anonymous large folio unmapping", in the words of its cover letter.
pub const SERIES: &str = "The series, 64K folios, 256 MiB, a VM on Apple M3, wall time: \
    before 37,401,913 ns, after 17,420,282 ns, ratio 2.147 (sd 12 %, 11 %).";
