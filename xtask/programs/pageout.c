/*
 * An ordinary C program, built against whatever C library the cross compiler has: maps, fills, reads the clock, asks for a page-out,
 * prints, checks what it reads back, unmaps. It must run in the guest as it is.
 */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1e9 + time.tv_nsec;
}

int main(int argc, char **argv)
{
    size_t length = (argc > 1 ? strtoul(argv[1], NULL, 0) : 16) << 20;
    uint64_t *words = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    double before, taken;

    if (words == MAP_FAILED) {
        perror("mmap");
        return 1;
    }
    for (size_t index = 0; index < length / sizeof *words; index++)
        words[index] = index * 0x9e3779b97f4a7c15;
    before = now();
    if (madvise(words, length, MADV_PAGEOUT) != 0) {
        perror("madvise");
        return 1;
    }
    taken = now() - before;
    for (size_t index = 0; index < length / sizeof *words; index++) {
        if (words[index] != index * 0x9e3779b97f4a7c15) {
            fprintf(stderr, "word %zu is wrong\n", index);
            return 1;
        }
    }
    munmap(words, length);
    /* Floating point and the heap, as any program has them. */
    char *line = malloc(100000);
    memset(line, 'x', 100000);
    snprintf(line, 100000, "%zu MiB paged out and in again, a page cost %s", length >> 20, taken / (length >> 12) > 1.5 ? "something" : "nothing");
    puts(line);
    free(line);
    return 0;
}
