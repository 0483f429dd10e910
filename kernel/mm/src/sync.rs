//! Locks with ranks. A CPU takes them in the order of [`Rank`] only; host and debug builds panic on a breach, and on an allocation
//! or a wait under a table's lock.
//!
//! A lock that is held over a wait (of the areas, of an anon_vma, of a folio) may be held by a task of this very CPU, which goes on
//! only if the waiter gives way: [`give_way`]. The others are held by a running CPU, and waiting for them relaxes through `mmu::relax`,
//! which on the host hands the baton to another CPU and in the kernel is `yield` (`core::hint::spin_loop` is an ISB on this target, and
//! would be counted as one).

use core::ops::{Deref, DerefMut};

use spin::RelaxStrategy;

/// The order in which locks are taken, from the outermost in (reference 4.27).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum Rank {
    /// The areas of a space.
    Areas,
    /// A folio. Several may be held, the later ones by trylock.
    Folio,
    /// The contents of a memory file.
    File,
    /// An anon_vma: which areas may map a folio.
    AnonVma,
    /// A last-level table. Two may be held where entries move.
    Table,
    /// A cluster of the swap device.
    Cluster,
    /// The queue of a swap device.
    Device,
    /// The map counts of a folio.
    MapCount,
    /// The LRU lists.
    Lru,
    /// The frame lists.
    Frames,
}

/// Relaxes by `yield`, or by handing on the baton.
#[derive(Debug)]
pub struct Relax;

impl RelaxStrategy for Relax {
    #[inline(always)]
    fn relax() {
        mmu::relax();
    }
}

/// Relaxes by giving way to other tasks.
#[derive(Debug)]
pub struct GiveWay;

impl RelaxStrategy for GiveWay {
    #[inline(always)]
    fn relax() {
        give_way();
    }
}

/// How a CPU goes on with another task; there is only one task where nobody has said.
static OTHER_TASKS: spin::once::Once<fn(), Relax> = spin::once::Once::new();

/// Says how a CPU goes on with another of its tasks, once for a run of the machine. The function returns when it is this task's turn
/// again; what the task holds goes with it by [`exchange_held`].
pub fn set_other_tasks(run: fn()) {
    OTHER_TASKS.call_once(|| run);
}

/// Waits a little for what another CPU, or another task of this one, holds over a wait of its own: the body of every loop that waits
/// for such a thing.
// Out of line: most locks are free, and their takers need not save registers for it.
#[cold]
#[inline(never)]
pub fn give_way() {
    assert_may_wait();
    match OTHER_TASKS.get() {
        Some(run) => run(),
        None => mmu::relax(),
    }
}

/// How a task lets others have their turn; there are none where nobody has said.
static TURNS: spin::once::Once<fn() -> bool, Relax> = spin::once::Once::new();

/// Says how a task lets others have their turn, once for a run of the machine. The function returns when it is this task's turn, with
/// false if the task is being ended.
pub fn set_turns(take: fn() -> bool) {
    TURNS.call_once(|| take);
}

/// Lets other tasks have their turn, if it is theirs, in the middle of long work and with no lock held. False if the task that asks is
/// being ended, and what it works at is of no use to anybody.
pub fn take_turns() -> bool {
    assert_may_wait();
    TURNS.get().is_none_or(|take| take())
}

/// A lock that one CPU holds.
#[derive(Debug)]
pub struct Lock<T> {
    rank: Rank,
    inner: spin::mutex::SpinMutex<T, Relax>,
}

/// Holding it means: this CPU alone may use the value. Dropping it unlocks.
#[derive(Debug)]
pub struct Guard<'a, T> {
    inner: spin::mutex::SpinMutexGuard<'a, T, Relax>,
    _held: Held,
}

impl<T> Lock<T> {
    /// A lock of this rank around `value`.
    pub const fn new(rank: Rank, value: T) -> Self {
        Self { rank, inner: spin::mutex::SpinMutex::new(value) }
    }

    /// Waits for the lock.
    #[inline]
    pub fn lock(&self) -> Guard<'_, T> {
        mmu::switch_point();
        let held = Held::take(self.rank);
        Guard { inner: self.inner.lock(), _held: held }
    }
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T> DerefMut for Guard<'_, T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.inner
    }
}

/// A lock that many CPUs hold to read, or one to write.
#[derive(Debug)]
pub struct RwLock<T> {
    rank: Rank,
    inner: spin::rwlock::RwLock<T, GiveWay>,
}

/// Holding it means: nobody writes the value.
#[derive(Debug)]
pub struct ReadGuard<'a, T> {
    inner: spin::rwlock::RwLockReadGuard<'a, T, GiveWay>,
    _held: Held,
}

