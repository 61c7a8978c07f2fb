//! Opening a partition's log: made if it is new, recovered as `corelane_core::log::recovery` plans.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use bytes::Bytes;
use corelane_core::base::{FilePosition, LeaderEpoch, NodeId, Offset, ShardId, Timestamp};
use corelane_core::limits::RECOVERY_CHUNK_BYTES;
use corelane_core::log::epochs::LeaderEpochs;
use corelane_core::log::index::{IndexBuilder, TIME_ENTRY_BYTES, TimeIndex, UnwrittenEntries};
use corelane_core::log::names::{DirectoryStage, PartitionDirectory, SegmentFile, SegmentFileKind};
use corelane_core::log::partition_metadata::PartitionMetadata;
use corelane_core::log::recovery::{LogPlan, ScanEnd, ScanStep, SegmentFacts, SegmentPlan, SegmentScan};
use corelane_core::log::{PreviousRun, ProducerStates};
use corelane_core::partition::{LogSettings, Partition, Recovered, Segment};
use corelane_core::protocol::ErrorCode;
use corelane_core::record::header::HEADER_BYTES;
use corelane_core::record::{BatchHeader, EndMarker};

use super::aborted::{self, AbortedBytes};
use super::append::AppendError;
use super::checkpoints::Checkpoints;
use super::claims::{AskCoordinator, Claims};
use super::exchange;
use super::gather::Gathering;
use super::recall::recall;
use super::searches::Searches;
use super::segments::{SegmentFiles, open_files, path_of, remove_all, remove_segment};
use super::{PartitionKey, PartitionLog, State};
use crate::hop::WatchId;
use crate::local::{GroupCommit, Signal, Turn};
use crate::stages::Stages;
use crate::sys::{OpenMode, Sys};

const PARTITION_METADATA: &str = "partition.metadata";
/// Where each leadership began, in the folder of a partition.
pub(super) const LEADER_EPOCHS: &str = "leader-epoch-checkpoint";

/// What a log is opened with.
pub(crate) struct OpenOptions<'a, S: Sys> {
    /// The data directory.
    pub(crate) root: &'a Path,
    /// Syncs of it, which logs that are opened together share.
    pub(crate) root_syncs: &'a GroupCommit,
    pub(crate) topic: &'a str,
    pub(crate) key: PartitionKey,
    pub(crate) settings: LogSettings,
    /// Epoch of this leadership.
    pub(crate) leader_epoch: LeaderEpoch,
    pub(crate) node: NodeId,
    pub(crate) checkpoints: &'a Checkpoints,
    /// Where the times of its appends and syncs are counted.
    pub(crate) stages: Rc<Stages>,
    /// Its appends may go past the page cache.
    pub(crate) may_be_direct: bool,
    /// Where its appends wait for those right behind them.
    pub(crate) gathering: Rc<Gathering<S>>,
    /// Tells a watcher that more became visible.
    pub(crate) notify: Rc<dyn Fn(ShardId, WatchId)>,
    /// Asks who coordinates a transaction whether this partition takes part in it.
    pub(crate) ask_coordinator: AskCoordinator,
}

