//! One node as a process: looks whether it can run here, and runs its shards on their cores.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use corelane_core::base::ShardId;
use corelane_core::config::{AppendEngine, BrokerConfig, Listener};
use corelane_core::limits::{ANSWER_MEMORY_BYTES_MAX, REQUEST_MEMORY_BYTES_MAX};

use crate::logging::Logging;
use crate::node::{self, Ready, StartError};
use crate::settings::Settings;
use crate::sys::Sys;
use crate::sys::glommio::{ShardOptions, let_stop_signals_end_the_process, preflight, run_shards};

/// Runs a node with one shard on each of `cores`, whose log shows what `log` says, until SIGTERM or SIGINT; `ready` is
/// called once it serves. A second signal, while it stops, ends the process at once, as a `kill -9` does.
///
/// # Errors
/// Why it could not start, or what went wrong when it stopped.
pub fn run(
    config: BrokerConfig,
    cores: &[usize],
    log: Logging,
    ready: impl FnOnce(Ready) + Send + 'static,
) -> Result<(), StartError> {
    preflight().map_err(|problems| {
        let lines: Vec<String> =
            problems.iter().map(|problem| format!("{}: {}", problem.what, problem.remedy)).collect();
        StartError(lines.join("\n"))
    })?;
    let addresses = config.listeners.iter().map(resolve).collect::<Result<_, _>>()?;
    let settings = Arc::new(Settings {
        data_directory: absolute(&config.log_dir)?,
        addresses,
        request_memory_bytes_max: REQUEST_MEMORY_BYTES_MAX,
        answer_memory_bytes_max: ANSWER_MEMORY_BYTES_MAX,
        log: Arc::new(log),
        boot_id: boot_id(),
        config,
    });
    let ready = Arc::new(Mutex::new(Some(ready)));
    let result = Arc::new(Mutex::new(Ok(())));
    let outcome = Arc::clone(&result);
    let options = ShardOptions {
        spin: Duration::from_micros(settings.config.spin_us.into()),
        writes_by_ring: settings.config.append_engine == AppendEngine::Ring,
        fetch_path: settings.config.fetch_path,
    };
    let ran = run_shards(cores, options, move |sys| {
        let (settings, ready, outcome) = (Arc::clone(&settings), Arc::clone(&ready), Arc::clone(&outcome));
        async move {
            let leads = sys.shard() == ShardId(0);
            let stop_requested = sys.stop_requested();
            let stop = async move {
                match stop_requested.await {
                    Ok(signal) => tracing::info!(?signal, "stopping; another signal ends the broker at once"),
                    Err(error) => tracing::error!(%error, "signals cannot be received; stopping"),
                }
                if let Err(error) = let_stop_signals_end_the_process() {
                    tracing::warn!(%error, "another signal will not end the broker at once");
                }
            };
            let announce = move |facts| {
                if let Some(ready) = ready.lock().ok().and_then(|mut ready| ready.take()) {
                    ready(facts);
                }
            };
            let ended = node::run(sys, settings, stop, announce).await;
            if leads && let Ok(mut outcome) = outcome.lock() {
                *outcome = ended;
            }
        }
    });
    ran.map_err(|error| StartError(format!("the shards could not be started: {error}")))?;
    result.lock().map_or(Ok(()), |mut result| std::mem::replace(&mut result, Ok(())))
}

/// The addresses that a listener's host stands for; an empty host is every address of the machine.
fn resolve(listener: &Listener) -> Result<Vec<SocketAddr>, StartError> {
    if listener.host == "localhost" {
        // Both, whatever the machine's hosts file says: clients try one or the other first.
        let both = [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)];
        return Ok(both.map(|ip| SocketAddr::new(ip, listener.port)).to_vec());
    }
    let host = if listener.host.is_empty() { "::" } else { &listener.host };
    let found = (host, listener.port).to_socket_addrs().map_err(|error| {
        StartError(format!("the host {host:?} of listener {} has no address: {error}; change listeners", listener.name))
    })?;
    let mut addresses: Vec<SocketAddr> = found.collect();
    if listener.host.is_empty() {
        addresses.push(SocketAddr::from(([0, 0, 0, 0], listener.port)));
    }
    // The old protocol first: with port 0 it draws the port, and a machine without IPv6 still has it.
    addresses.sort_by_key(SocketAddr::is_ipv6);
    addresses.dedup();
    Ok(addresses)
}

fn absolute(directory: &str) -> Result<PathBuf, StartError> {
    std::path::absolute(Path::new(directory)).map_err(|error| {
        StartError(format!("the data directory {directory:?} has no absolute path: {error}; change log.dirs"))
    })
}

/// What the kernel drew when this machine was started; without it every start counts as one on another boot.
fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned()).unwrap_or_default()
}
