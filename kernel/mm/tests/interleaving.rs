//! Two simulated CPUs inside the operations of memory management: each event of the door and each lock is a place where the other
//! may come in.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use mm::fault::Access;
use mm::map::{MapFlags, MapRequest};
use mm::space::advice::{DONTNEED, FREE, PAGEOUT};
use mm::swap::{Drive, RamDevice};
use mm::vma::Prot;
use mm::{Memory, Space};
use mmu::host::{self, Config, Event, Machine, Schedule, program};
use mmu::model::Verdict;
use mmu::{Cause, Descriptor, Door, Dsb, Fact, PAGE_SIZE, Pfn, Scope, TlbOp, VirtAddr};

const BASE: VirtAddr = VirtAddr::new(0x55_0000_0000);
/// Where nothing is mapped, nor any table but the first.
const EMPTY: VirtAddr = VirtAddr::new(0x65_0000_0000);
const PAGES: u64 = 16;
/// Faults that one access may take.
const TRIES: usize = 10_000;

/// Three CPUs, a space with one 64 KiB folio, folded, all pages written, and a swap device that is synchronous until told otherwise.
struct Ground {
    machine: Machine,
    memory: Memory,
    drive: Arc<Drive>,
    space: Arc<Space>,
}

fn ground(way: &str) -> Ground {
    let machine = Machine::new(Config { cpus: 3, ..Config::default() });
    let first = Config::default().ram_start.frame();
    let pages = (Config::default().ram_bytes / PAGE_SIZE) as usize;
    let memory = Memory::new(Door::simulated(&machine), &[first..first.add(pages)]).unwrap();
    let drive = Arc::new(Drive::new(RamDevice::new(&memory.frames, 1024).unwrap()));
    memory.swap.add_device(Box::new(drive.clone())).unwrap();
    for (key, value) in [("thp", "64K=always"), ("unmap", way)] {
        memory.policy().parse(key, value).unwrap();
    }
    let space = memory.create_space().unwrap();
    let request = MapRequest {
        address: BASE.as_u64(),
        length: PAGES * PAGE_SIZE,
        prot: Prot::READ | Prot::WRITE,
        flags: MapFlags::PRIVATE | MapFlags::ANONYMOUS | MapFlags::FIXED,
    };
    memory.mmap(&space, request).unwrap();
    let ground = Ground { machine, memory, drive, space };
    ground.memory.activate(&ground.space);
    for page in 0..PAGES {
        ground.write(page, page);
    }
    ground
}

impl Drop for Ground {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(self.machine.verdict(), Verdict::Pass);
        }
    }
}

impl Ground {
    fn address(page: u64) -> VirtAddr {
        BASE.add_pages(page as usize)
    }

    /// A program's access, faulting as often as it takes.
    fn retry<T>(&self, page: u64, access: Access, attempt: impl Fn(VirtAddr) -> Result<T, host::Fault>) -> T {
        for _ in 0..TRIES {
            match attempt(Self::address(page)) {
                Ok(value) => return value,
                Err(_) => self.memory.fault(&self.space, Self::address(page), access).expect("a program was killed"),
            }
        }
        panic!("page {page} faults for ever");
    }

    fn write(&self, page: u64, value: u64) {
        self.retry(page, Access::Write, |address| self.machine.user_write_u64(address, value));
    }

    fn read(&self, page: u64) -> u64 {
        self.retry(page, Access::Read, |address| self.machine.user_read_u64(address))
    }

    fn page_out(&self) {
        self.memory.madvise(&self.space, BASE.as_u64(), PAGES * PAGE_SIZE, PAGEOUT).unwrap();
    }

    fn free(&self) {
        self.memory.madvise(&self.space, BASE.as_u64(), PAGES * PAGE_SIZE, FREE).unwrap();
    }

    /// The raw entry of a page.
    fn entry(&self, page: u64) -> Descriptor {
        let table = self.space.tables.find(&self.memory, Self::address(page)).unwrap();
        self.memory.door.load(table.slot(Self::address(page)))
    }

    fn count(&self, name: &str) -> u64 {
        let at = mm::count::Counters::NAMES.iter().position(|&known| known == name).unwrap();
        self.memory.count_all()[at]
    }
}

