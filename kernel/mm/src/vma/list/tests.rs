//! Tests of the list of areas against a model that knows each page by itself.

extern crate std;

use std::collections::BTreeMap;
use std::vec::Vec;

use super::*;
use crate::vma::Prot;

const BASE: u64 = 0x10_0000;

fn address(page: u64) -> VirtAddr {
    VirtAddr::new(BASE + page * 4096)
}

fn area(first: u64, last: u64, prot: Prot) -> Area {
    let (start, end) = (address(first), address(last));
    Area { start, end, prot, pgoff: start.page_number(), ..Area::default() }
}

/// Numbers that look random and are the same in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

fn unmap(areas: &mut Areas, start: VirtAddr, end: VirtAddr) {
    while let Some(area) = areas.first_from(start).filter(|area| area.start < end).copied() {
        let change = areas.plan_remove(&area, area.start.max(start), area.end.min(end));
        areas.apply(&change).unwrap();
    }
}

fn protect(areas: &mut Areas, start: VirtAddr, end: VirtAddr, prot: Prot) {
    let mut from = start;
    while let Some(area) = areas.first_from(from).filter(|area| area.start < end && from < end).copied() {
        let (first, last) = (area.start.max(from), area.end.min(end));
        let change = areas.plan_change(&area, first, last, |area| area.prot = prot);
        areas.apply(&change).unwrap();
        from = last;
    }
}

/// What the list says, page by page; and that it is sorted, whole and merged as far as can be.
fn pages(areas: &Areas) -> BTreeMap<u64, (Prot, u64)> {
    assert_eq!(areas.iter().count(), areas.len());
    assert!(areas.chunks.iter().all(|chunk| !chunk.is_empty() && chunk.len() <= CHUNK && chunk.capacity() == CHUNK));
    let all: Vec<Area> = areas.iter().copied().collect();
    for pair in all.windows(2) {
        assert!(pair[0].end <= pair[1].start);
        assert!(pair[0].join(&pair[1]).is_none(), "{:?} and {:?} should be one", pair[0], pair[1]);
    }
    let page = |area: &Area, number: u64| {
        let at = address(number);
        assert_eq!(areas.find(at), Some(area));
        (number, (area.prot, area.index_of(at)))
    };
    let first = |area: &Area| (area.start.as_u64() - BASE) / 4096;
    all.iter().flat_map(|area| (first(area)..first(area) + area.pages()).map(|number| page(area, number))).collect()
}

#[test]
fn random_changes_agree_with_a_model_of_pages() {
    const PAGES: u64 = 700;
    let prots = [Prot::READ, Prot::READ | Prot::WRITE, Prot::empty()];
    for seed in 1..=12 {
        let mut random = Random(0x9E37_79B9_7F4A_7C15u64.wrapping_mul(seed));
        let (mut areas, mut model) = (Areas::new(), BTreeMap::<u64, (Prot, u64)>::new());
        for step in 0..600 {
            let first = random.below(PAGES);
            let last = first + 1 + random.below(if step % 7 == 0 { 60 } else { 4 });
            let prot = prots[random.below(3) as usize];
            let numbers = first..last;
            match random.below(5) {
                0 => {
                    unmap(&mut areas, address(first), address(last));
                    model.retain(|number, _| !numbers.contains(number));
                }
                1 => {
                    protect(&mut areas, address(first), address(last), prot);
                    model.range_mut(numbers).for_each(|(_, page)| page.0 = prot);
                }
                _ => {
                    unmap(&mut areas, address(first), address(last));
                    let change = areas.plan_insert(area(first, last, prot));
                    areas.apply(&change).unwrap();
                    model.extend(numbers.map(|number| (number, (prot, address(number).page_number()))));
                }
            }
            assert_eq!(pages(&areas), model, "seed {seed}, step {step}");
        }
        assert!(areas.chunks.len() > 1, "the test must reach more than one chunk");
        gaps(&areas, &model, &mut random, PAGES);
    }
}

