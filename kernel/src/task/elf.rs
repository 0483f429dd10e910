//! Reads an ELF file and decides where it goes in memory. Pure: nothing is mapped or copied here.
//!
//! What runs is a static arm64 Linux program, linked at a fixed address or position-independent (static-pie). Every number of the
//! file is checked before it is used; what can not run is refused with a message that names what to do about it. Section headers
//! are not looked at, as Linux does not: a program does not need them.

use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

use elf::abi;
use elf::endian::LittleEndian;
use elf::file::{Class, FileHeader, parse_ident};
use elf::parse::ParsingTable;
use elf::segment::ProgramHeader;

const PAGE: u64 = 4096;
/// The lowest address that a program may be linked at, Linux's `mmap_min_addr`.
pub const LOWEST: u64 = 0x1_0000;
/// One past the highest address of a program's image: above it is room for maps and the stack.
pub const HIGHEST: u64 = 0xC000_0000_0000;
/// Where position-independent programs go: two thirds of the address space, as on Linux.
const PIE_BASE: u64 = 0xAAAA_AAAA_0000;
/// Linux reads at most this many bytes of program headers.
const MOST_HEADERS: u16 = (65536 / HEADER_SIZE) as u16;
const HEADER_SIZE: u64 = 56;

/// A part of the file that becomes memory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Segment {
    /// Where it starts in memory; any byte of a page.
    pub address: u64,
    /// Bytes it has in memory; those that the file does not give are zero.
    pub size: u64,
    /// Its bytes in the file.
    pub file: Range<usize>,
    /// It may be read.
    pub read: bool,
    /// It may be written.
    pub write: bool,
    /// It may be executed.
    pub execute: bool,
}

impl Segment {
    /// The whole pages that hold it.
    pub fn pages(&self) -> Range<u64> {
        self.address & !(PAGE - 1)..(self.address + self.size).next_multiple_of(PAGE)
    }
}

/// A program, with every address as it will be in memory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Image {
    /// Its segments, ascending, on pages of their own.
    pub segments: Vec<Segment>,
    /// Its first instruction.
    pub entry: u64,
    /// Where its program headers are in memory; 0 if no segment holds them.
    pub headers: u64,
    /// How many there are.
    pub header_count: u64,
}

impl Image {
    /// One past its last byte, rounded up to a page: where the heap starts.
    pub fn end(&self) -> u64 {
        self.segments.last().map_or(0, |segment| segment.pages().end)
    }
}

/// Why a file can not be run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refused {
    /// It does not start as an ELF file does.
    NotElf,
    /// It has 32-bit or big-endian words.
    WrongWords,
    /// It is for another machine, of this number.
    OtherMachine(u16),
    /// It is an ELF file of another type.
    NotExecutable(u16),
    /// It needs a dynamic loader.
    Dynamic,
    /// It ends before a part of it does.
    Truncated {
        /// Which part.
        part: &'static str,
        /// Where that part ends, if that can be told.
        end: Option<u64>,
        /// Bytes of the file.
        length: usize,
    },
    /// A number makes no sense.
    Nonsense(&'static str),
    /// A segment makes no sense: which, and why.
    Segment(usize, &'static str),
}

impl fmt::Display for Refused {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        const BUILD: &str = "build a static arm64 Linux program, as with aarch64-linux-gnu-gcc -static";
        match *self {
            Self::NotElf => write!(out, "it is not an ELF file: {BUILD}"),
            Self::WrongWords => write!(out, "it is not a 64-bit little-endian ELF file: {BUILD}"),
            Self::OtherMachine(number) => write!(out, "it is for {}, not for arm64: {BUILD}", machine(number)),
            Self::NotExecutable(abi::ET_REL) => write!(out, "it is an object file: link it with -static"),
            Self::NotExecutable(kind) => write!(out, "it is an ELF file of type {kind}, not a program: {BUILD}"),
            Self::Dynamic => write!(out, "it needs a dynamic loader, and there is none: link it with -static"),
            Self::Truncated { part, end: Some(end), length } => {
                write!(
                    out,
                    "it is truncated: {part} end at byte {end:#x}, the file at {length:#x}: copy or build it again"
                )
            }
            Self::Truncated { part, end: None, length } => {
                write!(out, "it is truncated: the file ends at byte {length:#x}, inside {part}: copy or build it again")
            }
            Self::Nonsense(what) => write!(out, "{what}: build it again"),
            Self::Segment(index, what) => {
                write!(out, "segment {index} {what}: link it again, without a linker script of its own")
            }
        }
    }
}

