import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.Config;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.CreateTopicsResult;
import org.apache.kafka.clients.admin.ListOffsetsOptions;
import org.apache.kafka.clients.admin.ListOffsetsResult;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.clients.consumer.ConsumerGroupMetadata;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.IsolationLevel;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.ApiException;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.protocol.Errors;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Drives Kafka's own Java clients for the tests: one JSON request a line comes in, one JSON answer a line goes out.
 *
 * <p>The operations and their fields are those of harness/drivers.py. Every operation opens its own client, so that
 * each starts with nothing known about the cluster.
 */
public final class Driver {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final long TIMEOUT_MS = 60_000;

    public static void main(String[] arguments) throws Exception {
        BufferedReader requests = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        PrintStream answers = new PrintStream(System.out, true, StandardCharsets.UTF_8);
        for (String line = requests.readLine(); line != null; line = requests.readLine()) {
            JsonNode asked = JSON.readTree(line);
            if (asked.get("operation").asText().equals("member")) {
                answers.println(JSON.writeValueAsString(answer(asked).put("event", "ended")));
                System.exit(0);
            }
            answers.println(JSON.writeValueAsString(answer(asked)));
        }
    }

    private static ObjectNode answer(JsonNode asked) {
        try {
            return perform(asked);
        } catch (Exception thrown) {
            Throwable cause = thrown instanceof ExecutionException ? thrown.getCause() : thrown;
            ObjectNode failed = JSON.createObjectNode();
            if (cause instanceof ApiException && Errors.forException(cause) != Errors.UNKNOWN_SERVER_ERROR) {
                return failed.put("error", Errors.forException(cause).code()).put("message", cause.getMessage());
            }
            return failed.put("failure", cause.toString());
        }
    }

    private static ObjectNode perform(JsonNode asked) throws Exception {
        switch (asked.get("operation").asText()) {
            case "produce":
                return produce(asked);
            case "consume":
                return consume(asked);
            case "transact":
                return transact(asked);
            case "fence":
                return fence(asked);
            case "member":
                new Member(asked, settings(asked)).run();
                return JSON.createObjectNode();
            default:
                try (Admin admin = Admin.create(settings(asked))) {
                    return administer(admin, asked);
                }
        }
    }

    private static Map<String, Object> settings(JsonNode asked) {
        Map<String, Object> settings = new HashMap<>();
        settings.put("bootstrap.servers", asked.get("broker").asText());
        settings.put("enable.metrics.push", false);
        return settings;
    }

    private static ObjectNode produce(JsonNode asked) throws Exception {
        Map<String, Object> settings = settings(asked);
        settings.put("compression.type", asked.get("codec").asText());
        settings.put("acks", asked.get("acks").asText());
        settings.put("enable.idempotence", asked.get("idempotent").asBoolean());
        settings.put("linger.ms", 5);
        settings.put("delivery.timeout.ms", (int) TIMEOUT_MS);
        String topic = asked.get("topic").asText();
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        try (KafkaProducer<byte[], byte[]> producer =
                new KafkaProducer<>(settings, new ByteArraySerializer(), new ByteArraySerializer())) {
            for (JsonNode record : asked.get("records")) {
                sent.add(producer.send(record(topic, record)));
            }
            producer.flush();
        }
        ObjectNode answer = JSON.createObjectNode();
        ArrayNode placed = answer.putArray("placed");
        for (Future<RecordMetadata> each : sent) {
            RecordMetadata metadata = each.get();
            placed.addArray().add(metadata.partition()).add(metadata.hasOffset() ? metadata.offset() : -1);
        }
        return answer;
    }

    private static ProducerRecord<byte[], byte[]> record(String topic, JsonNode given) throws Exception {
        List<Header> headers = new ArrayList<>();
        for (JsonNode header : given.get("headers")) {
            headers.add(new RecordHeader(header.get("Key").asText(), bytes(header.get("Value"))));
        }
        return new ProducerRecord<>(
                topic,
                given.get("partition").asInt(),
                given.get("timestamp").asLong(),
                bytes(given.get("key")),
                bytes(given.get("value")),
                headers);
    }