/// Opens a partition's log.
///
/// # Errors
/// The disk fails, or holds something that is not this partition and cannot be put aside.
pub(crate) async fn open<S: Sys>(sys: &S, options: OpenOptions<'_, S>) -> io::Result<Rc<PartitionLog<S>>> {
    let OpenOptions { root, topic, key, settings, leader_epoch, node, checkpoints, stages, .. } = options;
    let OpenOptions { root_syncs, may_be_direct, gathering, notify, ask_coordinator, .. } = options;
    let directory = root.join(PartitionDirectory::live(topic, key.index).name());
    claim_directory(sys, (root, root_syncs), topic, key, &directory).await?;
    let point = checkpoints.recovery_point(topic, key.index);
    let opened = recover(sys, &directory, &settings, checkpoints, point).await?;
    let Opened { mut recovered, snapshots, files, aborted_bytes } = opened;
    recovered.log_start = recovered.log_start.max(checkpoints.log_start(topic, key.index)).min(recovered.log_end);

    let active = recovered.segments.last().map_or(Offset(0), |segment| segment.base);
    let files = match files {
        Some(files) => files,
        None => open_files(sys, &directory, active).await?,
    };
    let mut unsynced = unsynced_files(sys, &directory, &recovered).await?;
    if settings.is_strict() && recovered.durable < recovered.log_end {
        // What the last run wrote and did not sync was never shown; it is, from now on.
        write_again(sys, &directory, &recovered).await?;
        for file in unsynced.drain(..) {
            sys.sync_data(&file).await?;
        }
        sys.sync_directory(directory.clone()).await?;
        recovered.durable = recovered.log_end;
    }
    let epochs_before = recovered.epochs.clone();
    let machine = Partition::new(settings, leader_epoch, recovered, sys.random());
    if *machine.epochs() != epochs_before {
        let text = machine.epochs().to_text();
        sys.replace_file(&directory.join(LEADER_EPOCHS), Bytes::from(text)).await?;
    }
    // A mark beyond the log is of another one, that had this name.
    let cleaned_to = machine.settings().compaction.and_then(|_| checkpoints.cleaned_to(topic, key.index));
    let cleaned_to = cleaned_to.filter(|cleaned| *cleaned <= machine.log_end());
    let written_back = FilePosition(machine.active().bytes);
    Ok(Rc::new(PartitionLog {
        sys: sys.clone(),
        stages,
        key,
        node,
        topic: topic.to_owned(),
        name: format!("{topic}-{}", key.index),
        directory,
        machine: RefCell::new(machine),
        state: Cell::new(State::Serving),
        files: RefCell::new(BTreeMap::from([(active, files)])),
        snapshots: RefCell::new(snapshots),
        queue: RefCell::default(),
        draining: Cell::new(false),
        gathering,
        is_gathered: Cell::new(false),
        idle: Signal::default(),
        roll_wanted: Cell::new(false),
        roll_tries: Cell::new(0),
        rolled: Signal::default(),
        is_stale: Cell::new(false),
        paused_by: RefCell::default(),
        resume_tried: Cell::new(sys.now()),
        unacknowledged: RefCell::default(),
        claims: Claims::default(),
        ask_coordinator,
        may_be_direct: Cell::new(may_be_direct),
        direct: RefCell::default(),
        syncing: Cell::new(false),
        synced: Signal::default(),
        directory_unsynced: Cell::new(true),
        unsynced_bytes: Cell::new(0),
        unsynced_files: RefCell::new(unsynced),
        aborted_unsynced: Cell::new(false),
        unsynced_since: Cell::new(None),
        producers_expired: Cell::new(sys.now()),
        written_back: Cell::new(written_back),
        care: Turn::default(),
        searches: Searches::default(),
        cleaned_to: Cell::new(cleaned_to),
        clean_after: Cell::new(sys.now()),
        is_uncleanable: Cell::new(false),
        aborted_bytes: RefCell::new(aborted_bytes),
        watches: RefCell::default(),
        notify,
    }))
}

/// Makes sure that the directory is there and belongs to this topic. One that was left by another topic of the same
/// name is put aside, never overwritten.
async fn claim_directory<S: Sys>(
    sys: &S,
    (root, root_syncs): (&Path, &GroupCommit),
    topic: &str,
    key: PartitionKey,
    directory: &Path,
) -> io::Result<()> {
    let metadata = directory.join(PARTITION_METADATA);
    if let Some(bytes) = sys.read_file(metadata.clone()).await? {
        let text = String::from_utf8_lossy(&bytes);
        match PartitionMetadata::parse(&text) {
            Ok(found) if found.topic_id == key.topic => return Ok(()),
            Ok(found) => {
                let unique = format!("{:016x}{:016x}", sys.random(), sys.random());
                let stage = DirectoryStage::Stray(unique);
                let aside = PartitionDirectory { topic: topic.to_owned(), partition: key.index, stage };
                let aside = root.join(aside.name());
                tracing::warn!(directory = %directory.display(), topic_id = %found.topic_id, aside = %aside.display(),
                    "directory belongs to another topic and is put aside");
                sys.rename(directory.to_owned(), aside).await?;
            }
            // A crash can leave it empty: it was written before the first record.
            Err(_) if bytes.is_empty() => {}
            Err(error) => {
                let message =
                    format!("{}: {error}; remove the file if the directory belongs to {topic}", metadata.display());
                return Err(io::Error::new(io::ErrorKind::InvalidData, message));
            }
        }
    }
    sys.create_directory(directory.to_owned()).await?;
    let text = PartitionMetadata { topic_id: key.topic }.to_text();
    sys.replace_file(&metadata, Bytes::from(text)).await?;
    root_syncs.share(|| sys.sync_directory(root.to_owned())).await
}

