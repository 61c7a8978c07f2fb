//! What a node was started with.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use corelane_core::config::BrokerConfig;

use crate::logging::Logging;

/// Settings of one node, the same on every shard.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The broker's configuration.
    pub config: BrokerConfig,
    /// The data directory, absolute.
    pub data_directory: PathBuf,
    /// Where to listen: the addresses that each of the configuration's listeners resolved to.
    pub addresses: Vec<Vec<SocketAddr>>,
    /// What large frames of all shards together may hold in memory.
    pub request_memory_bytes_max: usize,
    /// What answers to fetches of all shards together may hold in memory, beyond a little for each.
    pub answer_memory_bytes_max: usize,
    /// What the log shows.
    pub log: Arc<Logging>,
    /// Names this boot of the machine: if it is the same at the next start, the page cache has survived.
    pub boot_id: String,
}

impl Settings {
    /// Largest request frame.
    pub(crate) fn request_bytes_max(&self) -> usize {
        usize::try_from(self.config.request_max_bytes).unwrap_or(usize::MAX)
    }

    /// Largest answer to a fetch.
    pub(crate) fn fetch_bytes_max(&self) -> usize {
        usize::try_from(self.config.fetch_max_bytes).unwrap_or(usize::MAX)
    }

    /// Fetch sessions of all shards.
    pub(crate) fn fetch_sessions_max(&self) -> usize {
        usize::try_from(self.config.fetch_sessions_max).unwrap_or(usize::MAX)
    }
}
