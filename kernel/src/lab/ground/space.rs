//! A space of one table for the checks: they are about what memory management stands on, so it is made by hand, of frames that stay
//! taken.

use mmu::{Asid, Cause, Descriptor, Door, Dsb, PAGE_SIZE, Pfn, PhysAddr, Protection, Scope, Table, TlbOp, VirtAddr};

use crate::machine::machine;

/// Where its pages are: in the 2 MiB that one last-level table maps.
pub(super) const BASE: u64 = 0x40_0000;
/// Pages that it has: code, constants (read-only), data, and one that is not mapped at first.
pub(super) const PAGES: usize = 4;
/// The page that is not mapped at first.
pub(super) const ABSENT: u64 = BASE + 3 * PAGE_SIZE;
/// A data page that is mapped, and its end: behind it is [`ABSENT`].
pub(super) const DATA: u64 = BASE + 2 * PAGE_SIZE;
pub(super) const CONSTANTS: u64 = BASE + PAGE_SIZE;

const ASID: Asid = Asid::new(1);
const RX: Protection = Protection { read: true, write: false, execute: true };
const RO: Protection = Protection { read: true, write: false, execute: false };
const RW: Protection = Protection { read: true, write: true, execute: false };

/// Active as long as it exists; the pages stay taken until the machine stops, so there is one for all checks.
pub(super) struct Space {
    door: Door,
    root: Table,
    leaf: Table,
    frames: [Pfn; PAGES],
}

impl Space {
    /// Makes the space with `code` in its first page, and activates it.
    pub(super) fn new(code: &[u8]) -> Self {
        // SAFETY: boot and `kernel_main` have set up all that the door needs.
        let door = unsafe { Door::open() };
        let [root, upper, middle, leaf] = [0, 1, 2, 3].map(|level| door.new_table(page(), level));
        let address = VirtAddr::new(BASE);
        for (table, below) in [(root, upper), (upper, middle), (middle, leaf)] {
            door.swap_table(table.upper_slot(address), Descriptor::table(below.address()));
        }
        let frames = [(); PAGES].map(|()| page().frame());
        let space = Self { door, root, leaf, frames };
        frames.iter().for_each(|&frame| space.door.clear_pages(frame, 1));
        space.door.write_bytes(frames[0].start(), code);
        space.door.sync_instructions(frames[0], 1);
        for (index, protection) in [RX, RO, RW].into_iter().enumerate() {
            space.map(index, protection);
        }
        space.door.activate(root, ASID);
        space
    }

    /// Maps page `index`.
    pub(super) fn map(&self, index: usize, protection: Protection) {
        let address = VirtAddr::new(BASE).add_pages(index);
        let page = Descriptor::user_page(self.frames[index], protection).make_young();
        let page = if protection.write { page.make_dirty() } else { page };
        self.door.store(self.leaf.slot(address), page);
        self.door.dsb(Dsb::IshSt);
        self.door.isb();
    }

    /// Maps [`ABSENT`] for reading and writing.
    pub(super) fn map_absent(&self) {
        self.map(3, RW);
    }

    /// Takes page `index` away.
    pub(super) fn unmap(&self, index: usize) {
        let address = VirtAddr::new(BASE).add_pages(index);
        self.door.swap(self.leaf.slot(address), Descriptor::NONE);
        self.flush();
    }

    /// The contents of page `index`.
    pub(super) fn bytes(&self, index: usize) -> [u8; PAGE_SIZE as usize] {
        let mut bytes = [0; PAGE_SIZE as usize];
        self.door.read_bytes(self.frames[index].start(), &mut bytes);
        bytes
    }

    fn flush(&self) {
        self.door.dsb(Dsb::IshSt);
        self.door.invalidate(TlbOp::asid(ASID, Scope::Broadcast), Cause::Test);
        self.door.dsb(Dsb::Ish);
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        self.door.activate(machine().info.empty_root, Asid::RESERVED);
        self.flush();
        self.door.free_table(self.root);
    }
}

/// A page of memory, for good.
fn page() -> PhysAddr {
    crate::memory().frames.alloc_table().expect("memory for a check")
}
