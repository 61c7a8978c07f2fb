// Latencies, every one of them, and their percentiles.

#include "load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void add_latency(struct latencies *latencies, int64_t ns) {
    if (latencies->count == latencies->capacity) {
        latencies->capacity = latencies->capacity ? 2 * latencies->capacity : 1 << 16;
        latencies->ns = realloc(latencies->ns, (size_t)latencies->capacity * sizeof *latencies->ns);
        if (!latencies->ns) fail("no memory for %" PRId64 " latencies", latencies->capacity);
    }
    latencies->ns[latencies->count++] = ns;
}

void merge_latencies(struct latencies *into, struct latencies *from) {
    for (int64_t i = 0; i < from->count; i++) add_latency(into, from->ns[i]);
    free(from->ns);
    *from = (struct latencies){0};
}

static int by_value(const void *a, const void *b) {
    int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;
    return (left > right) - (left < right);
}

// Fields of a JSON object, each with a comma in front.
void print_latencies(struct latencies *latencies) {
    static const struct {
        const char *name;
        double share;
    } shown[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p999", 0.999}, {"p9999", 0.9999}, {"max", 1}};
    if (latencies->count == 0) return;
    qsort(latencies->ns, (size_t)latencies->count, sizeof *latencies->ns, by_value);
    for (size_t i = 0; i < sizeof shown / sizeof *shown; i++) {
        int64_t at = (int64_t)(shown[i].share * (double)latencies->count);
        if (at >= latencies->count) at = latencies->count - 1;
        printf(", \"%s_ms\": %.4f", shown[i].name, (double)latencies->ns[at] / 1e6);
    }
}
