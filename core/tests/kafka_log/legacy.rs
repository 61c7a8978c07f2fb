//! Message formats 0 and 1, both ways, as the last Kafka that knew them has it.

use std::collections::BTreeSet;

use bytes::Bytes;
use corelane_core::base::{LeaderEpoch, Offset, Timestamp};
use corelane_core::record::fuzz::make_message_checksums_right;
use corelane_core::record::header::TimestampType;
use corelane_core::record::legacy::up::{is_empty, validate_legacy_produce};
use corelane_core::record::legacy::{Format, Message, MessageSet, down_convert};
use corelane_core::record::{
    AppendRules, Batch, BatchBuilder, BatchOptions, Codec, Compression, CompressionRule, codec,
};
use corelane_core::test_support::{CODECS, Random, random_batch, random_message_set, random_options};

use crate::judge::{LegacyJudge, Verdict};
use crate::our_log::Rules;
use crate::verdicts::configs;

const NOW: Timestamp = Timestamp(1_700_000_000_000);
/// What Kafka answers where it did not think of a case: UNKNOWN_SERVER_ERROR.
const UNEXPECTED: i16 = -1;

/// The configs of a topic, under the names of 3.9.
fn old_configs(append: AppendRules) -> Vec<(&'static str, String)> {
    let mut configs = configs(&Rules { append, ..Rules::default() });
    for (name, _) in &mut configs {
        if *name == "internal.segment.bytes" {
            *name = "segment.bytes";
        }
    }
    configs
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
        ("small messages", AppendRules { max_message_bytes: 90, ..defaults }),
        ("small segments", AppendRules { segment_bytes: 90, ..defaults }),
        ("to zstd", AppendRules { compression: topic(Codec::Zstd), ..defaults }),
        ("to uncompressed", AppendRules { compression: topic(Codec::None), ..defaults }),
    ]
}

/// What we store or answer, in Kafka's words; `base` is where the log ends.
fn ours(set: &[u8], rules: &AppendRules, base: i64) -> Verdict {
    let set = Bytes::copy_from_slice(set);
    match validate_legacy_produce(&set, rules, NOW) {
        // The server answers a set without a message as Kafka does.
        Err(_) if is_empty(&set) => Verdict::Bytes(-1, Vec::new()),
        Err(rejection) => Verdict::Refused(rejection.kind.code()),
        Ok(valid) => {
            let append_time = (rules.timestamp_type == TimestampType::LogAppendTime).then_some(NOW);
            Verdict::Bytes(base, valid.stamp(Offset(base), LeaderEpoch(0), append_time).concat())
        }
    }
}

/// Whether two stored batches say the same; compressed bytes differ from writer to writer.
fn same_batch(ours: &[u8], theirs: &[u8]) -> bool {
    let whole = |bytes: &[u8]| Batch::split_from(&mut Bytes::copy_from_slice(bytes)).ok();
    match (whole(ours), whole(theirs)) {
        (None, None) => true,
        (Some(ours), Some(theirs)) => {
            let payload = |batch: &Batch| batch.open(1 << 24).expect("what is stored opens");
            let head = |batch: &Batch| {
                let header = batch.header();
                let times = (header.base_timestamp(), header.max_timestamp());
                (header.base_offset(), header.attributes(), header.record_count(), header.producer_id(), times)
            };
            head(&ours) == head(&theirs) && payload(&ours) == payload(&theirs) && ours.is_crc_valid()
        }
        _ => false,
    }
}

