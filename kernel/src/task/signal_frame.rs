//! What a handler of a signal finds on the stack, and what `rt_sigreturn` takes back from there: Linux's `rt_sigframe` for arm64.
//!
//! From the bottom up: `siginfo` (128 bytes), `ucontext` with the registers, then a frame record, so that a backtrace leads on into
//! the interrupted code. Pure: bytes in, bytes out.

use super::signals::{AlternateStack, Info};

/// Bytes of `siginfo` and `ucontext`.
pub const SIZE: usize = CONTEXT + MACHINE + RESERVED + 4096;
/// Bytes of the frame record above them.
pub const RECORD: usize = 16;

/// Where `ucontext` starts in the frame.
pub const CONTEXT: usize = Info::SIZE;
/// Offsets in `ucontext`.
const STACK: usize = 16;
const MASK: usize = 40;
const MACHINE: usize = 176;
/// Offsets in its `mcontext`: the faulting address, x0 to x30, SP, PC, PSTATE, then records, each with a number and its size.
const GENERAL: usize = 8;
const RESERVED: usize = 288;
/// The record with the FP and SIMD registers: its number and its size.
const VECTORS: [u32; 2] = [0x4650_8001, 528];

/// The registers that a frame holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Registers {
    /// x0 to x30, SP, PC, PSTATE.
    pub general: [u64; 34],
    /// FPSR and FPCR.
    pub control: [u32; 2],
    /// v0 to v31.
    pub vectors: [u128; 32],
}

/// All that a frame holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frame {
    /// What the program is to go on with.
    pub registers: Registers,
    /// The signals blocked then.
    pub mask: u64,
    /// The stack for handlers then.
    pub stack: AlternateStack,
}

/// The bytes of a frame, with the frame record behind.
pub fn build(frame: &Frame, info: Info) -> [u8; SIZE + RECORD] {
    let mut bytes = [0; SIZE + RECORD];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    put(0, &info.bytes());
    put(CONTEXT + STACK, &frame.stack.address.to_le_bytes());
    put(CONTEXT + STACK + 8, &frame.stack.flags.to_le_bytes());
    put(CONTEXT + STACK + 16, &frame.stack.size.to_le_bytes());
    put(CONTEXT + MASK, &frame.mask.to_le_bytes());
    let machine = CONTEXT + MACHINE;
    put(machine, &info.value.to_le_bytes());
    put(machine + GENERAL, frame.registers.general.map(u64::to_le_bytes).as_flattened());
    let vectors = machine + RESERVED;
    put(vectors, VECTORS.map(u32::to_le_bytes).as_flattened());
    put(vectors + 8, frame.registers.control.map(u32::to_le_bytes).as_flattened());
    put(vectors + 16, frame.registers.vectors.map(u128::to_le_bytes).as_flattened());
    put(SIZE, &frame.registers.general[29].to_le_bytes());
    put(SIZE + 8, &frame.registers.general[30].to_le_bytes());
    bytes
}

/// Takes a frame back. `None` if it is not one: its record of the FP and SIMD registers is not where it was put.
pub fn parse(bytes: &[u8; SIZE]) -> Option<Frame> {
    let word = |at: usize| bytes[at..].first_chunk().map_or(0, |chunk| u64::from_le_bytes(*chunk));
    let half = |at: usize| word(at) as u32;
    let machine = CONTEXT + MACHINE;
    let vectors = machine + RESERVED;
    let registers = Registers {
        general: core::array::from_fn(|index| word(machine + GENERAL + index * 8)),
        control: [half(vectors + 8), half(vectors + 12)],
        vectors: core::array::from_fn(|index| {
            let at = vectors + 16 + index * 16;
            u128::from(word(at)) | u128::from(word(at + 8)) << 64
        }),
    };
    let stack = AlternateStack {
        address: word(CONTEXT + STACK),
        flags: half(CONTEXT + STACK + 8),
        size: word(CONTEXT + STACK + 16),
    };
    ([half(vectors), half(vectors + 4)] == VECTORS).then(|| Frame { registers, mask: word(CONTEXT + MASK), stack })
}

#[cfg(test)]
mod tests {
    use super::super::status::{ExitStatus, Signal};
    use super::*;

    fn example() -> Frame {
        Frame {
            registers: Registers {
                general: core::array::from_fn(|index| 0x1000 + index as u64),
                control: [1 << 27, 3 << 22],
                vectors: core::array::from_fn(|index| (index as u128) << 100 | 7),
            },
            mask: 0x55,
            stack: AlternateStack { address: 0x7000, flags: 0, size: 0x2000 },
        }
    }

    const SEGV: Info = Info { signal: Signal::SEGV, code: 1, value: 0xABC, status: 0 };

    #[test]
    fn what_is_built_is_taken_back() {
        let frame = example();
        let bytes = build(&frame, SEGV);
        assert_eq!(parse(bytes.first_chunk().unwrap()), Some(frame));
    }

    #[test]
    fn offsets_are_linuxs() {
        let bytes = build(&example(), SEGV);
        let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        assert_eq!(SIZE, 4688);
        assert_eq!((word(0), word(8), word(16)), (11, 1, 0xABC));
        let child = build(&example(), Info::of_child(101, ExitStatus::Exited(7)));
        assert_eq!((child[0], child[8], child[16], child[24]), (17, 1, 101, 7));
        // uc_mcontext.pc: 128 + 176 + 8 + 31 * 8 + 8.
        assert_eq!(word(128 + 176 + 264), 0x1000 + 32);
        assert_eq!((word(SIZE), word(SIZE + 8)), (0x1000 + 29, 0x1000 + 30));
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        assert_eq!(parse(&[0; SIZE]), None);
    }
}
