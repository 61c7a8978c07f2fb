//! The `corelane` command as a user meets it: its output, its errors and its exit codes, against its own broker.

#![allow(missing_docs)]

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};

mod support;

use support::{Broker, CORELANE, failure, run};

#[test]
fn topics_are_created_described_changed_and_deleted() {
    let broker = Broker::start(&[]);
    assert_eq!(broker.ok("topics list", &[], b""), "");
    let created = broker.ok(
        "topics create",
        &["first", "--topic", "second", "--partitions", "3", "--config", "segment.bytes=2000000"],
        b"",
    );
    assert_eq!(created, "created first\ncreated second\n");
    assert_eq!(broker.ok("topics list", &[], b""), "first\nsecond\n");

    let described = broker.ok("topics describe", &["second"], b"");
    let lines: Vec<&str> = described.lines().collect();
    assert!(lines[0].starts_with("Topic: second\tTopicId: "), "{described}");
    assert!(lines[0].ends_with("\tPartitionCount: 3\tReplicationFactor: 1\tConfigs: segment.bytes=2000000"));
    assert_eq!(lines[3], "\tTopic: second\tPartition: 2\tLeader: 1\tReplicas: 1\tIsr: 1\tElr: \tLastKnownElr: ");
    assert_eq!(lines.len(), 4);

    let error = broker.fails("topics create", &["first"], b"");
    assert!(error.contains("topic first: ") && error.contains("TOPIC_ALREADY_EXISTS"), "{error}");
    assert!(error.contains("--if-not-exists"), "{error}");
    broker.ok("topics create", &["first", "--if-not-exists"], b"");

    assert_eq!(broker.ok("topics alter", &["first", "--partitions", "5"], b""), "changed first\n");
    assert!(broker.ok("topics describe", &["first"], b"").contains("PartitionCount: 5"));
    assert!(broker.fails("topics alter", &["first", "--partitions", "2"], b"").contains("INVALID_PARTITIONS"));

    // What does not act yet is refused by name.
    let error = broker.fails("topics create", &["third", "--config", "preallocate=true"], b"");
    assert!(error.contains("preallocate") && error.contains("INVALID_CONFIG"), "{error}");

    assert_eq!(broker.ok("topics delete", &["--topic", "first,second"], b""), "deleted first\ndeleted second\n");
    assert_eq!(broker.ok("topics list", &[], b""), "");
    let error = broker.fails("topics delete", &["first"], b"");
    assert!(error.contains("UNKNOWN_TOPIC_OR_PARTITION"), "{error}");
    broker.ok("topics delete", &["first", "--if-exists"], b"");
    assert!(broker.fails("topics describe", &["first"], b"").contains("corelane topics create first"));
}

#[test]
fn records_come_back_as_they_were_sent() {
    let broker = Broker::start(&[]);
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let lines: String = (0..5_000).map(|number| format!("{codec} {number}\n")).collect();
        assert_eq!(broker.ok("produce", &["--topic", codec, "--codec", codec], lines.as_bytes()), "");
        let read = broker.ok("consume", &["--topic", codec, "--from-beginning", "--exit"], b"");
        assert!(read == lines, "{codec}: {} bytes came back of {}", read.len(), lines.len());
    }

    broker.ok("topics create", &["keyed", "--partitions", "3"], b"");
    let arguments = ["-t", "keyed", "-K", ":", "-H", "a=1", "-H", "b=2", "--null-marker", "NULL", "--timestamp", "77"];
    broker.ok("produce", &arguments, b"k1:v1\nk2:NULL\nNULL:v3\nk1:\n\n");
    let pattern = "%t %k/%K=%s/%S @%T [%h]\\n";
    let read = broker.ok("consume", &["-t", "keyed", "--from-beginning", "-e", "-f", pattern], b"");
    let mut lines: Vec<&str> = read.lines().collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "keyed /-1=/0 @77 [a=1,b=2]",
            "keyed /-1=v3/2 @77 [a=1,b=2]",
            "keyed k1/2=/0 @77 [a=1,b=2]",
            "keyed k1/2=v1/2 @77 [a=1,b=2]",
            "keyed k2/2=/-1 @77 [a=1,b=2]",
        ]
    );
    // Where Kafka's own clients put them: murmur2.
    let of_key = |key: &str| corelane_core::client::partition_of_key(key.as_bytes(), 3).to_string();
    let read = broker.ok("consume", &["-t", "keyed", "-p", &of_key("k1"), "-o", "earliest", "-e", "-f", "%k,"], b"");
    assert_eq!(read.matches("k1,").count(), 2, "{read}");

    let json = broker.ok("consume", &["-t", "keyed", "-p", &of_key("k2"), "--from-beginning", "-e", "--json"], b"");
    let line = json.lines().find(|line| line.contains("\"key\":\"k2\"")).unwrap();
    assert!(
        line.contains("\"timestamp\":77,\"key\":\"k2\",\"value\":null,\"headers\":[{\"key\":\"a\",\"value\":\"1\"}")
    );
}

