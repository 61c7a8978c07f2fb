//! Reading back the batches of idempotent producers that a producer snapshot stands for and does not list.

use std::io;
use std::path::Path;

use corelane_core::base::{FilePosition, Offset};
use corelane_core::limits::{TASK_BUDGET_US, WALK_BYTES};
use corelane_core::log::ProducerStates;
use corelane_core::log::index::OffsetIndex;
use corelane_core::log::names::SegmentFileKind;
use corelane_core::log::read_plan::HeaderWalk;
use corelane_core::log::recovery::{RecallPart, recall_parts};
use corelane_core::partition::Segment;

use super::segments::path_of;
use crate::sys::{OpenMode, Sys};

/// Completes what is remembered of each producer to its last batches, as far as they lie in the last part of the log. A
/// part that cannot be walked is left out: less is remembered then, which is Kafka's lot always.
///
/// # Errors
/// The disk cannot be read.
pub(super) async fn recall<S: Sys>(
    sys: &S,
    directory: &Path,
    segments: &[Segment],
    producers: &mut ProducerStates,
) -> io::Result<()> {
    let sizes: Vec<(Offset, u64)> = segments.iter().map(|segment| (segment.base, segment.bytes)).collect();
    for part in recall_parts(&sizes, producers.known_to()) {
        if producers.lacks_batches_from(part.segment) {
            walk(sys, directory, part, producers).await?;
        }
    }
    Ok(())
}

async fn walk<S: Sys>(sys: &S, directory: &Path, part: RecallPart, producers: &mut ProducerStates) -> io::Result<()> {
    let open = |kind| sys.open(path_of(directory, part.segment, kind), OpenMode::Read);
    let log = open(SegmentFileKind::Log).await?;
    let mut position = FilePosition(0);
    if part.from > position {
        let index = open(SegmentFileKind::OffsetIndex).await?;
        let len = usize::try_from(sys.len(&index)?).map_err(io::Error::other)?;
        let entries = sys.read_at(&index, FilePosition(0), len).await?;
        let entries = OffsetIndex::new(part.segment, &entries).ascending_prefix(part.end);
        position = entries.at_or_before(part.from).map_or(position, |entry| entry.position);
    }
    let mut breathed = sys.now();
    while position < part.end {
        let chunk = sys.read_at(&log, position, WALK_BYTES).await?;
        let mut walk = HeaderWalk::new(&chunk, position);
        while let Some(found) = walk.next_header() {
            let Ok((batch, header)) = found else {
                let file = path_of(directory, part.segment, SegmentFileKind::Log);
                tracing::warn!(file = %file.display(), position = walk.position().0, "no batch where one should begin");
                return Ok(());
            };
            if batch.end > part.end || batch.base_offset >= producers.known_to() {
                return Ok(());
            }
            producers.recall(&header);
        }
        if walk.position() <= position {
            return Ok(());
        }
        position = walk.position();
        if sys.now().since_ns(breathed) > TASK_BUDGET_US * 1_000 {
            sys.breathe().await;
            breathed = sys.now();
        }
    }
    Ok(())
}
