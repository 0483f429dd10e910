//! `maps` and `smaps`: one area.

use alloc::string::String;

use mm::policy::FolioSizes;
use mm::usage::Usage;
use mm::vma::{Area, AreaFlags, Prot};

use super::{kilobytes, put};

/// Where a line of `maps` has the name.
const NAME_COLUMN: usize = 73;
const PAGE_KB: u64 = mmu::PAGE_SIZE >> 10;

/// An area as it is shown.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    /// The area.
    pub area: &'a Area,
    /// The number of the file that it maps; 0 if it maps none.
    pub inode: u64,
    /// What it is called, if it has a name.
    pub name: &'a str,
}

/// Its line in `maps`.
pub fn maps(out: &mut String, Shown { area, inode, name }: Shown<'_>) {
    let letter = |prot, letter| if area.prot.contains(prot) { letter } else { '-' };
    let (read, write) = (letter(Prot::READ, 'r'), letter(Prot::WRITE, 'w'));
    let execute = letter(Prot::EXECUTE, 'x');
    let shared = if area.backing.is_shared() { 's' } else { 'p' };
    let offset = if area.backing.is_anonymous() { 0 } else { area.pgoff << mmu::PAGE_SHIFT };
    let may = &[read, write, execute, shared];
    header(out, (area.start.as_u64(), area.end.as_u64()), may, (offset, inode), name);
}

fn header(out: &mut String, (from, to): (u64, u64), may: &[char; 4], (offset, inode): (u64, u64), name: &str) {
    let start = out.len();
    let may: String = may.iter().collect();
    put(out, format_args!("{from:08x}-{to:08x} {may} {offset:08x} 00:{:02x} {inode} ", u8::from(inode != 0)));
    if !name.is_empty() {
        while out.len() - start < NAME_COLUMN {
            out.push(' ');
        }
        out.push_str(name);
    }
    out.push('\n');
}

/// Its part of `smaps`: the line of `maps`, sums in kilobytes, its flags.
pub fn smaps(out: &mut String, shown: Shown<'_>, usage: &Usage, sizes: &FolioSizes) {
    let area = shown.area;
    maps(out, shown);
    kilobytes(out, "Size:", area.pages() * PAGE_KB);
    let page = area.huge().map_or(PAGE_KB, |size| size.bytes() >> 10);
    kilobytes(out, "KernelPageSize:", page);
    kilobytes(out, "MMUPageSize:", page);
    let is_locked = area.flags.contains(AreaFlags::LOCKED);
    sums(out, usage, if is_locked { usage.proportional } else { 0 });
    put(out, format_args!("THPeligible:    {:>8}\n", u8::from(may_have_large_folios(area, sizes))));
    out.push_str("VmFlags:");
    flags(area).for_each(|flag| put(out, format_args!(" {flag}")));
    // Linux has a space behind each flag.
    out.push_str(" \n");
}

/// `smaps_rollup`: all areas as one. `locked` is the sum in proportion of those that are locked.
pub fn rollup(out: &mut String, range: (u64, u64), usage: &Usage, locked: u64) {
    header(out, range, &['-', '-', '-', 'p'], (0, 0), "[rollup]");
    sums(out, usage, locked);
}

/// The sums. What is never mapped by a block of level 2 is zero there.
fn sums(out: &mut String, usage: &Usage, locked: u64) {
    // A sum in proportion is in bytes times 4096.
    let proportional = |sum: u64| sum >> 22;
    kilobytes(out, "Rss:", usage.resident * PAGE_KB);
    kilobytes(out, "Pss:", proportional(usage.proportional));
    kilobytes(out, "Pss_Dirty:", proportional(usage.proportional_dirty));
    kilobytes(out, "Shared_Clean:", usage.shared_clean * PAGE_KB);
    kilobytes(out, "Shared_Dirty:", usage.shared_dirty * PAGE_KB);
    kilobytes(out, "Private_Clean:", usage.private_clean * PAGE_KB);
    kilobytes(out, "Private_Dirty:", usage.private_dirty * PAGE_KB);
    kilobytes(out, "Referenced:", usage.referenced * PAGE_KB);
    kilobytes(out, "Anonymous:", usage.anonymous * PAGE_KB);
    kilobytes(out, "KSM:", 0);
    kilobytes(out, "LazyFree:", usage.lazily_freed * PAGE_KB);
    kilobytes(out, "AnonHugePages:", 0);
    kilobytes(out, "ShmemPmdMapped:", 0);
    kilobytes(out, "FilePmdMapped:", 0);
    kilobytes(out, "Shared_Hugetlb:", usage.huge_shared * PAGE_KB);
    kilobytes(out, "Private_Hugetlb:", usage.huge_private * PAGE_KB);
    kilobytes(out, "Swap:", usage.swapped * PAGE_KB);
    kilobytes(out, "SwapPss:", proportional(usage.swapped_proportional));
    kilobytes(out, "Locked:", proportional(locked));
}

