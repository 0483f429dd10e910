// From a CPU's first instruction to Rust in the upper half. Runs at the physical address, MMU and data cache off, up to `mmu_on`.
// The first CPU keeps x19 device tree (physical), x20 image (physical), x21 exception level at entry; any other x19 its number.

.section .head.text, "ax"
.global _start
_start:                                 // the 64-byte header of Linux's arm64 boot protocol
    b       enter
    .long   0
    .quad   0                           // text_offset: right at a 2 MiB boundary
    .quad   _end - _start               // image_size, BSS and stacks included
    .quad   0xa                         // little-endian, 4K granule, anywhere in memory
    .quad   0, 0, 0
    .ascii  "ARM\x64"
    .long   0

enter:
    mov     x19, x0
    adr     x20, _start
    bl      to_el1
    adrp    x0, _boot_stack_top         // physical, as all addresses here: relative to PC
    mov     sp, x0
    adrp    x0, early_tables
    mov     x1, x20
    mov     x2, x19
    ldr     x3, =_image_blocks
    bl      map_early                   // returns TCR_EL1
    adrp    x1, early_tables
    add     x1, x1, #{UPPER_ROOT}
    ldr     x2, =high                   // the link address
    b       mmu_on

// PSCI starts any other CPU here, with its number in x0.
.global secondary_start
secondary_start:
    mov     x19, x0
    bl      to_el1
    adrp    x2, first_cpu_registers
    add     x2, x2, #:lo12:first_cpu_registers
    ldp     x0, x1, [x2]                // the kernel's own map, as the first CPU has it
    ldr     x2, =secondary_high
    b       mmu_on

// Goes on at EL1, with everything masked. x21 becomes the exception level before.
to_el1:
    msr     daifset, #0xf
    mrs     x21, CurrentEL
    lsr     x21, x21, #2
    cmp     x21, #2
    b.eq    1f
    ret
1:  mov     x0, #(1 << 31)              // HCR_EL2.RW: EL1 is AArch64, nothing is trapped
    msr     hcr_el2, x0
    mov     x0, #3                      // EL1 may use the physical counter and timer
    msr     cnthctl_el2, x0
    msr     cntvoff_el2, xzr
    mov     x0, #0x33ff                 // CPTR_EL2 (E2H = 0): FP and SIMD are not trapped
    msr     cptr_el2, x0
    mrs     x0, midr_el1
    msr     vpidr_el2, x0
    mrs     x0, mpidr_el1
    msr     vmpidr_el2, x0
    mrs     x0, id_aa64dfr0_el1         // with a PMU: all event counters belong to EL1 (MDCR_EL2.HPMN)
    tst     x0, #0xf00
    b.eq    2f
    mrs     x0, pmcr_el0
    ubfx    x0, x0, #11, #5
    msr     mdcr_el2, x0
2:  mrs     x0, id_aa64pfr0_el1         // with a GICv3: EL1 may use its system registers (ICC_SRE_EL2)
    tst     x0, #(0xf << 24)
    b.eq    3f
    mov     x0, #0xf
    msr     S3_4_C12_C9_5, x0
3:  mrs     x0, id_aa64mmfr1_el1        // with FEAT_HCX: memory copy instructions are not trapped (HCRX_EL2.MSCEn)
    tst     x0, #(0xf << 40)
    b.eq    4f
    mov     x0, #(1 << 11)
    msr     S3_4_C1_C2_2, x0
4:  ldr     x0, ={SCTLR_OFF}
    msr     sctlr_el1, x0
    mov     x0, #0x3c5                  // EL1h, all masked
    msr     spsr_el2, x0
    msr     elr_el2, x30
    eret

// Turns the MMU on, with TCR_EL1 x0 and TTBR1_EL1 x1, and goes on at x2. The early tables have the identity map of this code.
mmu_on:
    adrp    x3, early_tables
    ldr     x4, ={MAIR}
    msr     mair_el1, x4
    msr     tcr_el1, x0
    msr     ttbr0_el1, x3
    msr     ttbr1_el1, x1
    isb
    tlbi    vmalle1
    ic      iallu
    dsb     nsh
    isb
    ldr     x0, ={SCTLR_ON}
    msr     sctlr_el1, x0
    isb
    br      x2

// TTBR1 becomes x0, TCR x2; x1 is an empty table for the moment between. Runs in the identity map, because between the
// two no old and new block of the same address may be in the TLB together (DDI 0487, R_WHZWS: break-before-make).
.global switch_upper_half
switch_upper_half:
    msr     ttbr1_el1, x1
    msr     tcr_el1, x2
    isb
    tlbi    vmalle1
    dsb     nsh
    isb
    msr     ttbr1_el1, x0
    isb
    ret                                 // to the upper half

.text
high:
    adrp    x0, _boot_stack_top
    mov     sp, x0
    adrp    x0, _bss_start
    add     x0, x0, #:lo12:_bss_start
    ldr     x1, =_bss_end
7:  stp     xzr, xzr, [x0], #16
    cmp     x0, x1
    b.lo    7b
    mov     x29, xzr
    mov     x30, xzr
    mov     x0, x19
    mov     x1, x20
    mov     x2, x21
    bl      first_rust

secondary_high:
    adrp    x0, _boot_stack_top         // the stacks lie one above the other, a guard below each (linker.ld)
    add     x0, x0, x19, lsl #{STACK_BLOCK_SHIFT}
    mov     sp, x0
    mov     x29, xzr
    mov     x30, xzr
    mov     x0, x19
    bl      secondary_rust