struct Opened<S: Sys> {
    recovered: Recovered,
    snapshots: BTreeSet<Offset>,
    /// Files of the active segment, if there is one.
    files: Option<SegmentFiles<S>>,
    aborted_bytes: AbortedBytes,
}

/// What lies in a partition's directory.
struct Listing {
    segments: Vec<SegmentFacts>,
    /// Those that have a `.txnindex`.
    with_aborted: BTreeSet<Offset>,
    snapshots: BTreeSet<Offset>,
}

async fn list<S: Sys>(sys: &S, directory: &Path) -> io::Result<Listing> {
    let mut kinds: BTreeMap<Offset, BTreeSet<SegmentFileKind>> = BTreeMap::new();
    let mut snapshots = BTreeSet::new();
    exchange::finish(sys, directory).await?;
    for entry in sys.list(directory.to_owned()).await? {
        match SegmentFile::parse(&entry.name) {
            Some(SegmentFile { base_offset, kind: SegmentFileKind::ProducerSnapshot, .. }) => {
                snapshots.insert(base_offset);
            }
            Some(SegmentFile { base_offset, kind, .. }) => {
                kinds.entry(base_offset).or_default().insert(kind);
            }
            None => {}
        }
    }
    let (segments, orphans): (BTreeMap<_, _>, BTreeMap<_, _>) =
        kinds.into_iter().partition(|(_, kinds)| kinds.contains(&SegmentFileKind::Log));
    for (base, kinds) in orphans {
        // Of a segment that was about to be removed.
        for kind in kinds {
            sys.remove_file(path_of(directory, base, kind)).await?;
        }
    }
    let has_aborted =
        |(base, kinds): (&Offset, &BTreeSet<_>)| kinds.contains(&SegmentFileKind::TransactionIndex).then_some(*base);
    let with_aborted = segments.iter().filter_map(has_aborted).collect();
    let facts = segments.into_iter().map(|(base_offset, kinds)| SegmentFacts {
        base_offset,
        has_indexes: kinds.contains(&SegmentFileKind::OffsetIndex) && kinds.contains(&SegmentFileKind::TimeIndex),
    });
    Ok(Listing { segments: facts.collect(), with_aborted, snapshots })
}

