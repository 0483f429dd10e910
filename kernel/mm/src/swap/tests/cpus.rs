//! Several CPUs at the slots and in the cache at the same time.

use mmu::host::program;

use super::*;
use crate::frame::tests::machine;

/// CPUs that swap folios out and in, share and drop entries, at the same time.
#[test]
fn cpus_swap_at_the_same_time() {
    for seed in 0..60 {
        let (machine, memory) = machine(16, 3);
        let slots = 2047;
        add_swap(&memory, slots + 1);
        let before = memory.frames.free_count();
        let work = |cpu: usize| {
            let memory = &memory;
            program(move || {
                let mut random = Random(seed * 7 + cpu as u64 + 1);
                for turn in 0..12 {
                    let order = [0, 2, 4, 4][random.below(4)];
                    let pages = 1 << order;
                    let mark = (cpu * 16 + turn) as u8 + 1;
                    let out = folio(memory, order);
                    fill(memory, &out, mark);
                    let entry = swap_out(memory, out, 2);
                    put(memory, entry, pages);
                    let back = swap_in(memory, entry, order);
                    assert!((0..pages).all(|page| bytes(memory, &back, page) == [mark, page as u8]));
                    assert!((0..pages).all(|page| memory.swap.count(entry.advance(page)) == 1));
                    memory.swap.put(&back, 0, pages);
                    assert!(memory.swap.free_if_unused(&back));
                    free(memory, back.unlock().put(1).unwrap());
                }
            })
        };
        machine.run(seed, (0..3).map(work).collect());
        assert_eq!((memory.swap.free_count(), memory.frames.free_count()), (slots, before));
    }
}

/// Two CPUs fault on entries of the same slots: one reads, the other finds it, and both leave through the last count.
#[test]
fn cpus_meet_in_the_cache() {
    let mut left_over = 0;
    for seed in 0..200 {
        let (machine, memory) = machine(8, 2);
        add_swap(&memory, 512);
        let before = memory.frames.free_count();
        let out = folio(&memory, 4);
        fill(&memory, &out, 0x77);
        let entry = swap_out(&memory, out, 2);
        let work = |_| {
            let memory = &memory;
            program(move || {
                loop {
                    if let Some(found) = memory.swap.lookup(memory, entry) {
                        let found = found.lock();
                        let cached = found.is_swap_cache() && found.swap_entry(0) == entry;
                        if cached {
                            assert!(found.is_uptodate() && bytes(memory, &found, 5) == [0x77, 5]);
                        }
                        leave(memory, found.unlock());
                        if cached {
                            break;
                        }
                    } else if let Ok(read) = memory.swap.add_to_cache(memory, entry, fresh(memory, 4)) {
                        memory.swap.read_in(memory, &read).unwrap();
                        read.set_uptodate(true);
                        leave(memory, read.unlock());
                        break;
                    }
                }
                put(memory, entry, 16);
            })
        };
        machine.run(seed, (0..2).map(work).collect());
        // Who lowered the last count may have found the folio locked: it is left for reclaim then.
        if let Some(left) = memory.swap.lookup(&memory, entry) {
            left_over += 1;
            assert_eq!(memory.swap.count(entry), 0);
            let left = left.lock();
            assert!(memory.swap.free_if_unused(&left));
            leave(&memory, left.unlock());
        }
        assert_eq!((memory.swap.free_count(), memory.frames.free_count()), (511, before), "seed {seed}");
    }
    assert!(left_over < 50, "{left_over} of 200 runs left a folio behind");
}

fn leave(memory: &Memory, folio: Folio<'_>) {
    if let Some(orphan) = folio.put(1) {
        free(memory, orphan);
    }
}