/// Holding it means: this CPU alone uses the value.
#[derive(Debug)]
pub struct WriteGuard<'a, T> {
    inner: spin::rwlock::RwLockWriteGuard<'a, T, GiveWay>,
    _held: Held,
}

impl<T> RwLock<T> {
    /// A lock of this rank around `value`.
    pub const fn new(rank: Rank, value: T) -> Self {
        Self { rank, inner: spin::rwlock::RwLock::new(value) }
    }

    /// Waits until nobody writes.
    #[inline]
    pub fn read(&self) -> ReadGuard<'_, T> {
        mmu::switch_point();
        let held = Held::take(self.rank);
        ReadGuard { inner: self.inner.read(), _held: held }
    }

    /// Locks to write what nobody else has heard of, so that there is nothing to wait for and no order to keep.
    ///
    /// # Panics
    /// If somebody holds the lock.
    pub fn write_fresh(&self) -> WriteGuard<'_, T> {
        let Some(inner) = self.inner.try_write() else { panic!("a fresh value is locked") };
        WriteGuard { inner, _held: Held::tried(self.rank) }
    }

    /// Waits until nobody reads or writes.
    #[inline]
    pub fn write(&self) -> WriteGuard<'_, T> {
        mmu::switch_point();
        let held = Held::take(self.rank);
        WriteGuard { inner: self.inner.write(), _held: held }
    }
}

impl<T> Deref for ReadGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T> Deref for WriteGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T> DerefMut for WriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.inner
    }
}

/// The record that a lock of some rank is held by this CPU. Costs nothing where ranks are not checked.
#[derive(Debug)]
#[must_use]
pub struct Held {
    #[cfg(any(not(target_os = "none"), debug_assertions))]
    rank: Rank,
}

/// Whether locks of a rank may be held several at a time.
#[cfg(any(not(target_os = "none"), debug_assertions))]
const fn may_repeat(rank: Rank) -> bool {
    matches!(rank, Rank::Folio | Rank::AnonVma | Rank::Table)
}

#[cfg(any(not(target_os = "none"), debug_assertions))]
impl Held {
    /// Records that this CPU is about to hold a lock of `rank`.
    ///
    /// # Panics
    /// If a lock of a later rank is held, or another of the same rank that may not repeat.
    #[track_caller]
    pub fn take(rank: Rank) -> Self {
        ranks::with(|counts| {
            let first = if may_repeat(rank) { rank as usize + 1 } else { rank as usize };
            if let Some(held) = (first..ranks::COUNT).find(|&later| counts[later] > 0) {
                panic!("lock of rank {rank:?} taken while one of rank {held} is held");
            }
            counts[rank as usize] += 1;
        });
        #[cfg(not(target_os = "none"))]
        ranks::note_taken(rank);
        Self { rank }
    }

    /// Records a lock got by trying, which can not deadlock: no order is asked for.
    pub fn tried(rank: Rank) -> Self {
        ranks::with(|counts| counts[rank as usize] += 1);
        Self { rank }
    }
}

#[cfg(not(any(not(target_os = "none"), debug_assertions)))]
impl Held {
    /// Records nothing in a release kernel.
    #[inline(always)]
    pub fn take(_rank: Rank) -> Self {
        Self {}
    }

    /// Records nothing in a release kernel.
    #[inline(always)]
    pub fn tried(_rank: Rank) -> Self {
        Self {}
    }
}

impl Drop for Held {
    #[inline(always)]
    fn drop(&mut self) {
        #[cfg(any(not(target_os = "none"), debug_assertions))]
        ranks::with(|counts| counts[self.rank as usize] -= 1);
        mmu::switch_point();
    }
}

/// How often this thread has waited for locks of a rank, for tests that count them.
#[cfg(not(target_os = "none"))]
pub fn locks_taken(rank: Rank) -> u64 {
    ranks::taken(rank)
}

/// Panics where a search for memory would wait for what its caller holds: it looks for the areas and the tables that map any folio.
#[track_caller]
pub(crate) fn assert_may_reclaim() {
    #[cfg(any(not(target_os = "none"), debug_assertions))]
    ranks::with(|counts| {
        assert!(
            counts[Rank::Folio as usize..].iter().all(|&held| held == 0),
            "a search for memory under a lock that forbids it"
        );
    });
}

