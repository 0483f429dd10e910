//! The extents of one anon_vma in the order of their pages, so that those which may map a folio are found without a look at the others:
//! an interval tree, as Linux keeps them, since a program can have tens of thousands of areas in one anon_vma.
//!
//! The tree is a treap: in order by key from left to right, and by priority from the top down, which keeps it about as flat as a
//! random one is. Each node knows how far the extents below it reach; a search passes over what ends before its first page. Nodes have
//! places in one list, so that those which go leave room for others, until most have gone: then the list is made anew.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::num::NonZeroU32;
use core::ops::Range;

use mmu::VirtAddr;

use crate::errno::Errno;
use crate::file::Backing;
use crate::space::Space;
use crate::vma::{Area, AreaFlags};

mod at;
#[cfg(test)]
mod tests;

pub use at::At;

/// An area of a space whose pages may belong to an anon_vma.
#[derive(Clone, Debug)]
pub struct Extent {
    /// The space.
    pub space: Arc<Space>,
    /// The first address.
    pub start: VirtAddr,
    /// One past the last.
    pub end: VirtAddr,
    /// The page offset of `start` in the anon_vma's linear space.
    pub pgoff: u64,
    /// The area's flags.
    pub flags: AreaFlags,
    /// What the area's pages come from.
    pub backing: Backing,
}

/// What tells extents apart, and their order: page offset, number of the space, first address.
type Key = (u64, u64, VirtAddr);

impl Extent {
    pub(super) fn of(space: &Arc<Space>, area: &Area) -> Self {
        let Area { start, end, pgoff, flags, backing, .. } = *area;
        Self { space: space.clone(), start, end, pgoff, flags, backing }
    }

    fn key(&self) -> Key {
        (self.pgoff, self.space.id(), self.start)
    }

    /// One past its last page offset.
    fn end_pgoff(&self) -> u64 {
        self.pgoff + self.end.page_number() - self.start.page_number()
    }

    fn has_any(&self, pages: &Range<u64>) -> bool {
        self.pgoff < pages.end && pages.start < self.end_pgoff()
    }

    /// The addresses of the pages of the anon_vma, some of which it has.
    fn addresses(&self, pages: &Range<u64>) -> (VirtAddr, VirtAddr) {
        let address = |pgoff: u64| self.start.add_pages((pgoff - self.pgoff) as usize);
        (address(pages.start.max(self.pgoff)), address(pages.end.min(self.end_pgoff())))
    }
}

/// The extents of one anon_vma.
#[derive(Debug, Default)]
pub struct Extents {
    nodes: Vec<Node>,
    root: Link,
    /// The first of the nodes without an extent; each has the next to its right.
    unused: Link,
    count: usize,
}

#[derive(Debug)]
struct Node {
    extent: Option<Extent>,
    /// The furthest end, in page offsets, of this extent and those below it.
    furthest: u64,
    left: Link,
    right: Link,
}

/// How many times as many nodes as there are extents a list has room for at most.
const SPARSE: usize = 4;

/// A node of the tree, by its place in the list, from 1 on.
type Link = Option<NonZeroU32>;

/// Which of two nodes is above the other: the one with the larger number, a scrambled place.
fn priority(place: NonZeroU32) -> u32 {
    let mixed = (place.get() ^ place.get() >> 16).wrapping_mul(0x85EB_CA6B);
    (mixed ^ mixed >> 13).wrapping_mul(0xC2B2_AE35)
}

