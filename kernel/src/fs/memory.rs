//! The files about the whole system, from what the kernel knows at the moment.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use mm::count::{Counters, SizeCounters};
use mm::frame::{HugeCounts, HugeSize};
use mm::lru::LruList;
use mm::map::MIN_ADDRESS;
use mm::policy::{Enabled, KEYS, PolicyError};
use mm::vma::MAX_AREAS;
use mm::{Errno, Memory};
use spin::once::Once;

use super::proc::system;
use super::text::Take;
use super::tree::SystemFile;
use crate::arch::cpu::Yield;
use crate::arch::timer;
use crate::heap::{self, Share};
use crate::machine::machine;
use crate::task::schedule;

/// Shows whoever asks the name and value of every counter.
pub type ShowCounters = fn(&mut dyn FnMut(&str, u64));

/// Installed by the floor that has all counters together.
static COUNTERS: Once<ShowCounters, Yield> = Once::new();

/// Says what shows all counters.
pub fn show_counters_by(show: ShowCounters) {
    COUNTERS.call_once(|| show);
}

/// The content of a file about the system.
pub fn content(file: SystemFile) -> Vec<u8> {
    let memory = crate::memory();
    let mut out = String::new();
    match file {
        SystemFile::Cpuinfo => system::cpuinfo(&mut out, machine().features.midr),
        SystemFile::Filesystems => out.push_str("nodev\tproc\nnodev\tsysfs\nnodev\tramfs\nnodev\ttmpfs\n"),
        SystemFile::Mounts => {
            out.push_str(
                "rootfs / ramfs ro 0 0\nproc /proc proc rw 0 0\nsysfs /sys sysfs rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n",
            );
        }
        SystemFile::Meminfo => system::meminfo(&mut out, &totals(memory)),
        SystemFile::Stat => {
            let (now, idle) = (timer::now_ns(), schedule::idle_time());
            system::stat(&mut out, now.saturating_sub(idle), idle);
        }
        SystemFile::Swaps => system::swaps(&mut out, &totals(memory)),
        SystemFile::Uptime => system::uptime(&mut out, timer::now_ns(), schedule::idle_time()),
        SystemFile::Vmstat => vmstat(&mut out, memory),
        SystemFile::MmapMinAddr => number(&mut out, MIN_ADDRESS),
        SystemFile::MaxMapCount => number(&mut out, MAX_AREAS as u64),
        // No map is refused for what others have mapped: what programs know as 1.
        SystemFile::OvercommitMemory => number(&mut out, 1),
        SystemFile::Counters => {
            if let Some(show) = COUNTERS.get() {
                show(&mut |name, value| system::numbers(&mut out, [(name, value)]));
            }
        }
        SystemFile::Heap => heap(&mut out, memory),
        SystemFile::Policy(index) => {
            let _ = memory.policy().show(key(index), &mut out);
            out.push('\n');
        }
        SystemFile::Enabled => {
            let states = [Enabled::Always, Enabled::Madvise, Enabled::Never];
            system::enabled(&mut out, &states, memory.policy().sizes().top());
        }
        SystemFile::HpagePmdSize => number(&mut out, mmu::TABLE_SPAN),
        SystemFile::EnabledSize(order) => {
            system::enabled(&mut out, &Enabled::ALL, memory.policy().sizes().get(order));
        }
        SystemFile::SizeStat(order, index) => number(&mut out, size_stat(memory, order as usize, index)),
        SystemFile::Pool(size, index) => number(&mut out, pool(memory, size)[index]),
    }
    out.into_bytes()
}

/// Bytes of the kernel's heap: those there are, those in use, and what takes parts that have a limit.
fn heap(out: &mut String, memory: &Memory) {
    let [in_use, total] = heap::in_use();
    let shares = Share::CLAIMED.map(|(share, name)| (name, share.claimed()));
    let budgets = [("areas", memory.anon.budget.bytes()), ("memory_files", memory.files.budget.bytes())];
    let all = [("total", total), ("in_use", in_use)].into_iter().chain(shares).chain(budgets);
    system::numbers(out, all.map(|(name, bytes)| (name, bytes as u64)));
}

fn number(out: &mut String, value: u64) {
    let _ = core::fmt::Write::write_fmt(out, format_args!("{value}\n"));
}

fn key(index: usize) -> &'static str {
    KEYS.get(index).map_or("", |(key, _)| key)
}

