//! Each rule by itself, on batches of our own making.

use super::*;
use crate::base::{LeaderEpoch, ProducerEpoch, ProducerId, Sequence};
use crate::record::builder::{BatchBuilder, BatchOptions};
use crate::record::codec::Compression;
use crate::record::header::{Attributes, STAMP_BYTES};

const NOW: Timestamp = Timestamp(1_700_000_000_000);
const CODECS: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

fn batch(codec: Codec, keys: &[Option<&[u8]>]) -> Batch {
    let compression = Compression { codec, level: None };
    let mut builder = BatchBuilder::new(BatchOptions { compression, ..BatchOptions::default() });
    for (i, key) in (0i64..).zip(keys) {
        builder.append(NOW + i, *key, Some(b"value"), &[]);
    }
    builder.build().unwrap()
}

/// The batch with its header edited and its checksum made right again.
fn edited(batch: &Batch, edit: impl FnOnce(&mut BatchHeader)) -> Bytes {
    let mut header = *batch.header();
    edit(&mut header);
    header.set_crc(crc32c::crc32c_append(header.covered_crc(), &batch.payload()));
    Batch::assemble(header, &batch.payload()).bytes().clone()
}

fn joined(parts: &[Bytes; 2]) -> Bytes {
    parts.concat().into()
}

#[test]
fn a_good_batch_keeps_its_bytes_and_gets_sixteen_new_ones() {
    for codec in CODECS {
        let sent = batch(codec, &[Some(b"a"), None, Some(b"")]);
        let valid = validate_produce(sent.bytes(), &AppendRules::default(), NOW).unwrap();
        let stamped = valid.stamp(Offset(77), LeaderEpoch(3), None);
        assert_eq!(stamped[0].len(), STAMP_BYTES);
        assert_eq!(stamped[1].as_ptr(), sent.bytes()[STAMP_BYTES..].as_ptr(), "the payload is not copied");
        let stored = Batch::split_from(&mut joined(&stamped)).unwrap();
        assert!(stored.is_crc_valid());
        assert_eq!(stored.header().base_offset(), Offset(77));
        assert_eq!(stored.header().last_offset(), Offset(79));
        assert_eq!(stored.header().leader_epoch(), LeaderEpoch(3));
        assert_eq!(stored.header().max_timestamp(), NOW + 2);
        let opened = stored.open(1_000).unwrap();
        let keys: Vec<_> = stored.records(&opened).map(|record| record.unwrap().key.map(<[u8]>::to_vec)).collect();
        assert_eq!(keys, [Some(b"a".to_vec()), None, Some(vec![])]);
    }
}

#[test]
fn append_time_changes_the_header_only_and_keeps_the_checksum_right() {
    for codec in CODECS {
        let sent = batch(codec, &[Some(b"a"), None]);
        let rules = AppendRules { timestamp_type: TimestampType::LogAppendTime, ..AppendRules::default() };
        let valid = validate_produce(sent.bytes(), &rules, NOW).unwrap();
        let stamped = valid.stamp(Offset(5), LeaderEpoch(0), Some(NOW + 1_000));
        assert_eq!(stamped[1].as_ptr(), sent.bytes()[61..].as_ptr());
        let stored = Batch::split_from(&mut joined(&stamped)).unwrap();
        assert!(stored.is_crc_valid());
        assert_eq!(stored.header().max_timestamp(), NOW + 1_000);
        assert_eq!(stored.header().attributes().timestamp_type(), TimestampType::LogAppendTime);
    }
}

#[test]
fn a_wrong_largest_timestamp_is_put_right() {
    let sent = batch(Codec::None, &[Some(b"a"), Some(b"b")]);
    let lie = edited(&sent, |header| header.set_timestamps(NOW, NOW + 500));
    let valid = validate_produce(&lie, &AppendRules::default(), NOW).unwrap();
    assert_eq!(valid.max_timestamp(), NOW + 1);
    let stored = Batch::split_from(&mut joined(&valid.stamp(Offset(0), LeaderEpoch(0), None))).unwrap();
    assert!(stored.is_crc_valid());
    assert_eq!(stored.header().max_timestamp(), NOW + 1);
}

#[test]
fn another_codec_of_the_topic_rebuilds_the_payload() {
    for from in CODECS {
        for to in CODECS {
            let sent = batch(from, &[Some(b"a"), None]);
            let rule = CompressionRule::Topic(Compression { codec: to, level: None });
            let rules = AppendRules { compression: rule, ..AppendRules::default() };
            assert_eq!(needs_opening(sent.bytes(), &rules, NOW), from != to);
            let valid = validate_produce(sent.bytes(), &rules, NOW).unwrap();
            assert_eq!(valid.codec(), to);
            let stored = Batch::split_from(&mut joined(&valid.stamp(Offset(0), LeaderEpoch(0), None))).unwrap();
            assert!(stored.is_crc_valid());
            assert_eq!(stored.open(1_000).unwrap(), sent.open(1_000).unwrap());
        }
    }
}

#[test]
fn a_compressed_batch_whose_times_are_bad_is_opened_to_name_the_records() {
    let rules = AppendRules::default();
    let too_early = NOW + -3_600_001;
    for codec in CODECS {
        let sent = batch(codec, &[Some(b"a"), Some(b"b")]);
        assert!(!needs_opening(sent.bytes(), &rules, NOW), "{codec:?}");
        // Uncompressed records are walked where they lie.
        assert_eq!(needs_opening(sent.bytes(), &rules, too_early), codec != Codec::None, "{codec:?}");
        let refused = validate_produce(sent.bytes(), &rules, too_early).unwrap_err();
        assert_eq!(refused.kind, RejectionKind::InvalidTimestamp, "{codec:?}");
        assert!(!refused.record_errors.is_empty(), "{codec:?}");
    }
}

