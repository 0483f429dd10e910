// enter_user(x0 = UserContext): runs the program until its next exception. Returns the kind of that (vectors.s).
// Offsets are those of UserContext: x 0, sp 248, pc 256, pstate 264, tpidr 272, fpcr 280, fpsr 288, v 304.

.arch_extension fp
.arch_extension simd

.macro vectors_of_context operation
    \operation q0, q1, [x0, #304]
    \operation q2, q3, [x0, #336]
    \operation q4, q5, [x0, #368]
    \operation q6, q7, [x0, #400]
    \operation q8, q9, [x0, #432]
    \operation q10, q11, [x0, #464]
    \operation q12, q13, [x0, #496]
    \operation q14, q15, [x0, #528]
    \operation q16, q17, [x0, #560]
    \operation q18, q19, [x0, #592]
    \operation q20, q21, [x0, #624]
    \operation q22, q23, [x0, #656]
    \operation q24, q25, [x0, #688]
    \operation q26, q27, [x0, #720]
    \operation q28, q29, [x0, #752]
    \operation q30, q31, [x0, #784]
.endm

.macro registers_of_context operation
    \operation x2, x3, [x0, #16]
    \operation x4, x5, [x0, #32]
    \operation x6, x7, [x0, #48]
    \operation x8, x9, [x0, #64]
    \operation x10, x11, [x0, #80]
    \operation x12, x13, [x0, #96]
    \operation x14, x15, [x0, #112]
    \operation x16, x17, [x0, #128]
    \operation x18, x19, [x0, #144]
    \operation x20, x21, [x0, #160]
    \operation x22, x23, [x0, #176]
    \operation x24, x25, [x0, #192]
    \operation x26, x27, [x0, #208]
    \operation x28, x29, [x0, #224]
.endm

.text
.global enter_user
enter_user:
    stp     x29, x30, [sp, #-112]!
    mov     x29, sp
    stp     x19, x20, [sp, #16]
    stp     x21, x22, [sp, #32]
    stp     x23, x24, [sp, #48]
    stp     x25, x26, [sp, #64]
    stp     x27, x28, [sp, #80]
    str     x0, [sp, #-16]!             // for from_el0: the context, and a word to spare
    vectors_of_context ldp
    ldp     x1, x2, [x0, #280]
    msr     fpcr, x1
    msr     fpsr, x2
    ldp     x1, x2, [x0, #264]
    msr     spsr_el1, x1
    msr     tpidr_el0, x2
    ldp     x1, x2, [x0, #248]
    msr     sp_el0, x1
    msr     elr_el1, x2
    msr     tpidrro_el0, xzr
    registers_of_context ldp
    ldr     x30, [x0, #240]
    ldp     x0, x1, [x0]
    eret

.global leave_user
leave_user:                             // x0: context; x1: kind; the program's x0 at [sp, #8], its x1 in the context
    registers_of_context stp
    str     x30, [x0, #240]
    ldr     x2, [sp, #8]
    str     x2, [x0]
    mrs     x2, sp_el0
    mrs     x3, elr_el1
    stp     x2, x3, [x0, #248]
    mrs     x2, spsr_el1
    mrs     x3, tpidr_el0
    stp     x2, x3, [x0, #264]
    mrs     x2, fpcr
    mrs     x3, fpsr
    stp     x2, x3, [x0, #280]
    vectors_of_context stp
    mov     x0, x1
    add     sp, sp, #16
    ldp     x19, x20, [sp, #16]
    ldp     x21, x22, [sp, #32]
    ldp     x23, x24, [sp, #48]
    ldp     x25, x26, [sp, #64]
    ldp     x27, x28, [sp, #80]
    ldp     x29, x30, [sp], #112
    ret
