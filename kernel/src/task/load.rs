//! Puts a program into memory: its segments, its heap, its stack.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use mm::Errno;

use super::elf::{self, Segment};
use super::hwcap::{Identification, hwcap, hwcap2};
use super::process::Process;
use super::random::Random;
use super::run::Launch;
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

/// Makes a process of the ELF file `file`.
///
/// # Errors
/// What is wrong with the file, or what there is too little of, in words.
pub fn load(launch: &Launch<'_>, file: &[u8]) -> Result<Process, String> {
    let image = elf::parse(file).map_err(|refused| refused.to_string())?;
    let space = UserSpace::enter_new().map_err(|error| format!("there is no memory for its page tables: {error}"))?;
    for (index, segment) in image.segments.iter().enumerate() {
        load_segment(&space, segment, file)
            .map_err(|error| no_room(&format!("segment {index}"), segment.size, error))?;
    }
    space.set_heap_start(image.end());
    let mut random = Random::new();
    let mut bytes = [0; 16];
    random.fill(&mut bytes);
    let path = format!("/{}", launch.path.trim_start_matches('/'));
    let arguments: Vec<&str> = core::iter::once(launch.name()).chain(launch.arguments.iter().copied()).collect();
    let start = stack::Start {
        path: &path,
        arguments: &arguments,
        environment: launch.environment,
        random: bytes,
        headers: (image.headers, image.header_count),
        entry: image.entry,
        hwcap: capabilities(),
    };
    let pointer = load_stack(&space, &start)?;
    let context = UserContext::new(image.entry, pointer);
    Ok(Process::new(launch.name(), context, space, random))
}

fn no_room(what: &str, size: u64, error: Errno) -> String {
    format!("{what} of {} KiB does not fit into memory: {error}; give the machine more (--mem)", size.div_ceil(1024))
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
fn load_stack(space: &UserSpace, start: &stack::Start<'_>) -> Result<u64, String> {
    let stack = stack::build(start, STACK_TOP, ARGUMENTS).map_err(|too_large| {
        format!("its arguments take more than {} KiB: give it fewer or shorter ones", too_large.limit >> 10)
    })?;
    let bottom = STACK_TOP - STACK_SIZE;
    let map = Map { address: bottom, length: STACK_SIZE, protection: READ | WRITE, flags: Map::NEW_THERE };
    let guard = Map { address: bottom - STACK_GUARD, length: STACK_GUARD, protection: 0, ..map };
    for part in [map, guard] {
        space.mmap(part).map_err(|error| no_room("its stack", STACK_SIZE, error))?;
    }
    uaccess::copy_out(stack.pointer, &stack.bytes).map_err(|_| no_room("its stack", STACK_SIZE, Errno::ENOMEM))?;
    Ok(stack.pointer)
}

/// AT_HWCAP and AT_HWCAP2.
fn capabilities() -> (u64, u64) {
    let id = Features::read().id;
    let id = Identification { pfr0: id.pfr0, isar0: id.isar0, isar1: id.isar1, isar2: id.isar2, mmfr2: id.mmfr2 };
    (hwcap(id), hwcap2(id))
}
