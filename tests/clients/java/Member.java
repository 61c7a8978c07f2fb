import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.TreeSet;
import org.apache.kafka.clients.consumer.CommitFailedException;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.consumer.SubscriptionPattern;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.RebalanceInProgressException;
import org.apache.kafka.common.errors.RetriableException;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/** A member of a consumer group, which tells its story in lines until it is told to leave. */
final class Member {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final Map<String, String> ASSIGNORS = Map.of(
            "range", "org.apache.kafka.clients.consumer.RangeAssignor",
            "roundrobin", "org.apache.kafka.clients.consumer.RoundRobinAssignor",
            "sticky", "org.apache.kafka.clients.consumer.StickyAssignor",
            "cooperative-sticky", "org.apache.kafka.clients.consumer.CooperativeStickyAssignor");

    private final String topic;
    /** Of the topic's name, for the broker to evaluate; empty if the topic is named. */
    private final String pattern;
    private final Map<String, Object> settings;
    private final int recordsMax;
    private int recordsRead = 0;
    private TreeSet<Integer> owned;
    private volatile boolean leaving = false;

    Member(JsonNode asked, Map<String, Object> settings) {
        topic = asked.get("topic").asText();
        pattern = asked.get("pattern").asText();
        recordsMax = asked.get("records_max").asInt();
        this.settings = settings;
        settings.put("group.id", asked.get("group").asText());
        settings.put("auto.offset.reset", asked.get("reset").asText());
        settings.put("enable.auto.commit", false);
        settings.put("fetch.max.wait.ms", 100);
        settings.put("metadata.max.age.ms", 1_000);
        if (!asked.get("instance").asText().isEmpty()) {
            settings.put("group.instance.id", asked.get("instance").asText());
        }
        settings.put("group.protocol", asked.get("protocol").asText());
        if (asked.get("protocol").asText().equals("consumer")) {
            settings.put("group.remote.assignor", asked.get("assignor").asText());
        } else {
            settings.put("partition.assignment.strategy", ASSIGNORS.get(asked.get("assignor").asText()));
            settings.put("session.timeout.ms", asked.get("session_ms").asInt());
            settings.put("heartbeat.interval.ms", asked.get("session_ms").asInt() / 6);
        }
    }

    void run() throws IOException {
        Thread listener = new Thread(() -> {
            try {
                System.in.read();
            } catch (IOException gone) {
                // As good as a word.
            }
            leaving = true;
        });
        listener.setDaemon(true);
        listener.start();
        try (KafkaConsumer<byte[], byte[]> consumer =
                new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            if (!pattern.isEmpty()) {
                consumer.subscribe(new SubscriptionPattern(pattern));
            } else {
                consumer.subscribe(List.of(topic));
            }
            while (!leaving && (recordsMax == 0 || recordsRead < recordsMax)) {
                Iterable<ConsumerRecord<byte[], byte[]>> polled = consumer.poll(Duration.ofMillis(100));
                tellAssigned(consumer);
                commit(consumer, tellRecords(polled));
            }
        }
    }

    private void tellAssigned(KafkaConsumer<byte[], byte[]> consumer) throws IOException {
        TreeSet<Integer> now = new TreeSet<>();
        consumer.assignment().forEach(partition -> now.add(partition.partition()));
        if (now.equals(owned)) {
            return;
        }
        owned = now;
        ObjectNode event = JSON.createObjectNode().put("event", "assigned");
        now.forEach(event.putArray("partitions")::add);
        tell(event);
    }

    /** Tells what was read, no more than was asked for, and returns the offset behind the last of each partition. */
    private Map<Integer, Long> tellRecords(Iterable<ConsumerRecord<byte[], byte[]>> polled) throws IOException {
        Map<Integer, Long> next = new TreeMap<>();
        ObjectNode event = JSON.createObjectNode().put("event", "records");
        ArrayNode records = event.putArray("records");
        for (ConsumerRecord<byte[], byte[]> got : polled) {
            if (recordsMax != 0 && recordsRead == recordsMax) {
                break;
            }
            recordsRead++;
            records.addArray().add(got.partition()).add(got.offset())
                    .add(new String(got.value(), StandardCharsets.UTF_8));
            next.put(got.partition(), got.offset() + 1);
        }
        if (!next.isEmpty()) {
            tell(event);
        }
        return next;
    }

    private void commit(KafkaConsumer<byte[], byte[]> consumer, Map<Integer, Long> offsets) throws IOException {
        if (offsets.isEmpty()) {
            return;
        }
        Map<TopicPartition, OffsetAndMetadata> committed = new TreeMap<>(
                java.util.Comparator.comparingInt(TopicPartition::partition));
        offsets.forEach((partition, offset) ->
                committed.put(new TopicPartition(topic, partition), new OffsetAndMetadata(offset)));
        try {
            consumer.commitSync(committed);
        } catch (CommitFailedException | RebalanceInProgressException | RetriableException refused) {
            // A rebalance came in between: what was read will be read again.
            tell(JSON.createObjectNode().put("event", "commit_refused").put("message", refused.toString()));
            return;
        }
        ObjectNode event = JSON.createObjectNode().put("event", "committed");
        ArrayNode confirmed = event.putArray("offsets");
        offsets.forEach((partition, offset) -> confirmed.addArray().add(partition).add(offset));
        tell(event);
    }

    private static void tell(ObjectNode event) throws IOException {
        System.out.println(JSON.writeValueAsString(event));
    }
}
