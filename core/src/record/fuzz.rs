//! Fuzz targets over batches: whatever the bytes, no panic, and what is accepted is sound.

use bytes::Bytes;

use crate::base::{LeaderEpoch, Offset, Timestamp};
use crate::record::legacy::up::{is_empty, is_quick, validate_legacy_produce};
use crate::record::legacy::{Format, MessageSet, down_convert};
use crate::record::validate::{check_produce_version, needs_opening};
use crate::record::{
    AppendRules, Batch, BatchHeader, Batches, Codec, Compression, CompressionRule, EndMarker, Records, TimestampType,
    codec, search, validate_produce,
};

const LIMIT_BYTES: usize = 1 << 20;

/// Treats `data` as what a client sent: a byte that chooses the topic's rules, then the records. With its upper bit
/// set the checksum is made right first, so that the checks behind it are reached too.
///
/// # Panics
/// If a batch is accepted and the bytes to be stored are not a sound batch of the same records.
pub fn fuzz_batch_validation(data: &[u8]) {
    let Some((&choice, records)) = data.split_first() else { return };
    let mut records = records.to_vec();
    if choice & 0x80 != 0 {
        make_checksum_right(&mut records);
    }
    let records = Bytes::from(records);
    let rules = rules(choice);
    let now = Timestamp(1_700_000_000_000);
    let _ = check_produce_version(&records, 6);
    let _ = needs_opening(&records, &rules, now);
    for batch in Batches::new(records.clone()).flatten() {
        look_into(&batch);
    }
    let Ok(valid) = validate_produce(&records, &rules, now) else { return };
    let append_time = (rules.timestamp_type == TimestampType::LogAppendTime).then_some(now);
    let stamped = valid.stamp(Offset(9), LeaderEpoch(1), append_time);
    let mut run = Bytes::from(stamped.concat());
    let stored = Batch::split_from(&mut run).expect("a valid batch is stored whole");
    assert!(run.is_empty() && stored.is_crc_valid());
    assert_eq!(stored.bytes().len(), valid.size_bytes());
    assert_eq!(stored.header().record_count(), valid.record_count());
    assert_eq!(stored.header().base_offset(), Offset(9));
    if valid.codec() == Codec::None {
        assert_eq!(stored.records(&stored.payload()).filter_map(Result::ok).count(), counted(valid.record_count()));
    }
}

/// Treats `data` as what an old client sent: a byte that chooses the topic's rules, then messages of format 0 or 1. With
/// its upper bit set the checksums of the messages are made right first.
///
/// # Panics
/// If a set is accepted and what it becomes is not a sound batch.
pub fn fuzz_legacy_produce(data: &[u8]) {
    let Some((&choice, set)) = data.split_first() else { return };
    let mut set = set.to_vec();
    if choice & 0x80 != 0 {
        make_message_checksums_right(&mut set);
    }
    let set = Bytes::from(set);
    let rules = rules(choice);
    let _ = is_quick(&set, &rules);
    let messages = MessageSet::new(&set).filter(Result::is_ok).count();
    let Ok(valid) = validate_legacy_produce(&set, &rules, Timestamp(1_700_000_000_000)) else { return };
    assert!(!is_empty(&set), "nothing is refused");
    let mut run = Bytes::from(valid.stamp(Offset(9), LeaderEpoch(1), None).concat());
    let stored = Batch::split_from(&mut run).expect("a valid batch is stored whole");
    assert!(run.is_empty() && stored.is_crc_valid());
    let opened = stored.open(LIMIT_BYTES * 64).expect("our own payload");
    let records = stored.records(&opened).filter(Result::is_ok).count();
    assert!(records == counted(valid.record_count()) && records > 0);
    assert!(messages == 0 || messages == 1 || records == messages, "a record for each plain message");
}

/// Treats `data` as what lies in a segment, for an old client: a byte that chooses format and limit, then batches. With
/// its upper bit set the checksum of the first one is made right first.
///
/// # Panics
/// If what an old client gets is not messages of its format, or there is nothing to go on from.
pub fn fuzz_down_conversion(data: &[u8]) {
    let Some((&choice, run)) = data.split_first() else { return };
    let format = if choice & 1 == 0 { Format::V0 } else { Format::V1 };
    let bytes_max = usize::from(choice & 0x7e) * 8;
    let run = Bytes::copy_from_slice(run);
    let Ok(converted) = down_convert(&run, format, Offset(i64::from(choice & 2)), bytes_max) else { return };
    let whole = Batches::new(run).take_while(Result::is_ok).count();
    assert_eq!(converted.next.is_some(), whole > 0, "where there is a batch, the reader gets on");
    let magic = u8::from(format == Format::V1);
    let mut bytes = 0;
    for message in MessageSet::new(&converted.messages) {
        let message = message.expect("our own message");
        assert_eq!(message.magic, magic);
        bytes += if magic == 0 { 26 } else { 34 };
        bytes += message.key.map_or(0, <[u8]>::len) + message.value.map_or(0, <[u8]>::len);
    }
    assert_eq!(bytes, converted.messages.len(), "nothing but whole messages");
}

