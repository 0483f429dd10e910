//! A reader of flattened device trees (Devicetree Specification, chapter 5): no allocation, no copy, every length checked.
//!
//! It walks the structure block anew for each question; a boot asks a dozen.

/// First word of a device tree blob.
pub const MAGIC: u32 = 0xd00d_feed;

const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROPERTY: u32 = 3;
const NOP: u32 = 4;

/// Deepest nesting that is followed.
const MAX_DEPTH: usize = 16;

/// A device tree whose header has been checked.
#[derive(Clone, Copy)]
pub struct Fdt<'a> {
    structure: &'a [u8],
    strings: &'a [u8],
    reservations: &'a [u8],
    total_size: usize,
}

/// Why a blob is not a device tree.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Malformed {
    /// The first word is not the magic number.
    Magic,
    /// The header is of a version this reader does not know, or points outside the blob.
    Header,
}

/// A node: its name with the unit address, its properties, and how many cells its children's `reg` has.
#[derive(Clone, Copy)]
pub struct Node<'a> {
    /// The name, such as `pl011@9000000`; empty for the root.
    pub name: &'a str,
    /// Levels below the root.
    pub depth: usize,
    fdt: Fdt<'a>,
    /// Just behind the name in the structure block.
    offset: usize,
    cells: Cells,
}

/// `#address-cells` and `#size-cells` that hold for a node's `reg`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Cells {
    address: usize,
    size: usize,
}

/// What the specification says holds without the properties.
const DEFAULT_CELLS: Cells = Cells { address: 2, size: 1 };

impl<'a> Fdt<'a> {
    /// The size that the blob's header states, if it begins with the magic number.
    pub fn stated_size(header: &[u8]) -> Result<usize, Malformed> {
        match (word(header, 0), word(header, 4)) {
            (Some(MAGIC), Some(size)) => Ok(size as usize),
            _ => Err(Malformed::Magic),
        }
    }

    /// Checks the header of `blob`.
    ///
    /// # Errors
    /// [`Malformed`], by what is wrong.
    pub fn new(blob: &'a [u8]) -> Result<Self, Malformed> {
        let total_size = Self::stated_size(blob)?;
        let blob = blob.get(..total_size).ok_or(Malformed::Header)?;
        let field = |offset| word(blob, offset).map(|value| value as usize).ok_or(Malformed::Header);
        // Version 17 is the one that QEMU, U-Boot and Linux write; a reader of it must be told it is compatible with 16.
        if field(24)? > 17 || field(20)? < 17 {
            return Err(Malformed::Header);
        }
        let part = |start: usize, length: usize| {
            start.checked_add(length).and_then(|end| blob.get(start..end)).ok_or(Malformed::Header)
        };
        Ok(Self {
            structure: part(field(8)?, field(36)?)?,
            strings: part(field(12)?, field(32)?)?,
            reservations: blob.get(field(16)?..).ok_or(Malformed::Header)?,
            total_size,
        })
    }

    /// Bytes of the whole blob.
    pub const fn total_size(&self) -> usize {
        self.total_size
    }

    /// Every node, parents before their children.
    pub fn nodes(&self) -> Nodes<'a> {
        Nodes { fdt: *self, offset: 0, depth: 0, cells: [DEFAULT_CELLS; MAX_DEPTH] }
    }

    /// The node at `path`, such as `/chosen`; parts of a path without a unit address fit any.
    pub fn find(&self, path: &str) -> Option<Node<'a>> {
        let mut parts = path.split('/').filter(|part| !part.is_empty());
        let mut wanted = parts.next();
        let mut depth = 1;
        let mut last = self.nodes().next()?;
        for node in self.nodes().skip(1) {
            let Some(part) = wanted else { break };
            if node.depth < depth {
                return None;
            }
            if node.depth == depth && node.is_named(part) {
                last = node;
                depth += 1;
                wanted = parts.next();
            }
        }
        wanted.is_none().then_some(last)
    }

    /// The first node that is compatible with `name`.
    pub fn compatible(&self, name: &str) -> Option<Node<'a>> {
        self.nodes().find(|node| node.is_compatible(name))
    }

    /// The memory reservation block: address and size pairs.
    pub fn reservations(&self) -> impl Iterator<Item = (u64, u64)> + use<'a> {
        let block = self.reservations;
        (0..)
            .map_while(move |index| Some((double(block, index * 16)?, double(block, index * 16 + 8)?)))
            .take_while(|&pair| pair != (0, 0))
    }

    fn string(&self, offset: usize) -> Option<&'a str> {
        text(self.strings.get(offset..)?)
    }
}

