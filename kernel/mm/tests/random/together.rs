//! Several CPUs: two run programs, of one space or of one each, and two disturb them, and each other. Every event of the door, every
//! access and every lock is a place where another CPU may come in; the seed says where.
//!
//! Each program has its own word in every page, and knows what it stored there last. Contents are taken away only from the pages
//! of `VOLATILE`, by MADV_HWPOISON too: there a word may also be empty, or lost, but never older than the last store.

use std::ops::Range;

use mm::fault::{Access, FaultError};
use mmu::Features;
use mmu::host::{Fault, Schedule, program};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::operation::{self, Operation, Pages, RW};
use crate::runner::Plan;
use crate::world::{Board, PAGES, Size, WORDS, World, at};

/// Pages that keep their contents.
const STABLE: Range<usize> = 96..128;
/// Pages whose contents may be taken away.
const VOLATILE: Range<usize> = 128..144;
/// All of them, in two tables: few, so that the CPUs meet.
const MEETING: Range<usize> = STABLE.start..VOLATILE.end;
/// Accesses of a program at most.
const ACCESSES: usize = 300;
/// Operations of a disturber at most.
const DISTURBANCES: usize = 12;
/// Most operations are done in this form: accesses are quick.
pub const PLAN: Plan = Plan { operations: 75_000, average: ACCESSES + DISTURBANCES };
/// Faults of one access after which it will never succeed. Another CPU may keep a page from it for a while.
const TRIES: usize = 10_000;

/// What a program does: accesses to its word of a page. Its TLB may forget at any time.
#[derive(Clone, Copy, Debug)]
enum Touch {
    Load(usize),
    Store(usize),
    Forget,
}

/// What all CPUs do. While it is made smaller the seed stays.
#[derive(Clone, Debug)]
pub struct Case {
    seed: u64,
    /// Both programs run in one space.
    shared: bool,
    way: &'static str,
    settings: Vec<Operation>,
    programs: [Vec<Touch>; WORDS],
    disturbers: [Vec<Operation>; 2],
}

/// Cases of any size.
pub fn cases() -> impl Strategy<Value = Case> {
    let touch = prop_oneof![
        4 => MEETING.prop_map(Touch::Load),
        4 => MEETING.prop_map(Touch::Store),
        1 => Just(Touch::Forget),
    ];
    let programs = [vec(touch.clone(), 0..=ACCESSES), vec(touch, 0..=ACCESSES)];
    let first = prop_oneof![
        6 => operation::page_out(MEETING),
        2 => operation::keep(MEETING),
        2 => operation::destroy(VOLATILE),
        1 => operation::reclaim(MEETING),
        1 => operation::pressure(),
        1 => Just(Operation::Child),
        2 => operation::around(operation::setting()),
        2 => operation::swap_device(),
        1 => operation::fail(),
        2 => operation::poison(VOLATILE),
    ];
    // Takes no access away, which the first could not give back where a hole came about meanwhile.
    let second = prop_oneof![
        3 => operation::page_out(MEETING),
        2 => operation::empty(VOLATILE),
        1 => operation::around(operation::setting()),
        1 => operation::swap_device(),
        1 => operation::fail(),
        1 => operation::poison(VOLATILE),
    ];
    let disturbers = (vec(first, 0..=DISTURBANCES), vec(second, 0..=DISTURBANCES));
    let works = (programs, disturbers.prop_map(|(first, second)| [first, second]));
    let policy = (select(&operation::WAYS[..]), vec(operation::setting(), 0..=4));
    (any::<u64>().no_shrink(), any::<bool>(), policy, works).prop_map(|(seed, shared, policy, works)| {
        let ((way, settings), (programs, disturbers)) = (policy, works);
        Case { seed, shared, way, settings, programs, disturbers }
    })
}

