// Keeps a virtual machine's free memory its own for as long as it runs.
//
//   ballast BYTES
//
// Many hosts take free memory back, in blocks of 2 MiB and more (the guest's kernel reports them: "free page reporting"),
// and the next touch of such a page is a fault in the host that costs a guest microseconds of its CPU time. What writes into
// the page cache would then be measured by how long the memory had been free. This touches BYTES once, so that the host has
// to give them, and keeps one page of each 256 KiB: what lies between is free, and never a block that is reported.
//
// Prints a line when it is ready, and ends when its standard input does.

#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGE_BYTES = 4 << 10, STRIDE_BYTES = 256 << 10 };

static void fail(const char *what) {
    perror(what);
    exit(1);
}

int main(int count, char **arguments) {
    size_t length = count == 2 ? strtoull(arguments[1], NULL, 10) / STRIDE_BYTES * STRIDE_BYTES : 0;
    if (length == 0) {
        fputs("usage: ballast BYTES\n", stderr);
        return 2;
    }
    char *memory = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) fail("ballast: mmap");
    // Of a huge page no part would be given back.
    if (madvise(memory, length, MADV_NOHUGEPAGE)) fail("ballast: madvise");
    for (size_t at = 0; at < length; at += PAGE_BYTES) memory[at] = 1;
    for (size_t at = 0; at < length; at += STRIDE_BYTES)
        if (madvise(memory + at + PAGE_BYTES, STRIDE_BYTES - PAGE_BYTES, MADV_DONTNEED)) fail("ballast: madvise");
    puts("ready");
    fflush(stdout);
    for (char byte; read(STDIN_FILENO, &byte, 1) > 0;) {}
    return 0;
}