/// Brings the files into a state that the machine can start from.
async fn recover<S: Sys>(
    sys: &S,
    directory: &Path,
    settings: &LogSettings,
    checkpoints: &Checkpoints,
    recovery_point: Offset,
) -> io::Result<Opened<S>> {
    let Listing { segments: segment_facts, with_aborted, mut snapshots } = list(sys, directory).await?;
    let plan_segments = segment_facts.len();
    let mut epochs = read_epochs(sys, directory).await?;
    let (plan, mut producers) = loop {
        let known: Vec<Offset> = snapshots.iter().copied().collect();
        let plan = LogPlan::new(checkpoints.previous, recovery_point, &segment_facts, &known);
        let Some(offset) = plan.producer_snapshot else { break (plan, ProducerStates::new()) };
        let path = path_of(directory, offset, SegmentFileKind::ProducerSnapshot);
        let bytes = sys.read_file(path.clone()).await?.unwrap_or_default();
        match ProducerStates::from_snapshot(&bytes, offset) {
            Ok(producers) => break (plan, producers),
            Err(error) => {
                tracing::warn!(file = %path.display(), %error, "producer snapshot is damaged and not used");
                sys.remove_file(path).await?;
                snapshots.remove(&offset);
            }
        }
    };

    let replay_from = plan.producer_snapshot.unwrap_or(Offset(0));
    let mut segments = Vec::with_capacity(segment_facts.len().max(1));
    let mut last = None;
    let mut cut = false;
    let mut aborted_bytes = AbortedBytes::new();
    for (at, (facts, plan)) in segment_facts.iter().zip(&plan.segments).enumerate() {
        let base = facts.base_offset;
        if cut {
            // Behind a batch that is lost nothing may stay: offsets would have a hole that was never acknowledged.
            remove_segment(sys, directory, base).await?;
            continue;
        }
        let (from, checksums_from) = match *plan {
            SegmentPlan::Trust => {
                segments.push(trusted(sys, directory, base).await?);
                if with_aborted.contains(&base) {
                    let bytes = aborted::trusted_bytes(sys, directory, base).await?;
                    aborted_bytes.extend(bytes.map(|bytes| (base, bytes)));
                }
                last = None;
                continue;
            }
            SegmentPlan::Replay { from } => (from, None),
            SegmentPlan::Scan { from, checksums_from } => (from, Some(checksums_from)),
        };
        let mut walked = Vec::new();
        let mut on_batch = |header: &BatchHeader, marker: Option<EndMarker>| {
            epochs.replay(header.leader_epoch(), header.base_offset());
            if header.base_offset() >= replay_from {
                walked.extend(producers.replay(header, marker).and_then(|ended| ended.aborted()));
            }
        };
        let is_active = at + 1 == plan_segments;
        let scan = SegmentToScan { directory, base, settings, from, checksums_from, is_active };
        let scanned = scan.run(sys, &mut on_batch).await?;
        // A segment can lose whole batches at its end, which it does not show; the base of the next one does. Below the
        // recovery point nothing was lost, and there and in a compacted topic a gap is compaction's.
        let next_base = segment_facts
            .get(at + 1)
            .map(|next| next.base_offset)
            .filter(|base| *base > recovery_point && settings.compaction.is_none());
        cut = scanned.cut || next_base.is_some_and(|base| base != scanned.next_offset);
        if with_aborted.contains(&base) || !walked.is_empty() {
            let trusted_to = replay_from.min(scanned.next_offset);
            let bytes = aborted::bring_in_line(sys, directory, base, trusted_to, &walked).await?;
            aborted_bytes.extend(bytes.map(|bytes| (base, bytes)));
        }
        segments.push(scanned.segment);
        last = Some((scanned.index, scanned.next_offset, Some(scanned.files)));
    }
    let (index, log_end, files) = match last {
        Some(last) => last,
        None if segments.is_empty() => {
            segments.push(Segment::new(Offset(0), sys.wall()));
            (IndexBuilder::new(Offset(0), settings.index), Offset(0), None)
        }
        None => return Err(io::Error::other("the last segment of a log is always scanned")),
    };
    epochs.truncate_to(log_end);
    while let Some(beyond) = snapshots.last().copied().filter(|offset| *offset > log_end) {
        sys.remove_file(path_of(directory, beyond, SegmentFileKind::ProducerSnapshot)).await?;
        snapshots.remove(&beyond);
    }
    if checkpoints.previous != PreviousRun::Stopped {
        recall(sys, directory, &segments, &mut producers).await?;
    }
    let durable = match checkpoints.previous {
        PreviousRun::Stopped => log_end,
        PreviousRun::SameBoot | PreviousRun::OtherBoot => recovery_point.min(log_end),
    };
    let log_start = segments.first().map_or(Offset(0), |segment| segment.base);
    let recovered = Recovered { segments, index, log_start, log_end, durable, producers, epochs };
    Ok(Opened { recovered, snapshots, files, aborted_bytes })
}