#[test]
fn a_consumer_begins_and_stops_where_it_is_told() {
    let broker = Broker::start(&[]);
    for number in 0..10 {
        let (line, timestamp) = (format!("{number}\n"), (1_000 + number * 10).to_string());
        broker.ok("produce", &["-t", "t", "--timestamp", &timestamp], line.as_bytes());
    }
    for (arguments, expected) in [
        (&["--from-beginning"][..], "0123456789"),
        (&["--offset", "7"], "789"),
        (&["--offset", "-2"], "89"),
        (&["--offset", "latest"], ""),
        (&["--offset", "10"], ""),
        (&["--timestamp", "1051"], "6789"),
        (&["--timestamp", "9999"], ""),
        (&["--from-beginning", "--max-messages", "3"], "012"),
    ] {
        let mut all = vec!["-t", "t", "-e", "-f", "%s"];
        all.extend(arguments);
        assert_eq!(broker.ok("consume", &all, b""), expected, "{arguments:?}");
    }
    let waited = broker.ok("consume", &["-t", "t", "--from-beginning", "--timeout-ms", "300", "-f", "%o,"], b"");
    assert_eq!(waited, "0,1,2,3,4,5,6,7,8,9,");
    let error = broker.fails("consume", &["-t", "t", "--offset", "11", "-e"], b"");
    assert!(error.contains("partition 0: OFFSET_OUT_OF_RANGE"), "{error}");
    let error = broker.fails("consume", &["-t", "t", "-p", "5", "-e"], b"");
    assert!(error.contains("the topic has 1 partitions"), "{error}");
    let error = broker.fails("consume", &["-t", "nosuch", "-e"], b"");
    assert!(error.contains("UNKNOWN_TOPIC_OR_PARTITION"), "{error}");
}

#[test]
fn a_consumer_reads_several_topics_by_list_or_expression() {
    let broker = Broker::start(&[]);
    for (topic, line) in [("red-1", "one\n"), ("red-22", "two\n"), ("blue", "three\n")] {
        broker.ok("produce", &["-t", topic], line.as_bytes());
    }
    let read = |arguments: &[&str]| {
        let all = [&["--from-beginning", "-e", "-f", "%t:%s\\n"], arguments].concat();
        let text = broker.ok("consume", &all, b"");
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort_unstable();
        lines
    };
    assert_eq!(read(&["-t", "red-1,blue"]), ["blue:three", "red-1:one"]);
    assert_eq!(read(&["-t", "red-1", "-t", "blue"]), ["blue:three", "red-1:one"]);
    // The expression is for the whole name, and a comma in it is a comma.
    assert_eq!(read(&["--include", "red-[0-9]{1,2}"]), ["red-1:one", "red-22:two"]);
    assert_eq!(read(&["--include", "red-."]), ["red-1:one"]);
    assert_eq!(read(&["--include", "red.*", "-g", "a group"]), ["red-1:one", "red-22:two"]);
    assert_eq!(read(&["-t", "red-1,blue", "-g", "a group"]), ["blue:three"]);

    let error = broker.fails("consume", &["--include", "green.*", "-e"], b"");
    assert!(error.contains("--include green.*: no topic has such a name"), "{error}");
    assert!(broker.fails("consume", &["--include", "[", "-e"], b"").contains("no regular expression"));
    let error = broker.fails("consume", &["-t", "red-1,blue", "-p", "0", "-e"], b"");
    assert!(error.contains("--partition is of one topic"), "{error}");
}

#[test]
fn a_record_that_is_refused_is_named_by_its_line() {
    let broker = Broker::start(&[]);
    broker.ok("topics create", &["small", "--config", "max.message.bytes=200"], b"");
    let mut input = b"fits\n".to_vec();
    input.extend_from_slice(&[b'x'; 500]);
    input.push(b'\n');
    let error = broker.fails("produce", &["-t", "small", "--batch-size", "1"], &input);
    assert!(error.contains("line 2 for topic small, partition 0: MESSAGE_TOO_LARGE"), "{error}");
    let read = broker.ok("consume", &["-t", "small", "--from-beginning", "-e"], b"");
    assert_eq!(read, "fits\n");
    let error = broker.fails("produce", &["-t", "bad/name"], b"x\n");
    assert!(error.contains("INVALID_TOPIC_EXCEPTION"), "{error}");
}

