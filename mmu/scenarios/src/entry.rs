//! Descriptors in words: `none`, `swapped`, or `frame 7 rw young dirty`.

use mmu::{Descriptor, Pfn, Protection, STAGE1};

use crate::words::{Words, Wrong};

/// A change of one descriptor, by name.
pub type Change = fn(Descriptor) -> Descriptor;

const PROTECTIONS: [(&str, Protection); 5] = [
    ("rw", Protection { read: true, write: true, execute: false }),
    ("ro", Protection { read: true, write: false, execute: false }),
    ("rx", Protection { read: true, write: false, execute: true }),
    ("rwx", Protection { read: true, write: true, execute: true }),
    ("no-access", Protection { read: false, write: false, execute: false }),
];

/// What may follow the protection.
const ATTRIBUTES: [(&str, Change); 6] = [
    ("young", Descriptor::make_young),
    ("dirty", Descriptor::make_dirty),
    ("cont", |entry| entry.with_contiguous(true)),
    ("device", |entry| Descriptor::from_bits(entry.bits() | (1 << STAGE1::ATTR_INDEX.shift))),
    ("global", |entry| Descriptor::from_bits(entry.bits() & !(1 << STAGE1::NOT_GLOBAL.shift))),
    ("uffd", Descriptor::make_uffd),
];

/// What an update may do.
pub const CHANGES: [(&str, Change); 7] = [
    ("young", Descriptor::make_young),
    ("old", Descriptor::make_old),
    ("dirty", Descriptor::make_dirty),
    ("clean", Descriptor::make_clean),
    ("read-only", Descriptor::write_protect),
    ("writable", Descriptor::make_writable),
    ("uffd", Descriptor::make_uffd),
];

/// The bits of a swap entry: neither valid nor "present without access".
const SWAPPED: Descriptor = Descriptor::from_bits(0x1000);

/// Reads an entry; `frames` is what frame 0 stands for.
pub fn parse(words: &mut Words<'_>, frames: Pfn) -> Result<Descriptor, Wrong> {
    match words.next("an entry: none, swapped, or frame N rw")? {
        "none" => Ok(Descriptor::NONE),
        "swapped" => Ok(SWAPPED),
        "frame" => {
            let frame = frames.add(words.small()?);
            let mut entry = Descriptor::user_page(frame, words.choose(&PROTECTIONS)?);
            while words.peek().is_some() {
                entry = words.choose(&ATTRIBUTES)?(entry);
            }
            Ok(entry)
        }
        other => Err(format!("`{other}` is no entry: none, swapped, or frame N rw")),
    }
}

/// The words for an entry.
pub fn describe(entry: Descriptor, frames: Pfn) -> String {
    if entry.is_none() {
        return "none".to_owned();
    }
    if entry.is_swap() {
        return "swapped".to_owned();
    }
    let protection = match (entry.is_user(), entry.is_writable(), entry.is_user_executable()) {
        (false, ..) => "no-access",
        (_, true, false) => "rw",
        (_, true, true) => "rwx",
        (_, false, true) => "rx",
        (_, false, false) => "ro",
    };
    let mut text = format!("frame {} {protection}", entry.frame().as_u64().wrapping_sub(frames.as_u64()));
    for (name, change) in ATTRIBUTES {
        // A write that hardware recorded makes an entry dirty too, in another bit.
        if change(entry) == entry || (name == "dirty" && entry.is_dirty()) {
            text.push(' ');
            text.push_str(name);
        }
    }
    text
}
