//! Files that are no program, each in its own way, made from nothing so that the cases need no tools.

use object::elf;

/// A way to be no program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// No bytes.
    Empty,
    /// A text.
    Text,
    /// Cut off inside the ELF header.
    CutInHeader,
    /// Cut off inside the program headers.
    CutInProgramHeaders,
    /// Cut off inside the only segment.
    CutInSegment,
    /// A program for x86-64.
    OtherMachine,
    /// 32-bit Arm.
    ThirtyTwoBits,
    /// Big-endian arm64.
    BigEndian,
    /// An object file.
    ObjectFile,
    /// Asks for a dynamic loader.
    Dynamic,
    /// Its entry is in no segment.
    WildEntry,
    /// Its segment lies in the kernel's half.
    SegmentInKernel,
    /// Its segment goes past the end of all addresses.
    SegmentWraps,
}

/// The fields of an ELF file that the kinds differ in.
struct Elf {
    class: u8,
    order: u8,
    kind: u16,
    machine: u16,
    entry: u64,
    segment: u32,
    address: u64,
    memory: u64,
}

/// Where the program headers, the code and the end are.
const HEADERS: usize = 64;
const CODE: usize = 64 + 56;
const END: usize = CODE + 12;
const BASE: u64 = 0x40_0000;

impl FileKind {
    /// The file.
    pub fn bytes(self) -> Vec<u8> {
        let good = Elf {
            class: 2,
            order: 1,
            kind: elf::ET_EXEC,
            machine: elf::EM_AARCH64,
            entry: BASE + CODE as u64,
            segment: elf::PT_LOAD,
            address: BASE,
            memory: END as u64,
        };
        match self {
            Self::Empty => Vec::new(),
            Self::Text => b"#!/bin/sh\necho no program\n".to_vec(),
            Self::CutInHeader => good.bytes()[..20].to_vec(),
            Self::CutInProgramHeaders => good.bytes()[..HEADERS + 8].to_vec(),
            Self::CutInSegment => good.bytes()[..END - 4].to_vec(),
            Self::OtherMachine => Elf { machine: elf::EM_X86_64, ..good }.bytes(),
            Self::ThirtyTwoBits => Elf { class: 1, machine: elf::EM_ARM, ..good }.bytes(),
            Self::BigEndian => Elf { order: 2, ..good }.bytes(),
            Self::ObjectFile => Elf { kind: elf::ET_REL, ..good }.bytes(),
            Self::Dynamic => Elf { segment: elf::PT_INTERP, ..good }.bytes(),
            Self::WildEntry => Elf { entry: BASE + 0x10_0000, ..good }.bytes(),
            Self::SegmentInKernel => {
                let address = 0xFFFF_8000_0000_0000;
                Elf { address, entry: address + CODE as u64, ..good }.bytes()
            }
            Self::SegmentWraps => Elf { memory: u64::MAX - 0x1000, ..good }.bytes(),
        }
    }
}

impl Elf {
    /// One segment of header and code: `mov x8, #93; svc #0; brk #0`, exit with what is in x0.
    fn bytes(&self) -> Vec<u8> {
        let mut file = vec![0x7f, b'E', b'L', b'F', self.class, self.order, 1];
        file.resize(16, 0);
        file.extend([self.kind, self.machine].into_iter().flat_map(u16::to_le_bytes));
        file.extend(1u32.to_le_bytes());
        file.extend([self.entry, HEADERS as u64, 0].into_iter().flat_map(u64::to_le_bytes));
        file.extend(0u32.to_le_bytes());
        file.extend([64, 56, 1, 64, 0, 0].into_iter().flat_map(u16::to_le_bytes));
        file.extend([self.segment, elf::PF_R | elf::PF_X].into_iter().flat_map(u32::to_le_bytes));
        let segment = [0, self.address, self.address, END as u64, self.memory, 0x1000];
        file.extend(segment.into_iter().flat_map(u64::to_le_bytes));
        file.extend([0xD280_0BA8u32, 0xD400_0001, 0xD420_0000].into_iter().flat_map(u32::to_le_bytes));
        file
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_are_cut_where_they_say() {
        assert_eq!(FileKind::OtherMachine.bytes().len(), END);
        assert!(FileKind::CutInProgramHeaders.bytes().len() < CODE);
        assert!(FileKind::CutInSegment.bytes().len() < END);
    }
}
