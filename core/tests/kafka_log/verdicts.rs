//! What is refused, and how.

use std::collections::BTreeSet;

use bytes::Bytes;
use corelane_core::base::{Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};
use corelane_core::record::header::{Attributes, TimestampType};
use corelane_core::record::{
    AppendRules, Batch, BatchBuilder, BatchHeader, BatchOptions, Codec, Compression, CompressionRule, validate_produce,
};
use corelane_core::test_support::{CODECS, Random, random_batch, random_options};

use crate::judge::{Judge, Outcome};
use crate::our_log::{OurLog, Rules};

const NOW: Timestamp = Timestamp(1_700_000_000_000);

/// The configs that say the same to Kafka as `rules` to us.
pub(crate) fn configs(rules: &Rules) -> Vec<(&'static str, String)> {
    let append = &rules.append;
    let kind = match append.timestamp_type {
        TimestampType::CreateTime => "CreateTime",
        TimestampType::LogAppendTime => "LogAppendTime",
    };
    let codec = match append.compression {
        CompressionRule::Producer => "producer",
        CompressionRule::Topic(Compression { codec: Codec::None, .. }) => "uncompressed",
        CompressionRule::Topic(compression) => compression.codec.name(),
    };
    vec![
        ("max.message.bytes", append.max_message_bytes.to_string()),
        ("internal.segment.bytes", append.segment_bytes.to_string()),
        ("message.timestamp.type", kind.to_owned()),
        ("message.timestamp.before.max.ms", append.timestamp_before_max_ms.to_string()),
        ("message.timestamp.after.max.ms", append.timestamp_after_max_ms.to_string()),
        ("compression.type", codec.to_owned()),
        ("cleanup.policy", if append.compacted { "compact" } else { "delete" }.to_owned()),
        ("index.interval.bytes", rules.index.interval_bytes.to_string()),
        ("segment.index.bytes", rules.index.file_bytes_max.to_string()),
        ("segment.ms", rules.roll.segment_ms.to_string()),
    ]
}

fn batch(codec: Codec, keys: &[Option<&[u8]>]) -> Batch {
    let compression = Compression { codec, level: None };
    let mut builder = BatchBuilder::new(BatchOptions { compression, ..BatchOptions::default() });
    for (i, key) in (0i64..).zip(keys) {
        builder.append(NOW + i, *key, Some(b"value"), &[]);
    }
    builder.build().expect("a small batch")
}

/// The batch with its header edited and its checksum made right again.
fn edited(batch: &Batch, edit: impl FnOnce(&mut BatchHeader)) -> Vec<u8> {
    let mut header = *batch.header();
    edit(&mut header);
    header.set_crc(crc32c(&header.bytes()[21..], &batch.payload()));
    [&header.bytes()[..], &batch.payload()].concat()
}

/// The batch with its payload edited and its length and checksum made right again.
fn with_payload(batch: &Batch, edit: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut payload = batch.payload().to_vec();
    edit(&mut payload);
    let mut header = *batch.header();
    assert!(header.set_payload_bytes(payload.len()));
    header.set_crc(crc32c(&header.bytes()[21..], &payload));
    [&header.bytes()[..], &payload].concat()
}

fn crc32c(head: &[u8], payload: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(head), payload)
}