/// The files of every segment that is not wholly on the device, as far as the recovery point tells: the last run may
/// not have synced them, and recovery may have written their indexes anew. The next sync covers them before the
/// recovery point passes them.
async fn unsynced_files<S: Sys>(sys: &S, directory: &Path, recovered: &Recovered) -> io::Result<Vec<S::File>> {
    let mut files = Vec::new();
    if recovered.durable >= recovered.log_end {
        return Ok(files);
    }
    for segment in recovered.segments.iter().rev() {
        for kind in [SegmentFileKind::Log, SegmentFileKind::OffsetIndex, SegmentFileKind::TimeIndex] {
            files.push(sys.open(path_of(directory, segment.base, kind), OpenMode::Create).await?);
        }
        if segment.base <= recovered.durable {
            break;
        }
    }
    Ok(files)
}

/// Makes everything that may be unsynced dirty again, by writing it as it stands. Where a sync of the last run failed,
/// the page cache holds bytes that the device never got and that the kernel counts as clean: a sync alone would succeed
/// and promise what is not there. After a loss of power too: the start before this one may have been on this boot, and
/// failed before it had recovered everything.
async fn write_again<S: Sys>(sys: &S, directory: &Path, recovered: &Recovered) -> io::Result<()> {
    let active = recovered.segments.last().map_or(Offset(0), |segment| segment.base);
    for segment in recovered.segments.iter().rev() {
        let indexed = recovered.index.offsets().walk_start(recovered.durable);
        let from = if segment.base == active { indexed } else { FilePosition(0) };
        write_file_again(sys, path_of(directory, segment.base, SegmentFileKind::Log), from).await?;
        for kind in [SegmentFileKind::OffsetIndex, SegmentFileKind::TimeIndex] {
            write_file_again(sys, path_of(directory, segment.base, kind), FilePosition(0)).await?;
        }
        if segment.base <= recovered.durable {
            break;
        }
    }
    Ok(())
}

async fn write_file_again<S: Sys>(sys: &S, path: PathBuf, from: FilePosition) -> io::Result<()> {
    let file = sys.open(path, OpenMode::Write).await?;
    let mut position = from;
    loop {
        let chunk = sys.read_at(&file, position, RECOVERY_CHUNK_BYTES).await?;
        if chunk.is_empty() {
            return Ok(());
        }
        let end = position.plus(chunk.len() as u64);
        sys.write_at(&file, position, vec![chunk]).await?;
        position = end;
        sys.breathe().await;
    }
}

async fn read_epochs<S: Sys>(sys: &S, directory: &Path) -> io::Result<LeaderEpochs> {
    let Some(bytes) = sys.read_file(directory.join(LEADER_EPOCHS)).await? else { return Ok(LeaderEpochs::default()) };
    Ok(LeaderEpochs::parse(&String::from_utf8_lossy(&bytes)).unwrap_or_else(|error| {
        tracing::warn!(directory = %directory.display(), %error, "leader epochs are damaged; those of the batches are used");
        LeaderEpochs::default()
    }))
}

/// A segment whose files are taken as they are.
async fn trusted<S: Sys>(sys: &S, directory: &Path, base: Offset) -> io::Result<Segment> {
    let log = sys.open(path_of(directory, base, SegmentFileKind::Log), OpenMode::Read).await?;
    let times = sys.open(path_of(directory, base, SegmentFileKind::TimeIndex), OpenMode::Read).await?;
    let bytes = sys.len(&log)?;
    let end = sys.len(&times)?;
    let last = end.saturating_sub(end % TIME_ENTRY_BYTES as u64).saturating_sub(TIME_ENTRY_BYTES as u64);
    let entry = sys.read_at(&times, FilePosition(last), TIME_ENTRY_BYTES).await?;
    let largest = TimeIndex::new(base, &entry).last();
    let segment = Segment::new(base, sys.wall());
    Ok(Segment { bytes, largest: largest.unwrap_or(segment.largest), ..segment })
}

