//! Names of the files of a log and of the folder that holds them.

use crate::base::{LeaderEpoch, Offset, PartitionIndex};
use crate::limits::TOPIC_NAME_BYTES_MAX;

/// What a file of a segment holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SegmentFileKind {
    /// Record batches.
    Log,
    /// Offsets to positions in the `.log`.
    OffsetIndex,
    /// Timestamps to offsets.
    TimeIndex,
    /// Aborted transactions.
    TransactionIndex,
    /// Producers as they were below the offset in the name.
    ProducerSnapshot,
}

impl SegmentFileKind {
    /// Every kind.
    pub const ALL: [Self; 5] =
        [Self::Log, Self::OffsetIndex, Self::TimeIndex, Self::TransactionIndex, Self::ProducerSnapshot];

    /// The file name extension, with its dot.
    #[must_use]
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Log => ".log",
            Self::OffsetIndex => ".index",
            Self::TimeIndex => ".timeindex",
            Self::TransactionIndex => ".txnindex",
            Self::ProducerSnapshot => ".snapshot",
        }
    }
}

/// What is being done with a file, as its last suffix says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileStage {
    /// In use.
    #[default]
    Live,
    /// Out of the log; to be removed after `file.delete.delay.ms`, or at once at a start.
    Deleted,
    /// Being written by compaction; worthless after a crash.
    Cleaned,
    /// Complete result of a compaction, taking the place of its sources; a start finishes the exchange.
    Swap,
}

impl FileStage {
    /// The suffix, with its dot; none while in use.
    #[must_use]
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Live => "",
            Self::Deleted => ".deleted",
            Self::Cleaned => ".cleaned",
            Self::Swap => ".swap",
        }
    }
}

/// A file of a segment, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentFile {
    /// First offset of the segment; of a producer snapshot, the offset up to which it speaks.
    pub base_offset: Offset,
    /// What it holds.
    pub kind: SegmentFileKind,
    /// What is being done with it.
    pub stage: FileStage,
}

impl SegmentFile {
    /// The file in use of this kind.
    #[must_use]
    pub const fn live(base_offset: Offset, kind: SegmentFileKind) -> Self {
        Self { base_offset, kind, stage: FileStage::Live }
    }

    /// The name, such as `00000000000000000042.log`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{:020}{}{}", self.base_offset.0, self.kind.extension(), self.stage.suffix())
    }

    /// The file that has this name; `None` if it is not of a segment.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let (digits, rest) = name.split_once('.')?;
        let base_offset = Offset(parse_digits(digits, 20)?);
        let (extension, stage) = match rest.split_once('.') {
            None => (rest, FileStage::Live),
            Some((extension, "deleted")) => (extension, FileStage::Deleted),
            Some((extension, "cleaned")) => (extension, FileStage::Cleaned),
            Some((extension, "swap")) => (extension, FileStage::Swap),
            Some(_) => return None,
        };
        let kind =
            SegmentFileKind::ALL.into_iter().find(|kind| kind.extension().strip_prefix('.') == Some(extension))?;
        Some(Self { base_offset, kind, stage })
    }
}

/// Name of a snapshot of the metadata log: `<20-digit end offset>-<10-digit epoch>.checkpoint`.
#[must_use]
pub fn metadata_snapshot_name(end_offset: Offset, epoch: LeaderEpoch) -> String {
    format!("{:020}-{:010}.checkpoint", end_offset.0, epoch.0)
}

/// End offset and epoch of the metadata snapshot that has this name; `None` for any other file, a partial one included.
#[must_use]
pub fn parse_metadata_snapshot_name(name: &str) -> Option<(Offset, LeaderEpoch)> {
    let (offset, epoch) = name.strip_suffix(".checkpoint")?.split_once('-')?;
    let epoch = i32::try_from(parse_digits(epoch, 10)?).ok()?;
    Some((Offset(parse_digits(offset, 20)?), LeaderEpoch(epoch)))
}

/// Whether this is the name of a metadata snapshot that was not finished, or is not needed any longer. Kafka puts a
/// random number before `.checkpoint.part`.
#[must_use]
pub fn is_metadata_snapshot_remnant(name: &str) -> bool {
    let Some(stem) = name.strip_suffix(".checkpoint.part").or_else(|| name.strip_suffix(".checkpoint.deleted")) else {
        return false;
    };
    let mut parts = stem.splitn(3, '-');
    let mut digits = |width| parts.next().is_some_and(|part| parse_digits(part, width).is_some());
    digits(20) && digits(10)
}

/// Exactly `width` decimal digits.
fn parse_digits(text: &str, width: usize) -> Option<i64> {
    (text.len() == width && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
}

/// The folder of a partition, by its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionDirectory {
    /// Topic; may be cut short where `stage` is not [`DirectoryStage::Live`].
    pub topic: String,
    /// Partition of the topic.
    pub partition: PartitionIndex,
    /// What is being done with it.
    pub stage: DirectoryStage,
}

/// What is being done with the folder of a partition. The text tells two folders of one partition apart.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DirectoryStage {
    /// In use.
    #[default]
    Live,
    /// The topic is deleted; to be removed after `file.delete.delay.ms`, or at once at a start.
    Deleted(String),
    /// A copy on the way to another disk.
    Future(String),
    /// A partition that the metadata does not know; kept for a person to look at.
    Stray(String),
}

/// File systems take no longer name.
const DIRECTORY_NAME_BYTES_MAX: usize = 255;

const _: () = assert!(TOPIC_NAME_BYTES_MAX < DIRECTORY_NAME_BYTES_MAX);

