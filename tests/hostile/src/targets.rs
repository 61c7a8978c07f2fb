//! The fuzz targets: everything that reads bytes from a socket, from a disk after a crash, or from a user's file.

use bytes::{Bytes, BytesMut};
use corelane_core::base::{LeaderEpoch, NodeId, Offset, Timestamp, Uuid};
use corelane_core::config::{BrokerConfig, parse_override, parse_properties, validate_topic_config};
use corelane_core::log::fuzz::fuzz_recovery;
use corelane_core::metadata::{
    Endpoint, MetadataLog, NewTopic, NodeIdentity, QuorumState, RecoveredMetadata, Replay, StartingBroker,
    TopicDefaults, VoterEndpoint, bootstrap_checkpoint, create_topics, decode_record, encode_record, encode_snapshot,
};
use corelane_core::protocol::ApiKey;
use corelane_core::protocol::Message;
use corelane_core::protocol::messages::RequestHeader;
use corelane_core::protocol::wire::{Frame, KafkaString, Reader, Writer, next_frame};
use corelane_core::record::fuzz::{fuzz_batch_validation, fuzz_down_conversion, fuzz_legacy_produce};
use corelane_core::record::{BatchHeader, header::HEADER_BYTES};
use corelane_core::test_support::{random_batch, random_message_set, random_options, with_producer};

use crate::fuzz::Target;
use crate::requests;

/// Frames off a stream that comes in pieces of the size of the first byte.
#[must_use]
pub fn framing() -> Target {
    Target {
        name: "framing".into(),
        call: Box::new(split_frames),
        sample: Box::new(|random| {
            let mut stream = vec![random.next_u64().to_le_bytes()[0]];
            for _ in 0..random.below(6) {
                let frame = random.bytes(300);
                stream.extend_from_slice(&u32::try_from(frame.len()).expect("is short").to_be_bytes());
                stream.extend_from_slice(&frame);
            }
            stream
        }),
        cases: 20_000,
        // The stream itself, and the buffer that grows by doubling.
        memory_per_byte_max: 4,
        memory_bytes_max: 512,
    }
}

/// Largest frame of [`framing`].
const FRAME_BYTES_MAX: usize = 1_000;

fn split_frames(data: &[u8]) {
    let Some((&piece, stream)) = data.split_first() else { return };
    let mut buffer = BytesMut::new();
    let mut taken = 0;
    for piece in stream.chunks(usize::from(piece).max(1)) {
        buffer.extend_from_slice(piece);
        loop {
            match next_frame(&mut buffer, FRAME_BYTES_MAX) {
                Ok(Frame::Complete(frame)) => {
                    assert!(frame.len() <= FRAME_BYTES_MAX);
                    let body = &stream[taken + 4..taken + 4 + frame.len()];
                    assert_eq!(frame, body, "a frame is the bytes behind its length");
                    taken += 4 + frame.len();
                }
                Ok(Frame::Incomplete { missing_bytes }) => {
                    assert!((1..=FRAME_BYTES_MAX).contains(&missing_bytes));
                    break;
                }
                Err(_) => return,
            }
        }
    }
}

/// The header of any request: the version of the header follows from the first four bytes.
#[must_use]
pub fn request_header() -> Target {
    Target {
        name: "request header".into(),
        call: Box::new(|data| {
            let frame = Bytes::copy_from_slice(data);
            let mut peek = Reader::new(frame.clone());
            let (Ok(number), Ok(version)) = (peek.field("key").i16(), peek.field("version").i16()) else { return };
            let Some(key) = ApiKey::from_i16(number) else { return };
            let _ = RequestHeader::decode(&mut Reader::new(frame), key.request_header_version(version));
        }),
        sample: Box::new(|random| {
            let key = *random.pick(ApiKey::ALL);
            let version = i16::try_from(random.below(14)).expect("is small");
            let client_id: Option<KafkaString> =
                random.nullable_bytes(40).map(|id| String::from_utf8(id).expect("letters").into());
            let header = RequestHeader {
                request_api_key: key as i16,
                request_api_version: version,
                correlation_id: 7,
                client_id,
            };
            let mut writer = Writer::new();
            header.encode(&mut writer, key.request_header_version(version)).expect("is one");
            writer.into_bytes().to_vec()
        }),
        cases: 20_000,
        memory_per_byte_max: 40,
        memory_bytes_max: 1024,
    }
}

/// The body of one request in one version.
#[must_use]
pub fn request(key: ApiKey, version: i16) -> Target {
    Target {
        name: format!("{} request, version {version}", key.name()),
        call: Box::new(move |data| drop(requests::decode(key, version, Bytes::copy_from_slice(data)))),
        sample: Box::new(move |random| requests::sample(key, version, random).to_vec()),
        cases: 400,
        // An empty compact string is one byte on the wire and four words in memory.
        memory_per_byte_max: 40,
        memory_bytes_max: 1024,
    }
}

