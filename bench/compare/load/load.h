// What the files of the load program share.

#pragma once

#include <inttypes.h>
#include <librdkafka/rdkafka.h>
#include <stddef.h>
#include <stdint.h>

enum { HEADER_BYTES = 16, FETCH_TIMEOUT_MS = 100, GIVE_UP_SECONDS = 120 };

// What a load is told beside its plain arguments: `load.NAME=NUMBER` among the settings.
struct extras {
    int producers; // load.producers: handles with a thread each
    int readers;   // load.readers: consumers that each read everything
    int is_text;   // load.text=1: payloads that compress to about half
    int is_sample; // load.sample=1: consume may leave records behind
};

struct load {
    const char *broker, *topic;
    size_t bytes;    // of a record
    char **settings; // of librdkafka, name=value, ended by a null
    struct extras extras;
};

// main.c
void fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
int64_t now_ns(void);
double seconds_since(int64_t start_ns);
rd_kafka_conf_t *configuration(const struct load *load);
rd_kafka_t *handle(rd_kafka_type_t type, rd_kafka_conf_t *conf);
void set(rd_kafka_conf_t *conf, const char *name, const char *value);

// payload.c: the number of a record and when it was due, then bytes that follow from the number.
void write_payload(const struct load *load, unsigned char *payload, uint64_t number, int64_t due_ns);
uint64_t check_payload(const struct load *load, const unsigned char *payload, size_t bytes, int64_t *due_ns);

// latency.c
struct latencies {
    int64_t *ns;
    int64_t count, capacity;
};
void add_latency(struct latencies *latencies, int64_t ns);
void merge_latencies(struct latencies *into, struct latencies *from);
void print_latencies(struct latencies *latencies);

// produce.c
struct deliveries {
    int64_t acknowledged;
};
rd_kafka_t *producer(const struct load *load, struct deliveries *deliveries);
void send_record(rd_kafka_t *client, rd_kafka_topic_t *topic, int partition, void *payload, size_t bytes);
void flush_all(rd_kafka_t *client, const char *what);
void produce(const struct load *load, int partitions, int64_t records);
void one_by_one(const struct load *load, int partitions, int64_t seconds);

// consume.c
rd_kafka_t *consumer(const struct load *load, int partitions, int64_t offset);
void consume(const struct load *load, int partitions, int64_t records);
void end_to_end(const struct load *load, int64_t rate, int64_t seconds);
