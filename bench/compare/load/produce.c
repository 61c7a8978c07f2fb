// Producing: as fast as it goes, or each record after the last one's acknowledgement.

#include "load.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

static void delivered(rd_kafka_t *client, const rd_kafka_message_t *message, void *opaque) {
    (void)client;
    if (message->err) fail("a record was not acknowledged: %s", rd_kafka_err2str(message->err));
    ((struct deliveries *)opaque)->acknowledged++;
}

rd_kafka_t *producer(const struct load *load, struct deliveries *deliveries) {
    rd_kafka_conf_t *conf = configuration(load);
    rd_kafka_conf_set_dr_msg_cb(conf, delivered);
    rd_kafka_conf_set_opaque(conf, deliveries);
    return handle(RD_KAFKA_PRODUCER, conf);
}

void send_record(rd_kafka_t *client, rd_kafka_topic_t *topic, int partition, void *payload, size_t bytes) {
    while (rd_kafka_produce(topic, partition, RD_KAFKA_MSG_F_COPY, payload, bytes, NULL, 0, NULL) != 0) {
        rd_kafka_resp_err_t error = rd_kafka_last_error();
        if (error != RD_KAFKA_RESP_ERR__QUEUE_FULL) fail("produce: %s", rd_kafka_err2str(error));
        rd_kafka_poll(client, 1);
    }
}

void flush_all(rd_kafka_t *client, const char *what) {
    if (rd_kafka_flush(client, GIVE_UP_SECONDS * 1000)) fail("%s not acknowledged in time", what);
}

// One handle with a thread of its own, and its share of the load.
struct sender {
    const struct load *load;
    int index, partitions;
    int64_t records, end_ns;
    pthread_barrier_t *ready;
    struct deliveries deliveries;
    struct latencies latencies;
};

// A client that has spoken with the broker: connections and metadata are not what is measured.
struct warm {
    rd_kafka_t *client;
    rd_kafka_topic_t *topic;
    unsigned char *payload;
};

static struct warm warm(struct sender *sender) {
    const struct load *load = sender->load;
    struct warm warm = {.client = producer(load, &sender->deliveries), .payload = calloc(1, load->bytes)};
    warm.topic = rd_kafka_topic_new(warm.client, load->topic, NULL);
    write_payload(load, warm.payload, 0, 0);
    send_record(warm.client, warm.topic, sender->index % sender->partitions, warm.payload, load->bytes);
    flush_all(warm.client, "the first record was");
    pthread_barrier_wait(sender->ready);
    return warm;
}

static void cool(struct warm *warm) {
    free(warm->payload);
    rd_kafka_topic_destroy(warm->topic);
    rd_kafka_destroy(warm->client);
}

static void *send_share(void *argument) {
    struct sender *sender = argument;
    const struct load *load = sender->load;
    struct warm client = warm(sender);
    for (int64_t i = 1; i < sender->records; i++) {
        write_payload(load, client.payload, (uint64_t)i, 0);
        send_record(client.client, client.topic, (int)((i + sender->index) % sender->partitions), client.payload, load->bytes);
        if (i % 1000 == 0) rd_kafka_poll(client.client, 0);
    }
    flush_all(client.client, "the last records were");
    sender->end_ns = now_ns();
    cool(&client);
    return NULL;
}

static void *send_one_by_one(void *argument) {
    struct sender *sender = argument;
    const struct load *load = sender->load;
    struct warm client = warm(sender);
    int partition = sender->index % sender->partitions;
    int64_t sent = sender->deliveries.acknowledged, now = now_ns();
    while (now < sender->end_ns) {
        write_payload(load, client.payload, (uint64_t)sent, now);
        send_record(client.client, client.topic, partition, client.payload, load->bytes);
        sent++;
        while (sender->deliveries.acknowledged < sent) {
            rd_kafka_poll(client.client, 100);
            if (seconds_since(now) > GIVE_UP_SECONDS) fail("a record was not acknowledged in time");
        }
        int64_t acknowledged = now_ns();
        add_latency(&sender->latencies, acknowledged - now);
        now = acknowledged;
    }
    cool(&client);
    return NULL;
}

// Runs the senders from one moment on, and gives that moment.
static int64_t run(struct sender *senders, int count, void *(*body)(void *), int64_t seconds) {
    pthread_barrier_t ready;
    pthread_t *threads = calloc((size_t)count, sizeof *threads);
    if (pthread_barrier_init(&ready, NULL, (unsigned)count + 1)) fail("no barrier");
    for (int i = 0; i < count; i++) {
        senders[i].ready = &ready;
        if (seconds) senders[i].end_ns = INT64_MAX;
    }
    // For a load of so many seconds, all of them end at one moment that they learn at the barrier; warming may take long.
    for (int i = 0; i < count; i++)
        if (pthread_create(&threads[i], NULL, body, &senders[i])) fail("no thread for producer %d", i);
    int64_t start = 0;
    pthread_barrier_wait(&ready);
    start = now_ns();
    if (seconds)
        for (int i = 0; i < count; i++) __atomic_store_n(&senders[i].end_ns, start + seconds * 1000000000, __ATOMIC_RELAXED);
    for (int i = 0; i < count; i++) pthread_join(threads[i], NULL);
    pthread_barrier_destroy(&ready);
    free(threads);
    return start;
}

static struct sender *senders(const struct load *load, int partitions) {
    struct sender *senders = calloc((size_t)load->extras.producers, sizeof *senders);
    for (int i = 0; i < load->extras.producers; i++) senders[i] = (struct sender){.load = load, .index = i, .partitions = partitions};
    return senders;
}

void produce(const struct load *load, int partitions, int64_t records) {
    int count = load->extras.producers;
    struct sender *all = senders(load, partitions);
    for (int i = 0; i < count; i++) all[i].records = records / count + (i < records % count);
    int64_t start = run(all, count, send_share, 0), acknowledged = 0, end = start;
    for (int i = 0; i < count; i++) {
        acknowledged += all[i].deliveries.acknowledged;
        if (all[i].end_ns > end) end = all[i].end_ns;
    }
    if (acknowledged != records) fail("%" PRId64 " of %" PRId64 " acknowledged", acknowledged, records);
    printf("{\"records\": %" PRId64 ", \"bytes\": %" PRId64 ", \"seconds\": %.6f}\n", records, records * (int64_t)load->bytes,
           (double)(end - start) / 1e9);
    free(all);
}

void one_by_one(const struct load *load, int partitions, int64_t seconds) {
    int count = load->extras.producers;
    struct sender *all = senders(load, partitions);
    int64_t start = run(all, count, send_one_by_one, seconds);
    double took = seconds_since(start);
    struct latencies latencies = {0};
    for (int i = 0; i < count; i++) merge_latencies(&latencies, &all[i].latencies);
    int64_t records = latencies.count;
    printf("{\"records\": %" PRId64 ", \"bytes\": %" PRId64 ", \"seconds\": %.6f", records, records * (int64_t)load->bytes, took);
    print_latencies(&latencies);
    printf("}\n");
    free(latencies.ns);
    free(all);
}
