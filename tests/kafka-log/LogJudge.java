// Kafka's own log, driven line by line: what core's validation, log arithmetic and file formats are checked against.
//
//   open DIRECTORY NAME=VALUE...        a log with these topic configs          -> opened
//   recover DIRECTORY NAME=VALUE...     the same after a crash, nothing synced      -> recovered END
//   append NOW EPOCH VERSION HEX        the records of a Produce of VERSION     -> stored BASE LAST APPEND_TIME
//                                                                               or refused CODE INDEX,...
//   retain NOW HIGH_WATERMARK START     deletes what it may                    -> kept START BASE,...
//   close                               as a clean stop                        -> closed

import java.io.BufferedReader;
import java.io.File;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.ByteBuffer;
import java.util.HexFormat;
import java.util.List;
import java.util.Optional;
import java.util.Properties;
import java.util.function.Supplier;
import java.util.stream.Collectors;

import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.protocol.Errors;
import org.apache.kafka.common.record.internal.MemoryRecords;
import org.apache.kafka.common.requests.ProduceRequest;
import org.apache.kafka.common.requests.ProduceResponse;
import org.apache.kafka.common.utils.Time;
import org.apache.kafka.server.util.KafkaScheduler;
import org.apache.kafka.storage.internals.log.LogAppendInfo;
import org.apache.kafka.storage.internals.log.LogConfig;
import org.apache.kafka.storage.internals.log.LogDirFailureChannel;
import org.apache.kafka.storage.internals.log.LogStartOffsetIncrementReason;
import org.apache.kafka.storage.internals.log.ProducerStateManagerConfig;
import org.apache.kafka.storage.internals.log.RecordValidationException;
import org.apache.kafka.storage.internals.log.UnifiedLog;
import org.apache.kafka.storage.log.metrics.BrokerTopicStats;

public class LogJudge {
    /** The wall clock stands where the last append put it. */
    static final class Clock implements Time {
        long now = 0;

        @Override
        public long milliseconds() {
            return now;
        }

        @Override
        public long nanoseconds() {
            return System.nanoTime();
        }

        @Override
        public void sleep(long ms) {
            now += ms;
        }

        @Override
        public void waitObject(Object object, Supplier<Boolean> condition, long deadline) {
            throw new UnsupportedOperationException();
        }
    }

    static final Clock CLOCK = new Clock();
    static final BrokerTopicStats STATS = new BrokerTopicStats();

    public static void main(String[] arguments) throws Exception {
        PrintStream out = new PrintStream(new java.io.FileOutputStream(java.io.FileDescriptor.out), true);
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in), 1 << 20);
        // One thread, so that what a roll leaves for later is done in order; close waits for it.
        KafkaScheduler scheduler = new KafkaScheduler(1);
        scheduler.startup();
        UnifiedLog log = null;
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            String[] words = line.split(" ");
            switch (words[0]) {
                case "open" -> {
                    log = open(words, scheduler, true);
                    out.println("opened");
                }
                case "recover" -> {
                    log = open(words, scheduler, false);
                    out.println("recovered " + log.logEndOffset());
                }
                case "append" -> out.println(append(log, words));
                case "retain" -> out.println(retain(log, words));
                case "close" -> {
                    scheduler.scheduleOnce("wait", () -> { }).get();
                    log.close();
                    out.println("closed");
                }
                default -> throw new IllegalArgumentException(line);
            }
        }
        System.exit(0);
    }

    static UnifiedLog open(String[] words, KafkaScheduler scheduler, boolean isClean) throws Exception {
        Properties configs = new Properties();
        for (String word : List.of(words).subList(2, words.length)) {
            String[] config = word.split("=", 2);
            configs.put(config[0], config[1]);
        }
        return UnifiedLog.create(new File(words[1]), new LogConfig(configs), 0L, 0L, scheduler, STATS, CLOCK, 900_000,
            new ProducerStateManagerConfig(86_400_000, false), 600_000, new LogDirFailureChannel(1), isClean,
            Optional.of(new Uuid(1, 2)));
    }

    static String retain(UnifiedLog log, String[] words) throws Exception {
        CLOCK.now = Long.parseLong(words[1]);
        log.updateHighWatermark(Long.parseLong(words[2]));
        log.maybeIncrementLogStartOffset(Long.parseLong(words[3]), LogStartOffsetIncrementReason.ClientRecordDeletion);
        log.deleteOldSegments();
        return "kept " + log.logStartOffset() + " " + log.logSegments().stream()
            .map(segment -> String.valueOf(segment.baseOffset())).collect(Collectors.joining(","));
    }

    static String append(UnifiedLog log, String[] words) {
        CLOCK.now = Long.parseLong(words[1]);
        ByteBuffer bytes = ByteBuffer.wrap(HexFormat.of().parseHex(words.length > 4 ? words[4] : ""));
        MemoryRecords records = MemoryRecords.readableRecords(bytes);
        try {
            ProduceRequest.validateRecords(Short.parseShort(words[3]), records);
            LogAppendInfo info = log.appendAsLeader(records, Integer.parseInt(words[2]));
            return "stored " + info.firstOffset() + " " + info.lastOffset() + " " + info.logAppendTime();
        } catch (RecordValidationException refused) {
            String indexes = refused.recordErrors().stream().map(error -> String.valueOf(error.batchIndex))
                .collect(Collectors.joining(","));
            return "refused " + Errors.forException(refused.invalidException()).code() + " " + indexes;
        } catch (Throwable refused) {
            return "refused " + Errors.forException(refused).code();
        }
    }
}