/// Between the swaps and the stores of an unfold the block is not there: another CPU that touches it faults, waits for the table's
/// lock, and finds its entry again (reference 2.5, 4.29).
#[test]
fn a_fault_in_the_window_of_an_unfold_is_spurious() {
    let ground = ground("page");
    let schedule = Schedule::in_turn().window(0, 1, |event| matches!(event, Event::Store(..)), 1);
    let unfolded = AtomicBool::new(false);
    ground
        .machine
        .run_by(
            schedule,
            vec![
                program(|| {
                    let protection = Prot::READ;
                    ground.memory.mprotect(&ground.space, BASE.as_u64(), PAGE_SIZE, protection).unwrap();
                    unfolded.store(true, SeqCst);
                }),
                program(|| {
                    ground.memory.activate(&ground.space);
                    assert!(ground.machine.user_read_u64(Ground::address(9)).is_err(), "the window is open");
                    assert!(!unfolded.load(SeqCst));
                    ground.memory.fault(&ground.space, Ground::address(9), Access::Read).unwrap();
                    assert_eq!(ground.machine.user_read_u64(Ground::address(9)), Ok(9));
                }),
            ],
        )
        .unwrap();
    assert_eq!(ground.count("faults_spurious"), 1);
    let table = ground.space.lock_table(&ground.memory, BASE).unwrap();
    assert!(!table.get(table.slot(Ground::address(9))).is_folded());
}

/// Two CPUs run the space; what one unmaps, the other may not reach any more (rule MS-22).
#[test]
fn every_cpu_forgets_what_was_unmapped() {
    let ground = ground("folio");
    let (warm, gone) = (AtomicBool::new(false), AtomicBool::new(false));
    let wait_for = |flag: &AtomicBool| {
        while !flag.load(SeqCst) {
            mmu::relax();
        }
    };
    let unmaps = || {
        wait_for(&warm);
        ground.memory.munmap(&ground.space, BASE.as_u64(), PAGES * PAGE_SIZE).unwrap();
        gone.store(true, SeqCst);
    };
    let looks = || {
        ground.memory.activate(&ground.space);
        assert_eq!(ground.read(9), 9);
        warm.store(true, SeqCst);
        wait_for(&gone);
        assert!(ground.machine.user_read_u64(Ground::address(9)).is_err());
    };
    ground.machine.run_by(Schedule::in_turn(), vec![program(unmaps), program(looks)]).unwrap();
}

/// Between the TLBI of a page-out and its DSB another CPU drops a part of what goes out: it finds entries gone that may still be cached,
/// so it completes the flush before it looks at them (T-T-1, rule MS-41).
#[test]
fn who_comes_after_a_deferral_completes_it() {
    let ground = ground("folio");
    let schedule = Schedule::in_turn().window(0, 1, |event| matches!(event, Event::Dsb(Dsb::Ish)), 1);
    let drops = || {
        ground.memory.activate(&ground.space);
        ground.memory.madvise(&ground.space, BASE.as_u64(), 8 * PAGE_SIZE, DONTNEED).unwrap();
        assert_eq!(ground.count("pending_flushes"), 1);
    };
    ground.machine.run_by(schedule, vec![program(|| ground.page_out()), program(drops)]).unwrap();
    (0..8).for_each(|page| assert_eq!(ground.read(page), 0));
    (8..PAGES).for_each(|page| assert_eq!(ground.read(page), page));
}

/// Two CPUs touch an empty block of addresses for the first time: the second one does all of its work inside that of the first, before
/// an event of it that `matches`.
fn touch_twice(matches: impl Fn(&Event) -> bool + Send + 'static) {
    let ground = ground("folio");
    let request = MapRequest {
        address: EMPTY.as_u64(),
        length: PAGES * PAGE_SIZE,
        prot: Prot::READ | Prot::WRITE,
        flags: MapFlags::PRIVATE | MapFlags::ANONYMOUS | MapFlags::FIXED,
    };
    ground.memory.mmap(&ground.space, request).unwrap();
    let faults = ground.count("faults_anonymous");
    let touch = |page: usize| {
        ground.memory.activate(&ground.space);
        let address = EMPTY.add_pages(page);
        ground.memory.fault(&ground.space, address, Access::Write).unwrap();
        ground.machine.user_write_u64(address, page as u64).unwrap();
    };
    let schedule = Schedule::in_turn().window(0, 1, matches, 1);
    ground.machine.run_by(schedule, vec![program(|| touch(3)), program(|| touch(9))]).unwrap();
    assert_eq!(ground.count("faults_anonymous") - faults, 1);
    for page in [3, 9] {
        assert_eq!(ground.machine.user_read_u64(EMPTY.add_pages(page)), Ok(page as u64));
    }
}

