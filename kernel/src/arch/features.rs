//! What the CPU can do, read once from its ID registers.

use core::arch::asm;
use core::fmt;

/// The features that this kernel looks at.
#[derive(Clone, Copy, Debug)]
pub struct Features {
    /// MIDR_EL1.
    pub midr: u64,
    /// FEAT_TLBIRANGE.
    pub range_tlbi: bool,
    /// FEAT_TTL.
    pub level_hint: bool,
    /// ID_AA64MMFR2_EL1.BBM, 0 to 3.
    pub bbm_level: u8,
    /// FEAT_HAFDBS: the access flag.
    pub hardware_access: bool,
    /// FEAT_HAFDBS: dirty state.
    pub hardware_dirty: bool,
    /// 8 or 16.
    pub asid_bits: u8,
    /// Version of the PMU, ID_AA64DFR0_EL1.PMUVer: 0 for none.
    pub pmu_version: u8,
    /// FEAT_LSE.
    pub lse: bool,
    /// FEAT_PAN: 0 for none, 3 with EPAN.
    pub pan: u8,
    /// FEAT_MOPS.
    pub mops: bool,
    /// ID_AA64ISAR0_EL1, ISAR1 and PFR0, for the hardware capabilities that programs are told.
    pub id: IdRegisters,
}

/// ID registers as they are.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "each is named after its register")]
pub struct IdRegisters {
    pub pfr0: u64,
    pub pfr1: u64,
    pub dfr0: u64,
    pub isar0: u64,
    pub isar1: u64,
    pub isar2: u64,
    pub mmfr0: u64,
    pub mmfr1: u64,
    pub mmfr2: u64,
}

macro_rules! read {
    ($register:literal) => {{
        let value: u64;
        // SAFETY: reads an ID register.
        unsafe { asm!(concat!("mrs {}, ", $register), out(reg) value, options(nostack, nomem, pure, preserves_flags)) };
        value
    }};
}

const fn field(value: u64, shift: u32) -> u8 {
    (value >> shift) as u8 & 0xf
}

impl Features {
    /// Reads the ID registers. Those that an older CPU has not got read as zero (DDI 0487, "Principles of the ID scheme").
    pub fn read() -> Self {
        let id = IdRegisters {
            pfr0: read!("id_aa64pfr0_el1"),
            pfr1: read!("id_aa64pfr1_el1"),
            dfr0: read!("id_aa64dfr0_el1"),
            isar0: read!("id_aa64isar0_el1"),
            isar1: read!("id_aa64isar1_el1"),
            isar2: read!("S3_0_C0_C6_2"),
            mmfr0: read!("id_aa64mmfr0_el1"),
            mmfr1: read!("id_aa64mmfr1_el1"),
            mmfr2: read!("S3_0_C0_C7_2"),
        };
        Self::from_id(read!("midr_el1"), id)
    }

    const fn from_id(midr: u64, id: IdRegisters) -> Self {
        let pmu = field(id.dfr0, 8);
        Self {
            midr,
            range_tlbi: field(id.isar0, 56) >= 2,
            level_hint: field(id.mmfr2, 48) >= 1,
            bbm_level: field(id.mmfr2, 52),
            hardware_access: field(id.mmfr1, 0) >= 1,
            hardware_dirty: field(id.mmfr1, 0) >= 2,
            asid_bits: if field(id.mmfr0, 4) == 2 { 16 } else { 8 },
            pmu_version: if pmu == 15 { 0 } else { pmu },
            lse: field(id.isar0, 20) >= 2,
            pan: field(id.mmfr1, 20),
            mops: field(id.isar2, 16) >= 1,
            id,
        }
    }

    /// The part that tables and TLBs are concerned with.
    pub const fn mmu(&self) -> mmu::Features {
        mmu::Features {
            range_tlbi: self.range_tlbi,
            level_hint: self.level_hint,
            bbm_level: self.bbm_level,
            hardware_access: self.hardware_access,
            hardware_dirty: self.hardware_dirty,
            lse: self.lse,
            asid_bits: self.asid_bits,
        }
    }

    /// The CPU's name, by implementer and part number.
    pub const fn cpu_name(&self) -> &'static str {
        match ((self.midr >> 24) as u8, (self.midr >> 4) as u16 & 0xfff) {
            (0x41, 0xd03) => "Cortex-A53",
            (0x41, 0xd04) => "Cortex-A35",
            (0x41, 0xd05) => "Cortex-A55",
            (0x41, 0xd07) => "Cortex-A57",
            (0x41, 0xd08) => "Cortex-A72",
            (0x41, 0xd0b) => "Cortex-A76",
            (0x41, 0xd0c) => "Neoverse N1",
            (0x41, 0xd41) => "Cortex-A78",
            (0x41, 0xd47) => "Cortex-A710",
            (0x41, 0xd40) => "Neoverse V1",
            (0x41, 0xd49) => "Neoverse N2",
            (0x41, 0xd4f) => "Neoverse V2",
            (0x41, 0xd4d) => "Cortex-A715",
            (0x46, 0x001) => "A64FX",
            (0x00, 0x051) => "QEMU max",
            _ => "arm64 CPU",
        }
    }

    /// Turns on for EL0 and EL1 what the CPU has and boot, which knows nothing of it, has left off: PAN (and for execute-only
    /// pages, EPAN), MOPS, FP and SIMD; and lets EL0 read the virtual counter, but not the physical one or the timers.
    pub fn enable(&self) {
        const FPEN: u64 = 3 << 20;
        const EL0VCTEN: u64 = 1 << 1;
        const MSCEN: u64 = 1 << 33;
        const EPAN: u64 = 1 << 57;
        let mut control = read!("sctlr_el1");
        control |= if self.mops { MSCEN } else { 0 };
        control |= if self.pan >= 3 { EPAN } else { 0 };
        // SAFETY: none of these changes what the kernel itself may do, as it does not touch user memory but by LDTR and STTR.
        // This is before the first interval.
        unsafe {
            asm!("msr cpacr_el1, {}", "msr cntkctl_el1, {}", "msr sctlr_el1, {}", "isb",
                 in(reg) FPEN, in(reg) EL0VCTEN, in(reg) control, options(nostack, preserves_flags));
            if self.pan >= 1 {
                asm!(".arch_extension pan", "msr pan, #1", options(nostack, preserves_flags));
            }
        }
    }
}

impl fmt::Display for Features {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let yes = |has| if has { "yes" } else { "no" };
        let hardware = match (self.hardware_access, self.hardware_dirty) {
            (true, true) => "access and dirty",
            (true, false) => "access",
            _ => "no",
        };
        write!(
            out,
            "range TLBI {}, TTL {}, BBM level {}, ",
            yes(self.range_tlbi),
            yes(self.level_hint),
            self.bbm_level
        )?;
        write!(out, "HAFDBS {hardware}, ASID bits {}, ", self.asid_bits)?;
        match self.pmu_version {
            0 => write!(out, "PMU no, ")?,
            // PMUVer: 1 is PMUv3, 4 v3.1, 5 v3.4, 6 v3.5, 7 v3.7, 8 v3.8.
            1 => write!(out, "PMUv3, ")?,
            4 => write!(out, "PMUv3p1, ")?,
            5 => write!(out, "PMUv3p4, ")?,
            version => write!(out, "PMUv3p{}, ", if version == 6 { 5 } else { version })?,
        }
        let pan = ["no", "yes", "yes", "yes with EPAN"][usize::from(self.pan.min(3))];
        write!(out, "LSE {}, PAN {pan}, MOPS {}", yes(self.lse), yes(self.mops))
    }
}
