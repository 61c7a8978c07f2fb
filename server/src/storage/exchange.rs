//! Finishes, before a log is opened, an exchange of segments that a log cleaner, ours or Kafka's, was killed in; what it means is
//! in [`corelane_core::log::recovery::Exchange`].

use std::io;
use std::path::Path;

use bytes::Bytes;
use corelane_core::base::{FilePosition, Offset};
use corelane_core::log::SegmentFile;
use corelane_core::log::index::IndexOptions;
use corelane_core::log::names::{FileStage, SegmentFileKind};
use corelane_core::log::recovery::{Exchange, ScanEnd, SegmentScan};

use super::open::walk;
use super::segments;
use crate::sys::{OpenMode, Sys};

/// Brings the folder into a state in which only files in use are left of segments.
///
/// # Errors
/// The disk fails, or a new segment is damaged: nothing that it would replace is removed then.
pub(super) async fn finish<S: Sys>(sys: &S, directory: &Path) -> io::Result<()> {
    let files: Vec<SegmentFile> =
        sys.list(directory.to_owned()).await?.iter().filter_map(|entry| SegmentFile::parse(&entry.name)).collect();
    let exchange = Exchange::of(&files);
    if exchange.is_empty() {
        return Ok(());
    }
    let mut spans: Option<(Offset, Offset)> = None;
    for base in exchange.new_segments() {
        let end = end_of(sys, directory, base).await?;
        let (first, last) = spans.unwrap_or((base, end));
        spans = Some((first.min(base), last.max(end)));
    }
    tracing::info!(directory = %directory.display(), swaps = exchange.swaps.len(), "finishing an interrupted cleaning");
    // Order: each step is on the device before the next is begun.
    remove_all(sys, directory, &exchange.incomplete).await?;
    remove_all(sys, directory, &exchange.worthless).await?;
    if let Some((first, end)) = spans {
        let replaced: Vec<SegmentFile> = Exchange::replaced(&files, first..end).collect();
        remove_all(sys, directory, &replaced).await?;
    }
    for swap in &exchange.swaps {
        let final_name = SegmentFile { stage: FileStage::Live, ..*swap }.name();
        sys.rename(directory.join(swap.name()), directory.join(final_name)).await?;
    }
    sys.sync_directory(directory.to_owned()).await
}

async fn remove_all<S: Sys>(sys: &S, directory: &Path, files: &[SegmentFile]) -> io::Result<()> {
    segments::remove_all(sys, files.iter().map(|file| directory.join(file.name()))).await?;
    if files.is_empty() { Ok(()) } else { sys.sync_directory(directory.to_owned()).await }
}

/// The offset behind the last of a new segment, each batch of which is checked.
async fn end_of<S: Sys>(sys: &S, directory: &Path, base: Offset) -> io::Result<Offset> {
    let name = SegmentFile { base_offset: base, kind: SegmentFileKind::Log, stage: FileStage::Swap }.name();
    let log = sys.open(directory.join(&name), OpenMode::Read).await?;
    let (from, no_index) = ((Offset(i64::MIN), Offset(i64::MIN)), Bytes::new());
    let len = FilePosition(sys.len(&log)?);
    let mut scan = SegmentScan::new(base, len, from, IndexOptions::default(), (&no_index, &no_index));
    match walk(sys, &log, &mut scan, &mut |_, _| {}).await? {
        ScanEnd::Whole => Ok(scan.next_offset()),
        end => {
            let path = directory.join(name);
            let message = format!(
                "{}: damaged at byte {} ({end:?}); remove the .swap files of the directory if the segments that they replace are still there",
                path.display(),
                scan.good_end()
            );
            Err(io::Error::new(io::ErrorKind::InvalidData, message))
        }
    }
}
