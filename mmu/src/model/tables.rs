//! Table pages: what the door has stored in each, and where in the address space each one stands.

extern crate alloc;

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

use super::MAX_CPUS;
use super::entry::{maps, pages_of};
use crate::addr::{Asid, ENTRIES, Pfn, PhysAddr, VirtAddr, level_shift};
use crate::descriptor::Descriptor;

/// The index of a table.
pub(super) type TableId = u32;
/// No table.
pub(super) const NO_TABLE: TableId = u32::MAX;

/// Everything of a table but its entries.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    pub(super) frame: Pfn,
    pub(super) level: u8,
    /// The table whose entry leads here, also while that entry may only be cached.
    parent: TableId,
    place: u16,
    /// Replaced entries that led here and may be cached.
    pub(super) walks: u32,
    /// The ASID that a root last ran under.
    pub(super) asid: Asid,
    /// By CPU: the last event of that one after which an entry that it had taken out or changed was held by nobody: one below a root, or
    /// of a table that nothing leads to.
    pub(super) changed_unheld: [u64; MAX_CPUS],
    /// The CPU that holds its lock, plus one; 0 for none.
    pub(super) locked: u8,
    /// By CPU: the last event of that one which whoever released the lock had observed.
    pub(super) released: [u64; MAX_CPUS],
    used: bool,
}

const UNUSED: Node = Node {
    frame: Pfn::new(0),
    level: 0,
    parent: NO_TABLE,
    place: 0,
    walks: 0,
    asid: Asid::RESERVED,
    changed_unheld: [0; MAX_CPUS],
    locked: 0,
    released: [0; MAX_CPUS],
    used: false,
};

/// Where an entry stands: under which root, for which address.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) root: TableId,
    pub(super) address: VirtAddr,
}

/// All tables.
#[derive(Debug)]
pub(super) struct Tables {
    nodes: Box<[Node]>,
    free: Vec<TableId>,
    /// What the door has stored, and hardware updated as far as that was seen.
    entries: Box<[u64]>,
    /// Under a table's lock: the last valid value that each entry lost, 0 where it lost none.
    taken: Box<[u64]>,
    /// Which of `taken` are set, so that a lock need not clear what was never used: one bit a block of 16.
    touched: Box<[u32]>,
}

/// Entries that one bit of `touched` stands for.
const TOUCHED_UNIT: usize = ENTRIES / u32::BITS as usize;

impl Tables {
    pub(super) fn new(room: usize) -> Self {
        Self {
            nodes: vec![UNUSED; room].into_boxed_slice(),
            free: (0..room as TableId).rev().collect(),
            entries: vec![0; room * ENTRIES].into_boxed_slice(),
            taken: vec![0; room * ENTRIES].into_boxed_slice(),
            touched: vec![0; room].into_boxed_slice(),
        }
    }

    /// A new table, empty; `None` if there is no room.
    pub(super) fn add(&mut self, frame: Pfn, level: u8) -> Option<TableId> {
        let id = self.free.pop()?;
        self.nodes[id as usize] = Node { frame, level, used: true, ..UNUSED };
        self.entries_mut(id).fill(0);
        self.forget_taken(id);
        Some(id)
    }

    /// Gives a table up.
    pub(super) fn remove(&mut self, id: TableId) {
        if core::mem::replace(&mut self.nodes[id as usize], UNUSED).used {
            self.free.push(id);
        }
    }

    #[inline]
    pub(super) fn node(&self, id: TableId) -> &Node {
        &self.nodes[id as usize]
    }

    #[inline]
    pub(super) fn node_mut(&mut self, id: TableId) -> &mut Node {
        &mut self.nodes[id as usize]
    }

    /// Says that entry `place` of `parent` leads to `child`. False if another one does too.
    #[must_use]
    pub(super) fn link(&mut self, child: TableId, parent: TableId, place: usize) -> bool {
        let is_moved = (self.node(child).parent, usize::from(self.node(child).place)) != (parent, place);
        let alone = !(is_moved && self.is_linked(child));
        let child = self.node_mut(child);
        (child.parent, child.place) = (parent, place as u16);
        alone
    }

    /// Whether the entry that led to a table last does so still.
    pub(super) fn is_linked(&self, id: TableId) -> bool {
        self.parent_entry(id).is_some_and(|entry| entry.is_table() && entry.address() == self.node(id).frame.start())
    }

    /// Whether entries lead from a root to a table.
    pub(super) fn is_reachable(&self, id: TableId) -> bool {
        self.node(id).level == 0 || (self.is_linked(id) && self.is_reachable(self.node(id).parent))
    }