fn set_of(messages: &[Message<'_>]) -> Vec<u8> {
    let mut set = Vec::new();
    for message in messages {
        assert!(message.write_to(&mut set));
    }
    set
}

fn message<'a>(magic: u8, at: i64, attributes: u8, key: Option<&'a [u8]>, value: Option<&'a [u8]>) -> Message<'a> {
    let timestamp = if magic == 0 { Timestamp(-1) } else { Timestamp(at) };
    Message { offset: Offset(-1), magic, attributes, timestamp, key, value }
}

fn packed(codec: Codec, set: &[u8]) -> Vec<u8> {
    codec::compress(Compression { codec, level: None }, set).expect("can be compressed")
}

/// Sets that break one rule each, and some that do not.
fn cases() -> Vec<(String, Vec<u8>)> {
    let mut cases = Vec::new();
    for magic in [0, 1] {
        let plain = |at, key, value| message(magic, at, 0, key, value);
        let two = set_of(&[plain(NOW.0, Some(b"a"), Some(b"x")), plain(NOW.0 + 1, None, None)]);
        let set = |at: usize, to: u8| {
            let mut changed = two.clone();
            changed[at] = to;
            changed
        };
        let right = |mut set: Vec<u8>| {
            make_message_checksums_right(&mut set);
            set
        };
        let attributes = |attributes| set_of(&[message(magic, NOW.0, attributes, Some(b"a"), Some(b"x"))]);
        let timestamp = |at| set_of(&[plain(NOW.0, None, None), plain(at, None, None)]);
        let followed_by = |tail: &[u8]| [&two[..], tail].concat();
        let mut named: Vec<(String, Vec<u8>)> = [
            ("good", two.clone()),
            ("empty", vec![]),
            ("five bytes", two[..5].to_vec()),
            ("cut in the first", two[..20].to_vec()),
            ("cut in the second", two[..two.len() - 1].to_vec()),
            ("trailing zeros", followed_by(&[0; 30])),
            ("trailing prefix", followed_by(&two[..14])),
            ("magic 3", set(16, 3)),
            ("magic 255", set(16, 255)),
            ("checksum", set(12, two[12] ^ 1)),
            ("size 13", set(11, 13)),
            ("negative size", set(8, 0xff)),
            ("null key by any number", right(set(if magic == 0 { 18 } else { 26 }, 0x80))),
            ("key too long", right(set(if magic == 0 { 20 } else { 28 }, 1))),
            ("other format behind", followed_by(&set_of(&[message(1 - magic, NOW.0, 0, None, None)]))),
            ("append time", attributes(8)),
            ("unused attributes", attributes(0xf0)),
            ("codec 5", attributes(5)),
            ("far ahead", timestamp(NOW.0 + 3_600_001)),
            ("nearly ahead", timestamp(NOW.0 + 3_600_000)),
            ("long ago", timestamp(5)),
            ("no time", timestamp(-1)),
            ("negative time", timestamp(-2)),
            ("append time without time", set_of(&[message(magic, -1, 8, Some(b"a"), None)])),
        ]
        .into_iter()
        .map(|(name, set)| (name.to_owned(), set))
        .collect();
        for codec in CODECS.into_iter().filter(|codec| *codec != Codec::None) {
            named.extend(wrapped(magic, codec));
        }
        cases.extend(named.into_iter().map(|(name, set)| (format!("{name}, format {magic}"), set)));
    }
    let batch = |codec| {
        let mut batch = BatchBuilder::new(BatchOptions {
            compression: Compression { codec, level: None },
            ..BatchOptions::default()
        });
        batch.append(NOW, Some(b"k"), Some(b"value"), &[]);
        batch.build().expect("a small batch").bytes().to_vec()
    };
    cases.extend(CODECS.map(|codec| (format!("a batch, {}", codec.name()), batch(codec))));
    cases.push(("two batches".to_owned(), [batch(Codec::None), batch(Codec::None)].concat()));
    cases.push((
        "a batch behind a message".to_owned(),
        [set_of(&[message(1, NOW.0, 0, Some(b"a"), None)]), batch(Codec::None)].concat(),
    ));
    cases
}

fn wrapped(magic: u8, codec: Codec) -> Vec<(String, Vec<u8>)> {
    let [_, id] = codec.id().to_be_bytes();
    let inner_at = |offset, at, attributes, key| Message {
        offset: Offset(offset),
        ..message(magic, at, attributes, key, Some(b"inner value, inner value"))
    };
    let inner = set_of(&[inner_at(0, NOW.0, 0, Some(b"k")), inner_at(1, NOW.0 + 1, 0, Some(b"k"))]);
    let around_with = |offset, at, attributes, value: Option<&[u8]>| {
        set_of(&[Message { offset: Offset(offset), ..message(magic, at, attributes | id, None, value) }])
    };
    let around = |inner: &[u8]| around_with(1, NOW.0 + 1, 0, Some(&packed(codec, inner)));
    let good = around(&inner);
    let other_format = set_of(&[Message { offset: Offset(0), ..message(1 - magic, NOW.0, 0, Some(b"k"), None) }]);
    let changed = |at: usize, to: u8| {
        let mut changed = inner.clone();
        changed[at] = to;
        changed
    };
    let named = [
        ("good", good.clone()),
        ("offset 0", around_with(0, NOW.0, 0, Some(&packed(codec, &inner)))),
        ("offset below", around_with(-5, NOW.0, 0, Some(&packed(codec, &inner)))),
        ("offset above", around_with(77, NOW.0, 0, Some(&packed(codec, &inner)))),
        ("null", around_with(1, NOW.0, 0, None)),
        ("empty", around(b"")),
        ("not compressed", around_with(1, NOW.0, 0, Some(b"not compressed at all"))),
        ("cut inside", around(&inner[..inner.len() - 1])),
        ("less than one inside", around(&inner[..20])),
        ("nested", around(&good)),
        ("twice", [&good[..], &good].concat()),
        ("with a message", [&good[..], &set_of(&[message(magic, NOW.0, 0, Some(b"a"), None)])].concat()),
        ("other format inside", around(&other_format)),
        ("inner magic 7", around(&changed(16, 7))),
        ("inner checksum", around(&changed(12, inner[12] ^ 1))),
        ("inner size 13", around(&changed(11, 13))),
        ("append time", around_with(1, NOW.0 + 7, 8, Some(&packed(codec, &inner)))),
        ("append time without time", around_with(1, -1, 8, Some(&packed(codec, &inner)))),
        ("inner append time", around(&set_of(&[inner_at(0, NOW.0, 8, Some(b"k"))]))),
        ("inner far ahead", around(&set_of(&[inner_at(0, NOW.0 + 3_600_001, 0, Some(b"k"))]))),
        ("inner negative time", around(&set_of(&[inner_at(0, -3, 0, Some(b"k"))]))),
        ("gaps", around(&set_of(&[inner_at(4, NOW.0, 0, Some(b"k")), inner_at(2, NOW.0, 0, Some(b"k"))]))),
        ("null key first", around(&set_of(&[inner_at(0, NOW.0, 0, None), inner_at(1, NOW.0, 0, Some(b"k"))]))),
    ];
    named.into_iter().map(|(name, set)| (format!("{name}, {}", codec.name()), set)).collect()
}

/// Where Kafka did not think of a case and answers UNKNOWN_SERVER_ERROR, we say what is wrong.
fn says_more(ours: &Verdict, theirs: &Verdict) -> bool {
    *theirs == Verdict::Refused(UNEXPECTED) && matches!(ours, Verdict::Refused(2 | 32 | 87))
}

#[test]
fn each_set_is_stored_or_refused_as_by_kafka() {
    let Some(mut judge) = LegacyJudge::start("legacy-up") else { return };
    let (mut differences, mut compared, mut more) = (Vec::new(), 0, BTreeSet::new());
    for (number, (rules_name, rules)) in rule_sets().into_iter().enumerate() {
        judge.open(&format!("rules-{number}"), &old_configs(rules));
        for (name, set) in cases() {
            let theirs = judge.append(NOW, &set);
            let base = if let Verdict::Bytes(base, _) = &theirs { *base } else { 0 };
            let ours = ours(&set, &rules, base);
            compared += 1;
            let same = match (&ours, &theirs) {
                (Verdict::Bytes(a, ours), Verdict::Bytes(b, theirs)) => a == b && same_batch(ours, theirs),
                (ours, theirs) => ours == theirs,
            };
            if says_more(&ours, &theirs) {
                more.insert(name);
            } else if !same {
                differences.push(format!("{name}; {rules_name}: we {ours:?}, Kafka {theirs:?}"));
            }
        }
    }
    assert!(compared > 1_500, "{compared} verdicts");
    assert!(more.len() < 40, "{more:?}");
    assert!(differences.is_empty(), "{} of {compared} differ:\n{}", differences.len(), differences.join("\n"));
}

#[test]
fn damaged_sets_are_judged_as_kafka_judges_them() {
    let Some(mut judge) = LegacyJudge::start("legacy-damaged") else { return };
    let rules = AppendRules { segment_bytes: 1_000_000, ..AppendRules::default() };
    judge.open("damaged", &old_configs(rules));
    let (mut differences, mut refused, mut stored, mut stricter) = (Vec::new(), 0, 0, 0);
    for seed in 0..4_000 {
        let mut random = Random::new(seed);
        let mut set = random_message_set(&mut random);
        random.mutate(&mut set);
        make_message_checksums_right(&mut set);
        let theirs = judge.append(NOW, &set);
        let base = if let Verdict::Bytes(base, _) = &theirs { *base } else { 0 };
        let ours = ours(&set, &rules, base);
        let same = match (&ours, &theirs) {
            (Verdict::Bytes(a, ours), Verdict::Bytes(b, theirs)) => a == b && same_batch(ours, theirs),
            (ours, theirs) => ours == theirs || says_more(ours, theirs),
        };
        match theirs {
            Verdict::Bytes(..) => stored += 1,
            Verdict::Refused(_) => refused += 1,
        }
        if let (Verdict::Refused(2), Verdict::Bytes(..)) = (&ours, &theirs)
            && has_wrapper(&set)
        {
            // What stands behind the end of a compressed stream is damage to us and nothing to Java's readers.
            stricter += 1;
        } else if !same {
            let hex: String = set.iter().map(|byte| format!("{byte:02x}")).collect();
            differences.push(format!("seed {seed}: we {ours:?}, Kafka {theirs:?}: {hex}"));
        }
    }
    assert!(refused > 500 && stored > 500 && stricter < 5, "{refused} refused, {stored} stored, {stricter} stricter");
    let shown = differences.iter().take(12).map(String::as_str).collect::<Vec<_>>().join("\n");
    assert!(differences.is_empty(), "{} differ:\n{shown}", differences.len());
}

#[test]
fn what_kafkas_old_writer_sends_is_stored_as_kafka_stores_it() {
    let Some(mut judge) = LegacyJudge::start("legacy-written") else { return };
    let rules = AppendRules::default();
    judge.open("written", &old_configs(rules));
    for seed in 0..400 {
        let mut random = Random::new(seed);
        let magic = u8::from(random.once_in(2));
        let codec = *random.pick(&["none", "gzip", "snappy", "lz4"]);
        // Enough for several blocks of each codec now and then.
        let bytes_max = if random.once_in(10) { 60_000 } else { 100 };
        let record = |random: &mut Random| {
            let at = NOW.0 + i64::try_from(random.below(1_000)).expect("is small");
            (at, random.nullable_bytes(20), random.nullable_bytes(bytes_max))
        };
        let records: Vec<_> = (0..=random.below(6)).map(|_| record(&mut random)).collect();
        let set = judge.write(magic, codec, &records);
        let Verdict::Bytes(base, theirs) = judge.append(NOW, &set) else { panic!("Kafka refuses its own") };
        let Verdict::Bytes(_, ours) = ours(&set, &rules, base) else { panic!("seed {seed}: we refuse {codec}") };
        assert!(same_batch(&ours, &theirs), "seed {seed}, {codec}, format {magic}");
    }
}

#[test]
fn batches_become_the_messages_that_kafka_makes_of_them() {
    let Some(mut judge) = LegacyJudge::start("legacy-down") else { return };
    for seed in 0..1_500 {
        let mut random = Random::new(seed);
        let (mut run, mut next) = (Vec::new(), Offset(i64::try_from(random.below(5)).expect("is small")));
        for _ in 0..=random.below(3) {
            let mut options = random_options(&mut random, next);
            if options.compression.codec == Codec::Zstd && !random.once_in(8) {
                options.compression.codec = Codec::Lz4;
            }
            options.control = random.once_in(8);
            let now = if random.once_in(9) { Timestamp(-1) } else { NOW };
            let batch = if options.control { control(options) } else { random_batch(&mut random, options, 4, now) };
            let batch = if random.once_in(4) { appended_at(&batch, NOW + 99) } else { batch };
            let batch = batch.stamped(next, LeaderEpoch(3));
            next = batch.header().last_offset().plus(1 + i64::try_from(random.below(2)).expect("is small"));
            run.extend_from_slice(batch.bytes());
        }
        let from = Offset(i64::try_from(random.below(12)).expect("is small"));
        for (magic, format) in [(0, Format::V0), (1, Format::V1)] {
            let theirs = judge.down(magic, from, &run);
            let ours = down_convert(&Bytes::copy_from_slice(&run), format, from, usize::MAX);
            match (&theirs, &ours) {
                (Verdict::Bytes(_, theirs), Ok(ours)) => {
                    assert_eq!(judge.read(&ours.messages), judge.read(theirs), "seed {seed}, format {magic}");
                    if ours.messages.len() == theirs.len() && !has_wrapper(theirs) {
                        assert_eq!(ours.messages, *theirs, "seed {seed}, format {magic}");
                    }
                    assert_eq!(heads(&ours.messages), expected_heads(theirs), "seed {seed}, format {magic}");
                }
                // All batches at once, as asked here, Kafka refuses for one with zstd; its server sends those before it.
                (Verdict::Refused(76), Ok(ours)) => assert!(ours.next < Some(next), "seed {seed}"),
                (Verdict::Refused(76), Err(_)) => {}
                (theirs, ours) => panic!("seed {seed}: we {ours:?}, Kafka {theirs:?}"),
            }
        }
    }
}

fn control(options: BatchOptions) -> Batch {
    let mut batch = BatchBuilder::new(options);
    batch.append(NOW, Some(&[0, 0, 0, 1]), Some(&[0, 0, 0, 0, 0, 0]), &[]);
    batch.build().expect("a small batch")
}

fn appended_at(batch: &Batch, at: Timestamp) -> Batch {
    let mut header = *batch.header();
    header.set_attributes(header.attributes().with_timestamp_type(TimestampType::LogAppendTime));
    header.set_timestamps(header.base_timestamp(), at);
    let payload = batch.payload();
    header.set_crc(crc32c::crc32c_append(header.covered_crc(), &payload));
    let bytes = [&header.bytes()[..], &payload].concat();
    Batch::split_from(&mut Bytes::from(bytes)).expect("whole")
}

fn has_wrapper(set: &[u8]) -> bool {
    MessageSet::new(set).flatten().any(|message| message.is_wrapper())
}

/// The heads that we mean to write: Kafka's, but for LZ4 in format 0, for which we take gzip.
fn expected_heads(theirs: &[u8]) -> Vec<Head> {
    let mut heads = heads(theirs);
    for (_, magic, attributes, _, head) in &mut heads {
        if *magic == 0 && *attributes & 7 == 3 {
            *attributes = (*attributes & !7) | 1;
            head.clear();
        }
    }
    heads
}

type Head = (Offset, u8, u8, Timestamp, Vec<u8>);

/// What the messages say of themselves but for compressed bytes, of which only the head of an LZ4 frame is Kafka's own.
fn heads(set: &[u8]) -> Vec<Head> {
    let messages = MessageSet::new(set).map(|message| {
        let message = message.expect("a message");
        let head_bytes = if message.codec() == Ok(Codec::Lz4) { 7 } else { 0 };
        let head = message.value.unwrap_or_default().get(..head_bytes).unwrap_or_default().to_vec();
        (message.offset, message.magic, message.attributes, message.timestamp, head)
    });
    messages.collect()
}