    private static ObjectNode transact(JsonNode asked) throws Exception {
        String topic = asked.get("topic").asText();
        KafkaProducer<byte[], byte[]> producer = transactional(asked, asked.get("timeout_ms").asInt());
        try {
            producer.initTransactions();
            for (JsonNode round : asked.get("rounds")) {
                producer.beginTransaction();
                List<Future<RecordMetadata>> sent = new ArrayList<>();
                for (JsonNode record : round.get("records")) {
                    sent.add(producer.send(record(topic, record)));
                }
                for (Future<RecordMetadata> each : sent) {
                    each.get();
                }
                JsonNode offsets = round.get("offsets");
                if (!offsets.isNull()) {
                    TopicPartition partition =
                            new TopicPartition(offsets.get("topic").asText(), offsets.get("partition").asInt());
                    producer.sendOffsetsToTransaction(
                            Map.of(partition, new OffsetAndMetadata(offsets.get("offset").asLong())),
                            groupWithoutMembers(asked, offsets.get("group").asText()));
                }
                if (round.get("commit").isNull()) {
                    break;
                } else if (round.get("commit").asBoolean()) {
                    producer.commitTransaction();
                } else {
                    producer.abortTransaction();
                }
            }
        } finally {
            // With time to do it, it would abort what is open.
            producer.close(Duration.ZERO);
        }
        return JSON.createObjectNode();
    }

    private static ObjectNode fence(JsonNode asked) throws Exception {
        String topic = asked.get("topic").asText();
        JsonNode records = asked.get("records");
        KafkaProducer<byte[], byte[]> first = transactional(asked, (int) TIMEOUT_MS);
        KafkaProducer<byte[], byte[]> second = transactional(asked, (int) TIMEOUT_MS);
        try {
            first.initTransactions();
            first.beginTransaction();
            first.send(record(topic, records.get(0))).get();
            second.initTransactions();
            ObjectNode answer = JSON.createObjectNode().put("met", 0);
            try {
                if (asked.get("then").asText().equals("produce")) {
                    first.send(record(topic, records.get(1))).get();
                } else {
                    first.commitTransaction();
                }
            } catch (ExecutionException | ApiException thrown) {
                Throwable cause = thrown instanceof ExecutionException ? thrown.getCause() : thrown;
                answer.put("met", Errors.forException(cause).code());
            }
            second.beginTransaction();
            for (int index = 2; index < records.size(); index++) {
                second.send(record(topic, records.get(index)));
            }
            second.commitTransaction();
            return answer;
        } finally {
            first.close(Duration.ZERO);
            second.close(Duration.ZERO);
        }
    }

    private static KafkaProducer<byte[], byte[]> transactional(JsonNode asked, int timeoutMs) {
        Map<String, Object> settings = settings(asked);
        settings.put("transactional.id", asked.get("transactional_id").asText());
        settings.put("transaction.timeout.ms", timeoutMs);
        settings.put("linger.ms", 5);
        settings.put("delivery.timeout.ms", (int) TIMEOUT_MS);
        return new KafkaProducer<>(settings, new ByteArraySerializer(), new ByteArraySerializer());
    }

    /** What the client knows of a group that nobody has joined: only a consumer tells it. */
    private static ConsumerGroupMetadata groupWithoutMembers(JsonNode asked, String group) {
        Map<String, Object> settings = settings(asked);
        settings.put("group.id", group);
        try (KafkaConsumer<byte[], byte[]> consumer =
                new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            return consumer.groupMetadata();
        }
    }

    private static IsolationLevel isolation(JsonNode asked) {
        boolean committed = asked.get("read_committed").asBoolean();
        return committed ? IsolationLevel.READ_COMMITTED : IsolationLevel.READ_UNCOMMITTED;
    }

