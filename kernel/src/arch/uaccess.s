// Copies between kernel and user memory. User memory is accessed by LDTR and STTR, which have EL0's permissions and pass PAN.
// Every fault on an address of the lower half within this section makes the routine return 1 (`user_access_failed`), or is
// resolved and the instruction tried again. None of them uses the stack.

.section .text.user_access, "ax"
.global user_access_start
user_access_start:

.global user_copy_in
user_copy_in:                           // x0: kernel memory, x1: user memory, x2: bytes
    cmp     x2, #32
    b.lo    2f
1:  ldtr    x3, [x1]
    ldtr    x4, [x1, #8]
    ldtr    x5, [x1, #16]
    ldtr    x6, [x1, #24]
    stp     x3, x4, [x0], #16
    stp     x5, x6, [x0], #16
    add     x1, x1, #32
    sub     x2, x2, #32
    cmp     x2, #32
    b.hs    1b
2:  cbz     x2, 4f
3:  ldtrb   w3, [x1]
    strb    w3, [x0], #1
    add     x1, x1, #1
    subs    x2, x2, #1
    b.ne    3b
4:  mov     x0, xzr
    ret

.global user_copy_out
user_copy_out:                          // x0: user memory, x1: kernel memory, x2: bytes
    cmp     x2, #32
    b.lo    2f
1:  ldp     x3, x4, [x1], #16
    ldp     x5, x6, [x1], #16
    sttr    x3, [x0]
    sttr    x4, [x0, #8]
    sttr    x5, [x0, #16]
    sttr    x6, [x0, #24]
    add     x0, x0, #32
    sub     x2, x2, #32
    cmp     x2, #32
    b.hs    1b
2:  cbz     x2, 4f
3:  ldrb    w3, [x1], #1
    sttrb   w3, [x0]
    add     x0, x0, #1
    subs    x2, x2, #1
    b.ne    3b
4:  mov     x0, xzr
    ret

.global user_zero
user_zero:                              // x0: user memory, x1: bytes
    cmp     x1, #16
    b.lo    2f
1:  sttr    xzr, [x0]
    sttr    xzr, [x0, #8]
    add     x0, x0, #16
    sub     x1, x1, #16
    cmp     x1, #16
    b.hs    1b
2:  cbz     x1, 4f
3:  sttrb   wzr, [x0]
    add     x0, x0, #1
    subs    x1, x1, #1
    b.ne    3b
4:  mov     x0, xzr
    ret

.global user_access_failed
user_access_failed:
    mov     x0, #1
    ret
.global user_access_end
user_access_end:
