//! How much of the kernel's heap areas and reverse maps may take, over all spaces. Programs make as many of them as they like, and every
//! fork makes them again: without a limit they could take what the kernel needs for itself.

use core::sync::atomic::{AtomicUsize, Ordering};

use crate::errno::Errno;

/// Bytes of the heap that an area, or its extent in one place, takes at worst as they are made: lists grow by doubling, and blocks are
/// powers of two. Where most of them have gone again, those that are left take twice as much at most: then lists are made anew, and chunks
/// joined.
pub(crate) const ITEM: usize = 128;
/// Items that an anon_vma counts as.
pub(crate) const ANON_VMA: usize = 2;

/// Items that may be made still.
#[derive(Debug)]
pub struct Budget {
    limit: AtomicUsize,
    used: AtomicUsize,
}

impl Budget {
    /// Without a limit, until one is set.
    pub(crate) const fn new() -> Self {
        Self { limit: AtomicUsize::new(usize::MAX), used: AtomicUsize::new(0) }
    }

    /// Items may take so many bytes of the heap from now on.
    pub fn limit_to(&self, bytes: usize) {
        self.limit.store(bytes / ITEM, Ordering::Relaxed);
    }

    /// Items there are.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Bytes of the heap that they take at worst.
    pub fn bytes(&self) -> usize {
        self.used() * ITEM
    }

    /// Says that `before` items become `after`.
    ///
    /// # Errors
    /// `ENOMEM` if these are more than there may be; nothing is noted then.
    pub(crate) fn change(&self, before: usize, after: usize) -> Result<(), Errno> {
        if after <= before {
            self.used.fetch_sub(before - after, Ordering::Relaxed);
            return Ok(());
        }
        let limit = self.limit.load(Ordering::Relaxed);
        let more = |used: usize| Some(used + after - before).filter(|&sum| sum <= limit);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).map_err(|_| Errno::ENOMEM)?;
        Ok(())
    }

    /// Keeps room for `items`, for who must take something away before they can be made.
    ///
    /// # Errors
    /// `ENOMEM` if there is no room for them.
    pub(crate) fn keep(&self, items: usize) -> Result<Kept<'_>, Errno> {
        self.change(0, items)?;
        Ok(Kept { budget: self, items })
    }
}

/// Room for items that are to be made. Dropped just before they are.
#[derive(Debug)]
#[must_use]
pub(crate) struct Kept<'a> {
    budget: &'a Budget,
    items: usize,
}

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        let _ = self.budget.change(self.items, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_not_noted() {
        let budget = Budget::new();
        budget.limit_to(3 * ITEM);
        assert_eq!((budget.change(0, 3), budget.change(3, 4), budget.used()), (Ok(()), Err(Errno::ENOMEM), 3));
        assert_eq!((budget.change(2, 1), budget.change(1, 2), budget.used()), (Ok(()), Ok(()), 3));
    }

    #[test]
    fn what_is_kept_is_there_when_it_is_wanted() {
        let budget = Budget::new();
        budget.limit_to(3 * ITEM);
        let kept = budget.keep(2).unwrap();
        assert_eq!((budget.change(0, 2), budget.keep(2).is_err()), (Err(Errno::ENOMEM), true));
        drop(kept);
        assert_eq!((budget.change(0, 2), budget.used()), (Ok(()), 2));
    }
}