/// Makes the checksum of each message in a set right, as far as there are messages.
pub fn make_message_checksums_right(mut set: &mut [u8]) {
    while let Some((prefix, rest)) = std::mem::take(&mut set).split_first_chunk_mut::<12>() {
        let size = prefix.last_chunk().map_or(-1, |size| i32::from_be_bytes(*size));
        let Some((body, rest)) = usize::try_from(size).ok().and_then(|size| rest.split_at_mut_checked(size)) else {
            return;
        };
        if let Some((checksum, covered)) = body.split_first_chunk_mut() {
            let mut crc = flate2::Crc::new();
            crc.update(covered);
            *checksum = crc.sum().to_be_bytes();
        }
        set = rest;
    }
}

fn counted(count: i32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

fn rules(choice: u8) -> AppendRules {
    let target = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd].get(usize::from(choice & 0x07));
    AppendRules {
        compression: target.map_or(CompressionRule::Producer, |codec| {
            CompressionRule::Topic(Compression { codec: *codec, level: None })
        }),
        compacted: choice & 0x08 != 0,
        timestamp_type: if choice & 0x10 == 0 { TimestampType::CreateTime } else { TimestampType::LogAppendTime },
        ..AppendRules::default()
    }
}

fn make_checksum_right(records: &mut [u8]) {
    let Some(mut header) = BatchHeader::parse(records) else { return };
    let size = header.batch_bytes().unwrap_or(0);
    let Some(payload) = records.get(crate::record::header::HEADER_BYTES..size) else { return };
    header.set_crc(crc32c::crc32c_append(header.covered_crc(), payload));
    if let Some(front) = records.first_chunk_mut() {
        *front = *header.bytes();
    }
}

/// Everything that reads a stored batch.
fn look_into(batch: &Batch) {
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        if let Ok(plain) = codec::decompress(codec, &batch.payload(), LIMIT_BYTES) {
            assert!(plain.len() <= LIMIT_BYTES);
        }
    }
    if let Ok(opened) = batch.open(LIMIT_BYTES) {
        for record in batch.records(&opened).flatten() {
            let _ = record.headers.count();
        }
    }
    let _ = Records::new(&batch.payload(), i32::MAX).count();
    let _ = EndMarker::parse(&batch.payload());
    let _ = search::first_at_or_after(batch, Timestamp(0), Offset(0), LIMIT_BYTES);
    let _ = search::max_timestamp_record(batch, LIMIT_BYTES);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::{Random, random_batch, random_message_set, random_options};

    #[test]
    fn mutated_batches_never_panic_and_never_pass_unsound() {
        for seed in 0..20_000 {
            let mut random = Random::new(seed);
            let options = random_options(&mut random, Offset(0));
            let batch = random_batch(&mut random, options, 5, Timestamp(1_700_000_000_000));
            let mut data = vec![*random.pick(&[0x80, 0x00, 0xff]) & random.bytes(1).first().copied().unwrap_or(0xff)];
            data[0] ^= u8::try_from(random.below(32)).unwrap();
            data.extend_from_slice(batch.bytes());
            if seed % 8 != 0 {
                random.mutate(&mut data);
            }
            fuzz_batch_validation(&data);
        }
    }

    #[test]
    fn mutated_messages_never_panic_and_never_pass_unsound() {
        for seed in 0..20_000 {
            let mut random = Random::new(seed);
            let mut data = vec![random.next_u64().to_le_bytes()[0] | 0x80];
            data.extend_from_slice(&random_message_set(&mut random));
            if seed % 8 != 0 {
                random.mutate(&mut data);
            }
            fuzz_legacy_produce(&data);
        }
    }

    #[test]
    fn mutated_batches_are_converted_or_refused() {
        for seed in 0..20_000 {
            let mut random = Random::new(seed);
            let mut data = vec![random.next_u64().to_le_bytes()[0]];
            for _ in 0..=random.below(2) {
                let options = random_options(&mut random, Offset(0));
                data.extend_from_slice(random_batch(&mut random, options, 5, Timestamp(1_700_000_000_000)).bytes());
            }
            if seed % 8 != 0 {
                random.mutate(&mut data);
            }
            fuzz_down_conversion(&data);
        }
    }
}
