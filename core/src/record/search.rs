//! Finding a record inside a batch by its timestamp, for ListOffsets.
//!
//! The answer is a record's offset, never a batch's (KIP-79), so a compressed batch is opened.

use crate::base::{Offset, Timestamp};
use crate::record::batch::Batch;
use crate::record::codec::CodecError;
use crate::record::header::TimestampType;
use crate::record::records::RecordError;

/// A record found by its timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundRecord {
    /// Offset of the record.
    pub offset: Offset,
    /// Timestamp of the record.
    pub timestamp: Timestamp,
}

/// Why a stored batch could not be searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SearchError {
    /// The payload does not open.
    Codec(CodecError),
    /// The payload is not the records promised.
    Record(RecordError),
}

impl std::fmt::Display for SearchError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Codec(error) => error.fmt(f),
            Self::Record(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for SearchError {}

/// The first record of `batch`, from offset `from` on, whose timestamp is at or after `target`.
///
/// # Errors
/// A compressed payload is damaged or larger than `limit_bytes`.
pub fn first_at_or_after(
    batch: &Batch,
    target: Timestamp,
    from: Offset,
    limit_bytes: usize,
) -> Result<Option<FoundRecord>, SearchError> {
    if batch.header().max_timestamp() < target || batch.header().last_offset() < from {
        return Ok(None);
    }
    find(batch, limit_bytes, |found| found.offset >= from && found.timestamp >= target)
}

/// The first record of `batch` that has its largest timestamp; `None` if compaction has taken that record.
///
/// # Errors
/// A compressed payload is damaged or larger than `limit_bytes`.
pub fn max_timestamp_record(batch: &Batch, limit_bytes: usize) -> Result<Option<FoundRecord>, SearchError> {
    let largest = batch.header().max_timestamp();
    find(batch, limit_bytes, |found| found.timestamp == largest)
}

fn find(
    batch: &Batch,
    limit_bytes: usize,
    matches: impl Fn(&FoundRecord) -> bool,
) -> Result<Option<FoundRecord>, SearchError> {
    let header = batch.header();
    let opened = batch.open(limit_bytes).map_err(SearchError::Codec)?;
    for record in batch.records(&opened) {
        let record = record.map_err(SearchError::Record)?;
        let timestamp = match header.attributes().timestamp_type() {
            TimestampType::LogAppendTime => header.max_timestamp(),
            TimestampType::CreateTime => Timestamp(header.base_timestamp().0.wrapping_add(record.timestamp_delta_ms)),
        };
        let found = FoundRecord { offset: header.base_offset().plus(i64::from(record.offset_delta)), timestamp };
        if matches(&found) {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::LeaderEpoch;
    use crate::record::{BatchBuilder, BatchOptions, Compression};
    use crate::test_support::CODECS;

    const LIMIT_BYTES: usize = 1_000;

    fn batch(codec: crate::record::Codec, append_time: Option<i64>) -> Batch {
        let compression = Compression { codec, level: None };
        let mut builder = BatchBuilder::new(BatchOptions { compression, ..BatchOptions::default() });
        for timestamp in [10, 30, 20, 30, 5] {
            builder.append(Timestamp(timestamp), None, Some(b"value"), &[]);
        }
        if let Some(at) = append_time {
            builder = builder.log_append_time(Timestamp(at));
        }
        builder.build().unwrap().stamped(Offset(100), LeaderEpoch(0))
    }

    #[test]
    fn the_record_is_found_inside_the_batch() {
        for codec in CODECS {
            let batch = batch(codec, None);
            for (target, from, expected) in [
                (0, 0, Some((100, 10))),
                (10, 0, Some((100, 10))),
                (11, 0, Some((101, 30))),
                (20, 102, Some((102, 20))),
                (21, 102, Some((103, 30))),
                (30, 104, None),
                (0, 104, Some((104, 5))),
                (0, 105, None),
                (31, 0, None),
            ] {
                let found = first_at_or_after(&batch, Timestamp(target), Offset(from), LIMIT_BYTES).unwrap();
                assert_eq!(found.map(|found| (found.offset.0, found.timestamp.0)), expected, "{target} from {from}");
            }
            let largest = max_timestamp_record(&batch, LIMIT_BYTES).unwrap().unwrap();
            assert_eq!((largest.offset, largest.timestamp), (Offset(101), Timestamp(30)));
        }
    }

    #[test]
    fn the_append_time_is_that_of_every_record() {
        for codec in CODECS {
            let batch = batch(codec, Some(70));
            let expected = |offset| Some(FoundRecord { offset: Offset(offset), timestamp: Timestamp(70) });
            assert_eq!(first_at_or_after(&batch, Timestamp(40), Offset(0), LIMIT_BYTES), Ok(expected(100)));
            assert_eq!(first_at_or_after(&batch, Timestamp(70), Offset(102), LIMIT_BYTES), Ok(expected(102)));
            assert_eq!(first_at_or_after(&batch, Timestamp(71), Offset(0), LIMIT_BYTES), Ok(None));
            assert_eq!(max_timestamp_record(&batch, LIMIT_BYTES), Ok(expected(100)));
        }
    }

    #[test]
    fn a_batch_that_does_not_open_says_so() {
        let batch = batch(crate::record::Codec::Gzip, None);
        let error = Err(SearchError::Codec(CodecError::TooLarge { limit_bytes: 5 }));
        assert_eq!(max_timestamp_record(&batch, 5), error);
    }
}
