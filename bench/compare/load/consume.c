// Consuming: what lies there, or what a producer sends meanwhile.

#include "load.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

rd_kafka_t *consumer(const struct load *load, int partitions, int64_t offset) {
    rd_kafka_conf_t *conf = configuration(load);
    set(conf, "group.id", "load");
    set(conf, "enable.auto.commit", "false");
    rd_kafka_t *client = handle(RD_KAFKA_CONSUMER, conf);
    rd_kafka_poll_set_consumer(client);
    rd_kafka_topic_partition_list_t *assignment = rd_kafka_topic_partition_list_new(partitions);
    for (int i = 0; i < partitions; i++) rd_kafka_topic_partition_list_add(assignment, load->topic, i)->offset = offset;
    rd_kafka_resp_err_t error = rd_kafka_assign(client, assignment);
    if (error) fail("assign: %s", rd_kafka_err2str(error));
    rd_kafka_topic_partition_list_destroy(assignment);
    return client;
}

void consume(const struct load *load, int partitions, int64_t records) {
    rd_kafka_t *client = consumer(load, partitions, RD_KAFKA_OFFSET_BEGINNING);
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
            check_payload(load, messages[i]->payload, messages[i]->len, NULL);
            rd_kafka_message_destroy(messages[i]);
        }
        received += count;
        if (seconds_since(begun) > GIVE_UP_SECONDS) fail("%" PRId64 " of %" PRId64 " came back in time", received, records);
    }
    double seconds = seconds_since(start);
    if (received != records && !load->extras.is_sample) fail("%" PRId64 " records came back instead of %" PRId64, received, records);
    printf("{\"records\": %" PRId64 ", \"bytes\": %" PRId64 ", \"seconds\": %.6f}\n", received, received * (int64_t)load->bytes, seconds);
    rd_kafka_queue_destroy(queue);
    rd_kafka_consumer_close(client);
    rd_kafka_destroy(client);
}

// End to end.

struct tail {
    const struct load *load;
    int64_t records, received;
    struct latencies latencies;
    volatile int ready;
    pthread_t thread;
};

static void *follow(void *argument) {
    struct tail *tail = argument;
    rd_kafka_t *client = consumer(tail->load, 1, RD_KAFKA_OFFSET_BEGINNING);
    int64_t begun = now_ns();
    // The first record, number 0, only shows that the consumer follows.
    while (tail->received < tail->records + 1) {
        rd_kafka_message_t *message = rd_kafka_consumer_poll(client, FETCH_TIMEOUT_MS);
        if (!message) {
            if (seconds_since(begun) > 2 * GIVE_UP_SECONDS) fail("the records did not come back in time");
            continue;
        }
        int64_t arrived = now_ns(), due;
        if (message->err) fail("consume: %s", rd_kafka_message_errstr(message));
        uint64_t number = check_payload(tail->load, message->payload, message->len, &due);
        if ((int64_t)number != tail->received) fail("record %" PRIu64 " came where %" PRId64 " was next", number, tail->received);
        if (number > 0) add_latency(&tail->latencies, arrived - due);
        tail->received++;
        rd_kafka_message_destroy(message);
        tail->ready = 1;
    }
    rd_kafka_consumer_close(client);
    rd_kafka_destroy(client);
    return NULL;
}

void end_to_end(const struct load *load, int64_t rate, int64_t seconds) {
    int readers = load->extras.readers;
    int64_t records = rate * seconds;
    struct tail *tails = calloc((size_t)readers, sizeof *tails);
    struct deliveries deliveries = {0};
    rd_kafka_t *client = producer(load, &deliveries);
    rd_kafka_topic_t *topic = rd_kafka_topic_new(client, load->topic, NULL);
    unsigned char *payload = calloc(1, load->bytes);
    write_payload(load, payload, 0, now_ns());
    send_record(client, topic, 0, payload, load->bytes);
    flush_all(client, "the first record was");
    for (int i = 0; i < readers; i++) {
        tails[i] = (struct tail){.load = load, .records = records};
        if (pthread_create(&tails[i].thread, NULL, follow, &tails[i])) fail("no thread for reader %d", i);
    }
    for (int i = 0; i < readers; i++)
        while (!tails[i].ready) rd_kafka_poll(client, 1);

    int64_t start = now_ns() + 100000000;
    for (int64_t i = 0; i < records; i++) {
        int64_t due = start + i * 1000000000 / rate;
        struct timespec until = {.tv_sec = due / 1000000000, .tv_nsec = due % 1000000000};
        while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR) {}
        write_payload(load, payload, (uint64_t)i + 1, due);
        send_record(client, topic, 0, payload, load->bytes);
        rd_kafka_poll(client, 0);
    }
    flush_all(client, "the last records were");
    struct latencies latencies = {0};
    int64_t delivered = 0;
    for (int i = 0; i < readers; i++) {
        pthread_join(tails[i].thread, NULL);
        delivered += tails[i].received - 1;
        merge_latencies(&latencies, &tails[i].latencies);
    }
    double took = seconds_since(start);
    if (delivered != records * readers) fail("%" PRId64 " deliveries instead of %" PRId64, delivered, records * readers);
    printf("{\"records\": %" PRId64 ", \"bytes\": %" PRId64 ", \"delivered_bytes\": %" PRId64 ", \"seconds\": %.6f", records,
           records * (int64_t)load->bytes, delivered * (int64_t)load->bytes, took);
    print_latencies(&latencies);
    printf("}\n");
    free(payload);
    free(latencies.ns);
    free(tails);
    rd_kafka_topic_destroy(topic);
    rd_kafka_destroy(client);
}
