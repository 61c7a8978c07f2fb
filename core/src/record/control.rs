//! Control records: marks of the broker or the quorum among the records, hidden from applications.
//!
//! Each takes an offset, so the offsets that a consumer sees have gaps.

use crate::base::{Sequence, Timestamp};
use crate::record::batch::Batch;
use crate::record::builder::{BatchBuilder, BatchOptions};
use crate::record::codec::{CodecError, Compression};
use crate::record::records::Records;

/// What a control record marks: the second half of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlType {
    /// A transaction was aborted.
    Abort,
    /// A transaction was committed.
    Commit,
    /// A quorum has a new leader.
    LeaderChange,
    /// First record of a snapshot.
    SnapshotHeader,
    /// Last record of a snapshot.
    SnapshotFooter,
    /// Version of the quorum's own protocol.
    KraftVersion,
    /// Voters of the quorum.
    KraftVoters,
}

impl ControlType {
    const ALL: [(i16, Self); 7] = [
        (0, Self::Abort),
        (1, Self::Commit),
        (2, Self::LeaderChange),
        (3, Self::SnapshotHeader),
        (4, Self::SnapshotFooter),
        (5, Self::KraftVersion),
        (6, Self::KraftVoters),
    ];

    /// The type that the key of a control record names; `None` if it is too short or names none.
    #[must_use]
    pub fn of_key(key: &[u8]) -> Option<Self> {
        let id = i16::from_be_bytes(*key.get(2..4)?.first_chunk()?);
        Self::ALL.into_iter().find_map(|(number, kind)| (number == id).then_some(kind))
    }

    /// The key of a control record of this type: version 0, then the type.
    #[must_use]
    pub fn key(self) -> [u8; 4] {
        let id = Self::ALL.into_iter().find_map(|(number, kind)| (kind == self).then_some(number)).unwrap_or(-1);
        let [high, low] = id.to_be_bytes();
        [0, 0, high, low]
    }
}

/// The end of a transaction in one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndMarker {
    /// Whether the transaction's records here count.
    pub committed: bool,
    /// Epoch of the coordinator that wrote it; an older one is fenced.
    pub coordinator_epoch: i32,
}

impl EndMarker {
    /// Bytes of a marker's payload that are enough for [`parse`](Self::parse); Kafka's has 16.
    pub const PAYLOAD_BYTES_MAX: usize = 64;

    /// The marker in the payload of a control batch; `None` if that marks something else.
    #[must_use]
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let record = Records::new(payload, 1).next()?.ok()?;
        let committed = match ControlType::of_key(record.key?)? {
            ControlType::Abort => false,
            ControlType::Commit => true,
            _ => return None,
        };
        // Version, which may grow fields behind the epoch, and the epoch.
        let coordinator_epoch = i32::from_be_bytes(*record.value?.get(2..6)?.first_chunk()?);
        Some(Self { committed, coordinator_epoch })
    }

    /// The batch that says so, for the producer in `options`.
    ///
    /// # Errors
    /// None in practice: the batch is small and not compressed.
    pub fn batch(self, options: BatchOptions, at: Timestamp) -> Result<Batch, CodecError> {
        let mut builder = BatchBuilder::new(BatchOptions {
            transactional: true,
            control: true,
            base_sequence: Sequence(-1),
            compression: Compression::default(),
            ..options
        });
        let kind = if self.committed { ControlType::Commit } else { ControlType::Abort };
        let [a, b, c, d] = self.coordinator_epoch.to_be_bytes();
        builder.append(at, Some(&kind.key()), Some(&[0, 0, a, b, c, d]), &[]);
        builder.build()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_comes_back_from_its_batch() {
        for committed in [false, true] {
            let marker = EndMarker { committed, coordinator_epoch: 7 };
            let batch = marker.batch(BatchOptions::default(), Timestamp(5)).unwrap();
            assert!(batch.header().attributes().is_control() && batch.header().attributes().is_transactional());
            assert!(batch.payload().len() <= EndMarker::PAYLOAD_BYTES_MAX);
            assert_eq!(EndMarker::parse(&batch.payload()), Some(marker));
        }
        assert_eq!(EndMarker::parse(b""), None);
        let mut other = BatchBuilder::new(BatchOptions { control: true, ..BatchOptions::default() });
        other.append(Timestamp(0), Some(&ControlType::LeaderChange.key()), Some(&[0; 6]), &[]);
        assert_eq!(EndMarker::parse(&other.build().unwrap().payload()), None);
    }
}
