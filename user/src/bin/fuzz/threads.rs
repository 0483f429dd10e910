//! Threads, each of which makes calls at random beside the others, their futexes, and their ends.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU32, Ordering};

use user::futex::operation;
use user::process::{self, signal};
use user::sys::{self, number};
use user::thread::{self, SHARED};

use super::calls::call;
use super::child::Child;

/// Threads of a process beside the first.
const THREADS: usize = 6;
const STACK: usize = 32 << 10;

/// A stack, which lies in the program and not among its maps, so that no thread takes it from another.
#[repr(C, align(16))]
struct Stack(UnsafeCell<[u8; STACK]>);

// SAFETY: only the thread that has it uses it.
unsafe impl Sync for Stack {}

static STACKS: [Stack; THREADS] = [const { Stack(UnsafeCell::new([0; STACK])) }; THREADS];
/// The number of the thread that has each stack, which the kernel writes there; 0 when it is free. One that is made without
/// CLONE_CHILD_CLEARTID keeps it.
static NUMBERS: [AtomicU32; THREADS] = [const { AtomicU32::new(0) }; THREADS];
/// Before the kernel has written it.
const TAKEN: u32 = u32::MAX;

/// Words that threads wait for.
static WORDS: [AtomicU32; 3] = [const { AtomicU32::new(0) }; 3];

/// Flags of clone, with Linux's values.
mod flag {
    pub const VM: u64 = 0x100;
    pub const VFORK: u64 = 0x4000;
    pub const CHILD_CLEARTID: u64 = 0x20_0000;
    /// What may be asked for besides: SYSVSEM, SETTLS, PARENT_SETTID, DETACHED, CHILD_SETTID.
    pub const MORE: u64 = 0x4_0000 | 0x8_0000 | 0x10_0000 | 0x40_0000 | 0x100_0000;
}

/// What lies at the upper end of a new thread's stack.
#[repr(C, align(16))]
struct Start {
    child: Child,
    /// Whether it may be one of a process of its own, in which nobody has the other stacks.
    is_process: bool,
    at: usize,
}

extern "C" fn run(start: *const Start) {
    // SAFETY: `start` has put it there for this thread, which takes it once.
    let Start { mut child, is_process, at } = unsafe { start.read() };
    if is_process {
        keep_only(at);
    }
    child.go()
}

/// Starts a thread, mostly; with other flags it may be a process, one that borrows the memory, or nothing.
pub fn start(child: &mut Child) {
    let free = |number: &AtomicU32| number.compare_exchange(0, TAKEN, Ordering::Relaxed, Ordering::Relaxed).is_ok();
    let Some(at) = NUMBERS.iter().position(free) else { return };
    let flags = flags(child);
    let next = if flags & flag::VM == 0 { child.below() } else { Some(child.beside()) };
    let Some(mut next) = next else {
        NUMBERS[at].store(0, Ordering::Relaxed);
        return;
    };
    if flags & flag::VFORK != 0 {
        next.steps = next.steps.min(5);
    }
    let top = STACKS[at].0.get().addr() + STACK - size_of::<Start>();
    let place = core::ptr::with_exposed_provenance_mut::<Start>(top);
    // SAFETY: inside the stack, which was free; its alignment is that of what is put there.
    unsafe { place.write(Start { child: next, is_process: flags & flag::VM == 0, at }) };
    let number_at = if child.random.once_in(16) { child.range().0 } else { NUMBERS[at].as_ptr().addr() as u64 };
    let entry = run as extern "C" fn(*const Start) as usize as u64;
    // SAFETY: the new one has a stack of its own, and ends in `run`.
    let made = unsafe { thread::clone(flags, top as u64, child.random.number(), number_at, entry) };
    if made.is_err() {
        NUMBERS[at].store(0, Ordering::Relaxed);
    }
}

fn flags(child: &mut Child) -> u64 {
    let more = child.random.number() & flag::MORE;
    let more = more | if child.random.once_in(8) { 0 } else { flag::CHILD_CLEARTID };
    match child.random.below(16) {
        0 => more | signal::CHLD,
        1 => more | signal::CHLD | flag::VM | flag::VFORK,
        2 => child.random.number(),
        3 => more | SHARED & child.random.number(),
        _ => more | SHARED,
    }
}

