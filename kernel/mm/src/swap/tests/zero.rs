//! Contents: what is written, marked as zero, and read back.

use super::*;

#[test]
fn data_comes_back() {
    let (memory, writes) = with_swap(16, 1024);
    let folio = folio(&memory, 4);
    fill(&memory, &folio, 0xa5);
    let entry = swap_out(&memory, folio, 1);
    assert_eq!(*writes.lock().unwrap(), [(entry.slot as usize, 16)]);
    assert_eq!(memory.swap.zero_run(entry, 16), Some(false));
    // Page by page, then as one.
    for page in [0, 7, 15] {
        let one = swap_in(&memory, entry.advance(page), 0);
        assert_eq!(bytes(&memory, &one, 0), [0xa5, page as u8]);
        assert!(!one.is_dirty());
        memory.swap.remove_from_cache(&one);
        assert!(one.put(1).is_none());
    }
    let all = swap_in(&memory, entry, 4);
    assert!((0..16).all(|page| bytes(&memory, &all, page) == [0xa5, page as u8]));
    memory.swap.put(&all, 0, 16);
    assert!(memory.swap.free_if_unused(&all));
    assert_eq!(memory.swap.free_count(), 1023);
}

/// T-S-24, T-I-8: nothing is written or read of a folio that is zero.
#[test]
fn t_s_24_t_i_8_a_zero_folio_is_marked_instead_of_written() {
    let (memory, writes) = with_swap(16, 1024);
    let entry = swap_out(&memory, folio(&memory, 4), 1);
    assert!(writes.lock().unwrap().is_empty());
    assert_eq!(memory.swap.zero_run(entry, 16), Some(true));
    assert_eq!(memory.count().pages_zero_marked.get(), 16);
    memory.inject.arm(Point::DeviceRead, 0, crate::inject::Times::Always);
    let fresh = fresh(&memory, 4);
    fill(&memory, &fresh, 0xff);
    let folio = memory.swap.add_to_cache(&memory, entry, fresh).unwrap();
    memory.swap.read_in(&memory, &folio).unwrap();
    assert!(memory.door.pages_are_zero(folio.head(), 16));
}

#[test]
fn one_byte_in_the_last_page_makes_a_folio_not_zero() {
    let (memory, writes) = with_swap(16, 1024);
    let folio = folio(&memory, 4);
    memory.door.write_bytes(folio.page(15).start().add_bytes(4095), &[1]);
    swap_out(&memory, folio, 1);
    assert_eq!(writes.lock().unwrap().len(), 1);
}

/// M37, reference 4.8: a zero mark does not outlive the slot's use.
#[test]
fn m37_zero_marks_go_when_slots_are_used_again() {
    let (memory, _) = with_swap(16, 512);
    let mut starts = Vec::new();
    for byte in [0, 0xee] {
        let mut entries = Vec::new();
        while memory.swap.free_count() > 15 {
            let folio = folio(&memory, 4);
            fill(&memory, &folio, byte);
            if byte == 0 {
                memory.door.clear_pages(folio.head(), 16);
            }
            entries.push(swap_out(&memory, folio, 1));
        }
        for &entry in &entries {
            assert_eq!(memory.swap.zero_run(entry, 16), Some(byte == 0));
            let folio = swap_in(&memory, entry, 4);
            assert_eq!(bytes(&memory, &folio, 3)[0], byte);
            memory.swap.put(&folio, 0, 16);
            assert!(memory.swap.free_if_unused(&folio));
            free(&memory, folio.unlock().put(1).unwrap());
        }
        entries.sort();
        starts.push(entries);
    }
    assert_eq!(starts[0], starts[1]);
}

/// The same for a folio that kept its slots between two writes.
#[test]
fn zero_marks_follow_what_was_written_last() {
    let (memory, writes) = with_swap(16, 512);
    let folio = folio(&memory, 4);
    memory.swap.alloc(&memory, &folio).unwrap();
    let entry = folio.swap_entry(0);
    assert_eq!(memory.swap.write_out(&memory, &folio), Ok(Written::Zero));
    assert!(!folio.is_dirty());
    fill(&memory, &folio, 3);
    assert_eq!(memory.swap.write_out(&memory, &folio), Ok(Written::Device));
    assert_eq!(memory.swap.zero_run(entry, 16), Some(false));
    memory.door.clear_pages(folio.head(), 16);
    assert_eq!(memory.swap.write_out(&memory, &folio), Ok(Written::Zero));
    assert_eq!((memory.swap.zero_run(entry, 16), writes.lock().unwrap().len()), (Some(true), 1));
}

#[test]
fn marks_that_differ_are_no_run() {
    let (memory, _) = with_swap(16, 512);
    let zero = swap_out(&memory, folio(&memory, 0), 1);
    let data = folio(&memory, 0);
    fill(&memory, &data, 9);
    let data = swap_out(&memory, data, 1);
    assert_eq!(data.slot, zero.slot + 1);
    assert_eq!(memory.swap.zero_run(zero, 2), None);
    assert_eq!((memory.swap.zero_run(zero, 1), memory.swap.zero_run(data, 1)), (Some(true), Some(false)));
}

#[test]
fn a_device_that_fails_leaves_the_folio_dirty() {
    let (memory, _) = with_swap(16, 512);
    let folio = folio(&memory, 4);
    fill(&memory, &folio, 1);
    memory.swap.alloc(&memory, &folio).unwrap();
    memory.inject.fail(Point::DeviceWrite, 0);
    assert_eq!(memory.swap.write_out(&memory, &folio), Err(SwapError));
    assert!(folio.is_dirty());
    assert_eq!(memory.swap.write_out(&memory, &folio), Ok(Written::Device));
    assert!(!folio.is_dirty());
    memory.inject.fail(Point::DeviceRead, 0);
    assert_eq!(memory.swap.read_in(&memory, &folio), Err(SwapError));
}
