//! What two descriptors have in common, as far as a TLB is concerned.

use crate::addr::{PAGE_SHIFT, level_shift};
use crate::descriptor::{Descriptor, STAGE1};

const fn bits(field: tock_registers::fields::Field<u64, STAGE1::Register>) -> u64 {
    field.mask << field.shift
}

const CONTIGUOUS: u64 = bits(STAGE1::CONTIGUOUS);
const ACCESS: u64 = bits(STAGE1::ACCESS);
const READ_ONLY: u64 = bits(STAGE1::READ_ONLY);
const DIRTY: u64 = bits(STAGE1::DIRTY);
/// Memory type and shareability.
const TYPE: u64 = bits(STAGE1::ATTR_INDEX) | bits(STAGE1::SHAREABILITY);
/// What the entries of a folded block may differ in, beside the address: access flag and dirty state (reference 2.14, I2).
pub(super) const OF_EACH: u64 = ACCESS | DIRTY | READ_ONLY;
/// What the entries of one batch agree in (rule MS-45).
pub(super) const OF_A_BATCH: u64 = bits(STAGE1::WRITE) | bits(STAGE1::UFFD);

/// Whether an entry in a table of `level` maps memory, as a page or a block, rather than leading to another table.
pub(super) const fn maps(level: u8, entry: Descriptor) -> bool {
    entry.is_valid() && (level == 3 || !entry.is_table())
}

/// How many pages an entry in a table of `level` stands for.
pub(super) const fn pages_of(level: u8) -> usize {
    1 << (level_shift(level) - PAGE_SHIFT)
}

/// Whether a TLB may keep it: valid, and its access flag set. Where hardware sets the flag, memory shows it first.
pub(super) const fn is_cacheable(entry: Descriptor) -> bool {
    entry.is_valid() && entry.is_young()
}

/// Whether CONTIGUOUS is set, also where the entry is not valid.
pub(super) const fn has_contiguous(entry: Descriptor) -> bool {
    entry.bits() & CONTIGUOUS != 0
}

/// Whether both are of one memory type and shareability.
pub(super) const fn same_type(one: Descriptor, other: Descriptor) -> bool {
    (one.bits() ^ other.bits()) & TYPE == 0
}

/// Whether both map the same memory in the same form: address, type, global or not, CONTIGUOUS.
pub(super) const fn same_mapping(one: Descriptor, other: Descriptor) -> bool {
    same_but_for_contiguous(one, other) && (one.bits() ^ other.bits()) & CONTIGUOUS == 0
}

/// The same with CONTIGUOUS as it may be.
pub(super) const fn same_but_for_contiguous(one: Descriptor, other: Descriptor) -> bool {
    one.address().as_u64() == other.address().as_u64()
        && same_type(one, other)
        && one.is_global() as u8 == other.is_global() as u8
}

/// Whether nothing differs but CONTIGUOUS, and what hardware or a conversion may spread: access flag and dirty state.
pub(super) const fn differs_in_form_only(one: Descriptor, other: Descriptor) -> bool {
    same_but_for_contiguous(one, other)
        && one.is_user() as u8 == other.is_user() as u8
        && one.is_writable() as u8 == other.is_writable() as u8
        && one.is_user_executable() as u8 == other.is_user_executable() as u8
}

/// Whether a store goes through without a look at the table: where hardware manages dirty state, a clean entry is looked up again.
pub(super) const fn lets_store(entry: Descriptor) -> bool {
    entry.is_user() && !entry.is_read_only()
}

/// Whether everything that `one` lets EL0 do, `other` does.
pub(super) const fn lets_no_more_than(one: Descriptor, other: Descriptor) -> bool {
    (!one.is_user() || other.is_user())
        && (!lets_store(one) || lets_store(other))
        && (!one.is_user_executable() || other.is_user_executable())
}

/// Whether `is` is `was` put back: folded or not, and with access flag and dirty state added perhaps.
pub(super) const fn is_restored(was: Descriptor, is: Descriptor) -> bool {
    (was.bits() ^ is.bits()) & !(OF_EACH | CONTIGUOUS) == 0 && lets_no_more_than(is, was.make_dirty())
}

/// Whether whoever still holds `old` does no harm once `new` is in its place.
pub(super) const fn is_covered_by(old: Descriptor, new: Descriptor) -> bool {
    new.is_valid() && same_mapping(old, new) && lets_no_more_than(old, new)
}

/// Whether `next` may stand `distance` entries behind `first` in one folded block.
pub(super) const fn follows(first: Descriptor, next: Descriptor, distance: usize) -> bool {
    (first.advance(distance).bits() ^ next.bits()) & !OF_EACH == 0
}

/// Whether hardware can have made `seen` of `known` by itself, with these features.
pub(super) const fn is_hardware_update(known: Descriptor, seen: Descriptor, access: bool, dirty: bool) -> bool {
    let difference = known.bits() ^ seen.bits();
    let access_set = difference & ACCESS == 0 || (access && seen.is_young());
    let write_recorded = difference & READ_ONLY == 0 || (dirty && known.is_writable() && !seen.is_read_only());
    known.is_valid() && difference & !(ACCESS | READ_ONLY) == 0 && access_set && write_recorded
}