/// Whether some large folio that the policy allows fits into the area.
fn may_have_large_folios(area: &Area, sizes: &FolioSizes) -> bool {
    let orders = if area.huge().is_some() { 0 } else { sizes.orders(area.advice()) };
    (0..u16::BITS).filter(|order| orders & 1 << order != 0).any(|order| {
        let size = mmu::PAGE_SIZE << order;
        area.start.as_u64().next_multiple_of(size) + size <= area.end.as_u64()
    })
}

/// Linux's two letters for each flag of an area, in its order.
fn flags(area: &Area) -> impl Iterator<Item = &'static str> + use<> {
    let Area { prot, flags, backing, .. } = *area;
    let all = [
        (prot.contains(Prot::READ), "rd"),
        (prot.contains(Prot::WRITE), "wr"),
        (prot.contains(Prot::EXECUTE), "ex"),
        (backing.is_shared(), "sh"),
        (true, "mr"),
        (true, "mw"),
        (true, "me"),
        (backing.is_shared(), "ms"),
        (flags.contains(AreaFlags::LOCKED), "lo"),
        (flags.contains(AreaFlags::DONTFORK), "dc"),
        (area.huge().is_some(), "de"),
        (!flags.contains(AreaFlags::NORESERVE), "ac"),
        (flags.contains(AreaFlags::NORESERVE), "nr"),
        (area.huge().is_some(), "ht"),
        (flags.contains(AreaFlags::WIPEONFORK), "wf"),
        (flags.contains(AreaFlags::HUGEPAGE), "hg"),
        (flags.contains(AreaFlags::NOHUGEPAGE), "nh"),
        (flags.contains(AreaFlags::UFFD_WP), "uw"),
        (flags.contains(AreaFlags::DROPPABLE), "dp"),
    ];
    all.into_iter().filter(|(is_set, _)| *is_set).map(|(_, flag)| flag)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mm::policy::Policy;
    use mmu::VirtAddr;

    fn area() -> Area {
        let (start, end) = (VirtAddr::new(0xaaaa_aaac_0000), VirtAddr::new(0xaaaa_aaae_1000));
        Area { start, end, prot: Prot::READ | Prot::WRITE, flags: AreaFlags::HUGEPAGE, ..Area::default() }
    }

    #[test]
    fn a_line_of_maps() {
        let mut out = String::new();
        maps(&mut out, Shown { area: &area(), inode: 0, name: "" });
        maps(&mut out, Shown { area: &area(), inode: 0, name: "[heap]" });
        let lines: alloc::vec::Vec<_> = out.lines().collect();
        assert_eq!(lines[0], "aaaaaaac0000-aaaaaaae1000 rw-p 00000000 00:00 0 ");
        assert_eq!(lines[1].find("[heap]"), Some(73));
    }

    #[test]
    fn a_part_of_smaps() {
        let usage = Usage { resident: 32, proportional: 16 << 24, swapped: 1, ..Usage::default() };
        let (mut out, policy) = (String::new(), Policy::new());
        smaps(&mut out, Shown { area: &area(), inode: 0, name: "" }, &usage, policy.sizes());
        for line in [
            "Size:                132 kB",
            "KernelPageSize:        4 kB",
            "Rss:                 128 kB",
            "Pss:                  64 kB",
            "Swap:                  4 kB",
            "Private_Hugetlb:       0 kB",
            "THPeligible:           0",
            "VmFlags: rd wr mr mw me ac hg ",
        ] {
            assert!(out.lines().any(|own| own == line), "{line}\n{out}");
        }
        policy.parse("thp", "64K=madvise").unwrap();
        out.clear();
        smaps(&mut out, Shown { area: &area(), inode: 0, name: "" }, &usage, policy.sizes());
        assert!(out.contains("THPeligible:           1\n"));
    }

    #[test]
    fn a_rollup_has_what_is_locked_once() {
        let mut out = String::new();
        rollup(&mut out, (0x1_0000, 0x2_0000), &Usage::default(), 3 << 24);
        assert!(out.ends_with("Locked:               12 kB\n"), "{out}");
        assert_eq!(out.find("[rollup]"), Some(NAME_COLUMN));
    }
}
