//! Tests of [`super`]: files made by hand, and each way to break one.

use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;

use super::*;

/// Fields of the file header and of a program header, by their offset.
mod field {
    pub const MACHINE: usize = 18;
    pub const TYPE: usize = 16;
    pub const ENTRY: usize = 24;
    pub const PHOFF: usize = 32;
    pub const PHENTSIZE: usize = 54;
    pub const PHNUM: usize = 56;
    pub const P_TYPE: usize = 0;
    pub const P_FLAGS: usize = 4;
    pub const P_OFFSET: usize = 8;
    pub const P_VADDR: usize = 16;
    pub const P_FILESZ: usize = 32;
    pub const P_MEMSZ: usize = 40;
    pub const P_ALIGN: usize = 48;
}

struct Builder(Vec<u8>);

impl Builder {
    /// A program with a text segment of 0x100 bytes and a data segment of 0x80 bytes in the file and 0x3000 in memory.
    fn new(base: u64) -> Self {
        let mut file = Self(vec![0; 0x2080]);
        file.0[..16].copy_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
        file.u16(field::TYPE, if base == 0 { abi::ET_DYN } else { abi::ET_EXEC });
        file.u16(field::MACHINE, abi::EM_AARCH64);
        file.u32(20, 1);
        file.u64(field::ENTRY, base + 0x1000);
        file.u64(field::PHOFF, 64);
        file.u16(52, 64);
        file.u16(field::PHENTSIZE, 56);
        file.u16(field::PHNUM, 3);
        file.program(0, abi::PF_R, [0, base, 0x200, 0x200, 0x1000]);
        file.program(1, abi::PF_R | abi::PF_X, [0x1000, base + 0x1000, 0x100, 0x100, 0x1000]);
        file.program(2, abi::PF_R | abi::PF_W, [0x2000, base + 0x2000, 0x80, 0x3000, 0x1_0000]);
        file
    }

    fn program(&mut self, index: usize, flags: u32, [offset, address, in_file, in_memory, align]: [u64; 5]) {
        let at = 64 + index * 56;
        self.u32(at + field::P_TYPE, abi::PT_LOAD);
        self.u32(at + field::P_FLAGS, flags);
        self.u64(at + field::P_OFFSET, offset);
        self.u64(at + field::P_VADDR, address);
        self.u64(at + field::P_FILESZ, in_file);
        self.u64(at + field::P_MEMSZ, in_memory);
        self.u64(at + field::P_ALIGN, align);
    }

    fn u16(&mut self, at: usize, value: u16) {
        self.0[at..at + 2].copy_from_slice(&value.to_le_bytes());
    }

