//! The machine behind the door in the kernel: real descriptors through the linear map, real TLBI, real barriers.

#[cfg(not(feature = "check"))]
mod runs;

use core::arch::asm;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use aarch64_cpu::asm::barrier;

#[cfg(not(feature = "check"))]
use super::Door;
use super::{Mark, page_data};
use crate::addr::{Asid, LINEAR_BASE, PAGE_SIZE, Pfn, PhysAddr};
#[cfg(not(feature = "check"))]
use crate::descriptor::Descriptor;
use crate::events::{Dsb, Events};
use crate::fact::{Fact, Role};
use crate::features::Features;
use crate::tlb_op::{Depth, Form, Scope, TlbOp};

/// What TPIDR_EL1 points at: one for each CPU, from before the first use of the door.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct PerCpu {
    /// The number of the CPU, from 0.
    pub index: usize,
    /// For the kernel above: whatever it keeps for each CPU.
    pub kernel: AtomicU64,
    events: Events,
    /// Events that it has told the model.
    #[cfg(feature = "check")]
    told: AtomicU64,
}

impl PerCpu {
    /// The block of CPU `index`.
    pub const fn new(index: usize) -> Self {
        Self {
            index,
            kernel: AtomicU64::new(0),
            events: Events::new(),
            #[cfg(feature = "check")]
            told: AtomicU64::new(0),
        }
    }
}

struct FeatureCell(UnsafeCell<Features>);

// SAFETY: written once by `set_features`, before any other CPU runs and before any Door exists; only read afterwards.
unsafe impl Sync for FeatureCell {}

static FEATURES: FeatureCell = FeatureCell(UnsafeCell::new(Features {
    range_tlbi: false,
    level_hint: false,
    bbm_level: 0,
    hardware_access: false,
    hardware_dirty: false,
    lse: false,
    asid_bits: 8,
}));
/// The one feature that every access looks at, apart from the rest.
static LSE: AtomicBool = AtomicBool::new(false);

/// Says what the CPUs can do.
///
/// # Safety
/// Called once, on the first CPU, before [`Door::open`].
pub unsafe fn set_features(features: Features) {
    // SAFETY: the caller promises that nobody else can be looking.
    unsafe { *FEATURES.0.get() = features };
    LSE.store(features.lse, Ordering::Relaxed);
}

/// The hardware: nothing to hold.
#[derive(Debug)]
pub(super) struct Machine(());

/// The number of this CPU's next event, from 1.
#[cfg(feature = "check")]
pub(super) fn next_event_number() -> u64 {
    per_cpu().told.fetch_add(1, Ordering::Relaxed) + 1
}

impl Machine {
    pub(super) const fn new() -> Self {
        Self(())
    }
}

#[cfg(not(feature = "check"))]
impl Door {
    /// Opens the door to the hardware.
    ///
    /// # Safety
    /// The linear map is in place and writable for all RAM, TPIDR_EL1 of every CPU that uses the door points at its own
    /// [`PerCpu`], and [`set_features`] has been called.
    pub const unsafe fn open() -> Self {
        Self { machine: Machine::new() }
    }
}

#[inline(always)]
fn pointer(address: PhysAddr) -> *mut u64 {
    (address.as_u64() | LINEAR_BASE) as *mut u64
}

#[inline(always)]
fn atomic(address: PhysAddr) -> &'static AtomicU64 {
    atomic_at(pointer(address))
}

#[inline(always)]
fn atomic_at(entry: *mut u64) -> &'static AtomicU64 {
    // SAFETY: `Door::open`'s caller promised the linear map; descriptors are only ever accessed as atomics.
    unsafe { AtomicU64::from_ptr(entry) }
}

#[inline(always)]
fn lse() -> bool {
    LSE.load(Ordering::Relaxed)
}

/// SWP of FEAT_LSE, relaxed: the lock of the table orders it, and the DSB before the TLBI.
#[inline(always)]
fn swap_lse(entry: *mut u64, value: u64) -> u64 {
    let old;
    // SAFETY: as `atomic`; the CPU has FEAT_LSE, or `lse()` would be false.
    unsafe {
        asm!(".arch_extension lse", "swp {new}, {old}, [{p}]", new = in(reg) value, old = lateout(reg) old,
             p = in(reg) entry, options(nostack, preserves_flags));
    }
    old
}

/// CAS of FEAT_LSE, relaxed.
#[inline(always)]
fn compare_lse(entry: *mut u64, old: u64, new: u64) -> u64 {
    let mut seen = old;
    // SAFETY: as `swap_lse`.
    unsafe {
        asm!(".arch_extension lse", "cas {seen}, {new}, [{p}]", seen = inout(reg) seen, new = in(reg) new,
             p = in(reg) entry, options(nostack, preserves_flags));
    }
    seen
}

