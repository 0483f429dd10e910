//! Memory: brk, mmap, munmap, mremap, mprotect, madvise. What they do is `mm`'s; here arguments are taken apart as Linux does.

use mm::Errno;

use super::{Arguments, Call, Outcome, call, interval, missing_part, user};
use crate::memory::use_swap;
use crate::task::Process;
use crate::task::space::{Map, MoveFlags, MoveRequest};

pub const CALLS: &[Call] = &[
    call(214, brk),
    call(215, munmap),
    call(216, mremap),
    call(222, mmap),
    call(224, swapon),
    call(225, swapoff),
    call(226, mprotect),
    call(233, madvise),
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