/// A segment that is walked.
struct SegmentToScan<'a> {
    directory: &'a Path,
    base: Offset,
    settings: &'a LogSettings,
    from: Offset,
    /// Batches from here on must have the right checksum; `None` if the segment is trusted and only its producers are
    /// wanted.
    checksums_from: Option<Offset>,
    /// It goes on being written.
    is_active: bool,
}

struct Scanned<S: Sys> {
    segment: Segment,
    files: SegmentFiles<S>,
    index: IndexBuilder,
    next_offset: Offset,
    /// Something was cut off its end.
    cut: bool,
}

impl SegmentToScan<'_> {
    /// Walks the segment, cuts what is not good, and brings its index files in line.
    async fn run<S: Sys>(
        &self,
        sys: &S,
        on_batch: &mut impl FnMut(&BatchHeader, Option<EndMarker>),
    ) -> io::Result<Scanned<S>> {
        let open = |kind| sys.open(path_of(self.directory, self.base, kind), OpenMode::Create);
        let log = open(SegmentFileKind::Log).await?;
        let offset_index = open(SegmentFileKind::OffsetIndex).await?;
        let time_index = open(SegmentFileKind::TimeIndex).await?;
        let files = SegmentFiles {
            log: Some(log.clone()),
            offset_index: Some(offset_index.clone()),
            time_index: Some(time_index.clone()),
        };
        let file_bytes = sys.len(&log)?;

        let mut entries = (read_whole(sys, &offset_index).await?, read_whole(sys, &time_index).await?);
        let mut is_trusted = self.checksums_from.is_none();
        let (scan, end) = loop {
            let mut scan = SegmentScan::new(
                self.base,
                FilePosition(file_bytes),
                (self.from, self.checksums_from.unwrap_or(Offset(i64::MAX))),
                self.settings.index,
                (&entries.0, &entries.1),
            );
            match walk(sys, &log, &mut scan, on_batch).await? {
                // Nothing was handed on yet: the wrong entry is the first thing that a walk looks at.
                ScanEnd::WrongIndex => (entries, is_trusted) = ((Bytes::new(), Bytes::new()), false),
                end => break (scan, end),
            }
        };
        let good_end = scan.good_end();
        let next_offset = scan.next_offset();
        let cut = match end {
            ScanEnd::Cut(reason) => {
                tracing::warn!(
                    segment = %path_of(self.directory, self.base, SegmentFileKind::Log).display(),
                    bytes = file_bytes.saturating_sub(good_end.0),
                    next_offset = next_offset.0,
                    ?reason,
                    "log cut at its last good batch"
                );
                sys.truncate(&log, good_end.0).await?;
                sys.sync_data(&log).await?;
                true
            }
            _ => false,
        };
        let mut index = scan.into_index();
        if is_trusted && !cut {
            // Its indexes are on the device, and the next start believes them: they are not touched.
            let segment = trusted(sys, self.directory, self.base).await?;
            return Ok(Scanned { segment, files, index, next_offset, cut });
        }
        if !self.is_active && !cut {
            index.finish();
        }
        let UnwrittenEntries { offset_position, offset_entries, time_position, time_entries } = index.take_unwritten();
        // Order: recovery notices a time entry too many, not one too few.
        end_with(sys, &time_index, time_position, time_entries).await?;
        end_with(sys, &offset_index, offset_position, offset_entries).await?;

        let header = sys.read_at(&log, FilePosition(0), HEADER_BYTES).await?;
        let first_timestamp = BatchHeader::parse(&header).map_or(Timestamp::NONE, |header| header.max_timestamp());
        let segment = Segment {
            bytes: good_end.0,
            first_timestamp,
            largest: index.largest(),
            ..Segment::new(self.base, sys.wall())
        };
        Ok(Scanned { segment, files, index, next_offset, cut })
    }
}

/// Has a file end with these entries from `position` on; nearly always it does already.
async fn end_with<S: Sys>(sys: &S, file: &S::File, position: FilePosition, entries: Bytes) -> io::Result<()> {
    if sys.len(file)? != position.0 {
        sys.truncate(file, position.0).await?;
    }
    if entries.is_empty() { Ok(()) } else { sys.write_at(file, position, vec![entries]).await }
}

