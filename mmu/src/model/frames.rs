//! What each frame is used for, and how many translations lead to it.

extern crate alloc;

use alloc::boxed::Box;
use alloc::vec;

use crate::addr::Pfn;
use crate::fact::Role;

/// One frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub(super) role: Role,
    /// Its table, if it is one: an index into the tables, plus one.
    pub(super) table: u32,
    /// Valid pages and blocks that map it now.
    pub(super) mapped: u32,
    /// Pages of replaced entries that some CPU may still hold.
    pub(super) held: u32,
}

/// All frames.
#[derive(Debug)]
pub(super) struct Frames {
    first: u64,
    frames: Box<[Frame]>,
}

impl Frames {
    pub(super) fn new(first: Pfn, count: usize) -> Self {
        let free = Frame { role: Role::Unknown, table: 0, mapped: 0, held: 0 };
        Self { first: first.as_u64(), frames: vec![free; count].into_boxed_slice() }
    }

    /// The frame, if it is memory of this machine.
    #[inline]
    pub(super) fn get(&self, frame: Pfn) -> Option<&Frame> {
        self.frames.get(frame.as_u64().wrapping_sub(self.first) as usize)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, frame: Pfn) -> Option<&mut Frame> {
        self.frames.get_mut(frame.as_u64().wrapping_sub(self.first) as usize)
    }

    /// Changes how many valid entries map each of `count` frames.
    #[inline]
    pub(super) fn add_mapped(&mut self, first: Pfn, count: usize, by: i32) {
        for page in 0..count {
            if let Some(frame) = self.get_mut(first.add(page)) {
                frame.mapped = frame.mapped.wrapping_add_signed(by);
            }
        }
    }

    /// Changes how many replaced entries lead to each of `count` frames.
    #[inline]
    pub(super) fn add_held(&mut self, first: Pfn, count: usize, by: i32) {
        for page in 0..count {
            if let Some(frame) = self.get_mut(first.add(page)) {
                frame.held = frame.held.wrapping_add_signed(by);
            }
        }
    }
}