/// Panics where a wait or an allocation under a table's lock would be a defect.
#[track_caller]
pub fn assert_may_wait() {
    #[cfg(any(not(target_os = "none"), debug_assertions))]
    ranks::with(|counts| {
        assert!(
            counts[Rank::Table as usize..].iter().all(|&held| held == 0),
            "a wait or an allocation under a lock that forbids it"
        );
    });
}

/// The record of what one task holds, while another one runs on its CPU. Empty where ranks are not checked.
#[derive(Debug, Default)]
pub struct TaskHeld {
    #[cfg(any(not(target_os = "none"), debug_assertions))]
    counts: [u32; ranks::COUNT],
}

/// At a switch from one task to another: puts the record of this CPU into `leaves`, and goes on with that of `comes`.
pub fn exchange_held(leaves: &mut TaskHeld, comes: &mut TaskHeld) {
    #[cfg(any(not(target_os = "none"), debug_assertions))]
    ranks::with(|counts| {
        leaves.counts = *counts;
        *counts = core::mem::take(&mut comes.counts);
    });
    #[cfg(not(any(not(target_os = "none"), debug_assertions)))]
    let _ = (leaves, comes);
}

#[cfg(any(not(target_os = "none"), debug_assertions))]
mod ranks {
    //! How many locks of each rank each CPU holds.

    /// How many ranks there are.
    pub(super) const COUNT: usize = super::Rank::Frames as usize + 1;

    #[cfg(not(target_os = "none"))]
    extern crate std;

    #[cfg(not(target_os = "none"))]
    pub(super) fn with<R>(look: impl FnOnce(&mut [u32; COUNT]) -> R) -> R {
        std::thread_local! {
            static HELD: core::cell::RefCell<[u32; COUNT]> = const { core::cell::RefCell::new([0; COUNT]) };
        }
        HELD.with(|held| look(&mut held.borrow_mut()))
    }

    #[cfg(not(target_os = "none"))]
    std::thread_local! {
        static TAKEN: core::cell::Cell<[u64; COUNT]> = const { core::cell::Cell::new([0; COUNT]) };
    }

    #[cfg(not(target_os = "none"))]
    pub(super) fn note_taken(rank: super::Rank) {
        let mut taken = TAKEN.get();
        taken[rank as usize] += 1;
        TAKEN.set(taken);
    }

    #[cfg(not(target_os = "none"))]
    pub(super) fn taken(rank: super::Rank) -> u64 {
        TAKEN.get()[rank as usize]
    }

    #[cfg(target_os = "none")]
    pub(super) fn with<R>(look: impl FnOnce(&mut [u32; COUNT]) -> R) -> R {
        use core::sync::atomic::{AtomicU32, Ordering};
        static HELD: [[AtomicU32; COUNT]; crate::MAX_CPUS] =
            [const { [const { AtomicU32::new(0) }; COUNT] }; crate::MAX_CPUS];
        let mine = &HELD[mmu::current_cpu()];
        let mut counts = core::array::from_fn(|rank| mine[rank].load(Ordering::Relaxed));
        let result = look(&mut counts);
        for (cell, count) in mine.iter().zip(counts) {
            cell.store(count, Ordering::Relaxed);
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "rank Areas")]
    fn a_breach_of_rank_panics() {
        let (outer, inner) = (Lock::new(Rank::Areas, ()), Lock::new(Rank::Table, ()));
        let _inner = inner.lock();
        let _outer = outer.lock();
    }

    #[test]
    #[should_panic(expected = "under a lock")]
    fn a_wait_under_a_table_lock_panics() {
        let table = Lock::new(Rank::Table, ());
        let _held = table.lock();
        assert_may_wait();
    }

    #[test]
    fn what_a_task_holds_goes_with_it() {
        let (areas, table) = (Lock::new(Rank::Areas, ()), Lock::new(Rank::Table, ()));
        let (mut first, mut second) = (TaskHeld::default(), TaskHeld::default());
        let of_the_first = table.lock();
        exchange_held(&mut first, &mut second);
        // The second task holds nothing, so it may take an outer lock and wait.
        assert_may_wait();
        let of_the_second = areas.lock();
        exchange_held(&mut second, &mut first);
        assert!(std::panic::catch_unwind(assert_may_wait).is_err());
        drop(of_the_first);
        assert_may_wait();
        exchange_held(&mut first, &mut second);
        drop(of_the_second);
        let _both_are_free = (areas.lock(), table.lock());
    }

    #[test]
    fn the_right_order_passes() {
        let (outer, inner) = (RwLock::new(Rank::Areas, 1), Lock::new(Rank::Frames, 2));
        let sum = *outer.read() + *inner.lock();
        assert_eq!(sum, 3);
        *outer.write() = 2;
    }
}