fn cases(codec: Codec) -> Vec<(String, Vec<u8>)> {
    let sent = batch(codec, &[Some(b"a"), None]);
    let bytes = sent.bytes().to_vec();
    let set = |at: usize, value: u8| {
        let mut changed = bytes.clone();
        changed[at] = value;
        changed
    };
    let with_attributes = |flag: i16| edited(&sent, |header| header.set_attributes(Attributes(flag | codec.id())));
    let followed_by = |tail: &[u8]| [&bytes[..], tail].concat();
    let named: Vec<(&str, Vec<u8>)> = vec![
        ("good", bytes.clone()),
        ("empty", vec![]),
        ("five bytes", bytes[..5].to_vec()),
        ("cut in the header", bytes[..40].to_vec()),
        ("cut in the payload", bytes[..bytes.len() - 1].to_vec()),
        ("twice", followed_by(&bytes)),
        ("trailing bytes", followed_by(&[0; 5])),
        ("trailing zeros", followed_by(&[0; 30])),
        ("trailing cut batch", followed_by(&bytes[..40])),
        ("base offset 9", set(7, 9)),
        ("base offset and checksum", {
            let mut changed = set(7, 9);
            changed[17] ^= 1;
            changed
        }),
        ("magic 1", set(16, 1)),
        ("magic 3", set(16, 3)),
        ("length 0", [&bytes[..8], &[0; 4], &bytes[12..]].concat()),
        ("length 20", [&bytes[..8], &[0, 0, 0, 20], &bytes[12..]].concat()),
        ("negative length", set(8, 0xff)),
        ("checksum", set(17, bytes[17] ^ 1)),
        ("control", with_attributes(0x20)),
        ("append time", with_attributes(0x08)),
        ("delete horizon", with_attributes(0x40)),
        ("unused attribute", with_attributes(0x100)),
        ("no sequence", edited(&sent, |header| header.set_producer(ProducerId(4), ProducerEpoch(0), Sequence(-1)))),
        ("no records", edited(&sent, |header| header.set_record_count(0))),
        ("negative count", edited(&sent, |header| header.set_record_count(-3))),
        ("wrong largest timestamp", edited(&sent, |header| header.set_timestamps(NOW, NOW + 77))),
        ("no timestamps", edited(&sent, |header| header.set_timestamps(Timestamp(-1), Timestamp(-1)))),
        ("future", edited(&sent, |header| header.set_timestamps(NOW + 3_600_001, NOW + 3_600_002))),
        ("future by a record", edited(&sent, |header| header.set_timestamps(NOW + 3_600_000, NOW + 3_600_001))),
        ("nearly future", edited(&sent, |header| header.set_timestamps(NOW + 3_599_999, NOW + 3_600_000))),
        ("past", edited(&sent, |header| header.set_timestamps(NOW + -2_000_000, NOW + -1_999_999))),
        ("nothing after the header", edited(&batch(codec, &[]), |header| header.set_record_count(1))),
    ];
    let mut cases: Vec<_> =
        named.into_iter().map(|(name, bytes)| (format!("{name}, {}", codec.name()), bytes)).collect();
    if codec == Codec::None {
        let payload: Vec<(&str, Vec<u8>)> = vec![
            ("codec 5", with_attributes(5)),
            ("one record more", edited(&sent, |header| header.set_record_count(3))),
            ("one record less", edited(&sent, |header| header.set_record_count(1))),
            ("offset delta", with_payload(&sent, |payload| payload[3] = 4)),
            ("record length", with_payload(&sent, |payload| payload[0] += 2)),
            ("negative record length", with_payload(&sent, |payload| payload[0] = 1)),
            ("header count", with_payload(&sent, |payload| *payload.last_mut().expect("bytes") = 2)),
            ("negative header count", with_payload(&sent, |payload| *payload.last_mut().expect("bytes") = 1)),
            ("trailing payload", with_payload(&sent, |payload| payload.push(0))),
        ];
        cases.extend(payload.into_iter().map(|(name, bytes)| (name.to_owned(), bytes)));
    }
    cases
}

/// The rules under which each case is tried.
fn rule_sets() -> Vec<(&'static str, AppendRules)> {
    let defaults = AppendRules { segment_bytes: 10_000, ..AppendRules::default() };
    let topic = |codec| CompressionRule::Topic(Compression { codec, level: None });
    vec![
        ("defaults", defaults),
        ("append time", AppendRules { timestamp_type: TimestampType::LogAppendTime, ..defaults }),
        ("compacted", AppendRules { compacted: true, ..defaults }),
        ("window", AppendRules { timestamp_before_max_ms: 1_000_000, ..defaults }),
        ("small messages", AppendRules { max_message_bytes: 80, ..defaults }),
        ("small segments", AppendRules { segment_bytes: 80, ..defaults }),
        ("to lz4", AppendRules { compression: topic(Codec::Lz4), ..defaults }),
        ("to uncompressed", AppendRules { compression: topic(Codec::None), ..defaults }),
    ]
}

/// Where we answer otherwise than Kafka on purpose: the case, a part of the rules' name, why.
const ON_PURPOSE: &[(&str, &str, &str)] = &[
    ("codec 5", "", "Kafka answers UNKNOWN_SERVER_ERROR, which tells the client nothing"),
    ("offset delta", "", "Kafka stores it, and readers are given offsets that are not those of the records"),
    ("nothing after the header, gzip", "", NOT_OPENED),
    ("nothing after the header, snappy", "", NOT_OPENED),
    ("nothing after the header, lz4", "", NOT_OPENED),
    ("nothing after the header, zstd", "", NOT_OPENED),
    ("no timestamps, gzip", "window", NOT_OPENED),
    ("no timestamps, snappy", "window", NOT_OPENED),
    ("no timestamps, lz4", "window", NOT_OPENED),
    ("no timestamps, zstd", "window", NOT_OPENED),
];