impl PartitionDirectory {
    /// The folder in use of a partition.
    #[must_use]
    pub fn live(topic: &str, partition: PartitionIndex) -> Self {
        Self { topic: topic.to_owned(), partition, stage: DirectoryStage::Live }
    }

    /// The name: `<topic>-<partition>`, and after it, of a folder not in use, `.<unique>-delete`, `-future` or
    /// `-stray`. The topic is cut where the whole would be too long for a file system.
    #[must_use]
    pub fn name(&self) -> String {
        let tail = match &self.stage {
            DirectoryStage::Live => format!("-{}", self.partition),
            DirectoryStage::Deleted(unique) => format!("-{}.{unique}-delete", self.partition),
            DirectoryStage::Future(unique) => format!("-{}.{unique}-future", self.partition),
            DirectoryStage::Stray(unique) => format!("-{}.{unique}-stray", self.partition),
        };
        let mut topic_bytes = self.topic.len().min(DIRECTORY_NAME_BYTES_MAX.saturating_sub(tail.len()));
        while !self.topic.is_char_boundary(topic_bytes) {
            topic_bytes = topic_bytes.saturating_sub(1);
        }
        let topic = self.topic.get(..topic_bytes).unwrap_or_default();
        format!("{topic}{tail}")
    }

    /// The folder that has this name; `None` if it is not of a partition.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        type Make = fn(String) -> DirectoryStage;
        let suffixes: [(&str, Make); 3] = [
            ("-delete", DirectoryStage::Deleted),
            ("-future", DirectoryStage::Future),
            ("-stray", DirectoryStage::Stray),
        ];
        for (suffix, make) in suffixes {
            if let Some(rest) = name.strip_suffix(suffix) {
                let (live, unique) = rest.rsplit_once('.')?;
                let (topic, partition) = parse_live(live)?;
                return (!unique.is_empty()).then(|| Self { topic, partition, stage: make(unique.to_owned()) });
            }
        }
        let (topic, partition) = parse_live(name)?;
        Some(Self { topic, partition, stage: DirectoryStage::Live })
    }
}

fn parse_live(name: &str) -> Option<(String, PartitionIndex)> {
    let (topic, partition) = name.rsplit_once('-')?;
    let number: i32 = partition.parse().ok()?;
    let canonical = number >= 0 && number.to_string() == partition;
    (canonical && !topic.is_empty()).then(|| (topic.to_owned(), PartitionIndex(number)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segment_files_keep_their_names() {
        for kind in SegmentFileKind::ALL {
            for stage in [FileStage::Live, FileStage::Deleted, FileStage::Cleaned, FileStage::Swap] {
                for base in [0, 42, i64::MAX] {
                    let file = SegmentFile { base_offset: Offset(base), kind, stage };
                    assert_eq!(SegmentFile::parse(&file.name()), Some(file));
                }
            }
        }
        assert_eq!(SegmentFile::live(Offset(42), SegmentFileKind::Log).name(), "00000000000000000042.log");
        for other in [
            "leader-epoch-checkpoint",
            "42.log",
            "00000000000000000042",
            "00000000000000000042.lag",
            "+0000000000000000042.log",
            "99999999999999999999.log",
            "00000000000000000042.log.swap.swap",
            "00000000000000000042-0000000001.checkpoint",
            "",
        ] {
            assert_eq!(SegmentFile::parse(other), None, "{other}");
        }
    }

    #[test]
    fn metadata_snapshots_keep_their_names() {
        let name = metadata_snapshot_name(Offset(7), LeaderEpoch(3));
        assert_eq!(name, "00000000000000000007-0000000003.checkpoint");
        assert_eq!(parse_metadata_snapshot_name(&name), Some((Offset(7), LeaderEpoch(3))));
        for other in ["bootstrap.checkpoint", "00000000000000000007-0000000003.checkpoint.part", "7-3.checkpoint"] {
            assert_eq!(parse_metadata_snapshot_name(other), None, "{other}");
        }
        for rest in ["part", "deleted"] {
            assert!(is_metadata_snapshot_remnant(&format!("{name}.{rest}")));
            assert!(is_metadata_snapshot_remnant(&format!("00000000000000000007-0000000003-4711.checkpoint.{rest}")));
        }
        for other in [&*name, "bootstrap.checkpoint.part", "7-3.checkpoint.part", ".checkpoint.part"] {
            assert!(!is_metadata_snapshot_remnant(other), "{other}");
        }
    }

    #[test]
    fn partition_folders_keep_their_names() {
        let unique = || "0123456789abcdef0123456789abcdef".to_owned();
        for stage in [
            DirectoryStage::Live,
            DirectoryStage::Deleted(unique()),
            DirectoryStage::Future(unique()),
            DirectoryStage::Stray(unique()),
        ] {
            for topic in ["t", "a-b.c_d", "x-1", "x-1.y-delete"] {
                let directory =
                    PartitionDirectory { topic: topic.to_owned(), partition: PartitionIndex(12), stage: stage.clone() };
                assert_eq!(PartitionDirectory::parse(&directory.name()), Some(directory));
            }
        }
        for other in ["", "t", "-1", "t-", "t-x", "t-01", "t--1x", "t-1-delete", "t-1.-delete", "t-2147483648"] {
            assert_eq!(PartitionDirectory::parse(other), None, "{other}");
        }
        let long = PartitionDirectory {
            topic: "t".repeat(TOPIC_NAME_BYTES_MAX),
            partition: PartitionIndex(1),
            stage: DirectoryStage::Deleted(unique()),
        };
        assert_eq!(long.name().len(), DIRECTORY_NAME_BYTES_MAX);
        assert!(long.name().ends_with("tt-1.0123456789abcdef0123456789abcdef-delete"));
    }
}
