//! One CPU and long sequences. After each operation the program of the running space looks at the pages that it was about, and at
//! their neighbours, without resolving a fault: what its TLB and tables let it see must be right, and what it may not write they must
//! not let it. Now and then everything is counted again; in the end the program reads its whole field.

use mm::fault::{Access, FaultError};
use mmu::Features;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::operation::{self, Operation, Pages};
use crate::runner::Plan;
use crate::shadow::Shadow;
use crate::world::{FIELD, PAGES, WORDS, World, at, failed};

/// Operations of the longest sequence.
const LONGEST: usize = 300;
/// The fewer operations are done in this form: each is about many pages.
pub const PLAN: Plan = Plan { one_in: 12, average: LONGEST / 2 };
/// Operations from one audit to the next.
const AUDIT_EVERY: usize = 10;
/// Faults of one access after which it will never succeed.
const TRIES: usize = 16;

/// A sequence.
pub type Case = Vec<Operation>;

/// Sequences of any length.
pub fn cases() -> impl Strategy<Value = Case> {
    let operation = prop_oneof![
        4 => operation::write(),
        2 => operation::read(),
        2 => operation::destroy(FIELD),
        1 => operation::map(),
        1 => operation::relocate(FIELD),
        4 => operation::page_out(FIELD),
        2 => operation::keep(FIELD),
        2 => operation::around(),
    ];
    vec(operation, 1..=LONGEST)
}

/// Carries a sequence out. Returns how many operations it had.
pub fn run(features: Features, case: &Case) -> Result<usize, String> {
    let mut alone = Alone::new(features);
    for (step, operation) in case.iter().enumerate() {
        let done =
            alone.step(operation).and_then(|()| if step % AUDIT_EVERY == 0 { alone.world.audit() } else { Ok(()) });
        done.map_err(|error| format!("step {step}, {operation:?}: {error}"))?;
    }
    alone.end()?;
    Ok(case.len())
}

struct Alone {
    world: World,
    shadows: [Shadow; 2],
    /// The space that runs.
    running: usize,
}

impl Alone {
    fn new(features: Features) -> Self {
        let world = World::new(features, 1, 1);
        world.memory.activate(&world.spaces[0]);
        Self { world, shadows: [Shadow::new(), Shadow::new()], running: 0 }
    }

    fn step(&mut self, operation: &Operation) -> Result<(), String> {
        match *operation {
            Operation::Write(pages, value) => self.write(pages, value)?,
            Operation::Read(pages) => self.read(pages)?,
            Operation::Move(pages, to, keeps) => self.relocate(operation, pages, to, keeps)?,
            Operation::Enter(space) => {
                self.running = space;
                self.call(operation)?;
            }
            _ => self.call(operation)?,
        }
        self.look(operation.pages())
    }

    fn end(mut self) -> Result<(), String> {
        self.world.memory.inject.clear();
        for space in 0..self.shadows.len() {
            self.running = space;
            self.call(&Operation::Enter(space))?;
            self.call(&Operation::Forget)?;
            self.read(Pages(0, PAGES))?;
        }
        self.world.audit()?;
        self.world.end()
    }

    /// An operation that is not an access returns what it must, unless an injected failure came in between.
    fn call(&mut self, operation: &Operation) -> Result<(), String> {
        let before = self.world.struck();
        let result = self.world.call(&self.world.spaces[self.running], operation);
        let right = self.shadows[self.running].apply(operation);
        let excused = result.is_err() && self.world.struck() > before;
        if result == right || excused { Ok(()) } else { Err(format!("returns {result:?} instead of {right:?}")) }
    }

    /// mremap is the one operation that depends on areas: a range of several does not move.
    fn relocate(&mut self, operation: &Operation, pages: Pages, to: usize, keeps: bool) -> Result<(), String> {
        let space = &self.world.spaces[self.running];
        let is_one_area = self.world.is_one_area(space, pages);
        let before = self.world.struck();
        let result = self.world.call(space, operation);
        let failed = result.is_err() && self.world.struck() > before;
        let shadow = &mut self.shadows[self.running];
        let right = if is_one_area { shadow.relocate(pages, to, keeps, failed) } else { shadow.refuse(pages, to) };
        if result == right { Ok(()) } else { Err(format!("returns {result:?} instead of {right:?}")) }
    }

    fn write(&mut self, pages: Pages, value: u64) -> Result<(), String> {
        for page in pages.iter() {
            let word = page % WORDS;
            // No two pages alike, and zeros as they are.
            let value = value.wrapping_mul(page as u64 + 1);
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

    /// An access of the program, faults resolved. `None` if it is refused as it must be.
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
            (Some(found), _) if found == shadow.word(page, word) => Ok(()),
            (Some(found), _) => {
                Err(format!("page {page} word {word}: {found:#x} instead of {:#x}", shadow.word(page, word)))
            }
        }
    }
}
