/* A producer on librdkafka that sends as fast as it can, for the figures of docs/performance.md.
 *
 *   cc -O2 -o load tests/kafka_clients/load.c -lrdkafka          (Debian: librdkafka-dev)
 *   ./load 127.0.0.1:9092 TOPIC RECORD_BYTES RECORDS RECORDS_IN_FLIGHT BATCH_BYTES [true|false: idempotent]
 *
 * Records go to partition 0. It tells records a second, megabytes a second, and its own processor time. */
#include <librdkafka/rdkafka.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static long delivered = 0, failed = 0;

static void on_delivery(rd_kafka_t *client, const rd_kafka_message_t *message, void *opaque) {
    (void)client, (void)opaque;
    if (message->err) failed++;
    else delivered++;
}

static double seconds(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return now.tv_sec + now.tv_nsec / 1e9;
}

static void set(rd_kafka_conf_t *conf, const char *name, const char *value) {
    char error[512];
    if (rd_kafka_conf_set(conf, name, value, error, sizeof(error)) == RD_KAFKA_CONF_OK) return;
    fprintf(stderr, "%s\n", error);
    exit(1);
}

int main(int count, char **arguments) {
    if (count < 7) {
        fprintf(stderr, "usage: load BROKERS TOPIC RECORD_BYTES RECORDS RECORDS_IN_FLIGHT BATCH_BYTES [true|false]\n");
        return 2;
    }
    long record_bytes = atol(arguments[3]), records = atol(arguments[4]), in_flight_max = atol(arguments[5]);
    const char *is_idempotent = count > 7 ? arguments[7] : "true";
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    set(conf, "bootstrap.servers", arguments[1]);
    set(conf, "acks", "all");
    set(conf, "enable.idempotence", is_idempotent);
    set(conf, "linger.ms", "5");
    set(conf, "batch.size", arguments[6]);
    set(conf, "batch.num.messages", "1000000");
    set(conf, "queue.buffering.max.messages", "2000000");
    set(conf, "queue.buffering.max.kbytes", "2000000");
    rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
    char error[512];
    rd_kafka_t *client = rd_kafka_new(RD_KAFKA_PRODUCER, conf, error, sizeof(error));
    if (!client || record_bytes < 1) {
        fprintf(stderr, "%s\n", client ? "a record has a byte at the least" : error);
        return 1;
    }
    rd_kafka_topic_t *topic = rd_kafka_topic_new(client, arguments[2], NULL);
    char *record = malloc(record_bytes);
    for (long at = 0; at < record_bytes; at++) record[at] = rand();

    /* One ahead, so that finding the leader is not measured. */
    rd_kafka_produce(topic, 0, RD_KAFKA_MSG_F_COPY, record, record_bytes, NULL, 0, NULL);
    rd_kafka_flush(client, 10000);
    delivered = 0;
    double began = seconds(CLOCK_MONOTONIC);
    for (long sent = 0; sent < records; sent++) {
        while (sent - delivered - failed >= in_flight_max) rd_kafka_poll(client, 1);
        while (rd_kafka_produce(topic, 0, RD_KAFKA_MSG_F_COPY, record, record_bytes, NULL, 0, NULL)) rd_kafka_poll(client, 1);
        if (sent % 256 == 0) rd_kafka_poll(client, 0);
    }
    while (delivered + failed < records) rd_kafka_poll(client, 10);
    double took = seconds(CLOCK_MONOTONIC) - began;
    printf("%.0f records/s, %.1f MB/s, %ld failed; %.2f s of processor time in %.2f s\n", records / took,
           records / took * record_bytes / 1e6, failed, seconds(CLOCK_PROCESS_CPUTIME_ID), took);
    return failed > 0;
}
