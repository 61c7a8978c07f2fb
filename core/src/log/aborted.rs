//! Aborted transactions of a segment, as its `.txnindex` has them: what a reader of committed data has to leave out.
//!
//! A record of 34 bytes stands for each transaction whose abort marker lies in the segment, in the order of the markers.
//! The transaction itself may begin in an earlier segment, so a reader looks through the segments from its own on until one
//! says that nothing before its end was open any more.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::base::{Offset, ProducerId};

/// Bytes of one record.
pub const ABORTED_BYTES: usize = 34;
const VERSION: i16 = 0;

/// A transaction of one partition that was aborted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbortedTransaction {
    /// Whose.
    pub producer: ProducerId,
    /// Its first record here.
    pub first_offset: Offset,
    /// Its marker.
    pub last_offset: Offset,
    /// Nothing below this was open any more when the marker was written.
    pub last_stable_offset: Offset,
}

impl AbortedTransaction {
    /// Whether its records can be among those from `from` to before `end`.
    #[must_use]
    pub fn concerns(&self, from: Offset, end: Offset) -> bool {
        self.last_offset >= from && self.first_offset < end
    }
}

/// The records as they stand in the file.
#[must_use]
pub fn to_bytes(aborted: &[AbortedTransaction]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(aborted.len().saturating_mul(ABORTED_BYTES));
    for each in aborted {
        bytes.put_i16(VERSION);
        bytes.put_i64(each.producer.0);
        bytes.put_i64(each.first_offset.0);
        bytes.put_i64(each.last_offset.0);
        bytes.put_i64(each.last_stable_offset.0);
    }
    bytes.freeze()
}

/// The records of a piece of a file that begins with one; a part of one at the end is left out, as a kill can leave it.
/// Ends at the first that is none: of another version, or out of order.
pub fn parse(file: &[u8]) -> impl Iterator<Item = AbortedTransaction> {
    let (records, _) = file.as_chunks::<ABORTED_BYTES>();
    let mut last = Offset(-1);
    records.iter().map_while(move |record| {
        let mut record = &record[..];
        let version = record.get_i16();
        let aborted = AbortedTransaction {
            producer: ProducerId(record.get_i64()),
            first_offset: Offset(record.get_i64()),
            last_offset: Offset(record.get_i64()),
            last_stable_offset: Offset(record.get_i64()),
        };
        let is_good = version == VERSION && aborted.last_offset > last && aborted.first_offset <= aborted.last_offset;
        last = aborted.last_offset;
        is_good.then_some(aborted)
    })
}

/// Bytes of the records at the start of a file that are good and whose markers lie below `end`: what is kept of it when the
/// log behind is walked again.
#[must_use]
pub fn good_bytes(file: &[u8], end: Offset) -> u64 {
    let good = parse(file).take_while(|aborted| aborted.last_offset < end).count();
    (good as u64).saturating_mul(ABORTED_BYTES as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn aborted(first: i64, last: i64, stable: i64) -> AbortedTransaction {
        AbortedTransaction {
            producer: ProducerId(7),
            first_offset: Offset(first),
            last_offset: Offset(last),
            last_stable_offset: Offset(stable),
        }
    }

    #[test]
    fn a_file_is_read_as_it_was_written() {
        let all = [aborted(3, 9, 2), aborted(0, 11, 10), aborted(12, 12, 13)];
        let file = to_bytes(&all);
        assert_eq!(file.len(), 3 * 34);
        assert_eq!(file[..10], [0, 0, 0, 0, 0, 0, 0, 0, 0, 7]);
        assert_eq!(parse(&file).collect::<Vec<_>>(), all);
        for cut in 0..file.len() {
            assert_eq!(parse(&file[..cut]).count(), cut / 34);
        }
        assert_eq!(good_bytes(&file, Offset(12)), 68);
        assert_eq!(good_bytes(&file, Offset(100)), 102);
        let mut other = file.to_vec();
        other[35] = 1;
        assert_eq!(parse(&other).count(), 1, "another version");
        let disorder = to_bytes(&[all[1], all[0]]);
        assert_eq!(good_bytes(&disorder, Offset(100)), 34);
    }

    #[test]
    fn a_reader_is_told_of_what_touches_its_range() {
        let one = aborted(3, 9, 2);
        assert!(one.concerns(Offset(9), Offset(20)) && one.concerns(Offset(0), Offset(4)));
        assert!(!one.concerns(Offset(10), Offset(20)) && !one.concerns(Offset(0), Offset(3)));
    }
}
