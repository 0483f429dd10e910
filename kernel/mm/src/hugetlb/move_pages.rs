//! mremap of huge pages: entries move to other addresses of their space (reference 4.17).

use alloc::sync::Arc;
use alloc::vec::Vec;

use mmu::{Cause, VirtAddr};

use super::HugeSlot;
use crate::errno::Errno;
use crate::memory::Memory;
use crate::space::Space;
use crate::tlb::Gather;
use crate::vma::Area;

/// Moves the huge pages of `length` bytes from `from` on, in `area`, to `to`. The areas are locked for writing. No
/// two tables are locked at once: nobody can look for a page while its anon_vmas are held, which they are until the old addresses are
/// flushed (rule MS-42).
///
/// # Errors
/// `ENOMEM` if a table page can not be had, with nothing moved.
pub(crate) fn move_pages(
    memory: &Memory,
    space: &Arc<Space>,
    area: &Area,
    (from, to, length): (VirtAddr, VirtAddr, u64),
) -> Result<(), Errno> {
    let Some(size) = area.huge() else { return Ok(()) };
    let steps = || (0..length).step_by(size.bytes() as usize).map(|done| (from.add_bytes(done), to.add_bytes(done)));
    let is_used = |start| HugeSlot::lock(memory, space, size, start).is_some_and(|slot| !slot.get().is_none());
    for (_, to) in steps().filter(|&(from, _)| is_used(from)) {
        drop(HugeSlot::lock_new(memory, space, size, to)?);
    }
    let family = memory.anon.family(area, &memory.files)?;
    let mut held = Vec::new();
    held.try_reserve_exact(family.len()).map_err(|_| Errno::ENOMEM)?;
    held.extend(family.iter().map(|anon| anon.hold()));
    let mut gather = Gather::new(memory, space, Cause::Move);
    for (from, to) in steps() {
        let taken = HugeSlot::lock(memory, space, size, from).map(|slot| slot.clear());
        let Some(entry) = taken.filter(|entry| !entry.is_none()) else { continue };
        if entry.is_valid() {
            gather.add_huge(from, size);
        }
        if let Some(slot) = HugeSlot::lock(memory, space, size, to) {
            slot.set(entry);
        }
    }
    gather.finish();
    drop(held);
    Ok(())
}
