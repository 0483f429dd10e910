//! A world whose spaces have shadows: each operation is carried out and must do and return what the shadow says. After it the program
//! of the running space looks at the pages that it was about, and at their neighbours, without resolving a fault: what its TLB and
//! tables let it see must be right, and what it may not write they must not let it.

use mm::Errno;
use mm::fault::{Access, FaultError};
use mm::space::advice::DONTNEED;
use mmu::Features;

use crate::operation::{Operation, Pages};
use crate::shadow::Shadow;
use crate::view::{self, View};
use crate::world::{PAGES, Size, WORDS, World, at, failed};

/// Faults of one access after which it will never succeed.
const TRIES: usize = 16;

pub struct Checked {
    pub world: World,
    shadows: [Shadow; 2],
    /// The space that runs.
    running: usize,
}

impl Checked {
    pub fn new(size: Size, features: Features) -> Self {
        let world = World::new(size, features, 1, 1);
        world.memory.activate(&world.spaces[0]);
        Self { world, shadows: [Shadow::new(), Shadow::new()], running: 0 }
    }

    /// Carries an operation out. Returns what it returned.
    pub fn step(&mut self, operation: &Operation) -> Result<Result<(), Errno>, String> {
        let result = match *operation {
            Operation::Write(pages, value) => self.write(pages, value).map(Ok)?,
            Operation::Read(pages) => self.read(pages).map(Ok)?,
            Operation::Enter(space) => {
                self.running = space;
                self.call(operation)?
            }
            _ => self.call(operation)?,
        };
        self.look(operation.pages())?;
        Ok(result)
    }

    /// Empties a page of a space.
    pub fn empty(&mut self, space: usize, page: usize) -> Result<(), String> {
        let empty = Operation::Advise(Pages(page, 1), DONTNEED);
        self.shadows[space].apply(&empty).map_err(failed("DONTNEED"))?;
        self.world.call(&self.world.spaces[space], &empty).map_err(failed("DONTNEED"))
    }

    /// Reads everything, counts everything, and takes all apart: nothing may be left.
    pub fn end(mut self) -> Result<(), String> {
        self.world.memory.inject.clear();
        for space in 0..self.shadows.len() {
            self.running = space;
            self.call(&Operation::Enter(space))?.map_err(failed("a switch"))?;
            self.call(&Operation::Forget)?.map_err(failed("a flush"))?;
            self.read(Pages(0, PAGES))?;
        }
        self.audit()?;
        self.world.end()
    }

    /// Counts everything again, and looks at the contents of every page from outside. Returns what was seen.
    pub fn audit(&self) -> Result<View, String> {
        self.world.audit()?;
        let view = view::look(&self.world);
        for (space, (seen, shadow)) in view.spaces.iter().zip(&self.shadows).enumerate() {
            for (page, seen) in seen.pages.iter().enumerate() {
                let right = shadow.words(page);
                if seen.words != right {
                    return Err(format!("page {page} of space {space} holds {:x?} instead of {right:x?}", seen.words));
                }
            }
        }
        Ok(view)
    }

    /// An operation that is not an access returns what it must, unless a failure came in between: an injected one, or of memory where
    /// there is little.
    fn call(&mut self, operation: &Operation) -> Result<Result<(), Errno>, String> {
        let before = self.world.struck();
        let result = self.world.call(&self.world.spaces[self.running], operation);
        let right = self.shadows[self.running].apply(operation);
        let excused = match result {
            Ok(()) => false,
            Err(error) => self.world.struck() > before || error == Errno::ENOMEM && self.world.size.is_little(),
        };
        let good = result == right || excused;
        if good { Ok(result) } else { Err(format!("returns {result:?} instead of {right:?}")) }
    }

    fn write(&mut self, pages: Pages, value: u64) -> Result<(), String> {
        for page in pages.iter() {
            let word = page % WORDS;
            let written = self.access(page, word, Access::Write, |world| {
                world.machine.user_write_u64(at(page, word), value).map(|()| value)
            })?;
            if written.is_some() {
                self.shadows[self.running].store(page, word, value);
            }
        }
        Ok(())
    }

    fn read(&self, pages: Pages) -> Result<(), String> {
        for (page, word) in pages.iter().flat_map(|page| (0..WORDS).map(move |word| (page, word))) {
            let found = self.access(page, word, Access::Read, |world| world.machine.user_read_u64(at(page, word)))?;
            self.must_hold(page, word, found)?;
        }
        Ok(())
    }

    /// An access of the program, faults resolved. `None` if it is refused as it must be, or for want of memory.
    fn access(
        &self,
        page: usize,
        word: usize,
        access: Access,
        act: impl Fn(&World) -> Result<u64, mmu::host::Fault>,
    ) -> Result<Option<u64>, String> {
        let right = self.shadows[self.running].access(page, access);
        for _ in 0..TRIES {
            if let Ok(value) = act(&self.world) {
                return right.map(|()| Some(value)).map_err(failed(&format!("{access:?} of page {page} succeeds")));
            }
            match self.world.fault(&self.world.spaces[self.running], at(page, word), access) {
                None => {}
                Some(Ok(())) if right.is_ok() => {}
                Some(Err(error)) if right == Err(error) => return Ok(None),
                Some(Err(FaultError::OutOfMemory)) if self.world.size.is_little() => return Ok(None),
                Some(result) => {
                    return Err(format!("fault at page {page}, {access:?}: {result:?} instead of {right:?}"));
                }
            }
        }
        Err(format!("{access:?} of page {page} faults for ever"))
    }

    /// What the program may see now of these pages and their neighbours, without a fault, is right.
    fn look(&self, pages: Pages) -> Result<(), String> {
        let machine = &self.world.machine;
        for page in pages.widened().iter() {
            let word = page % WORDS;
            self.must_hold(page, word, machine.user_read_u64(at(page, word)).ok())?;
            let writable = self.shadows[self.running].access(page, Access::Write);
            if writable.is_err() && machine.user_write_u64(at(page, 0), u64::MAX).is_ok() {
                return Err(format!("page {page} is written: {writable:?}"));
            }
        }
        Ok(())
    }

    fn must_hold(&self, page: usize, word: usize, found: Option<u64>) -> Result<(), String> {
        let shadow = &self.shadows[self.running];
        match (found, shadow.access(page, Access::Read)) {
            (None, _) => Ok(()),
            (Some(_), Err(error @ (FaultError::NotMapped | FaultError::Denied))) => {
                Err(format!("page {page} is read: {error}"))
            }
            (Some(found), _) if found == shadow.words(page)[word] => Ok(()),
            (Some(found), _) => {
                Err(format!("page {page} word {word}: {found:#x} instead of {:#x}", shadow.words(page)[word]))
            }
        }
    }
}