    fn u32(&mut self, at: usize, value: u32) {
        self.0[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }

    fn u64(&mut self, at: usize, value: u64) {
        self.0[at..at + 8].copy_from_slice(&value.to_le_bytes());
    }

    /// Changes a field of program header `index`.
    fn with(mut self, index: usize, field: usize, value: u64) -> Self {
        self.u64(64 + index * 56 + field, value);
        self
    }

    fn refused(&self) -> Refused {
        parse(&self.0).unwrap_err()
    }
}

#[test]
fn a_program_at_a_fixed_address() {
    let image = parse(&Builder::new(0x40_0000).0).unwrap();
    assert_eq!((image.entry, image.headers, image.header_count), (0x40_1000, 0x40_0040, 3));
    assert_eq!(image.segments.len(), 3);
    let data = &image.segments[2];
    assert_eq!((data.address, data.size, data.file.clone()), (0x40_2000, 0x3000, 0x2000..0x2080));
    assert!(data.read && data.write && !data.execute);
    assert!(image.segments[1].execute && !image.segments[1].write);
    assert_eq!(image.end(), 0x40_5000);
}

#[test]
fn a_position_independent_program() {
    let image = parse(&Builder::new(0).0).unwrap();
    let base = image.segments[0].address;
    assert_eq!(base, 0xAAAA_AAAA_0000);
    assert_eq!((image.entry, image.headers), (base + 0x1000, base + 64));
    let large = Builder::new(0).with(2, field::P_ALIGN, 1 << 21);
    assert_eq!(parse(&large.0).unwrap().segments[0].address, 0xAAAA_AAA0_0000);
    let odd = Builder::new(0).with(2, field::P_ALIGN, 3);
    assert_eq!(parse(&odd.0).unwrap().segments[0].address, base);
}

#[test]
fn every_truncation_is_refused() {
    let whole = Builder::new(0x40_0000).0;
    for length in 0..whole.len() {
        let refused = parse(&whole[..length]).unwrap_err();
        match length {
            0..4 => assert_eq!(refused, Refused::NotElf),
            _ => assert!(matches!(refused, Refused::Truncated { .. }), "{length}: {refused:?}"),
        }
    }
    let message = parse(&whole[..0x2000]).unwrap_err().to_string();
    assert_eq!(message, "it is truncated: its segments end at byte 0x2080, the file at 0x2000: copy or build it again");
}

#[test]
fn files_of_other_kinds_are_refused() {
    assert_eq!(parse(b"#!/bin/sh\n"), Err(Refused::NotElf));
    let mut file = Builder::new(0x40_0000);
    file.u16(field::MACHINE, abi::EM_X86_64);
    assert!(file.refused().to_string().contains("it is for x86-64, not for arm64"));
    let mut file = Builder::new(0x40_0000);
    file.u16(field::TYPE, abi::ET_REL);
    assert_eq!(file.refused(), Refused::NotExecutable(abi::ET_REL));
    for (at, value) in [(4, 1), (5, 2)] {
        let mut file = Builder::new(0x40_0000);
        file.0[at] = value;
        assert_eq!(file.refused(), Refused::WrongWords);
    }
    let mut file = Builder::new(0x40_0000);
    file.u32(64, abi::PT_INTERP);
    assert_eq!(file.refused(), Refused::Dynamic);
}

#[test]
fn senseless_headers_are_refused() {
    let change = |at, value: u64| {
        let mut file = Builder::new(0x40_0000);
        file.u64(at, value);
        file.refused()
    };
    assert!(matches!(change(field::PHOFF, u64::MAX), Refused::Truncated { end: None, .. }));
    assert!(matches!(change(field::PHOFF, 0x2080), Refused::Truncated { .. }));
    for entry in [0, 0x40_0000, 0x40_1002, 0x40_2000, u64::MAX] {
        assert!(matches!(change(field::ENTRY, entry), Refused::Nonsense(_)));
    }
    for (at, value) in [(field::PHNUM, 0), (field::PHNUM, u16::MAX), (field::PHENTSIZE, 32)] {
        let mut file = Builder::new(0x40_0000);
        file.u16(at, value);
        assert!(matches!(file.refused(), Refused::Nonsense(_)));
    }
    let mut file = Builder::new(0);
    file.u64(field::ENTRY, u64::MAX);
    assert!(matches!(file.refused(), Refused::Nonsense(_)));
}

#[test]
fn senseless_segments_are_refused() {
    let broken = |index, field, value| Builder::new(0x40_0000).with(index, field, value).refused();
    let because = |refused: Refused, index, words: &str| match refused {
        Refused::Segment(found, what) => assert!(found == index && what.contains(words), "{found}: {what}"),
        other => panic!("{other:?}"),
    };
    because(broken(1, field::P_VADDR, 0x40_0000), 1, "overlaps");
    because(broken(2, field::P_VADDR, 0x40_1000), 2, "overlaps");
    because(broken(0, field::P_VADDR, 0x1000), 0, "below 64 KiB");
    because(broken(2, field::P_MEMSZ, 0x10), 2, "larger in the file");
    because(broken(2, field::P_VADDR, 0x40_2010), 2, "same place");
    because(broken(2, field::P_MEMSZ, 1 << 48), 2, "above");
    because(broken(2, field::P_MEMSZ, u64::MAX), 2, "above");
    because(broken(2, field::P_VADDR, 0xFFFF_8000_0000_2000), 2, "above");
    because(Builder::new(0).with(2, field::P_MEMSZ, HIGHEST - 0x2000).refused(), 2, "above");
    assert!(matches!(broken(2, field::P_OFFSET, u64::MAX), Refused::Truncated { end: None, .. }));
    let mut file = Builder::new(0x40_0000);
    file.u32(64 + 56 + field::P_FLAGS, abi::PF_R | abi::PF_W | abi::PF_X);
    because(file.refused(), 1, "writable and executable");
}

#[test]
fn no_change_of_one_byte_makes_the_reader_fail() {
    let whole = Builder::new(0x40_0000).0;
    for at in 0..64 + 3 * 56 {
        for value in [0, 1, 0x7F, 0x80, 0xFF] {
            let mut file = whole.clone();
            file[at] = value;
            if let Ok(image) = parse(&file) {
                for segment in &image.segments {
                    assert!(segment.file.end <= file.len() && segment.file.len() as u64 <= segment.size);
                    assert!(segment.pages().end <= HIGHEST && segment.pages().start >= LOWEST);
                }
            }
        }
    }
}
