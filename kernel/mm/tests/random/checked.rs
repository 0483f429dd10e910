//! A world whose spaces have shadows: each operation is carried out and must do and return what the shadow says. After it the program
//! of the running space looks at the pages that it was about, and at their neighbours, without resolving a fault: what its TLB and
//! tables let it see must be right, and what it may not write they must not let it.

use mm::Errno;
use mm::fault::{Access, FaultError};
use mm::remap::MoveFlags;
use mm::space::advice::{DONTNEED, POPULATE_WRITE};

use crate::operation::{Answer, Operation, Pages};
use crate::pins::Pins;
use crate::shadow::{Places, Shadow};
use crate::source::{FileShadow, SharedFile};
use crate::view::{self, Entry, View};
use crate::world::{Board, PAGES, PINS, SPACES, WORDS, World, at, failed};

/// Faults of one access after which it will never succeed.
const TRIES: usize = 16;

/// What an operation returned.
pub type Returned = Result<(), Errno>;

/// A world with its shadows.
pub struct Checked<'b> {
    pub world: World<'b>,
    /// Those of the spaces that are there, by number.
    pub shadows: [Option<Shadow>; SPACES],
    pub file: SharedFile,
    /// The space that runs.
    pub running: usize,
    /// What a device has pinned.
    pub pins: Pins<'b>,
    /// What the monitor of userfaultfd answers.
    pub monitor: Answer,
    /// How often memory was treated as bad: a frame each time.
    pub poisoned: usize,
}

impl<'b> Checked<'b> {
    pub fn new(board: &'b Board) -> Self {
        let world = World::new(board);
        world.memory.activate(world.space(0));
        let file = FileShadow::new();
        let shadows = world.spaces.each_ref().map(|space| space.as_ref().map(|_| Shadow::new(&file)));
        Self { world, shadows, file, running: 0, pins: Pins::default(), monitor: Answer::Copy(1), poisoned: 0 }
    }

    /// Carries an operation out. Returns what it returned.
    pub fn step(&mut self, operation: &Operation) -> Result<Returned, String> {
        let before = self.before();
        let result = match *operation {
            Operation::Write(pages, value) => self.write(pages, value).map(Ok)?,
            Operation::WriteShort(pages, value) => {
                let taken = self.world.make_short();
                let written = self.write(pages, value);
                self.world.end_shortage(taken);
                written.map(Ok)?
            }
            Operation::Read(pages) => self.read(pages).map(Ok)?,
            Operation::Enter(space) if self.shadows[space].is_none() => Ok(()),
            Operation::Enter(space) => {
                self.running = space;
                self.call(operation)?
            }
            Operation::Resize(pages) => self.resize(operation, pages)?,
            Operation::CutInside(page) => {
                let result = self.resize(operation, page + 1)?;
                if result.is_ok() {
                    self.file.borrow_mut().cut_inside(page);
                }
                result
            }
            Operation::Fork(child) => self.fork(child)?,
            Operation::Exit(space) => {
                self.exit(space);
                Ok(())
            }
            Operation::Pin(number, pages, access) => self.pin(number, pages, access)?,
            Operation::Unpin(number) => {
                self.unpin(number);
                Ok(())
            }
            Operation::DeviceWrite(number, value) => {
                self.device_write(number, value);
                Ok(())
            }
            Operation::DeviceRead(number) => self.device_read(number).map(Ok)?,
            Operation::Answer(answer) => {
                self.monitor = answer;
                Ok(())
            }
            Operation::Watch(..) | Operation::Unwatch(_) | Operation::Mark(..) | Operation::Fill(..) => {
                self.watching(operation)?
            }
            Operation::Lock(..) | Operation::Unlock(_) | Operation::LockAll(_) | Operation::UnlockAll => {
                self.locking(operation)?
            }
            Operation::Mincore(pages) => self.mincore(pages).map(Ok)?,
            Operation::Poison(page) => self.poison(page)?,
            _ => self.call(operation)?,
        };
        self.note_halfway(operation, before, result)?;
        self.note_lost(false)?;
        self.look(operation.pages())?;
        Ok(result)
    }