/// The same by exclusive accesses.
#[inline(always)]
fn compare_exclusive(entry: *mut u64, old: u64, new: u64) -> u64 {
    match atomic_at(entry).compare_exchange(old, new, Ordering::Relaxed, Ordering::Relaxed) {
        Ok(seen) | Err(seen) => seen,
    }
}

impl Machine {
    #[inline(always)]
    pub(super) fn load(&self, address: PhysAddr) -> u64 {
        atomic(address).load(Ordering::Relaxed)
    }

    #[cfg(not(feature = "check"))]
    pub(super) fn load_run(&self, address: PhysAddr, entries: &mut [Descriptor]) {
        for (index, entry) in (0..).zip(entries) {
            *entry = Descriptor::from_bits(self.load(address.add_bytes(8 * index)));
        }
    }

    #[inline(always)]
    pub(super) fn store(&self, address: PhysAddr, value: u64) {
        // Release: a page's contents are visible before the descriptor that maps it (reference 4.28).
        atomic(address).store(value, Ordering::Release);
    }

    #[inline(always)]
    pub(super) fn swap(&self, address: PhysAddr, value: u64) -> u64 {
        if lse() { swap_lse(pointer(address), value) } else { atomic(address).swap(value, Ordering::Relaxed) }
    }

    #[cfg(feature = "check")]
    pub(super) fn compare_exchange(&self, address: PhysAddr, old: u64, new: u64) -> Result<u64, u64> {
        let compare = if lse() { compare_lse } else { compare_exclusive };
        let seen = compare(pointer(address), old, new);
        if seen == old { Ok(seen) } else { Err(seen) }
    }

    pub(super) fn activate(&self, root: PhysAddr, asid: Asid) {
        let value = ((asid.as_u16() as u64) << 48) | root.as_u64();
        // SAFETY: the kernel runs from TTBR1; user addresses are only reached through the fixed-up copy routines.
        unsafe { asm!("msr ttbr0_el1, {}", in(reg) value, options(nostack, preserves_flags)) };
    }

    #[inline(always)]
    pub(super) fn tlbi(&self, op: TlbOp) {
        issue(op);
    }

    #[inline(always)]
    pub(super) fn dsb(&self, kind: Dsb) {
        match kind {
            Dsb::IshSt => barrier::dsb(barrier::ISHST),
            Dsb::Ish => barrier::dsb(barrier::ISH),
            Dsb::NshSt => barrier::dsb(barrier::NSHST),
            Dsb::Nsh => barrier::dsb(barrier::NSH),
        }
    }

    #[inline(always)]
    pub(super) fn isb(&self) {
        barrier::isb(barrier::SY);
    }

    #[inline(always)]
    pub(super) fn mark(&self, mark: Mark) -> u32 {
        let count: u64;
        macro_rules! hint {
            ($number:literal) => {
                // SAFETY: a hint that is not allocated is a no-op; reading the event counter changes nothing.
                unsafe { asm!(concat!("hint #", $number), "mrs {}, pmevcntr0_el0", out(reg) count, options(nostack, preserves_flags)) }
            };
        }
        match mark {
            Mark::Begin => hint!("0x60"),
            Mark::End => hint!("0x61"),
            Mark::Unmap => hint!("0x62"),
            Mark::Scan => hint!("0x63"),
            Mark::Copy => hint!("0x64"),
            Mark::Other => hint!("0x65"),
        }
        count as u32
    }

    #[inline(always)]
    pub(super) fn fact(&self, fact: Fact) {
        macro_rules! announce {
            ($number:literal, $page:expr) => {
                // SAFETY: a hint that is not allocated is a no-op; the page is RAM in the linear map, and what is loaded is dropped.
                unsafe {
                    asm!(
                        concat!("hint #", $number),
                        "ldr xzr, [{}]",
                        in(reg) pointer($page.start()),
                        options(nostack, preserves_flags)
                    )
                }
            };
        }
        match fact {
            Fact::FrameRole(page, 1, Role::Table { .. }) => announce!("0x66", page),
            Fact::FrameRole(page, 1, Role::Freed) => announce!("0x67", page),
            _ => (),
        }
    }

    pub(super) fn clear_pages(&self, frame: Pfn, count: usize) {
        // SAFETY: whole frames of RAM through the linear map, which the caller owns.
        unsafe { page_data::clear(pointer(frame.start()).cast(), count) };
    }

    pub(super) fn copy_pages(&self, to: Pfn, from: Pfn, count: usize) {
        // SAFETY: as `clear_pages`; two different folios do not overlap.
        unsafe { page_data::copy(pointer(to.start()).cast(), pointer(from.start()).cast(), count) };
    }

    pub(super) fn transfer_pages(&self, to: Pfn, from: Pfn, count: usize) {
        self.copy_pages(to, from, count);
    }

    pub(super) fn pages_are_zero(&self, frame: Pfn, count: usize) -> bool {
        // SAFETY: as `clear_pages`.
        unsafe { page_data::is_zero(pointer(frame.start()).cast(), count) }
    }

