//! The records of an uncompressed payload, one after another, as borrowed ranges.
//!
//! Nothing is allocated and every length is checked against what is left of the record it stands in.

use std::fmt;

/// One record. Its offset and timestamp are the batch's plus the deltas here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Distance to the batch's base offset, in records.
    pub offset_delta: i32,
    /// Distance to the batch's base timestamp, in milliseconds.
    pub timestamp_delta_ms: i64,
    /// Key; `None` is null.
    pub key: Option<&'a [u8]>,
    /// Value; `None` is null, a tombstone where the topic is compacted.
    pub value: Option<&'a [u8]>,
    /// Headers, checked to be well-formed.
    pub headers: Headers<'a>,
}

/// One header of a record; keys may repeat and keep their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// Key, UTF-8 by convention; the broker does not look at it.
    pub key: &'a [u8],
    /// Value; `None` is null.
    pub value: Option<&'a [u8]>,
}

/// Why a payload is not the records that its batch promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordError {
    /// The payload ends before the promised number of records is there.
    TooFew {
        /// Records that were there.
        found: i32,
    },
    /// Bytes are left after the promised number of records.
    Trailing {
        /// Bytes that are left.
        bytes: usize,
    },
    /// A record's own fields contradict its length, or a length is negative.
    Malformed {
        /// Index of the record in its batch.
        index: i32,
    },
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooFew { found } => write!(f, "the payload ends after {found} records"),
            Self::Trailing { bytes } => write!(f, "{bytes} bytes are left after the last record"),
            Self::Malformed { index } => write!(f, "record {index} is malformed"),
        }
    }
}

impl std::error::Error for RecordError {}

/// Iterator over a payload. Ends after the first error.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    rest: Cursor<'a>,
    index: i32,
    count: i32,
    done: bool,
}

impl<'a> Records<'a> {
    /// The `count` records of `payload`, which must hold no more and no less.
    #[must_use]
    pub fn new(payload: &'a [u8], count: i32) -> Self {
        Self { rest: Cursor(payload), index: 0, count, done: false }
    }

    fn read(&mut self) -> Result<Option<Record<'a>>, RecordError> {
        if self.index >= self.count {
            let bytes = self.rest.0.len();
            return if bytes == 0 { Ok(None) } else { Err(RecordError::Trailing { bytes }) };
        }
        let malformed = RecordError::Malformed { index: self.index };
        if self.rest.0.is_empty() {
            return Err(RecordError::TooFew { found: self.index });
        }
        let length = self.rest.varint().ok_or(malformed)?;
        let length = usize::try_from(length).map_err(|_| malformed)?;
        let body = self.rest.take(length).ok_or(RecordError::TooFew { found: self.index })?;
        let record = Record::parse(body).ok_or(malformed)?;
        self.index = self.index.saturating_add(1);
        Ok(Some(record))
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let item = self.read().transpose();
        self.done = !matches!(item, Some(Ok(_)));
        item
    }
}

impl<'a> Record<'a> {
    /// A record without its length; `None` if its fields are not exactly the bytes.
    fn parse(body: &'a [u8]) -> Option<Self> {
        let mut cursor = Cursor(body);
        let _attributes = cursor.take(1)?;
        let timestamp_delta_ms = cursor.varlong()?;
        let offset_delta = cursor.varint()?;
        let key = cursor.nullable_bytes()?;
        let value = cursor.nullable_bytes()?;
        let count = u32::try_from(cursor.varint()?).ok()?;
        let headers = Headers { rest: cursor, left: count };
        let mut walk = headers;
        for _ in 0..count {
            walk.read()?;
        }
        walk.rest.0.is_empty().then_some(Self { offset_delta, timestamp_delta_ms, key, value, headers })
    }
}

/// Iterator over the headers of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers<'a> {
    rest: Cursor<'a>,
    left: u32,
}

impl<'a> Headers<'a> {
    fn read(&mut self) -> Option<Header<'a>> {
        let key_bytes = usize::try_from(self.rest.varint()?).ok()?;
        let key = self.rest.take(key_bytes)?;
        let value = self.rest.nullable_bytes()?;
        Some(Header { key, value })
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = Header<'a>;

    fn next(&mut self) -> Option<Header<'a>> {
        self.left = self.left.checked_sub(1)?;
        self.read()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = usize::try_from(self.left).unwrap_or(usize::MAX);
        (left, Some(left))
    }
}