#[test]
fn offsets_are_printed_in_the_order_of_the_lines_with_every_kind_of_ack() {
    let broker = Broker::start(&[]);
    for (acks, expected) in [("all", "0\t0\n0\t1\n"), ("1", "0\t0\n0\t1\n"), ("0", "0\t-1\n0\t-1\n")] {
        let topic = format!("acks-{acks}");
        // Without an answer nothing says that the topic is ready, so it is made before.
        broker.ok("topics create", &[&topic], b"");
        let printed = broker.ok("produce", &["-t", &topic, "--acks", acks, "--print-offsets"], b"a\nb");
        assert_eq!(printed, expected, "acks={acks}");
        // A program that ends has handed over what it was told to send.
        for _ in 0..20 {
            broker.ok("produce", &["-t", &topic, "--acks", acks], b"a\n");
        }
        assert_eq!(broker.ok("offsets", &[&topic], b""), format!("{topic}:0:22\n"), "acks={acks}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let broker = Broker::start(&[]);
    let lines: String = (0..200_000).map(|number| format!("line {number}\n")).collect();
    broker.ok("produce", &["-t", "t"], lines.as_bytes());
    let mut process = Command::new(CORELANE)
        .args(["consume", "-b", &broker.address, "-t", "t", "--from-beginning"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    BufReader::new(process.stdout.take().unwrap()).read_line(&mut first).unwrap();
    assert_eq!(first, "line 0\n");
    let status = process.wait().unwrap();
    let mut errors = String::new();
    process.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    assert_eq!((status.code(), errors.as_str()), (Some(0), ""));
}

#[test]
fn what_cannot_be_reached_is_named_with_a_remedy() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    for words in [&["topics", "list"][..], &["produce", "-t", "t"], &["consume", "-t", "t"]] {
        let mut all = words.to_vec();
        all.extend(["-b", &nobody]);
        let error = failure(run(&all, b""));
        assert!(error.contains(&nobody) && error.contains("corelane start"), "{error}");
    }
}

fn start_with(file: &Path, text: &str) -> String {
    std::fs::write(file, text).unwrap();
    failure(run(&["start", "--config", file.to_str().unwrap(), "--cores", "1"], b""))
}

#[test]
fn settings_that_cannot_be_accepted_are_named_by_file_and_line() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("server.properties");
    let name = file.display();
    let error = start_with(&file, "# a comment\nnum.partition=3\nlog.preallocate=true\nnum.io.threads=x\n");
    let lines: Vec<&str> = error.lines().collect();
    assert!(lines[0].contains(&format!("{name}:2: num.partition")) && lines[0].contains("num.partitions?"), "{error}");
    assert!(lines[1].contains(&format!("{name}:3: log.preallocate")), "{error}");
    assert!(lines[2].contains(&format!("{name}:4: num.io.threads=x: must be a whole number")), "{error}");
    let error = failure(run(&["start", "--override", "num.partitions=0"], b""));
    assert!(error.contains("--override: num.partitions=0: must be"), "{error}");
    let error = failure(run(&["start", "--config", "/no/such/file"], b""));
    assert!(error.contains("/no/such/file"), "{error}");
}

#[test]
fn the_settings_of_a_stock_kafka_start_a_broker() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("server.properties");
    let text = "process.roles=broker,controller\nnode.id=7\ncontroller.quorum.bootstrap.servers=localhost:9093\n\
                listeners=PLAINTEXT://:9092,CONTROLLER://:9093\ninter.broker.listener.name=PLAINTEXT\n\
                controller.listener.names=CONTROLLER\n\
                listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT\nnum.partitions=2\n\
                offsets.topic.replication.factor=1\nlog.retention.hours=168\n";
    std::fs::write(&file, text).unwrap();
    let broker = Broker::start(&["--config", file.to_str().unwrap()]);
    broker.ok("produce", &["-t", "t"], b"a\n");
    let described = broker.ok("topics describe", &["t"], b"");
    assert!(described.contains("PartitionCount: 2") && described.contains("Leader: 7"), "{described}");
}