#[test]
fn a_first_touch_looks_again_before_it_maps() {
    touch_twice(|event| matches!(event, Event::ClearPages(_, count) if *count as u64 == PAGES));
}

#[test]
fn a_new_table_is_linked_once() {
    touch_twice(|event| matches!(event, Event::ClearPages(_, 1)));
}

/// A program writes while another CPU pages out what it writes (T-T-6): what it reads back is never older than its last store. With a
/// latency, the swap device reads memory that is mapped again and written meanwhile.
fn no_store_is_lost(way: &str, latency: u64) {
    let (mut came_back, mut under_writeback) = (0, 0);
    for seed in 1..=20 {
        let ground = ground(way);
        ground.drive.set_latency(latency);
        let done = AtomicBool::new(false);
        let last: [AtomicU64; PAGES as usize] = std::array::from_fn(|page| AtomicU64::new(page as u64));
        let report = ground.machine.run_by(
            Schedule::seeded(seed).one_in(30),
            vec![
                program(|| {
                    while !done.load(SeqCst) {
                        ground.page_out();
                        mmu::relax();
                    }
                }),
                program(|| {
                    ground.memory.activate(&ground.space);
                    for turn in 1..400 {
                        let page = turn * 7 % PAGES;
                        ground.write(page, turn << 8);
                        last[page as usize].store(turn << 8, SeqCst);
                        if turn % 5 == 0 {
                            // A TLB may forget at any time: only then is a store seen that went to a frame no longer ours.
                            ground.memory.door.invalidate(TlbOp::all(Scope::Local), Cause::Test);
                        }
                        let other = turn * 3 % PAGES;
                        assert_eq!(ground.read(other), last[other as usize].load(SeqCst), "seed {seed}, turn {turn}");
                    }
                    done.store(true, SeqCst);
                }),
                program(|| {
                    while !done.load(SeqCst) {
                        ground.drive.tick();
                        ground.memory.run_completions();
                        mmu::relax();
                    }
                }),
            ],
        );
        report.unwrap_or_else(|failure| panic!("{way}, seed {seed}: {failure:?}"));
        assert_eq!(ground.memory.defects(), 0);
        came_back += ground.count("pages_swapped_in") + ground.count("faults_swap_minor");
        under_writeback += ground.count("writes_completed");
    }
    assert!(came_back > 500, "the two hardly met: {came_back} pages came back");
    assert_eq!(under_writeback > 100, latency > 0, "{under_writeback} writes took their time");
}

#[test]
fn no_store_is_lost_page_by_page() {
    no_store_is_lost("page", 0);
}

#[test]
fn no_store_is_lost_folio_by_folio() {
    no_store_is_lost("folio", 0);
}

#[test]
fn no_store_is_lost_in_a_batch() {
    no_store_is_lost("gather", 0);
}

#[test]
fn no_store_is_lost_while_a_device_writes() {
    for way in ["page", "folio", "gather"] {
        no_store_is_lost(way, 4);
    }
}

/// T-G-5: a read without the lock, while another CPU takes the block apart and puts it together, returns what the entry was at one
/// moment: as a part of a whole block, as a single page, or nothing. That the value fits a moment is the model's to judge (MS-17).
#[test]
fn a_read_without_the_lock_is_of_one_moment() {
    let mut seen = [0; 3];
    for seed in 1..=40 {
        let ground = ground("page");
        let slot = ground.space.lock_table(&ground.memory, BASE).unwrap().slot(Ground::address(9));
        let frame = ground.memory.door.load(slot).frame();
        let done = AtomicBool::new(false);
        let mut kinds = [0; 3];
        let report = ground.machine.run_by(
            Schedule::seeded(seed).one_in(6),
            vec![
                program(|| {
                    for _ in 0..6 {
                        ground.memory.mprotect(&ground.space, BASE.as_u64(), PAGE_SIZE, Prot::READ).unwrap();
                        for protection in [Prot::READ, Prot::READ | Prot::WRITE] {
                            let length = PAGES * PAGE_SIZE;
                            ground.memory.mprotect(&ground.space, BASE.as_u64(), length, protection).unwrap();
                        }
                    }
                    done.store(true, SeqCst);
                }),
                program(|| {
                    while !done.load(SeqCst) {
                        let entry = mm::contpte::get_lockless(&ground.memory, slot);
                        assert!(entry.is_none() || entry.frame() == frame, "{entry}");
                        kinds[if entry.is_none() { 0 } else { 1 + usize::from(entry.is_folded()) }] += 1;
                        mmu::relax();
                    }
                }),
            ],
        );
        report.unwrap_or_else(|failure| panic!("seed {seed}: {failure}"));
        seen.iter_mut().zip(kinds).for_each(|(sum, count)| *sum += count);
    }
    assert!(seen.iter().all(|&count| count > 0), "nothing, single, folded: {seen:?}");
}

