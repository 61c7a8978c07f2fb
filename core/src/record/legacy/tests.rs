use bytes::Bytes;

use super::message::{Entries, attributes};
use super::up::{is_empty, is_quick, validate_legacy_produce};
use super::*;
use crate::base::{LeaderEpoch, Offset, Timestamp};
use crate::limits::LEGACY_INLINE_BYTES_MAX;
use crate::record::codec::{compress, decompress};
use crate::record::validate::RejectionKind;
use crate::record::{
    AppendRules, Batch, BatchBuilder, BatchOptions, Codec, Compression, CompressionRule, Header, TimestampType,
};

const NOW: Timestamp = Timestamp(1_700_000_000_000);
const OLD_CODECS: [Codec; 3] = [Codec::Gzip, Codec::Snappy, Codec::Lz4];

/// A plain message with its timestamp from the client.
fn plain<'a>(magic: u8, offset: i64, key: Option<&'a [u8]>, value: Option<&'a [u8]>) -> Message<'a> {
    let timestamp = if magic == 0 { Timestamp(-1) } else { NOW + offset };
    Message { offset: Offset(offset), magic, attributes: 0, timestamp, key, value }
}

fn set_of(messages: &[Message<'_>]) -> Vec<u8> {
    let mut set = Vec::new();
    for message in messages {
        assert!(message.write_to(&mut set));
    }
    set
}

fn packed(codec: Codec, set: &[u8]) -> Vec<u8> {
    compress(Compression { codec, level: None }, set).unwrap()
}

/// A wrapper with what is given as its value.
fn wrapper(magic: u8, codec: Codec, offset: i64, value: Option<&[u8]>) -> Vec<u8> {
    let attributes = attributes(magic, codec, TimestampType::CreateTime);
    set_of(&[Message { attributes, ..plain(magic, offset, None, value) }])
}

fn validate(set: &[u8], rules: &AppendRules) -> Result<Batch, RejectionKind> {
    let valid = validate_legacy_produce(&Bytes::copy_from_slice(set), rules, NOW).map_err(|refused| refused.kind)?;
    let mut run = Bytes::from(valid.stamp(Offset(70), LeaderEpoch(2), None).concat());
    let batch = Batch::split_from(&mut run).expect("whole");
    assert!(run.is_empty() && batch.is_crc_valid());
    Ok(batch)
}

type Flat = (i64, i64, Option<Vec<u8>>, Option<Vec<u8>>);

/// Offset, timestamp, key and value of each record.
fn flat(batch: &Batch) -> Vec<Flat> {
    let opened = batch.open(1 << 20).unwrap();
    let header = *batch.header();
    let flat = batch.records(&opened).map(|record| {
        let record = record.unwrap();
        let offset = header.base_offset().0 + i64::from(record.offset_delta);
        let timestamp = header.base_timestamp().0 + record.timestamp_delta_ms;
        (offset, timestamp, record.key.map(<[u8]>::to_vec), record.value.map(<[u8]>::to_vec))
    });
    flat.collect()
}

#[test]
fn plain_messages_become_one_batch() {
    for magic in [0, 1] {
        // Offsets of a client mean nothing.
        let set = set_of(&[
            plain(magic, 9, None, Some(b"a")),
            plain(magic, 3, Some(b"k"), None),
            plain(magic, -1, Some(b""), Some(b"")),
        ]);
        let batch = validate(&set, &AppendRules::default()).unwrap();
        let time = |offset| if magic == 0 { -1 } else { NOW.0 + offset };
        let expected = [
            (70, time(9), None, Some(b"a".to_vec())),
            (71, time(3), Some(b"k".to_vec()), None),
            (72, time(-1), Some(vec![]), Some(vec![])),
        ];
        assert_eq!(flat(&batch), expected);
        let header = batch.header();
        assert_eq!(header.max_timestamp().0, time(9));
        assert_eq!(header.attributes().0, 0);
        assert!(!header.has_producer());
    }
}

#[test]
fn a_wrapper_becomes_one_batch_with_its_codec() {
    for magic in [0, 1] {
        for codec in OLD_CODECS {
            let inner = set_of(&[plain(magic, 0, None, Some(b"a")), plain(magic, 1, Some(b"k"), None)]);
            let set = wrapper(magic, codec, 1, Some(&packed(codec, &inner)));
            let batch = validate(&set, &AppendRules::default()).unwrap();
            assert_eq!(batch.header().attributes().codec(), Some(codec));
            let times: Vec<_> = flat(&batch).iter().map(|record| record.1).collect();
            assert_eq!(times, if magic == 0 { [-1, -1] } else { [NOW.0, NOW.0 + 1] });
            // The topic's own codec wins.
            let compression = CompressionRule::Topic(Compression { codec: Codec::Zstd, level: None });
            let batch = validate(&set, &AppendRules { compression, ..AppendRules::default() }).unwrap();
            assert_eq!(batch.header().attributes().codec(), Some(Codec::Zstd));
            assert_eq!(flat(&batch).len(), 2);
        }
    }
}

#[test]
fn each_fault_has_kafkas_error() {
    use RejectionKind::{CorruptMessage, InvalidRecord, InvalidTimestamp, MessageTooLarge, RecordListTooLarge};
    let rules = AppendRules::default();
    let one = set_of(&[plain(1, 0, None, Some(b"a"))]);
    let changed = |at: usize, to: u8| {
        let mut set = one.clone();
        set[at] = to;
        set
    };
    let inner = set_of(&[plain(1, 0, None, Some(b"a")), plain(1, 1, None, Some(b"b"))]);
    let gzip = packed(Codec::Gzip, &inner);
    let good = wrapper(1, Codec::Gzip, 1, Some(&gzip));
    let nested = wrapper(1, Codec::Gzip, 0, Some(&packed(Codec::Gzip, &good)));
    let mut broken_inside = inner.clone();
    *broken_inside.last_mut().unwrap() ^= 1;
    let far = set_of(&[Message { timestamp: NOW + 3_600_001, ..plain(1, 0, None, None) }]);
    let append_time = set_of(&[Message { attributes: 8, timestamp: Timestamp(-1), ..plain(1, 0, None, None) }]);
    for (name, set, kind) in [
        ("checksum", changed(12, one[12] ^ 1), CorruptMessage),
        ("size too small", changed(11, 13), CorruptMessage),
        ("magic 3", changed(16, 3), CorruptMessage),
        ("codec 5", set_of(&[Message { attributes: 5, ..plain(1, 0, None, Some(b"x")) }]), CorruptMessage),
        ("two formats", [&one[..], &set_of(&[plain(0, 0, None, None)])].concat(), InvalidRecord),
        ("a batch behind", [&one[..], builder(&[b"x"]).build().unwrap().bytes()].concat(), InvalidRecord),
        ("wrapper and message", [&good[..], &one].concat(), InvalidRecord),
        ("two wrappers", [&good[..], &good].concat(), InvalidRecord),
        ("null wrapper", wrapper(1, Codec::Gzip, 1, None), InvalidRecord),
        ("empty wrapper", wrapper(1, Codec::Gzip, 1, Some(&packed(Codec::Gzip, b""))), InvalidRecord),
        ("not gzip", wrapper(1, Codec::Gzip, 1, Some(b"abc")), CorruptMessage),
        ("zstd", wrapper(1, Codec::Zstd, 1, Some(&packed(Codec::Zstd, &inner))), InvalidRecord),
        ("nested", nested, InvalidRecord),
        ("inner format", wrapper(0, Codec::Gzip, 1, Some(&gzip)), InvalidRecord),
        ("wrapper offset", set_of(&[Message { attributes: 1, ..plain(1, -5, None, Some(&gzip)) }]), InvalidRecord),
        ("inner checksum", wrapper(1, Codec::Gzip, 1, Some(&packed(Codec::Gzip, &broken_inside))), CorruptMessage),
        ("future", far, InvalidTimestamp),
        ("append time", append_time, InvalidTimestamp),
        ("negative time", set_of(&[Message { timestamp: Timestamp(-5), ..plain(1, 0, None, None) }]), InvalidTimestamp),
    ] {
        assert_eq!(validate(&set, &rules).err(), Some(kind), "{name}");
    }
    assert!(validate(&good, &rules).is_ok());
    // Some librdkafka leave the wrapper's offset at 0.
    assert!(validate(&wrapper(1, Codec::Gzip, 0, Some(&gzip)), &rules).is_ok());

    let small = AppendRules { max_message_bytes: 40, ..rules };
    assert_eq!(validate(&one, &small).err(), Some(MessageTooLarge), "once it is a batch");
    let small = AppendRules { max_message_bytes: 34, ..rules };
    assert_eq!(validate(&one, &small).err(), Some(MessageTooLarge), "as it came");
    let small = AppendRules { segment_bytes: 60, ..rules };
    assert_eq!(validate(&one, &small).err(), Some(RecordListTooLarge));
    let compacted = AppendRules { compacted: true, ..rules };
    assert_eq!(validate(&one, &compacted).err(), Some(InvalidRecord));
    assert!(validate(&set_of(&[plain(1, 0, Some(b"k"), None)]), &compacted).is_ok());
}

#[test]
fn the_rest_of_a_cut_message_is_nothing() {
    let one = set_of(&[plain(0, 0, None, Some(b"a"))]);
    for cut in 0..one.len() {
        assert!(is_empty(&one[..cut]), "{cut} bytes");
        let set = [&one[..], &one[..cut]].concat();
        assert_eq!(validate(&set, &AppendRules::default()).map(|batch| flat(&batch).len()), Ok(1), "{cut} bytes");
    }
    assert!(!is_empty(&one));
}

#[test]
fn a_batch_of_format_2_is_taken_as_it_is() {
    let batch = builder(&[b"a", b"b"]).build().unwrap();
    assert_eq!(validate(batch.bytes(), &AppendRules::default()).map(|batch| flat(&batch).len()), Ok(2));
    let two = [&batch.bytes()[..], batch.bytes()].concat();
    assert_eq!(validate(&two, &AppendRules::default()).err(), Some(RejectionKind::InvalidRecord));
}

#[test]
fn only_what_is_quick_stays_on_the_shard() {
    let rules = AppendRules::default();
    let one = set_of(&[plain(1, 0, None, Some(b"a"))]);
    assert!(is_quick(&one, &rules));
    let compression = CompressionRule::Topic(Compression { codec: Codec::Gzip, level: None });
    assert!(!is_quick(&one, &AppendRules { compression, ..rules }), "it would be compressed");
    assert!(!is_quick(&wrapper(1, Codec::Gzip, 0, Some(&packed(Codec::Gzip, &one))), &rules));
    let large = vec![0; LEGACY_INLINE_BYTES_MAX];
    assert!(!is_quick(&set_of(&[plain(1, 0, None, Some(&large))]), &rules));
}

#[test]
fn the_checksum_of_an_lz4_head_may_be_wrong_in_format_0_only() {
    let rules = AppendRules::default();
    for magic in [0, 1] {
        let inner = set_of(&[plain(magic, 0, None, Some(b"a"))]);
        let right = packed(Codec::Lz4, &inner);
        let mut wrong = right.clone();
        lz4::make_wrong(&mut wrong);
        // From Kafka's own writer: 60 40 is its only head.
        assert_eq!((right[4..7].to_vec(), wrong[4..7].to_vec()), (vec![0x60, 0x40, 0x82], vec![0x60, 0x40, 0x1a]));
        assert!(validate(&wrapper(magic, Codec::Lz4, 0, Some(&right)), &rules).is_ok());
        let taken = validate(&wrapper(magic, Codec::Lz4, 0, Some(&wrong)), &rules);
        assert_eq!(taken.err(), (magic == 1).then_some(RejectionKind::CorruptMessage));
    }
}

// --- Down ----------------------------------------------------------------------------------------------------------

fn builder(values: &[&[u8]]) -> BatchBuilder {
    with_codec(Codec::None, values)
}

fn with_codec(codec: Codec, values: &[&[u8]]) -> BatchBuilder {
    let compression = Compression { codec, level: None };
    let mut builder = BatchBuilder::new(BatchOptions { compression, ..BatchOptions::default() });
    for (value, at) in values.iter().zip(0i64..) {
        let header = Header { key: b"h", value: Some(b"v") };
        builder.append(NOW + (10 - at), Some(b"k"), Some(value), &[header]);
    }
    builder
}

fn at(offset: i64, builder: BatchBuilder) -> Batch {
    builder.build().unwrap().stamped(Offset(offset), LeaderEpoch(1))
}

fn run_of(batches: &[Batch]) -> Bytes {
    Bytes::from(batches.iter().flat_map(|batch| batch.bytes().to_vec()).collect::<Vec<u8>>())
}

fn down(batches: &[Batch], format: Format, from: i64, bytes_max: usize) -> Converted {
    down_convert(&run_of(batches), format, Offset(from), bytes_max).unwrap()
}

/// Offset, timestamp, attributes and value of each message, wrappers opened as a client opens them.
fn read(set: &[u8]) -> Vec<(i64, i64, u8, Vec<u8>)> {
    let mut read = Vec::new();
    for message in MessageSet::new(set) {
        let message = message.unwrap();
        if !message.is_wrapper() {
            let value = message.value.unwrap().to_vec();
            read.push((message.offset.0, message.timestamp.0, message.attributes, value));
            continue;
        }
        assert_eq!(message.key, None);
        let opened = decompress(message.codec().unwrap(), message.value.unwrap(), 1 << 20).unwrap();
        let inner: Vec<_> = Entries::of_wrapper(&opened).map(|entry| entry.unwrap().checked().unwrap()).collect();
        let last = inner.last().unwrap().offset.0;
        let shift = if message.magic == 0 { 0 } else { message.offset.0 - last };
        assert_eq!(last + shift, message.offset.0, "a wrapper has the offset of its last message");
        read.extend(inner.iter().map(|inner| {
            assert_eq!(inner.magic, message.magic);
            (inner.offset.0 + shift, inner.timestamp.0, inner.attributes, inner.value.unwrap().to_vec())
        }));
    }
    read
}

#[test]
fn plain_batches_become_messages_from_the_wanted_offset_on() {
    let batches = [at(5, builder(&[b"a", b"b", b"c"])), at(8, builder(&[b"d"]))];
    let all = down(&batches, Format::V1, 6, 10_000);
    let expected = [(6, 9, b"b"), (7, 8, b"c"), (8, 10, b"d")];
    let expected: Vec<_> = expected.iter().map(|(offset, at, v)| (*offset, NOW.0 + at, 0, v.to_vec())).collect();
    assert_eq!(read(&all.messages), expected);
    assert_eq!(all.next, Some(Offset(9)));
    let all = down(&batches, Format::V0, 0, 10_000);
    assert_eq!(
        read(&all.messages).iter().map(|m| (m.0, m.1)).collect::<Vec<_>>(),
        [(5, -1), (6, -1), (7, -1), (8, -1)]
    );
}

#[test]
fn compressed_batches_stay_compressed_and_whole() {
    for codec in OLD_CODECS {
        let batch = at(5, with_codec(codec, &[b"a", b"b", b"c"]));
        for format in [Format::V0, Format::V1] {
            let converted = down(std::slice::from_ref(&batch), format, 6, 0);
            assert_eq!(MessageSet::new(&converted.messages).count(), 1);
            let wrapper = MessageSet::new(&converted.messages).next().unwrap().unwrap();
            // Readers of format 0 disagree about LZ4, and all open gzip.
            let expected = if format == Format::V0 && codec == Codec::Lz4 { Codec::Gzip } else { codec };
            assert_eq!((wrapper.codec(), wrapper.offset), (Ok(expected), Offset(7)));
            let times: Vec<_> = read(&converted.messages).iter().map(|m| (m.0, m.1)).collect();
            if format == Format::V0 {
                assert_eq!(times, [(5, -1), (6, -1), (7, -1)]);
            } else {
                assert_eq!(times, [(5, NOW.0 + 10), (6, NOW.0 + 9), (7, NOW.0 + 8)]);
                assert_eq!(wrapper.timestamp, NOW + 10, "the largest");
            }
        }
    }
}

#[test]
fn the_append_time_is_told_in_format_1() {
    for codec in [Codec::None, Codec::Gzip] {
        let batch = at(5, with_codec(codec, &[b"a", b"b"]).log_append_time(NOW + 77));
        let v1 = down(std::slice::from_ref(&batch), Format::V1, 0, 10_000);
        assert!(read(&v1.messages).iter().all(|m| m.1 == NOW.0 + 77 && m.2 == 8));
        let outer = MessageSet::new(&v1.messages).next().unwrap().unwrap();
        assert_eq!((outer.timestamp, outer.timestamp_type()), (NOW + 77, TimestampType::LogAppendTime));
        let v0 = down(std::slice::from_ref(&batch), Format::V0, 0, 10_000);
        assert!(read(&v0.messages).iter().all(|m| m.1 == -1 && m.2 == 0));
    }
}

#[test]
fn the_first_batch_is_whole_and_others_fit() {
    let batches = [at(0, builder(&[b"a", b"b"])), at(2, builder(&[b"c"])), at(3, builder(&[b"d"]))];
    let each = 12 + 22 + 2;
    for (bytes_max, offsets) in [(0, 2), (2 * each, 2), (3 * each - 1, 2), (3 * each, 3), (4 * each, 4)] {
        let converted = down(&batches, Format::V1, 0, bytes_max);
        assert_eq!(read(&converted.messages).len(), offsets, "{bytes_max}");
        assert_eq!(converted.next, Some(Offset(i64::try_from(offsets).unwrap())));
    }
}

#[test]
fn control_batches_are_left_out_and_the_reader_gets_on() {
    let mut control = BatchBuilder::new(BatchOptions { control: true, ..BatchOptions::default() });
    control.append(NOW, Some(&[0, 0, 0, 1]), Some(&[0; 6]), &[]);
    let control = at(5, control);
    let alone = down(std::slice::from_ref(&control), Format::V1, 5, 100);
    assert_eq!(alone, Converted { messages: vec![], next: Some(Offset(6)) });
    let more = down(&[control, at(6, builder(&[b"a"]))], Format::V1, 5, 0);
    assert_eq!(read(&more.messages).iter().map(|m| m.0).collect::<Vec<_>>(), [6]);
}

#[test]
fn what_cannot_be_converted_ends_the_messages_or_is_an_error() {
    let zstd = at(5, with_codec(Codec::Zstd, &[b"a"]));
    let plain = at(4, builder(&[b"b"]));
    let error = |batches: &[Batch]| down_convert(&run_of(batches), Format::V1, Offset(0), 10_000);
    assert_eq!(error(std::slice::from_ref(&zstd)), Err(ConversionError::UnknownToOldFormats));
    let before = error(&[plain.clone(), zstd]).unwrap();
    assert_eq!((read(&before.messages).len(), before.next), (1, Some(Offset(5))));
    let mut cut = run_of(&[plain.clone(), at(5, builder(&[b"c"]))]).to_vec();
    cut.pop();
    let before = down_convert(&Bytes::from(cut), Format::V0, Offset(0), 10_000).unwrap();
    assert_eq!(read(&before.messages).len(), 1);
    let nothing = down_convert(&Bytes::new(), Format::V0, Offset(0), 10_000);
    assert_eq!(nothing, Ok(Converted::default()));
}

#[test]
fn what_was_converted_down_can_be_converted_up() {
    for codec in [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4] {
        for format in [Format::V0, Format::V1] {
            let batch = at(5, with_codec(codec, &[b"a", b"b", b"c"]));
            let converted = down(std::slice::from_ref(&batch), format, 0, 10_000);
            let again = validate(&converted.messages, &AppendRules::default()).unwrap();
            let values = |batch: &Batch| flat(batch).into_iter().map(|(_, _, k, v)| (k, v)).collect::<Vec<_>>();
            assert_eq!(values(&again), values(&batch));
        }
    }
}