/// What is left to read. Varints are zigzag, as in Kafka; bits beyond the integer's width are dropped, as there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn varint(&mut self) -> Option<i32> {
        let raw = self.unsigned(5)?;
        // Five groups of seven bits are 35; Kafka's reader loses the upper three too.
        let raw = u32::try_from(raw & u64::from(u32::MAX)).ok()?;
        Some((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed())
    }

    fn varlong(&mut self) -> Option<i64> {
        let raw = self.unsigned(10)?;
        Some((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed())
    }

    #[inline]
    fn unsigned(&mut self, bytes_max: u32) -> Option<u64> {
        let mut value = 0;
        for group in 0..bytes_max {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << (7 * group);
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    /// Length −1 is null; any other negative length is malformed.
    fn nullable_bytes(&mut self) -> Option<Option<&'a [u8]>> {
        match self.varint()? {
            -1 => Some(None),
            length => self.take(usize::try_from(length).ok()?).map(Some),
        }
    }
}

/// Appends `value` as a zigzag varint of up to five bytes.
pub(crate) fn put_varint(into: &mut Vec<u8>, value: i32) {
    put_unsigned(into, u64::from(((value << 1) ^ (value >> 31)).cast_unsigned()));
}

/// Appends `value` as a zigzag varint of up to ten bytes.
pub(crate) fn put_varlong(into: &mut Vec<u8>, value: i64) {
    put_unsigned(into, ((value << 1) ^ (value >> 63)).cast_unsigned());
}

/// Bytes that [`put_varint`] takes.
pub(crate) fn varint_bytes(value: i32) -> usize {
    varlong_bytes(i64::from(value))
}

/// Bytes that [`put_varlong`] takes.
pub(crate) fn varlong_bytes(value: i64) -> usize {
    let zigzag = ((value << 1) ^ (value >> 63)).cast_unsigned();
    // Seven bits a byte; zero takes one, too.
    (u64::BITS - (zigzag | 1).leading_zeros()).div_ceil(7) as usize
}

fn put_unsigned(into: &mut Vec<u8>, mut value: u64) {
    loop {
        let [group, ..] = (value & 0x7f).to_le_bytes();
        value >>= 7;
        if value == 0 {
            into.push(group);
            return;
        }
        into.push(group | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_are_kafkas() {
        for (value, bytes) in [
            (0, &[0][..]),
            (-1, &[1]),
            (1, &[2]),
            (63, &[0x7e]),
            (-64, &[0x7f]),
            (64, &[0x80, 0x01]),
            (-65, &[0x81, 0x01]),
            (i32::MAX, &[0xfe, 0xff, 0xff, 0xff, 0x0f]),
            (i32::MIN, &[0xff, 0xff, 0xff, 0xff, 0x0f]),
        ] {
            let mut written = Vec::new();
            put_varint(&mut written, value);
            assert_eq!(written, bytes);
            assert_eq!(varint_bytes(value), bytes.len());
            assert_eq!(Cursor(bytes).varint(), Some(value));
            written.clear();
            put_varlong(&mut written, i64::from(value));
            assert_eq!(Cursor(&written).varlong(), Some(i64::from(value)));
        }
        for value in [i64::MAX, i64::MIN] {
            let mut written = Vec::new();
            put_varlong(&mut written, value);
            assert_eq!(varlong_bytes(value), written.len());
            assert_eq!((written.len(), Cursor(&written).varlong()), (10, Some(value)));
        }
        assert_eq!(Cursor(&[0x80; 5]).varint(), None);
        assert_eq!(Cursor(&[0x80; 10]).varlong(), None);
        assert_eq!(Cursor(&[0x80]).varint(), None);
    }

    #[test]
    fn a_record_is_read_field_by_field() {
        // Attributes, timestamp delta 5, offset delta 0, key "k", null value, headers a="x", a=null.
        let body = [0, 10, 0, 2, b'k', 1, 4, 2, b'a', 2, b'x', 2, b'a', 1];
        let payload = [&[28][..], &body].concat();
        let record = Records::new(&payload, 1).next().unwrap().unwrap();
        assert_eq!((record.timestamp_delta_ms, record.offset_delta), (5, 0));
        assert_eq!((record.key, record.value), (Some(&b"k"[..]), None));
        let headers: Vec<_> = record.headers.collect();
        assert_eq!(headers, [Header { key: b"a", value: Some(b"x") }, Header { key: b"a", value: None }]);
    }

    #[test]
    fn each_fault_is_named() {
        let good = [10, 0, 0, 0, 1, 1];
        assert_eq!(Records::new(&good, 1).last(), Some(Err(RecordError::Malformed { index: 0 })), "no header count");
        let good = [12, 0, 0, 0, 1, 1, 0];
        let faults = |payload: &[u8], count| Records::new(payload, count).find_map(Result::err);
        assert_eq!(faults(&good, 1), None);
        assert_eq!(faults(&good, 2), Some(RecordError::TooFew { found: 1 }));
        assert_eq!(faults(&good[..5], 1), Some(RecordError::TooFew { found: 0 }));
        assert_eq!(faults(&[&good[..], &good].concat(), 1), Some(RecordError::Trailing { bytes: 7 }));
        assert_eq!(faults(&good, 0), Some(RecordError::Trailing { bytes: 7 }));
        assert_eq!(faults(&good, -1), Some(RecordError::Trailing { bytes: 7 }));
        let longer = [14, 0, 0, 0, 1, 1, 0, 0];
        assert_eq!(faults(&longer, 1), Some(RecordError::Malformed { index: 0 }), "a byte behind its last field");
        for (at, value) in [(0, 1), (0, 10), (4, 3), (4, 2), (6, 1), (6, 2)] {
            let mut bad = good;
            bad[at] = value;
            assert!(faults(&bad, 1).is_some(), "byte {at} = {value}");
        }
    }
}