    /** Reads from the start offset to what is the end when it begins. */
    private static ObjectNode consume(JsonNode asked) throws Exception {
        Map<String, Object> settings = settings(asked);
        settings.put("isolation.level", isolation(asked).toString());
        settings.put("auto.offset.reset", "none");
        settings.put("fetch.max.wait.ms", 100);
        TopicPartition partition =
                new TopicPartition(asked.get("topic").asText(), asked.get("partition").asInt());
        ObjectNode answer = JSON.createObjectNode();
        ArrayNode records = answer.putArray("records");
        try (KafkaConsumer<byte[], byte[]> consumer =
                new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            consumer.assign(List.of(partition));
            consumer.seek(partition, asked.get("start").asLong());
            long end = consumer.endOffsets(List.of(partition)).get(partition);
            long deadline = System.currentTimeMillis() + TIMEOUT_MS;
            while (consumer.position(partition) < end) {
                for (ConsumerRecord<byte[], byte[]> got : consumer.poll(Duration.ofMillis(500))) {
                    ObjectNode record = records.addObject();
                    record.put("partition", got.partition());
                    record.put("offset", got.offset());
                    record.put("timestamp", got.timestamp());
                    record.put("key", got.key());
                    record.put("value", got.value());
                    ArrayNode headers = record.putArray("headers");
                    for (Header header : got.headers()) {
                        headers.addObject().put("Key", header.key()).put("Value", header.value());
                    }
                }
                if (System.currentTimeMillis() > deadline) {
                    throw new IllegalStateException("at " + consumer.position(partition) + " of " + end);
                }
            }
        }
        return answer;
    }

    private static ObjectNode administer(Admin admin, JsonNode asked) throws Exception {
        String topic = asked.path("topic").asText();
        ObjectNode answer = JSON.createObjectNode();
        switch (asked.get("operation").asText()) {
            case "list_offset":
                return listOffset(admin, asked);
            case "create_topic": {
                Map<String, String> configs = new HashMap<>();
                for (Map.Entry<String, JsonNode> entry : asked.get("configs").properties()) {
                    configs.put(entry.getKey(), entry.getValue().isNull() ? null : entry.getValue().asText());
                }
                NewTopic created = new NewTopic(
                        topic,
                        Optional.of(asked.get("partitions").asInt()),
                        Optional.of((short) asked.get("replication").asInt()));
                CreateTopicsResult result = admin.createTopics(List.of(created.configs(configs)));
                return answer.put("topic_id", result.topicId(topic).get().toString());
            }
            case "delete_topic":
                admin.deleteTopics(List.of(topic)).all().get();
                return answer;
            case "create_partitions":
                admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(asked.get("partitions").asInt())))
                        .all().get();
                return answer;
            case "describe_topic": {
                TopicDescription found = admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic);
                return answer.put("topic_id", found.topicId().toString()).put("partitions", found.partitions().size());
            }
            case "list_topics": {
                ArrayNode topics = answer.putArray("topics");
                admin.listTopics().names().get().forEach(topics::add);
                return answer;
            }
            case "describe_configs": {
                ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
                Config found = admin.describeConfigs(List.of(resource)).all().get().get(resource);
                ObjectNode configs = answer.putObject("configs");
                for (ConfigEntry entry : found.entries()) {
                    configs.put(entry.name(), entry.value());
                }
                return answer;
            }
            default:
                throw new IllegalArgumentException("no such operation: " + asked);
        }
    }

    private static ObjectNode listOffset(Admin admin, JsonNode asked) throws Exception {
        TopicPartition partition =
                new TopicPartition(asked.get("topic").asText(), asked.get("partition").asInt());
        OffsetSpec spec = switch (asked.get("spec").asText()) {
            case "earliest" -> OffsetSpec.earliest();
            case "latest" -> OffsetSpec.latest();
            case "max_timestamp" -> OffsetSpec.maxTimestamp();
            default -> OffsetSpec.forTimestamp(asked.get("timestamp").asLong());
        };
        ListOffsetsResult result = admin.listOffsets(Map.of(partition, spec), new ListOffsetsOptions(isolation(asked)));
        ListOffsetsResult.ListOffsetsResultInfo found = result.partitionResult(partition).get();
        return JSON.createObjectNode().put("offset", found.offset()).put("timestamp", found.timestamp());
    }

    private static byte[] bytes(JsonNode node) throws java.io.IOException {
        return node.isNull() ? null : node.binaryValue();
    }
}
