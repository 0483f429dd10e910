//! TLB invalidations as values: which instruction, for whom, with which operand (DDI 0487, D8.16 and C5.5).

use crate::addr::{Asid, PAGE_SHIFT, VirtAddr};

/// What an invalidation names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Form {
    /// One page of an ASID (VAE1, VALE1).
    Page,
    /// A range of pages of an ASID (RVAE1, RVALE1); needs FEAT_TLBIRANGE.
    Range,
    /// All that an ASID has (ASIDE1).
    Asid,
    /// All of EL1&0 (VMALLE1).
    All,
    /// One page whatever its ASID, global ones too (VAAE1, VAALE1): kernel addresses.
    PageAnyAsid,
}

impl Form {
    /// How many there are.
    pub const COUNT: usize = 5;
}

/// Which walk results are invalidated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Depth {
    /// Only entries from the last level of lookup; cached table descriptors survive.
    Leaf,
    /// Cached table descriptors too: needed when a table was unlinked.
    WalkCaches,
}

/// Which CPUs forget.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Scope {
    /// Every CPU of the inner shareable domain.
    Broadcast,
    /// The CPU that executes it.
    Local,
}

/// Why an invalidation was issued: each is counted under one of these.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Cause {
    /// Converting a contiguous block: fold or unfold.
    Convert,
    /// Unmapping for reclaim.
    Unmap,
    /// A deferred flush of another operation that had to be completed first.
    Pending,
    /// Removing mappings: munmap, MADV_DONTNEED, exit.
    Zap,
    /// Changing a protection.
    Protect,
    /// Moving mappings to other addresses.
    Move,
    /// Setting access flags or dirty state, aging.
    Access,
    /// Making entries old or clean on advice: MADV_COLD, MADV_FREE.
    Advise,
    /// Replacing a page, as copy on write does.
    Replace,
    /// Sharing a space's pages with a copy of it: fork.
    Fork,
    /// Freeing a table page.
    Table,
    /// ASID allocation and rollover.
    Rollover,
    /// The kernel's own map, start-up included.
    Kernel,
    /// Tests that provoke something.
    Test,
}

impl Cause {
    /// How many there are.
    pub const COUNT: usize = 14;
    /// Their names, in order.
    pub const NAMES: [&str; Self::COUNT] = [
        "convert", "unmap", "pending", "zap", "protect", "move", "access", "advise", "replace", "fork", "table",
        "rollover", "kernel", "test",
    ];
}

/// One TLBI instruction with its operand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TlbOp {
    /// What it names.
    pub form: Form,
    /// What it invalidates there.
    pub depth: Depth,
    /// For whom.
    pub scope: Scope,
    /// The register operand; 0 for [`Form::All`].
    pub operand: u64,
}

/// TG of a range operand and granule of a TTL hint: 4 KiB is 0b01 in both.
const GRANULE_4K: u64 = 0b01;

impl TlbOp {
    /// One page; `level` is the TTL hint (1 to 3, or 0 for none).
    pub const fn page(asid: Asid, address: VirtAddr, level: u8, depth: Depth, scope: Scope) -> Self {
        Self { form: Form::Page, depth, scope, operand: va_operand(asid, address, level) }
    }

    /// One kernel page, whatever the ASID.
    pub const fn kernel_page(address: VirtAddr, level: u8) -> Self {
        Self {
            form: Form::PageAnyAsid,
            depth: Depth::WalkCaches,
            scope: Scope::Broadcast,
            operand: va_operand(Asid::RESERVED, address, level),
        }
    }

    /// `(num + 1) << (5 * scale + 1)` pages from `address` on.
    pub const fn range(
        asid: Asid,
        address: VirtAddr,
        scale: u8,
        num: u8,
        level: u8,
        depth: Depth,
        scope: Scope,
    ) -> Self {
        debug_assert!(scale <= 3 && num <= 31 && level <= 3);
        let operand = ((asid.as_u16() as u64) << 48)
            | (GRANULE_4K << 46)
            | ((scale as u64) << 44)
            | ((num as u64) << 39)
            | ((level as u64) << 37)
            | (address.page_number() & ((1 << 37) - 1));
        Self { form: Form::Range, depth, scope, operand }
    }

