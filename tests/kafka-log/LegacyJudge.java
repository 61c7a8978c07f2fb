// Message formats 0 and 1 as the last Kafka that knew them handles them (3.9.2), line by line.
//
//   open DIRECTORY NAME=VALUE...   a log with these topic configs            -> opened
//   append NOW HEX                 the records of a Produce 0 to 2           -> stored BASE LAST HEX, what is in the log now
//                                                                               or refused CODE
//   down MAGIC OFFSET HEX          batches for a client that wants OFFSET    -> messages HEX, or refused CODE
//   read HEX                       what a client reads                       -> OFFSET,TIMESTAMP,TYPE,KEY,VALUE ...
//   write MAGIC CODEC TYPE BASE TIME:KEY:VALUE...   a client's message set   -> messages HEX

import java.io.BufferedReader;
import java.io.File;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.ByteBuffer;
import java.util.HexFormat;
import java.util.List;
import java.util.Properties;
import java.util.StringJoiner;
import java.util.concurrent.ConcurrentHashMap;
import java.util.function.Supplier;

import kafka.log.UnifiedLog;
import kafka.server.BrokerTopicStats;
import kafka.server.RequestLocal;

import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.protocol.Errors;
import org.apache.kafka.common.record.CompressionType;
import org.apache.kafka.common.record.FileRecords;
import org.apache.kafka.common.record.MemoryRecords;
import org.apache.kafka.common.record.MemoryRecordsBuilder;
import org.apache.kafka.common.record.Record;
import org.apache.kafka.common.record.RecordBatch;
import org.apache.kafka.common.record.TimestampType;
import org.apache.kafka.common.utils.Time;
import org.apache.kafka.server.common.MetadataVersion;
import org.apache.kafka.server.util.KafkaScheduler;
import org.apache.kafka.storage.internals.log.AppendOrigin;
import org.apache.kafka.storage.internals.log.FetchIsolation;
import org.apache.kafka.storage.internals.log.LogAppendInfo;
import org.apache.kafka.storage.internals.log.LogConfig;
import org.apache.kafka.storage.internals.log.LogDirFailureChannel;
import org.apache.kafka.storage.internals.log.LogOffsetsListener;
import org.apache.kafka.storage.internals.log.ProducerStateManagerConfig;
import org.apache.kafka.storage.internals.log.RecordValidationException;
import org.apache.kafka.storage.internals.log.VerificationGuard;

public class LegacyJudge {
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
    static final BrokerTopicStats STATS = new BrokerTopicStats(false);
    static final HexFormat HEX = HexFormat.of();

    public static void main(String[] arguments) throws Exception {
        PrintStream out = new PrintStream(new java.io.FileOutputStream(java.io.FileDescriptor.out), true);
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in), 1 << 20);
        KafkaScheduler scheduler = new KafkaScheduler(1);
        scheduler.startup();
        UnifiedLog log = null;
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            String[] words = line.split(" ");
            switch (words[0]) {
                case "open" -> {
                    log = open(words, scheduler);
                    out.println("opened");
                }
                case "append" -> out.println(append(log, words));
                case "down" -> out.println(down(words));
                case "read" -> out.println(read(words));
                case "write" -> out.println(write(words));
                default -> throw new IllegalArgumentException(line);
            }
        }
        System.exit(0);
    }

    static UnifiedLog open(String[] words, KafkaScheduler scheduler) {
        Properties configs = new Properties();
        for (String word : List.of(words).subList(2, words.length)) {
            String[] config = word.split("=", 2);
            configs.put(config[0], config[1]);
        }
        return UnifiedLog.apply(new File(words[1]), new LogConfig(configs), 0L, 0L, scheduler, STATS, CLOCK, 900_000,
            new ProducerStateManagerConfig(86_400_000, false), 600_000, new LogDirFailureChannel(1), true,
            scala.Option.empty(), true, new ConcurrentHashMap<String, Object>(), false,
            LogOffsetsListener.NO_OP_OFFSETS_LISTENER);
    }

    static String append(UnifiedLog log, String[] words) {
        CLOCK.now = Long.parseLong(words[1]);
        try {
            LogAppendInfo info = log.appendAsLeader(records(words, 2), 0, AppendOrigin.CLIENT,
                MetadataVersion.latestProduction(), RequestLocal.NoCaching(), VerificationGuard.SENTINEL);
            StringBuilder stored = new StringBuilder();
            if (info.firstOffset() >= 0) {
                FileRecords file = (FileRecords) log.read(info.firstOffset(), Integer.MAX_VALUE,
                    FetchIsolation.LOG_END, true).records;
                ByteBuffer bytes = ByteBuffer.allocate(file.sizeInBytes());
                file.readInto(bytes, 0);
                stored.append(HEX.formatHex(bytes.array()));
            }
            return "stored " + info.firstOffset() + " " + info.lastOffset() + " " + stored;
        } catch (RecordValidationException refused) {
            return "refused " + Errors.forException(refused.invalidException()).code();
        } catch (Throwable refused) {
            return "refused " + Errors.forException(refused).code();
        }
    }

    static String down(String[] words) {
        try {
            MemoryRecords converted =
                records(words, 3).downConvert(Byte.parseByte(words[1]), Long.parseLong(words[2]), CLOCK).records();
            return "messages " + hex(converted);
        } catch (Throwable refused) {
            return "refused " + Errors.forException(refused).code();
        }
    }

    static String read(String[] words) {
        StringJoiner read = new StringJoiner(" ");
        for (RecordBatch batch : records(words, 1).batches()) {
            batch.ensureValid();
            for (Record record : batch) {
                record.ensureValid();
                read.add(record.offset() + "," + record.timestamp() + "," + batch.timestampType().id + ","
                    + text(record.key()) + "," + text(record.value()));
            }
        }
        return read.toString();
    }

    static String write(String[] words) {
        CompressionType codec = CompressionType.forName(words[2]);
        TimestampType type = words[3].equals("1") ? TimestampType.LOG_APPEND_TIME : TimestampType.CREATE_TIME;
        MemoryRecordsBuilder builder = MemoryRecords.builder(ByteBuffer.allocate(1024), Byte.parseByte(words[1]),
            Compression.of(codec).build(), type, Long.parseLong(words[4]), CLOCK.now);
        for (String word : List.of(words).subList(5, words.length)) {
            String[] fields = word.split(":", -1);
            builder.append(Long.parseLong(fields[0]), bytes(fields[1]), bytes(fields[2]));
        }
        return "messages " + hex(builder.build());
    }

    static MemoryRecords records(String[] words, int at) {
        return MemoryRecords.readableRecords(ByteBuffer.wrap(HEX.parseHex(words.length > at ? words[at] : "")));
    }

    static String hex(MemoryRecords records) {
        ByteBuffer buffer = records.buffer();
        byte[] bytes = new byte[buffer.remaining()];
        buffer.get(bytes);
        return HEX.formatHex(bytes);
    }

    /** "-" is null, everything else hexadecimal. */
    static byte[] bytes(String text) {
        return text.equals("-") ? null : HEX.parseHex(text);
    }

    static String text(ByteBuffer buffer) {
        if (buffer == null)
            return "-";
        byte[] bytes = new byte[buffer.remaining()];
        buffer.duplicate().get(bytes);
        return HEX.formatHex(bytes);
    }
}
