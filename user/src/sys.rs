//! Linux system calls on arm64: the number in x8, arguments in x0 to x5, `svc #0`, the result or minus the error in x0.

use core::arch::asm;
use core::ffi::CStr;

/// Linux's numbers of the calls that the programs make.
#[expect(missing_docs, reason = "the names are Linux's own")]
pub mod number {
    pub const DUP3: u64 = 24;
    pub const FCNTL: u64 = 25;
    pub const IOCTL: u64 = 29;
    pub const FTRUNCATE: u64 = 46;
    pub const FALLOCATE: u64 = 47;
    pub const CHDIR: u64 = 49;
    pub const OPENAT: u64 = 56;
    pub const CLOSE: u64 = 57;
    pub const PIPE2: u64 = 59;
    pub const GETDENTS64: u64 = 61;
    pub const LSEEK: u64 = 62;
    pub const READ: u64 = 63;
    pub const WRITE: u64 = 64;
    pub const PREAD64: u64 = 67;
    pub const PWRITE64: u64 = 68;
    pub const SENDFILE: u64 = 71;
    pub const PPOLL: u64 = 73;
    pub const READLINKAT: u64 = 78;
    pub const FSTAT: u64 = 80;
    pub const GETCWD: u64 = 17;
    pub const EXIT: u64 = 93;
    pub const EXIT_GROUP: u64 = 94;
    pub const SET_TID_ADDRESS: u64 = 96;
    pub const FUTEX: u64 = 98;
    pub const SET_ROBUST_LIST: u64 = 99;
    pub const NANOSLEEP: u64 = 101;
    pub const CLOCK_GETTIME: u64 = 113;
    pub const SCHED_YIELD: u64 = 124;
    pub const KILL: u64 = 129;
    pub const TGKILL: u64 = 131;
    pub const SIGALTSTACK: u64 = 132;
    pub const SIGSUSPEND: u64 = 133;
    pub const SIGACTION: u64 = 134;
    pub const SIGPROCMASK: u64 = 135;
    pub const SIGTIMEDWAIT: u64 = 137;
    pub const SIGRETURN: u64 = 139;
    pub const SETPGID: u64 = 154;
    pub const GETPGID: u64 = 155;
    pub const SETSID: u64 = 157;
    pub const PRCTL: u64 = 167;
    pub const GETPID: u64 = 172;
    pub const GETPPID: u64 = 173;
    pub const GETTID: u64 = 178;
    pub const SYSINFO: u64 = 179;
    pub const BRK: u64 = 214;
    pub const MUNMAP: u64 = 215;
    pub const MREMAP: u64 = 216;
    pub const CLONE: u64 = 220;
    pub const EXECVE: u64 = 221;
    pub const MMAP: u64 = 222;
    pub const MPROTECT: u64 = 226;
    pub const MSYNC: u64 = 227;
    pub const MLOCK: u64 = 228;
    pub const MUNLOCK: u64 = 229;
    pub const MLOCKALL: u64 = 230;
    pub const MUNLOCKALL: u64 = 231;
    pub const MINCORE: u64 = 232;
    pub const SWAPON: u64 = 224;
    pub const SWAPOFF: u64 = 225;
    pub const MADVISE: u64 = 233;
    pub const WAIT4: u64 = 260;
    pub const GETRANDOM: u64 = 278;
    pub const USERFAULTFD: u64 = 282;
    pub const MEMFD_CREATE: u64 = 279;
    pub const MLOCK2: u64 = 284;
}

/// Linux's error numbers that the programs look for.
#[expect(missing_docs, reason = "the names are Linux's own")]
pub mod error {
    pub const EPERM: i32 = 1;
    pub const ENOENT: i32 = 2;
    pub const ESRCH: i32 = 3;
    pub const EINTR: i32 = 4;
    pub const E2BIG: i32 = 7;
    pub const EBADF: i32 = 9;
    pub const ECHILD: i32 = 10;
    pub const EAGAIN: i32 = 11;
    pub const ENOMEM: i32 = 12;
    pub const EFAULT: i32 = 14;
    pub const ENOTDIR: i32 = 20;
    pub const EISDIR: i32 = 21;
    pub const EINVAL: i32 = 22;
    pub const EPIPE: i32 = 32;
    pub const ENOSYS: i32 = 38;
    pub const ETIMEDOUT: i32 = 110;
}

/// Advice for `madvise`, with Linux's values.
#[expect(missing_docs, reason = "the names are Linux's own")]
pub mod advice {
    pub const DONTNEED: u64 = 4;
    pub const FREE: u64 = 8;
    pub const HUGEPAGE: u64 = 14;
    pub const NOHUGEPAGE: u64 = 15;
    pub const COLD: u64 = 20;
    pub const PAGEOUT: u64 = 21;
    pub const POPULATE_READ: u64 = 22;
    pub const POPULATE_WRITE: u64 = 23;
    pub const HWPOISON: u64 = 100;
}

/// Pages may be read.
pub const PROT_READ: u64 = 1;
/// Pages may be written.
pub const PROT_WRITE: u64 = 2;
/// Pages may be executed.
pub const PROT_EXEC: u64 = 4;

/// The size of a page: the programs are for 4K granules.
pub const PAGE: u64 = 4096;

