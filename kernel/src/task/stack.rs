//! The start of a program's stack, as Linux lays it out: argc, argv, envp, the auxiliary vector, and the strings they point at.
//!
//! From the top down: a zero word; the strings (the program's path, environment, arguments, platform); 16 random bytes; then, with
//! the stack pointer 16-aligned as the AAPCS64 asks, the words that the program reads from the bottom up.

use alloc::vec::Vec;

/// One past a program's stack: below the last 2 MiB of its addresses, and 2 MiB-aligned.
pub const STACK_TOP: u64 = 0xFFFF_FFE0_0000;
/// The size of the stack, Linux's default; pages are there when they are touched.
pub const STACK_SIZE: u64 = 8 << 20;
/// What lies below the stack and can not be touched, so that an overflow is noticed: as large as Linux keeps free.
pub const STACK_GUARD: u64 = 1 << 20;

/// Keys of the auxiliary vector, with the values of `<elf.h>`.
#[expect(missing_docs, reason = "the names are Linux's own")]
pub mod at {
    pub const NULL: u64 = 0;
    pub const PHDR: u64 = 3;
    pub const PHENT: u64 = 4;
    pub const PHNUM: u64 = 5;
    pub const PAGESZ: u64 = 6;
    pub const BASE: u64 = 7;
    pub const FLAGS: u64 = 8;
    pub const ENTRY: u64 = 9;
    pub const UID: u64 = 11;
    pub const EUID: u64 = 12;
    pub const GID: u64 = 13;
    pub const EGID: u64 = 14;
    pub const PLATFORM: u64 = 15;
    pub const HWCAP: u64 = 16;
    pub const CLKTCK: u64 = 17;
    pub const SECURE: u64 = 23;
    pub const RANDOM: u64 = 25;
    pub const HWCAP2: u64 = 26;
    pub const EXECFN: u64 = 31;
    pub const MINSIGSTKSZ: u64 = 51;
}

/// What a program is told at its start.
#[derive(Clone, Debug)]
pub struct Start<'a> {
    /// The program's path.
    pub path: &'a [u8],
    /// Its arguments, its name the first.
    pub arguments: &'a [&'a [u8]],
    /// Its environment, `NAME=VALUE` each.
    pub environment: &'a [&'a [u8]],
    /// The bytes that AT_RANDOM points at.
    pub random: [u8; 16],
    /// The program headers in its memory, and how many there are.
    pub headers: (u64, u64),
    /// Its first instruction.
    pub entry: u64,
    /// What the CPU can do: AT_HWCAP and AT_HWCAP2.
    pub hwcap: (u64, u64),
}

/// The bytes to put below the top of the stack.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stack {
    /// Where the bytes go, which is also the stack pointer to start with.
    pub pointer: u64,
    /// The bytes, up to the top.
    pub bytes: Vec<u8>,
}

/// Arguments and environment are larger than `limit` bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooLarge {
    /// The most they may be.
    pub limit: usize,
}

/// Lays out the start of a stack that ends at `top` (a multiple of 16), in at most `limit` bytes.
///
/// # Errors
/// When it would not fit.
pub fn build(start: &Start<'_>, top: u64, limit: usize) -> Result<Stack, TooLarge> {
    // Strings come first, from the top down, so that the addresses of all are known when the words are written.
    let mut strings = Strings { top, bytes: Vec::new() };
    strings.push(&[0; 8]);
    let path = strings.push_text(start.path);
    let environment: Vec<u64> = start.environment.iter().map(|text| strings.push_text(text)).collect();
    let arguments: Vec<u64> = start.arguments.iter().map(|text| strings.push_text(text)).collect();
    let platform = strings.push_text(b"aarch64");
    let random = strings.push(&start.random);

    let mut words = Vec::new();
    words.push(arguments.len() as u64);
    words.extend(arguments);
    words.push(0);
    words.extend(environment);
    words.push(0);
    words.extend(vector(start, path, platform, random).as_flattened());

    let pointer = (top - strings.bytes.len() as u64 - words.len() as u64 * 8) & !15;
    let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    bytes.resize((top - pointer) as usize - strings.bytes.len(), 0);
    bytes.extend(strings.bytes.iter().rev());
    if bytes.len() > limit { Err(TooLarge { limit }) } else { Ok(Stack { pointer, bytes }) }
}

