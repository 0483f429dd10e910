//! Files about the whole system: `meminfo`, `stat`, `swaps`, `vmstat`, `uptime`, and the switches of folio sizes.

use alloc::string::String;

use mm::frame::{HugeCounts, HugeSize};
use mm::policy::Enabled;
use mm::swap::RamDevice;

use super::{kilobytes, put};

/// What is told of the machine's memory, in pages.
#[derive(Clone, Copy, Debug, Default)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Memory {
    pub total: u64,
    pub free: u64,
    pub active: u64,
    pub inactive: u64,
    /// Lazily freed, on the list of files' memory as on Linux.
    pub lazily_freed: u64,
    pub unevictable: u64,
    pub locked: u64,
    pub anonymous: u64,
    /// Of memory files, which Linux counts as cached.
    pub of_files: u64,
    pub swap_cached: u64,
    pub swap_total: u64,
    pub swap_free: u64,
    /// Frames of bad memory.
    pub bad: u64,
    /// The pool of the size that a program gets which names none.
    pub huge: HugeCounts,
    /// What the pools of all sizes have.
    pub all_huge: u64,
}

/// `meminfo`. There is no page cache and no slab: what can be had is what is free or was given up.
pub fn meminfo(out: &mut String, memory: &Memory) {
    for (name, pages) in [
        ("MemTotal:", memory.total),
        ("MemFree:", memory.free),
        ("MemAvailable:", memory.free + memory.lazily_freed),
        ("Buffers:", 0),
        ("Cached:", memory.of_files),
        ("SwapCached:", memory.swap_cached),
        ("Active:", memory.active),
        ("Inactive:", memory.inactive + memory.lazily_freed),
        ("Active(anon):", memory.active),
        ("Inactive(anon):", memory.inactive),
        ("Active(file):", 0),
        ("Inactive(file):", memory.lazily_freed),
        ("Unevictable:", memory.unevictable),
        ("Mlocked:", memory.locked),
        ("SwapTotal:", memory.swap_total),
        ("SwapFree:", memory.swap_free),
        ("AnonPages:", memory.anonymous),
        ("Shmem:", memory.of_files),
        ("SReclaimable:", 0),
        ("HardwareCorrupted:", memory.bad),
    ] {
        kilobytes(out, name, pages << 2);
    }
    let HugeCounts { total, free, reserved } = memory.huge;
    for (name, count) in
        [("HugePages_Total:", total), ("HugePages_Free:", free), ("HugePages_Rsvd:", reserved), ("HugePages_Surp:", 0)]
    {
        put(out, format_args!("{name:<16}{count:>8}\n"));
    }
    kilobytes(out, "Hugepagesize:", HugeSize::DEFAULT.bytes() >> 10);
    kilobytes(out, "Hugetlb:", memory.all_huge << 2);
}

/// `swaps`: the device in memory, if there is one.
pub fn swaps(out: &mut String, memory: &Memory) {
    out.push_str("Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n");
    if memory.swap_total > 0 {
        let used = (memory.swap_total - memory.swap_free) << 2;
        put(out, format_args!("{:<40}partition\t{}\t\t{used}\t\t-2\n", RamDevice::PATH, memory.swap_total << 2));
    }
}

/// Lines of a name and a number.
pub fn numbers<'a>(out: &mut String, values: impl IntoIterator<Item = (&'a str, u64)>) {
    values.into_iter().for_each(|(name, value)| put(out, format_args!("{name} {value}\n")));
}

/// `uptime`: seconds since the start, and those with nothing to do.
pub fn uptime(out: &mut String, nanoseconds: u64, idle: u64) {
    let hundredths = |nanoseconds: u64| (nanoseconds / 1_000_000_000, nanoseconds / 10_000_000 % 100);
    let ((seconds, part), (idle, idle_part)) = (hundredths(nanoseconds), hundredths(idle));
    put(out, format_args!("{seconds}.{part:02} {idle}.{idle_part:02}\n"));
}

/// `stat`: hundredths of a second of the one CPU that runs programs. What the kernel did for a program counts as the program's.
pub fn stat(out: &mut String, busy: u64, idle: u64) {
    let [busy, idle] = [busy, idle].map(|nanoseconds| nanoseconds / 10_000_000);
    for name in ["cpu ", "cpu0"] {
        put(out, format_args!("{name} {busy} 0 0 {idle} 0 0 0 0 0 0\n"));
    }
}

/// All states of a switch, the one that it is in in brackets.
pub fn enabled(out: &mut String, states: &[Enabled], now: Enabled) {
    let mut between = "";
    for state in states {
        let (open, close) = if *state == now { ("[", "]") } else { ("", "") };
        put(out, format_args!("{between}{open}{}{close}", state.word()));
        between = " ";
    }
    out.push('\n');
}

/// `cpuinfo`, as far as the main ID register tells.
pub fn cpuinfo(out: &mut String, midr: u64) {
    let field = |shift: u32, bits: u32| midr >> shift & ((1 << bits) - 1);
    put(out, format_args!("processor\t: 0\nCPU implementer\t: {:#04x}\nCPU architecture: 8\n", field(24, 8)));
    let (variant, part, revision) = (field(20, 4), field(4, 12), field(0, 4));
    put(out, format_args!("CPU variant\t: {variant:#x}\nCPU part\t: {part:#05x}\nCPU revision\t: {revision}\n\n"));
}

#[cfg(test)]
mod tests {
    use alloc::borrow::ToOwned;
    use alloc::vec::Vec;

    use super::*;

    #[test]
    fn meminfo_lines_are_aligned() {
        let mut out = String::new();
        let huge = HugeCounts { total: 3, free: 2, reserved: 1 };
        meminfo(&mut out, &Memory { total: 131_072, huge, ..Memory::default() });
        assert!(out.starts_with("MemTotal:         524288 kB\nMemFree:               0 kB\n"));
        let sizes: Vec<_> = out.lines().filter(|line| line.ends_with(" kB")).collect();
        assert!(sizes.iter().all(|line| line.len() == "MemTotal:         524288 kB".len()) && sizes.len() > 20);
        let huge =
            "HugePages_Total:       3\nHugePages_Free:        2\nHugePages_Rsvd:        1\nHugePages_Surp:        0\n";
        assert!(out.contains(&(huge.to_owned() + "Hugepagesize:       2048 kB\n")), "{out}");
    }

    #[test]
    fn swap_devices() {
        let mut out = String::new();
        swaps(&mut out, &Memory::default());
        assert_eq!(out.lines().count(), 1);
        swaps(&mut out, &Memory { swap_total: 100, swap_free: 98, ..Memory::default() });
        assert!(out.ends_with("partition\t400\t\t8\t\t-2\n"));
    }

    #[test]
    fn small_ones() {
        let mut out = String::new();
        uptime(&mut out, 61_230_000_000, 5_000_000);
        enabled(&mut out, &Enabled::ALL, Enabled::Madvise);
        numbers(&mut out, [("pgfault", 3)]);
        assert_eq!(out, "61.23 0.00\nalways inherit [madvise] never\npgfault 3\n");
        out.clear();
        stat(&mut out, 1_230_000_000, 45_000_000_000);
        assert_eq!(out, "cpu  123 0 0 4500 0 0 0 0 0 0\ncpu0 123 0 0 4500 0 0 0 0 0 0\n");
        out.clear();
        cpuinfo(&mut out, 0x000f_0510);
        assert!(out.contains("CPU implementer\t: 0x00\n") && out.contains("CPU part\t: 0x051\n"));
    }
}
