//! Puts a program into memory: its segments, its heap, its stack.

use alloc::string::String;
use core::fmt;

use mm::Errno;

use super::elf::{self, Refused, Segment};
use super::hwcap::{Identification, hwcap, hwcap2};
use super::space::{Map, UserSpace};
use super::stack::{self, STACK_GUARD, STACK_SIZE, STACK_TOP};
use crate::arch::features::Features;
use crate::arch::uaccess;
use crate::arch::user::UserContext;

/// Arguments and environment may take a quarter of the stack, as on Linux.
const ARGUMENTS: usize = STACK_SIZE as usize / 4;

const READ: u64 = 1;
const WRITE: u64 = 2;
const EXECUTE: u64 = 4;

/// What to load.
#[derive(Clone, Copy, Debug)]
pub struct Program<'a> {
    /// The ELF file.
    pub file: &'a [u8],
    /// The path that the program is told.
    pub path: &'a [u8],
    /// Its arguments, its name the first.
    pub arguments: &'a [&'a [u8]],
    /// Its environment.
    pub environment: &'a [&'a [u8]],
    /// Its random bytes.
    pub random: [u8; 16],
}

/// Why a program can not be loaded.
#[derive(Debug)]
pub enum NotLoaded {
    /// The file is no program that can run here.
    Refused(Refused),
    /// There is no memory for this part of it, of so many bytes.
    NoRoom(String, u64, Errno),
    /// Its arguments take more than so many bytes.
    TooLarge(usize),
}

impl NotLoaded {
    /// The error of `execve`.
    pub const fn errno(&self) -> Errno {
        match self {
            Self::Refused(_) => Errno::ENOEXEC,
            Self::NoRoom(..) => Errno::ENOMEM,
            Self::TooLarge(_) => Errno::E2BIG,
        }
    }
}

impl fmt::Display for NotLoaded {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refused) => write!(out, "{refused}"),
            Self::NoRoom(what, size, error) => {
                let size = size.div_ceil(1024);
                write!(out, "{what} of {size} KiB does not fit into memory: {error}; give the machine more (--mem)")
            }
            Self::TooLarge(limit) => {
                write!(out, "its arguments take more than {} KiB: give it fewer or shorter ones", limit >> 10)
            }
        }
    }
}

/// Makes a space with the program in it, which is active when it is done, and the registers that the program starts with.
///
/// # Errors
/// What is wrong with the file, or what there is too little of.
pub fn load(program: &Program<'_>) -> Result<(UserSpace, UserContext), NotLoaded> {
    let image = elf::parse(program.file).map_err(NotLoaded::Refused)?;
    let space = UserSpace::new().map_err(|error| NotLoaded::NoRoom("a page table".into(), mmu::PAGE_SIZE, error))?;
    space.enter();
    for (index, segment) in image.segments.iter().enumerate() {
        load_segment(&space, segment, program.file)
            .map_err(|error| NotLoaded::NoRoom(alloc::format!("segment {index}"), segment.size, error))?;
    }
    space.set_heap_start(image.end());
    let pointer = load_stack(
        &space,
        &stack::Start {
            path: program.path,
            arguments: program.arguments,
            environment: program.environment,
            random: program.random,
            headers: (image.headers, image.header_count),
            entry: image.entry,
            hwcap: capabilities(),
        },
    )?;
    Ok((space, UserContext::new(image.entry, pointer)))
}

/// Maps one segment writable, fills it, and then gives it the protection that the file asks for.
fn load_segment(space: &UserSpace, segment: &Segment, file: &[u8]) -> Result<(), Errno> {
    let pages = segment.pages();
    let (address, length) = (pages.start, pages.end - pages.start);
    space.mmap(Map { address, length, protection: READ | WRITE, flags: Map::NEW_THERE })?;
    // What the file does not give is zero, as new memory is.
    uaccess::copy_out(segment.address, &file[segment.file.clone()]).map_err(|_| Errno::ENOMEM)?;
    let protection = [(segment.read, READ), (segment.write, WRITE), (segment.execute, EXECUTE)];
    let protection = protection.iter().filter(|(wanted, _)| *wanted).map(|(_, bit)| bit).sum();
    space.mprotect(address, length, protection)
}

/// Maps the stack with the guard below it and writes its start; the stack pointer.
fn load_stack(space: &UserSpace, start: &stack::Start<'_>) -> Result<u64, NotLoaded> {
    let stack = stack::build(start, STACK_TOP, ARGUMENTS).map_err(|large| NotLoaded::TooLarge(large.limit))?;
    let bottom = STACK_TOP - STACK_SIZE;
    let map = Map { address: bottom, length: STACK_SIZE, protection: READ | WRITE, flags: Map::NEW_THERE };
    let guard = Map { address: bottom - STACK_GUARD, length: STACK_GUARD, protection: 0, ..map };
    let no_room = |error| NotLoaded::NoRoom("its stack".into(), STACK_SIZE, error);
    for part in [map, guard] {
        space.mmap(part).map_err(no_room)?;
    }
    uaccess::copy_out(stack.pointer, &stack.bytes).map_err(|_| no_room(Errno::ENOMEM))?;
    Ok(stack.pointer)
}

/// AT_HWCAP and AT_HWCAP2.
fn capabilities() -> (u64, u64) {
    let id = Features::read().id;
    let id = Identification { pfr0: id.pfr0, isar0: id.isar0, isar1: id.isar1, isar2: id.isar2, mmfr2: id.mmfr2 };
    (hwcap(id), hwcap2(id))
}
