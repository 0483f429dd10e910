/*
 * A QEMU plugin that counts what the kernel tells the TLB and what it does to translation tables, without asking the kernel.
 *
 * It reads each instruction word once, when QEMU translates it, and hooks those that matter: TLBI, DSB, ISB, loads and stores, and the
 * hints by which the kernel marks an interval: `hint #0x60` begins one and `hint #0x61` ends it. For each interval it writes one JSON
 * line to the file named by its argument `out=FILE`, with the same keys as the kernel's `interval` records; keys that are not there are
 * zero. Only code in the upper half of the address space counts: a program at EL0 may issue barriers and hints as it likes.
 *
 * Loads and stores count where they meet a table page, by physical address, whichever function of the kernel does them. The kernel says
 * which pages these are: `hint #0x66` followed at once by a load from the page makes it a table, `hint #0x67` and a load end that. The
 * announcing loads themselves do not count. QEMU's own table walks, and the access flags and dirty state that they write, are not
 * instructions and never seen here, which is what we want: the kernel counts its own accesses.
 *
 * The prototypes are our own, so that no header of QEMU's is needed. One source serves all versions of the plugin interface: 1 and 2
 * (QEMU 7.2 to 9.0) give a pointer to an instruction's bytes, 3 and newer fill a buffer. Build with -DPLUGIN_API=N.
 */

#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef PLUGIN_API
#define PLUGIN_API 1
#endif

/* QEMU's side: only what is used here. */
typedef uint64_t plugin_id;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct qemu_plugin_hwaddr;
typedef uint32_t access_info;
typedef void (*translate_callback)(plugin_id id, struct qemu_plugin_tb *tb);
typedef void (*execute_callback)(unsigned int cpu, void *data);
typedef void (*access_callback)(unsigned int cpu, access_info info, uint64_t address, void *data);
typedef void (*exit_callback)(plugin_id id, void *data);

extern void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id id, translate_callback callback);
extern void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn, execute_callback callback, int flags, void *data);
extern void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *insn, access_callback callback, int flags, int direction, void *data);
extern void qemu_plugin_register_atexit_cb(plugin_id id, exit_callback callback, void *data);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t index);
extern uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);
extern bool qemu_plugin_mem_is_store(access_info info);
extern struct qemu_plugin_hwaddr *qemu_plugin_get_hwaddr(access_info info, uint64_t address);
extern bool qemu_plugin_hwaddr_is_io(const struct qemu_plugin_hwaddr *where);
extern uint64_t qemu_plugin_hwaddr_phys_addr(const struct qemu_plugin_hwaddr *where);
#if PLUGIN_API >= 3
extern size_t qemu_plugin_insn_data(const struct qemu_plugin_insn *insn, void *destination, size_t length);
#else
extern const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *insn);
#endif

/* The callback reads and writes no register of the CPU (QEMU_PLUGIN_CB_NO_REGS). */
#define NO_REGISTERS 0
/* The callback is told of loads and stores (QEMU_PLUGIN_MEM_RW). QEMU 7.2 does not tell one that asks for loads alone. */
#define LOADS_AND_STORES 3
#define EXPORT __attribute__((visibility("default")))

EXPORT int qemu_plugin_version = PLUGIN_API;

/* What is counted; the names are the keys. */
enum kind {
    TLBI_PAGE, TLBI_PAGE_WALK, TLBI_RANGE, TLBI_RANGE_WALK, TLBI_ANYPAGE, TLBI_ANYPAGE_WALK, TLBI_ANYRANGE, TLBI_ANYRANGE_WALK,
    TLBI_ASID, TLBI_ALL,
    TLBI_LOCAL, /* the same ten again, for this CPU alone */
    TLBI_OTHER = 2 * TLBI_LOCAL,
    DSB_ISHST, DSB_ISH, DSB_NSHST, DSB_NSH, DSB_OTHER, ISB,
    ENTRY_LOADS, ENTRY_STORES, ENTRY_ATOMICS, COUNTED,
    BEGIN = COUNTED, END, TABLE, NO_TABLE, NOTHING
};