/// Runs a case. Returns how many operations and accesses it had.
pub fn run(features: Features, case: &Case) -> Result<usize, String> {
    let board = Board::new(Size::ROOMY, features, WORDS + 2, case.seed);
    let world = World::new(&board);
    for setting in case.settings.iter().chain([&Operation::Set("unmap", case.way)]) {
        world.call(0, setting).map_err(|error| format!("{setting:?}: {error:?}"))?;
    }
    let space = |cpu: usize| if case.shared { 0 } else { cpu };
    let mut programs = [0, 1].map(|cpu| Program::new(&world, space(cpu), cpu));
    {
        let [first, second] = &mut programs;
        let works = std::vec![
            program(|| first.run(&case.programs[0])),
            program(|| second.run(&case.programs[1])),
            program(|| disturb(&world, &case.disturbers[0])),
            program(|| disturb(&world, &case.disturbers[1])),
        ];
        let report = world.machine.run_by(Schedule::seeded(case.seed), works);
        report.map_err(|failure| failure.to_string())?;
    }
    world.memory.inject.clear();
    for program in &mut programs {
        world.memory.activate(world.space(program.space));
        program.forget();
        MEETING.for_each(|page| program.load(page));
    }
    world.audit()?;
    let bad = world.memory.frames.bad_count();
    world.end(bad)?;
    Ok(case.programs.iter().map(Vec::len).chain(case.disturbers.iter().map(Vec::len)).sum())
}

/// What a disturber does. What it takes away by mprotect it gives back, as the programs wait for it.
fn disturb(world: &World<'_>, operations: &[Operation]) {
    let mut target = 0;
    world.memory.activate(world.space(target));
    for operation in operations {
        if let Operation::Enter(space) = *operation {
            target = space;
        }
        // Holes and injected failures are the disturber's own affair.
        let _ = world.call(target, operation);
        if let Operation::Protect(pages, _) = *operation {
            give_back(world, target, pages);
        }
    }
    world.memory.deactivate();
}

/// Allows everything again. Where that fails since the other disturber has arranged for it, areas may have been given back in part.
fn give_back(world: &World<'_>, space: usize, pages: Pages) {
    for _ in 0..TRIES {
        let before = world.struck();
        let result = world.call(space, &Operation::Protect(pages, RW));
        if result.is_ok() || world.struck() == before {
            return;
        }
    }
    panic!("access to {pages:?} is not given back");
}

/// The program of one CPU.
struct Program<'a> {
    world: &'a World<'a>,
    space: usize,
    /// Its word in each page.
    word: usize,
    /// What it stored last, or found taken away since.
    stored: [u64; PAGES],
}

impl<'a> Program<'a> {
    fn new(world: &'a World<'a>, space: usize, word: usize) -> Self {
        Self { world, space, word, stored: [0; PAGES] }
    }

    fn run(&mut self, touches: &[Touch]) {
        self.world.memory.activate(self.world.space(self.space));
        for (touch, value) in touches.iter().zip(1..) {
            match *touch {
                Touch::Load(page) => self.load(page),
                Touch::Store(page) => self.store(page, value),
                Touch::Forget => self.forget(),
            }
        }
        self.world.memory.deactivate();
    }

    fn forget(&self) {
        let _ = self.world.call(self.space, &Operation::Forget);
    }

    fn load(&mut self, page: usize) {
        let found = self.access(page, Access::Read, |world, at| world.machine.user_read_u64(at)).unwrap_or(0);
        let last = self.stored[page];
        let right = found == last || (VOLATILE.contains(&page) && found == 0);
        assert!(right, "page {page}, word {}: {found:#x} instead of {last:#x}", self.word);
        self.stored[page] = found;
    }

    fn store(&mut self, page: usize, value: u64) {
        let done = self.access(page, Access::Write, |world, at| world.machine.user_write_u64(at, value));
        self.stored[page] = if done.is_some() { value } else { 0 };
    }

    /// An access, faults resolved. `None` where nothing is mapped.
    fn access<R>(
        &self,
        page: usize,
        access: Access,
        act: impl Fn(&World<'_>, mmu::VirtAddr) -> Result<R, Fault>,
    ) -> Option<R> {
        let address = at(page, self.word);
        for _ in 0..TRIES {
            if let Ok(result) = act(self.world, address) {
                return Some(result);
            }
            match self.world.fault(self.space, address, access) {
                None | Some(Ok(())) => {}
                Some(Err(FaultError::Denied)) => mmu::relax(),
                Some(Err(FaultError::NotMapped | FaultError::Poisoned(_))) if VOLATILE.contains(&page) => return None,
                Some(Err(error)) => panic!("page {page}, word {}, {access:?}: {error}", self.word),
            }
        }
        panic!("page {page}, word {}, {access:?} faults for ever", self.word);
    }
}
