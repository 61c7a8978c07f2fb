//! DescribeLogDirs: what the data directory holds.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use corelane_core::protocol::ErrorCode;
use corelane_core::protocol::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use corelane_core::protocol::messages::{DescribeLogDirsRequest, DescribeLogDirsResponse};

use super::{Request, Served};
use crate::shard::Shard;
use crate::sys::Sys;

pub(super) async fn serve<S: Sys>(shard: &Rc<Shard<S>>, request: &Request) -> Served<S> {
    let asked: DescribeLogDirsRequest = request.decode()?;
    let wanted: Option<BTreeSet<(&str, i32)>> = asked.topics.as_ref().map(|topics| {
        let named = topics.iter().flat_map(|topic| topic.partitions.iter().map(|index| (&*topic.topic, *index)));
        named.collect()
    });
    let mut topics: BTreeMap<String, Vec<DescribeLogDirsPartition>> = BTreeMap::new();
    for marks in shard.marks(shard.view(request.origin).shards()).await {
        if wanted.as_ref().is_none_or(|wanted| wanted.contains(&(marks.topic.as_str(), marks.index.0))) {
            topics.entry(marks.topic).or_default().push(DescribeLogDirsPartition {
                partition_index: marks.index.0,
                partition_size: i64::try_from(marks.bytes).unwrap_or(i64::MAX),
                // A leader does not lag behind itself.
                offset_lag: 0,
                is_future_key: false,
            });
        }
    }
    let directory = &shard.settings.data_directory;
    let space = shard.sys.disk_space(directory.clone()).await;
    if let Err(error) = &space {
        tracing::warn!(%error, directory = %directory.display(), "the file system does not say what it holds");
    }
    let bytes = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    let result = DescribeLogDirsResult {
        error_code: if space.is_ok() { ErrorCode::NONE.0 } else { ErrorCode::KAFKA_STORAGE_ERROR.0 },
        log_dir: directory.display().to_string().into(),
        topics: topics
            .into_iter()
            .map(|(name, mut partitions)| {
                partitions.sort_by_key(|partition| partition.partition_index);
                DescribeLogDirsTopic { name: name.into(), partitions }
            })
            .collect(),
        total_bytes: space.as_ref().map_or(-1, |space| bytes(space.total_bytes)),
        usable_bytes: space.as_ref().map_or(-1, |space| bytes(space.usable_bytes)),
        ..Default::default()
    };
    request.answer(&DescribeLogDirsResponse { results: vec![result], ..Default::default() })
}
