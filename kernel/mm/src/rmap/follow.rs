//! Extents follow their areas: each change of a space's areas is one of the extents in all places that have them.

use alloc::sync::Arc;

use mmu::mutant::{self, Mutant};

use super::{AnonVmaId, Chain};
use crate::errno::Errno;
use crate::memory::Memory;
use crate::space::Space;
use crate::vma::{Area, Change};

/// Makes the extents follow a change of the areas of `space`. Areas without an anon_vma and without a file have no extent. Called with
/// the areas locked for writing.
///
/// # Errors
/// `ENOMEM`, with nothing changed, if there is no memory for an extent more.
pub fn replace(memory: &Memory, space: &Arc<Space>, change: &Change) -> Result<(), Errno> {
    let places = Places::of(memory, change);
    let count = places.iter().count();
    let done = places.iter().take_while(|&place| enter(memory, space, change, place).is_ok()).count();
    if done < count {
        let back = change.reversed();
        let undone = places.iter().take(done).all(|place| enter(memory, space, &back, place).is_ok());
        if !undone {
            memory.note_defect("extents could not be taken back");
        }
        return Err(Errno::ENOMEM);
    }
    count_users(memory, change);
    Ok(())
}

/// Where the areas of a change have their extents. All in one change that have an anon_vma have the same, and all have the same file.
struct Places {
    file: Option<AnonVmaId>,
    owned: Option<AnonVmaId>,
    chain: Option<Chain>,
}

/// Who keeps the extents in a place.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// All that map this file.
    File(AnonVmaId),
    /// Those that own this anon_vma.
    Own(AnonVmaId),
    /// Those whose chain has this ancestor.
    Ancestor(AnonVmaId),
}

impl Places {
    fn of(memory: &Memory, change: &Change) -> Self {
        let areas = || change.removed().iter().chain(change.added());
        let file = areas().find_map(|area| memory.files.get(area.backing.file()?));
        let owned = areas().find_map(|area| area.anon);
        let chain = owned.and_then(|id| memory.anon.get(id)).map(|anon| anon.chain());
        Self { file: file.map(|file| file.areas()), owned, chain }
    }

    fn iter(&self) -> impl Iterator<Item = Place> {
        let in_chain = |&id: &AnonVmaId| if self.owned == Some(id) { Place::Own(id) } else { Place::Ancestor(id) };
        let chain = self.chain.iter().flat_map(|chain| chain.iter()).map(in_chain);
        let chain = chain.filter(|place| mutant::or(Mutant::ChildNotInAncestors, true, matches!(place, Place::Own(_))));
        self.file.map(Place::File).into_iter().chain(chain)
    }
}

/// Makes the extents in one place follow a change. One that is empty and not owned afterwards is gone.
fn enter(memory: &Memory, space: &Arc<Space>, change: &Change, place: Place) -> Result<(), Errno> {
    let (Place::File(id) | Place::Own(id) | Place::Ancestor(id)) = place;
    let Some(anon) = memory.anon.get(id) else { return Ok(()) };
    let has_extent = |area: &&Area| matches!(place, Place::File(_)) || area.anon.is_some();
    let (removed, added) = (change.removed().iter().filter(has_extent), change.added().iter().filter(has_extent));
    memory.anon.change(id, &anon, |members| {
        members.replace(memory, space, removed.clone(), added.clone())?;
        if matches!(place, Place::Own(_)) {
            members.owners = members.owners + added.count() - removed.count();
        }
        Ok(())
    })
}

/// Counts areas that map a file among its users.
fn count_users(memory: &Memory, change: &Change) {
    let (removed, added) = (change.removed(), change.added());
    let Some(file) = added.iter().chain(removed).find_map(|area| memory.files.get(area.backing.file()?)) else {
        return;
    };
    (removed.len()..added.len()).for_each(|_| file.add_user());
    (added.len()..removed.len()).for_each(|_| memory.put_file(&file));
}