/// What takes what is written to a file about the system, if something does.
pub fn take(file: SystemFile) -> Option<Take> {
    if !file.is_writable() {
        return None;
    }
    Some(Box::new(move |bytes| {
        let word = core::str::from_utf8(bytes).map_err(|_| Errno::EINVAL)?.trim();
        let memory = crate::memory();
        let policy = memory.policy();
        match file {
            SystemFile::Policy(index) => {
                policy.set(key(index), word, &memory.door.features()).map_err(|error| match error {
                    PolicyError::ConflictAbort { .. } => Errno::EOPNOTSUPP,
                    _ => Errno::EINVAL,
                })
            }
            SystemFile::Enabled => policy.parse("transparent_hugepage", word).map_err(|_| Errno::EINVAL),
            SystemFile::EnabledSize(order) => {
                let state = Enabled::from_word(word).ok_or(Errno::EINVAL)?;
                policy.sizes().set(order, state);
                Ok(())
            }
            // As Linux: as many as can be had.
            SystemFile::Pool(size, _) => {
                let total = word.parse().map_err(|_| Errno::EINVAL)?;
                memory.frames.resize_huge(size, total);
                Ok(())
            }
            _ => Err(Errno::EINVAL),
        }
    }))
}

fn size_stat(memory: &Memory, order: usize, index: usize) -> u64 {
    if let Some(&value) = memory.count_size_all(order).get(index) {
        return value;
    }
    match index - SizeCounters::NAMES.len() {
        0 => memory.lru.census(&memory.frames).folios[order] as u64,
        _ => memory.deferred.of_order(&memory.frames, order) as u64,
    }
}

/// The numbers of [`POOL`](super::tree::POOL): no page is had beyond those set aside.
fn pool(memory: &Memory, size: HugeSize) -> [u64; 5] {
    let HugeCounts { total, free, reserved } = memory.frames.huge_counts(size);
    [total as u64, free as u64, reserved as u64, 0, 0]
}

fn totals(memory: &Memory) -> system::Memory {
    let census = memory.lru.census(&memory.frames);
    let pages = |list: LruList| memory.lru.size(list).1 as u64;
    let swap_total = memory.swap.total() as u64;
    system::Memory {
        // The device is made of memory, which programs do not see then.
        total: (memory.frames.total() as u64).saturating_sub(swap_total),
        free: memory.frames.free_count() as u64,
        active: pages(LruList::ActiveAnon),
        inactive: pages(LruList::InactiveAnon),
        lazily_freed: pages(LruList::LazyFree),
        unevictable: pages(LruList::Unevictable),
        locked: census.locked as u64,
        anonymous: census.mapped as u64,
        of_files: memory.files.pages().max(0) as u64,
        swap_cached: census.swap_cached as u64,
        swap_total,
        swap_free: memory.swap.free_count() as u64,
        bad: memory.frames.bad_count() as u64,
        huge: memory.frames.huge_counts(HugeSize::DEFAULT),
        all_huge: HugeSize::ALL.map(|size| (memory.frames.huge_counts(size).total * size.pages()) as u64).iter().sum(),
    }
}

fn vmstat(out: &mut String, memory: &Memory) {
    let totals = totals(memory);
    let counts = memory.count_all();
    let count = |wanted: &[&str]| -> u64 {
        Counters::NAMES.iter().zip(counts).filter(|(name, _)| wanted.contains(name)).map(|(_, value)| value).sum()
    };
    let faults: Vec<&str> = Counters::NAMES.iter().copied().filter(|name| name.starts_with("faults_")).collect();
    let largest = memory.count_size_all(mm::policy::MAX_ORDER as usize);
    let largest =
        |wanted: &str| SizeCounters::NAMES.iter().position(|name| *name == wanted).map_or(0, |at| largest[at]);
    let zero_marked = count(&["pages_zero_marked"]);
    system::numbers(
        out,
        [
            ("nr_free_pages", totals.free),
            ("nr_inactive_anon", totals.inactive),
            ("nr_active_anon", totals.active),
            ("nr_inactive_file", totals.lazily_freed),
            ("nr_unevictable", totals.unevictable),
            ("nr_mlock", totals.locked),
            ("nr_anon_pages", totals.anonymous),
            ("nr_shmem", totals.of_files),
            ("nr_swapcached", totals.swap_cached),
            ("pgfault", count(&faults)),
            ("pgmajfault", count(&["faults_swap_major"])),
            ("pswpin", count(&["pages_swapped_in"])),
            ("pswpout", count(&["pages_swapped_out"]) - zero_marked),
            ("swpout_zero", zero_marked),
            ("pglazyfree", count(&["pglazyfree"])),
            ("pglazyfreed", count(&["pglazyfreed"])),
            ("thp_fault_alloc", largest("anon_fault_alloc")),
            ("thp_fault_fallback", largest("anon_fault_fallback")),
            ("thp_split_page", count(&["split"])),
            ("thp_split_page_failed", count(&["split_failed"])),
            ("thp_deferred_split_page", count(&["split_deferred"])),
            ("thp_swpout", largest("swpout")),
            ("thp_swpout_fallback", largest("swpout_fallback")),
        ],
    );
}
