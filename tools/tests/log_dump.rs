//! `corelane log dump` on the files of a broker that was stopped, and on damaged ones.

#![allow(missing_docs)]

mod support;

use std::path::Path;

use support::{Broker, failure, run};

fn dump(path: &Path, arguments: &[&str]) -> String {
    let output = run(&[&["log", "dump", path.to_str().unwrap()], arguments].concat(), b"");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn refused(path: &Path) -> String {
    failure(run(&["log", "dump", path.to_str().unwrap()], b""))
}

#[test]
fn every_file_of_a_directory_is_explained() {
    let broker = Broker::start(&[
        "--override",
        "group.initial.rebalance.delay.ms=0",
        "--override",
        "offsets.topic.num.partitions=1",
        "--override",
        "transaction.state.log.num.partitions=1",
    ]);
    broker.ok("topics create", &["t", "--config", "index.interval.bytes=100"], b"");
    for codec in ["none", "zstd"] {
        for round in 0..5 {
            let lines = format!("k{round}:{}\n", "v".repeat(200)).repeat(3);
            broker.ok("produce", &["-t", "t", "-K", ":", "-H", "h=1", "-z", codec], lines.as_bytes());
        }
    }
    broker.ok("consume", &["-t", "t", "-g", "g", "--from-beginning", "--exit"], b"");
    let transactions = ["-t", "other", "--num-records", "10", "--record-size", "10", "--transactional-id", "writer"];
    broker.ok("perf producer", &transactions, b"");
    let directory = broker.directory();
    let segment = directory.join("t-0/00000000000000000000.log");

    let batches = dump(&segment, &[]);
    assert!(batches.contains("\nbaseOffset: 0 lastOffset: 2 count: 3 baseSequence: 0 lastSequence: 2 "), "{batches}");
    assert!(batches.lines().filter(|line| line.contains(" isvalid: true")).count() >= 10, "{batches}");
    let records = dump(&segment, &["--print-data-log"]);
    assert_eq!(records.lines().filter(|line| line.starts_with("| offset: ")).count(), 30);
    assert!(
        records.contains("keySize: 2 valueSize: 200 sequence: 0 headerKeys: [h] key: k0 payload: vvv"),
        "{records}"
    );
    let json = dump(&segment, &["--json", "--deep-iteration"]);
    assert!(json.contains("\"codec\":\"zstd\"") && json.contains("\"header_keys\":[\"h\"]"), "{json}");
    assert_eq!(dump(&segment, &["--max-bytes", "1"]).lines().count(), 2);

    let metadata = directory.join("__cluster_metadata-0/00000000000000000000.log");
    let metadata = dump(&metadata, &["--print-data-log"]);
    assert!(metadata.contains("LeaderChange") && metadata.contains("Topic { name: \"t\""), "{metadata}");
    let offsets = directory.join("__consumer_offsets-0/00000000000000000000.log");
    let offsets = dump(&offsets, &["--print-data-log"]);
    assert!(offsets.contains("group: \"g\", topic: \"t\""), "{offsets}");
    assert!(dump(&directory.join("meta.properties"), &["--json"]).contains("\"node_id\":1"));

    let state = directory.join("__transaction_state-0/00000000000000000000.log");
    let state = dump(&state, &["--print-data-log"]);
    assert!(state.contains("key: writer payload: CompleteCommit ") && state.contains("\"other\""), "{state}");

    broker.stop();
    let all = dump(&directory.join("t-0"), &[]);
    for words in
        ["leaderEpoch: 0 startOffset: 0", "topicId: ", "producerId: ", "offset: 5 position: 706", "timestamp: "]
    {
        assert!(all.contains(words), "{words}: {all}");
    }
    let recovery = dump(&directory.join("recovery-point-offset-checkpoint"), &[]);
    assert!(recovery.contains("topic: t partition: 0 offset: 30"), "{recovery}");
    assert!(dump(&directory.join(".kafka_cleanshutdown"), &[]).contains("brokerEpoch: "));
    assert!(dump(&directory.join("__cluster_metadata-0/quorum-state"), &[]).contains("leader"));
    damaged_files_are_told_with_the_position(&directory);
}

fn damaged_files_are_told_with_the_position(directory: &Path) {
    let copy = directory.join("../t-0");
    std::fs::create_dir_all(&copy).unwrap();
    let whole = std::fs::read(directory.join("t-0/00000000000000000000.log")).unwrap();
    let segment = copy.join("00000000000000000000.log");
    let second = usize::try_from(u32::from_be_bytes(whole[8..12].try_into().unwrap())).unwrap() + 12;

    std::fs::write(&segment, &whole[..second + 30]).unwrap();
    let error = refused(&segment);
    assert!(error.contains(&format!("position {second}: ")) && error.contains("30 bytes from there on"), "{error}");
    let mut flipped = whole.clone();
    flipped[second + 70] ^= 1;
    std::fs::write(&segment, &flipped).unwrap();
    let error = refused(&segment);
    assert!(error.contains(&format!("position {second}: the checksum of the batch is wrong")), "{error}");
    let mut huge = whole;
    huge[second + 8] = 0x7f;
    std::fs::write(&segment, &huge).unwrap();
    assert!(refused(&segment).contains(&format!("position {second}: what is there says that")));

    let index = std::fs::read(directory.join("t-0/00000000000000000000.index")).unwrap();
    let copied = copy.join("00000000000000000000.index");
    std::fs::write(&copied, &index[..index.len() - 1]).unwrap();
    assert!(refused(&copied).contains("7 bytes are no whole entry"));
    std::fs::write(copy.join("00000000000000000000.snapshot"), b"no snapshot at all").unwrap();
    assert!(refused(&copy.join("00000000000000000000.snapshot")).contains("is not known"));
    std::fs::write(copy.join("leader-epoch-checkpoint"), "0\n1\nx y\n").unwrap();
    assert!(refused(&copy.join("leader-epoch-checkpoint")).contains("line 3"));
    let (stable, torn) = (copy.join("00000000000000000007.txnindex"), copy.join("00000000000000000008.txnindex"));
    let entry = |last| {
        let fields = [77, 3, last, 2_i64];
        [&[0, 0], fields.map(i64::to_be_bytes).as_flattened()].concat()
    };
    std::fs::write(&stable, [entry(9), entry(12)].concat()).unwrap();
    let lines = "version: 0 producerId: 77 firstOffset: 3 lastOffset: 9 lastStableOffset: 2\n";
    assert!(dump(&stable, &[]).contains(&format!("{lines}{}", lines.replace('9', "12"))));
    assert!(dump(&stable, &["--json"]).contains("\"producer_id\":77,\"first_offset\":3,\"last_offset\":9"));
    std::fs::write(&torn, &[entry(9), entry(12)].concat()[..50]).unwrap();
    assert!(refused(&torn).contains("position 34: an entry has 34 bytes"));
    std::fs::write(&torn, [entry(9), entry(8)].concat()).unwrap();
    assert!(refused(&torn).contains("position 34: what is there is no entry, or one that is out of order"));
    std::fs::write(copy.join("notes.txt"), "x").unwrap();
    assert!(refused(&copy.join("notes.txt")).contains("none of a data directory's files"));
}
