//! The three ways to unmap held against each other (reference 5.11): three machines of one size, one for each way, do the same
//! operations. After each everything is counted again in all three, and what there is to see of them must be equal: the contents and
//! the state of every page, folios, slots, areas, accounts, counts, and what the operation returned.

use std::ops::Range;

use mm::inject::Point;
use mm::space::advice;
use mm::vma::Prot;
use mmu::Features;
use mmu::host::cpus::NEOVERSE_N1;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::agreement::{self, Place};
use crate::checked::Checked;
use crate::operation::Operation::{
    Advise, Child, Fail, Latency, Map, Press, Protect, Resize, Swapoff, Tick, Write, WriteShort,
};
use crate::operation::{self, Kind, Operation, Pages, RW, WAYS};
use crate::runner::Plan;
use crate::scenes;
use crate::shadow::Page;
use crate::view::{Counted, View};
use crate::world::{Board, Size};

/// Where most happens: few pages of two tables, so that operations meet, and each is quick. Folios may reach beyond.
const NEAR: Range<usize> = 96..288;
/// Operations of the longest sequence.
const LONGEST: usize = 300;
/// Times that pages are emptied because they differ, until none does: a folio shows its other pages as they go.
const ROUNDS: usize = 4;
/// The fewest operations are done in this form: each is done three times, and looked at.
pub const PLAN: Plan = Plan { operations: 6_000, average: LONGEST / 2 };

/// A sequence.
pub type Case = Vec<Operation>;

/// Sequences of any length. No switch chooses the way, which is what the machines differ in.
pub fn cases() -> impl Strategy<Value = Case> {
    let operations = prop_oneof![
        4 => operation::write(NEAR),
        2 => operation::read(NEAR),
        2 => operation::destroy(NEAR),
        1 => operation::map(NEAR),
        1 => operation::file(NEAR),
        4 => operation::page_out(NEAR),
        1 => operation::reclaim(NEAR),
        2 => operation::keep(NEAR),
        1 => operation::relocate(NEAR),
        2 => operation::family(),
        2 => operation::around(operation::other_setting()),
        2 => operation::fail(),
        2 => operation::swap_device(),
        2 => operation::pins(NEAR),
        3 => operation::watching(NEAR),
        1 => operation::locking(NEAR),
        1 => operation::mincore(NEAR),
        2 => operation::huge(NEAR),
        1 => operation::pool(),
        1 => operation::poison(NEAR),
        1 => Just(Swapoff),
    ];
    let operations = prop_oneof![
        30 => operations.prop_map(|operation| std::vec![operation]),
        2 => scenes::any_of(NEAR),
    ];
    // What memory is got back from the lists differs, and the lists from then on: in the end only.
    let press = (1..256usize).prop_map(|pages| std::vec![Press(pages)]);
    // New memory, so that pages are needed.
    let write = operation::write_short(NEAR).prop_map(|write| std::vec![Map(write.pages(), RW, Kind::Ordinary), write]);
    (vec(operations, 1..=LONGEST), prop_oneof![press, write])
        .prop_map(|(groups, end)| groups.into_iter().flatten().chain(end).collect())
}

/// A machine for each way.
fn boards(features: Features) -> [Board; 3] {
    WAYS.map(|_| Board::new(Size::ROOMY, features, 1, 1))
}

/// Carries a sequence out in all three ways. Returns how many operations were done.
pub fn run(features: Features, case: &Case) -> Result<usize, String> {
    let boards = boards(features);
    let mut three = Three::new(&boards)?;
    for (step, operation) in case.iter().enumerate() {
        three.step(operation).map_err(|error| format!("step {step}, {operation:?}: {error}"))?;
    }
    three.end()?;
    Ok(case.len())
}

/// The three machines.
struct Three<'b> {
    worlds: [Checked<'b>; 3],
    /// What is to be seen of each of them.
    view: View,
    /// What each had counted when they were made alike last.
    counted: [Counted; 3],
}

impl<'b> Three<'b> {
    fn new(boards: &'b [Board; 3]) -> Result<Self, String> {
        let mut worlds = std::array::from_fn(|number| {
            let (world, way) = (Checked::new(&boards[number]), WAYS[number]);
            world.world.memory.policy().parse("unmap", way).expect("a right value");
            world
        });
        let view = worlds[0].audit()?;
        Ok(Self { worlds, view, counted: Default::default() })
    }

    /// All three do the same. Where they may have given their folios different slots, they are made alike afterwards.
    fn step(&mut self, operation: &Operation) -> Result<(), String> {
        if let Press(_) | WriteShort(..) = *operation {
            return self.press(operation);
        }
        let (running, before) = (self.worlds[0].running, self.swapped_out());
        let mut results = Vec::new();
        for (world, way) in self.worlds.iter_mut().zip(WAYS) {
            results.push(world.step(operation).map_err(|error| format!("{way}: {error}"))?);
        }
        if results.iter().any(|result| *result != results[0]) {
            return Err(format!("{WAYS:?} return {results:?}"));
        }
        let mut views = self.views()?;
        let parted = agreement::taken_apart(&self.view, &views)?;
        if !parted.is_empty() {
            for &(space, page) in &parted {
                self.worlds.iter_mut().try_for_each(|world| world.empty(space, page))?;
            }
            views = self.views()?;
        }
        let [page, folio, gather] = &views;
        let differ = |way| move |difference| format!("{} and {way} differ: {difference}", WAYS[0]);
        agreement::equal(page, folio).map_err(differ(WAYS[1]))?;
        let exactly = agreement::equal(page, gather);
        let ran_ahead = exactly.is_err() && agreement::ran_ahead(&self.view, page, running, operation);
        if ran_ahead {
            agreement::equal_but_slots(page, gather).map_err(differ(WAYS[2]))?;
        } else {
            exactly.map_err(differ(WAYS[2]))?;
        }
        let found_locked = agreement::found_locked(&self.view, page);
        let [page, ..] = views;
        self.view = page;
        // `gather` gives slots to anonymous folios before those of files, whatever their order.
        let after = self.swapped_out();
        let both_went = after.0 > before.0 && after.1 > before.1;
        if ran_ahead || found_locked || both_went { self.level() } else { Ok(()) }
    }

