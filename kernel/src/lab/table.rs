//! The main job: 256 MiB swapped out in three ways, and what each cost.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use mm::policy::Unmap;
use mmu::PAGE_SIZE;

use super::conditions::{Conditions, SET_BY_RUNS};
use super::grid::{Figure, Grid, Grouped, Quotient};
use super::linux;
use super::program::{self, Fill, LARGE, Measured, Setting, WAYS, folio_name, mib_and_pages};
use crate::command_line::Options;
use crate::dev::record::{self, Json};

/// What the tables are made of.
struct Results {
    zero: Vec<Measured>,
    pattern: Vec<Measured>,
    single: Vec<Measured>,
}

/// Measures and prints. Whether all went well.
pub fn run(options: &Options) -> bool {
    let memory = crate::memory();
    let bytes = program::bytes(options);
    let conditions = Conditions::new(memory, options);
    conditions.record();
    let own = options.policy.iter().filter(|(key, _)| SET_BY_RUNS.contains(&key.as_str()));
    own.for_each(|(key, value)| log::warn!("{key}={value}: the main job sets this itself; it is for `run swapout`"));
    log::info!("");
    log::info!("{} MiB are swapped out in three ways. One moment.", bytes >> 20);
    match measure(bytes, options.verify) {
        Ok(results) => {
            for grid in grids(&results, &conditions) {
                log::info!("");
                grid.lines().iter().for_each(|line| log::info!("{line}"));
            }
            log::info!("");
            results.zero.iter().chain(&results.pattern).chain(&results.single).for_each(write_record);
            true
        }
        Err(message) => {
            log::error!("{message}");
            false
        }
    }
}

/// The runs, in the order in which they are done.
fn measure(bytes: u64, verbose: bool) -> Result<Results, String> {
    let zero = |order, way| Setting { way, order, fill: Fill::Zero, bytes, verify: false };
    let pattern = |way| Setting { fill: Fill::Pattern, verify: true, ..zero(LARGE, way) };
    // The first run of each fill warms the swap device up, as was done for Linux.
    let plan = [
        ("warming up", zero(LARGE, Unmap::Page)),
        ("", zero(LARGE, Unmap::Page)),
        ("", zero(LARGE, Unmap::Folio)),
        ("", zero(LARGE, Unmap::Gather)),
        ("warming up", pattern(Unmap::Page)),
        ("", pattern(Unmap::Page)),
        ("", pattern(Unmap::Folio)),
        ("", pattern(Unmap::Gather)),
        ("warming up", zero(0, Unmap::Page)),
        ("", zero(0, Unmap::Page)),
        ("", zero(0, Unmap::Folio)),
    ];
    let mut results = Results { zero: Vec::new(), pattern: Vec::new(), single: Vec::new() };
    for (number, (note, setting)) in plan.iter().enumerate() {
        let progress = format!("[{:>2}/{}] {} {note}", number + 1, plan.len(), describe(setting));
        log::info!("{}", progress.trim_end());
        let measured = program::swap_out(*setting, verbose)?;
        all_went_out(&measured)?;
        let place = match (setting.fill, setting.order) {
            (Fill::Pattern, _) => &mut results.pattern,
            (Fill::Zero, 0) => &mut results.single,
            (Fill::Zero, _) => &mut results.zero,
        };
        if note.is_empty() {
            place.push(measured);
        }
    }
    Ok(results)
}

/// A page-out that left pages behind has nothing to say about what it costs.
fn all_went_out(run: &Measured) -> Result<(), String> {
    let all = run.counts.get("pages_swapped_out") == run.setting.pages();
    if all { Ok(()) } else { Err(program::too_little_swap(run.setting.bytes)) }
}

fn describe(setting: &Setting) -> String {
    let fill = match setting.fill {
        Fill::Zero => "zero-filled",
        Fill::Pattern => "pattern-filled",
    };
    format!("{} folios, {fill}, unmap={}", setting.folio(), setting.way.word())
}

fn grids(results: &Results, conditions: &Conditions) -> Vec<Grid> {
    let mut grids = alloc::vec![main_table(&results.zero, conditions), pattern_table(&results.pattern, conditions)];
    grids.push(series_table(results, conditions));
    grids
}

/// Instructions outside of the three phases that are counted apart.
fn rest(run: &Measured) -> u64 {
    let phases = ["instructions_unmap", "instructions_scan", "instructions_copy"];
    phases.iter().fold(run.instructions, |left, phase| left.saturating_sub(run.counts.get(phase)))
}

