// Keeps a virtual machine's free memory its own for as long as it runs.
//
// A host may take free memory back: the guest's kernel tells it of free blocks ("free page reporting", from an order of pages
// on that /sys/module/page_reporting names), and the next touch of such a page is a fault in the host that costs the guest
// microseconds of CPU. What writes into the page cache would then be measured by how long the memory had been free. This
// touches all that is free once, so that the host has to give it, and pins one page of each 128 KiB: what lies between is
// free, in blocks of up to 64 KiB, which are not reported.
//
// Prints a line when it is ready, and ends when its standard input does. Wants to be root: only root sees where a page is.

#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/io_uring.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/uio.h>
#include <unistd.h>

enum { PAGE_BYTES = 4 << 10, BLOCK_PAGES = 32, ENTRIES = 4096, PINNED_AT_ONCE = 16384, STEP_PAGES = 1024, LEFT_BYTES = 512 << 20 };
static const uint64_t IS_PRESENT = 1ULL << 63, FRAME_NUMBER = (1ULL << 55) - 1;

static void fail(const char *what) {
    perror(what);
    exit(1);
}

// Marks the first page of each physical block, and tells how many there are.
static size_t choose(const char *memory, size_t pages, unsigned char *is_kept) {
    int map = open("/proc/self/pagemap", O_RDONLY);
    if (map < 0) fail("ballast: /proc/self/pagemap");
    size_t capacity = 1 << 20, chosen = 0;
    unsigned char *is_covered = calloc(capacity, 1);
    uint64_t entries[ENTRIES];
    for (size_t first = 0; first < pages; first += ENTRIES) {
        size_t count = pages - first < ENTRIES ? pages - first : ENTRIES;
        off_t at = (off_t)(((uintptr_t)memory / PAGE_BYTES + first) * sizeof *entries);
        if (pread(map, entries, count * sizeof *entries, at) != (ssize_t)(count * sizeof *entries)) fail("ballast: pagemap");
        for (size_t page = 0; page < count; page++) {
            uint64_t block = (entries[page] & FRAME_NUMBER) / BLOCK_PAGES;
            if (!(entries[page] & IS_PRESENT) || block == 0 || block >= capacity || is_covered[block]) continue;
            is_covered[block] = is_kept[first + page] = 1;
            chosen++;
        }
    }
    free(is_covered);
    close(map);
    return chosen;
}

// Holds pages where they are, as a ring does with buffers that are registered: the kernel moves others together.
static void pin(const struct iovec *pages, unsigned count) {
    struct io_uring_params parameters = {0};
    int ring = (int)syscall(SYS_io_uring_setup, 1, &parameters);
    if (ring < 0 || syscall(SYS_io_uring_register, ring, IORING_REGISTER_BUFFERS, pages, count)) fail("ballast: io_uring");
}

static int is_much_free(void) {
    struct sysinfo info;
    if (sysinfo(&info)) fail("ballast: sysinfo");
    return info.freeram * info.mem_unit > LEFT_BYTES;
}

int main(void) {
    // If memory should not be enough after all, this is what may go.
    int score = open("/proc/self/oom_score_adj", O_WRONLY);
    if (score < 0 || write(score, "1000", 4) != 4 || close(score)) fail("ballast: oom_score_adj");
    struct sysinfo info;
    if (sysinfo(&info)) fail("ballast: sysinfo");
    size_t length = info.totalram * info.mem_unit / PAGE_BYTES * PAGE_BYTES, pages = 0;
    char *memory = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) fail("ballast: mmap");
    // Of a huge page no part would be given back.
    if (madvise(memory, length, MADV_NOHUGEPAGE)) fail("ballast: madvise");
    for (; is_much_free() && (pages + STEP_PAGES) * PAGE_BYTES <= length; pages += STEP_PAGES)
        for (size_t page = pages; page < pages + STEP_PAGES; page++) memory[page * PAGE_BYTES] = 1;
    unsigned char *is_kept = calloc(pages + 1, 1);
    if (choose(memory, pages, is_kept) == 0) {
        fputs("ballast: the kernel does not tell where pages are: be root\n", stderr);
        return 1;
    }
    struct iovec *pinned = calloc(PINNED_AT_ONCE, sizeof *pinned);
    unsigned waiting = 0;
    for (size_t page = 0; page < pages; page++) {
        if (!is_kept[page]) continue;
        pinned[waiting++] = (struct iovec){memory + page * PAGE_BYTES, PAGE_BYTES};
        if (waiting == PINNED_AT_ONCE) {
            pin(pinned, waiting);
            waiting = 0;
        }
    }
    if (waiting > 0) pin(pinned, waiting);
    // What is pinned stays.
    if (munmap(memory, length)) fail("ballast: munmap");
    puts("ready");
    fflush(stdout);
    for (char byte; read(STDIN_FILENO, &byte, 1) > 0;) {}
    return 0;
}
