//! Tests of the kernel's map: what each address comes out as, through a walk of the tables built.

use super::*;

const POOL: u64 = 0x8000_0000;
const TEXT: u64 = 0xFFFF_8000_0020_0000;

/// Level, physical address, contiguous, bits: what a walk of `address` finds.
fn walk(map: &KernelMap<'_>, address: u64) -> Option<(u8, u64, bool, u64)> {
    let address = VirtAddr::new(address);
    let mut table = 0;
    for level in 0..4 {
        let entry = map.pool[table].0[address.index(level)];
        if entry.is_none() {
            return None;
        }
        if level == 3 || !entry.is_table() {
            let inside = address.as_u64() & ((1 << level_shift(level)) - 1);
            return Some((level, entry.address().as_u64() + inside, entry.is_folded(), entry.bits()));
        }
        table = map.index_of(entry);
    }
    None
}

fn range(start: u64, size: u64) -> PhysRange {
    PhysRange::new(start, size)
}

#[test]
fn every_address_translates_and_nothing_beside_it() {
    let mut pool = std::vec![TablePage::EMPTY; 64];
    let mut map = KernelMap::new(&mut pool, PhysAddr::new(POOL));
    map.map(VirtAddr::new(TEXT), range(0x4020_0000, 0x13_0000), Use::Text).unwrap();
    for offset in (0..0x13_0000).step_by(0x1000) {
        assert_eq!(walk(&map, TEXT + offset + 8).unwrap().1, 0x4020_0000 + offset + 8);
    }
    assert!(walk(&map, TEXT - 1).is_none() && walk(&map, TEXT + 0x13_0000).is_none());
}

#[test]
fn the_biggest_blocks_and_groups() {
    let gib = 1 << 30;
    assert_eq!(biggest(16 * gib, 16 * gib), (1, 16));
    assert_eq!(biggest(gib, 16 * gib), (1, 1));
    assert_eq!(biggest(gib, gib - 1), (2, 16));
    assert_eq!(biggest(32 << 20, 32 << 20), (2, 16));
    assert_eq!(biggest(2 << 20, 32 << 20), (2, 1));
    assert_eq!(biggest(64 << 10, 64 << 10), (3, 16));
    assert_eq!(biggest(4 << 10, 64 << 10), (3, 1));
}

#[test]
fn a_cut_in_the_linear_map_only_splits_what_it_touches() {
    let mut pool = std::vec![TablePage::EMPTY; 64];
    let mut map = KernelMap::new(&mut pool, PhysAddr::new(POOL));
    let (start, cut, end) = (0x4000_0000, 0x4025_0000, 0x8000_0000);
    let linear = |physical| VirtAddr::new(mmu::LINEAR_BASE | physical);
    map.map(linear(start), range(start, 0x20_0000), Use::Data).unwrap();
    map.map(linear(0x4020_0000), range(0x4020_0000, 0x5_0000), Use::Constants).unwrap();
    map.map(linear(cut), range(cut, end - cut), Use::Data).unwrap();
    assert_eq!(walk(&map, linear(0x4024_f000).as_u64()).unwrap().0, 3);
    let (level, _, folded, _) = walk(&map, linear(0x6000_0000).as_u64()).unwrap();
    assert_eq!((level, folded), (2, true));
    assert_eq!(map.used(), 4);
}

#[test]
fn nothing_is_writable_and_executable_and_nothing_is_for_el0() {
    for usage in [Use::Text, Use::Constants, Use::Data, Use::Device] {
        let bits = usage.descriptor();
        let (read_only, pxn, uxn, user) = (bits >> 7 & 1, bits >> 53 & 1, bits >> 54 & 1, bits >> 6 & 1);
        assert!(read_only == 1 || pxn == 1);
        assert_eq!((uxn, user), (1, 0));
    }
    assert_eq!(Use::Text.descriptor() >> 53 & 1, 0);
}

#[test]
fn an_empty_pool_is_an_error() {
    let mut pool = std::vec![TablePage::EMPTY; 3];
    let mut map = KernelMap::new(&mut pool, PhysAddr::new(POOL));
    assert_eq!(map.map(VirtAddr::new(TEXT), range(0x4020_0000, 0x1000), Use::Text), Err(PoolEmpty));
}