/// An error number of Linux.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Error(pub i32);

/// Makes the system call `number`.
///
/// # Safety
/// As the call: what it does to this program's memory must be what the program expects.
pub unsafe fn call(number: u64, arguments: [u64; 6]) -> Result<u64, Error> {
    let result: i64;
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: the caller answers for the call; the kernel keeps every register but x0.
    unsafe {
        asm!("svc #0", in("x8") number, inlateout("x0") a => result, in("x1") b, in("x2") c, in("x3") d, in("x4") e, in("x5") f,
            options(nostack));
    }
    if (-4095..0).contains(&result) { Err(Error(-result as i32)) } else { Ok(result as u64) }
}

/// Ends the program.
pub fn exit(status: u8) -> ! {
    loop {
        // SAFETY: the call does not return.
        let _ = unsafe { call(number::EXIT_GROUP, [status.into(), 0, 0, 0, 0, 0]) };
    }
}

/// Writes bytes to a descriptor; the number of those written.
pub fn write(descriptor: i32, bytes: &[u8]) -> Result<usize, Error> {
    // SAFETY: the kernel only reads the bytes.
    let done =
        unsafe { call(number::WRITE, [descriptor as u64, bytes.as_ptr().addr() as u64, bytes.len() as u64, 0, 0, 0]) }?;
    Ok(done as usize)
}

/// CLOCK_MONOTONIC in nanoseconds.
pub fn monotonic() -> u64 {
    let mut time = [0u64; 2];
    // SAFETY: `time` has the layout of a `timespec`, and the kernel writes nothing else. CLOCK_MONOTONIC is 1.
    let done = unsafe { call(number::CLOCK_GETTIME, [1, time.as_mut_ptr().addr() as u64, 0, 0, 0, 0]) };
    assert!(done.is_ok(), "clock_gettime: {done:?}");
    time[0] * 1_000_000_000 + time[1]
}

/// New private anonymous memory.
pub fn map(length: u64, protection: u64) -> Result<u64, Error> {
    const PRIVATE_ANONYMOUS: u64 = 0x22;
    // SAFETY: a new map, at an address that the kernel chooses, overlays nothing.
    unsafe { call(number::MMAP, [0, length, protection, PRIVATE_ANONYMOUS, u64::MAX, 0]) }
}

/// New private memory of huge pages, of which `shift` is log2 of the size.
pub fn map_huge(length: u64, shift: u64) -> Result<u64, Error> {
    const PRIVATE_ANONYMOUS_HUGETLB: u64 = 0x4_0022;
    const SIZE_SHIFT: u64 = 26;
    let flags = PRIVATE_ANONYMOUS_HUGETLB | shift << SIZE_SHIFT;
    // SAFETY: a new map, at an address that the kernel chooses, overlays nothing.
    unsafe { call(number::MMAP, [0, length, PROT_READ | PROT_WRITE, flags, u64::MAX, 0]) }
}

/// Removes the maps of a range.
///
/// # Safety
/// Nothing in the range may be used again.
pub unsafe fn unmap(address: u64, length: u64) -> Result<u64, Error> {
    // SAFETY: the caller's duty.
    unsafe { call(number::MUNMAP, [address, length, 0, 0, 0, 0]) }
}

/// Moves or resizes the maps of a range, with MREMAP_MAYMOVE and other flags of mremap; where they are then.
///
/// # Safety
/// Nothing may be used at its old address again, nor what was at `new_address`.
pub unsafe fn remap(address: u64, length: u64, new_length: u64, flags: u64, new_address: u64) -> Result<u64, Error> {
    // SAFETY: the caller's duty.
    unsafe { call(number::MREMAP, [address, length, new_length, flags, new_address, 0]) }
}

/// Changes the protection of a range.
///
/// # Safety
/// What the program does with the range later must fit its new protection.
pub unsafe fn protect(address: u64, length: u64, protection: u64) -> Result<u64, Error> {
    // SAFETY: the caller's duty.
    unsafe { call(number::MPROTECT, [address, length, protection, 0, 0, 0]) }
}

/// Gives the kernel advice about a range.
///
/// # Safety
/// DONTNEED and FREE lose the contents: nobody may count on them afterwards.
pub unsafe fn advise(address: u64, length: u64, advice: u64) -> Result<u64, Error> {
    // SAFETY: the caller's duty.
    unsafe { call(number::MADVISE, [address, length, advice, 0, 0, 0]) }
}

/// Measures what `work` costs, from here to its end, under a name: unfold counts it and records it, with what the program itself does
/// in between. Elsewhere it is only done.
pub fn measured<R>(name: &CStr, work: impl FnOnce() -> R) -> R {
    /// unfold's own operation of `prctl`.
    const INTERVAL: u64 = 0x756E_6664;
    // SAFETY: the kernel only reads the name.
    let begun = unsafe { call(number::PRCTL, [INTERVAL, name.as_ptr().addr() as u64, 0, 0, 0, 0]) };
    let result = work();
    if begun.is_ok() {
        // SAFETY: nothing of the program's is read or written.
        let ended = unsafe { call(number::PRCTL, [INTERVAL, 0, 0, 0, 0, 0]) };
        assert!(ended.is_ok(), "the interval {name:?} was ended by another");
    }
    result
}