/// In a process that was just made: its copies of the others' stacks are free.
fn keep_only(own: usize) {
    for (at, number) in NUMBERS.iter().enumerate() {
        if at != own {
            number.store(0, Ordering::Relaxed);
        }
    }
}

/// The same for one whose stack may be any of them, as its parent's was.
pub fn forget() {
    let local = 0u8;
    let sp = (&raw const local).addr();
    let own = STACKS.iter().position(|stack| sp.wrapping_sub(stack.0.get().addr()) < STACK);
    keep_only(own.unwrap_or(THREADS));
}

/// The number of a thread that there may be; `which` is any number.
pub fn number(which: u64) -> u64 {
    match which as usize % (THREADS + 1) {
        THREADS => process::own_number(),
        at => NUMBERS[at].load(Ordering::Relaxed).into(),
    }
}

/// Waits for a futex, for a while, wakes it, or has others wait for another one.
pub fn futex(child: &mut Child) {
    let (word, other) = (word(child), word(child));
    let kind = child.random.one(&[
        operation::WAIT,
        operation::WAIT,
        operation::WAKE,
        operation::WAKE,
        operation::REQUEUE,
        operation::CMP_REQUEUE,
        operation::WAIT_BITSET,
        operation::WAKE_BITSET,
        child.random.clone().below(16),
    ]);
    let mode = child.random.one(&[0, operation::PRIVATE, operation::PRIVATE, 256]);
    let mut span = child.span();
    if kind == operation::WAIT_BITSET {
        // It is told until when, not how long.
        let until = sys::monotonic() + span[1];
        span = [until / 1_000_000_000, until % 1_000_000_000];
    }
    let waits = matches!(kind, operation::WAIT | operation::WAIT_BITSET);
    let fourth = if waits { span.as_ptr().addr() as u64 } else { child.random.below(4) };
    let value = child.random.one(&[0, 0, 0, 1, 2]);
    let bits = child.random.one(&[u64::MAX, 1, 3, 0]);
    let third = if kind == operation::CMP_REQUEUE { value } else { bits };
    let _ = call(number::FUTEX, [word, kind | mode, value, fourth, other, third]);
}

/// The address of a word: mostly one that all threads know; else one somewhere in memory.
fn word(child: &mut Child) -> u64 {
    let word = &WORDS[child.random.below(WORDS.len() as u64) as usize];
    match child.random.below(8) {
        0 | 1 => child.range().0 & !3,
        2 => {
            word.store(child.random.below(2) as u32, Ordering::Relaxed);
            word.as_ptr().addr() as u64
        }
        _ => word.as_ptr().addr() as u64,
    }
}

/// What a thread says about itself, and its end; or that of its process, or another program in its place.
pub fn about(child: &mut Child) {
    let (address, _) = child.range();
    match child.random.below(16) {
        0..=2 => drop(call(number::SET_TID_ADDRESS, [address & !3, 0, 0, 0, 0, 0])),
        3 | 4 => drop(call(number::SET_ROBUST_LIST, [address, 24, 0, 0, 0, 0])),
        5 => drop(call(number::GETTID, [0; 6])),
        6 if child.random.once_in(3) => thread::exit(0),
        7 if child.random.once_in(4) => sys::exit(0),
        8 => execute(child),
        9 if child.random.once_in(8) => drop(call(number::SIGRETURN, [0; 6])),
        _ => {}
    }
}

/// The program again, as another process would run it.
fn execute(child: &mut Child) {
    let Some(next) = child.below() else { return };
    let seed = Text::new(child.random.number());
    let (steps, generations) = (Text::new(next.steps), Text::new(next.generations));
    let _ = process::execute(c"/bin/fuzz", &[c"fuzz", seed.get(), c"0", steps.get(), generations.get()]);
}

/// A number in decimal digits.
struct Text([u8; 21]);

impl Text {
    fn new(mut number: u64) -> Self {
        let mut text = [b'0'; 21];
        text[20] = 0;
        for digit in text[..20].iter_mut().rev() {
            *digit += (number % 10) as u8;
            number /= 10;
        }
        Self(text)
    }

    fn get(&self) -> &core::ffi::CStr {
        core::ffi::CStr::from_bytes_until_nul(&self.0).unwrap_or(c"")
    }
}
