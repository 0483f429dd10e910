//! What must stop with an assertion: in the kernel that is the end, so it is tried here only.

use std::panic::{AssertUnwindSafe, catch_unwind};

use cases::{Bench, Field, Outcome, Size};
use mmu::Descriptor;

use super::one_on_max;

fn must_panic(bench: &Bench<'_>, act: impl Fn(&Field<'_, '_>)) -> Outcome {
    let field = bench.filled(Size(64), 16)?;
    let result = catch_unwind(AssertUnwindSafe(|| act(&field)));
    if result.is_err() { Ok(()) } else { Err("it was not refused".into()) }
}

/// T-U-20: a run of swap entries by way of the setter for present ones, where Contiguous would become a part of the offset (H1).
#[test]
fn a_run_of_swap_entries_is_refused() {
    one_on_max(|bench| {
        must_panic(bench, |field| {
            let swap = Descriptor::from_bits(0x1000 << 12 | 1 << 6);
            field.with_table(0, |table, slot| table.set_run(slot, swap, 16));
        })
    })
    .unwrap();
}

/// Marks and map counts of no page, as for T-RB-13, which is beside `share` in `mm::unmap`.
#[test]
fn a_run_of_nothing_is_refused() {
    one_on_max(|bench| must_panic(bench, |field| field.folio(0).clear_exclusive(3, 0))).unwrap();
    one_on_max(|bench| must_panic(bench, |field| field.folio(0).set_exclusive(3, 0))).unwrap();
    one_on_max(|bench| {
        must_panic(bench, |field| {
            let _ = field.folio(0).remove_maps(3, 0);
        })
    })
    .unwrap();
}