const WAYS: [&str; 3] = ["page", "folio", "gather"];

/// Pages that were given up are paged out, and before an event of that which `matches` another CPU writes one of them. Whatever becomes
/// of the folio, the write is there.
fn write_during_discard(way: &str, matches: impl Fn(&Event) -> bool + Send + 'static) -> Ground {
    let ground = ground(way);
    ground.free();
    // An entry that nobody has used since is in no TLB.
    (0..PAGES).for_each(|page| assert_eq!(ground.read(page), page));
    let writes = || {
        ground.memory.activate(&ground.space);
        ground.write(3, 0x33);
    };
    let schedule = Schedule::in_turn().window(0, 1, matches, 1);
    ground.machine.run_by(schedule, vec![program(|| ground.page_out()), program(writes)]).unwrap();
    assert_eq!(ground.read(3), 0x33, "{way}");
    ground
}

/// The entry says so, and all pages keep what they had.
#[test]
fn a_write_before_a_discard_keeps_the_folio() {
    for way in WAYS {
        let ground = write_during_discard(way, |event| matches!(event, Event::Swap(..)));
        assert_eq!((ground.read(9), ground.count("pglazyfreed")), (9, 0), "{way}");
    }
}

/// The write faults, waits for the table's lock, and gets a page of zeros.
#[test]
fn a_write_after_the_entries_are_cleared_finds_a_new_page() {
    for way in WAYS {
        let ground = write_during_discard(way, |event| matches!(event, Event::Fact(Fact::Discard(..))));
        assert_eq!((ground.read(9), ground.count("pglazyfreed")), (0, PAGES), "{way}");
    }
}

/// When the entries are empty and the TLBI for them is not complete, a CPU could still hold a translation to the old page: the new one is
/// not mapped before.
#[test]
fn a_first_touch_after_a_discard_waits_for_its_flush() {
    for way in WAYS {
        let ground = write_during_discard(way, |event| matches!(event, Event::Dsb(Dsb::Ish)));
        assert_eq!((ground.read(9), ground.count("pglazyfreed")), (0, PAGES), "{way}");
    }
}

/// A reference that is got while the entries are being cleared keeps the folio. It is not swap-backed, as nobody wrote, and goes the next time.
#[test]
fn a_reference_before_the_decision_keeps_the_folio() {
    for way in WAYS {
        let ground = ground(way);
        ground.free();
        let folio = ground.memory.frames.folio_of(ground.entry(0).frame());
        let schedule = Schedule::in_turn().window(0, PAGES as usize, |event| matches!(event, Event::Swap(..)), 1);
        let refers = || assert!(folio.try_get());
        ground.machine.run_by(schedule, vec![program(|| ground.page_out()), program(refers)]).unwrap();
        assert!(!folio.is_swap_backed() && ground.entry(9).is_folded(), "{way}");
        assert!(folio.put(1).is_none());
        ground.page_out();
        assert_eq!((ground.read(9), ground.count("pglazyfreed")), (0, PAGES), "{way}");
    }
}

/// Somebody who refers to the folio writes to it by its physical address, says that it is dirty, and lets go, all while reclaim looks.
/// Who looks at the dirty flag first, and at the references then, may miss the one and the other (reference 4.28).
#[test]
fn a_write_through_a_reference_is_not_discarded() {
    for (way, seed) in WAYS.iter().flat_map(|way| (1..=60).map(move |seed| (way, seed))) {
        let ground = ground(way);
        ground.free();
        let folio = ground.memory.frames.folio_of(ground.entry(0).frame());
        folio.get(1);
        let writes = || {
            while !ground.entry(PAGES - 1).is_none() {
                mmu::relax();
            }
            // Byte by byte, so that the end of it falls anywhere into what reclaim does meanwhile.
            (0..8).for_each(|byte| ground.memory.door.write_bytes(folio.page(5).start().add_bytes(byte), &[0x55]));
            folio.set_dirty(true);
            assert!(folio.put(1).is_none());
        };
        let schedule = Schedule::seeded(seed).one_in(3);
        let report = ground.machine.run_by(schedule, vec![program(|| ground.page_out()), program(writes)]);
        report.unwrap_or_else(|failure| panic!("{way}, seed {seed}: {failure}"));
        assert_eq!(ground.read(5), u64::from_ne_bytes([0x55; 8]), "{way}, seed {seed}");
    }
}