/// The name of a machine, where it is one that people mix up.
fn machine(number: u16) -> &'static str {
    match number {
        abi::EM_386 => "32-bit x86",
        abi::EM_X86_64 => "x86-64",
        abi::EM_ARM => "32-bit Arm",
        abi::EM_RISCV => "RISC-V",
        abi::EM_PPC64 => "64-bit PowerPC",
        abi::EM_S390 => "S/390",
        _ => "another machine",
    }
}

/// Reads and checks `file`.
///
/// # Errors
/// When it is not a program that can run here.
pub fn parse(file: &[u8]) -> Result<Image, Refused> {
    let header = file_header(file)?;
    let programs = program_headers(file, &header)?;
    let mut segments = Vec::new();
    let mut alignment = PAGE;
    for (index, program) in programs.iter().enumerate() {
        match program.p_type {
            abi::PT_INTERP => return Err(Refused::Dynamic),
            abi::PT_LOAD if program.p_memsz > 0 => {
                segments.push(segment(file, &program).map_err(|what| what.into_refused(index, file.len()))?);
                alignment = alignment.max(alignment_of(&program));
            }
            _ => {}
        }
    }
    let base = if header.e_type == abi::ET_DYN { PIE_BASE & !(alignment - 1) } else { 0 };
    let headers = headers_address(&programs, header.e_phoff);
    place(&mut segments, base)?;
    let image = Image {
        entry: header.e_entry.checked_add(base).ok_or(Refused::Nonsense("its entry is out of bounds"))?,
        headers: headers.map_or(0, |address| address + base),
        header_count: header.e_phnum.into(),
        segments,
    };
    let starts =
        |segment: &Segment| segment.execute && (segment.address..segment.address + segment.size).contains(&image.entry);
    if !image.segments.iter().any(starts) || image.entry % 4 != 0 {
        return Err(Refused::Nonsense("its entry is not in executable memory"));
    }
    Ok(image)
}

/// Reads the file's header and refuses what is not an arm64 program.
fn file_header(file: &[u8]) -> Result<FileHeader<LittleEndian>, Refused> {
    if !file.starts_with(&abi::ELFMAGIC) {
        return Err(Refused::NotElf);
    }
    let truncated = Refused::Truncated { part: "its header", end: None, length: file.len() };
    let (ident, tail) = file.split_at_checked(abi::EI_NIDENT).ok_or(truncated.clone())?;
    let ident = parse_ident::<LittleEndian>(ident).map_err(|_| Refused::WrongWords)?;
    if ident.1 != Class::ELF64 {
        return Err(Refused::WrongWords);
    }
    let tail = tail.get(..elf::file::ELF64_EHDR_TAILSIZE).ok_or(truncated.clone())?;
    let header = FileHeader::parse_tail(ident, tail).map_err(|_| truncated)?;
    match (header.e_machine, header.e_type) {
        (abi::EM_AARCH64, abi::ET_EXEC | abi::ET_DYN) => Ok(header),
        (abi::EM_AARCH64, other) => Err(Refused::NotExecutable(other)),
        (other, _) => Err(Refused::OtherMachine(other)),
    }
}

type Programs<'a> = ParsingTable<'a, LittleEndian, ProgramHeader>;

