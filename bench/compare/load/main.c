// Load on a Kafka-compatible broker through librdkafka, the same for whichever broker it is.
//
//   load produce    BROKER TOPIC PARTITIONS RECORDS BYTES [name=value...]   as fast as it goes
//   load one-by-one BROKER TOPIC PARTITIONS SECONDS BYTES [name=value...]   each record waits for its acknowledgement
//   load consume    BROKER TOPIC PARTITIONS RECORDS BYTES [name=value...]   what lies there, as fast as it goes
//   load end-to-end BROKER TOPIC RATE       SECONDS BYTES [name=value...]   from the producer to its consumers
//
// Each prints one line of JSON. A record that is lost, refused or wrong ends the program with status 1: a figure is
// printed only for work that was really done. name=value are settings of librdkafka for producer and consumer both, or of
// this program: load.producers, load.readers, load.text, load.sample (load.h).
//
// The latency of a record counts from the moment at which it was due, not from when it could be sent: a broker that
// stalls is charged for every record that piled up behind the stall.

#include "load.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

void fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fputs("load: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    // Other threads may be within librdkafka, whose exit handlers must not run meanwhile.
    _Exit(1);
}

int64_t now_ns(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

double seconds_since(int64_t start_ns) { return (double)(now_ns() - start_ns) / 1e9; }

void set(rd_kafka_conf_t *conf, const char *name, const char *value) {
    char error[256];
    if (rd_kafka_conf_set(conf, name, value, error, sizeof error) != RD_KAFKA_CONF_OK) fail("%s=%s: %s", name, value, error);
}

rd_kafka_conf_t *configuration(const struct load *load) {
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    set(conf, "bootstrap.servers", load->broker);
    set(conf, "log_level", "3");
    for (char **setting = load->settings; *setting; setting++) {
        if (strncmp(*setting, "load.", 5) == 0) continue;
        char *equals = strchr(*setting, '=');
        if (!equals) fail("%s is not name=value", *setting);
        char name[128];
        snprintf(name, sizeof name, "%.*s", (int)(equals - *setting), *setting);
        set(conf, name, equals + 1);
    }
    return conf;
}

rd_kafka_t *handle(rd_kafka_type_t type, rd_kafka_conf_t *conf) {
    char error[256];
    rd_kafka_t *client = rd_kafka_new(type, conf, error, sizeof error);
    if (!client) fail("%s", error);
    return client;
}

static int64_t number(const char *text, const char *what) {
    char *end;
    errno = 0;
    int64_t value = strtoll(text, &end, 10);
    if (errno || *end || end == text || value <= 0) fail("%s must be a positive number, not %s", what, text);
    return value;
}

static void read_extras(struct load *load) {
    load->extras = (struct extras){.producers = 1, .readers = 1};
    for (char **setting = load->settings; *setting; setting++) {
        if (strncmp(*setting, "load.", 5) != 0) continue;
        char *equals = strchr(*setting, '=');
        if (!equals) fail("%s is not name=value", *setting);
        int value = (int)number(equals + 1, *setting);
        size_t length = (size_t)(equals - *setting);
        if (strncmp(*setting, "load.producers", length) == 0) load->extras.producers = value;
        else if (strncmp(*setting, "load.readers", length) == 0) load->extras.readers = value;
        else if (strncmp(*setting, "load.text", length) == 0) load->extras.is_text = value;
        else if (strncmp(*setting, "load.sample", length) == 0) load->extras.is_sample = value;
        else fail("no setting %s", *setting);
    }
}

int main(int count, char **arguments) {
    if (count < 7) fail("usage: load produce|one-by-one|consume|end-to-end BROKER TOPIC NUMBER NUMBER BYTES [name=value...]; "
                        "main.c says which numbers");
    const char *mode = arguments[1];
    struct load load = {.broker = arguments[2], .topic = arguments[3], .settings = arguments + 7};
    int64_t first = number(arguments[4], "the first number"), second = number(arguments[5], "the second number");
    load.bytes = (size_t)number(arguments[6], "the size of a record");
    if (load.bytes < HEADER_BYTES + 8) fail("a record has at least %d bytes", HEADER_BYTES + 8);
    read_extras(&load);
    if (strcmp(mode, "produce") == 0) produce(&load, (int)first, second);
    else if (strcmp(mode, "one-by-one") == 0) one_by_one(&load, (int)first, second);
    else if (strcmp(mode, "consume") == 0) consume(&load, (int)first, second);
    else if (strcmp(mode, "end-to-end") == 0) end_to_end(&load, first, second);
    else fail("no mode %s", mode);
    return 0;
}
