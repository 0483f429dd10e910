//! What memory management knows and hardware does not say: told to the door, so that a model behind it can judge what is done. In a
//! kernel without the checker it compiles to nothing, except that the kernel announces its tables: see [`Role`].

use crate::addr::Pfn;
use crate::descriptor::Descriptor;
use crate::slot::Slot;

/// What a frame is used for.
///
/// An observer outside is told which frames are tables, so that it can see for itself what is done to them: `hint #0x66` followed at
/// once by a load from the page says that it is one from now on, `hint #0x67` and a load that it is one no longer. These loads are not
/// counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Nobody was told yet.
    Unknown,
    /// Given back: on a free list.
    Freed,
    /// A table page of this level.
    Table {
        /// 0 to 3.
        level: u8,
    },
    /// Memory of a program.
    Folio,
}

/// What a program does with an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// A load.
    Read,
    /// A store.
    Write,
    /// An instruction fetch.
    Execute,
}

/// An operation of memory management, as a whole: when it is over, what it took away is held by nobody.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    /// Resolving a fault.
    Fault,
    /// mmap, brk upwards.
    Map,
    /// munmap, brk downwards.
    Unmap,
    /// mprotect.
    Protect,
    /// mremap.
    Move,
    /// madvise.
    Advise,
    /// Reclaim of isolated folios.
    Reclaim,
    /// The end of a space.
    Exit,
    /// fork: a space shares its pages with a copy of itself.
    Fork,
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Fault,
        Self::Map,
        Self::Unmap,
        Self::Protect,
        Self::Move,
        Self::Advise,
        Self::Reclaim,
        Self::Exit,
        Self::Fork,
    ];

    /// Its name, as scenarios have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fault => "fault",
            Self::Map => "mmap",
            Self::Unmap => "munmap",
            Self::Protect => "mprotect",
            Self::Move => "mremap",
            Self::Advise => "madvise",
            Self::Reclaim => "reclaim",
            Self::Exit => "exit",
            Self::Fork => "fork",
        }
    }

    /// Whether it takes an entry that is not present for one that no TLB holds, so that it has to complete deferred flushes first (rule
    /// MS-41).
    pub const fn relies_on_absence(self) -> bool {
        matches!(self, Self::Map | Self::Unmap | Self::Protect | Self::Move | Self::Advise | Self::Exit)
    }
}

/// A fact.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fact {
    /// `count` frames from here on now have this role.
    FrameRole(Pfn, usize, Role),
    /// The kernel reads these frames, relying on nobody writing them any more.
    DataRead(Pfn, usize),
    /// An operation begins.
    Begin(Operation),
    /// It is over: its flushes are complete.
    End(Operation),
    /// The lock of a last-level table was taken.
    Lock(Pfn),
    /// It is about to be released.
    Unlock(Pfn),
    /// `count` entries from here on are about to be treated as one.
    Batch(Slot, usize),
    /// `count` entries from here on, which were cleared, stay empty: their pages were given up, or are in a file. Whether that is right
    /// even if they were written since.
    Discard(Slot, usize, bool),
    /// A fault for this access at this entry is resolved.
    Resolved(Slot, Access),
    /// This CPU, as long as it holds the lock, relies on no CPU raising a TLB conflict abort.
    NoAbort,
    /// A read of an entry without its table's lock begins.
    SnapshotBegin(Slot),
    /// It returns this value.
    SnapshotEnd(Slot, Descriptor),
    /// From here on this CPU runs the task of this number. The operations of the one before stay under way, and are its own.
    Task(u64),
    /// Something went wrong that could be mended on the spot.
    Defect(&'static str),
}
