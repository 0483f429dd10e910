//! Memory: brk, mmap, munmap, mremap, mprotect, madvise, mincore, mlock and its kin. What they do is `mm`'s; here arguments are taken apart as Linux does.

use mm::Errno;

use super::{Arguments, Call, Outcome, call, interval, missing_part, user};
use crate::task::Process;
use crate::task::space::{LockAll, Map, MoveFlags, MoveRequest};

pub const CALLS: &[Call] = &[
    call(214, brk),
    call(215, munmap),
    call(216, mremap),
    call(222, mmap),
    call(226, mprotect),
    call(228, mlock),
    call(229, munlock),
    call(230, mlockall),
    call(231, munlockall),
    call(232, mincore),
    call(233, madvise),
    call(284, mlock2),
];

const PAGE: u64 = 4096;
/// PROT_READ, PROT_WRITE and PROT_EXEC; PROT_SEM is accepted and means nothing, as on Linux.
const PROT: u64 = 0xF;

/// Flags of mmap that matter here, with Linux's values.
mod map {
    pub const SHARED: u64 = 0x01;
    pub const SHARED_VALIDATE: u64 = 0x03;
    pub const TYPE: u64 = 0x0F;
    pub const ANONYMOUS: u64 = 0x20;
    pub const HUGETLB: u64 = 0x4_0000;
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
    if flags & map::ANONYMOUS == 0 {
        // Nothing that a descriptor can stand for here can be mapped; Linux says ENODEV for such.
        return Err(if process.files.get(descriptor).is_some() { Errno::ENODEV } else { Errno::EBADF });
    }
    if matches!(flags & map::TYPE, map::SHARED | map::SHARED_VALIDATE) {
        return Err(missing_part(process, "mmap of shared memory"));
    }
    if flags & map::HUGETLB != 0 {
        return Err(missing_part(process, "mmap with MAP_HUGETLB"));
    }
    process.space.mmap(Map { address, length, protection: protection & PROT, flags })
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
        process.space.resident(from, pages);
        user::write_bytes(to.wrapping_add((from - address) / PAGE), pages)?;
        from += count * PAGE;
    }
    Ok(0)
}
