//! Looking at translation tables: the walk of one address, and `pt`, the dump of a whole space with its runs merged.
//!
//! Works on any table through the door, so on a program's as well as on the kernel's own. A table that lies outside of memory is
//! reported and not followed: the walker is used on what may be broken.

use core::fmt::{self, Write};

use mmu::{CONT_PTES, Descriptor, Door, ENTRIES, PhysAddr, Table, VirtAddr, level_shift};

/// How tables are reached: the door, and which physical addresses are memory.
pub struct Tables<'a> {
    /// The door.
    pub door: &'a Door,
    /// Whether a table may lie there.
    pub is_memory: &'a dyn Fn(PhysAddr) -> bool,
}

/// The descriptors that a walk meets, from level 0 on.
#[derive(Clone, Copy, Debug)]
pub struct Walk {
    /// The address.
    pub address: VirtAddr,
    steps: [Descriptor; 4],
    count: usize,
}

impl Walk {
    /// The descriptors, from level 0 on. The last one is the leaf, or what stopped the walk.
    pub fn steps(&self) -> &[Descriptor] {
        &self.steps[..self.count]
    }

    /// The level of the last descriptor.
    pub const fn level(&self) -> u8 {
        self.count as u8 - 1
    }

    /// The page or block descriptor that maps the address.
    pub fn leaf(&self) -> Option<Descriptor> {
        let last = *self.steps().last()?;
        (last.is_valid() && (self.level() == 3 || !last.is_table())).then_some(last)
    }

    /// What the address translates to.
    pub fn physical(&self) -> Option<PhysAddr> {
        let inside = self.address.as_u64() & ((1 << level_shift(self.level())) - 1);
        self.leaf().map(|leaf| leaf.address().add_bytes(inside))
    }
}

impl Tables<'_> {
    /// Walks `address` from the level 0 table `root`.
    pub fn walk(&self, root: Table, address: VirtAddr) -> Walk {
        let mut walk = Walk { address, steps: [Descriptor::NONE; 4], count: 0 };
        let mut table = root;
        loop {
            let descriptor = self.entry(table, address);
            walk.steps[walk.count] = descriptor;
            walk.count += 1;
            match self.below(table, descriptor) {
                Some(next) => table = next,
                None => return walk,
            }
        }
    }

    /// Prints every mapping under `root`, whose first address is `base`: runs of equal, adjacent entries in one line.
    pub fn dump(&self, out: &mut dyn Write, root: Table, base: VirtAddr) -> fmt::Result {
        let mut run: Option<Run> = None;
        let mut result = Ok(());
        self.for_each_entry(root, base, &mut |address, level, first| {
            let next = Run { start: address, first, level, count: 1 };
            if !run.as_mut().is_some_and(|run| run.join(&next)) {
                let done = run.replace(next);
                result = result.and_then(|()| done.map_or(Ok(()), |done| writeln!(out, "{done}")));
            }
        });
        result.and_then(|()| run.map_or(Ok(()), |run| writeln!(out, "{run}")))
    }

    /// Calls `found` with the first address and the descriptor of each page and block under `root`.
    pub fn for_each_leaf(&self, root: Table, base: VirtAddr, found: &mut dyn FnMut(VirtAddr, Descriptor)) {
        self.for_each_entry(root, base, &mut |address, _, descriptor| {
            if descriptor.is_valid() {
                found(address, descriptor);
            }
        });
    }

    /// Calls `found` with address, level and descriptor of each entry that is not empty and leads to no other table.
    fn for_each_entry(&self, table: Table, base: VirtAddr, found: &mut dyn FnMut(VirtAddr, u8, Descriptor)) {
        for index in 0..ENTRIES {
            // Wraps only behind the last entry of all, which is not looked at any more.
            let address = VirtAddr::new(base.as_u64().wrapping_add((index as u64) << level_shift(table.level())));
            let descriptor = self.entry(table, address);
            match self.below(table, descriptor) {
                Some(next) => self.for_each_entry(next, address, found),
                None if descriptor.is_none() => {}
                None => found(address, table.level(), descriptor),
            }
        }
    }

    fn entry(&self, table: Table, address: VirtAddr) -> Descriptor {
        if table.level() == 3 {
            self.door.load(table.slot(address))
        } else {
            self.door.load_table(table.upper_slot(address))
        }
    }

    fn below(&self, table: Table, descriptor: Descriptor) -> Option<Table> {
        let leads_on = table.level() < 3 && descriptor.is_table() && (self.is_memory)(descriptor.address());
        leads_on.then(|| Table::new(descriptor.address(), table.level() + 1))
    }
}

