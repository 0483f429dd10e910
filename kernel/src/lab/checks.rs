//! Tests of whole page-outs: a program swaps memory out, and the totals must be what the reference says, to the unit; bytes must be
//! right after swap-in; instructions must stay in their budgets.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use mm::policy::Unmap;
use mmu::{CONT_PTES, PAGE_SIZE, TABLE_SPAN, VirtAddr};

use super::program::{self, Fill, LARGE, Measured, Setting, WAYS, folio_name, set_policy};
use super::tests::Runner;
use super::{shared, steps};
use crate::arch::cpu::SpinLock;
use crate::walk::Tables;

/// The size of the benchmark.
const BYTES: u64 = 256 << 20;
/// Orders of 4K, 16K, 64K, 256K and 2M folios.
const ORDERS: [u32; 5] = [0, 2, 4, 6, 9];
/// One isolation list of `gather`.
const BATCH: u64 = 32 << 20;

/// All tests of this file.
pub fn run(runner: &mut Runner<'_>) {
    runner.case("lab/walk-and-dump-of-a-folded-folio", walk_and_dump);
    for contpte in [true, false] {
        for order in ORDERS {
            for way in WAYS {
                let name = format!("lab/bytes-after-swap-in/{}-{}{}", folio_name(order), way.word(), suffix(contpte));
                runner.case(&name, || bytes(way, order, contpte));
            }
        }
    }
    for (order, contpte) in [(LARGE, true), (LARGE, false), (0, true)] {
        for way in WAYS {
            let name = format!("lab/totals-of-256M/{}-{}{}", folio_name(order), way.word(), suffix(contpte));
            runner.case(&name, || totals(way, order, contpte));
        }
    }
    runner.case("lab/gather-has-one-flush-for-all-who-share", shared::check);
    // With the checker, or with defects to choose from, the instructions are not the kernel's alone.
    if !cfg!(any(feature = "check", feature = "mutants")) {
        runner.case("lab/instructions-are-within-budget", budgets);
        runner.case("lab/steps-stay-below-linux", steps::check);
        runner.case("lab/single-pages-cost-the-same-before-and-after", single_pages);
    }
}

fn suffix(contpte: bool) -> &'static str {
    if contpte { "" } else { "-contpte-off" }
}

/// Runs `swapout` with the Contiguous bit in use or not; afterwards it is as before.
fn swap_out(setting: Setting, contpte: bool) -> Result<Measured, String> {
    let memory = crate::memory();
    let before = memory.policy().contpte();
    let word = |on| if on { "on" } else { "off" };
    set_policy(memory, "contpte", word(contpte));
    let measured = program::swap_out(setting, false);
    set_policy(memory, "contpte", word(before));
    measured
}

/// Every byte of patterned pages, read back.
fn bytes(way: Unmap, order: u32, contpte: bool) -> Result<(), String> {
    let setting = Setting { way, order, fill: Fill::Pattern, bytes: 6 << 20, verify: true };
    let measured = swap_out(setting, contpte)?;
    let out = measured.counts.get("pages_swapped_out");
    if out == setting.pages() { Ok(()) } else { Err(format!("{out} of {} pages were swapped out", setting.pages())) }
}

/// What has been measured already, as several tests look at the same runs.
static MEASURED: SpinLock<Vec<(bool, Measured)>> = SpinLock::new(Vec::new());

fn measured(way: Unmap, order: u32, contpte: bool) -> Result<Measured, String> {
    let setting = Setting { way, order, fill: Fill::Zero, bytes: BYTES, verify: false };
    let known = MEASURED.lock().iter().find(|(with, run)| (*with, run.setting) == (contpte, setting)).cloned();
    if let Some((_, run)) = known {
        return Ok(run);
    }
    let run = swap_out(setting, contpte)?;
    MEASURED.lock().push((contpte, run.clone()));
    Ok(run)
}

