//! What some of QEMU's CPUs can do, for machines like them: those on which the guest's tests run.

use crate::features::Features;

/// Everything but BBM level 3.
pub const MAX: Features = Features {
    range_tlbi: true,
    level_hint: true,
    bbm_level: 2,
    hardware_access: true,
    hardware_dirty: true,
    lse: true,
    asid_bits: 16,
};

/// Neither range TLBI nor level hints, and BBM level 0.
pub const NEOVERSE_N1: Features = Features { range_tlbi: false, level_hint: false, bbm_level: 0, ..MAX };

/// Nor hardware management of access flag and dirty state, nor FEAT_LSE.
pub const CORTEX_A72: Features = Features { hardware_access: false, hardware_dirty: false, lse: false, ..NEOVERSE_N1 };