impl<'a> Node<'a> {
    /// The value of a property.
    pub fn property(&self, name: &str) -> Option<&'a [u8]> {
        let mut offset = self.offset;
        loop {
            match step(self.fdt, &mut offset)? {
                Token::Property(found, value) if found == name => return Some(value),
                Token::Property(..) | Token::Nop => {}
                Token::Begin(_) | Token::End => return None,
            }
        }
    }

    /// A property that holds one string.
    pub fn string(&self, name: &str) -> Option<&'a str> {
        text(self.property(name)?)
    }

    /// A property that holds a number of 4 or 8 bytes.
    pub fn number(&self, name: &str) -> Option<u64> {
        let value = self.property(name)?;
        match value.len() {
            4 => word(value, 0).map(u64::from),
            8 => double(value, 0),
            _ => None,
        }
    }

    /// Whether the name, with or without its unit address, is `name`.
    pub fn is_named(&self, name: &str) -> bool {
        self.name == name || self.name.split('@').next() == Some(name)
    }

    /// Whether one of the `compatible` strings is `name`.
    pub fn is_compatible(&self, name: &str) -> bool {
        self.property("compatible")
            .is_some_and(|list| list.split(|&byte| byte == 0).any(|item| item == name.as_bytes()))
    }

    /// The (address, size) pairs of `reg`.
    pub fn reg(&self) -> impl Iterator<Item = (u64, u64)> + use<'a> {
        let value = self.property("reg").unwrap_or(&[]);
        let Cells { address, size } = self.cells;
        let length = 4 * (address + size).max(1);
        value.chunks_exact(length).map(move |entry| (cells(entry, 0, address), cells(entry, address, size)))
    }
}

/// See [`Fdt::nodes`].
pub struct Nodes<'a> {
    fdt: Fdt<'a>,
    offset: usize,
    depth: usize,
    /// For each depth, the cells that its node gives to its children.
    cells: [Cells; MAX_DEPTH],
}

impl<'a> Iterator for Nodes<'a> {
    type Item = Node<'a>;

    fn next(&mut self) -> Option<Node<'a>> {
        loop {
            match step(self.fdt, &mut self.offset)? {
                Token::Begin(name) => return self.enter(name),
                Token::End => self.depth = self.depth.checked_sub(1)?,
                Token::Property(..) | Token::Nop => {}
            }
        }
    }
}

impl<'a> Nodes<'a> {
    fn enter(&mut self, name: &'a str) -> Option<Node<'a>> {
        let depth = self.depth;
        let cells = if depth == 0 { DEFAULT_CELLS } else { self.cells[depth - 1] };
        let node = Node { name, depth, fdt: self.fdt, offset: self.offset, cells };
        if depth >= MAX_DEPTH {
            return None;
        }
        let count = |name, otherwise| node.number(name).map_or(otherwise, |value| value.min(2) as usize);
        self.cells[depth] = Cells {
            address: count("#address-cells", DEFAULT_CELLS.address),
            size: count("#size-cells", DEFAULT_CELLS.size),
        };
        self.depth += 1;
        Some(node)
    }
}

enum Token<'a> {
    Begin(&'a str),
    End,
    Property(&'a str, &'a [u8]),
    Nop,
}

/// The token at `offset`, which then stands at the next one. `None` at the end and where the block is malformed.
fn step<'a>(fdt: Fdt<'a>, offset: &mut usize) -> Option<Token<'a>> {
    let block = fdt.structure;
    let token = word(block, *offset)?;
    let body = *offset + 4;
    match token {
        BEGIN_NODE => {
            let name = text(block.get(body..)?)?;
            *offset = (body + name.len() + 1).next_multiple_of(4);
            Some(Token::Begin(name))
        }
        END_NODE => {
            *offset = body;
            Some(Token::End)
        }
        PROPERTY => {
            let length = word(block, body)? as usize;
            let name = fdt.string(word(block, body + 4)? as usize)?;
            let value = block.get(body + 8..(body + 8).checked_add(length)?)?;
            *offset = (body + 8 + length).next_multiple_of(4);
            Some(Token::Property(name, value))
        }
        NOP => {
            *offset = body;
            Some(Token::Nop)
        }
        _ => None,
    }
}

/// The string up to its zero byte.
fn text(bytes: &[u8]) -> Option<&str> {
    let end = bytes.iter().position(|&byte| byte == 0)?;
    core::str::from_utf8(&bytes[..end]).ok()
}

fn word(bytes: &[u8], offset: usize) -> Option<u32> {
    let bytes = bytes.get(offset..offset.checked_add(4)?)?;
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}

fn double(bytes: &[u8], offset: usize) -> Option<u64> {
    Some((u64::from(word(bytes, offset)?) << 32) | u64::from(word(bytes, offset + 4)?))
}

/// The number that `count` cells from cell `first` hold.
fn cells(bytes: &[u8], first: usize, count: usize) -> u64 {
    (first..first + count).fold(0, |sum, index| (sum << 32) | u64::from(word(bytes, 4 * index).unwrap_or(0)))
}

#[cfg(test)]
#[path = "fdt_tests.rs"]
mod tests;