/// A program writes while another CPU gives its pages up and pages them out, again and again. What it wrote it finds, or zero: never
/// anything older. And what it wrote since the pages were given up last, it finds.
fn no_later_store_is_lost(way: &str, lazyfree: &str) {
    let mut discarded = 0;
    for seed in 1..=20 {
        let ground = ground(way);
        ground.memory.policy().parse("lazyfree", lazyfree).unwrap();
        let done = AtomicBool::new(false);
        // Odd while the pages are being given up.
        let given_up = AtomicU64::new(0);
        let gives_up = || {
            while !done.load(SeqCst) {
                given_up.fetch_add(1, SeqCst);
                ground.free();
                given_up.fetch_add(1, SeqCst);
                (0..3).for_each(|_| ground.page_out());
                mmu::relax();
            }
        };
        let writes = || {
            ground.memory.activate(&ground.space);
            let mut last: [(u64, u64); PAGES as usize] = std::array::from_fn(|page| (page as u64, 1));
            for turn in 1..400 {
                let page = turn * 7 % PAGES;
                let before = given_up.load(SeqCst);
                ground.write(page, turn << 8);
                last[page as usize] = (turn << 8, before);
                if turn % 5 == 0 {
                    ground.memory.door.invalidate(TlbOp::all(Scope::Local), Cause::Test);
                }
                let other = turn * 3 % PAGES;
                let found = ground.read(other);
                let (stored, since) = last[other as usize];
                let kept = since % 2 == 0 && given_up.load(SeqCst) == since;
                assert!(found == stored || (found == 0 && !kept), "{way}, seed {seed}, turn {turn}: {found:#x}");
                last[other as usize].0 = found;
            }
            done.store(true, SeqCst);
        };
        let schedule = Schedule::seeded(seed).one_in(30);
        let report = ground.machine.run_by(schedule, vec![program(gives_up), program(writes)]);
        report.unwrap_or_else(|failure| panic!("{way}, {lazyfree}, seed {seed}: {failure}"));
        assert_eq!(ground.memory.defects(), 0);
        discarded += ground.count("pglazyfreed");
    }
    assert!(discarded > 300, "the two hardly met: {discarded} pages were discarded");
}

#[test]
fn no_later_store_is_lost_page_by_page() {
    no_later_store_is_lost("page", "page");
}

#[test]
fn no_later_store_is_lost_folio_by_folio() {
    no_later_store_is_lost("folio", "folio");
}

#[test]
fn no_later_store_is_lost_in_a_batch() {
    no_later_store_is_lost("gather", "folio");
}

/// The frames that a `Memory` is given are all it uses.
#[test]
fn a_memory_without_frames_says_so() {
    let machine = Machine::new(Config::default());
    let nothing = Pfn::new(0x40000);
    assert!(Memory::new(Door::simulated(&machine), &[nothing..nothing]).is_err());
}

