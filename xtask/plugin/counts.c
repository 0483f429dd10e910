/*
 * A QEMU plugin that counts what the kernel tells the TLB, without asking the kernel.
 *
 * It reads each instruction word once, when QEMU translates it, and hooks those that matter: TLBI, DSB, ISB, and the hints by which the
 * kernel marks an interval: `hint #0x60` begins one and `hint #0x61` ends it. For each interval it writes one JSON line to the file named
 * by its argument `out=FILE`, with the same keys as the kernel's `interval` records; keys that are not there are zero. Only code in the
 * upper half of the address space counts: a program at EL0 may issue barriers and hints as it likes.
 *
 * The prototypes are our own, so that no header of QEMU's is needed. One source serves all versions of the plugin interface: 1 and 2
 * (QEMU 7.2 to 9.0) give a pointer to an instruction's bytes, 3 and newer fill a buffer. Build with -DPLUGIN_API=N.
 */

#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#ifndef PLUGIN_API
#define PLUGIN_API 1
#endif

/* QEMU's side: only what is used here. */
typedef uint64_t plugin_id;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
typedef void (*translate_callback)(plugin_id id, struct qemu_plugin_tb *tb);
typedef void (*execute_callback)(unsigned int cpu, void *data);
typedef void (*exit_callback)(plugin_id id, void *data);

extern void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id id, translate_callback callback);
extern void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn, execute_callback callback, int flags, void *data);
extern void qemu_plugin_register_atexit_cb(plugin_id id, exit_callback callback, void *data);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t index);
extern uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);
#if PLUGIN_API >= 3
extern size_t qemu_plugin_insn_data(const struct qemu_plugin_insn *insn, void *destination, size_t length);
#else
extern const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *insn);
#endif

/* The callback reads and writes no register of the CPU (QEMU_PLUGIN_CB_NO_REGS). */
#define NO_REGISTERS 0
#define EXPORT __attribute__((visibility("default")))

EXPORT int qemu_plugin_version = PLUGIN_API;

/* What is counted; the names are the keys. */
enum kind {
    TLBI_PAGE, TLBI_PAGE_WALK, TLBI_RANGE, TLBI_RANGE_WALK, TLBI_ANYPAGE, TLBI_ANYPAGE_WALK, TLBI_ANYRANGE, TLBI_ANYRANGE_WALK,
    TLBI_ASID, TLBI_ALL,
    TLBI_LOCAL, /* the same ten again, for this CPU alone */
    TLBI_OTHER = 2 * TLBI_LOCAL,
    DSB_ISHST, DSB_ISH, DSB_NSHST, DSB_NSH, DSB_OTHER, ISB, COUNTED,
    BEGIN = COUNTED, END, NOTHING
};

static const char *const names[COUNTED] = {
    "tlbi_page", "tlbi_page_walk", "tlbi_range", "tlbi_range_walk", "tlbi_anypage", "tlbi_anypage_walk", "tlbi_anyrange",
    "tlbi_anyrange_walk", "tlbi_asid", "tlbi_all",
    "tlbi_page_local", "tlbi_page_walk_local", "tlbi_range_local", "tlbi_range_walk_local", "tlbi_anypage_local",
    "tlbi_anypage_walk_local", "tlbi_anyrange_local", "tlbi_anyrange_walk_local", "tlbi_asid_local", "tlbi_all_local",
    "tlbi_other", "dsb_ishst", "dsb_ish", "dsb_nshst", "dsb_nsh", "dsb_other", "isb",
};

static uint64_t counts[COUNTED];
static uint64_t intervals;
static bool inside;
static FILE *out;

/* Which TLBI of EL1&0: op2 of the single ones (CRm 3, 7) and of the ranges (CRm 2, 6); DDI 0487, C5.5. */
static enum kind single(unsigned int op2)
{
    static const enum kind kinds[8] = { TLBI_ALL, TLBI_PAGE_WALK, TLBI_ASID, TLBI_ANYPAGE_WALK, NOTHING, TLBI_PAGE, NOTHING, TLBI_ANYPAGE };
    return kinds[op2];
}

static enum kind range(unsigned int op2)
{
    static const enum kind kinds[8] = { NOTHING, TLBI_RANGE_WALK, NOTHING, TLBI_ANYRANGE_WALK, NOTHING, TLBI_RANGE, NOTHING, TLBI_ANYRANGE };
    return kinds[op2];
}