impl fmt::Display for Walk {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "walk of {:#x}:", self.address.as_u64())?;
        for (level, &descriptor) in self.steps().iter().enumerate() {
            write!(out, "  level {level}, index {:3}: {:#018x}", self.address.index(level as u8), descriptor.bits())?;
            if level < 3 && descriptor.is_table() {
                writeln!(out, "  table at {:#x}", descriptor.address().as_u64())?;
            } else {
                writeln!(out, "  {}{}", Entry(descriptor), if descriptor.is_folded() { ", contiguous" } else { "" })?;
            }
        }
        match self.physical() {
            Some(physical) => writeln!(out, "  is physical address {:#x}", physical.as_u64()),
            None => writeln!(out, "  does not translate"),
        }
    }
}

/// Entries of one level that map adjacent addresses to adjacent memory with the same attributes.
struct Run {
    start: VirtAddr,
    first: Descriptor,
    level: u8,
    count: usize,
}

impl Run {
    /// Takes in `next` if it goes on where this run ends.
    fn join(&mut self, next: &Run) -> bool {
        let size = (self.count as u64) << level_shift(self.level);
        let goes_on = self.level == next.level
            && self.start.as_u64() + size == next.start.as_u64()
            && self.expected_bits() == Some(next.first.bits());
        self.count += usize::from(goes_on);
        goes_on
    }

    /// What the descriptor behind the run would have to be.
    fn expected_bits(&self) -> Option<u64> {
        let step = match self.first {
            first if first.is_present() => 1 << level_shift(self.level),
            first if first.is_marker() || first.is_lost() => 0,
            _ => mmu::NEXT_PAGE,
        };
        self.first.bits().checked_add(step * self.count as u64)
    }
}

impl fmt::Display for Run {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = (self.count as u64) << level_shift(self.level);
        let start = self.start.as_u64();
        write!(out, "{start:#018x}..{:#018x} {:>6} ", start.wrapping_add(size), Size(size))?;
        write!(out, "L{} x{:<5} {}", self.level, self.count, Entry(self.first))?;
        if self.first.is_folded() {
            let blocks = self.count / CONT_PTES;
            write!(out, ", {blocks} contiguous block{}", if blocks == 1 { "" } else { "s" })?;
        }
        Ok(())
    }
}

/// A leaf descriptor in words: who may do what, then its state.
struct Entry(Descriptor);

impl fmt::Display for Entry {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(entry) = *self;
        if entry.is_none() {
            return write!(out, "none");
        }
        if entry.is_marker() {
            return write!(out, "marker of userfaultfd");
        }
        if entry.is_lost() {
            return write!(out, "lost to who reserved it");
        }
        if !entry.is_present() {
            return write!(out, "swap entry {:#x}", entry.bits());
        }
        let bit = |place: u32| entry.bits() >> place & 1 == 1;
        let mark = |set: bool, sign: char| if set { sign } else { '-' };
        let (user, execute) = (entry.is_user(), if entry.is_user() { !bit(54) } else { !bit(53) });
        write!(out, "{:#x} {} ", entry.address().as_u64(), if user { "user" } else { "kernel" })?;
        let write = !entry.is_read_only() || entry.is_writable();
        write!(out, "{}{}{}", mark(entry.is_valid(), 'r'), mark(write, 'w'), mark(execute, 'x'))?;
        let state = [
            (entry.bits() >> 2 & 7 == 1, ", device"),
            (!entry.is_valid(), ", no access"),
            (entry.is_valid() && !entry.is_young(), ", old"),
            (user && entry.is_dirty(), ", dirty"),
            (entry.is_special(), ", special"),
            (entry.is_uffd(), ", uffd"),
        ];
        state.iter().filter(|(set, _)| *set).try_for_each(|(_, word)| out.write_str(word))
    }
}

/// A size in the biggest unit that divides it.
struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (shift, unit) = [(30, 'G'), (20, 'M'), (10, 'K')]
            .into_iter()
            .find(|&(shift, _)| self.0 & ((1 << shift) - 1) == 0)
            .unwrap_or((0, 'B'));
        // Padded by hand: the width is given for number and unit together.
        let width = out.width().unwrap_or(0).saturating_sub(1);
        write!(out, "{:>width$}{unit}", self.0 >> shift)
    }
}
