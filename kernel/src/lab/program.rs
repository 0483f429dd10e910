//! Running programs of the initrd for the lab: one that the command line names, and `swapout` for measurements.

use alloc::format;
use alloc::string::String;

use mm::Memory;
use mm::policy::{Enabled, MAX_ORDER, MIN_ORDER, Unmap};
use mmu::PAGE_SIZE;

use super::counters::Counts;
use super::grid::Grouped;
use super::interval::{self, Interval};
use super::linux;
use crate::command_line::Options;
use crate::fs;
use crate::machine::machine;
use crate::syscall;
use crate::task::{self, ExitStatus, Launch, World};

/// The order of a 64K folio.
pub const LARGE: u32 = 4;
/// The ways, in the order of the tables' columns.
pub const WAYS: [Unmap; 3] = [Unmap::Page, Unmap::Folio, Unmap::Gather];

/// What Linux gives its first program.
const ENVIRONMENT: &[&str] = &["HOME=/", "TERM=linux"];

/// Runs a program of the initrd with its arguments.
pub fn run(path: &str, arguments: &[&str]) -> ExitStatus {
    fs::show_counters_by(|see| Counts::now(crate::memory()).iter().for_each(|(name, value)| see(name, value)));
    task::run(&Launch {
        world: World { initrd: machine().info.initrd, system_call: syscall::dispatch },
        path,
        arguments,
        environment: ENVIRONMENT,
    })
}

/// What the pages are filled with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fill {
    /// Zeros: the page is marked and never reaches the device.
    Zero,
    /// A pattern, which is different in every page.
    Pattern,
}

impl Fill {
    /// The word for it, in `swapout`'s arguments too.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Zero => "zero",
            Self::Pattern => "pattern",
        }
    }
}

/// One run of `swapout`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Setting {
    /// How folios are unmapped.
    pub way: Unmap,
    /// The order of the folios; 0 for single pages.
    pub order: u32,
    /// What is in them.
    pub fill: Fill,
    /// Bytes to swap out.
    pub bytes: u64,
    /// Whether the program reads everything back and compares.
    pub verify: bool,
}

impl Setting {
    /// The folio's size in words.
    pub fn folio(&self) -> &'static str {
        folio_name(self.order)
    }

    /// Pages to swap out.
    pub const fn pages(&self) -> u64 {
        self.bytes / PAGE_SIZE
    }

    /// A short name for progress lines and records.
    pub fn name(&self) -> String {
        format!("{} {} {}", self.folio(), self.fill.word(), self.way.word())
    }
}

/// The name of an order, as Linux's files have it.
pub fn folio_name(order: u32) -> &'static str {
    const NAMES: [&str; 10] = ["4K", "8K", "16K", "32K", "64K", "128K", "256K", "512K", "1M", "2M"];
    NAMES.get(order as usize).copied().unwrap_or("?")
}

/// What one page-out cost.
#[derive(Clone, Debug)]
pub struct Measured {
    /// What was run.
    pub setting: Setting,
    /// Instructions of the call; 0 where nothing counts them.
    pub instructions: u64,
    /// What was counted in it.
    pub counts: Counts,
}

/// Bytes that a measurement is about.
pub fn bytes(options: &Options) -> u64 {
    if options.quick { 16 << 20 } else { linux::BYTES }
}

/// So many bytes, in words.
pub fn mib_and_pages(bytes: u64) -> String {
    format!("{} MiB ({} pages)", bytes >> 20, Grouped(bytes / PAGE_SIZE))
}

/// Why less than `bytes` went out.
pub fn too_little_swap(bytes: u64) -> String {
    let room = (crate::memory().swap.total() as u64 * PAGE_SIZE) >> 20;
    let wanted = bytes >> 20;
    format!(
        "not all pages were swapped out: the swap device has {room} MiB, and must have more than {wanted} (--swap), \
         which the machine must have too (--mem)"
    )
}

/// Has new anonymous memory made of folios of just this order.
pub fn use_folios_of(memory: &Memory, order: u32) {
    let sizes = memory.policy().sizes();
    for other in MIN_ORDER..=MAX_ORDER {
        sizes.set(other, if other == order { Enabled::Always } else { Enabled::Never });
    }
}

/// Sets a switch to one of its own words.
pub fn set_policy(memory: &Memory, key: &str, value: &str) {
    if let Err(error) = memory.policy().parse(key, value) {
        panic!("{error}");
    }
}

/// Runs `swapout` in a new space, which owes no flush, and takes what its page-out cost.
///
/// # Errors
/// When the program fails: that is, also when a byte is wrong after swap-in.
pub fn swap_out(setting: Setting, verbose: bool) -> Result<Measured, String> {
    let memory = crate::memory();
    set_policy(memory, "unmap", setting.way.word());
    use_folios_of(memory, setting.order);
    let size = format!("{}K", setting.bytes >> 10);
    let mut arguments = alloc::vec![size.as_str(), "--fill", setting.fill.word(), "--quiet"];
    if setting.verify {
        arguments.push("--verify");
    }
    let _earlier = interval::take();
    let status = run("bin/swapout", &arguments);
    let intervals = interval::take();
    if verbose {
        interval::record(&intervals, &setting.name());
    }
    if status != ExitStatus::Exited(0) {
        return Err(format!("swapout, {}: exit status {}", setting.name(), status.code()));
    }
    match intervals.last() {
        Some(Interval { instructions, counts, .. }) => {
            Ok(Measured { setting, instructions: *instructions, counts: counts.clone() })
        }
        None => Err(format!("swapout, {}: it paged nothing out", setting.name())),
    }
}