    /// Empties a page of a space, which it unlocks.
    pub fn empty(&mut self, space: usize, page: usize) -> Result<(), String> {
        let running = std::mem::replace(&mut self.running, space);
        let pages = Pages(page, 1);
        let unlocked = self.locking(&Operation::Unlock(pages));
        let emptied = unlocked.and_then(|_| self.call(&Operation::Advise(pages, DONTNEED)));
        self.running = running;
        emptied?.map_err(failed("DONTNEED"))
    }

    /// Those of the pages of the space that runs where anything is, in memory or swapped out.
    pub fn there(&self, pages: Pages) -> Places {
        pages.iter().filter(|&page| self.is_there(page)).collect()
    }

    /// Those, and the pages that the file has got since: one that is brought in may bring its neighbours.
    pub fn there_since(&self, pages: Pages, mut there: Places) -> Places {
        there.extend(pages.iter().filter(|&page| self.shadow().is_of_file(page) && self.is_there(page)));
        there
    }

    /// Whether a page of the space that runs has anything, or its file has the page that would be seen.
    pub fn is_there(&self, page: usize) -> bool {
        let of_file = self.shadow().page(page).and_then(|page| page.source.seen());
        !self.world.entry(self.running, page).is_absent() || of_file.is_some_and(|page| self.world.file_has(page))
    }

    /// Reads everything, counts everything, and takes all apart: nothing may be left.
    pub fn end(mut self) -> Result<(), String> {
        (0..PINS).for_each(|number| self.unpin(number));
        self.world.memory.inject.clear();
        for space in 0..SPACES {
            for operation in [Operation::Enter(space), Operation::Forget, Operation::Read(Pages(0, PAGES))] {
                self.step(&operation)?.map_err(failed("in the end"))?;
            }
        }
        self.audit()?;
        self.world.end(self.poisoned)
    }

    /// Counts everything again, and looks at the contents of every page from outside. Returns what was seen.
    pub fn audit(&mut self) -> Result<View, String> {
        self.world.audit()?;
        self.areas_fit()?;
        let view = view::look(&self.world);
        for (space, (seen, shadow)) in view.spaces.iter().zip(&mut self.shadows).enumerate() {
            let Some(shadow) = shadow else { continue };
            for (page, seen) in seen.pages.iter().enumerate() {
                if shadow.see_mark(page, seen.entry == Entry::None)? != seen.entry.is_marked() {
                    return Err(format!("page {page} of space {space} is protected or not: {:?}", seen.entry));
                }
                if !shadow.sees_locked(page, seen.entry) {
                    return Err(format!("page {page} of space {space} was locked: {:?}", seen.entry));
                }
                let is_ruined = shadow.is_ruined(page);
                if matches!(seen.entry, Entry::Bad | Entry::Lost) != is_ruined {
                    return Err(format!("page {page} of space {space} is lost or not: {:?}", seen.entry));
                }
                if is_ruined || seen.entry.is_absent() && shadow.is_of_file(page) {
                    continue;
                }
                let right = shadow.words(page);
                if !(seen.words.iter().enumerate()).all(|(word, &found)| shadow.sees(page, word, found)) {
                    return Err(format!("page {page} of space {space} holds {:x?} instead of {right:x?}", seen.words));
                }
            }
        }
        Ok(view)
    }

