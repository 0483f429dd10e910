/*
 * Looks at its own memory as tools for memory do: pagemap, smaps and mincore of one map after each thing that is done to it must agree
 * with each other and with what was done. An ordinary C program; it says the same on Linux with a swap device, or without one that
 * nothing was swapped out.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif

#define PAGES 96
#define PAGE 4096UL
#define PRESENT (UINT64_C(1) << 63)
#define SWAPPED (UINT64_C(1) << 62)
#define FRAME ((UINT64_C(1) << 55) - 1)

/* What is known of a range. */
struct seen {
    int present, swapped, in_memory;
    unsigned long rss, swap;
};

static int pagemap;

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

/* The sums of the area that starts at an address, in pages. */
static void smaps(uintptr_t start, struct seen *seen)
{
    FILE *file = fopen("/proc/self/smaps", "r");
    char line[512];
    int is_here = 0;

    if (!file)
        fail("smaps");
    while (fgets(line, sizeof line, file)) {
        uintptr_t from, to;
        unsigned long kilobytes;

        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " ", &from, &to) == 2)
            is_here = from == start;
        else if (is_here && sscanf(line, "Rss: %lu kB", &kilobytes) == 1)
            seen->rss = kilobytes / 4;
        else if (is_here && sscanf(line, "Swap: %lu kB", &kilobytes) == 1)
            seen->swap = kilobytes / 4;
    }
    fclose(file);
}

static struct seen look(const unsigned char *map)
{
    struct seen seen = { 0 };
    uint64_t words[PAGES];
    unsigned char pages[PAGES];
    off_t at = (uintptr_t)map / PAGE * sizeof *words;

    if (pread(pagemap, words, sizeof words, at) != sizeof words)
        fail("pagemap");
    if (mincore((void *)map, PAGES * PAGE, pages) != 0)
        fail("mincore");
    smaps((uintptr_t)map, &seen);
    for (int page = 0; page < PAGES; page++) {
        seen.present += (words[page] & PRESENT) != 0;
        seen.swapped += (words[page] & SWAPPED) != 0;
        seen.in_memory += pages[page] & 1;
        /* Two pages are never in one frame, nor in one slot. */
        for (int other = 0; other < page && words[page] & FRAME; other++) {
            if ((words[other] & (PRESENT | SWAPPED | FRAME)) == (words[page] & (PRESENT | SWAPPED | FRAME))) {
                printf("pages %d and %d are at one place\n", other, page);
                exit(1);
            }
        }
    }
    return seen;
}

static void must(const unsigned char *map, const char *what, int present, int swapped)
{
    struct seen seen = look(map);

    if (seen.present != present || seen.swapped != swapped || seen.in_memory < present ||
        seen.rss != (unsigned long)present || seen.swap != (unsigned long)swapped) {
        printf("%s: %d present, %d swapped out, %d in memory, Rss %lu, Swap %lu, but must be %d and %d\n", what,
               seen.present, seen.swapped, seen.in_memory, seen.rss, seen.swap, present, swapped);
        exit(1);
    }
}

int main(void)
{
    /* With a page between it and its neighbours, so that it is an area of its own. */
    unsigned char *room = mmap(NULL, (PAGES + 2) * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    unsigned char *map = room + PAGE;
    int out;

    pagemap = open("/proc/self/pagemap", O_RDONLY);
    if (pagemap < 0)
        fail("/proc/self/pagemap");
    if (room == MAP_FAILED || mprotect(map, PAGES * PAGE, PROT_READ | PROT_WRITE) != 0)
        fail("mmap");
    madvise(map, PAGES * PAGE, MADV_NOHUGEPAGE);
    must(map, "untouched", 0, 0);
    for (int page = 0; page < PAGES; page++)
        map[page * PAGE] = page + 1;
    must(map, "touched", PAGES, 0);
    if (madvise(map, 64 * PAGE, MADV_PAGEOUT) != 0)
        fail("MADV_PAGEOUT");
    out = look(map).swapped;
    must(map, "paged out", PAGES - out, out);
    if (madvise(map + 16 * PAGE, 16 * PAGE, MADV_DONTNEED) != 0)
        fail("MADV_DONTNEED");
    must(map, "dropped", PAGES - 16 - (out ? 48 : 0), out ? 48 : 0);
    for (int page = 0; page < PAGES; page++) {
        int wanted = page >= 16 && page < 32 ? 0 : page + 1;

        if (map[page * PAGE] != wanted) {
            printf("page %d is wrong\n", page);
            return 1;
        }
        map[page * PAGE] = 1;
    }
    must(map, "all back", PAGES, 0);
    printf("%d pages, %d of them paged out: pagemap, smaps and mincore agree\n", PAGES, out);
    return 0;
}
