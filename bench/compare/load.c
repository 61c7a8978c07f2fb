// Load on a Kafka-compatible broker through librdkafka, the same for whichever broker it is.
//
//   load produce    BROKER TOPIC PARTITIONS RECORDS BYTES [name=value...]
//   load consume    BROKER TOPIC PARTITIONS RECORDS BYTES [name=value...]
//   load end-to-end BROKER TOPIC RATE SECONDS BYTES [name=value...]
//
// Each prints one line of JSON. A record that is lost, refused or wrong ends the program with status 1: a figure is
// printed only for work that was really done. name=value are settings of librdkafka for producer and consumer both.
//
// The latency of a record counts from the moment at which it was due, not from when it could be sent: a broker that
// stalls is charged for every record that piled up behind the stall.

#include <errno.h>
#include <inttypes.h>
#include <librdkafka/rdkafka.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { HEADER_BYTES = 16, FETCH_TIMEOUT_MS = 100, GIVE_UP_SECONDS = 120 };

static void fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fputs("load: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(1);
}

static int64_t now_ns(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static double seconds_since(int64_t start_ns) { return (double)(now_ns() - start_ns) / 1e9; }

static void set(rd_kafka_conf_t *conf, const char *name, const char *value) {
    char error[256];
    if (rd_kafka_conf_set(conf, name, value, error, sizeof error) != RD_KAFKA_CONF_OK) fail("%s=%s: %s", name, value, error);
}

static rd_kafka_conf_t *configuration(const char *broker, char **settings) {
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    set(conf, "bootstrap.servers", broker);
    set(conf, "log_level", "3");
    for (; *settings; settings++) {
        char *equals = strchr(*settings, '=');
        if (!equals) fail("%s is not name=value", *settings);
        char name[128];
        snprintf(name, sizeof name, "%.*s", (int)(equals - *settings), *settings);
        set(conf, name, equals + 1);
    }
    return conf;
}

static rd_kafka_t *handle(rd_kafka_type_t type, rd_kafka_conf_t *conf) {
    char error[256];
    rd_kafka_t *client = rd_kafka_new(type, conf, error, sizeof error);
    if (!client) fail("%s", error);
    return client;
}

// A payload: its number and when it was due, then bytes that do not compress and follow from the number.

static uint64_t filler(uint64_t number, size_t at) {
    uint64_t x = number * 0x9e3779b97f4a7c15u + at + 1;
    x ^= x >> 30;
    x *= 0xbf58476d1ce4e5b9u;
    x ^= x >> 27;
    return x;
}

static void write_payload(unsigned char *payload, size_t bytes, uint64_t number, int64_t due_ns) {
    memcpy(payload, &number, 8);
    memcpy(payload + 8, &due_ns, 8);
    for (size_t at = HEADER_BYTES; at + 8 <= bytes; at += 8) {
        uint64_t word = filler(number, at);
        memcpy(payload + at, &word, 8);
    }
}

static void check_payload(const unsigned char *payload, size_t bytes, size_t expected_bytes) {
    if (bytes != expected_bytes) fail("a record of %zu bytes came back with %zu", expected_bytes, bytes);
    uint64_t number, word;
    memcpy(&number, payload, 8);
    // A sample of the content: its last whole word.
    size_t at = (bytes - HEADER_BYTES) / 8 * 8 + HEADER_BYTES - 8;
    if (at < HEADER_BYTES) return;
    memcpy(&word, payload + at, 8);
    if (word != filler(number, at)) fail("record %" PRIu64 " came back changed", number);
}

// Producing.

struct deliveries {
    int64_t acknowledged;
};

static void delivered(rd_kafka_t *client, const rd_kafka_message_t *message, void *opaque) {
    (void)client;
    if (message->err) fail("a record was not acknowledged: %s", rd_kafka_err2str(message->err));
    ((struct deliveries *)opaque)->acknowledged++;
}

static rd_kafka_t *producer(const char *broker, char **settings, struct deliveries *deliveries) {
    rd_kafka_conf_t *conf = configuration(broker, settings);
    rd_kafka_conf_set_dr_msg_cb(conf, delivered);
    rd_kafka_conf_set_opaque(conf, deliveries);
    return handle(RD_KAFKA_PRODUCER, conf);
}

static void send_record(rd_kafka_t *client, rd_kafka_topic_t *topic, int partition, void *payload, size_t bytes) {
    while (rd_kafka_produce(topic, partition, RD_KAFKA_MSG_F_COPY, payload, bytes, NULL, 0, NULL) != 0) {
        rd_kafka_resp_err_t error = rd_kafka_last_error();
        if (error != RD_KAFKA_RESP_ERR__QUEUE_FULL) fail("produce: %s", rd_kafka_err2str(error));
        rd_kafka_poll(client, 1);
    }
}

static void produce(const char *broker, const char *topic_name, int partitions, int64_t records, size_t bytes, char **settings) {
    struct deliveries deliveries = {0};
    rd_kafka_t *client = producer(broker, settings, &deliveries);
    rd_kafka_topic_t *topic = rd_kafka_topic_new(client, topic_name, NULL);
    unsigned char *payload = calloc(1, bytes);
    // Connections and metadata are not what is measured: one record first.
    write_payload(payload, bytes, 0, 0);
    send_record(client, topic, 0, payload, bytes);
    if (rd_kafka_flush(client, GIVE_UP_SECONDS * 1000)) fail("the first record was not acknowledged");

    int64_t start = now_ns();
    for (int64_t i = 1; i < records; i++) {
        write_payload(payload, bytes, (uint64_t)i, 0);
        send_record(client, topic, (int)(i % partitions), payload, bytes);
        if (i % 1000 == 0) rd_kafka_poll(client, 0);
    }
    if (rd_kafka_flush(client, GIVE_UP_SECONDS * 1000)) fail("not everything was acknowledged in time");
    double seconds = seconds_since(start);
    if (deliveries.acknowledged != records) fail("%" PRId64 " of %" PRId64 " acknowledged", deliveries.acknowledged, records);
    printf("{\"records\": %" PRId64 ", \"bytes\": %" PRId64 ", \"seconds\": %.6f}\n", records, records * (int64_t)bytes, seconds);
    free(payload);
    rd_kafka_topic_destroy(topic);
    rd_kafka_destroy(client);
}

// Consuming.

static rd_kafka_t *consumer(const char *broker, const char *topic, int partitions, int64_t offset, char **settings) {
    rd_kafka_conf_t *conf = configuration(broker, settings);
    set(conf, "group.id", "load");
    set(conf, "enable.auto.commit", "false");
    rd_kafka_t *client = handle(RD_KAFKA_CONSUMER, conf);
    rd_kafka_poll_set_consumer(client);
    rd_kafka_topic_partition_list_t *assignment = rd_kafka_topic_partition_list_new(partitions);
    for (int i = 0; i < partitions; i++) rd_kafka_topic_partition_list_add(assignment, topic, i)->offset = offset;
    rd_kafka_resp_err_t error = rd_kafka_assign(client, assignment);
    if (error) fail("assign: %s", rd_kafka_err2str(error));
    rd_kafka_topic_partition_list_destroy(assignment);
    return client;
}

static void consume(const char *broker, const char *topic, int partitions, int64_t records, size_t bytes, char **settings) {
    rd_kafka_t *client = consumer(broker, topic, partitions, RD_KAFKA_OFFSET_BEGINNING, settings);
    rd_kafka_queue_t *queue = rd_kafka_queue_get_consumer(client);
    enum { BATCH = 1000 };
    rd_kafka_message_t *messages[BATCH];
    int64_t received = 0, start = 0, begun = now_ns();
    while (received < records) {
        ssize_t count = rd_kafka_consume_batch_queue(queue, FETCH_TIMEOUT_MS, messages, BATCH);
        if (count < 0) fail("consume: %s", rd_kafka_err2str(rd_kafka_last_error()));
        if (count > 0 && start == 0) start = now_ns();
        for (ssize_t i = 0; i < count; i++) {
            if (messages[i]->err) fail("consume: %s", rd_kafka_message_errstr(messages[i]));
            check_payload(messages[i]->payload, messages[i]->len, bytes);
            rd_kafka_message_destroy(messages[i]);
        }
        received += count;
        if (seconds_since(begun) > GIVE_UP_SECONDS) fail("%" PRId64 " of %" PRId64 " came back in time", received, records);
    }
    double seconds = seconds_since(start);
    if (received != records) fail("%" PRId64 " records came back instead of %" PRId64, received, records);
    printf("{\"records\": %" PRId64 ", \"bytes\": %" PRId64 ", \"seconds\": %.6f}\n", records, records * (int64_t)bytes, seconds);
    rd_kafka_queue_destroy(queue);
    rd_kafka_consumer_close(client);
    rd_kafka_destroy(client);
}

// End to end.

struct tail {
    const char *broker, *topic;
    char **settings;
    int64_t records, received;
    size_t bytes;
    int64_t *latencies_ns;
    volatile int ready;
};

static void *follow(void *argument) {
    struct tail *tail = argument;
    rd_kafka_t *client = consumer(tail->broker, tail->topic, 1, RD_KAFKA_OFFSET_BEGINNING, tail->settings);
    int64_t begun = now_ns();
    // The first record, number 0, only shows that the consumer follows.
    while (tail->received < tail->records + 1) {
        rd_kafka_message_t *message = rd_kafka_consumer_poll(client, FETCH_TIMEOUT_MS);
        if (!message) {
            if (seconds_since(begun) > 2 * GIVE_UP_SECONDS) fail("the records did not come back in time");
            continue;
        }
        int64_t arrived = now_ns();
        if (message->err) fail("consume: %s", rd_kafka_message_errstr(message));
        check_payload(message->payload, message->len, tail->bytes);
        uint64_t number;
        int64_t due;
        memcpy(&number, message->payload, 8);
        memcpy(&due, (char *)message->payload + 8, 8);
        if ((int64_t)number != tail->received) fail("record %" PRIu64 " came where %" PRId64 " was next", number, tail->received);
        if (number > 0) tail->latencies_ns[number - 1] = arrived - due;
        tail->received++;
        rd_kafka_message_destroy(message);
        tail->ready = 1;
    }
    rd_kafka_consumer_close(client);
    rd_kafka_destroy(client);
    return NULL;
}

static int by_value(const void *a, const void *b) {
    int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;
    return (left > right) - (left < right);
}

static double percentile_ms(const int64_t *sorted, int64_t count, double share) {
    int64_t at = (int64_t)(share * (double)count);
    return (double)sorted[at < count ? at : count - 1] / 1e6;
}

static void end_to_end(const char *broker, const char *topic_name, int64_t rate, int64_t seconds, size_t bytes, char **settings) {
    struct tail tail = {.broker = broker, .topic = topic_name, .settings = settings, .records = rate * seconds, .bytes = bytes};
    tail.latencies_ns = calloc((size_t)tail.records, sizeof *tail.latencies_ns);
    struct deliveries deliveries = {0};
    rd_kafka_t *client = producer(broker, settings, &deliveries);
    rd_kafka_topic_t *topic = rd_kafka_topic_new(client, topic_name, NULL);
    unsigned char *payload = calloc(1, bytes);
    write_payload(payload, bytes, 0, now_ns());
    send_record(client, topic, 0, payload, bytes);
    if (rd_kafka_flush(client, GIVE_UP_SECONDS * 1000)) fail("the first record was not acknowledged");
    pthread_t follower;
    if (pthread_create(&follower, NULL, follow, &tail)) fail("thread: %s", strerror(errno));
    while (!tail.ready) rd_kafka_poll(client, 1);

    int64_t start = now_ns() + 100000000;
    for (int64_t i = 0; i < tail.records; i++) {
        int64_t due = start + i * 1000000000 / rate;
        struct timespec until = {.tv_sec = due / 1000000000, .tv_nsec = due % 1000000000};
        while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR) {}
        write_payload(payload, bytes, (uint64_t)i + 1, due);
        send_record(client, topic, 0, payload, bytes);
        rd_kafka_poll(client, 0);
    }
    if (rd_kafka_flush(client, GIVE_UP_SECONDS * 1000)) fail("not everything was acknowledged in time");
    pthread_join(follower, NULL);
    qsort(tail.latencies_ns, (size_t)tail.records, sizeof *tail.latencies_ns, by_value);
    const int64_t *sorted = tail.latencies_ns;
    printf("{\"records\": %" PRId64 ", \"p50_ms\": %.4f, \"p99_ms\": %.4f, \"p999_ms\": %.4f, \"max_ms\": %.4f}\n", tail.records,
           percentile_ms(sorted, tail.records, 0.5), percentile_ms(sorted, tail.records, 0.99),
           percentile_ms(sorted, tail.records, 0.999), percentile_ms(sorted, tail.records, 1));
    free(payload);
    free(tail.latencies_ns);
    rd_kafka_topic_destroy(topic);
    rd_kafka_destroy(client);
}