/// What one partition is sent by a producer.
#[must_use]
pub fn batch_validation() -> Target {
    Target {
        name: "batch validation".into(),
        call: Box::new(fuzz_batch_validation),
        sample: Box::new(|random| {
            let options = random_options(random, Offset(0));
            let batch = random_batch(random, options, 5, Timestamp(1_700_000_000_000));
            // The upper bit has the target put the checksum right, so that what lies behind it is reached.
            let mut data = vec![random.next_u64().to_le_bytes()[0] | if random.once_in(4) { 0 } else { 0x80 }];
            data.extend_from_slice(batch.bytes());
            data
        }),
        cases: 4_000,
        memory_per_byte_max: 64,
        // Compressed data opens to as much as the target allows, and codecs have tables of a fixed size.
        memory_bytes_max: 6 * 1024 * 1024,
    }
}

/// What one partition is sent by a producer from before Kafka 0.11.
#[must_use]
pub fn legacy_produce() -> Target {
    Target {
        name: "legacy produce".into(),
        call: Box::new(fuzz_legacy_produce),
        sample: Box::new(|random| {
            // The upper bit has the target put the checksums right.
            let mut data = vec![random.next_u64().to_le_bytes()[0] | if random.once_in(4) { 0 } else { 0x80 }];
            data.extend_from_slice(&random_message_set(random));
            data
        }),
        cases: 4_000,
        memory_per_byte_max: 64,
        // As for batches.
        memory_bytes_max: 6 * 1024 * 1024,
    }
}

/// A piece of a segment on its way to a consumer from before Kafka 0.11.
#[must_use]
pub fn down_conversion() -> Target {
    Target {
        name: "down-conversion".into(),
        call: Box::new(fuzz_down_conversion),
        sample: Box::new(|random| {
            let mut data = vec![random.next_u64().to_le_bytes()[0]];
            for _ in 0..=random.below(3) {
                let mut options = random_options(random, Offset(0));
                options.control = random.once_in(8);
                data.extend_from_slice(random_batch(random, options, 5, Timestamp(1_700_000_000_000)).bytes());
            }
            data
        }),
        cases: 4_000,
        memory_per_byte_max: 64,
        memory_bytes_max: 6 * 1024 * 1024,
    }
}

/// A segment and its index files after a crash.
#[must_use]
pub fn segment_recovery() -> Target {
    Target {
        name: "segment recovery".into(),
        call: Box::new(fuzz_recovery),
        sample: Box::new(|random| {
            let index_bytes = u8::try_from(random.below(40)).expect("is small");
            let mut data = vec![index_bytes, random.next_u64().to_le_bytes()[0]];
            data.extend((0..index_bytes).map(|_| *random.pick(&[0, 1, 80, 200, 255])));
            let mut next = Offset(0);
            for sequence in 0..i32::try_from(random.below(6)).expect("is small") {
                let options = with_producer(random_options(random, next), 1, 0, sequence);
                let batch = random_batch(random, options, 4, Timestamp(1_000)).stamped(next, LeaderEpoch(2));
                next = batch.header().last_offset().plus(1);
                data.extend_from_slice(batch.bytes());
            }
            data
        }),
        cases: 4_000,
        memory_per_byte_max: 40,
        memory_bytes_max: 32 * 1024,
    }
}

/// Name of a metadata snapshot, as the target is told it.
const SNAPSHOT: &str = "00000000000000000005-0000000001.checkpoint";

/// The metadata log, or a snapshot of it, after a crash. The first byte says which, and whether the checksums are made
/// right first, so that what lies behind them is reached.
#[must_use]
pub fn metadata_replay() -> Target {
    let snapshot = metadata().1;
    Target {
        name: "metadata replay".into(),
        call: Box::new(replay_metadata),
        sample: Box::new(move |random| {
            let mut data = vec![random.next_u64().to_le_bytes()[0]];
            match random.below(4) {
                0 => data.extend_from_slice(&snapshot),
                1 => data.extend_from_slice(&bootstrap_checkpoint(Timestamp(5)).expect("can be built")),
                _ => data.extend_from_slice(&metadata().0),
            }
            data
        }),
        cases: 3_000,
        memory_per_byte_max: 64,
        memory_bytes_max: 256 * 1024,
    }
}

fn replay_metadata(data: &[u8]) {
    let Some((&choice, rest)) = data.split_first() else { return };
    let mut bytes = rest.to_vec();
    if choice & 1 == 0 {
        make_checksums_right(&mut bytes);
    }
    let bytes = Bytes::from(bytes);
    let mut replay = Replay::new();
    if choice & 2 == 0 && replay.snapshot(SNAPSHOT, bytes.clone()).is_ok() {
        assert!(!bytes.is_empty(), "an empty file is no snapshot");
    }
    let mut replay = Replay::new();
    if let Ok(end) = replay.segment("00000000000000000000.log", bytes.clone(), choice & 4 == 0) {
        assert!(end.good_end.0 <= bytes.len() as u64);
        let _ = replay.finish();
    }
    // One record by itself, and the text beside the log.
    if let Ok(record) = decode_record(bytes.clone()) {
        let _ = encode_record(&record);
    }
    let _ = QuorumState::parse(&String::from_utf8_lossy(&bytes));
}

