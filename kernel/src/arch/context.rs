//! Kernel contexts: a stack, and what a call must keep of the registers, which lies on it while another context runs.
//!
//! A stack is the upper half of a block aligned to twice its size, as those of the image are (linker.ld), so the exception entry
//! tells by one bit of SP that it has run over. The lower half is memory of the same block: whatever is written there before the next
//! exception harms nobody, and a word at its end tells of it at the next switch.

use alloc::alloc::{Layout, alloc, dealloc};
use core::arch::global_asm;
use core::ptr::NonNull;

use super::exception::STACK_BIT;

global_asm!(include_str!("context.s"));

unsafe extern "C" {
    fn switch_context(from: *mut u64, to: u64);
}

/// Bytes of a stack.
const SIZE: usize = 1 << STACK_BIT;
/// Bytes that a stack takes, with the half that is left free.
pub const STACK_BLOCK: usize = 2 * SIZE;
/// Bytes that `switch_context` keeps: x19 to x30.
const KEPT: usize = 96;
/// Where x29 and x30 are among them.
const FRAME: usize = 0;
const LINK: usize = 8;
/// What stands below a stack that has not run over.
const UNTOUCHED: u64 = 0x756E_666F_6C64_2121;

/// A kernel stack.
#[derive(Debug)]
pub struct KernelStack(NonNull<u8>);

// SAFETY: it owns its memory.
unsafe impl Send for KernelStack {}
// SAFETY: through a shared reference it only reads the word below the stack.
unsafe impl Sync for KernelStack {}

const LAYOUT: Layout = match Layout::from_size_align(STACK_BLOCK, STACK_BLOCK) {
    Ok(layout) => layout,
    Err(_) => unreachable!(),
};

impl KernelStack {
    /// A stack; `None` if the heap has no room for one.
    pub fn new() -> Option<Self> {
        // SAFETY: the layout has a size.
        let stack = Self(NonNull::new(unsafe { alloc(LAYOUT) })?);
        // SAFETY: inside the block, and aligned.
        unsafe { stack.mark().write(UNTOUCHED) };
        Some(stack)
    }

    /// Lays out a context that starts with `entry`; its SP.
    pub fn start(&mut self, entry: extern "C" fn() -> !) -> u64 {
        // SAFETY: the last bytes of the block, which nobody uses yet. No caller is there: a zero ends a backtrace.
        unsafe {
            let kept = self.0.add(STACK_BLOCK - KEPT);
            kept.add(FRAME).cast::<u64>().write(0);
            kept.add(LINK).cast::<u64>().write(entry as usize as u64);
            kept.as_ptr() as u64
        }
    }

    /// Whether nothing was written below it, as far as that can be seen.
    pub fn is_intact(&self) -> bool {
        // SAFETY: inside the block, and aligned. Volatile, as code that runs over would write it behind the compiler's back.
        unsafe { self.mark().read_volatile() == UNTOUCHED }
    }

    fn mark(&self) -> NonNull<u64> {
        // SAFETY: inside the block.
        unsafe { self.0.add(SIZE - size_of::<u64>()).cast() }
    }
}

impl Drop for KernelStack {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout; whoever drops it does not run on it.
        unsafe { dealloc(self.0.as_ptr(), LAYOUT) };
    }
}

/// Leaves this context, its SP at `from`, and goes on with the one whose SP is `to`. Returns when somebody goes on with this one.
///
/// # Safety
/// `to` comes from [`KernelStack::start`] or was left by this function, nobody has gone on with it since, and its stack is still
/// there. Interrupts are masked, so that nothing else runs on this CPU between choosing `to` and being there.
pub unsafe fn switch(from: *mut u64, to: u64) {
    // SAFETY: the caller's promise.
    unsafe { switch_context(from, to) };
}
