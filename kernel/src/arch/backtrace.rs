//! The call chain by frame pointers: each frame starts with the caller's x29 and the return address (AAPCS64).

use core::fmt::Write;

use mmu::LINEAR_BASE;

/// Most calls that are shown.
const DEPTH: usize = 32;

/// Prints the calls that led to `pc`, whose frame pointer was `frame`. Every word is read by a probe, so a broken chain ends the list
/// and not the kernel.
pub fn print(out: &mut dyn Write, pc: u64, mut frame: u64) {
    let _ = writeln!(out, "backtrace:");
    let _ = writeln!(out, "  {pc:#018x}");
    for _ in 0..DEPTH {
        if frame < LINEAR_BASE || frame % 16 != 0 {
            break;
        }
        let (Some(next), Some(caller)) = (word(frame), word(frame + 8)) else { break };
        if caller == 0 {
            break;
        }
        let _ = writeln!(out, "  {:#018x}", caller - 4);
        if next <= frame {
            break;
        }
        frame = next;
    }
    let _ = writeln!(out, "  (names: addr2line -fe KERNEL ADDRESS..., or in gdb: info line *ADDRESS)");
}

fn word(address: u64) -> Option<u64> {
    if super::exception::probe::read(address).is_some() || super::exception::probe::read(address + 7).is_some() {
        return None;
    }
    // SAFETY: both ends could be read just now, and an aligned word lies in one page.
    Some(unsafe { (address as *const u64).read_volatile() })
}