/// The auxiliary vector, in the order of Linux.
fn vector(start: &Start<'_>, path: u64, platform: u64, random: u64) -> [[u64; 2]; 20] {
    /// Bytes of the frame that Linux pushes for a signal when there are only FP and SIMD registers to save.
    const SIGNAL_FRAME: u64 = 4720;
    const HEADER_SIZE: u64 = 56;
    const TICKS_A_SECOND: u64 = 100;
    [
        [at::MINSIGSTKSZ, SIGNAL_FRAME],
        [at::HWCAP, start.hwcap.0],
        [at::PAGESZ, 4096],
        [at::CLKTCK, TICKS_A_SECOND],
        [at::PHDR, start.headers.0],
        [at::PHENT, HEADER_SIZE],
        [at::PHNUM, start.headers.1],
        [at::BASE, 0],
        [at::FLAGS, 0],
        [at::ENTRY, start.entry],
        [at::UID, 0],
        [at::EUID, 0],
        [at::GID, 0],
        [at::EGID, 0],
        [at::SECURE, 0],
        [at::RANDOM, random],
        [at::HWCAP2, start.hwcap.1],
        [at::EXECFN, path],
        [at::PLATFORM, platform],
        [at::NULL, 0],
    ]
}

/// Bytes that grow downwards from `top`: kept in reverse.
struct Strings {
    top: u64,
    bytes: Vec<u8>,
}

impl Strings {
    fn push(&mut self, bytes: &[u8]) -> u64 {
        self.bytes.extend(bytes.iter().rev());
        self.top - self.bytes.len() as u64
    }

    fn push_text(&mut self, text: &[u8]) -> u64 {
        self.push(&[0]);
        self.push(text)
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::String;
    use alloc::vec;

    use super::*;

    const TOP: u64 = 0xFFFF_FFFF_F000;

    /// Reads a stack as a program's start code does.
    struct Reader(Stack);

    impl Reader {
        fn word(&self, address: u64) -> u64 {
            let at = (address - self.0.pointer) as usize;
            u64::from_le_bytes(self.0.bytes[at..at + 8].try_into().unwrap())
        }

        fn text(&self, address: u64) -> String {
            let at = (address - self.0.pointer) as usize;
            let text = self.0.bytes[at..].split(|&byte| byte == 0).next().unwrap();
            String::from_utf8(text.to_vec()).unwrap()
        }

        fn texts(&self, mut address: u64) -> (Vec<String>, u64) {
            let mut texts = vec![];
            while self.word(address) != 0 {
                texts.push(self.text(self.word(address)));
                address += 8;
            }
            (texts, address + 8)
        }
    }

    fn start<'a>(arguments: &'a [&'a [u8]], environment: &'a [&'a [u8]]) -> Start<'a> {
        Start {
            path: b"/swapout",
            arguments,
            environment,
            random: *b"0123456789abcdef",
            headers: (0x40_0040, 5),
            entry: 0x40_1000,
            hwcap: (3, 0),
        }
    }

    #[test]
    fn a_program_finds_all_it_is_told() {
        let stack = build(&start(&[b"swapout", b"", b"64K"], &[b"HOME=/", b"A=b c"]), TOP, 4096).unwrap();
        assert_eq!(stack.pointer % 16, 0);
        assert_eq!(stack.pointer + stack.bytes.len() as u64, TOP);
        let reader = Reader(stack);
        assert_eq!(reader.word(reader.0.pointer), 3);
        let (arguments, next) = reader.texts(reader.0.pointer + 8);
        assert_eq!(arguments, ["swapout", "", "64K"]);
        let (environment, mut next) = reader.texts(next);
        assert_eq!(environment, ["HOME=/", "A=b c"]);
        let mut vector = vec![];
        while reader.word(next) != at::NULL {
            vector.push((reader.word(next), reader.word(next + 8)));
            next += 16;
        }
        let get = |key| vector.iter().find(|entry| entry.0 == key).unwrap().1;
        assert_eq!(get(at::PHDR), 0x40_0040);
        assert_eq!(get(at::PHNUM), 5);
        assert_eq!(get(at::ENTRY), 0x40_1000);
        assert_eq!(get(at::HWCAP), 3);
        assert_eq!(get(at::PAGESZ), 4096);
        assert_eq!(reader.text(get(at::EXECFN)), "/swapout");
        assert_eq!(reader.text(get(at::PLATFORM)), "aarch64");
        assert_eq!(reader.word(get(at::RANDOM)).to_le_bytes(), *b"01234567");
    }

    #[test]
    fn the_pointer_is_aligned_whatever_the_lengths() {
        for length in 0..40 {
            let text = "x".repeat(length);
            for count in 0..4 {
                let arguments = vec![text.as_bytes(); count];
                let stack = build(&start(&arguments, &[]), TOP, 1 << 16).unwrap();
                assert_eq!(stack.pointer % 16, 0);
                assert_eq!(stack.pointer + stack.bytes.len() as u64, TOP);
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let text = "x".repeat(4096);
        assert_eq!(build(&start(&[text.as_bytes()], &[]), TOP, 4096), Err(TooLarge { limit: 4096 }));
    }
}
