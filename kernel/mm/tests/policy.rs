//! T-P-1: which folio a write fault gets, for every setting of a size, of the top level, and every advice.

mod common;

use common::{Bench, RW};
use mm::policy::{Advice, Enabled};

const HUGEPAGE: u32 = 14;
const NOHUGEPAGE: u32 = 15;

/// What the kernel's documentation says, in its own order of decisions.
fn expected(size: Enabled, top: Enabled, advice: Advice) -> bool {
    let effective = if size == Enabled::Inherit { top } else { size };
    match (advice, effective) {
        (Advice::NoHuge, _) => false,
        (_, Enabled::Always) => true,
        (Advice::Huge, Enabled::Madvise) => true,
        _ => false,
    }
}

#[test]
fn t_p_1_table_of_size_top_level_and_advice() {
    for size in Enabled::ALL {
        for top in Enabled::ALL {
            for advice in [Advice::None, Advice::Huge, Advice::NoHuge] {
                let bench = Bench::new("64K=never");
                bench.memory.policy().sizes().set(4, size);
                bench.memory.policy().sizes().set_top(top);
                bench.map(0, 16, RW);
                match advice {
                    Advice::None => {}
                    Advice::Huge => bench.advise(0, 16, HUGEPAGE).unwrap(),
                    Advice::NoHuge => bench.advise(0, 16, NOHUGEPAGE).unwrap(),
                }
                bench.write(3, 1).unwrap();
                let top_level = if top == Enabled::Inherit { Enabled::Never } else { top };
                let order = if expected(size, top_level, advice) { 4 } else { 0 };
                assert_eq!(bench.folio(3).0.order(), order, "{size:?}, top level {top:?}, {advice:?}");
            }
        }
    }
}

#[test]
fn the_largest_size_that_fits_wins() {
    let bench = Bench::new("16K-2M=always");
    bench.map(0, 512 + 64 + 4 + 2, RW);
    for page in [0, 512, 576, 580] {
        bench.write(page, 1).unwrap();
    }
    let orders = [0, 512, 576, 580].map(|page| bench.folio(page).0.order());
    assert_eq!(orders, [9, 6, 2, 0]);
}

#[test]
fn without_the_contiguous_bit_nothing_folds() {
    let bench = Bench::new("64K=always");
    bench.memory.policy().parse("contpte", "off").unwrap();
    bench.map(0, 16, RW);
    bench.fill(0, 16);
    assert_eq!(bench.shape(0, 16), [0, 16, 0, 0]);
    bench.advise(0, 16, 21).unwrap();
    bench.verify(0, 16);
    assert_eq!(bench.shape(0, 16), [0, 16, 0, 0]);
}
