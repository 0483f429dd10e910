//! mmap, munmap, mprotect and brk: where areas go, what is refused, and what becomes of tables. Random sequences are in `random`.

mod common;

use common::{BASE, Bench, FIXED, PRIVATE, RW};
use mm::Errno;
use mm::fault::FaultError;
use mm::map::{MAP_TOP, MIN_ADDRESS, MapFlags, MapRequest};
use mm::remap::{MoveFlags, MoveRequest};
use mm::vma::Prot;
use mmu::{TABLE_SPAN, VirtAddr};

fn request(address: u64, pages: u64, flags: MapFlags) -> MapRequest {
    MapRequest { address, length: pages * 4096, prot: RW, flags }
}

#[test]
fn maps_go_where_linux_puts_them() {
    let bench = Bench::new("64K=always");
    let map = |address, pages, flags| bench.memory.mmap(&bench.space, request(address, pages, flags));
    let first = map(0, 3, PRIVATE).unwrap();
    assert_eq!(first, MAP_TOP - 3 * 4096);
    assert_eq!(map(0, 1, PRIVATE), Ok(first - 4096));
    let large = map(0, 512, PRIVATE).unwrap();
    assert!(large % TABLE_SPAN == 0 && large < first);
    assert_eq!(map(0, 1024, PRIVATE), Ok(large - 2 * TABLE_SPAN));
    assert_eq!(map(BASE, 4, PRIVATE), Ok(BASE));
    assert_eq!(map(BASE + 4 * 4096 - 5, 1, PRIVATE), Ok(BASE + 4 * 4096), "a hint is rounded up");
    let elsewhere = map(BASE, 1, PRIVATE).unwrap();
    assert!(elsewhere > BASE + 0x1_0000, "a hint that is taken is only a hint");
    assert_eq!(map(1, 1, PRIVATE), Ok(MIN_ADDRESS), "a hint below the lowest address");
}

#[test]
fn wrong_maps_are_refused_as_linux_does() {
    let bench = Bench::new("64K=always");
    let map = |address, length, flags| bench.memory.mmap(&bench.space, MapRequest { address, length, prot: RW, flags });
    assert_eq!(map(0, 0, PRIVATE), Err(Errno::EINVAL));
    assert_eq!(map(0, 1 << 48, PRIVATE), Err(Errno::ENOMEM));
    assert_eq!(map(0, u64::MAX, PRIVATE), Err(Errno::ENOMEM));
    assert_eq!(map(BASE + 1, 4096, FIXED), Err(Errno::EINVAL));
    assert_eq!(map(0x1000, 4096, FIXED), Err(Errno::EPERM));
    assert_eq!(map(0xffff_ffff_f000, 8192, FIXED), Err(Errno::ENOMEM));
    assert_eq!(map(u64::MAX - 4095, 8192, FIXED), Err(Errno::ENOMEM));
    assert_eq!(map(0, 4096, MapFlags::ANONYMOUS), Err(Errno::EINVAL));
    assert_eq!(map(0, 4096, MapFlags::PRIVATE), Err(Errno::EBADF));
    assert_eq!(map(0, 4096, MapFlags::SHARED), Err(Errno::EBADF));
    let here = PRIVATE | MapFlags::FIXED_NOREPLACE;
    assert_eq!(map(BASE, 8192, here), Ok(BASE));
    assert_eq!(map(BASE + 4096, 8192, here), Err(Errno::EEXIST));
    let munmap = |address, length| bench.memory.munmap(&bench.space, address, length);
    assert_eq!(munmap(BASE + 1, 4096), Err(Errno::EINVAL));
    assert_eq!(munmap(BASE, 0), Err(Errno::EINVAL));
    assert_eq!(munmap(BASE, u64::MAX), Err(Errno::EINVAL));
    assert_eq!(munmap(1 << 47, 4096), Ok(()));
    let protect = |address, length| bench.memory.mprotect(&bench.space, address, length, RW);
    assert_eq!(protect(BASE + 1, 4096), Err(Errno::EINVAL));
    assert_eq!(protect(BASE, 0), Ok(()));
    assert_eq!(protect(BASE, 3 * 4096), Err(Errno::ENOMEM));
    assert_eq!(protect(BASE, u64::MAX), Err(Errno::ENOMEM));
}

#[test]
fn the_heap_grows_shrinks_and_stops_at_its_neighbour() {
    let bench = Bench::new("64K=always");
    let brk = |address| bench.memory.brk(&bench.space, address);
    bench.memory.set_brk_start(&bench.space, BASE + 100);
    assert_eq!(brk(0), BASE + 100);
    assert_eq!(brk(BASE + 99), BASE + 100, "below its start");
    assert_eq!(brk(BASE + 0x5000), BASE + 0x5000);
    bench.fill(1, 4);
    assert_eq!(bench.read(0), Err(FaultError::NotMapped), "the first page belongs to the program's data");
    bench.map(10, 1, RW);
    assert_eq!(brk(BASE + 0xa000), BASE + 0x5000, "a page is kept free");
    assert_eq!(brk(BASE + 0x9000), BASE + 0x9000);
    assert_eq!(bench.space.layout().read().areas.len(), 2);
    assert_eq!(brk(BASE + 0x2001), BASE + 0x2001);
    bench.verify(1, 2);
    assert_eq!(bench.read(3), Err(FaultError::NotMapped));
    assert_eq!(brk(u64::MAX), BASE + 0x2001);
}