#[test]
fn each_broken_rule_gets_its_error() {
    let sent = batch(Codec::None, &[Some(b"a"), Some(b"b")]);
    let bytes = sent.bytes().clone();
    let twice: Bytes = [&bytes[..], &bytes[..]].concat().into();
    let mut flipped = bytes.to_vec();
    flipped[65] ^= 1;
    let mut old = bytes.to_vec();
    old[16] = 1;
    let mut far = bytes.to_vec();
    far[7] = 9;
    let codec5 = edited(&sent, |header| header.set_attributes(Attributes(5)));
    let control = edited(&sent, |header| header.set_attributes(Attributes(0x20)));
    let append_time = edited(&sent, |header| header.set_attributes(Attributes(0x08)));
    let sequence = edited(&sent, |header| header.set_producer(ProducerId(4), ProducerEpoch(0), Sequence(-1)));
    let more = edited(&sent, |header| header.set_record_count(3));
    let fewer = edited(&sent, |header| header.set_record_count(1));
    let none = edited(&sent, |header| header.set_record_count(0));
    let defaults = AppendRules::default();
    let by_broker = AppendRules { timestamp_type: TimestampType::LogAppendTime, ..defaults };
    let small = AppendRules { max_message_bytes: 60, ..defaults };
    let short_segment = AppendRules { segment_bytes: 60, ..defaults };
    for (name, records, rules, now, kind) in [
        ("empty", Bytes::new(), defaults, NOW, RejectionKind::InvalidRecord),
        ("cut", bytes.slice(..70), defaults, NOW, RejectionKind::InvalidRecord),
        ("two batches", twice, defaults, NOW, RejectionKind::InvalidRecord),
        ("crc", flipped.into(), defaults, NOW, RejectionKind::CorruptMessage),
        ("magic 1", old.into(), defaults, NOW, RejectionKind::InvalidRecord),
        ("base offset", far.into(), defaults, NOW, RejectionKind::InvalidRecord),
        ("codec 5", codec5, defaults, NOW, RejectionKind::CorruptMessage),
        ("control", control, defaults, NOW, RejectionKind::InvalidRecord),
        ("append time", append_time.clone(), by_broker, NOW, RejectionKind::InvalidTimestamp),
        ("sequence", sequence, defaults, NOW, RejectionKind::InvalidRecord),
        ("too few records", more, defaults, NOW, RejectionKind::InvalidRecord),
        ("too many records", fewer, defaults, NOW, RejectionKind::InvalidRecord),
        ("no records", none, defaults, NOW, RejectionKind::InvalidRecord),
        ("size", bytes.clone(), small, NOW, RejectionKind::MessageTooLarge),
        ("segment", bytes.clone(), short_segment, NOW, RejectionKind::RecordListTooLarge),
        ("from the future", bytes.clone(), defaults, NOW + -3_600_000, RejectionKind::InvalidTimestamp),
    ] {
        let rejection = validate_produce(&records, &rules, now).expect_err(name);
        assert_eq!(rejection.kind, kind, "{name}: {rejection}");
    }
    let kept = validate_produce(&append_time, &defaults, NOW).unwrap();
    assert_eq!(kept.header().attributes().timestamp_type(), TimestampType::CreateTime);
    let window = AppendRules { timestamp_before_max_ms: 1_000, ..defaults };
    assert!(validate_produce(&bytes, &window, NOW + 1_000).is_ok());
    assert!(validate_produce(&bytes, &window, NOW + 1_001).is_err());
    assert!(validate_produce(&bytes, &defaults, NOW + -3_599_999).is_ok());
}

#[test]
fn a_compacted_topic_names_the_records_without_key() {
    let rules = AppendRules { compacted: true, ..AppendRules::default() };
    for codec in CODECS {
        let sent = batch(codec, &[Some(b"a"), None, Some(b""), None]);
        let rejection = validate_produce(sent.bytes(), &rules, NOW).unwrap_err();
        assert_eq!(rejection.kind, RejectionKind::InvalidRecord);
        assert_eq!(rejection.record_errors.iter().map(|fault| fault.index).collect::<Vec<_>>(), [1, 3]);
    }
}

#[test]
fn a_compressed_batch_with_bad_timestamps_is_opened_a_little_to_name_them() {
    for codec in &CODECS[1..] {
        let sent = batch(*codec, &[Some(b"a"), None]);
        let rejection = validate_produce(sent.bytes(), &AppendRules::default(), NOW + -3_600_000).unwrap_err();
        assert_eq!(rejection.kind, RejectionKind::InvalidTimestamp);
        assert_eq!(rejection.record_errors.iter().map(|fault| fault.index).collect::<Vec<_>>(), [1]);

        let compression = Compression { codec: *codec, level: None };
        let mut large = BatchBuilder::new(BatchOptions { compression, ..BatchOptions::default() });
        large.append(NOW, None, Some(&vec![0; FAULT_SEARCH_BYTES_MAX]), &[]);
        let large = large.build().unwrap();
        let rejection = validate_produce(large.bytes(), &AppendRules::default(), NOW + -3_600_001).unwrap_err();
        assert_eq!((rejection.kind, rejection.record_errors), (RejectionKind::InvalidTimestamp, vec![]));
        assert!(validate_produce(large.bytes(), &AppendRules::default(), NOW).is_ok());
    }
}
