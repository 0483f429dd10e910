//! The extents of an anon_vma that have some pages, one after the other in their order.

use core::ops::Range;

use mmu::VirtAddr;

use super::{Extent, Extents, Key, Link};

/// The extents that have any of some pages.
#[derive(Debug)]
pub struct At<'a> {
    extents: &'a Extents,
    pages: Range<u64>,
    last: Option<&'a Extent>,
    later: Later,
}

impl<'a> At<'a> {
    #[inline(always)]
    pub(super) fn new(extents: &'a Extents, pages: Range<u64>) -> Self {
        Self { extents, pages, last: None, later: Later::default() }
    }

    /// The next one: most often that right behind the last, as the spaces of one family have the same pages.
    #[inline(never)]
    fn after(&mut self, last: &Extent) -> Option<&'a Extent> {
        if self.later.is_empty() {
            self.later.look(self.extents, last.key());
        }
        let (node, next) = self.extents.get(self.later.pop())?;
        if next.pgoff >= self.pages.end {
            return None;
        }
        if next.has_any(&self.pages) {
            self.later.push_left(self.extents, node.right);
            return Some(next);
        }
        self.later = Later::default();
        self.extents.first_after(self.extents.root, next.key(), &self.pages)
    }
}

impl<'a> Iterator for At<'a> {
    type Item = (&'a Extent, (VirtAddr, VirtAddr));

    // Most folios have one extent, which is found without a call.
    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        let extent = match self.last {
            None => self.extents.first(self.extents.root, &self.pages)?,
            Some(last) => self.after(last)?,
        };
        self.last = Some(extent);
        Some((extent, extent.addresses(&self.pages)))
    }
}

/// Nodes that come after the one a search has come to, the next one last, each with all that is right of it: as many as there is room
/// for, the nearest. When none is left the next is looked for from the top.
#[derive(Debug, Default)]
struct Later {
    nodes: [Link; 16],
    count: usize,
}

impl Later {
    fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// From the top down, the nodes after this key that are not right of another.
    fn look(&mut self, extents: &Extents, key: Key) {
        let mut tree = extents.root;
        while let Some((node, extent)) = extents.get(tree) {
            if extent.key() > key {
                self.push(tree);
                tree = node.left;
            } else {
                tree = node.right;
            }
        }
    }

    /// The first of a tree, and those above it.
    fn push_left(&mut self, extents: &Extents, mut tree: Link) {
        while let Some((node, _)) = extents.get(tree) {
            self.push(tree);
            tree = node.left;
        }
    }

    fn push(&mut self, node: Link) {
        if self.count == self.nodes.len() {
            self.nodes.rotate_left(1);
            self.count -= 1;
        }
        self.nodes[self.count] = node;
        self.count += 1;
    }

    fn pop(&mut self) -> Link {
        self.count = self.count.checked_sub(1)?;
        self.nodes[self.count]
    }
}
