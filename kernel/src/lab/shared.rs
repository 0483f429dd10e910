//! What reclaim costs of memory that several processes share after fork: 256 MiB with data in them, taken from the LRU lists.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use mm::fault::Access;
use mm::map::{MapFlags, MapRequest};
use mm::space::advice;
use mm::vma::Prot;
use mm::{Memory, Space};
use mmu::{PAGE_SIZE, VirtAddr};

use super::conditions::Conditions;
use super::counters::Counts;
use super::grid::{Grid, Grouped, Quotient};
use super::interval;
use super::program::{self, LARGE, WAYS, mib_and_pages};
use crate::command_line::Options;

/// How many processes have the memory.
const SHARERS: [usize; 4] = [1, 2, 8, 32];
/// Where it is.
const START: VirtAddr = VirtAddr::new(0x40_0000_0000);

/// What one reclaim of all of it cost.
struct Cost {
    instructions: u64,
    counts: Counts,
}

/// Measures every number of sharers in the three ways and prints the table. Whether all went well.
pub fn run(options: &Options) -> bool {
    let bytes = program::bytes(options);
    let conditions = Conditions::new(crate::memory(), options);
    conditions.record();
    log::info!("");
    let mut rows = Vec::new();
    for (number, sharers) in SHARERS.into_iter().enumerate() {
        log::info!("[{}/{}] reclaim of memory that {sharers} share", number + 1, SHARERS.len());
        match WAYS.iter().map(|way| cost(way.word(), sharers, bytes)).collect::<Result<Vec<_>, _>>() {
            Ok(costs) => rows.push((sharers, costs)),
            Err(message) => {
                log::error!("{message}");
                return false;
            }
        }
    }
    log::info!("");
    table(&rows, bytes, &conditions).lines().iter().for_each(|line| log::info!("{line}"));
    log::info!("");
    true
}

/// As many pairs of DSB for eight as for one, in `gather`; the other ways take some for each.
///
/// # Errors
/// What is not so.
pub fn check() -> Result<(), String> {
    const BYTES: u64 = 16 << 20;
    let barriers = |way, sharers| -> Result<u64, String> { Ok(cost(way, sharers, BYTES)?.counts.sum("dsb_")) };
    for way in WAYS.map(mm::policy::Unmap::word) {
        let (one, eight) = (barriers(way, 1)?, barriers(way, 8)?);
        if (one == eight) != (way == "gather") {
            return Err(format!("unmap={way}: {one} DSB for one space, {eight} for eight"));
        }
    }
    Ok(())
}

/// Reclaims memory that so many spaces share.
fn cost(way: &str, sharers: usize, bytes: u64) -> Result<Cost, String> {
    let memory = crate::memory();
    program::set_policy(memory, "unmap", way);
    program::use_folios_of(memory, LARGE);
    let mut spaces = Vec::new();
    let cost = family(memory, sharers, bytes, &mut spaces).and_then(|()| {
        let _earlier = interval::take();
        let name = format!("reclaim, shared by {sharers}, unmap={way}");
        let (_, interval) = interval::measured(&name, || memory.shrink(pages(bytes)));
        must_be_out(memory, &spaces, bytes)?;
        let interval = interval.ok_or("nothing was measured")?;
        Ok(Cost { instructions: interval.instructions, counts: interval.counts })
    });
    memory.deactivate();
    spaces.iter().for_each(|space| memory.destroy_space(space));
    cost
}

/// A space with data in its memory, which it has not used for a while, and its children, all of which have run.
fn family(memory: &Memory, sharers: usize, bytes: u64, spaces: &mut Vec<Arc<Space>>) -> Result<(), String> {
    let failed = |error: mm::Errno| format!("{} shared by {sharers}: {error}", mib_and_pages(bytes));
    let parent = memory.create_space().map_err(failed)?;
    spaces.push(parent.clone());
    let flags = MapFlags::PRIVATE | MapFlags::ANONYMOUS | MapFlags::FIXED;
    let request = MapRequest { address: START.as_u64(), length: bytes, prot: Prot::READ | Prot::WRITE, flags };
    memory.mmap(&parent, request).map_err(failed)?;
    memory.madvise(&parent, START.as_u64(), bytes, advice::POPULATE_WRITE).map_err(failed)?;
    for page in 0..pages(bytes) {
        let place = place(memory, &parent, page).ok_or("a page that was populated is not there")?;
        memory.door.write_bytes(place, &content(page));
    }
    memory.madvise(&parent, START.as_u64(), bytes, advice::COLD).map_err(failed)?;
    for _ in 1..sharers {
        spaces.push(memory.fork_space(&parent).map_err(failed)?);
    }
    spaces.iter().for_each(|space| memory.activate(space));
    Ok(())
}

/// Nothing is left of it in any space, and it comes back right.
fn must_be_out(memory: &Memory, spaces: &[Arc<Space>], bytes: u64) -> Result<(), String> {
    if spaces.iter().any(|space| (space.anon_pages(), space.swap_entries()) != (0, pages(bytes) as i64)) {
        return Err(program::too_little_swap(bytes));
    }
    for page in 0..pages(bytes) {
        // Each of them reads a part.
        let space = &spaces[page % spaces.len()];
        memory.fault(space, START.add_pages(page), Access::Read).map_err(|error| format!("page {page}: {error}"))?;
        let mut found = [0; 8];
        let place = place(memory, space, page).ok_or("a page that was faulted in is not there")?;
        memory.door.read_bytes(place, &mut found);
        if found != content(page) {
            return Err(format!("page {page} came back as {found:x?} instead of {:x?}", content(page)));
        }
    }
    Ok(())
}

const fn pages(bytes: u64) -> usize {
    (bytes / PAGE_SIZE) as usize
}

/// A word of each page.
fn content(page: usize) -> [u8; 8] {
    (page as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes()
}

/// Where a page is in memory.
fn place(memory: &Memory, space: &Space, page: usize) -> Option<mmu::PhysAddr> {
    let address = START.add_pages(page);
    let entry = memory.door.load(space.tables.find(memory, address)?.slot(address));
    entry.is_valid().then(|| entry.address())
}

fn table(rows: &[(usize, Vec<Cost>)], bytes: u64, conditions: &Conditions) -> Grid {
    let title = format!("Reclaim of {} that processes share after fork, in 64K folios", mib_and_pages(bytes));
    let mut grid = Grid::new(&title, &WAYS.map(mm::policy::Unmap::word));
    let mut part = |heading: &str, figure: &dyn Fn(&Cost, usize) -> String| {
        grid.part(heading);
        for (sharers, costs) in rows {
            let label = if *sharers == 1 { "by one alone".into() } else { format!("shared by {sharers}") };
            grid.row(&label, costs.iter().map(|cost| figure(cost, *sharers)).collect());
        }
    };
    let whole = |value: u64| Grouped(value).to_string();
    part("instructions", &|cost, _| whole(cost.instructions));
    part("instructions a sharer and page", &|cost, sharers| {
        Quotient { of: cost.instructions, by: sharers as u64 * bytes / PAGE_SIZE, decimals: 1 }.to_string()
    });
    part("TLBI", &|cost, _| whole(cost.counts.sum("tlbi_")));
    part("DSB ISHST", &|cost, _| whole(cost.counts.get("dsb_ishst")));
    part("DSB ISH", &|cost, _| whole(cost.counts.get("dsb_ish")));
    grid.note("From the LRU lists, after nobody has used it for two looks; a word of each page was compared when it came back.");
    grid.note(&conditions.line());
    grid
}