fn program_headers<'a>(file: &'a [u8], header: &FileHeader<LittleEndian>) -> Result<Programs<'a>, Refused> {
    if u64::from(header.e_phentsize) != HEADER_SIZE {
        return Err(Refused::Nonsense("its program headers have a wrong size"));
    }
    if !(1..=MOST_HEADERS).contains(&header.e_phnum) {
        return Err(Refused::Nonsense("it has no program headers, or too many"));
    }
    let end = header.e_phoff.checked_add(u64::from(header.e_phnum) * HEADER_SIZE);
    let truncated = Refused::Truncated { part: "its program headers", end, length: file.len() };
    let end = end.filter(|&end| end <= file.len() as u64).ok_or(truncated)?;
    Ok(ParsingTable::new(LittleEndian, Class::ELF64, &file[header.e_phoff as usize..end as usize]))
}

/// What is wrong with one segment.
enum Wrong {
    Truncated(Option<u64>),
    Because(&'static str),
}

impl Wrong {
    fn into_refused(self, index: usize, length: usize) -> Refused {
        match self {
            Self::Truncated(end) => Refused::Truncated { part: "its segments", end, length },
            Self::Because(what) => Refused::Segment(index, what),
        }
    }
}

/// Checks one segment by itself.
fn segment(file: &[u8], program: &ProgramHeader) -> Result<Segment, Wrong> {
    let end = program.p_offset.checked_add(program.p_filesz);
    let end = end.filter(|&end| end <= file.len() as u64).ok_or(Wrong::Truncated(end))?;
    if program.p_filesz > program.p_memsz {
        return Err(Wrong::Because("is larger in the file than in memory"));
    }
    if program.p_filesz > 0 && program.p_offset % PAGE != program.p_vaddr % PAGE {
        return Err(Wrong::Because("is not at the same place of a page in the file and in memory"));
    }
    if program.p_vaddr.checked_add(program.p_memsz).is_none_or(|end| end > HIGHEST) {
        return Err(Wrong::Because("ends above the addresses of programs"));
    }
    if program.p_flags & (abi::PF_W | abi::PF_X) == abi::PF_W | abi::PF_X {
        return Err(Wrong::Because("is both writable and executable, which is not allowed here"));
    }
    Ok(Segment {
        address: program.p_vaddr,
        size: program.p_memsz,
        file: program.p_offset as usize..end as usize,
        read: program.p_flags & abi::PF_R != 0,
        write: program.p_flags & abi::PF_W != 0,
        execute: program.p_flags & abi::PF_X != 0,
    })
}

/// The alignment that a segment asks for; one that is no power of two, or larger than a block of 1 GiB, is ignored, as on Linux.
fn alignment_of(program: &ProgramHeader) -> u64 {
    if program.p_align.is_power_of_two() && program.p_align <= 1 << 30 { program.p_align } else { PAGE }
}

/// Moves the segments by `base` and checks them together: ascending, no page in two of them, all of them in a program's addresses.
fn place(segments: &mut [Segment], base: u64) -> Result<(), Refused> {
    let mut last_end = LOWEST;
    for (index, segment) in segments.iter_mut().enumerate() {
        segment.address += base;
        let pages = segment.pages();
        if pages.end > HIGHEST {
            return Err(Refused::Segment(index, "ends above the addresses of programs"));
        }
        if pages.start < last_end {
            let what =
                if index == 0 { "starts below 64 KiB" } else { "overlaps the one before, or shares a page with it" };
            return Err(Refused::Segment(index, what));
        }
        last_end = pages.end;
    }
    Ok(())
}

/// Where the program headers are in memory, before the program is moved: in the segment that loads this part of the file.
fn headers_address(programs: &Programs<'_>, offset: u64) -> Option<u64> {
    let holds = |program: &ProgramHeader| {
        program.p_type == abi::PT_LOAD
            && offset >= program.p_offset
            && offset - program.p_offset < program.p_filesz.min(program.p_memsz)
    };
    programs.iter().find(holds).map(|program| program.p_vaddr + (offset - program.p_offset))
}

#[cfg(test)]
#[path = "elf_tests.rs"]
mod tests;