    /// An operation that is not an access returns what it must, unless a failure came in between: an injected one, or of memory where
    /// there is little.
    fn call(&mut self, operation: &Operation) -> Result<Returned, String> {
        let before = self.world.struck();
        let refused = self.refusal(operation);
        let barrier = self.barrier(operation);
        let bad: Vec<_> = operation.pages().iter().filter(|&page| self.shadow().is_ruined(page)).collect();
        let asks_what_is_there = matches!(operation, Operation::Advise(..));
        let there = if asks_what_is_there { self.there(operation.pages()) } else { Places::new() };
        let result = self.world.call(self.running, operation);
        let there = if asks_what_is_there { self.there_since(operation.pages(), there) } else { there };
        let excused = self.excuses(result, before) || self.lacks_huge(operation, result);
        let shadow = self.shadows[self.running].as_mut().expect("the space that runs");
        let right = match (refused, operation) {
            (Some(error), _) => Err(error),
            // What was at the new place is gone, and all else is as before.
            (None, &Operation::Move(pages, to, _)) if excused => {
                shadow.apply(&Operation::Unmap(Pages(to, shadow.rounded(pages).1)), &there)
            }
            (None, _) => match barrier {
                Some(stop) => shadow.apply_up_to(stop, operation, &there),
                None => shadow.apply(operation, &there),
            },
        };
        self.note_kept_bad(&bad);
        if let Operation::Advise(pages, POPULATE_WRITE) | Operation::MapFile(pages, ..) = *operation {
            self.note_copies(pages);
        }
        if result == right || excused { Ok(result) } else { Err(format!("returns {result:?} instead of {right:?}")) }
    }

    /// Pages of the file that were copied without a store.
    pub fn note_copies(&mut self, pages: Pages) {
        let of_file = pages.iter().filter(|&page| self.shadow().is_of_file(page));
        let copied: Vec<_> = of_file.filter(|&page| self.world.is_own(self.running, page)).collect();
        copied.into_iter().for_each(|page| self.shadow_mut().copy(page));
    }

    /// The file has so many pages from now on, the last perhaps in part; unless a page that is cut, or its neighbours, did not come back.
    fn resize(&mut self, operation: &Operation, pages: usize) -> Result<Returned, String> {
        let before = self.world.struck();
        let result = self.world.call(self.running, operation);
        if result.is_ok() {
            let cut = self.file.borrow_mut().resize(pages);
            self.pins.cut_off(cut);
            self.shadows.iter_mut().flatten().for_each(|shadow| shadow.cut(pages));
        }
        let excused = result == Err(Errno::EIO) && self.world.struck() > before || self.excuses(result, before);
        if result.is_ok() || excused { Ok(result) } else { Err(format!("returns {result:?}")) }
    }

    /// Why an operation must be refused before it does anything, where the areas say so.
    fn refusal(&self, operation: &Operation) -> Option<Errno> {
        match *operation {
            Operation::Move(pages, to, flags) => self.move_refusal(pages, to, flags.contains(MoveFlags::DONTUNMAP)),
            Operation::Map(..) | Operation::MapFile(..) | Operation::MapHuge(..) | Operation::Unmap(_) => {
                self.map_refusal(operation)
            }
            _ => None,
        }
    }

    /// Whether something failed that need not have: by a failure injected since there were `before`, or for want of memory.
    pub fn excuses(&self, result: Returned, before: u64) -> bool {
        let little = result == Err(Errno::ENOMEM) && self.world.size.is_little();
        result.is_err() && (self.world.struck() > before || little)
    }

    /// The program forks.
    fn fork(&mut self, child: usize) -> Result<Returned, String> {
        if child == self.running {
            return Ok(Ok(()));
        }
        self.exit(child);
        let before = self.world.struck();
        let result = self.world.fork(self.running, child);
        if result.is_ok() {
            self.shadows[child] = Some(self.shadow().fork());
        }
        if result.is_ok() || self.excuses(result, before) { Ok(result) } else { Err(format!("returns {result:?}")) }
    }

    fn exit(&mut self, space: usize) {
        if space != self.running {
            self.world.exit(space);
            self.shadows[space] = None;
        }
    }

    /// That of the space that runs.
    pub fn shadow(&self) -> &Shadow {
        self.shadows[self.running].as_ref().expect("the space that runs")
    }

    pub fn shadow_mut(&mut self) -> &mut Shadow {
        self.shadows[self.running].as_mut().expect("the space that runs")
    }

