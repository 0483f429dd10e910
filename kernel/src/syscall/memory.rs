//! Memory: brk, mmap, munmap, mremap, mprotect, msync, madvise, mincore, mlock and its kin, memory files. What they do is `mm`'s; here
//! arguments are taken apart as Linux does.

use alloc::string::String;

use mm::Errno;
use mm::file::Seals;

use super::descriptors::give;
use super::io::open_file;
use super::{Arguments, Call, Outcome, call, interval, missing_part, user};
use crate::memory::use_swap;
use crate::task::Process;
use crate::task::file;
use crate::task::memory_file::MemoryFile;
use crate::task::space::{LockAll, Map, MoveFlags, MoveRequest};

pub const CALLS: &[Call] = &[
    call(214, brk),
    call(215, munmap),
    call(216, mremap),
    call(222, mmap),
    call(224, swapon),
    call(225, swapoff),
    call(226, mprotect),
    call(227, msync),
    call(228, mlock),
    call(229, munlock),
    call(230, mlockall),
    call(231, munlockall),
    call(232, mincore),
    call(233, madvise),
    call(279, memfd_create),
    call(284, mlock2),
];

const PAGE: u64 = 4096;
/// PROT_READ, PROT_WRITE and PROT_EXEC; PROT_SEM is accepted and means nothing, as on Linux.
const PROT: u64 = 0xF;
const PROT_WRITE: u64 = 2;

/// Flags of mmap that matter here, with Linux's values.
mod map {
    pub const SHARED: u64 = 0x01;
    pub const SHARED_VALIDATE: u64 = 0x03;
    pub const TYPE: u64 = 0x0F;
    pub const ANONYMOUS: u64 = 0x20;
}

fn brk(process: &mut Process, arguments: &Arguments) -> Outcome {
    Ok(process.space.brk(arguments[0]))
}

fn munmap(process: &mut Process, &[address, length, ..]: &Arguments) -> Outcome {
    process.space.munmap(address, length)?;
    Ok(0)
}

fn mmap(process: &mut Process, &[address, length, protection, flags, descriptor, offset]: &Arguments) -> Outcome {
    if offset % PAGE != 0 {
        return Err(Errno::EINVAL);
    }
    let map = Map { address, length, protection: protection & PROT, flags };
    if flags & map::ANONYMOUS != 0 {
        return process.space.mmap(map);
    }
    let open = open_file(process, descriptor)?;
    let shared = matches!(flags & map::TYPE, map::SHARED | map::SHARED_VALIDATE);
    let denied = !open.is_read() || (shared && protection & PROT_WRITE != 0 && !open.is_written());
    match open.file.memory() {
        Some(_) if denied => Err(Errno::EACCES),
        Some(file) => process.space.mmap_file(map, file, offset),
        None => Err(Errno::ENODEV),
    }
}

fn memfd_create(process: &mut Process, &[name, flags, ..]: &Arguments) -> Outcome {
    const CLOEXEC: u32 = 1;
    const ALLOW_SEALING: u32 = 2;
    const HUGETLB: u32 = 4;
    const NOEXEC_SEAL: u32 = 8;
    const EXEC: u32 = 16;
    /// Bytes of a name, at most.
    const LONGEST: usize = 249;
    let flags = flags as u32;
    if flags & HUGETLB != 0 {
        return Err(missing_part(process, "memfd_create with MFD_HUGETLB"));
    }
    let both = NOEXEC_SEAL | EXEC;
    if flags & !(CLOEXEC | ALLOW_SEALING | both) != 0 || flags & both == both {
        return Err(Errno::EINVAL);
    }
    let name = user::read_path(name)?;
    if name.len() > LONGEST {
        return Err(Errno::EINVAL);
    }
    let opened = file::flags::BOTH | if flags & CLOEXEC != 0 { file::flags::CLOEXEC } else { 0 };
    let seals = match flags & (ALLOW_SEALING | NOEXEC_SEAL) {
        0 => Seals::SEAL,
        ALLOW_SEALING => Seals::empty(),
        _ => Seals::EXEC,
    };
    let file = MemoryFile::new(&name, seals)?;
    let path = String::from(file.path());
    let open = file::OpenFile::new(file, &path, opened);
    give(process, open, opened)
}