static const char *const names[COUNTED] = {
    "tlbi_page", "tlbi_page_walk", "tlbi_range", "tlbi_range_walk", "tlbi_anypage", "tlbi_anypage_walk", "tlbi_anyrange",
    "tlbi_anyrange_walk", "tlbi_asid", "tlbi_all",
    "tlbi_page_local", "tlbi_page_walk_local", "tlbi_range_local", "tlbi_range_walk_local", "tlbi_anypage_local",
    "tlbi_anypage_walk_local", "tlbi_anyrange_local", "tlbi_anyrange_walk_local", "tlbi_asid_local", "tlbi_all_local",
    "tlbi_other", "dsb_ishst", "dsb_ish", "dsb_nshst", "dsb_nsh", "dsb_other", "isb",
    "entry_loads", "entry_stores", "entry_atomics",
};

static uint64_t counts[COUNTED];
static uint64_t intervals;
static bool inside;
static FILE *out;

/* What can not be counted ends the run: a wrong count would be worse. */
static void fail(const char *why)
{
    fprintf(stderr, "counts: %s\n", why);
    exit(EXIT_FAILURE);
}

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
    switch (word ^ 0xd503201f) { /* HINT */
    case 0x60 << 5: return BEGIN;
    case 0x61 << 5: return END;
    case 0x66 << 5: return TABLE;
    case 0x67 << 5: return NO_TABLE;
    default: return NOTHING;
    }
}

/*
 * Loads and stores of general registers; DDI 0487, C4.1. Those of vector registers, of which bit 26 tells, are the copying and scanning
 * of page contents: most of what the kernel does to memory, and never an entry, so that looking at them too would only take time.
 */
static bool accesses_memory(uint32_t word)
{
    return (word & 0x0e000000) == 0x08000000;
}

/* Compare-and-swap, of one register or of two, and the read-modify-write instructions of FEAT_LSE, SWP among them. */
static bool is_lse(uint32_t word)
{
    bool cas = (word & 0x3fa07c00) == 0x08a07c00, casp = (word & 0xbfa07c00) == 0x08207c00;
    bool others = (word & 0x3f200c00) == 0x38200000, ldapr = (word & 0x3ffffc00) == 0x38bfc000; /* a load among those */

    return cas || casp || (others && !ldapr);
}

static bool is_exclusive_load(uint32_t word)
{
    return (word & 0x3fc00000) == 0x08400000 && !is_lse(word);
}

static bool is_exclusive_store(uint32_t word)
{
    return (word & 0x3fc00000) == 0x08000000 && !is_lse(word);
}

/*
 * The set of table pages: a bit for each frame of the first TiB of physical memory, which the host gives a page at a time as it is
 * touched. CPUs change and look at it without a lock; the kernel announces a table before it links it, and no longer uses one that it
 * takes back.
 */
#define FRAMES ((uint64_t)1 << 28)
static uint8_t tables[FRAMES / 8];

/* The frame of the memory that was accessed; FRAMES for a device's registers and for what lies beyond the set. */
static uint64_t frame_of(access_info info, uint64_t address)
{
    const struct qemu_plugin_hwaddr *where = qemu_plugin_get_hwaddr(info, address);
    uint64_t frame = FRAMES;

    if (where != NULL && !qemu_plugin_hwaddr_is_io(where))
        frame = qemu_plugin_hwaddr_phys_addr(where) >> 12;
    return frame < FRAMES ? frame : FRAMES;
}

static bool is_table(uint64_t frame)
{
    return frame < FRAMES && (__atomic_load_n(&tables[frame / 8], __ATOMIC_RELAXED) >> frame % 8 & 1) != 0;
}

static void on_announcement(unsigned int cpu, access_info info, uint64_t address, void *data)
{
    uint64_t frame = frame_of(info, address);
    uint8_t bit = 1 << frame % 8;

    (void)cpu;
    if (frame == FRAMES)
        fail("a table page that is not in the first TiB of memory");
    if ((uintptr_t)data == TABLE)
        __atomic_fetch_or(&tables[frame / 8], bit, __ATOMIC_RELAXED);
    else
        __atomic_fetch_and(&tables[frame / 8], (uint8_t)~bit, __ATOMIC_RELAXED);
}

