//! AT_HWCAP and AT_HWCAP2: what programs may use, from the CPU's identification registers.
//!
//! Only what needs nothing of the kernel but FP and SIMD registers is announced. Left out on purpose: CPUID (reads of
//! identification registers by EL0 are not emulated), SVE, SME, PAC, BTI, MTE (state that is not set up or saved).

/// The identification registers that matter.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Identification {
    /// ID_AA64PFR0_EL1.
    pub pfr0: u64,
    /// ID_AA64ISAR0_EL1.
    pub isar0: u64,
    /// ID_AA64ISAR1_EL1.
    pub isar1: u64,
    /// ID_AA64ISAR2_EL1.
    pub isar2: u64,
    /// ID_AA64MMFR2_EL1.
    pub mmfr2: u64,
}

/// AT_HWCAP2 for a CPU: MOPS, which is turned on where it is there.
pub fn hwcap2(cpu: Identification) -> u64 {
    const MOPS: u64 = 1 << 43;
    if cpu.isar2 >> 16 & 15 >= 1 { MOPS } else { 0 }
}

/// AT_HWCAP for a CPU.
pub fn hwcap(cpu: Identification) -> u64 {
    // (register, lowest bit of the field, the least value, the bit that it stands for in AT_HWCAP)
    let fields = [
        (cpu.isar0, 4, 1, 3),   // AES
        (cpu.isar0, 4, 2, 4),   // PMULL
        (cpu.isar0, 8, 1, 5),   // SHA1
        (cpu.isar0, 12, 1, 6),  // SHA2
        (cpu.isar0, 16, 1, 7),  // CRC32
        (cpu.isar0, 20, 2, 8),  // ATOMICS
        (cpu.isar0, 28, 1, 12), // ASIMDRDM
        (cpu.isar1, 12, 1, 13), // JSCVT
        (cpu.isar1, 16, 1, 14), // FCMA
        (cpu.isar1, 20, 1, 15), // LRCPC
        (cpu.isar1, 0, 1, 16),  // DCPOP
        (cpu.isar0, 32, 1, 17), // SHA3
        (cpu.isar0, 36, 1, 18), // SM3
        (cpu.isar0, 40, 1, 19), // SM4
        (cpu.isar0, 44, 1, 20), // ASIMDDP
        (cpu.isar0, 12, 2, 21), // SHA512
        (cpu.isar0, 48, 1, 23), // ASIMDFHM
        (cpu.mmfr2, 32, 1, 25), // USCAT
        (cpu.isar1, 20, 2, 26), // ILRCPC
        (cpu.isar0, 52, 1, 27), // FLAGM
    ];
    let from_fields = fields.iter().filter(|(register, low, least, _)| register >> low & 15 >= *least);
    from_fields.map(|(.., bit)| 1 << bit).sum::<u64>() | floating_point(cpu.pfr0)
}

/// FP, FPHP, ASIMD and ASIMDHP, whose fields are signed: 15 stands for "not there".
fn floating_point(pfr0: u64) -> u64 {
    let bits = |low: u32, single: u32, half: u32| match pfr0 >> low & 15 {
        0 => 1 << single,
        1 => 1 << single | 1 << half,
        _ => 0,
    };
    bits(16, 0, 9) | bits(20, 1, 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cortex_a72_and_neoverse_n1() {
        // Cortex-A72: FP, ASIMD, AES, PMULL, SHA1, SHA2, CRC32.
        let a72 = Identification { pfr0: 0x2222, isar0: 0x1_1120, ..Identification::default() };
        assert_eq!(hwcap(a72), 0b1111_1011);
        // Neoverse N1 adds ATOMICS, FPHP, ASIMDHP, ASIMDRDM, LRCPC, DCPOP, ASIMDDP.
        let n1 =
            Identification { pfr0: 0x11_2222, isar0: 0x1000_1021_1120, isar1: 0x10_0001, ..Identification::default() };
        assert_eq!(hwcap(n1), 0b1111_1011 | 1 << 8 | 1 << 9 | 1 << 10 | 1 << 12 | 1 << 15 | 1 << 16 | 1 << 20);
    }

    #[test]
    fn nothing_there_is_nothing_announced() {
        let none = Identification { pfr0: 0xFF_0000, ..Identification::default() };
        assert_eq!((hwcap(none), hwcap2(none)), (0, 0));
        assert_eq!(hwcap2(Identification { isar2: 1 << 16, ..none }), 1 << 43);
    }
}
