//! When memory is used up, and swap too, the largest program is killed so that the others can go on. The first program, which is what init
//! is to Linux, is the last that this happens to.

use alloc::sync::Arc;

use mmu::PAGE_SIZE;

use super::family::FIRST;
use super::handle::{self, Handle};
use super::process::label;
use super::signals::Info;
use super::status::Signal;
use super::{run, schedule};
use crate::memory::memory;

/// Called by a task that finds no memory, with no lock held: waits until a program has ended that was killed for it. False if that is the
/// one that asks, or there is none.
pub(super) fn end_largest() -> bool {
    let me = schedule::current();
    let is_me = |process: &Arc<Handle>| process.has_task(&me);
    let alive = handle::family().alive();
    if alive.iter().any(|process| is_me(process) && process.is_killed()) {
        return false;
    }
    let dying = alive.iter().find(|process| process.is_killed());
    let Some(victim) = dying.or_else(|| alive.iter().max_by_key(|process| badness(process))) else { return false };
    if dying.is_none() {
        report(victim);
    }
    if is_me(victim) {
        return false;
    }
    victim.send(Info::from_kernel(Signal::KILL));
    handle::wait_for_end(victim.pid);
    true
}

/// The largest is the worst, the first program never.
fn badness(process: &Handle) -> (bool, i64) {
    let (present, swapped) = size(process);
    (process.pid != FIRST, present + swapped)
}

/// Pages of a process that are present, and swapped out.
fn size(process: &Handle) -> (i64, i64) {
    let space = process.space().upgrade();
    space.map_or((0, 0), |space| (space.inner().anon_pages(), space.inner().swap_entries()))
}

/// Says who is killed, how large it is, and what the machine has.
fn report(victim: &Handle) {
    let kib = |pages: usize| pages as u64 * PAGE_SIZE / 1024;
    let (present, swapped) = size(victim);
    let (present, swapped) = (kib(present as usize), kib(swapped as usize));
    let name = label(run::name(&victim.about().path), victim.pid);
    log::error!("out of memory: {name} is killed: {present} KiB present, {swapped} KiB in swap");
    let (frames, swap) = (&memory().frames, &memory().swap);
    log::error!(
        "the machine has {} KiB of memory, {} of them free, and {} KiB of swap, {} of them free: give it more (--mem, --swap)",
        kib(frames.total()),
        kib(frames.free_count()),
        kib(swap.total()),
        kib(swap.free_count())
    );
}