    pub(super) fn read_bytes(&self, from: PhysAddr, buffer: &mut [u8]) {
        debug_assert!(from.as_u64() % PAGE_SIZE + buffer.len() as u64 <= PAGE_SIZE);
        // SAFETY: within one frame of RAM, through the linear map; `buffer` is the kernel's own.
        unsafe { core::ptr::copy_nonoverlapping(pointer(from).cast::<u8>(), buffer.as_mut_ptr(), buffer.len()) };
    }

    pub(super) fn write_bytes(&self, to: PhysAddr, bytes: &[u8]) {
        debug_assert!(to.as_u64() % PAGE_SIZE + bytes.len() as u64 <= PAGE_SIZE);
        // SAFETY: as `read_bytes`.
        unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), pointer(to).cast::<u8>(), bytes.len()) };
    }

    pub(super) fn clean_to_unification(&self, frame: Pfn, count: usize) {
        const LINE: usize = 16; // the smallest line that CTR_EL0 can name, so that every line is met
        let start = pointer(frame.start()) as usize;
        for line in (start..start + count * PAGE_SIZE as usize).step_by(LINE) {
            // SAFETY: cleaning a cache line changes no data.
            unsafe { asm!("dc cvau, {}", in(reg) line, options(nostack, preserves_flags)) };
        }
    }

    pub(super) fn invalidate_instructions(&self) {
        // SAFETY: invalidating the instruction caches only makes fetches look again.
        unsafe { asm!("ic ialluis", options(nostack, preserves_flags)) };
    }

    #[inline(always)]
    pub(super) fn features(&self) -> Features {
        // SAFETY: written before `Door::open`, only read since.
        unsafe { *FEATURES.0.get() }
    }

    #[inline(always)]
    pub(super) fn cpu(&self) -> usize {
        per_cpu().index
    }

    #[inline(always)]
    pub(super) fn events(&self) -> &'static Events {
        &per_cpu().events
    }
}

#[inline(always)]
fn per_cpu() -> &'static PerCpu {
    let block: *const PerCpu;
    // SAFETY: `Door::open`'s caller promised that TPIDR_EL1 points at this CPU's block, which lives for ever.
    unsafe {
        asm!("mrs {}, tpidr_el1", out(reg) block, options(nostack, nomem, preserves_flags, pure));
        &*block
    }
}

/// The number of the CPU that asks.
#[inline(always)]
pub(crate) fn current_cpu() -> usize {
    per_cpu().index
}

/// The `tlbi` instruction of an operation. The range forms are written as SYS, which every assembler takes.
#[inline(always)]
fn issue(op: TlbOp) {
    macro_rules! tlbi {
        ($($instruction:literal),+) => {
            // SAFETY: forgetting translations is always allowed; what is owed for it is the caller's to complete.
            unsafe { asm!($($instruction),+, in(reg) op.operand, options(nostack, preserves_flags)) }
        };
    }
    match (op.form, op.depth, op.scope) {
        (Form::Page, Depth::Leaf, Scope::Broadcast) => tlbi!("tlbi vale1is, {}"),
        (Form::Page, Depth::WalkCaches, Scope::Broadcast) => tlbi!("tlbi vae1is, {}"),
        (Form::Page, Depth::Leaf, Scope::Local) => tlbi!("tlbi vale1, {}"),
        (Form::Page, Depth::WalkCaches, Scope::Local) => tlbi!("tlbi vae1, {}"),
        // RVALE1IS, RVAE1IS, RVALE1, RVAE1
        (Form::Range, Depth::Leaf, Scope::Broadcast) => tlbi!("sys #0, c8, c2, #5, {}"),
        (Form::Range, Depth::WalkCaches, Scope::Broadcast) => tlbi!("sys #0, c8, c2, #1, {}"),
        (Form::Range, Depth::Leaf, Scope::Local) => tlbi!("sys #0, c8, c6, #5, {}"),
        (Form::Range, Depth::WalkCaches, Scope::Local) => tlbi!("sys #0, c8, c6, #1, {}"),
        (Form::Asid, _, Scope::Broadcast) => tlbi!("tlbi aside1is, {}"),
        (Form::Asid, _, Scope::Local) => tlbi!("tlbi aside1, {}"),
        (Form::All, _, Scope::Broadcast) => tlbi!("tlbi vmalle1is // {}"),
        (Form::All, _, Scope::Local) => tlbi!("tlbi vmalle1 // {}"),
        (Form::PageAnyAsid, Depth::Leaf, Scope::Broadcast) => tlbi!("tlbi vaale1is, {}"),
        (Form::PageAnyAsid, Depth::WalkCaches, Scope::Broadcast) => tlbi!("tlbi vaae1is, {}"),
        (Form::PageAnyAsid, Depth::Leaf, Scope::Local) => tlbi!("tlbi vaale1, {}"),
        (Form::PageAnyAsid, Depth::WalkCaches, Scope::Local) => tlbi!("tlbi vaae1, {}"),
    }
}