const NOT_OPENED: &str = "the header's word is taken for a compressed payload";

#[test]
fn each_broken_rule_is_judged_as_kafka_judges_it() {
    let Some(mut judge) = Judge::start("verdicts") else { return };
    let (mut differences, mut compared, mut used) = (Vec::new(), 0, BTreeSet::<&str>::new());
    for (number, (rules_name, append)) in rule_sets().into_iter().enumerate() {
        let rules = Rules { append, ..Rules::default() };
        for codec in CODECS {
            for (at, (name, records)) in cases(codec).into_iter().enumerate() {
                // A log each, so that the producers of one case mean nothing to the next.
                judge.open(&format!("rules-{number}-{}-{at}", codec.id()), &configs(&rules));
                let theirs = judge.append(NOW, 0, 9, &records);
                judge.close();
                let ours = OurLog::new(rules).append(NOW, 0, 9, &Bytes::from(records));
                compared += 1;
                if ours == theirs {
                    continue;
                }
                let mut excuses = ON_PURPOSE.iter();
                if let Some(excuse) = excuses.find(|entry| name == entry.0 && rules_name.contains(entry.1)) {
                    used.insert(excuse.0);
                } else {
                    differences.push(format!("{name}; {rules_name}: we {ours:?}, Kafka {theirs:?}"));
                }
            }
        }
    }
    let unused = ON_PURPOSE.iter().filter(|entry| !used.contains(&entry.0)).count();
    assert_eq!(unused, 0, "excuses that nothing needs");
    assert!(compared > 1_000, "{compared} verdicts");
    assert!(differences.is_empty(), "{} of {compared} differ:\n{}", differences.len(), differences.join("\n"));
}

#[test]
fn zstd_needs_a_client_that_knows_it() {
    let Some(mut judge) = Judge::start("zstd") else { return };
    let rules = Rules::default();
    for version in 3..=9 {
        judge.open(&format!("v{version}"), &configs(&rules));
        let records = batch(Codec::Zstd, &[None]).bytes().clone();
        let theirs = judge.append(NOW, 0, version, &records);
        judge.close();
        assert_eq!(OurLog::new(rules).append(NOW, 0, version, &records), theirs);
        assert_eq!(matches!(theirs, Outcome::Refused(76, _)), version < 7);
    }
}

#[test]
fn damaged_payloads_are_judged_as_kafka_judges_them() {
    let Some(mut judge) = Judge::start("payloads") else { return };
    let rules = Rules::default();
    judge.open("payloads", &configs(&rules));
    let mut log = OurLog::new(rules);
    let (mut differences, mut refused, mut stricter) = (Vec::new(), 0, 0);
    for seed in 0..3_000 {
        let mut random = Random::new(seed);
        let options = BatchOptions { compression: Compression::default(), ..random_options(&mut random, Offset(0)) };
        let sent = random_batch(&mut random, options, 4, NOW);
        let records = Bytes::from(with_payload(&sent, |payload| random.mutate(payload)));
        let (ours, theirs) = (log.append(NOW, 0, 9, &records), judge.append(NOW, 0, 9, &records));
        refused += usize::from(matches!(theirs, Outcome::Refused(..)));
        if ours != theirs {
            // Kafka stores offset deltas of any kind, and takes every negative length for null.
            let why = validate_produce(&records, &rules.append, NOW).err().map(|rejection| rejection.message);
            let is_stricter = why.as_ref().is_some_and(|why| why.contains("offset delta") || why.contains("malformed"));
            if is_stricter && matches!(theirs, Outcome::Stored(..)) {
                stricter += 1;
            } else {
                differences.push(format!("seed {seed}: we {ours:?} {why:?}, Kafka {theirs:?}"));
            }
            // Go on from the same offset.
            judge.close();
            judge.open(&format!("payloads-{seed}"), &configs(&rules));
            log = OurLog::new(rules);
        }
    }
    assert!((500..2_900).contains(&refused) && stricter < 60, "{refused} refused, {stricter} by us alone");
    let shown = differences.iter().take(30).map(String::as_str).collect::<Vec<_>>().join("\n");
    assert!(differences.is_empty(), "{} differ:\n{shown}", differences.len());
}
