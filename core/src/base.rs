//! A newtype per meaning, so that an offset is never passed for a file position, nor monotonic time for wall time.
//!
//! The wire has bare integers; they are wrapped where a request is taken apart and unwrapped where an answer is put
//! together, and nowhere between.

use std::fmt;
use std::ops::{Add, Sub};

macro_rules! integer_newtype {
    ($(#[$meta:meta])* $name:ident($inner:ty)) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

integer_newtype!(
    /// Position of a record in its partition, in records from the first ever appended.
    Offset(i64)
);
integer_newtype!(
    /// Byte position in one segment file.
    FilePosition(u64)
);
integer_newtype!(
    /// Number of the leadership under which a batch was appended (KIP-101); −1 is none.
    LeaderEpoch(i32)
);
integer_newtype!(
    /// Identity of an idempotent producer (KIP-98); −1 is none.
    ProducerId(i64)
);
integer_newtype!(
    /// Generation of a producer id; an older one is fenced.
    ProducerEpoch(i16)
);
integer_newtype!(
    /// Sequence number of a record among those of its producer in one partition; wraps from `i32::MAX` to 0.
    Sequence(i32)
);
integer_newtype!(
    /// Number of a partition within its topic, from 0.
    PartitionIndex(i32)
);
integer_newtype!(
    /// Node id of a broker.
    NodeId(i32)
);
integer_newtype!(
    /// Number of a shard, from 0, dense.
    ShardId(u16)
);
integer_newtype!(
    /// Wall-clock time in milliseconds since 1970 UTC, as records and configurations carry it; −1 is none.
    Timestamp(i64)
);
integer_newtype!(
    /// Monotonic time in nanoseconds from an arbitrary start; for deadlines, never stored or sent.
    Monotonic(u64)
);

impl Offset {
    /// The offset `records` further on, saturating.
    #[must_use]
    pub const fn plus(self, records: i64) -> Self {
        Self(self.0.saturating_add(records))
    }
}

impl LeaderEpoch {
    /// No epoch: the client does not check, or the batch was never stamped.
    pub const NONE: Self = Self(-1);
}

impl ProducerId {
    /// The batch comes from a producer without idempotence.
    pub const NONE: Self = Self(-1);
}

impl Timestamp {
    /// No timestamp.
    pub const NONE: Self = Self(-1);
}

impl Sequence {
    /// The sequence `records` further on, wrapping from `i32::MAX` to 0 as Kafka's producers do.
    #[must_use]
    pub const fn plus(self, records: i32) -> Self {
        // Both operands are non-negative for every batch that passed validation; masking keeps it total.
        Self(self.0.wrapping_add(records) & i32::MAX)
    }
}

impl FilePosition {
    /// The position `bytes` further on, saturating.
    #[must_use]
    pub const fn plus(self, bytes: u64) -> Self {
        Self(self.0.saturating_add(bytes))
    }
}

impl Monotonic {
    /// The instant `ms` milliseconds later, saturating.
    #[must_use]
    pub const fn plus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms.saturating_mul(1_000_000)))
    }

    /// Nanoseconds since `earlier`, 0 if that is later.
    #[must_use]
    pub const fn since_ns(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<i64> for Timestamp {
    type Output = Self;
    fn add(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms))
    }
}

impl Sub for Offset {
    type Output = i64;
    fn sub(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// A 128-bit identity as Kafka writes it: topic, directory and cluster ids.
///
/// Text form is 22 characters of unpadded base64url, as in `meta.properties` and `partition.metadata`.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uuid(pub [u8; 16]);

/// A topic's identity; never reused, so that a topic deleted and created again is another one (KIP-516).
pub type TopicId = Uuid;

const BASE64URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

impl Uuid {
    /// The absent id.
    pub const ZERO: Self = Self([0; 16]);
    /// The id of the metadata log's topic, reserved by KRaft.
    pub const METADATA_TOPIC: Self = Self([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);

    /// A version 4 identity out of 128 random bits.
    ///
    /// Kafka never hands out an id whose text begins with `-`, because tools would take it for a flag; nor do we.
    #[must_use]
    pub fn from_random(bits: u128) -> Self {
        let mut bytes = bits.to_be_bytes();
        bytes[6] = (bytes[6] & 0x0f) | 0x40;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        if bytes[0] >> 2 == 62 {
            bytes[0] &= 0x7f;
        }
        Self(bytes)
    }

    /// Parses the 22-character text form.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 22 {
            return None;
        }
        let mut value: u128 = 0;
        for (i, c) in text.bytes().enumerate() {
            let digit = BASE64URL.iter().position(|&b| b == c)? as u128;
            // 21 characters carry 126 bits; the last one carries 2 and four that must be zero.
            if i < 21 {
                value = (value << 6) | digit;
            } else if digit & 0xf == 0 {
                value = (value << 2) | (digit >> 4);
            } else {
                return None;
            }
        }
        Some(Self(value.to_be_bytes()))
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = u128::from_be_bytes(self.0);
        let mut text = String::with_capacity(22);
        for i in 0..21 {
            let digit = (value >> (122 - 6 * i)) & 0x3f;
            text.push(char::from(BASE64URL[digit as usize]));
        }
        text.push(char::from(BASE64URL[((value & 0x3) << 4) as usize]));
        f.write_str(&text)
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuid_text_round_trips_and_rejects_what_is_not_one() {
        for bits in [0, 1, u128::MAX, 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef] {
            let id = Uuid(u128::to_be_bytes(bits));
            assert_eq!(Uuid::parse(&id.to_string()), Some(id));
        }
        assert_eq!(Uuid::METADATA_TOPIC.to_string(), "AAAAAAAAAAAAAAAAAAAAAQ");
        for bad in
            ["", "AAAAAAAAAAAAAAAAAAAAAR", "AAAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAAA=", "AAAAAAAAAAAAAAAAAAAAAQA"]
        {
            assert_eq!(Uuid::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_random_uuid_never_looks_like_a_flag() {
        assert!(!Uuid::from_random(u128::from(0xf8u8) << 120).to_string().starts_with('-'));
    }

    #[test]
    fn sequences_wrap_to_zero() {
        assert_eq!(Sequence(i32::MAX).plus(1), Sequence(0));
        assert_eq!(Sequence(i32::MAX - 1).plus(3), Sequence(1));
        assert_eq!(Sequence(5).plus(2), Sequence(7));
    }
}
