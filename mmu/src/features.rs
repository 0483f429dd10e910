//! What the CPU can do, as far as tables and TLBs are concerned. Read once at start, or chosen for a simulated machine.

/// MMU features of the CPUs (all alike).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Features {
    /// FEAT_TLBIRANGE: TLBI by range.
    pub range_tlbi: bool,
    /// FEAT_TTL: a level hint in TLBI by page.
    pub level_hint: bool,
    /// The level of ID_AA64MMFR2_EL1.BBM, 0 to 3.
    pub bbm_level: u8,
    /// FEAT_HAFDBS: hardware sets the access flag.
    pub hardware_access: bool,
    /// FEAT_HAFDBS: hardware records writes.
    pub hardware_dirty: bool,
    /// FEAT_LSE: atomic instructions in one step.
    pub lse: bool,
    /// Bits of an ASID: 8 or 16.
    pub asid_bits: u8,
}
