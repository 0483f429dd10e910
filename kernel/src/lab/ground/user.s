// Small programs for the checks, copied into a user page. Position-independent; each ends with a trap.

.section .rodata.check_programs, "a"
.balign 8
.global check_programs
check_programs:

.global check_svc
check_svc:
    svc     #0

.global check_change_all
check_change_all:
    .arch_extension fp
    .arch_extension simd
    .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30
    add     x\n, x\n, #(\n + 1)
    .endr
    .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    not     v\n\().16b, v\n\().16b
    .endr
    sub     sp, sp, #32
    msr     tpidr_el0, x0
    mov     x0, #(1 << 24)
    msr     fpcr, x0
    cmp     xzr, xzr
    svc     #0

.global check_brk
check_brk:
    brk     #7

.global check_undefined
check_undefined:
    udf     #5
    mrs     x0, id_aa64isar0_el1
    mrs     x0, pmccntr_el0
    mrs     x0, pmevcntr0_el0
    msr     daifset, #2
    msr     ttbr0_el1, x0
    tlbi    vmalle1
    hlt     #0xf000
    mrs     x0, cntpct_el0
    hvc     #0
    smc     #0
.global check_undefined_end
check_undefined_end:

.global check_allowed
check_allowed:
    mrs     x1, cntvct_el0
    mrs     x2, cntfrq_el0
    mrs     x3, ctr_el0
    mrs     x4, dczid_el0
    dc      zva, x0
    dc      cvau, x0
    dc      civac, x0
    ic      ivau, x0
    dsb     ish
    isb
    wfi
    wfe
    yield
    svc     #0

.global check_set
check_set:
    .arch_extension mops
    setp    [x0]!, x1!, x2
    setm    [x0]!, x1!, x2
    sete    [x0]!, x1!, x2
    svc     #0

.global check_load
check_load:
    ldr     x1, [x0]
    svc     #0
.global check_store
check_store:
    str     x1, [x0]
    svc     #0
.global check_jump
check_jump:
    br      x0
.global check_exclusive
check_exclusive:
    ldxr    x1, [x0]
    svc     #0
.global check_stack
check_stack:
    ldr     x1, [sp]
    svc     #0
.global check_programs_end
check_programs_end:
