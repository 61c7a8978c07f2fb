//! The care of logs: what need not be kept is taken away, and what is superseded in compacted ones.
//!
//! One log of a shard after the other. Nothing here is on the way of a request: files are opened, read where the page cache
//! does not have them, synced and renamed off the shard, and records are looked at by a helper thread.

use std::rc::Rc;

use corelane_core::config::LogCare;

use crate::hop::{Call, Reply};
use crate::shard::Shard;
use crate::storage::PartitionLog;
use crate::storage::cleaner::{CleaningLimits, Dirty};
use crate::sys::Sys;
use crate::topology::CONTROLLER_SHARD;

/// Takes away, now and then, the segments that are too old, too many, or below their log's start.
pub(crate) async fn retain<S: Sys>(shard: Rc<Shard<S>>) {
    let LogCare { initial_delay_ms, retention_interval_ms, .. } = shard.settings.config.log_care();
    shard.sys.sleep_until(shard.sys.now().plus_ms(initial_delay_ms)).await;
    while !shard.stopping.get() {
        for log in shard.partitions() {
            if let Err(error) = log.retain().await {
                tracing::warn!(partition = %log.name, %error, "old segments could not be deleted");
            }
        }
        shard.sys.sleep_until(shard.sys.now().plus_ms(retention_interval_ms)).await;
    }
}

/// Compacts what is to be compacted, the dirtiest log first.
pub(crate) async fn clean<S: Sys>(shard: Rc<Shard<S>>) {
    while !shard.stopping.get() {
        let care = shard.catalog().broker.log_care();
        if !(care.cleans && clean_dirtiest(&shard, &care).await) {
            shard.sys.sleep_until(shard.sys.now().plus_ms(care.cleaner_backoff_ms.max(1))).await;
        }
    }
}

/// Whether a log was cleaned, so that another may be looked for at once.
async fn clean_dirtiest<S: Sys>(shard: &Rc<Shard<S>>, care: &LogCare) -> bool {
    let Some((log, dirty)) = dirtiest(shard).await else { return false };
    // A start looks for gaps above the recovery point that it reads; below it they are no loss.
    let Reply::WriteCheckpoints(written) = shard.ask(CONTROLLER_SHARD, Call::WriteCheckpoints).await else {
        unreachable!("a reply has the name of its call")
    };
    if let Err(error) = written {
        tracing::warn!(partition = %log.name, %error, "log is not cleaned: its recovery point could not be written down");
        return false;
    }
    let limits = CleaningLimits {
        key_bytes: care.key_bytes / usize::from(shard.sys.shards()),
        key_load: care.key_load,
        bytes_per_second: care.bytes_per_second,
    };
    match log.clean(dirty.cleanable.end, limits).await {
        Ok(was_cleaned) => was_cleaned,
        Err(error) => {
            tracing::warn!(partition = %log.name, %error, "log could not be cleaned");
            false
        }
    }
}

async fn dirtiest<S: Sys>(shard: &Rc<Shard<S>>) -> Option<(Rc<PartitionLog<S>>, Dirty)> {
    let rank = |dirty: &Dirty| (dirty.is_overdue, dirty.cleanable.dirty_ratio);
    let mut dirtiest: Option<(Rc<PartitionLog<S>>, Dirty)> = None;
    for log in shard.partitions() {
        match log.dirty().await {
            Ok(Some(dirty)) if dirtiest.as_ref().is_none_or(|(_, most)| rank(&dirty) > rank(most)) => {
                dirtiest = Some((log, dirty));
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(partition = %log.name, %error, "log could not be looked at"),
        }
    }
    dirtiest
}
