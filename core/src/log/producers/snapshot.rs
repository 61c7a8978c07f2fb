//! The `.snapshot` file: the producers of a partition as they were below the offset in its name.
//!
//! A start reads the newest one and walks the log only from there on.

use std::fmt;

use bytes::{Buf as _, BufMut, Bytes, BytesMut};

use super::{ProducerEntry, ProducerStates, StoredBatch};
use crate::base::{Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};

/// Version, checksum and count at the start of a snapshot file.
const SNAPSHOT_HEAD_BYTES: usize = 10;
/// Where the range covered by the checksum begins; it ends with the file.
const SNAPSHOT_CHECKSUM_START: usize = 6;
const SNAPSHOT_ENTRY_BYTES: usize = 46;
const SNAPSHOT_VERSION: i16 = 1;

/// Why a `.snapshot` file is not used. The next older one is, and the log from there on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotError {
    /// Its size is not that of a whole number of entries, or not that of the number it names.
    Size,
    /// Its version is not known.
    Version(i16),
    /// Its checksum does not match.
    Checksum,
    /// It lists a producer twice.
    DuplicateProducer(ProducerId),
}

impl fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size => f.write_str("its size does not match its number of entries"),
            Self::Version(version) => write!(f, "version {version} is not known"),
            Self::Checksum => f.write_str("its checksum does not match"),
            Self::DuplicateProducer(id) => write!(f, "producer {id} is listed twice"),
        }
    }
}

impl std::error::Error for SnapshotError {}

impl ProducerStates {
    /// The `.snapshot` file: version, CRC-32C of what follows, count, entries. Only the last batch of each producer
    /// is in it.
    #[must_use]
    pub fn to_snapshot(&self) -> Bytes {
        let size = SNAPSHOT_HEAD_BYTES.saturating_add(SNAPSHOT_ENTRY_BYTES.saturating_mul(self.entries.len()));
        let mut covered = BytesMut::with_capacity(size);
        covered.put_i32(i32::try_from(self.entries.len()).unwrap_or(i32::MAX));
        for (id, entry) in &self.entries {
            let none = StoredBatch { last_sequence: Sequence(-1), last_offset: Offset(-1), ..StoredBatch::default() };
            let last = entry.batches.last().copied().unwrap_or(none);
            covered.put_i64(id.0);
            covered.put_i16(entry.epoch.0);
            covered.put_i32(last.last_sequence.0);
            covered.put_i64(last.last_offset.0);
            covered.put_i32(last.offset_delta);
            covered.put_i64(entry.last_timestamp.0);
            covered.put_i32(entry.coordinator_epoch);
            covered.put_i64(entry.transaction_start.map_or(-1, |offset| offset.0));
        }
        let mut file = BytesMut::with_capacity(size);
        file.put_i16(SNAPSHOT_VERSION);
        file.put_u32(crc32c::crc32c(&covered));
        file.put_slice(&covered);
        file.freeze()
    }

    /// The producers in a `.snapshot` file named by `known_to`. Of more than are remembered those that wrote last are
    /// kept.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn from_snapshot(file: &[u8], known_to: Offset) -> Result<Self, SnapshotError> {
        let (head, entries) = file.split_first_chunk::<SNAPSHOT_HEAD_BYTES>().ok_or(SnapshotError::Size)?;
        let [v0, v1, c0, c1, c2, c3, n0, n1, n2, n3] = *head;
        let version = i16::from_be_bytes([v0, v1]);
        if version != SNAPSHOT_VERSION {
            return Err(SnapshotError::Version(version));
        }
        if crc32c::crc32c(file.get(SNAPSHOT_CHECKSUM_START..).unwrap_or_default())
            != u32::from_be_bytes([c0, c1, c2, c3])
        {
            return Err(SnapshotError::Checksum);
        }
        let (entries, []) = entries.as_chunks::<SNAPSHOT_ENTRY_BYTES>() else { return Err(SnapshotError::Size) };
        if usize::try_from(i32::from_be_bytes([n0, n1, n2, n3])) != Ok(entries.len()) {
            return Err(SnapshotError::Size);
        }
        let mut states = Self { known_to, ..Self::new() };
        for bytes in entries {
            let (id, entry) = decode_entry(bytes);
            if states.entries.contains_key(&id) {
                return Err(SnapshotError::DuplicateProducer(id));
            }
            states.make_room();
            states.insert(id, entry);
        }
        Ok(states)
    }
}

fn decode_entry(bytes: &[u8; SNAPSHOT_ENTRY_BYTES]) -> (ProducerId, ProducerEntry) {
    let mut bytes = &bytes[..];
    let id = ProducerId(bytes.get_i64());
    let mut entry = ProducerEntry::new(ProducerEpoch(bytes.get_i16()));
    let last_sequence = Sequence(bytes.get_i32());
    let last_offset = Offset(bytes.get_i64());
    let offset_delta = bytes.get_i32();
    let timestamp = Timestamp(bytes.get_i64());
    entry.coordinator_epoch = bytes.get_i32();
    let transaction_start = Offset(bytes.get_i64());
    entry.last_timestamp = timestamp;
    entry.last_written = last_offset;
    entry.transaction_start = (transaction_start >= Offset(0)).then_some(transaction_start);
    if last_offset >= Offset(0) {
        entry.remember(StoredBatch { last_sequence, last_offset, offset_delta, timestamp });
    }
    (id, entry)
}