impl Extents {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// All, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Extent> {
        self.nodes.iter().filter_map(|node| node.extent.as_ref())
    }

    /// Those that have any of `count` pages from page offset `index` on, in order, each with the addresses of these pages.
    #[inline]
    pub fn at(&self, index: u64, count: usize) -> At<'_> {
        At::new(self, index..index + count as u64)
    }

    /// The first extent of a tree that has any of the pages.
    #[inline]
    fn first(&self, mut tree: Link, pages: &Range<u64>) -> Option<&Extent> {
        while let Some((node, extent)) = self.get(tree) {
            if self.furthest(node.left) > pages.start {
                // If what reaches beyond the first page there starts behind the last, so does all that follows.
                tree = node.left;
            } else if extent.has_any(pages) {
                return Some(extent);
            } else {
                tree = node.right.filter(|_| extent.pgoff < pages.end);
            }
        }
        None
    }

    /// The first of a tree after this key that has any of the pages.
    fn first_after(&self, tree: Link, key: Key, pages: &Range<u64>) -> Option<&Extent> {
        let (node, extent) = self.get(tree).filter(|(node, _)| node.furthest > pages.start)?;
        if extent.key() <= key {
            return self.first_after(node.right, key, pages);
        }
        let before = self.first_after(node.left, key, pages);
        before.or(Some(extent).filter(|extent| extent.has_any(pages))).or_else(|| self.first(node.right, pages))
    }

    fn furthest(&self, tree: Link) -> u64 {
        self.get(tree).map_or(0, |(node, _)| node.furthest)
    }

    fn get(&self, link: Link) -> Option<(&Node, &Extent)> {
        let node = self.nodes.get(link?.get() as usize - 1)?;
        Some((node, node.extent.as_ref()?))
    }

    fn node(&mut self, place: NonZeroU32) -> &mut Node {
        &mut self.nodes[place.get() as usize - 1]
    }

    /// Makes sure that so many more can be inserted.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(super) fn reserve(&mut self, more: usize) -> Result<(), Errno> {
        let unused = self.nodes.len() - self.count;
        self.nodes.try_reserve(more.saturating_sub(unused)).map_err(|_| Errno::ENOMEM)
    }

    /// Adds one for which there is room.
    pub(super) fn insert(&mut self, extent: Extent) {
        let key = extent.key();
        if let Some(place) = self.place(extent) {
            self.root = self.insert_below(self.root, place, key);
            self.count += 1;
        }
    }

    /// A tree with one node more, which takes the place of those that are to be below it.
    fn insert_below(&mut self, tree: Link, place: NonZeroU32, key: Key) -> Link {
        let Some(top) = tree.filter(|&top| priority(top) > priority(place)) else {
            let (left, right) = self.split(tree, key);
            let node = self.node(place);
            (node.left, node.right) = (left, right);
            self.measure(place);
            return Some(place);
        };
        let (left, right) = self.get(tree).map_or((None, None), |(node, _)| (node.left, node.right));
        if self.get(tree).is_some_and(|(_, extent)| extent.key() < key) {
            self.node(top).right = self.insert_below(right, place, key);
        } else {
            self.node(top).left = self.insert_below(left, place, key);
        }
        self.measure(top);
        tree
    }

    /// Takes the extent of an area out, if it is there.
    pub(super) fn remove(&mut self, space: &Space, area: &Area) {
        let (before, rest) = self.split(self.root, (area.pgoff, space.id(), area.start));
        let (node, after) = self.split(rest, (area.pgoff, space.id(), area.start.add_bytes(1)));
        self.root = self.join(before, after);
        if let Some(place) = node {
            let unused = self.unused.replace(place);
            *self.node(place) = Node { extent: None, furthest: 0, left: None, right: unused };
            self.count -= 1;
        }
    }

    /// Gives memory back where most nodes have no extent any more, unless there is none for a smaller list just now. Before the next
    /// insertion room must be made again.
    pub(super) fn shrink(&mut self) {
        if self.nodes.capacity() <= SPARSE * self.count {
            return;
        }
        let mut smaller = Self::default();
        if smaller.reserve(self.count).is_ok() {
            core::mem::take(self).nodes.into_iter().filter_map(|node| node.extent).for_each(|it| smaller.insert(it));
            *self = smaller;
        }
    }

    /// A node for an extent, which is not in the tree yet.
    fn place(&mut self, extent: Extent) -> Link {
        let node = Node { furthest: extent.end_pgoff(), extent: Some(extent), left: None, right: None };
        let Some(place) = self.unused else {
            self.nodes.push(node);
            return NonZeroU32::new(self.nodes.len() as u32);
        };
        self.unused = self.node(place).right;
        *self.node(place) = node;
        Some(place)
    }

    /// Makes two trees of one: of what comes before `key`, and of the rest.
    fn split(&mut self, tree: Link, key: Key) -> (Link, Link) {
        let (Some(place), Some((node, extent))) = (tree, self.get(tree)) else { return (None, None) };
        let (left, right) = (node.left, node.right);
        let (before, after) = if extent.key() < key {
            let (inner, after) = self.split(right, key);
            self.node(place).right = inner;
            (tree, after)
        } else {
            let (before, inner) = self.split(left, key);
            self.node(place).left = inner;
            (before, tree)
        };
        self.measure(place);
        (before, after)
    }

    /// Makes one tree of two, of which all of the first comes before all of the second.
    fn join(&mut self, before: Link, after: Link) -> Link {
        let (Some(left), Some(right)) = (before, after) else { return before.or(after) };
        let top = if priority(left) > priority(right) {
            let inner = self.node(left).right;
            self.node(left).right = self.join(inner, after);
            left
        } else {
            let inner = self.node(right).left;
            self.node(right).left = self.join(before, inner);
            right
        };
        self.measure(top);
        Some(top)
    }

    /// How far a node reaches, from those right below it.
    fn measure(&mut self, place: NonZeroU32) {
        let Some((node, extent)) = self.get(Some(place)) else { return };
        let below = self.furthest(node.left).max(self.furthest(node.right));
        let furthest = below.max(extent.end_pgoff());
        self.node(place).furthest = furthest;
    }
}
