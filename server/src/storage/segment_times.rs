//! When the segments of a log were last written to, for ListOffsets 0.

use std::io;

use corelane_core::base::Offset;
use corelane_core::log::names::SegmentFileKind;
use corelane_core::log::segment_offsets::{SegmentTime, SegmentTimes};
use corelane_core::protocol::ErrorCode;

use super::read::{Found, readable};
use super::{PartitionKey, PartitionLog};
use crate::sys::Sys;

/// Offsets that are wanted of one partition.
#[derive(Clone, Copy, Debug)]
pub struct SegmentsItem {
    /// Which.
    pub partition: PartitionKey,
    /// Which of its segments.
    pub time: SegmentTime,
    /// How many at most.
    pub count_max: usize,
}

/// First offsets of segments, the largest first, and the end of the log.
pub(crate) async fn segment_offsets<S: Sys>(log: Found<S>, item: SegmentsItem) -> Result<Vec<Offset>, ErrorCode> {
    let log = readable(log)?;
    let _search = log.searches.begin().await;
    let times = log.segment_times().await.map_err(|error| {
        tracing::error!(partition = %log.name, %error, "segments could not be looked at");
        ErrorCode::KAFKA_STORAGE_ERROR
    })?;
    Ok(times.offsets(item.time, item.count_max))
}

impl<S: Sys> PartitionLog<S> {
    async fn segment_times(&self) -> io::Result<SegmentTimes> {
        let bases: Vec<Offset> = self.machine.borrow().segments().iter().map(|segment| segment.base).collect();
        let mut segments = Vec::with_capacity(bases.len());
        for base in bases {
            let file = self.segment_file(base, SegmentFileKind::Log).await?;
            segments.push((base, self.sys.modified(&file)?));
        }
        let machine = self.machine.borrow();
        Ok(SegmentTimes {
            segments,
            log_start: machine.log_start(),
            end: (machine.active().bytes > 0).then(|| (machine.log_end(), self.sys.wall())),
            high_watermark: machine.high_watermark(),
        })
    }
}