fn heads(last: Option<&'static str>) -> Vec<&'static str> {
    WAYS.iter().map(|way| way.word()).chain(last).collect()
}

fn title(runs: &[Measured]) -> String {
    let setting = runs[0].setting;
    format!("{}: {} by one madvise(MADV_PAGEOUT)", describe_fill(&setting), mib_and_pages(setting.bytes))
}

fn describe_fill(setting: &Setting) -> String {
    let fill = if setting.fill == Fill::Zero { "zero-filled pages" } else { "pattern-filled pages" };
    format!("{} folios, {fill}", setting.folio())
}

/// Cells of one figure of each run, then Linux's if there is one.
fn cells(runs: &[Measured], figure: impl Fn(&Measured) -> u64, linux: Option<u64>) -> Vec<String> {
    runs.iter().map(figure).chain(linux).map(|value| Grouped(value).to_string()).collect()
}

fn per_page(runs: &[Measured], figure: impl Fn(&Measured) -> u64, linux: Option<u64>) -> Vec<String> {
    let pages = |of, by| Quotient { of, by, decimals: 1 }.to_string();
    let ours = runs.iter().map(|run| pages(figure(run), run.setting.pages()));
    ours.chain(linux.map(|of| pages(of, linux::BYTES / PAGE_SIZE))).collect()
}

fn instruction_rows(grid: &mut Grid, runs: &[Measured], linux: Option<u64>, linux_scan: Option<u64>) {
    if runs.iter().all(|run| run.instructions == 0) {
        return; // nothing counts them, which the conditions say
    }
    let pages = linux::BYTES / PAGE_SIZE;
    grid.part("instructions");
    grid.row("in all", cells(runs, |run| run.instructions, linux));
    grid.part("instructions a page");
    grid.row("in all", per_page(runs, |run| run.instructions, linux));
    grid.row("  unmap", per_page(runs, |run| run.counts.get("instructions_unmap"), None));
    grid.row("  zero scan", per_page(runs, |run| run.counts.get("instructions_scan"), linux_scan.map(|a| a * pages)));
    grid.row("  copy", per_page(runs, |run| run.counts.get("instructions_copy"), None));
    grid.row("  the rest", per_page(runs, rest, None));
}

/// Rows of counters.
fn counter_rows(grid: &mut Grid, runs: &[Measured], rows: &[(&str, &str, Option<u64>)]) {
    for &(label, name, linux) in rows {
        grid.row(label, cells(runs, |run| run.counts.get(name), linux));
    }
}

/// Rows of counters that are rare: only those that some run has raised.
fn rare_rows(grid: &mut Grid, runs: &[Measured], rows: &[(&str, &str)]) {
    for &(label, name) in rows.iter().filter(|(_, name)| runs.iter().any(|run| run.counts.get(name) != 0)) {
        grid.row(label, cells(runs, |run| run.counts.get(name), None));
    }
}

/// The columns of the counting model, with their letters.
const COLUMNS: [(&str, &str, Option<u64>); 13] = [
    ("g getters", "getters", None),
    ("r raw reads", "reads", None),
    ("x swaps", "swaps", None),
    ("s stores", "stores", None),
    ("U unfolds", "unfolds", None),
    ("  folds", "folds", None),
    ("W walk turns", "walk_turns", None),
    ("k swap-count calls", "swap_dups", None),
    ("c space counter adds", "space_counts", None),
    ("b full barriers", "full_barriers", None),
    ("f reference drops", "ref_drops", None),
    ("n flush generations", "generations", None),
    ("  pending flushes", "pending_flushes", None),
];

fn main_table(runs: &[Measured], conditions: &Conditions) -> Grid {
    let linux = comparable(runs).then(|| linux::zero_filled(conditions.cpu_of_linux(), folio_name(LARGE))).flatten();
    let mut grid = Grid::new(&title(runs), &heads(linux.map(|_| "Linux 7.3.4")));
    let scan = linux.filter(|linux| linux.cpu == "max").map(|_| linux::SCAN_A_PAGE);
    instruction_rows(&mut grid, runs, linux.map(|linux| linux.instructions), scan);
    grid.part("TLBI");
    counter_rows(
        &mut grid,
        runs,
        &[
            ("by page", "tlbi_page", linux.map(|linux| linux.by_page)),
            ("by range", "tlbi_range", linux.map(|linux| linux.by_range)),
            ("by ASID", "tlbi_asid", linux.map(|linux| linux.by_asid)),
        ],
    );
    let rare =
        [("by page, walks too", "tlbi_page_walk"), ("by range, walks too", "tlbi_range_walk"), ("of all", "tlbi_all")];
    rare_rows(&mut grid, runs, &rare);
    grid.part("barriers");
    counter_rows(&mut grid, runs, &[("DSB ISHST", "dsb_ishst", None), ("DSB ISH", "dsb_ish", None)]);
    rare_rows(&mut grid, runs, &[("DSB NSHST", "dsb_nshst"), ("DSB NSH", "dsb_nsh")]);
    grid.row("DSB of all kinds", cells(runs, |run| run.counts.sum("dsb_"), linux.map(|linux| linux.dsb)));
    rare_rows(&mut grid, runs, &[("ISB", "isb")]);
    grid.part("work on page tables and folios");
    counter_rows(&mut grid, runs, &COLUMNS);
    grid.note(&conditions.line());
    if linux.is_some() {
        Conditions::of_linux().iter().for_each(|line| grid.note(line));
    }
    grid
}

/// Whether Linux's runs were of this size.
fn comparable(runs: &[Measured]) -> bool {
    runs.iter().all(|run| run.setting.bytes == linux::BYTES)
}

fn pattern_table(runs: &[Measured], conditions: &Conditions) -> Grid {
    let linux = (comparable(runs) && conditions.cpu_of_linux() == "max").then_some(linux::PATTERNED);
    let mut grid = Grid::new(&title(runs), &heads(linux.map(|_| "Linux 7.3.4")));
    instruction_rows(&mut grid, runs, linux, None);
    grid.part("operations");
    grid.row("TLBI of all kinds", cells(runs, |run| run.counts.sum("tlbi_"), None));
    grid.row("DSB of all kinds", cells(runs, |run| run.counts.sum("dsb_"), None));
    grid.row(
        "pages to the device",
        cells(runs, |run| run.counts.get("pages_swapped_out") - run.counts.get("pages_zero_marked"), None),
    );
    grid.note("Every byte was read back through swap-in and was right.");
    grid.note(&conditions.line());
    if linux.is_some() {
        grid.note("Linux: a RAM disk as swap, otherwise as above.");
    }
    grid
}

const SERIES_ROWS: [Figure<Measured>; 11] = [
    ("instructions", |run| run.instructions),
    ("  of those unmap", |run| run.counts.get("instructions_unmap")),
    ("getters", |run| run.counts.get("getters")),
    ("descriptor writes", |run| run.counts.get("swaps") + run.counts.get("stores")),
    ("TLBI", |run| run.counts.sum("tlbi_")),
    ("DSB ISHST", |run| run.counts.get("dsb_ishst")),
    ("DSB ISH", |run| run.counts.get("dsb_ish")),
    ("walk turns", |run| run.counts.get("walk_turns")),
    ("swap-count calls", |run| run.counts.get("swap_dups")),
    ("full barriers", |run| run.counts.get("full_barriers")),
    ("reference drops", |run| run.counts.get("ref_drops")),
];

fn series_table(results: &Results, conditions: &Conditions) -> Grid {
    let columns = ["64K before", "after", "ratio", "4K before", "after", "ratio"];
    let mut grid = Grid::new("The series' own table: zero-filled pages, before (page) and after (folio)", &columns);
    for (label, figure) in SERIES_ROWS {
        let mut row = Vec::new();
        for runs in [&results.zero, &results.single] {
            let (of, by) = (figure(&runs[0]), figure(&runs[1]));
            row.extend([
                Grouped(of).to_string(),
                Grouped(by).to_string(),
                Quotient { of, by, decimals: 3 }.to_string(),
            ]);
        }
        grid.row(label, row);
    }
    grid.note(&conditions.line());
    grid.note(linux::SERIES);
    if let (true, Some(linux)) = (comparable(&results.zero), linux::zero_filled(conditions.cpu_of_linux(), "64K")) {
        let single = linux::zero_filled(conditions.cpu_of_linux(), "4K");
        let single = single.map_or(String::new(), |single| format!(", 4K {}", Grouped(single.instructions)));
        grid.note(&format!(
            "Linux 7.3.4, which is `before`: instructions 64K {}{single}.",
            Grouped(linux.instructions)
        ));
    }
    if !crate::memory().policy().contpte() {
        grid.note("contpte=off is not the x86 row of the series: x86 issues no TLBI a page when it defers the flush.");
    }
    grid
}

fn write_record(run: &Measured) {
    let Setting { way, fill, bytes, verify, .. } = run.setting;
    let (folio, way, fill) = (Json(run.setting.folio()), Json(way.word()), Json(fill.word()));
    let (instructions, fields) = (run.instructions, run.counts.fields());
    record::write(format_args!(
        r#"{{"kind":"table",{},"verified":{verify},"instructions":{instructions}{fields}}}"#,
        format_args!(r#""folio":{folio},"fill":{fill},"way":{way},"bytes":{bytes}"#)
    ));
}