static int64_t number(const char *text, const char *what) {
    char *end;
    errno = 0;
    int64_t value = strtoll(text, &end, 10);
    if (errno || *end || end == text || value <= 0) fail("%s must be a positive number, not %s", what, text);
    return value;
}

int main(int count, char **arguments) {
    if (count < 7) fail("usage: load produce|consume BROKER TOPIC PARTITIONS RECORDS BYTES [name=value...]\n"
                        "       load end-to-end BROKER TOPIC RATE SECONDS BYTES [name=value...]");
    const char *mode = arguments[1], *broker = arguments[2], *topic = arguments[3];
    int64_t first = number(arguments[4], "the first number"), second = number(arguments[5], "the second number");
    size_t bytes = (size_t)number(arguments[6], "the size of a record");
    if (bytes < HEADER_BYTES + 8) fail("a record has at least %d bytes", HEADER_BYTES + 8);
    if (strcmp(mode, "produce") == 0) produce(broker, topic, (int)first, second, bytes, arguments + 7);
    else if (strcmp(mode, "consume") == 0) consume(broker, topic, (int)first, second, bytes, arguments + 7);
    else if (strcmp(mode, "end-to-end") == 0) end_to_end(broker, topic, first, second, bytes, arguments + 7);
    else fail("no mode %s", mode);
    return 0;
}
