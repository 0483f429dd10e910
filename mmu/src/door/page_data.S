// Clear, copy and zero scan of whole pages. Lengths are multiples of 4096, not 0. See page_data.rs.
    .arch_extension fp
    .arch_extension simd
    .section .text.page_data, "ax"

// x0 to, x1 from, x2 bytes
    .global unfold_copy_pages
    .type unfold_copy_pages, %function
unfold_copy_pages:
    sub     sp, sp, #128
    st1     {v0.2d-v3.2d}, [sp]
    mov     x3, sp
    add     x3, x3, #64
    st1     {v4.2d-v7.2d}, [x3]
1:  ld1     {v0.2d-v3.2d}, [x1], #64
    ld1     {v4.2d-v7.2d}, [x1], #64
    st1     {v0.2d-v3.2d}, [x0], #64
    st1     {v4.2d-v7.2d}, [x0], #64
    subs    x2, x2, #128
    b.ne    1b
    ld1     {v4.2d-v7.2d}, [x3]
    ld1     {v0.2d-v3.2d}, [sp]
    add     sp, sp, #128
    ret
    .size unfold_copy_pages, . - unfold_copy_pages

// x0 from, x1 bytes; x0 = 1 if all are zero. Looks at the first 64 bytes, which tells most data; then a KiB a turn.
    .global unfold_is_zero
    .type unfold_is_zero, %function
unfold_is_zero:
    sub     sp, sp, #128
    st1     {v0.2d-v3.2d}, [sp]
    mov     x3, sp
    add     x3, x3, #64
    st1     {v4.2d-v7.2d}, [x3]
    ld1     {v0.2d-v3.2d}, [x0]
    b       3f
1:  ld1     {v0.2d-v3.2d}, [x0], #64
    .rept 15
    ld1     {v4.2d-v7.2d}, [x0], #64
    orr     v0.16b, v0.16b, v4.16b
    orr     v1.16b, v1.16b, v5.16b
    orr     v2.16b, v2.16b, v6.16b
    orr     v3.16b, v3.16b, v7.16b
    .endr
    sub     x1, x1, #1024
3:  orr     v0.16b, v0.16b, v1.16b
    orr     v2.16b, v2.16b, v3.16b
    orr     v0.16b, v0.16b, v2.16b
    umaxv   s0, v0.4s
    fmov    w4, s0
    cbnz    w4, 2f
    cbnz    x1, 1b
2:  cmp     w4, #0
    cset    x0, eq
    ld1     {v4.2d-v7.2d}, [x3]
    ld1     {v0.2d-v3.2d}, [sp]
    add     sp, sp, #128
    ret
    .size unfold_is_zero, . - unfold_is_zero

// x0 to, x1 bytes. DC ZVA clears 4 << DCZID_EL0.BS bytes; where it is prohibited (DZP), pairs of XZR do.
    .global unfold_clear_pages
    .type unfold_clear_pages, %function
unfold_clear_pages:
    mrs     x3, dczid_el0
    tbnz    w3, #4, 2f
    mov     x4, #4
    lsl     x4, x4, x3
1:  dc      zva, x0
    add     x0, x0, x4
    subs    x1, x1, x4
    b.hi    1b
    ret
2:  stp     xzr, xzr, [x0], #16
    subs    x1, x1, #16
    b.ne    2b
    ret
    .size unfold_clear_pages, . - unfold_clear_pages