/// A device pins a page on what its entry said before reclaim took the page away and gave its frame to another: it must look again.
#[test]
fn a_pin_comes_too_late() {
    const FOLIOS: usize = 8;
    let ground = ground("folio");
    let place = |folio: usize| EMPTY.add_pages(folio * PAGES as usize);
    let request = MapRequest {
        address: EMPTY.as_u64(),
        length: FOLIOS as u64 * PAGES * PAGE_SIZE,
        prot: Prot::READ | Prot::WRITE,
        flags: MapFlags::PRIVATE | MapFlags::ANONYMOUS | MapFlags::FIXED,
    };
    ground.memory.mmap(&ground.space, request).unwrap();
    // The area has its anon_vma from now on: to give it one takes the areas' lock, which a pinner holds.
    ground.memory.fault(&ground.space, EMPTY, Access::Write).unwrap();
    let slot = ground.space.lock_table(&ground.memory, BASE).unwrap().slot(BASE);
    let before = ground.memory.door.load(slot).frame();
    let pins = || {
        let pinned = ground.memory.pin_user_pages(&ground.space, BASE, 1, true).unwrap();
        pinned.write(0, 0, &777u64.to_le_bytes());
    };
    let takes = || {
        ground.page_out();
        let taken = (1..FOLIOS).any(|folio| {
            ground.memory.fault(&ground.space, place(folio), Access::Write).unwrap();
            let slot = ground.space.lock_table(&ground.memory, place(folio)).unwrap().slot(place(folio));
            ground.memory.door.load(slot).frame() == before
        });
        assert!(taken, "the frame has not found another user");
    };
    let schedule = Schedule::in_turn().window(0, 1, |event| matches!(event, Event::Fact(Fact::SnapshotEnd(..))), 1);
    ground.machine.run_by(schedule, vec![program(pins), program(takes)]).unwrap();
    assert_eq!(ground.read(0), 777);
    for folio in 0..FOLIOS {
        if let Ok(value) = ground.machine.user_read_u64(place(folio)) {
            assert_eq!(value, 0, "a device writes to another's page");
        }
    }
}

/// A pin that is taken when the entry is gone already, and before the pinner looks again: reclaim finds it and puts the page back.
fn pin_between(way: &str) {
    let ground = ground(way);
    let slot = ground.space.lock_table(&ground.memory, BASE).unwrap().slot(BASE);
    let frame = ground.memory.door.load(slot).frame();
    let pins = || {
        let pinned = ground.memory.pin_user_pages(&ground.space, BASE, 1, true).unwrap();
        assert_eq!(pinned.frame(0), frame);
        pinned.write(0, 0, &777u64.to_le_bytes());
        ground.page_out();
    };
    // The entry is read once for itself and once as a part of its block before the pin is taken, and again afterwards.
    let schedule = Schedule::in_turn()
        .window(0, 1, |event| matches!(event, Event::Fact(Fact::SnapshotEnd(..))), 1)
        .window(1, 2, |event| matches!(event, Event::Swap(..)), 0)
        .window(0, 3, move |event| matches!(event, Event::Load(address) if *address == slot.address()), 1);
    ground.machine.run_by(schedule, vec![program(pins), program(|| ground.page_out())]).unwrap();
    assert_eq!(ground.count("unmap_failures"), 1, "{way}");
    assert_eq!(ground.memory.door.load(slot).frame(), frame, "{way}");
    assert_eq!(ground.read(0), 777);
    (1..PAGES).for_each(|page| assert_eq!(ground.read(page), page));
}

#[test]
fn a_pin_between_clearing_and_sharing_puts_the_page_back() {
    ["page", "folio", "gather"].into_iter().for_each(pin_between);
}

/// A device writes through pins while another CPU pages out: its program sees each write, at once and later.
#[test]
fn what_a_device_writes_is_not_lost() {
    for way in ["page", "folio", "gather"] {
        let mut met = 0;
        for seed in 1..=20 {
            let ground = ground(way);
            let done = AtomicBool::new(false);
            let report = ground.machine.run_by(
                Schedule::seeded(seed).one_in(20),
                vec![
                    program(|| {
                        while !done.load(SeqCst) {
                            ground.page_out();
                            mmu::relax();
                        }
                    }),
                    program(|| {
                        ground.memory.activate(&ground.space);
                        for turn in 1..100 {
                            let page = turn * 7 % PAGES;
                            let address = Ground::address(page);
                            let pinned = ground.memory.pin_user_pages(&ground.space, address, 1, true).unwrap();
                            pinned.write(0, 0, &(turn << 8).to_le_bytes());
                            assert_eq!(ground.read(page), turn << 8, "{way}, seed {seed}, turn {turn}");
                            pinned.unpin();
                            assert_eq!(ground.read(page), turn << 8, "{way}, seed {seed}, turn {turn}");
                        }
                        done.store(true, SeqCst);
                    }),
                ],
            );
            report.unwrap_or_else(|failure| panic!("{way}, seed {seed}: {failure:?}"));
            assert_eq!(ground.memory.defects(), 0);
            met += ground.count("pages_swapped_in");
        }
        assert!(met > 300, "{way}: the two hardly met: {met} pages came back");
    }
}
