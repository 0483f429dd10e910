//! Which anon_vma new areas own: one without relatives, or a child's below its parent's.

use super::{AnonVmaId, Chain};
use crate::errno::Errno;
use crate::inject::Point;
use crate::memory::Memory;
use crate::space::Space;

/// What areas of a child own, kept from the moment it is found until the first of them is entered.
#[derive(Debug)]
pub(crate) struct Heir<'m> {
    memory: &'m Memory,
    id: AnonVmaId,
}

impl Heir<'_> {
    /// Which anon_vma it is.
    pub(crate) fn id(&self) -> AnonVmaId {
        self.id
    }
}

/// What areas of the space `child` own whose parents own `own`: the same for all of them, since they may map one folio in parts. It is
/// new, unless there is an ancestor that nobody owns any more: that is taken over, so that a chain of forks in which parents end before
/// their grandchildren begin does not grow. Only the space that owns `own` forks it, and its areas are locked for writing.
pub(crate) fn inherit<'m>(memory: &'m Memory, own: AnonVmaId, child: &Space) -> Result<Heir<'m>, Errno> {
    let parent = memory.anon.get(own).ok_or(Errno::ENOMEM)?;
    let (chain, known) = {
        let members = parent.members.read();
        (members.chain.clone(), members.heir.filter(|&(space, _)| space == child.id()))
    };
    let id = match known {
        Some((_, id)) => {
            memory.anon.get(id).ok_or(Errno::ENOMEM)?.members.write().owners += 1;
            id
        }
        // The nearest has the fewest extents, and so makes the shortest walks.
        None => match chain.iter().rev().find(|&&id| take_over(memory, id, &chain)) {
            Some(&id) => id,
            None => create_below(memory, &chain, 1)?,
        },
    };
    parent.members.write().heir = Some((child.id(), id));
    Ok(Heir { memory, id })
}

/// Makes an anon_vma that nobody owns that of areas with this chain, which it is in. Whether nobody owned it.
fn take_over(memory: &Memory, id: AnonVmaId, chain: &Chain) -> bool {
    let Some(anon) = memory.anon.get(id) else { return false };
    let mut members = anon.members.write();
    if members.owners > 0 {
        return false;
    }
    members.owners = 1;
    members.chain = chain.clone();
    true
}

impl Drop for Heir<'_> {
    fn drop(&mut self) {
        self.memory.anon.give_up(self.id);
    }
}

/// A new anon_vma without relatives, for an area that has none.
pub(crate) fn create(memory: &Memory) -> Result<AnonVmaId, Errno> {
    create_below(memory, &[], 0)
}

/// [`AnonVmas::create_below`] with the point where a test makes it fail.
fn create_below(memory: &Memory, ancestors: &[AnonVmaId], owners: usize) -> Result<AnonVmaId, Errno> {
    if memory.inject.strikes(Point::AnonVma, 1) {
        Err(Errno::ENOMEM)
    } else {
        memory.anon.create_below(ancestors, owners)
    }
}