/* SYS with CRn 8, or 9 for the nXS forms, is TLBI. */
static enum kind tlbi(uint32_t word)
{
    unsigned int op1 = word >> 16 & 7, crn = word >> 12 & 15, crm = word >> 8 & 15, op2 = word >> 5 & 7;
    enum kind kind = NOTHING;
    bool local = crm == 7 || crm == 6;

    if (op1 != 0 || crn != 8)
        return TLBI_OTHER;
    if (crm == 3 || crm == 7)
        kind = single(op2);
    else if (crm == 2 || crm == 6)
        kind = range(op2);
    if (kind == NOTHING)
        return TLBI_OTHER;
    return local ? kind + TLBI_LOCAL : kind;
}

static enum kind dsb(uint32_t word)
{
    switch (word >> 8 & 15) {
    case 10: return DSB_ISHST;
    case 11: return DSB_ISH;
    case 6: return DSB_NSHST;
    case 7: return DSB_NSH;
    default: return DSB_OTHER;
    }
}

static enum kind decode(uint32_t word)
{
    if ((word & 0xfff8e000) == 0xd5088000) /* SYS, CRn 8 or 9 */
        return tlbi(word);
    if ((word & 0xfffff0ff) == 0xd503309f) /* DSB */
        return dsb(word);
    if ((word & 0xfffff3ff) == 0xd503323f) /* DSB of the nXS form */
        return DSB_OTHER;
    if ((word & 0xfffff0ff) == 0xd50330df) /* ISB */
        return ISB;
    if (word == (0xd503201f | 0x60 << 5)) /* HINT #0x60 */
        return BEGIN;
    if (word == (0xd503201f | 0x61 << 5)) /* HINT #0x61 */
        return END;
    return NOTHING;
}

static void write_interval(void)
{
    fprintf(out, "{\"kind\":\"interval\",\"index\":%" PRIu64, intervals);
    for (int kind = 0; kind < COUNTED; kind++) {
        uint64_t count = __atomic_load_n(&counts[kind], __ATOMIC_RELAXED);
        if (count != 0)
            fprintf(out, ",\"%s\":%" PRIu64, names[kind], count);
    }
    fprintf(out, "}\n");
    fflush(out);
}

static void on_execute(unsigned int cpu, void *data)
{
    uintptr_t kind = (uintptr_t)data;

    (void)cpu;
    if (kind < COUNTED) {
        __atomic_fetch_add(&counts[kind], 1, __ATOMIC_RELAXED); /* several CPUs may run at once */
    } else if (kind == BEGIN) {
        memset(counts, 0, sizeof counts);
        inside = true;
    } else if (inside) {
        write_interval();
        intervals++;
        inside = false;
    }
}

static uint32_t word_of(const struct qemu_plugin_insn *insn)
{
    uint32_t word = 0;
#if PLUGIN_API >= 3
    qemu_plugin_insn_data(insn, &word, sizeof word);
#else
    memcpy(&word, qemu_plugin_insn_data(insn), sizeof word);
#endif
    return word; /* instructions are little-endian; so is every host that we know */
}

static void on_translate(plugin_id id, struct qemu_plugin_tb *tb)
{
    size_t length = qemu_plugin_tb_n_insns(tb);

    (void)id;
    for (size_t index = 0; index < length; index++) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, index);
        enum kind kind;

        if (qemu_plugin_insn_vaddr(insn) >> 63 == 0)
            continue;
        kind = decode(word_of(insn));
        if (kind != NOTHING)
            qemu_plugin_register_vcpu_insn_exec_cb(insn, on_execute, NO_REGISTERS, (void *)(uintptr_t)kind);
    }
}

static void on_exit_of_qemu(plugin_id id, void *data)
{
    (void)id;
    (void)data;
    fclose(out);
}

EXPORT int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv)
{
    (void)info;
    for (int index = 0; index < argc; index++) {
        if (strncmp(argv[index], "out=", 4) == 0)
            out = fopen(argv[index] + 4, "w");
    }
    if (out == NULL) {
        fprintf(stderr, "counts: say out=FILE, a file that can be written\n");
        return -1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translate);
    qemu_plugin_register_atexit_cb(id, on_exit_of_qemu, NULL);
    return 0;
}
