//! MADV_HWPOISON in a shadow: whose pages are lost with a page of bad memory. These are all that map it, in whatever space; or all pages of
//! its folio, if that can not be split because a device has it pinned. A touch of any of them must say so from then on.

use mm::Errno;
use mm::fault::{Access, FaultError};
use mmu::Pfn;

use crate::agreement::Place;
use crate::checked::{Checked, Returned};
use crate::operation::{Operation, Pages};
use crate::world::{FIELD, SPACES, World};

/// A page that is about to be lost.
struct Victim {
    /// Who maps its folio, and which frame of it.
    holders: Vec<(Place, Pfn)>,
    frame: Pfn,
    is_file: bool,
    is_huge: bool,
    is_pinned: bool,
    is_cached: bool,
}

impl Victim {
    /// The one that a space has at a page.
    fn find(world: &World<'_>, (space, page): Place) -> Option<Self> {
        let entry = world.entry(space, page);
        if !entry.is_valid() || entry.is_special() {
            return None;
        }
        let (frame, folio) = (entry.frame(), world.memory.frames.folio_of(entry.frame()));
        let there = (0..SPACES).filter(|&space| world.spaces[space].is_some());
        let places = there.flat_map(|space| FIELD.map(move |page| (space, page)));
        let frame_at = |(space, page): Place| {
            let entry = world.entry(space, page);
            (entry.is_present() && !entry.is_special()).then(|| entry.frame())
        };
        let holders = places.filter_map(|place| Some((place, frame_at(place).filter(|&it| folio.contains(it))?)));
        Some(Self {
            holders: holders.collect(),
            frame,
            is_file: folio.is_file(),
            is_huge: folio.is_huge(),
            is_pinned: folio.maybe_pinned(),
            is_cached: folio.is_swap_cache(),
        })
    }

    /// Whether a holder must lose its page.
    fn takes(&self, frame: Pfn) -> bool {
        self.is_huge || frame == self.frame
    }
}

impl Checked<'_> {
    /// Treats the memory of a page of the space that runs as bad. It is brought in first, so that it is known who has it.
    pub fn poison(&mut self, page: usize) -> Result<Returned, String> {
        self.read(Pages(page, 1))?;
        let (running, before) = (self.running, self.world.struck());
        let victim = Victim::find(&self.world, (running, page));
        let result = self.world.call(running, &Operation::Poison(page));
        self.poisoned += usize::from(result.is_ok());
        let excused = self.excuses(result, before) || self.world.struck() > before && result == Err(Errno::EBUSY);
        if let Some(victim) = &victim {
            self.note_ruin(victim, result)?;
        }
        let still_cached = || {
            let now = Victim::find(&self.world, (running, page));
            now.is_some_and(|victim| victim.is_cached)
        };
        let right = match (self.shadow().access(page, Access::Read), &victim) {
            // What it is now: it was not, or the result is another.
            (Err(FaultError::Poisoned(_)), Some(_)) => Ok(()),
            (Err(FaultError::Poisoned(_)), None) => Err(Errno::EHWPOISON),
            (Err(FaultError::NotMapped), _) => Err(Errno::ENOMEM),
            (Err(_), _) => Err(Errno::EFAULT),
            (Ok(()), Some(victim)) if victim.is_file || victim.is_cached && still_cached() => Err(Errno::EBUSY),
            (Ok(()), Some(_)) => Ok(()),
            (Ok(()), None) if self.world.entry(running, page).is_special() => Err(Errno::EBUSY),
            // The monitor does not answer, or there is no huge page for it.
            (Ok(()), None) => Err(Errno::EFAULT),
        };
        if result == right || excused { Ok(result) } else { Err(format!("returns {result:?} instead of {right:?}")) }
    }

    /// Notes who has lost a page, and that these are the ones that must.
    fn note_ruin(&mut self, victim: &Victim, result: Returned) -> Result<(), String> {
        let lost: Vec<_> =
            victim.holders.iter().filter(|((space, page), _)| self.world.is_bad(*space, *page)).collect();
        let must = victim.holders.iter().filter(|(_, frame)| victim.takes(*frame)).count();
        let alone = lost.iter().all(|(_, frame)| victim.takes(*frame));
        let right = match result {
            Ok(()) if alone => lost.len() == must,
            Ok(()) => victim.is_pinned && lost.len() == victim.holders.len(),
            Err(_) => true,
        };
        if !right {
            return Err(format!("{lost:?} are lost of {:?}", victim.holders));
        }
        for &&((space, page), _) in &lost {
            let shadow = self.shadows[space].as_mut().expect("a space that maps it");
            if let Some(page) = shadow.page_mut(page) {
                let shift = page.huge.map_or(mmu::PAGE_SHIFT, |huge| huge.size.shift());
                page.ruin(FaultError::Poisoned(shift));
            }
        }
        Ok(())
    }
}