fn make_checksums_right(mut run: &mut [u8]) {
    while let Some(mut header) = BatchHeader::parse(run) {
        let Some(size) = header.batch_bytes().filter(|size| (HEADER_BYTES..=run.len()).contains(size)) else { return };
        let (batch, rest) = std::mem::take(&mut run).split_at_mut(size);
        header.set_crc(crc32c::crc32c_append(header.covered_crc(), &batch[HEADER_BYTES..]));
        batch[..HEADER_BYTES].copy_from_slice(header.bytes());
        run = rest;
    }
}

/// The log of a young cluster with a topic, and its snapshot.
fn metadata() -> (Vec<u8>, Vec<u8>) {
    let controller = VoterEndpoint { listener: "CONTROLLER".into(), host: "localhost".into(), port: 9093 };
    let node = NodeIdentity { id: NodeId(1), directory_id: Uuid([7; 16]), controller };
    let (mut log, _) =
        MetadataLog::lead(RecoveredMetadata::default(), None, node, Timestamp(1)).expect("an empty log is anybody's");
    let broker = StartingBroker {
        id: NodeId(1),
        incarnation_id: Uuid([3; 16]),
        endpoints: vec![Endpoint { name: "PLAINTEXT".into(), host: "host".into(), port: 9092, security_protocol: 0 }],
        rack: None,
        directory_id: Uuid([7; 16]),
        cleanly_stopped: None,
    };
    log.start_broker(&broker, Timestamp(2)).expect("there is room");
    let mut bytes = Vec::new();
    let mut write = |log: &mut MetadataLog| {
        while let Some(append) = log.next_append().expect("can be built") {
            bytes.extend_from_slice(&append.bytes);
            log.synced();
        }
    };
    write(&mut log);
    let topic = NewTopic {
        name: "topic",
        partition_count: 3,
        replication_factor: 1,
        configs: vec![("flush.messages", Some("1"))],
        ..Default::default()
    };
    let defaults = TopicDefaults { partition_count: 1, replication_factor: 1 };
    let created = create_topics(log.proposed(), &[topic], false, defaults, &|_| Ok(()), &mut || 5);
    log.propose(&created.records, Timestamp(3)).expect("there is room");
    write(&mut log);
    let snapshot = encode_snapshot(log.durable(), log.voters(), Timestamp(4)).expect("can be built");
    (bytes, snapshot.concat())
}

/// A `server.properties`, and what it asks for.
#[must_use]
pub fn properties() -> Target {
    Target {
        name: "properties".into(),
        call: Box::new(|data| {
            let text = String::from_utf8_lossy(data);
            if let Ok(settings) = parse_properties("server.properties", &text) {
                let _ = BrokerConfig::from_settings(&settings).map(drop);
                for setting in &settings {
                    let _ = validate_topic_config(&setting.name, &setting.value);
                }
            }
            let _ = parse_override(&text);
        }),
        sample: Box::new(|random| {
            let mut text = String::new();
            for _ in 0..random.below(5) {
                let line: &str = PROPERTIES[random.below(PROPERTIES.len())];
                text.push_str(line);
            }
            text.into_bytes()
        }),
        cases: 500,
        // A one-letter name is a setting with its place, and where it is unknown an error with its text.
        memory_per_byte_max: 500,
        memory_bytes_max: 64 * 1024,
    }
}

const PROPERTIES: &[&str] = &[
    "# a comment\n",
    "listeners=PLAINTEXT://localhost:9092\n",
    "listeners = A://[::1]:0,\\\n  B://:9093\nlistener.security.protocol.map=A:PLAINTEXT,B:PLAINTEXT\n",
    "advertised.listeners=PLAINTEXT://broker.example:9092\n",
    "node.id : 7\n",
    "log.dirs /data\n",
    "log.segment.bytes=1048576\n",
    "log.retention.hours=168\n",
    "num.partitions=\\u0033\n",
    "unclean.leader.election.enable=false\n",
    "flush.messages=1\n",
    "compression.type=zstd\n",
    "!another = comment\r\n",
    "name\\=with\\ escapes = \\t value \\\n   goes on\n",
];

/// All targets.
#[must_use]
pub fn all() -> Vec<Target> {
    let mut targets = vec![framing(), request_header(), batch_validation(), legacy_produce(), down_conversion()];
    targets.extend([segment_recovery(), metadata_replay(), properties()]);
    targets.extend(requests::parsed().map(|(key, version)| request(key, version)));
    targets
}
