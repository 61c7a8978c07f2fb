import java.time.Duration;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.Joined;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.KTable;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.TimeWindows;

/**
 * A Kafka Streams application that does everything exactly once, and runs until it is killed:
 * {@code java Streams BROKER STATE_DIRECTORY APPLICATION_ID}.
 *
 * <p>It reads {@code clicks} (key: user, value: number) and {@code users} (key: user, value: name), all as text. Each
 * click goes to {@code joined} with the name of its user, and raises the count of its user and window, each value of
 * which goes to {@code counts} (key: "user window", the window by its start in ms; value: the count).
 *
 * <p>It tells each of its states in a line, RUNNING among them, and each failure that ended a thread.
 */
public final class Streams {
    /** crash/test_kill_streams.py counts in the same windows. */
    private static final Duration WINDOW = Duration.ofSeconds(20);
    /** Nothing comes too late: what is counted does not depend on when it is read. */
    private static final Duration GRACE = Duration.ofDays(1);
    private static final Serde<String> TEXT = Serdes.String();

    public static void main(String[] arguments) throws InterruptedException {
        KafkaStreams streams = new KafkaStreams(topology(), settings(arguments[0], arguments[1], arguments[2]));
        CountDownLatch over = new CountDownLatch(1);
        streams.setStateListener((now, before) -> {
            System.out.println(now);
            if (now.hasCompletedShutdown()) {
                over.countDown();
            }
        });
        streams.setUncaughtExceptionHandler(thrown -> {
            System.out.println("failed: " + thrown + ", caused by " + thrown.getCause());
            return StreamThreadExceptionResponse.REPLACE_THREAD;
        });
        streams.start();
        over.await();
        System.exit(1);
    }

    private static Topology topology() {
        StreamsBuilder builder = new StreamsBuilder();
        KStream<String, String> clicks = builder.stream("clicks", Consumed.with(TEXT, TEXT));
        KTable<String, String> users = builder.table("users", Consumed.with(TEXT, TEXT));
        clicks.join(users, (number, name) -> number + " " + name, Joined.with(TEXT, TEXT, TEXT))
                .to("joined", Produced.with(TEXT, TEXT));
        // groupBy, though the key stays: so there is a topic of Streams' own between, which it fills in one transaction
        // and reads in another, and whose records it deletes behind itself.
        clicks.groupBy((user, number) -> user, Grouped.with("by-user", TEXT, TEXT))
                .windowedBy(TimeWindows.ofSizeAndGrace(WINDOW, GRACE))
                .count()
                .toStream((user, count) -> user.key() + " " + user.window().start())
                .mapValues(count -> Long.toString(count))
                .to("counts", Produced.with(TEXT, TEXT));
        return builder.build();
    }

    private static Properties settings(String broker, String stateDirectory, String applicationId) {
        Properties settings = new Properties();
        settings.putAll(Map.of(
                "bootstrap.servers", broker,
                "state.dir", stateDirectory,
                "application.id", applicationId,
                "processing.guarantee", "exactly_once_v2",
                "replication.factor", "1",
                // Two producers with transactions of their own.
                "num.stream.threads", "2",
                "commit.interval.ms", "100",
                "repartition.purge.interval.ms", "1000",
                // A cache would swallow counts, and with them the sight of a lost or doubled one.
                "statestore.cache.max.bytes", "0"));
        settings.putAll(Map.of(
                // Short, so that a successor does not wait long for the partitions and the transactions of one that was
                // killed.
                "main.consumer.session.timeout.ms", "6000",
                "main.consumer.heartbeat.interval.ms", "500",
                "producer.transaction.timeout.ms", "10000",
                // Streams would keep what it writes until it commits: so a kill finds a transaction with records in it.
                "producer.linger.ms", "0"));
        return settings;
    }
}
