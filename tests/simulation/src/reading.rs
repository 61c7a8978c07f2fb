//! How clients read: the topics that there are, and a partition's records with every check that a reader can make.

use std::collections::BTreeMap;

use bytes::Bytes;
use corelane_core::protocol::ErrorCode;
use corelane_core::protocol::messages::{
    FetchRequest, MetadataRequest, fetch_request, fetch_response, metadata_request,
};
use corelane_core::record::Batches;

use crate::client::{Link, Lost};
use crate::promises::Partition;

const FETCH_VERSION: i16 = 12;
const METADATA_VERSION: i16 = 12;

/// Longest that the last reader's fetches wait for records, of which there are no more.
const LAST_FETCH_WAIT_MS: i32 = 1;
/// Uncompressed bytes that a batch may open to.
const OPENED_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How a fault begins that is only the end of the reader's connection.
pub(crate) const CONNECTION_BROKE: &str = "the connection broke";

/// Id and number of partitions of every topic.
pub(crate) async fn describe(link: &mut Link) -> Result<BTreeMap<String, ([u8; 16], i32)>, Lost> {
    let request = MetadataRequest { topics: None::<Vec<metadata_request::MetadataRequestTopic>>, ..Default::default() };
    let response = link.call(METADATA_VERSION, &request).await?;
    let topics = response.topics.into_iter().filter_map(|topic| {
        let partitions = i32::try_from(topic.partitions.len()).ok()?;
        Some((topic.name?.as_str().to_owned(), (topic.topic_id, partitions)))
    });
    Ok(topics.collect())
}

/// All values of a partition, and what was wrong, if something was.
pub(crate) async fn read_partition(link: &mut Link, partition: Partition) -> (Vec<Bytes>, Option<String>) {
    let mut read = Vec::new();
    loop {
        let offset = i64::try_from(read.len()).unwrap_or(i64::MAX);
        let Ok(part) = fetch(link, partition, offset, LAST_FETCH_WAIT_MS).await else {
            return (read, Some(format!("{CONNECTION_BROKE} at offset {offset}")));
        };
        if part.error_code != 0 {
            return (read, Some(format!("fetch at {offset} says {}", ErrorCode(part.error_code))));
        }
        if part.log_start_offset != 0 {
            return (read, Some(format!("the log starts at {}", part.log_start_offset)));
        }
        match values(&part, offset) {
            Ok(values) if values.is_empty() && part.high_watermark <= offset => return (read, None),
            Ok(values) if values.is_empty() => {
                return (read, Some(format!("nothing at {offset} below the high watermark {}", part.high_watermark)));
            }
            Ok(values) => read.extend(values),
            Err(fault) => return (read, Some(fault)),
        }
    }
}

/// One fetch of one partition.
pub(crate) async fn fetch(
    link: &mut Link,
    partition: Partition,
    offset: i64,
    wait_ms: i32,
) -> Result<fetch_response::PartitionData, Lost> {
    let response = link.call(FETCH_VERSION, &request(partition, offset, wait_ms)).await?;
    let part = response.responses.into_iter().next().and_then(|topic| topic.partitions.into_iter().next());
    Ok(part.unwrap_or(fetch_response::PartitionData { error_code: response.error_code, ..Default::default() }))
}