/// The gap that is found is the highest that the model has.
fn gaps(areas: &Areas, model: &BTreeMap<u64, (Prot, u64)>, random: &mut Random, pages: u64) {
    for _ in 0..200 {
        let (length, align) = (1 + random.below(6), 1 << random.below(4));
        let (low, high) = (random.below(pages), random.below(pages + 50));
        let fits = |&first: &u64| {
            address(first).is_aligned(align * 4096) && (first..first + length).all(|page| !model.contains_key(&page))
        };
        let expected = (low..(high + 1).saturating_sub(length)).rev().find(fits).map(address);
        let found = areas.find_gap(length * 4096, align * 4096, address(low), address(high));
        assert_eq!(found, expected, "{length} pages aligned to {align} in {low}..{high}");
        let (first, last) = (low.min(high), low.max(high) + 1);
        assert_eq!(areas.is_free(address(first), address(last)), model.range(first..last).next().is_none());
    }
}

#[test]
fn neighbours_merge_on_both_sides() {
    let mut areas = Areas::new();
    for (first, last) in [(0, 2), (4, 6), (2, 4)] {
        let change = areas.plan_insert(area(first, last, Prot::READ));
        areas.apply(&change).unwrap();
    }
    assert_eq!(areas.iter().copied().collect::<Vec<_>>(), [area(0, 6, Prot::READ)]);
}

#[test]
fn an_area_that_moved_does_not_merge() {
    let mut areas = Areas::new();
    let moved = Area { pgoff: 77, ..area(2, 4, Prot::READ) };
    for area in [area(0, 2, Prot::READ), moved] {
        let change = areas.plan_insert(area);
        areas.apply(&change).unwrap();
    }
    assert_eq!(areas.len(), 2);
    assert_eq!(areas.last_before(address(2)).unwrap().end, address(2));
    assert_eq!(areas.find(address(3)).unwrap().index_of(address(3)), 78);
}

#[test]
fn a_change_in_the_middle_makes_three_and_back_makes_one() {
    let mut areas = Areas::new();
    let whole = area(0, 16, Prot::READ | Prot::WRITE);
    let insert = areas.plan_insert(whole);
    areas.apply(&insert).unwrap();
    protect(&mut areas, address(4), address(8), Prot::READ);
    assert_eq!(areas.len(), 3);
    let middle = *areas.find(address(4)).unwrap();
    let change = areas.plan_change(&middle, middle.start, middle.end, |area| area.prot = Prot::READ | Prot::WRITE);
    assert_eq!((change.removed().len(), change.added()), (3, &[whole][..]));
    areas.apply(&change).unwrap();
    assert_eq!(areas.len(), 1);
    let same = areas.plan_change(&whole, address(1), address(1).add_pages(2), |_| ());
    assert!(same.is_empty());
}

#[test]
fn more_areas_than_linux_allows_are_refused() {
    let mut areas = Areas::new();
    for number in 0..MAX_AREAS as u64 {
        let change = areas.plan_insert(area(2 * number, 2 * number + 1, Prot::READ));
        areas.apply(&change).unwrap();
    }
    let change = areas.plan_insert(area(1_000_000, 1_000_001, Prot::READ));
    assert_eq!(areas.apply(&change), Err(Errno::ENOMEM));
    assert_eq!(areas.len(), MAX_AREAS);
    unmap(&mut areas, address(0), address(1_000_000));
    assert!(areas.is_empty());
}

/// What a program leaves of many areas, however it takes the others away, takes hardly more memory than as many new ones.
#[test]
fn few_of_many_areas_take_little_memory() {
    const MANY: u64 = 10_000;
    const KEPT: u64 = 16;
    let orders: [fn(u64) -> u64; 3] = [|number| number, |number| MANY - 1 - number, |number| number * 7919 % MANY];
    for order in orders {
        let mut areas = Areas::new();
        for number in (0..MANY).map(order) {
            let change = areas.plan_insert(area(2 * number, 2 * number + 1, Prot::READ));
            areas.apply(&change).unwrap();
        }
        for number in (0..MANY).map(order).filter(|number| number % KEPT != 0) {
            unmap(&mut areas, address(2 * number), address(2 * number + 1));
        }
        assert_eq!(areas.len() as u64, MANY / KEPT);
        let at_most = (MANY / KEPT) as usize / (CHUNK / 2 - GROWTH) + 1;
        assert!(areas.chunks.len() <= at_most, "{} chunks for {} areas", areas.chunks.len(), areas.len());
        assert!((0..MANY).all(|number| areas.find(address(2 * number)).is_some() == (number % KEPT == 0)));
    }
}
