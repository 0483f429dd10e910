//! How much of the kernel's heap areas and reverse maps may take, over all spaces. Programs make as many of them as they like, and every
//! fork makes them again: without a limit they could take what the kernel needs for itself.

use core::sync::atomic::{AtomicUsize, Ordering};

use crate::errno::Errno;

/// Bytes of the heap that an area, or its extent in one place, takes at worst: lists grow by doubling, and blocks are powers of two.
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
}