fn request(partition: Partition, offset: i64, wait_ms: i32) -> FetchRequest {
    FetchRequest {
        max_wait_ms: wait_ms,
        min_bytes: 1,
        topics: vec![fetch_request::FetchTopic {
            topic: partition.0.into(),
            partitions: vec![fetch_request::FetchPartition {
                partition: partition.1,
                fetch_offset: offset,
                partition_max_bytes: 1024 * 1024,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// The fetches of one partition over one connection, in a session (KIP-227): what has not changed is neither asked for
/// again nor told again.
#[derive(Default)]
pub(crate) struct FetchSession {
    id: i32,
    epoch: i32,
    /// Where the session stands; `None` before it has begun.
    offset: Option<i64>,
    high_watermark: i64,
}

impl FetchSession {
    /// The next fetch, and what is wrong with it if it keeps back what a fetch outside of the session was shown just before.
    pub(crate) async fn fetch(
        &mut self,
        link: &mut Link,
        partition: Partition,
        offset: i64,
        wait_ms: i32,
    ) -> Result<(fetch_response::PartitionData, Option<String>), Lost> {
        let shown = fetch(link, partition, offset, 0).await?;
        let told = self.fetch_in_session(link, partition, offset, wait_ms).await?;
        let has_records =
            |part: &fetch_response::PartitionData| !part.records.as_deref().unwrap_or_default().is_empty();
        let keeps_back = shown.error_code == 0
            && told.error_code == 0
            && (has_records(&shown) && !has_records(&told) || told.high_watermark < shown.high_watermark);
        let fault = keeps_back.then(|| {
            format!(
                "the session tells {} bytes below {} where {} bytes below {} were shown",
                told.records.as_deref().unwrap_or_default().len(),
                told.high_watermark,
                shown.records.as_deref().unwrap_or_default().len(),
                shown.high_watermark
            )
        });
        Ok((told, fault))
    }

    /// A partition that is not mentioned is as it was, without records.
    async fn fetch_in_session(
        &mut self,
        link: &mut Link,
        partition: Partition,
        offset: i64,
        wait_ms: i32,
    ) -> Result<fetch_response::PartitionData, Lost> {
        let mut request = request(partition, offset, wait_ms);
        (request.session_id, request.session_epoch) = (self.id, self.epoch);
        if self.offset == Some(offset) {
            request.topics.clear();
        }
        let response = link.call(FETCH_VERSION, &request).await?;
        let part = response.responses.into_iter().next().and_then(|topic| topic.partitions.into_iter().next());
        if response.error_code != 0 || (response.session_id == 0 && part.is_none()) {
            *self = Self::default();
            return Ok(fetch_response::PartitionData { error_code: response.error_code, ..Default::default() });
        }
        (self.id, self.epoch) = (response.session_id, if response.session_id == 0 { 0 } else { self.epoch + 1 });
        self.offset = (self.id != 0).then_some(offset);
        if let Some(part) = &part {
            self.high_watermark = part.high_watermark;
        }
        let unchanged = fetch_response::PartitionData { high_watermark: self.high_watermark, ..Default::default() };
        Ok(part.unwrap_or(unchanged))
    }
}

/// The values of a fetched partition from an offset on, which must be there without a gap.
pub(crate) fn values(part: &fetch_response::PartitionData, from: i64) -> Result<Vec<Bytes>, String> {
    let mut values = Vec::new();
    let mut next = None;
    for batch in Batches::new(part.records.clone().unwrap_or_default()) {
        let batch = match batch {
            Ok(batch) => batch,
            // An answer may end in the middle of a batch, but not begin so.
            Err(error) if next.is_none() => return Err(format!("the answer is not a batch: {error}")),
            Err(_) => break,
        };
        let base = batch.header().base_offset().0;
        if !batch.is_crc_valid() {
            return Err(format!("the batch at {base} has a wrong checksum"));
        }
        if next.is_some_and(|next| next != base) || (next.is_none() && base > from) {
            return Err(format!("a batch at {base} where {} was expected", next.unwrap_or(from)));
        }
        if next.is_none() && batch.header().last_offset().0 < from {
            return Err(format!("the answer begins with the batch at {base}, which ends below {from}"));
        }
        next = Some(batch.header().last_offset().0 + 1);
        let opened = batch.open(OPENED_BYTES_MAX).map_err(|error| format!("the batch at {base}: {error}"))?;
        for record in batch.records(&opened) {
            let record = record.map_err(|error| format!("the batch at {base}: {error}"))?;
            if base + i64::from(record.offset_delta) >= from {
                values.push(Bytes::copy_from_slice(record.value.unwrap_or_default()));
            }
        }
        if base > part.high_watermark || next.is_some_and(|next| next > part.high_watermark) {
            return Err(format!("the batch at {base} is beyond the high watermark {}", part.high_watermark));
        }
    }
    Ok(values)
}