    /// All that `asid` has.
    pub const fn asid(asid: Asid, scope: Scope) -> Self {
        Self { form: Form::Asid, depth: Depth::WalkCaches, scope, operand: (asid.as_u16() as u64) << 48 }
    }

    /// Everything.
    pub const fn all(scope: Scope) -> Self {
        Self { form: Form::All, depth: Depth::WalkCaches, scope, operand: 0 }
    }

    /// The ASID of the operand.
    pub const fn operand_asid(self) -> Asid {
        Asid::new((self.operand >> 48) as u16)
    }

    /// The user addresses that it covers: first page and number of pages; `None` if it names no addresses.
    pub const fn pages(self) -> Option<(VirtAddr, usize)> {
        match self.form {
            Form::Page | Form::PageAnyAsid => Some((VirtAddr::new((self.operand & ((1 << 44) - 1)) << PAGE_SHIFT), 1)),
            Form::Range => {
                let scale = (self.operand >> 44) & 3;
                let num = (self.operand >> 39) & 31;
                let base = (self.operand & ((1 << 37) - 1)) << PAGE_SHIFT;
                Some((VirtAddr::new(base), ((num + 1) << (5 * scale + 1)) as usize))
            }
            Form::Asid | Form::All => None,
        }
    }

    /// The counter it raises: broadcast before local, leaf before walk caches, by form.
    pub const fn kind(self) -> usize {
        (self.scope as usize * 2 + self.depth as usize) * Form::COUNT + self.form as usize
    }
}

/// How many values [`TlbOp::kind`] has.
pub const KINDS: usize = 4 * Form::COUNT;

const fn va_operand(asid: Asid, address: VirtAddr, level: u8) -> u64 {
    let hint = if level == 0 { 0 } else { (GRANULE_4K << 2) | level as u64 };
    // The mask keeps the sign bits of a high address out of the TTL and ASID fields (rule MS-24).
    ((asid.as_u16() as u64) << 48) | (hint << 44) | (address.page_number() & ((1 << 44) - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const VA: VirtAddr = VirtAddr::new(0x55_0080_0000);

    /// Reference 3.3 (T-T-4).
    #[test]
    fn operands_of_the_reference() {
        let page = TlbOp::page(Asid::new(1), VA, 3, Depth::Leaf, Scope::Broadcast);
        assert_eq!(page.operand, 0x0001_7000_0550_0800);
        let range = TlbOp::range(Asid::new(1), VA, 0, 7, 3, Depth::Leaf, Scope::Broadcast);
        assert_eq!(range.operand, 0x0001_43E0_0550_0800);
        assert_eq!(range.pages(), Some((VA, 16)));
        assert_eq!(page.pages(), Some((VA, 1)));
        assert_eq!(TlbOp::asid(Asid::new(0xabcd), Scope::Broadcast).operand, 0xabcd_0000_0000_0000);
    }

    #[test]
    fn a_high_address_does_not_reach_the_hint() {
        let op = TlbOp::kernel_page(VirtAddr::new(0xFFFF_FFFF_FFFF_F000), 0);
        assert_eq!(op.operand, (1 << 44) - 1);
    }

    #[test]
    fn kinds_are_distinct() {
        let mut seen = std::collections::BTreeSet::new();
        for scope in [Scope::Broadcast, Scope::Local] {
            for depth in [Depth::Leaf, Depth::WalkCaches] {
                for form in [Form::Page, Form::Range, Form::Asid, Form::All, Form::PageAnyAsid] {
                    assert!(seen.insert(TlbOp { form, depth, scope, operand: 0 }.kind()));
                }
            }
        }
        assert_eq!(seen.len(), KINDS);
    }
}