    /// A replaced entry that led to a table may be cached no more.
    pub(super) fn forget_walk(&mut self, table: Option<TableId>) {
        let Some(id) = table else { return };
        self.node_mut(id).walks -= 1;
        self.part(id);
    }

    /// A table that no walk can come to any more, unless an entry leads there again, stands nowhere.
    pub(super) fn part(&mut self, id: TableId) {
        if self.node(id).walks == 0 && !self.is_linked(id) {
            self.node_mut(id).parent = NO_TABLE;
        }
    }

    /// Below a root, or in a table that stands nowhere, an entry was changed by this event of `cpu`, and nobody holds it as it was.
    pub(super) fn note_unheld(&mut self, id: TableId, cpu: usize, event: u64) {
        if let Some(node) = self.nodes.get_mut(id as usize) {
            node.changed_unheld[cpu] = node.changed_unheld[cpu].max(event);
        }
    }

    #[inline]
    pub(super) fn entry(&self, id: TableId, index: usize) -> Descriptor {
        Descriptor::from_bits(self.entries[id as usize * ENTRIES + index])
    }

    #[inline]
    pub(super) fn set_entry(&mut self, id: TableId, index: usize, entry: Descriptor) {
        self.entries[id as usize * ENTRIES + index] = entry.bits();
    }

    fn entries_mut(&mut self, id: TableId) -> &mut [u64] {
        &mut self.entries[id as usize * ENTRIES..][..ENTRIES]
    }

    /// The last valid value that the entry lost since its table was locked; none if it lost none.
    #[inline]
    pub(super) fn taken(&self, id: TableId, index: usize) -> Descriptor {
        Descriptor::from_bits(self.taken[id as usize * ENTRIES + index])
    }

    #[inline]
    pub(super) fn set_taken(&mut self, id: TableId, index: usize, entry: Descriptor) {
        self.taken[id as usize * ENTRIES + index] = entry.bits();
        self.touched[id as usize] |= 1 << (index / TOUCHED_UNIT);
    }

    /// The entry that leads to a table, or led there last; `None` for one that was never linked.
    pub(super) fn parent_entry(&self, id: TableId) -> Option<Descriptor> {
        let node = self.node(id);
        (node.parent != NO_TABLE).then(|| self.entry(node.parent, usize::from(node.place)))
    }

    /// Whether `is` holds for an entry of any table, given by its index, that maps `frame` as a page or a block.
    pub(super) fn any_mapping(&self, frame: Pfn, is: impl Fn(TableId, usize) -> bool) -> bool {
        (0..self.nodes.len() as TableId).filter(|&id| self.node(id).used).any(|id| {
            let level = self.node(id).level;
            (0..ENTRIES).any(|index| {
                let entry = self.entry(id, index);
                let distance = frame.as_u64().wrapping_sub(entry.frame().as_u64());
                maps(level, entry) && distance < pages_of(level) as u64 && is(id, index)
            })
        })
    }

    /// The entries that lost a value since the table was locked.
    pub(super) fn all_taken(&self, id: TableId) -> impl Iterator<Item = usize> {
        let touched = self.touched[id as usize];
        let units = (0..u32::BITS as usize).filter(move |unit| touched & (1 << unit) != 0);
        let entries = units.flat_map(|unit| unit * TOUCHED_UNIT..(unit + 1) * TOUCHED_UNIT);
        entries.filter(move |&index| !self.taken(id, index).is_none())
    }

    pub(super) fn forget_taken(&mut self, id: TableId) {
        let touched = core::mem::take(&mut self.touched[id as usize]);
        for unit in (0..u32::BITS as usize).filter(|unit| touched & (1 << unit) != 0) {
            self.taken[id as usize * ENTRIES + unit * TOUCHED_UNIT..][..TOUCHED_UNIT].fill(0);
        }
    }

    /// Where entry `index` of a table stands; `None` if no root leads to it.
    #[inline]
    pub(super) fn place(&self, id: TableId, index: usize) -> Option<Place> {
        let mut node = self.node(id);
        let mut root = id;
        let mut address = (index as u64) << level_shift(node.level);
        while node.level > 0 {
            if node.parent == NO_TABLE {
                return None;
            }
            root = node.parent;
            let place = u64::from(node.place);
            node = self.node(root);
            address |= place << level_shift(node.level);
        }
        Some(Place { root, address: VirtAddr::new(address) })
    }
}

/// The table frame and the index of the entry at `address`.
pub(super) const fn split(address: PhysAddr) -> (Pfn, usize) {
    (address.frame(), (address.as_u64() as usize >> 3) & (ENTRIES - 1))
}
