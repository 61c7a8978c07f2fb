// Keeps pages warm for a measurement that is about to write into the page cache.
//
// A virtual machine tells its host what it has free, and the host takes it back ("free page reporting"); the next touch is a
// fault in the host, for which the guest pays in CPU. What a row costs is then a matter of what became free when. This holds
// memory that it has touched, and lets go of it at the pace in which somebody else takes memory, always a bit ahead: the
// kernel hands out first what became free last, and what it has told the host of last.
//
// Arguments: MiB. Commands are lines: `hold` takes and touches what is missing; `give` begins to let go of it. Each is
// answered by the MiB that are held when it is done, and `give` at once. Ends when its standard input does.

#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>

enum { MIB = 1 << 20, PIECE_MIB = 64, AHEAD_MIB = 256, PAGE_BYTES = 4096, LOOK_MS = 5 };

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static uint64_t free_mib(void) {
    struct sysinfo info;
    if (sysinfo(&info)) fail("warm: sysinfo");
    return (uint64_t)info.freeram * info.mem_unit / MIB;
}

static char *piece(void) {
    char *memory = mmap(NULL, (size_t)PIECE_MIB * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) fail("warm: mmap");
    // The kernel hands out small blocks before it breaks up large ones: what is to be handed out again is small ones.
    if (madvise(memory, (size_t)PIECE_MIB * MIB, MADV_NOHUGEPAGE)) fail("warm: madvise");
    for (size_t at = 0; at < (size_t)PIECE_MIB * MIB; at += PAGE_BYTES) memory[at] = 1;
    return memory;
}

int main(int count, char **arguments) {
    size_t pieces = count == 2 ? strtoul(arguments[1], NULL, 10) / PIECE_MIB : 0;
    if (pieces == 0) {
        fprintf(stderr, "warm: say how many MiB, %d at least\n", PIECE_MIB);
        return 2;
    }
    char **held = calloc(pieces, sizeof *held);
    size_t have = 0;
    uint64_t wanted_free = 0;
    struct pollfd input = {.fd = 0, .events = POLLIN};
    setvbuf(stdin, NULL, _IONBF, 0);
    for (;;) {
        int is_giving = wanted_free > 0 && have > 0;
        int ready = poll(&input, 1, is_giving ? LOOK_MS : -1);
        if (ready < 0) fail("warm: poll");
        if (ready > 0) {
            char line[16];
            if (!fgets(line, sizeof line, stdin)) return 0;
            if (!strcmp(line, "hold\n")) {
                wanted_free = 0;
                while (have < pieces) held[have++] = piece();
            } else if (!strcmp(line, "give\n")) {
                wanted_free = free_mib() + AHEAD_MIB;
            } else {
                fprintf(stderr, "warm: no command: %s", line);
                return 2;
            }
            printf("%zu\n", have * PIECE_MIB);
            fflush(stdout);
        }
        while (wanted_free > 0 && have > 0 && free_mib() < wanted_free)
            if (munmap(held[--have], (size_t)PIECE_MIB * MIB)) fail("warm: munmap");
    }
}