/// What a page-out must cost, by the closed formulas of reference 2.9 and 2.12.
struct Expected(Vec<(&'static str, u64)>);

/// The size of a job.
#[derive(Clone, Copy)]
struct Job {
    /// Pages of a folio, and folded blocks in it.
    pages: u64,
    blocks: u64,
    folios: u64,
    tables: u64,
    /// Whether the CPU has TLBI by range.
    range: bool,
}

impl Job {
    fn new(order: u32, contpte: bool) -> Self {
        let pages = 1 << order;
        Self {
            pages,
            blocks: if contpte { pages / CONT_PTES as u64 } else { 0 },
            folios: BYTES / (pages * PAGE_SIZE),
            tables: BYTES / TABLE_SPAN,
            range: crate::memory().door.features().range_tlbi,
        }
    }

    fn is_folded(&self) -> bool {
        self.blocks > 0
    }

    /// Getters of the walk that isolates a folio, and what they read.
    fn walk(&self) -> (u64, u64) {
        if self.is_folded() { (self.blocks, 3 * self.blocks) } else { (self.pages, self.pages) }
    }

    /// Column by column for a folio; `tables` flushes of the whole ASID that one table's reclaim leaves to the next.
    fn one_by_one(&self, way: Unmap) -> Expected {
        let (n, b) = (self.pages, self.blocks);
        let (walk_getters, walk_reads) = self.walk();
        let page = way == Unmap::Page;
        let row = |of_page, of_folio| if page { of_page } else { of_folio };
        let getters = row(3 * n - 1, if b > 0 { b + 1 } else { n + 1 });
        let reads = row(
            if b > 0 { 86 * b - 3 } else { 5 * n - 1 },
            if b > 0 { 19 * b + 3 } else { 2 * n + if n == 1 { 2 } else { 1 } },
        );
        let unfolds = row(b, 0);
        let writes = n + 16 * unfolds;
        let units = row(n, 1);
        let (by_page, by_range) = match (self.range, page) {
            (true, true) => (n, b),
            (true, false) if n > 1 => (0, 1),
            (true, false) => (1, 0),
            (false, true) => (n + 16 * b, 0),
            (false, false) => (n, 0),
        };
        let pending = self.tables - 1;
        let folios = self.folios;
        Expected(alloc::vec![
            ("getters", folios * (getters + walk_getters)),
            ("reads", folios * (reads + walk_reads)),
            ("swaps", folios * writes),
            ("stores", folios * writes),
            ("tlbi_page", folios * by_page),
            ("tlbi_range", folios * by_range),
            ("tlbi_asid", pending),
            ("pending_flushes", pending),
            ("dsb_ishst", folios * (units + unfolds) + pending),
            ("dsb_ish", folios * (1 + unfolds) + pending),
            ("unfolds", folios * unfolds),
            ("walk_turns", folios * if page && n > 1 { n + 1 } else { 1 }),
            ("swap_dups", folios * units),
            ("space_counts", folios * 2 * units),
            ("full_barriers", folios * 2 * units),
            ("ref_drops", folios * units),
            ("generations", folios * units),
        ])
    }

    /// A batch is one run of addresses, one TLBI and one pair of barriers; it settles its own deferral.
    fn together(&self) -> Expected {
        let (walk_getters, walk_reads) = self.walk();
        let batches = BYTES / BATCH;
        let looks = if self.is_folded() { self.blocks } else { self.pages };
        let folios = self.folios;
        Expected(alloc::vec![
            ("getters", folios * walk_getters),
            ("reads", folios * (walk_reads + looks)),
            ("swaps", folios * self.pages),
            // A run of 8,192 pages: one operation by range, or of the whole ASID.
            (if self.range { "tlbi_range" } else { "tlbi_asid" }, batches),
            ("dsb_ishst", batches),
            ("dsb_ish", batches),
            ("walk_turns", self.tables),
            ("swap_dups", folios),
            ("space_counts", 2 * folios),
            ("full_barriers", 2 * folios),
            ("ref_drops", folios),
            ("generations", self.tables),
        ])
    }
}

impl Expected {
    /// The counters that are named, and that nothing else passed through the door.
    fn compare(&self, run: &Measured) -> Result<(), String> {
        let mut wrong = String::new();
        for (name, counted) in run.counts.iter() {
            let named = self.0.iter().find(|(known, _)| *known == name).map(|&(_, value)| value);
            let judged = [
                "tlbi_",
                "dsb_",
                "isb",
                "exchanges",
                "folds",
                "unfolds",
                "stores",
                "pending_flushes",
                "unmap_failures",
            ];
            let must_be = named.or_else(|| judged.iter().any(|start| name.starts_with(start)).then_some(0));
            if must_be.is_some_and(|must_be| must_be != counted) {
                wrong += &format!("{name} is {counted}, must be {}; ", must_be.unwrap_or(0));
            }
        }
        let wrong = wrong.trim_end_matches("; ");
        if wrong.is_empty() { Ok(()) } else { Err(wrong.into()) }
    }
}

fn totals(way: Unmap, order: u32, contpte: bool) -> Result<(), String> {
    let run = measured(way, order, contpte)?;
    let job = Job::new(order, contpte);
    let expected = if way == Unmap::Gather { job.together() } else { job.one_by_one(way) };
    expected.compare(&run)
}

/// Instructions a page: of the whole call for `gather`, and of unmapping for each way.
fn budgets() -> Result<(), String> {
    const CALL: u64 = 1_000;
    let mut over = String::new();
    for (way, budget) in [(Unmap::Page, 800), (Unmap::Folio, 150), (Unmap::Gather, 60)] {
        let run = measured(way, LARGE, true)?;
        let pages = run.setting.pages();
        let unmap = run.counts.get("instructions_unmap").div_ceil(pages);
        if unmap > budget {
            over +=
                &format!("unmap={}: {unmap} instructions a page in the unmap phase, at most {budget}; ", way.word());
        }
        let call = run.instructions.div_ceil(pages);
        if way == Unmap::Gather && call > CALL {
            over += &format!("unmap=gather: {call} instructions a page in all, at most {CALL}; ");
        }
    }
    let over = over.trim_end_matches("; ");
    if over.is_empty() { Ok(()) } else { Err(over.into()) }
}

/// With 4K folios there is nothing to batch: `folio` is within 1 % of `page`.
fn single_pages() -> Result<(), String> {
    let [page, folio] = [measured(Unmap::Page, 0, true)?, measured(Unmap::Folio, 0, true)?];
    let (page, folio) = (page.instructions, folio.instructions);
    if page.abs_diff(folio) * 100 <= page { Ok(()) } else { Err(format!("page {page}, folio {folio} instructions")) }
}

/// A folio's walk ends where its page is, and the dump shows one folded block.
fn walk_and_dump() -> Result<(), String> {
    use mm::map::{MapFlags, MapRequest};
    use mm::vma::Prot;

    let memory = crate::memory();
    program::use_folios_of(memory, LARGE);
    let failed = |what| move |error| format!("{what}: {error}");
    let space = memory.create_space().map_err(failed("a space"))?;
    let flags = MapFlags::PRIVATE | MapFlags::ANONYMOUS;
    let request = MapRequest { address: 0, length: TABLE_SPAN, prot: Prot::READ | Prot::WRITE, flags };
    let start = VirtAddr::new(memory.mmap(&space, request).map_err(failed("mmap"))?);
    let touched = memory.fault(&space, start.add_pages(5), mm::fault::Access::Write);
    let tables = Tables { door: &memory.door, is_memory: &|_| true };
    let walk = tables.walk(space.tables.root(), start.add_pages(5).add_bytes(7));
    let mut dump = String::new();
    let dumped = tables.dump(&mut dump, space.tables.root(), VirtAddr::new(0));
    let first = space.tables.find(memory, start).map(|table| memory.door.load(table.slot(start)));
    memory.destroy_space(&space);
    touched.map_err(|error| format!("fault: {error:?}"))?;
    dumped.map_err(|_| "dump")?;
    let expected = first.map(|entry| entry.address().add_bytes(5 * PAGE_SIZE + 7));
    if walk.physical().is_none() || walk.physical() != expected {
        return Err(format!("page 5 is at {expected:?}, but {walk}"));
    }
    let block = dump.contains("64K L3 x16") && dump.contains("1 contiguous block") && dump.lines().count() == 1;
    if block { Ok(()) } else { Err(format!("the dump is: {dump}")) }
}