    /// Pages of spaces and pages of files that are in swap.
    fn swapped_out(&self) -> (i64, i64) {
        let entries = self.view.spaces.iter().map(|space| space.swap_entries).sum();
        (entries, self.worlds[0].world.memory.files.swapped())
    }

    /// Gets pages back, in each way those that it comes upon first: `gather` looks at more folios at a time, and which were used is known
    /// of different ones, as no two ways flush the same. So pages may be out in one and in memory in another, and folios be
    /// split; areas and contents are the same.
    fn press(&mut self, operation: &Operation) -> Result<(), String> {
        for (world, way) in self.worlds.iter_mut().zip(WAYS) {
            world.world.memory.inject.clear();
            // Nothing is refused for want of memory, which need not be so in all ways: writes end at once.
            let done = world.step(&Latency(0)).and_then(|_| world.step(operation));
            done.map(drop).map_err(|error| format!("{way}: {error}"))?;
        }
        self.level()
    }

    /// Makes the three alike again, whose folios have other slots, and so would come back in other parts: all pages come back, and those
    /// that differ then are emptied. After that everything has to be equal.
    fn level(&mut self) -> Result<(), String> {
        for (world, way) in self.worlds.iter_mut().zip(WAYS) {
            world.world.memory.inject.clear();
            world.world.settle();
            // What nothing maps of the file is not seen, and may have come back in folios of other sizes.
            let size = world.file.borrow().size;
            for operation in [Resize(0), Resize(size)] {
                world.step(&operation).map(drop).map_err(|error| format!("{way}: {error}"))?;
            }
            world.step(&Swapoff).map(drop).map_err(|error| format!("{way}: {error}"))?;
        }
        for _ in 0..ROUNDS {
            let views = self.views()?;
            agreement::same_contents(&views, |place| self.may_go(place))?;
            let differing = agreement::differing(&views);
            if differing.is_empty() {
                return self.start_anew(views);
            }
            for &(space, page) in &differing {
                self.worlds.iter_mut().try_for_each(|world| world.empty(space, page))?;
            }
        }
        Err("pages that differ are emptied, and others differ".into())
    }

    /// Whether a page may be discarded in some way, so that it may have been in one alone.
    fn may_go(&self, (space, page): Place) -> bool {
        let mut shadows = self.worlds.iter().filter_map(|world| world.shadows[space].as_ref());
        // A file has what a program maps of it, mapped or not.
        shadows.any(|shadow| shadow.is_of_file(page) || shadow.page(page).is_some_and(Page::may_go))
    }

    /// All are alike, whatever came of it in which way: only what is counted from now on is compared.
    fn start_anew(&mut self, views: [View; 3]) -> Result<(), String> {
        for (counted, view) in self.counted.iter_mut().zip(&views) {
            counted.add(&view.sums.counted);
        }
        let [page, folio, gather] = self.views()?;
        for (way, view) in [(WAYS[1], &folio), (WAYS[2], &gather)] {
            agreement::equal(&page, view)
                .map_err(|difference| format!("{} and {way} differ: {difference}", WAYS[0]))?;
        }
        self.view = page;
        Ok(())
    }

    /// Counts everything again, and looks at all three.
    fn views(&mut self) -> Result<[View; 3], String> {
        let mut views = Vec::new();
        for ((world, way), counted) in self.worlds.iter_mut().zip(WAYS).zip(&self.counted) {
            let mut view = world.audit().map_err(|error| format!("{way}: {error}"))?;
            view.sums.counted.subtract(counted);
            views.push(view);
        }
        views.try_into().map_err(|_| "three".into())
    }

    fn end(self) -> Result<(), String> {
        self.worlds.into_iter().try_for_each(Checked::end)
    }
}

/// A folio in two areas that is split, and one page of it, which was brought back and needs its slot no more, when slots are wanted for
/// what lies before: a sequence that was found at random.
#[test]
fn a_page_split_off_in_the_next_area_gives_its_slot_back() {
    let paged = Pages(256, 16);
    let case = [
        Latency(1),
        Map(paged, RW, Kind::Ordinary),
        Write(paged, 1),
        Child,
        Write(Pages(256, 1), 1),
        Protect(paged, Prot::READ),
        Advise(paged, advice::PAGEOUT),
        Advise(Pages(241, 16), advice::POPULATE_READ),
        Write(Pages(160, 32), 1),
        Tick,
        Fail(Point::SwapAlloc, 0),
        Advise(Pages(128, 129), advice::PAGEOUT),
    ];
    let boards = boards(NEOVERSE_N1);
    let mut three = Three::new(&boards).expect("three machines");
    case.iter().for_each(|operation| three.step(operation).expect("an allowed difference at most"));
    three.end().expect("nothing is left");
}