pub(super) async fn walk<S: Sys>(
    sys: &S,
    log: &S::File,
    scan: &mut SegmentScan,
    on_batch: &mut impl FnMut(&BatchHeader, Option<EndMarker>),
) -> io::Result<ScanEnd> {
    loop {
        match scan.step() {
            ScanStep::Done(end) => return Ok(end),
            ScanStep::Read { position, bytes_min } => {
                let chunk = sys.read_at(log, position, bytes_min.max(RECOVERY_CHUNK_BYTES)).await?;
                scan.feed(&chunk, &mut *on_batch);
                sys.breathe().await;
            }
        }
    }
}

async fn read_whole<S: Sys>(sys: &S, file: &S::File) -> io::Result<Bytes> {
    let len = usize::try_from(sys.len(file)?).map_err(io::Error::other)?;
    sys.read_at(file, FilePosition(0), len).await
}

impl<S: Sys> PartitionLog<S> {
    /// Opens the log again after a failed write: what the write left behind is cut off.
    pub(super) async fn reopen(&self) -> io::Result<()> {
        let (settings, leader_epoch, durable, bytes) = {
            let machine = self.machine.borrow();
            (machine.settings().clone(), machine.leader_epoch(), machine.durable(), machine.written_bytes())
        };
        let log = self.active_files().log;
        self.sys.truncate(&log, bytes).await?;
        // Everything written lies in the page cache or on the device: as after a kill on the same boot.
        let checkpoints = Checkpoints::nothing(PreviousRun::SameBoot);
        let Opened { mut recovered, snapshots, files, aborted_bytes } =
            recover(&self.sys, &self.directory, &settings, &checkpoints, durable).await?;
        recovered.durable = durable.min(recovered.log_end);
        let active = recovered.segments.last().map_or(Offset(0), |segment| segment.base);
        let files = match files {
            Some(files) => files,
            None => open_files(&self.sys, &self.directory, active).await?,
        };
        *self.unsynced_files.borrow_mut() = unsynced_files(&self.sys, &self.directory, &recovered).await?;
        let mut machine = Partition::new(settings, leader_epoch, recovered, self.sys.random());
        machine.go_on_from(&self.machine.borrow());
        *self.machine.borrow_mut() = machine;
        *self.files.borrow_mut() = BTreeMap::from([(active, files)]);
        *self.snapshots.borrow_mut() = snapshots;
        *self.aborted_bytes.borrow_mut() = aborted_bytes;
        self.is_stale.set(false);
        Ok(())
    }

    /// Closes the log of a topic that was deleted and takes its directory's name away, so that a topic of the same
    /// name can be made at once. Gives the directory that is to be removed; after a crash, the next start removes it.
    pub(crate) async fn retire(&self) -> io::Result<PathBuf> {
        self.state.set(State::Closed);
        self.rolled.raise();
        while self.draining.get() {
            self.idle.next().await;
        }
        let _turn = self.care.take().await;
        self.syncs_ended().await;
        self.refuse_all(&AppendError::new(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, "the topic was deleted"));
        self.advanced();
        let unique = format!("{:016x}{:016x}", self.sys.random(), self.sys.random());
        let stage = DirectoryStage::Deleted(unique);
        let doomed = PartitionDirectory { topic: self.topic.clone(), partition: self.key.index, stage }.name();
        let root = self.directory.parent().map(Path::to_owned).unwrap_or_default();
        let doomed = root.join(doomed);
        self.sys.rename(self.directory.clone(), doomed.clone()).await?;
        self.sys.sync_directory(root).await?;
        Ok(doomed)
    }
}

/// Removes a partition's directory and the files in it.
pub(crate) async fn remove_tree<S: Sys>(sys: &S, directory: PathBuf) -> io::Result<()> {
    // Some of them may be removed at this moment, as those of deleted segments are.
    let files = sys.list(directory.clone()).await?;
    remove_all(sys, files.into_iter().map(|entry| directory.join(entry.name))).await?;
    sys.remove_directory(directory).await
}