fn msync(process: &mut Process, &[address, length, flags, ..]: &Arguments) -> Outcome {
    const ASYNC: u32 = 1;
    const INVALIDATE: u32 = 2;
    const SYNC: u32 = 4;
    let flags = flags as u32;
    if flags & !(ASYNC | INVALIDATE | SYNC) != 0 || flags & (ASYNC | SYNC) == ASYNC | SYNC {
        return Err(Errno::EINVAL);
    }
    process.space.msync(address, length)?;
    Ok(0)
}

/// Priorities and discards, which the flags are about, make no difference with one device in memory.
fn swapon(_process: &mut Process, &[path, ..]: &Arguments) -> Outcome {
    use_swap(&user::read_path(path)?, true)?;
    Ok(0)
}

fn swapoff(_process: &mut Process, &[path, ..]: &Arguments) -> Outcome {
    use_swap(&user::read_path(path)?, false)?;
    Ok(0)
}

fn mremap(process: &mut Process, &[old, old_length, new_length, flags, new_address, _]: &Arguments) -> Outcome {
    let flags = MoveFlags::from_bits_retain(flags);
    process.space.mremap(MoveRequest { old, old_length, new_length, flags, new_address })
}

fn mprotect(process: &mut Process, &[address, length, protection, ..]: &Arguments) -> Outcome {
    if protection & !PROT != 0 {
        return Err(Errno::EINVAL);
    }
    process.space.mprotect(address, length, protection)?;
    Ok(0)
}

fn madvise(process: &mut Process, &[address, length, advice, ..]: &Arguments) -> Outcome {
    const PAGEOUT: u32 = 21;
    let advise = |process: &mut Process| process.space.madvise(address, length, advice);
    if advice as u32 == PAGEOUT {
        interval::around(process, advise)?
    } else {
        advise(process)?
    }
    Ok(0)
}

/// Programs are root's, so RLIMIT_MEMLOCK does not bind them, as on Linux.
fn mlock(process: &mut Process, &[address, length, ..]: &Arguments) -> Outcome {
    process.space.mlock(address, length, false)?;
    Ok(0)
}

fn mlock2(process: &mut Process, &[address, length, flags, ..]: &Arguments) -> Outcome {
    const ON_FAULT: u64 = 1;
    if flags & !ON_FAULT != 0 {
        return Err(Errno::EINVAL);
    }
    process.space.mlock(address, length, flags == ON_FAULT)?;
    Ok(0)
}

fn munlock(process: &mut Process, &[address, length, ..]: &Arguments) -> Outcome {
    process.space.munlock(address, length)?;
    Ok(0)
}

fn mlockall(process: &mut Process, &[what, ..]: &Arguments) -> Outcome {
    let what = LockAll::from_bits(what as u32).ok_or(Errno::EINVAL)?;
    if !what.intersects(LockAll::CURRENT | LockAll::FUTURE) {
        return Err(Errno::EINVAL);
    }
    process.space.mlockall(what)?;
    Ok(0)
}

fn munlockall(process: &mut Process, _: &Arguments) -> Outcome {
    process.space.munlockall()?;
    Ok(0)
}

/// A byte for each page: whether it is in memory.
fn mincore(process: &mut Process, &[address, length, to, ..]: &Arguments) -> Outcome {
    const AT_ONCE: u64 = 512;
    if address % PAGE != 0 {
        return Err(Errno::EINVAL);
    }
    let end = address.checked_add(length).and_then(|end| end.checked_next_multiple_of(PAGE)).ok_or(Errno::ENOMEM)?;
    let mut from = address;
    while from < end {
        let area = process.space.area_from(from).filter(|area| area.start.as_u64() <= from).ok_or(Errno::ENOMEM)?;
        let count = ((end.min(area.end.as_u64()) - from) / PAGE).min(AT_ONCE);
        let mut pages = [0; AT_ONCE as usize];
        let pages = &mut pages[..count as usize];
        process.space.resident(&area, from, pages);
        user::write_bytes(to.wrapping_add((from - address) / PAGE), pages)?;
        from += count * PAGE;
    }
    Ok(0)
}
