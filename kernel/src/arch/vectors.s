// Exception entry. From EL1: all registers go to a frame on the stack, then Rust. From EL0: all registers go to the UserContext
// whose address `enter_user` left at SP, and `enter_user` returns.

.equ FRAME, 288                         // ExceptionFrame: x0-x30, sp, elr, spsr, esr, far

// The first half of an entry from EL1. A good stack has this bit of SP set (linker.ld). SP_EL0 is free while the kernel runs:
// a program's is in its UserContext.
.macro from_el1 kind
    .balign 128
    sub     sp, sp, #FRAME
    msr     sp_el0, x0
    mov     x0, sp
    tbz     x0, #{STACK_BIT}, stack_overflow
    mrs     x0, sp_el0
    stp     x0, x1, [sp]
    mov     x0, #\kind
    b       save_el1
.endm

.macro from_el0 kind
    .balign 128
    str     x0, [sp, #8]
    ldr     x0, [sp]
    str     x1, [x0, #8]
    mov     x1, #\kind
    b       leave_user
.endm

.section .text.vectors, "ax"
.balign 2048
.global exception_vectors
exception_vectors:
    from_el1 4                          // with SP_EL0: never used by this kernel
    from_el1 4
    from_el1 4
    from_el1 4
    from_el1 0                          // synchronous
    from_el1 1                          // IRQ
    from_el1 2                          // FIQ
    from_el1 3                          // SError
    from_el0 0
    from_el0 1
    from_el0 2
    from_el0 3
    from_el0 5                          // from AArch32: EL0 is entered in AArch64 only
    from_el0 5
    from_el0 5
    from_el0 5

stack_overflow:
    add     x0, x0, #FRAME
    msr     tpidrro_el0, x0             // the SP that went over
    adrp    x0, _emergency_stack_top    // one for all CPUs: the report ends the machine
    add     x0, x0, #:lo12:_emergency_stack_top
    sub     sp, x0, #FRAME
    mrs     x0, sp_el0
    stp     x0, x1, [sp]
    mov     x0, #6
save_el1:
    stp     x2, x3, [sp, #16]
    stp     x4, x5, [sp, #32]
    stp     x6, x7, [sp, #48]
    stp     x8, x9, [sp, #64]
    stp     x10, x11, [sp, #80]
    stp     x12, x13, [sp, #96]
    stp     x14, x15, [sp, #112]
    stp     x16, x17, [sp, #128]
    stp     x18, x19, [sp, #144]
    stp     x20, x21, [sp, #160]
    stp     x22, x23, [sp, #176]
    stp     x24, x25, [sp, #192]
    stp     x26, x27, [sp, #208]
    stp     x28, x29, [sp, #224]
    add     x1, sp, #FRAME
    stp     x30, x1, [sp, #240]
    mrs     x1, elr_el1
    mrs     x2, spsr_el1
    stp     x1, x2, [sp, #256]
    mrs     x1, esr_el1
    mrs     x2, far_el1
    stp     x1, x2, [sp, #272]
    mov     x1, x0
    mov     x0, sp
    bl      exception_from_el1
    ldp     x1, x2, [sp, #256]
    msr     elr_el1, x1
    msr     spsr_el1, x2
    ldp     x2, x3, [sp, #16]
    ldp     x4, x5, [sp, #32]
    ldp     x6, x7, [sp, #48]
    ldp     x8, x9, [sp, #64]
    ldp     x10, x11, [sp, #80]
    ldp     x12, x13, [sp, #96]
    ldp     x14, x15, [sp, #112]
    ldp     x16, x17, [sp, #128]
    ldp     x18, x19, [sp, #144]
    ldp     x20, x21, [sp, #160]
    ldp     x22, x23, [sp, #176]
    ldp     x24, x25, [sp, #192]
    ldp     x26, x27, [sp, #208]
    ldp     x28, x29, [sp, #224]
    ldr     x30, [sp, #240]
    ldp     x0, x1, [sp]
    add     sp, sp, #FRAME
    eret
