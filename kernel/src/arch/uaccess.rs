//! Access to user memory from the kernel: checked, and with a way out when it faults.
//!
//! A fault asks the hook, which memory management has installed, exactly as a fault of the program itself would; so a copy into
//! memory that is swapped out, or that another CPU is unfolding, waits and goes on. Only what the program could not have touched
//! either is an error.

use core::arch::global_asm;
use core::sync::atomic::{AtomicPtr, Ordering};

use boot::secondary::MAX_RUNNING;
use mmu::USER_END;

use super::exception::ExceptionFrame;
use super::syndrome::{FaultKind, Syndrome};
use super::user::UserFault;

global_asm!(include_str!("uaccess.s"));

unsafe extern "C" {
    fn user_copy_in(to: *mut u8, from: u64, length: usize) -> u64;
    fn user_copy_out(to: u64, from: *const u8, length: usize) -> u64;
    fn user_zero(to: u64, length: usize) -> u64;
    fn user_access_failed();
    static user_access_start: u8;
    static user_access_end: u8;
}

/// The program has no such memory, or not for this access: EFAULT. Part of the bytes may have been copied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault;

/// Each CPU's own.
static HOOKS: [AtomicPtr<()>; MAX_RUNNING] = [const { AtomicPtr::new(core::ptr::null_mut()) }; MAX_RUNNING];

fn hook() -> &'static AtomicPtr<()> {
    &HOOKS[mmu::current_cpu()]
}

/// What resolves faults: `true` means that the access shall be tried again.
pub type FaultHook = fn(UserFault) -> bool;

/// Installs what resolves faults on this CPU.
pub fn set_fault_hook(hook: FaultHook) {
    replace_fault_hook(Some(hook));
}

/// Installs another hook for this CPU, or none, and returns the one before.
pub fn replace_fault_hook(new: Option<FaultHook>) -> Option<FaultHook> {
    let new = new.map_or(core::ptr::null_mut(), |hook| hook as *mut ());
    from_pointer(hook().swap(new, Ordering::AcqRel))
}

/// Does `act`, in which copies end at the first fault, even where it could be resolved: so nobody else runs meanwhile.
pub fn without_faults<R>(act: impl FnOnce() -> R) -> R {
    let hook = replace_fault_hook(None);
    let result = act();
    replace_fault_hook(hook);
    result
}

fn from_pointer(hook: *mut ()) -> Option<FaultHook> {
    // SAFETY: only `replace_fault_hook` stores to HOOKS, and it stores a `FaultHook` or null.
    (!hook.is_null()).then(|| unsafe { core::mem::transmute::<*mut (), FaultHook>(hook) })
}

/// Copies user memory into `to`.
///
/// # Errors
/// [`Fault`].
pub fn copy_in(to: &mut [u8], from: u64) -> Result<(), Fault> {
    check(from, to.len())?;
    // SAFETY: `to` is the kernel's to write; the user side is checked, and what faults is resolved or reported.
    done(unsafe { user_copy_in(to.as_mut_ptr(), from, to.len()) })
}

/// Copies `from` into user memory.
///
/// # Errors
/// [`Fault`].
pub fn copy_out(to: u64, from: &[u8]) -> Result<(), Fault> {
    check(to, from.len())?;
    // SAFETY: as `copy_in`.
    done(unsafe { user_copy_out(to, from.as_ptr(), from.len()) })
}

/// Fills user memory with zero.
///
/// # Errors
/// [`Fault`].
pub fn zero(to: u64, length: usize) -> Result<(), Fault> {
    check(to, length)?;
    // SAFETY: as `copy_in`.
    done(unsafe { user_zero(to, length) })
}

/// LDTR and STTR on an upper-half address would only fault, but the hook must never be asked about one.
fn check(address: u64, length: usize) -> Result<(), Fault> {
    let end = address.checked_add(length as u64).ok_or(Fault)?;
    if end <= USER_END { Ok(()) } else { Err(Fault) }
}

const fn done(status: u64) -> Result<(), Fault> {
    if status == 0 { Ok(()) } else { Err(Fault) }
}

/// If the exception is a fault of one of the routines on user memory: resolves it, or makes the routine return an error.
pub(super) fn resolve(frame: &mut ExceptionFrame, syndrome: Syndrome) -> bool {
    let code = &raw const user_access_start as u64..&raw const user_access_end as u64;
    if !code.contains(&frame.elr) || frame.far >= USER_END {
        return false;
    }
    let fault =
        UserFault { address: frame.far, access: syndrome.access(), kind: syndrome.fault_kind(), esr: frame.esr };
    if !ask_hook(fault) {
        frame.elr = user_access_failed as *const () as u64;
    }
    true
}

fn ask_hook(fault: UserFault) -> bool {
    if matches!(fault.kind, FaultKind::Alignment | FaultKind::Other) {
        return false;
    }
    from_pointer(hook().load(Ordering::Acquire)).is_some_and(|hook| hook(fault))
}
