//! What the kernel hands a program on its stack: arguments, environment and the auxiliary vector.

use core::ffi::CStr;

/// The start of a program's stack.
pub struct Args {
    argc: usize,
    argv: *const *const u8,
    auxv: *const [u64; 2],
}

impl Args {
    /// Reads the layout that every Linux kernel builds: argc, argv pointers, 0, envp pointers, 0, pairs of the vector.
    ///
    /// # Safety
    /// `stack` must be the stack pointer as it was at the program's first instruction.
    pub(crate) unsafe fn from_stack(stack: *const u64) -> Self {
        // SAFETY: the layout above; the loop stops at envp's closing zero.
        unsafe {
            let argc = stack.read() as usize;
            let argv = stack.add(1).cast::<*const u8>();
            let mut word = stack.add(1 + argc + 1);
            while word.read() != 0 {
                word = word.add(1);
            }
            Self { argc, argv, auxv: word.add(1).cast() }
        }
    }

    /// Argument number `index`; 0 is the program's name. `None` past the last, or when it is not UTF-8.
    pub fn get(&self, index: usize) -> Option<&str> {
        if index >= self.argc {
            return None;
        }
        // SAFETY: argv has argc pointers to strings that end in a zero byte, and nobody changes them.
        let text = unsafe { CStr::from_ptr(self.argv.add(index).read().cast()) };
        text.to_str().ok()
    }

    /// The arguments after the program's name.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        (1..self.argc).map(|index| self.get(index).unwrap_or("(not UTF-8)"))
    }

    /// The value of entry `key` of the auxiliary vector (`AT_…` of `<elf.h>`).
    pub fn auxiliary(&self, key: u64) -> Option<u64> {
        let mut entry = self.auxv;
        loop {
            // SAFETY: the vector ends with an AT_NULL pair, where the loop stops.
            let [found, value] = unsafe { entry.read() };
            match found {
                0 => return None,
                found if found == key => return Some(value),
                // SAFETY: as above, this pair was not the last.
                _ => entry = unsafe { entry.add(1) },
            }
        }
    }

    /// The address of the first word of the stack, argc.
    pub fn stack(&self) -> u64 {
        self.argv.addr() as u64 - 8
    }
}
