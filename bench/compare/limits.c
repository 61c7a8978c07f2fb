// What this machine can do at most, with nothing of a broker in the way: the figures that others are held against.
//
//   limits DIRECTORY SECONDS
//
// Measures for SECONDS each, and prints one line of JSON: a request and its answer over loopback, a stream over loopback
// from memory and by sendfile, positioned writes into the page cache, and appends that are each synced to the device.
// DIRECTORY is on the disk that brokers use; its files are removed again. CPU seconds are those of the one thread that does
// what a broker would, user and system.

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { PIECE_BYTES = 1 << 20, WRITE_BYTES = 64 << 10, SYNCED_BYTES = 4 << 10, ECHO_BYTES = 100, FILE_BYTES = 256 << 20, WRITTEN_BYTES = 1 << 30 };

static double duration_s;

static void fail(const char *what) {
    fprintf(stderr, "limits: %s: %s\n", what, strerror(errno));
    exit(1);
}

static double now_s(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static double cpu_s(void) {
    struct rusage usage;
    getrusage(RUSAGE_THREAD, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) + (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void connected_pair(int *near, int *far) {
    int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 1)) fail("listen");
    if (getsockname(listener, (struct sockaddr *)&address, &length)) fail("getsockname");
    *near = socket(AF_INET, SOCK_STREAM, 0);
    if (*near < 0 || connect(*near, (struct sockaddr *)&address, sizeof address)) fail("connect");
    *far = accept(listener, NULL, NULL);
    if (*far < 0) fail("accept");
    setsockopt(*near, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(*far, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    close(listener);
}

static int whole(ssize_t (*move)(int, void *, size_t), int socket, void *bytes, size_t length) {
    for (size_t done = 0; done < length;) {
        ssize_t moved = move(socket, (char *)bytes + done, length - done);
        if (moved < 0 && errno == EINTR) continue;
        if (moved <= 0) return 0;
        done += (size_t)moved;
    }
    return 1;
}

static ssize_t send_some(int socket, void *bytes, size_t length) { return write(socket, bytes, length); }

static void *echo_thread(void *argument) {
    char bytes[ECHO_BYTES];
    int socket = *(int *)argument;
    while (whole(read, socket, bytes, sizeof bytes) && whole(send_some, socket, bytes, sizeof bytes)) {}
    return NULL;
}

static int by_value(const void *a, const void *b) {
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

static void measure_echo(void) {
    int near, far;
    pthread_t thread;
    connected_pair(&near, &far);
    if (pthread_create(&thread, NULL, echo_thread, &far)) fail("thread");
    size_t count = 0, capacity = 1 << 22;
    double *times = malloc(capacity * sizeof *times);
    char bytes[ECHO_BYTES] = {0};
    for (double end = now_s() + duration_s, begun = now_s(); begun < end && count < capacity;) {
        if (!whole(send_some, near, bytes, sizeof bytes) || !whole(read, near, bytes, sizeof bytes)) fail("echo");
        double now = now_s();
        times[count++] = now - begun;
        begun = now;
    }
    shutdown(near, SHUT_WR);
    pthread_join(thread, NULL);
    close(near);
    close(far);
    qsort(times, count, sizeof *times, by_value);
    printf("\"echo_p50_ms\": %.5f, \"echo_p99_ms\": %.5f", times[count / 2] * 1e3, times[count * 99 / 100] * 1e3);
    free(times);
}

struct received {
    int socket;
    uint64_t bytes;
    double cpu_s;
};

static void *receive_thread(void *argument) {
    struct received *received = argument;
    char *bytes = malloc(PIECE_BYTES);
    double begun = cpu_s();
    for (ssize_t length; (length = read(received->socket, bytes, PIECE_BYTES)) > 0;) received->bytes += (uint64_t)length;
    received->cpu_s = cpu_s() - begun;
    free(bytes);
    return NULL;
}

// Streams the file, or the same bytes from memory if there is none.
static void measure_stream(const char *name, int file) {
    int near, far;
    pthread_t thread;
    connected_pair(&near, &far);
    struct received received = {.socket = far};
    if (pthread_create(&thread, NULL, receive_thread, &received)) fail("thread");
    char *memory = malloc(PIECE_BYTES);
    memset(memory, 7, PIECE_BYTES);
    double begun = now_s(), cpu = cpu_s();
    off_t position = 0;
    while (now_s() < begun + duration_s) {
        if (file < 0) {
            if (!whole(send_some, near, memory, PIECE_BYTES)) fail("send");
            continue;
        }
        if (position + PIECE_BYTES > FILE_BYTES) position = 0;
        for (off_t end = position + PIECE_BYTES; position < end;)
            if (sendfile(near, file, &position, (size_t)(end - position)) <= 0) fail("sendfile");
    }
    cpu = cpu_s() - cpu;
    shutdown(near, SHUT_WR);
    pthread_join(thread, NULL);
    double took = now_s() - begun, gib = (double)received.bytes / (double)(1 << 30);
    printf(", \"%s_mb_s\": %.1f, \"%s_send_cpu_s_per_gib\": %.4f, \"%s_receive_cpu_s_per_gib\": %.4f", name,
           (double)received.bytes / took / 1e6, name, cpu / gib, name, received.cpu_s / gib);
    close(near);
    close(far);
    free(memory);
}

// Makes the file one of that length whose pages the page cache has.
static void fill(int file, off_t length) {
    if (ftruncate(file, 0) || posix_fallocate(file, 0, length)) fail("a file of zeros");
    char *piece = calloc(1, PIECE_BYTES);
    for (off_t at = 0; at < length; at += PIECE_BYTES)
        if (pwrite(file, piece, PIECE_BYTES, at) != PIECE_BYTES) fail("pwrite");
    free(piece);
}

// Writes over and over the same gigabyte of a file: into pages that were not the file's a moment ago, as a log has them, or
// into those that the page cache has for it.
static void measure_writes(const char *name, int file, int is_fresh) {
    char *bytes = malloc(WRITE_BYTES);
    memset(bytes, 7, WRITE_BYTES);
    uint64_t written = 0;
    double begun = now_s(), cpu = cpu_s();
    while (now_s() < begun + duration_s) {
        off_t position = (off_t)(written % WRITTEN_BYTES);
        if (position == 0 && is_fresh && ftruncate(file, 0)) fail("ftruncate");
        if (pwrite(file, bytes, WRITE_BYTES, position) != WRITE_BYTES) fail("pwrite");
        written += WRITE_BYTES;
    }
    double took = now_s() - begun;
    cpu = cpu_s() - cpu;
    printf(", \"%s_mb_s\": %.1f, \"%s_cpu_s_per_gib\": %.4f", name, (double)written / took / 1e6, name,
           cpu / ((double)written / (double)(1 << 30)));
    free(bytes);
}

static void measure_syncs(int file) {
    char bytes[SYNCED_BYTES] = {7};
    uint64_t synced = 0;
    double begun = now_s();
    while (now_s() < begun + duration_s) {
        if (pwrite(file, bytes, sizeof bytes, (off_t)(synced * SYNCED_BYTES)) != SYNCED_BYTES) fail("pwrite");
        if (fdatasync(file)) fail("fdatasync");
        synced++;
    }
    printf(", \"fdatasync_per_s\": %.1f", (double)synced / (now_s() - begun));
}

int main(int count, char **arguments) {
    if (count != 3 || (duration_s = atof(arguments[2])) <= 0) {
        fputs("usage: limits DIRECTORY SECONDS\n", stderr);
        return 2;
    }
    char path[4096];
    snprintf(path, sizeof path, "%s/limits.data", arguments[1]);
    int file = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (file < 0 || unlink(path)) fail(path);
    printf("{");
    measure_echo();
    measure_stream("stream", -1);
    measure_writes("pwrite", file, 1);
    fill(file, WRITTEN_BYTES);
    measure_writes("rewrite", file, 0);
    fill(file, FILE_BYTES);
    measure_stream("sendfile", file);
    if (ftruncate(file, 0) || fdatasync(file)) fail("fdatasync");
    measure_syncs(file);
    printf("}\n");
    return 0;
}
