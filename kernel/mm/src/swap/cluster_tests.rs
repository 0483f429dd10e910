//! Tests of a cluster: runs of bits and bytes against plain arrays.

extern crate std;

use std::boxed::Box;
use std::vec::Vec;

use super::*;
use crate::frame::tests::Random;

fn extended() -> Extension {
    Box::new([0; SLOTS])
}

#[test]
fn runs_are_aligned_and_found_until_none_is_left() {
    for order in 0..=9 {
        let mut cluster = Cluster::new(SLOTS);
        cluster.set_order(Some(order));
        let mut starts = Vec::new();
        while let Some(at) = cluster.find(order) {
            cluster.take(at, order, 100);
            starts.push(at);
        }
        assert!(starts.into_iter().eq((0..SLOTS).step_by(1 << order)));
        assert!(!cluster.is_empty());
    }
}

/// T-P-7, and reference 4.8: with only odd slots free there is no run of any size above one.
#[test]
fn t_p_7_odd_slots_are_no_runs() {
    let mut cluster = Cluster::new(SLOTS);
    (0..SLOTS).step_by(2).for_each(|at| cluster.take(at, 0, 1));
    for order in 1..=9 {
        cluster.set_order(Some(order));
        assert_eq!(cluster.find(order), None);
    }
    cluster.set_order(Some(0));
    assert_eq!(cluster.find(0), Some(1));
}

#[test]
fn slots_that_do_not_exist_are_never_found() {
    let mut cluster = Cluster::new(100);
    cluster.spoil(0, 1);
    assert!(cluster.is_empty());
    cluster.set_order(Some(4));
    let mut starts = Vec::new();
    while let Some(at) = cluster.find(4) {
        cluster.take(at, 4, 7);
        starts.push(at);
    }
    assert_eq!(starts, [16, 32, 48, 64, 80]);
}

#[test]
fn a_folio_is_found_from_each_of_its_slots() {
    let mut cluster = Cluster::new(SLOTS);
    for (at, order, frame) in [(0, 4, 1000), (16, 2, 0), (20, 0, 77), (64, 6, FRAME_LIMIT - 1), (256, 8, 5)] {
        cluster.take(at, order, frame);
        for page in 0..1 << order {
            assert_eq!(cluster.cached(at + page), Some((frame, page)));
        }
    }
    assert_eq!(cluster.cached(21), None);
    assert_eq!(cluster.cached(128), None);
    assert_eq!(cluster.uncache(0, 16), 16);
    assert_eq!((cluster.cached(0), cluster.cached(15)), (None, None));
    assert_eq!(cluster.cached(17), Some((0, 1)));
}

#[test]
fn counts_grow_into_the_extension_and_come_back() {
    let mut cluster = Cluster::new(SLOTS);
    cluster.take(16, 4, 1);
    for count in 0..127 {
        assert_eq!(cluster.count(20), count);
        cluster.raise(16, 16).unwrap();
    }
    assert_eq!(cluster.raise(16, 16), Err(RaiseError::NeedsExtension));
    assert!((16..32).all(|at| cluster.count(at) == 127), "a refused run leaves no count raised");
    cluster.extend(extended());
    for count in 127..1000 {
        assert_eq!(cluster.count(31), count);
        cluster.raise(16, 16).unwrap();
    }
    assert_eq!(cluster.uncache(16, 16), 0);
    for count in (1..=1000).rev() {
        assert!((16..32).all(|at| cluster.count(at) == count));
        assert_eq!(cluster.lower(16, 16), if count == 1 { 16 } else { 0 });
    }
    assert!(cluster.is_empty());
}

#[test]
fn one_full_count_keeps_the_others_of_its_run_from_rising() {
    let mut cluster = Cluster::new(SLOTS);
    cluster.take(0, 4, 1);
    (0..127).for_each(|_| cluster.raise(9, 1).unwrap());
    assert_eq!(cluster.raise(0, 16), Err(RaiseError::NeedsExtension));
    assert_eq!(cluster.count(0), 0);
    cluster.raise(0, 9).unwrap();
    cluster.extend(extended());
    cluster.raise(0, 16).unwrap();
    assert_eq!([8, 9, 10].map(|at| cluster.count(at)), [2, 128, 1]);
    // A word in which some counts have an extension and some have not.
    assert_eq!(cluster.lower(0, 16), 0);
    assert_eq!([8, 9, 10].map(|at| cluster.count(at)), [1, 127, 0]);
}

#[test]
fn a_slot_that_holds_nothing_is_not_counted() {
    let mut cluster = Cluster::new(SLOTS);
    cluster.take(0, 2, 1);
    assert_eq!(cluster.raise(0, 5), Err(RaiseError::Unused));
    assert_eq!(cluster.count(0), 0);
}

#[test]
#[should_panic(expected = "below 0")]
fn a_count_does_not_fall_below_0() {
    let mut cluster = Cluster::new(SLOTS);
    cluster.take(0, 4, 1);
    cluster.raise(0, 15).unwrap();
    cluster.lower(0, 16);
}

/// Random steps on runs against arrays of counts, with what is free recounted.
#[test]
fn random_steps_against_a_model() {
    for seed in 1..=10 {
        let mut random = Random(seed * 4242);
        let mut cluster = Cluster::new(SLOTS);
        cluster.extend(extended());
        cluster.set_order(Some(4));
        let mut counts = [0usize; SLOTS];
        let mut cached = [false; SLOTS];
        for _ in 0..4000 {
            let (at, count) = (random.below(SLOTS / 16) * 16, 16);
            let used = |at: usize, counts: &[usize], cached: &[bool]| counts[at] > 0 || cached[at];
            match random.below(4) {
                0 => {
                    if let Some(at) = cluster.find(4) {
                        assert!((at..at + 16).all(|at| !used(at, &counts, &cached)));
                        cluster.take(at, 4, 9);
                        cached[at..at + 16].fill(true);
                    }
                }
                1 => {
                    let (at, count) = (at + random.below(16), 1 + random.below(20));
                    let count = count.min(SLOTS - at);
                    let fits = (at..at + count).all(|at| used(at, &counts, &cached));
                    let times = if random.below(10) == 0 { 130 } else { 1 };
                    for _ in 0..times {
                        assert_eq!(cluster.raise(at, count).is_ok(), fits);
                        counts[at..at + count].iter_mut().for_each(|count| *count += usize::from(fits));
                    }
                }
                2 => {
                    let from = at + random.below(16);
                    let count = (from..SLOTS).take_while(|&at| counts[at] > 0).count().min(1 + random.below(40));
                    let freed = (from..from + count).filter(|&at| counts[at] == 1 && !cached[at]).count();
                    if count > 0 {
                        assert_eq!(cluster.lower(from, count), freed);
                        counts[from..from + count].iter_mut().for_each(|count| *count -= 1);
                    }
                }
                _ if cached[at] => {
                    let freed = (at..at + count).filter(|&at| counts[at] == 0).count();
                    assert_eq!(cluster.uncache(at, count), freed);
                    cached[at..at + count].fill(false);
                }
                _ => {}
            }
            let free = (0..SLOTS).filter(|&at| !used(at, &counts, &cached)).count();
            assert_eq!(cluster.free(), free);
            assert!(
                (0..SLOTS)
                    .all(|at| cluster.count(at) == counts[at] && cluster.is_used(at) == used(at, &counts, &cached))
            );
        }
    }
}