    fn write(&mut self, pages: Pages, value: u64) -> Result<(), String> {
        for page in pages.iter() {
            let word = page % WORDS;
            // Another value in each page, but for 0.
            let value = value.wrapping_mul(2 * page as u64 + 1);
            let written = self.access(page, word, Access::Write, |world| {
                world.machine.user_write_u64(at(page, word), value).map(|()| value)
            })?;
            if let (Some(value), Some(shadow)) = (written, &mut self.shadows[self.running]) {
                shadow.store(page, word, value);
            }
        }
        Ok(())
    }

    pub fn read(&mut self, pages: Pages) -> Result<(), String> {
        for (page, word) in pages.iter().flat_map(|page| (0..WORDS).map(move |word| (page, word))) {
            let found = self.access(page, word, Access::Read, |world| world.machine.user_read_u64(at(page, word)))?;
            self.must_hold(page, word, found)?;
        }
        Ok(())
    }

    /// An access of the program, faults resolved. `None` if it is refused as it must be, or for want of memory.
    fn access(
        &mut self,
        page: usize,
        word: usize,
        access: Access,
        act: impl Fn(&World<'_>) -> Result<u64, mmu::host::Fault>,
    ) -> Result<Option<u64>, String> {
        let right = self.shadow().access(page, access);
        let owns_huge = self.shadow().page(page).and_then(|page| page.huge).is_some_and(|huge| huge.reserves);
        let is_watched = self.shadow().page(page).is_some_and(|page| !page.watch.is_empty());
        for _ in 0..TRIES {
            let is_protected = self.is_marked(page)? && access == Access::Write;
            if owns_huge {
                self.note_lost(true)?;
            }
            if let Ok(value) = act(&self.world) {
                if is_protected {
                    return Err(format!("page {page} is written, and is protected"));
                }
                return right.map(|()| Some(value)).map_err(failed(&format!("{access:?} of page {page} succeeds")));
            }
            let asks = right.is_ok() && is_watched && self.shadow().asks(page, access, self.is_there(page));
            let absent = if is_watched { self.absent_around(page) } else { Places::new() };
            let resolved = self.world.fault(self.running, at(page, word), access);
            self.must_stay_absent(page, absent)?;
            match resolved {
                None => {}
                Some(Ok(())) if asks => return Err(format!("nobody is asked about {access:?} of page {page}")),
                Some(Err(FaultError::Watched(notice))) if right.is_ok() => {
                    let tries_again = self.answer(page, access, notice)?;
                    if !tries_again {
                        return Ok(None);
                    }
                }
                Some(Ok(())) if right.is_ok() => {}
                Some(Err(error)) if right == Err(error) => return Ok(None),
                Some(Err(FaultError::OutOfMemory)) if self.world.size.is_little() => return Ok(None),
                Some(Err(FaultError::NoHugePage)) if self.may_lack(Pages(page, 1)) => return Ok(None),
                Some(result) => {
                    return Err(format!("fault at page {page}, {access:?}: {result:?} instead of {right:?}"));
                }
            }
        }
        Err(format!("{access:?} of page {page} faults for ever"))
    }

    /// What the program may see now of these pages and their neighbours, without a fault, is right.
    fn look(&mut self, pages: Pages) -> Result<(), String> {
        for page in pages.widened().iter() {
            let word = page % WORDS;
            self.must_hold(page, word, self.world.machine.user_read_u64(at(page, word)).ok())?;
            let writable = self.shadow().access(page, Access::Write);
            let is_protected = self.is_marked(page)?;
            if (writable.is_err() || is_protected) && self.world.machine.user_write_u64(at(page, 0), u64::MAX).is_ok() {
                return Err(format!("page {page} is written: {writable:?}"));
            }
        }
        Ok(())
    }

    fn must_hold(&mut self, page: usize, word: usize, found: Option<u64>) -> Result<(), String> {
        let shadow = self.shadow_mut();
        match (found, shadow.access(page, Access::Read)) {
            (None, _) => Ok(()),
            (Some(_), Err(error)) => Err(format!("page {page} is read: {error}")),
            (Some(found), _) if shadow.sees(page, word, found) => Ok(()),
            (Some(found), _) => {
                Err(format!("page {page} word {word}: {found:#x} instead of {:#x}", shadow.words(page)[word]))
            }
        }
    }
}
