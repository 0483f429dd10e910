extern crate std;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::frame::tests::memory_to_break;

const PAGES: u64 = 400;

fn area_at(first: u64, end: u64, pgoff: u64) -> Area {
    let at = |page: u64| VirtAddr::new(0x55_0000_0000).add_pages(page as usize);
    Area { start: at(first), end: at(end), pgoff, ..Area::default() }
}

/// The height of a tree, with each node in order, below those above it, and reaching as far as it says.
fn height(extents: &Extents, tree: Link) -> usize {
    let Some((node, extent)) = extents.get(tree) else { return 0 };
    let below = [node.left, node.right];
    for link in below {
        assert!(link.is_none_or(|place| priority(place) <= priority(tree.unwrap())));
    }
    let [left, right] = below.map(|link| extents.get(link));
    assert!(left.is_none_or(|(_, other)| other.key() < extent.key()));
    assert!(right.is_none_or(|(_, other)| other.key() > extent.key()));
    let furthest =
        [left, right].into_iter().flatten().map(|(node, _)| node.furthest).fold(extent.end_pgoff(), u64::max);
    assert_eq!(node.furthest, furthest);
    1 + below.map(|link| height(extents, link)).into_iter().max().unwrap()
}

/// What [`Extents::at`] must give.
fn among(all: &[(usize, Area)], index: u64, count: usize) -> Vec<(usize, Area)> {
    let end = index + count as u64;
    let mut found: Vec<_> =
        all.iter().copied().filter(|(_, area)| area.pgoff < end && index < area.pgoff + area.pages()).collect();
    found.sort_by_key(|&(space, area)| (area.pgoff, space, area.start));
    found
}

/// An area that comes, or one that goes; and a search afterwards.
#[derive(Clone, Debug)]
struct Step {
    /// Which goes, of those that are there, if one does.
    goes: Option<prop::sample::Index>,
    space: usize,
    area: Area,
    index: u64,
    count: usize,
}

fn step() -> impl Strategy<Value = Step> {
    let length = prop_oneof![6 => 1..8_u64, 1 => 1..PAGES];
    // A part of them was moved, and has the page offsets of before.
    let area = (0..PAGES, length, prop_oneof![Just(0), Just(50_u64)]);
    let goes = prop_oneof![2 => Just(None), 1 => any::<prop::sample::Index>().prop_map(Some)];
    (goes, 0..3_usize, area, 0..PAGES, 1..20_usize).prop_map(|(goes, space, (first, length, moved), index, count)| {
        let area = area_at(first, first + length, (first + moved) % PAGES);
        Step { goes, space, area, index, count }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_search_finds_what_a_look_at_each_finds(steps in vec(step(), 1..400)) {
        let memory = memory_to_break(8);
        let spaces = [(); 3].map(|()| memory.create_space().unwrap());
        let (mut extents, mut all) = (Extents::default(), Vec::<(usize, Area)>::new());
        for Step { goes, space, area, index, count } in steps {
            if let Some(goes) = goes.filter(|_| !all.is_empty()) {
                let (space, gone) = all.swap_remove(goes.index(all.len()));
                extents.remove(spaces[space].as_ref(), &gone);
            } else if all.iter().all(|&(other, there): &(usize, Area)| (other, there.start) != (space, area.start)) {
                extents.reserve(1).unwrap();
                extents.insert(Extent::of(&spaces[space], &area));
                all.push((space, area));
            }
            let found = extents.at(index, count).map(|(extent, range)| (extent.space.id(), extent.start, range));
            let wanted = among(&all, index, count).into_iter().map(|(space, area)| {
                let address = |pgoff: u64| area.start.add_pages((pgoff - area.pgoff) as usize);
                let end = (index + count as u64).min(area.pgoff + area.pages());
                (spaces[space].id(), area.start, (address(index.max(area.pgoff)), address(end)))
            });
            prop_assert!(found.eq(wanted));
            prop_assert_eq!((extents.len(), extents.iter().count()), (all.len(), all.len()));
            height(&extents, extents.root);
        }
    }
}

#[test]
fn many_in_order_make_a_flat_tree_that_needs_no_memory_to_change() {
    const MANY: u64 = 10_000;
    let memory = memory_to_break(8);
    let space = memory.create_space().unwrap();
    let mut extents = Extents::default();
    extents.reserve(MANY as usize).unwrap();
    let room = extents.nodes.capacity();
    for _ in 0..3 {
        (0..MANY).for_each(|page| extents.insert(Extent::of(&space, &area_at(page, page + 1, page))));
        let height = height(&extents, extents.root);
        assert!(height < 40, "{height}");
        (0..MANY).for_each(|page| extents.remove(&space, &area_at(page, page + 1, page)));
        assert_eq!((extents.len(), extents.iter().count(), extents.root), (0, 0, None));
    }
    assert_eq!(extents.nodes.capacity(), room);
}

/// What is left of many takes no more memory than a few times as many new ones.
#[test]
fn few_of_many_take_little_memory() {
    const MANY: u64 = 10_000;
    let memory = memory_to_break(8);
    let space = memory.create_space().unwrap();
    let area = |page: u64| area_at(page, page + 1, page);
    let mut extents = Extents::default();
    for page in 0..MANY {
        extents.reserve(1).unwrap();
        extents.insert(Extent::of(&space, &area(page)));
    }
    let is_kept = |page: &u64| page % 16 == 0;
    for page in (0..MANY).filter(|page| !is_kept(page)) {
        extents.remove(&space, &area(page));
        extents.shrink();
        assert!(extents.nodes.capacity() <= SPARSE * extents.len(), "{} nodes", extents.nodes.capacity());
    }
    assert!(height(&extents, extents.root) < 30);
    assert!((0..MANY).all(|page| extents.at(page, 1).count() == usize::from(is_kept(&page))));
    for page in (0..MANY).filter(is_kept) {
        extents.remove(&space, &area(page));
        extents.shrink();
    }
    assert_eq!((extents.len(), extents.nodes.capacity(), extents.root), (0, 0, None));
}

#[test]
fn an_extent_takes_no_more_of_the_heap_than_the_budget_has_for_it() {
    // A list that has grown by doubling is half full, and as large as a power of two.
    assert!(2 * size_of::<Node>() <= crate::budget::ITEM, "{}", size_of::<Node>());
}
