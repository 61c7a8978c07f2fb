//! AlterReplicaLogDirs: which directory a replica lies in. There is one, and all of them are there.

use std::path::Path;
use std::rc::Rc;

use corelane_core::base::PartitionIndex;
use corelane_core::protocol::ErrorCode;
use corelane_core::protocol::messages::alter_replica_log_dirs_response::{
    AlterReplicaLogDirPartitionResult, AlterReplicaLogDirTopicResult,
};
use corelane_core::protocol::messages::{AlterReplicaLogDirsRequest, AlterReplicaLogDirsResponse};

use super::{Request, Served};
use crate::shard::Shard;
use crate::storage::PartitionKey;
use crate::sys::Sys;

pub(super) fn serve<S: Sys>(shard: &Rc<Shard<S>>, request: &Request) -> Served<S> {
    let asked: AlterReplicaLogDirsRequest = request.decode()?;
    let catalog = shard.catalog();
    let mut results = Vec::new();
    for directory in &asked.dirs {
        let ours = Path::new(&*directory.path) == shard.settings.data_directory;
        for topic in &directory.topics {
            let known = catalog.topic_by_name(&topic.name);
            let result = |index: &i32| {
                let key = known.map(|known| PartitionKey { topic: known.image.id, index: PartitionIndex(*index) });
                let error = match key.filter(|key| catalog.has_partition(*key)) {
                    _ if !ours => ErrorCode::LOG_DIR_NOT_FOUND,
                    None => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
                    Some(_) => ErrorCode::NONE,
                };
                AlterReplicaLogDirPartitionResult { partition_index: *index, error_code: error.0 }
            };
            results.push(AlterReplicaLogDirTopicResult {
                topic_name: topic.name.clone(),
                partitions: topic.partitions.iter().map(result).collect(),
            });
        }
    }
    request.answer(&AlterReplicaLogDirsResponse { results, ..Default::default() })
}
