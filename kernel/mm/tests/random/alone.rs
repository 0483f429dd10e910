//! One CPU, long sequences, and memory that does not always suffice. Now and then everything is counted again; in the end the program
//! reads its whole field.

use mmu::Features;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::checked::Checked;
use crate::operation::{self, Operation};
use crate::runner::Plan;
use crate::scenes;
use crate::world::{Board, FIELD, Size};

/// Operations of the longest sequence.
const LONGEST: usize = 300;
/// Fewer operations are done in this form than by several CPUs: each is about many pages.
pub const PLAN: Plan = Plan { operations: 25_000, average: LONGEST / 2 };
/// Operations from one audit to the next.
const AUDIT_EVERY: usize = 10;

/// A sequence, and how much memory there is for it.
pub type Case = (Size, Vec<Operation>);

/// Sequences of any length.
pub fn cases() -> impl Strategy<Value = Case> {
    let operation = prop_oneof![
        4 => operation::write(FIELD),
        2 => operation::read(FIELD),
        2 => operation::destroy(FIELD),
        1 => operation::map(FIELD),
        1 => operation::file(FIELD),
        4 => operation::page_out(FIELD),
        1 => operation::reclaim(FIELD),
        2 => operation::keep(FIELD),
        1 => operation::relocate(FIELD),
        2 => operation::family(),
        2 => operation::around(operation::setting()),
        1 => operation::swap_device(),
        1 => operation::pins(FIELD),
        1 => operation::pressure(),
        1 => operation::write_short(FIELD),
        2 => operation::watching(FIELD),
        1 => operation::locking(FIELD),
        1 => operation::mincore(FIELD),
        2 => operation::huge(FIELD),
        1 => operation::pool(),
        1 => operation::poison(FIELD),
    ];
    let size = prop_oneof![2 => Just(Size::ROOMY), 1 => Just(Size::LITTLE_SWAP), 1 => Just(Size::LITTLE_MEMORY)];
    let operations = prop_oneof![
        30 => operation.prop_map(|operation| std::vec![operation]),
        2 => scenes::any_of(FIELD),
    ];
    (size, vec(operations, 1..=LONGEST)).prop_map(|(size, groups)| (size, groups.into_iter().flatten().collect()))
}

/// Carries a sequence out. Returns how many operations it had.
pub fn run(features: Features, (size, operations): &Case) -> Result<usize, String> {
    let board = Board::new(*size, features, 1, 1);
    let mut alone = Checked::new(&board);
    for (step, operation) in operations.iter().enumerate() {
        let mut done = alone.step(operation).map(drop);
        if step % AUDIT_EVERY == 0 {
            done = done.and_then(|()| alone.audit().map(drop));
        }
        done.map_err(|error| format!("step {step}, {operation:?}: {error}"))?;
    }
    alone.end()?;
    Ok(operations.len())
}