#[test]
fn tables_go_with_their_last_area() {
    let bench = Bench::new("64K=always");
    let empty = bench.stock();
    bench.map(0, 1024, RW);
    bench.write(0, 1).unwrap();
    bench.write(600, 1).unwrap();
    let tables = |pages: usize| empty.0 - bench.stock().0 - pages;
    assert_eq!(tables(32), 4);
    let cost = bench.cost(|| bench.unmap(0, 512));
    assert_eq!((tables(16), cost.tlbi), (3, 1));
    bench.unmap(600, 424);
    assert_eq!(tables(16), 3, "an area still needs the table, and a page of the folio is mapped");
    bench.unmap(512, 88);
    assert_eq!(bench.stock(), empty);
    assert!(bench.space.tables.find(&bench.memory, VirtAddr::new(BASE)).is_none());
}

#[test]
fn an_area_that_can_not_be_split_loses_nothing() {
    let bench = Bench::new("64K=never");
    bench.map(0, 3, RW);
    bench.fill(0, 3);
    // As many areas as a machine of this size allows.
    let limit = bench.space.layout().read().areas.limit() as u64;
    assert!(limit < mm::vma::MAX_AREAS as u64, "the machine is small");
    for number in 0..limit - 1 {
        let flags = if number % 2 == 0 { FIXED } else { FIXED | MapFlags::NORESERVE };
        let request = MapRequest { address: 0x100_0000_0000 + number * 4096, length: 4096, prot: RW, flags };
        bench.memory.mmap(&bench.space, request).unwrap();
    }
    assert_eq!(bench.memory.munmap(&bench.space, BASE + 4096, 4096), Err(Errno::ENOMEM));
    assert_eq!(bench.protect(1, 1, Prot::READ), Err(Errno::ENOMEM));
    assert_eq!(bench.memory.mmap(&bench.space, request(BASE + 0x10_0000, 1, PRIVATE)), Err(Errno::ENOMEM));
    bench.verify(0, 3);
    bench.unmap(0, 1);
    bench.verify(1, 2);
}

#[test]
fn what_is_replaced_goes_only_if_there_is_room_for_what_comes() {
    let bench = Bench::new("64K=never");
    bench.map(0, 8, RW);
    bench.map(16, 8, Prot::READ);
    bench.fill(0, 8);
    let budget = &bench.memory.anon.budget;
    budget.limit_to((budget.used() + 1) * 128);
    let anywhere = |flags| bench.memory.mmap(&bench.space, request(BASE, 8, flags));
    assert_eq!(anywhere(FIXED | MapFlags::NORESERVE), Err(Errno::ENOMEM));
    let to = MoveRequest {
        old: BASE + (16 << 12),
        old_length: 4096,
        new_length: 4096,
        flags: MoveFlags::MAYMOVE | MoveFlags::FIXED,
        new_address: BASE,
    };
    assert_eq!(bench.memory.mremap(&bench.space, to), Err(Errno::ENOMEM));
    bench.verify(0, 8);
    budget.limit_to(1 << 20);
    assert_eq!(bench.memory.mremap(&bench.space, to), Ok(BASE));
    assert_eq!(anywhere(FIXED | MapFlags::NORESERVE), Ok(BASE));
}

#[test]
fn forks_of_many_areas_stay_within_the_budget() {
    let bench = Bench::new("64K=never");
    const AREAS: u64 = 40;
    bench.map(0, AREAS, RW);
    bench.fill(0, AREAS);
    for page in (1..AREAS).step_by(2) {
        bench.protect(page, 1, Prot::READ).unwrap();
    }
    let used = bench.memory.anon.budget.used();
    // Of two families more there is room for one: areas, extents, and one in which the child owns its pages.
    bench.memory.anon.budget.limit_to(used * 128 * 7 / 2);
    let child = bench.memory.fork_space(&bench.space).unwrap();
    let with_child = (bench.stock(), bench.memory.anon.budget.used());
    assert_eq!(bench.memory.fork_space(&child).err(), Some(Errno::ENOMEM));
    assert_eq!((bench.stock(), bench.memory.anon.budget.used()), with_child, "what was refused leaves nothing");
    assert_eq!(bench.memory.defects(), 0);
    bench.verify(0, AREAS);
    bench.memory.destroy_space(&child);
    assert_eq!(bench.memory.anon.budget.used(), used);
    let again = bench.memory.fork_space(&bench.space).unwrap();
    bench.memory.destroy_space(&again);
}
