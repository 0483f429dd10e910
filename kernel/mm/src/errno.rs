//! Linux's error numbers, as the calls of this crate return them and EL0 sees them.

use core::fmt;

/// An error number of Linux: positive, and never 0.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Errno(i32);

impl Errno {
    /// The number, as in Linux's `errno.h`.
    pub const fn number(self) -> i32 {
        self.0
    }

    /// What a system call returns for it: the number, negative.
    pub const fn to_return(self) -> i64 {
        -(self.0 as i64)
    }
}

macro_rules! errnos {
    ($($(#[$doc:meta])* $name:ident = $number:literal,)*) => {
        impl Errno {
            $($(#[$doc])* pub const $name: Self = Self($number);)*

            /// Its name, or `E?` for a number without one here.
            pub const fn name(self) -> &'static str {
                match self.0 {
                    $($number => stringify!($name),)*
                    _ => "E?",
                }
            }
        }
    };
}

errnos! {
    /// Operation not permitted.
    EPERM = 1,
    /// No such file or directory.
    ENOENT = 2,
    /// No such process.
    ESRCH = 3,
    /// Interrupted.
    EINTR = 4,
    /// Input or output failed.
    EIO = 5,
    /// No such device or address.
    ENXIO = 6,
    /// Argument list too long.
    E2BIG = 7,
    /// Not an executable that can be run here.
    ENOEXEC = 8,
    /// Bad file descriptor.
    EBADF = 9,
    /// No child process.
    ECHILD = 10,
    /// Try again.
    EAGAIN = 11,
    /// Out of memory, or out of address space.
    ENOMEM = 12,
    /// Permission denied.
    EACCES = 13,
    /// Bad address.
    EFAULT = 14,
    /// Busy.
    EBUSY = 16,
    /// It exists already.
    EEXIST = 17,
    /// No such device.
    ENODEV = 19,
    /// Not a directory.
    ENOTDIR = 20,
    /// Is a directory.
    EISDIR = 21,
    /// Invalid argument.
    EINVAL = 22,
    /// Too many open files in all.
    ENFILE = 23,
    /// Too many open files.
    EMFILE = 24,
    /// Not a terminal.
    ENOTTY = 25,
    /// File too large.
    EFBIG = 27,
    /// A value too large for its type.
    EOVERFLOW = 75,
    /// No space left on the device.
    ENOSPC = 28,
    /// Illegal seek.
    ESPIPE = 29,
    /// Read-only file system.
    EROFS = 30,
    /// Broken pipe.
    EPIPE = 32,
    /// Result out of range.
    ERANGE = 34,
    /// Path too long.
    ENAMETOOLONG = 36,
    /// Function not implemented.
    ENOSYS = 38,
    /// Too many symbolic links.
    ELOOP = 40,
    /// Operation not supported.
    EOPNOTSUPP = 95,
    /// Timed out.
    ETIMEDOUT = 110,
    /// The page is poisoned.
    EHWPOISON = 133,
}

impl fmt::Debug for Errno {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}({})", self.name(), self.0)
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

impl core::error::Error for Errno {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_returns_the_negative_number() {
        assert_eq!(Errno::ENOMEM.to_return(), -12);
        assert_eq!(Errno::ENOSYS.name(), "ENOSYS");
    }
}