/*
 * Where the kernel's announcing loads are: behind each hint that was translated. A translation block may end between the two, as it
 * does wherever QEMU's instruction count is due, so that they need not be translated together; but a load is not reached before its
 * hint. Places are only added, and kept with the kind of the hint in the two lowest bits, which an address of code has clear.
 */
#define PLACES 64
static uint64_t announcements[PLACES];

static void expect_announcement(uint64_t address, enum kind kind)
{
    uint64_t place = address | (kind - TABLE);

    for (int index = 0; index < PLACES; index++) {
        uint64_t known = 0;
        if (__atomic_compare_exchange_n(&announcements[index], &known, place, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED) || known == place)
            return;
    }
    fail("more places that announce tables than expected");
}

/* The kind of the hint before `address`: TABLE, NO_TABLE, or NOTHING if there is no such hint. */
static enum kind announcement_at(uint64_t address)
{
    for (int index = 0; index < PLACES; index++) {
        uint64_t place = __atomic_load_n(&announcements[index], __ATOMIC_RELAXED);
        if (place == 0)
            break;
        if ((place & ~(uint64_t)3) == address)
            return TABLE + (place & 3);
    }
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

static void count(enum kind kind)
{
    __atomic_fetch_add(&counts[kind], 1, __ATOMIC_RELAXED); /* several CPUs may run at once */
}

static void on_execute(unsigned int cpu, void *data)
{
    uintptr_t kind = (uintptr_t)data;

    (void)cpu;
    if (kind < COUNTED) {
        count(kind);
    } else if (kind == BEGIN) {
        memset(counts, 0, sizeof counts);
        inside = true;
    } else if (inside) {
        write_interval();
        intervals++;
        inside = false;
    }
}

static void on_load_or_store(unsigned int cpu, access_info info, uint64_t address, void *data)
{
    (void)cpu;
    (void)data;
    if (inside && is_table(frame_of(info, address)))
        count(qemu_plugin_mem_is_store(info) ? ENTRY_STORES : ENTRY_LOADS);
}

/*
 * An atomic instruction counts by its write, which is there once: QEMU shows a read and then a write where one CPU runs at a time, and
 * in version 7.2 a single access of both kinds where several do.
 */
static void on_atomic(unsigned int cpu, access_info info, uint64_t address, void *data)
{
    (void)cpu;
    (void)data;
    if (inside && qemu_plugin_mem_is_store(info) && is_table(frame_of(info, address)))
        count(ENTRY_ATOMICS);
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

/* Without FEAT_LSE an exclusive load and an exclusive store are one atomic. */
static void watch_memory(struct qemu_plugin_insn *insn, uint32_t word)
{
    if (is_exclusive_load(word))
        return;
    if (is_lse(word) || is_exclusive_store(word))
        qemu_plugin_register_vcpu_mem_cb(insn, on_atomic, NO_REGISTERS, LOADS_AND_STORES, NULL);
    else
        qemu_plugin_register_vcpu_mem_cb(insn, on_load_or_store, NO_REGISTERS, LOADS_AND_STORES, NULL);
}

static void watch(struct qemu_plugin_insn *insn, uint64_t address, uint32_t word)
{
    enum kind announced = announcement_at(address), kind = decode(word);

    if (announced != NOTHING)
        qemu_plugin_register_vcpu_mem_cb(insn, on_announcement, NO_REGISTERS, LOADS_AND_STORES, (void *)(uintptr_t)announced);
    else if (accesses_memory(word))
        watch_memory(insn, word);
    else if (kind == TABLE || kind == NO_TABLE)
        expect_announcement(address + sizeof word, kind);
    else if (kind != NOTHING)
        qemu_plugin_register_vcpu_insn_exec_cb(insn, on_execute, NO_REGISTERS, (void *)(uintptr_t)kind);
}

static void on_translate(plugin_id id, struct qemu_plugin_tb *tb)
{
    size_t length = qemu_plugin_tb_n_insns(tb);

    (void)id;
    for (size_t index = 0; index < length; index++) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, index);
        uint64_t address = qemu_plugin_insn_vaddr(insn);

        if (address >> 63 != 0)
            watch(insn, address, word_of(insn));
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
