//! The three ways to unmap held against each other (reference 5.11): three machines of one size, one for each way, do the same
//! operations. After each everything is counted again in all three, and what there is to see of them must be equal: the contents and
//! the state of every page, folios, slots, areas, accounts, counts, and what the operation returned.

use std::ops::Range;

use mmu::Features;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::agreement;
use crate::checked::Checked;
use crate::operation::{self, Operation, WAYS};
use crate::runner::Plan;
use crate::view::View;
use crate::world::{Board, Size};

/// Where most happens: few pages of two tables, so that operations meet, and each is quick. Folios may reach beyond.
const NEAR: Range<usize> = 96..288;
/// Operations of the longest sequence.
const LONGEST: usize = 300;
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
    ];
    let operations = prop_oneof![
        30 => operations.prop_map(|operation| std::vec![operation]),
        1 => operation::patchwork(NEAR),
    ];
    vec(operations, 1..=LONGEST).prop_map(|groups| groups.concat())
}

/// Carries a sequence out in all three ways. Returns how many operations it had.
pub fn run(features: Features, case: &Case) -> Result<usize, String> {
    let boards = WAYS.map(|_| Board::new(Size::ROOMY, features, 1, 1));
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
}

impl<'b> Three<'b> {
    fn new(boards: &'b [Board; 3]) -> Result<Self, String> {
        let mut worlds = std::array::from_fn(|number| {
            let (world, way) = (Checked::new(&boards[number]), WAYS[number]);
            world.world.memory.policy().parse("unmap", way).expect("a right value");
            world
        });
        let view = worlds[0].audit()?;
        Ok(Self { worlds, view })
    }

    fn step(&mut self, operation: &Operation) -> Result<(), String> {
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
        let [view, others @ ..] = views;
        for (other, way) in others.iter().zip(&WAYS[1..]) {
            agreement::equal(&view, other)
                .map_err(|difference| format!("{} and {way} differ: {difference}", WAYS[0]))?;
        }
        self.view = view;
        Ok(())
    }

    /// Counts everything again, and looks at all three.
    fn views(&mut self) -> Result<[View; 3], String> {
        let mut views = Vec::new();
        for (world, way) in self.worlds.iter_mut().zip(WAYS) {
            views.push(world.audit().map_err(|error| format!("{way}: {error}"))?);
        }
        views.try_into().map_err(|_| "three".into())
    }

    fn end(self) -> Result<(), String> {
        self.worlds.into_iter().try_for_each(Checked::end)
    }
}
