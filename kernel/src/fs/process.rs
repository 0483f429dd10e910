//! The files about one process, from what the kernel knows at the moment. They are empty once it has ended.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Weak;
use alloc::vec;
use alloc::vec::Vec;

use mm::Errno;
use mm::policy::FolioSizes;
use mm::usage::Usage;
use mm::vma::{Area, AreaFlags, Prot};

use super::proc::area::{self, Shown};
use super::proc::status::{self, Sizes, Told};
use super::text::{Make, whole};
use super::tree::ProcessFile;
use crate::task::family::Pid;
use crate::task::file::{File, Stat};
use crate::task::handle::{Handle, family};
use crate::task::space::UserSpace;
use crate::task::stack::{STACK_SIZE, STACK_TOP};

/// What makes the content of a file about a process. What shows its memory shows that which it had when the file was opened.
pub fn content(handle: &Handle, file: ProcessFile) -> Make {
    let (pid, space) = (handle.pid, handle.space());
    match file {
        ProcessFile::Cmdline => of(pid, |handle| handle.about().arguments.clone()),
        ProcessFile::Comm => of(pid, |handle| [handle.about().name(), b"\n"].concat()),
        ProcessFile::Stat => of(pid, |handle| told(handle, status::stat)),
        ProcessFile::Status => of(pid, |handle| told(handle, status::status)),
        ProcessFile::Statm => of(pid, |handle| {
            let mut out = String::new();
            status::statm(&mut out, &sizes(handle));
            out.into_bytes()
        }),
        ProcessFile::Maps => each_area(space, |out, _, shown| area::maps(out, shown)),
        ProcessFile::Smaps => each_area(space, |out, space, shown| {
            area::smaps(out, shown, &space.usage(shown.area), folio_sizes());
        }),
        ProcessFile::SmapsRollup => whole(move || space.upgrade().map(|space| rollup(&space)).unwrap_or_default()),
        // Words, not text: see below.
        ProcessFile::Pagemap => whole(Vec::new),
    }
}

fn folio_sizes() -> &'static FolioSizes {
    crate::memory().policy().sizes()
}

/// A content that tells of the process as it is when it is read.
fn of(pid: Pid, tell: fn(&Handle) -> Vec<u8>) -> Make {
    whole(move || {
        let handle = family().get(pid);
        handle.map(|handle| tell(&handle)).unwrap_or_default()
    })
}

fn told(handle: &Handle, write: fn(&mut String, &Told<'_>)) -> Vec<u8> {
    const TICK: u64 = 10_000_000;
    let sizes = sizes(handle);
    let name = String::from_utf8_lossy(handle.about().name()).into_owned();
    let (state, ran) = handle.activity();
    let (pid, threads) = (handle.pid, handle.threads());
    let family = family();
    let (parent, group, session) = (family.parent(pid), family.group(pid), family.session(pid));
    drop(family);
    let (group, session) = (group.unwrap_or(0), session.unwrap_or(0));
    let mut out = String::new();
    write(&mut out, &Told { name: &name, state, pid, parent, group, session, ticks: ran / TICK, threads, sizes });
    out.into_bytes()
}

fn sizes(handle: &Handle) -> Sizes {
    let Some(space) = handle.space().upgrade() else { return Sizes::default() };
    let [resident, peak, of_files, swapped] = space.accounts();
    let mut sizes = Sizes { resident, peak, of_files, swapped, tables: space.table_pages(), ..Sizes::default() };
    for area in areas(&space) {
        sizes.mapped += area.pages();
        let is_locked = area.flags.contains(AreaFlags::LOCKED);
        sizes.locked += if is_locked { area.pages() } else { 0 };
        if name(&space, &area) == STACK {
            sizes.stack += area.pages();
        } else if area.prot.contains(Prot::EXECUTE) {
            sizes.executable += area.pages();
        } else if area.prot.contains(Prot::WRITE) {
            sizes.data += area.pages();
        }
    }
    sizes
}

/// The areas of a space, each as it is when it is reached.
fn areas(space: &UserSpace) -> impl Iterator<Item = Area> + use<'_> {
    core::iter::successors(space.area_from(0), |area| space.area_from(area.end.as_u64()))
}

const STACK: &str = "[stack]";

fn name(space: &UserSpace, area: &Area) -> &'static str {
    let overlaps = |(start, end): (u64, u64)| area.start.as_u64() < end && start < area.end.as_u64();
    if overlaps(space.heap()) {
        "[heap]"
    } else if overlaps((STACK_TOP - STACK_SIZE, STACK_TOP)) {
        STACK
    } else {
        ""
    }
}

/// A content with a piece for each area.
fn each_area(space: Weak<UserSpace>, show: fn(&mut String, &UserSpace, Shown<'_>)) -> Make {
    Box::new(move |from| {
        let space = space.upgrade()?;
        let area = space.area_from(from)?;
        let mut out = String::new();
        let file = space.file_of(&area);
        let (inode, name) = file.as_ref().map_or((0, name(&space, &area)), |(inode, name)| (*inode, name));
        show(&mut out, &space, Shown { area: &area, inode, name });
        Some((out.into_bytes(), area.end.as_u64()))
    })
}

fn rollup(space: &UserSpace) -> Vec<u8> {
    let (mut sum, mut locked) = (Usage::default(), 0);
    let mut range: Option<(u64, u64)> = None;
    for area in areas(space) {
        let usage = space.usage(&area);
        locked += if area.flags.contains(AreaFlags::LOCKED) { usage.proportional } else { 0 };
        sum += usage;
        range = Some((range.map_or(area.start.as_u64(), |(start, _)| start), area.end.as_u64()));
    }
    let mut out = String::new();
    area::rollup(&mut out, range.unwrap_or_default(), &sum, locked);
    out.into_bytes()
}

/// `pagemap`: a word for each page of a space.
pub struct Pagemap {
    /// What it is.
    pub stat: Stat,
    /// The space.
    pub space: Weak<UserSpace>,
}

impl File for Pagemap {
    fn stat(&self) -> Stat {
        self.stat
    }

    fn read(&self, at: u64, into: &mut [u8]) -> Result<usize, Errno> {
        const WORD: u64 = 8;
        if at % WORD != 0 || into.len() as u64 % WORD != 0 {
            return Err(Errno::EINVAL);
        }
        let Some(space) = self.space.upgrade() else { return Ok(0) };
        let (first, end) = (at / WORD, mmu::USER_END >> mmu::PAGE_SHIFT);
        let count = end.saturating_sub(first).min(into.len() as u64 / WORD) as usize;
        let mut words = vec![0; count];
        space.pagemap(first << mmu::PAGE_SHIFT, &mut words);
        for (bytes, word) in into.chunks_exact_mut(8).zip(&words) {
            bytes.copy_from_slice(&u64::to_le_bytes(*word));
        }
        Ok(count * WORD as usize)
    }

    fn end(&self) -> Option<u64> {
        Some(0)
    }
}
