//! The life of a node: start, serve, stop.
//!
//! Shard 0 starts first: it claims the data directory, reads the metadata log and publishes what it finds; each shard
//! then opens the partitions that map to it, and only when all have is the first connection accepted. A stop goes the
//! other way round. The order of the files at both ends:
//!
//! | moment | on disk | a crash here is seen as |
//! | --- | --- | --- |
//! | start, before anything is written | `.kafka_cleanshutdown` still there | a clean stop: nothing has changed since |
//! | after a clean stop: run file replaced | names this boot; the clean file still there | a clean stop |
//! | clean file removed, directory synced | | an unclean stop on this boot: everything written is there |
//! | after a loss of power: logs are recovered | the run file still names the older boot | a loss of power once more: what is not recovered yet may be anything |
//! | every log recovered, run file replaced | names this boot | an unclean stop on this boot |
//! | stop, logs and indexes synced, checkpoints replaced | | an unclean stop; recovery finds everything in order |
//! | clean file written, directory synced | | a clean stop |

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use corelane_core::base::{PartitionIndex, ShardId, Uuid};
use corelane_core::limits::{
    CHECKPOINT_INTERVAL_MS, CONNECTIONS_MAX, HOUSEKEEPING_INTERVAL_MS, RESUME_INTERVAL_MS, STOP_WAIT_MS_MAX,
};
use corelane_core::log::names::{DirectoryStage, PartitionDirectory};
use corelane_core::log::{CleanShutdown, MetaProperties, PreviousRun};
use corelane_core::metadata::{BrokerEpoch, METADATA_TOPIC_NAME};

use crate::care;
use crate::catalog::{Catalog, StartFacts};
use crate::connection;
use crate::controller::Controller;
use crate::hop::{Call, Mail, Origin, Reply};
use crate::local::{Either, all_of, first_of};
use crate::mail;
use crate::placement::Handover;
use crate::remedy::WithRemedy;
use crate::settings::Settings;
use crate::shard::Shard;
use crate::storage::checkpoints::{self, Checkpoints, PartitionMarks};
use crate::storage::open::remove_tree;
use crate::sys::Sys;

const LOCK: &str = ".lock";
const META_PROPERTIES: &str = "meta.properties";
const CLEAN_SHUTDOWN: &str = ".kafka_cleanshutdown";
const RUN: &str = ".corelane_run";

/// Why a node could not start: what is wrong, and how to mend it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartError(pub String);

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StartError {}

/// What a node that has started tells.
#[derive(Clone, Debug)]
pub struct Ready {
    /// Where it listens: for each listener its name and its addresses.
    pub listening: Vec<(String, Vec<SocketAddr>)>,
    /// Identity of the cluster.
    pub cluster_id: String,
    /// Partitions that it opened.
    pub partitions: usize,
}

/// Runs one shard of a node until the node has stopped.
///
/// On shard 0, `stop` resolving begins the stop, and `ready` is called once connections are accepted; on the others
/// neither is used.
///
/// # Errors
/// On shard 0: why the node could not start, or what could not be made durable at its stop.
pub async fn run<S: Sys>(
    sys: S,
    settings: Arc<Settings>,
    stop: impl Future<Output = ()>,
    ready: impl FnOnce(Ready),
) -> Result<(), StartError> {
    let shard = Shard::new(sys.clone(), settings);
    sys.spawn("mail", mail::deliver(Rc::clone(&shard)));
    sys.spawn("housekeeping", keep_house(Rc::clone(&shard)));
    sys.spawn("unopened logs", open_unopened(Rc::clone(&shard)));
    sys.spawn("retention", care::retain(Rc::clone(&shard)));
    sys.spawn("cleaner", care::clean(Rc::clone(&shard)));
    if sys.shard() != ShardId(0) {
        shard.exited().await;
        return Ok(());
    }
    let result = lead(&shard, stop, ready).await;
    for other in (1..sys.shards()).map(ShardId) {
        shard.hop.post(other, Mail::Exit).await;
    }
    result
}

async fn lead<S: Sys>(
    shard: &Rc<Shard<S>>,
    stop: impl Future<Output = ()>,
    ready: impl FnOnce(Ready),
) -> Result<(), StartError> {
    let root = shard.settings.data_directory.clone();
    let claimed = claim(shard, &root).await?;
    let listeners = listen(shard)?;
    let facts = StartFacts {
        checkpoints: claimed.checkpoints,
        cluster_id: claimed.meta.cluster_id.clone(),
        ports: listeners.iter().map(|listener| listener.ports(shard)).collect(),
    };
    shard.take_facts(Arc::new(facts));
    remove_deleted(shard, &root).await.map_err(|error| failed(&root, "could not be tidied up", &error))?;

    let controller = Controller::open(shard, &claimed.meta, claimed.cleanly_stopped).await?;
    *shard.controller.borrow_mut() = Some(Rc::clone(&controller));

    put_strays_aside(shard, &root).await.map_err(|error| failed(&root, "could not be tidied up", &error))?;
    if claimed.recovers_from_power_loss {
        note_recovered(shard, &root).await.map_err(|error| failed(&root, "cannot be written", &error))?;
    }

    let listening = listeners.iter().map(|listener| (listener.name.clone(), listener.addresses(shard))).collect();
    for (index, listener) in listeners.into_iter().enumerate() {
        for Door { to, sockets } in listener.doors {
            for socket in sockets {
                shard.sys.spawn("accept", accept(Rc::clone(shard), socket, index, to));
            }
        }
    }
    shard.sys.spawn("tell", tell(Rc::clone(shard)));
    shard.sys.spawn("checkpoints", write_checkpoints(Rc::clone(shard)));
    let partitions = shard.catalog().partitions().count();
    ready(Ready { listening, cluster_id: claimed.meta.cluster_id, partitions });

    stop.await;
    close(shard, &root, &controller).await.map_err(|error| failed(&root, "could not be closed cleanly", &error))
}

/// Has every shard say in the log what it does, whenever somebody asks.
async fn tell<S: Sys>(shard: Rc<Shard<S>>) {
    loop {
        if let Err(error) = shard.sys.asked().await {
            tracing::warn!(%error, "SIGUSR1 cannot be received");
            return;
        }
        for to in shard.everybody() {
            shard.ask(to, Call::Tell).await;
        }
    }
}

fn failed(path: &Path, what: &str, error: &io::Error) -> StartError {
    StartError(format!("{} {what}: {}", path.display(), WithRemedy(error)))
}

/// What claiming the data directory told.
struct Claimed<S: Sys> {
    meta: MetaProperties,
    checkpoints: Checkpoints,
    /// Epoch of the last registration, if the last run ended cleanly.
    cleanly_stopped: Option<BrokerEpoch>,
    /// The run file does not name this boot yet.
    recovers_from_power_loss: bool,
    /// Held while the node runs.
    #[allow(dead_code)]
    lock: S::File,
}

async fn claim<S: Sys>(shard: &Rc<Shard<S>>, root: &Path) -> Result<Claimed<S>, StartError> {
    let sys = &shard.sys;
    let broken = |error: &io::Error| {
        StartError(format!("the data directory {} cannot be used: {}", root.display(), WithRemedy(error)))
    };
    for ancestor in root.ancestors().collect::<Vec<_>>().into_iter().rev().filter(|path| path.parent().is_some()) {
        sys.create_directory(ancestor.to_owned()).await.map_err(|error| broken(&error))?;
    }
    refuse_foreign(sys, root).await?;
    let lock = match sys.lock(root.join(LOCK)).await {
        Ok(lock) => lock,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            return Err(StartError(format!(
                "the data directory {} is in use by another broker; stop that one, or name another with log.dirs",
                root.display()
            )));
        }
        Err(error) => return Err(broken(&error)),
    };
    let meta = claim_identity(shard, root).await?;

    let run = sys.read_file(root.join(RUN)).await.map_err(|error| broken(&error))?;
    let clean = sys.read_file(root.join(CLEAN_SHUTDOWN)).await.map_err(|error| broken(&error))?;
    let clean = clean.and_then(|bytes| CleanShutdown::parse(&String::from_utf8_lossy(&bytes)));
    let same_boot = run.is_some_and(|bytes| !bytes.is_empty() && *bytes == *shard.settings.boot_id.as_bytes());
    let previous = match clean {
        Some(_) => PreviousRun::Stopped,
        None if same_boot => PreviousRun::SameBoot,
        None => PreviousRun::OtherBoot,
    };
    let checkpoints = Checkpoints::read(sys, root, previous).await.map_err(|error| broken(&error))?;

    let recovers_from_power_loss = previous == PreviousRun::OtherBoot;
    if !recovers_from_power_loss {
        write_run(shard, root).await.map_err(|error| broken(&error))?;
    }
    if clean.is_some() {
        sys.remove_file(root.join(CLEAN_SHUTDOWN)).await.map_err(|error| broken(&error))?;
        sys.sync_directory(root.to_owned()).await.map_err(|error| broken(&error))?;
    }
    let cleanly_stopped = clean.map(|clean| BrokerEpoch(clean.broker_epoch));
    Ok(Claimed { meta, checkpoints, cleanly_stopped, recovers_from_power_loss, lock })
}

/// Notes on which boot of the machine this run is.
async fn write_run<S: Sys>(shard: &Shard<S>, root: &Path) -> io::Result<()> {
    let boot = Bytes::from(shard.settings.boot_id.clone());
    shard.sys.replace_file(&root.join(RUN), boot).await
}

/// Has the next start believe what is written from now on. Not before every log has been checked: one that was killed, or
/// could not be read, in the middle of it would be taken for whole.
async fn note_recovered<S: Sys>(shard: &Rc<Shard<S>>, root: &Path) -> io::Result<()> {
    let recovered = shard.marks(shard.everybody()).await.len();
    if recovered < shard.catalog().partitions().count() {
        tracing::warn!("not every log could be recovered; the next start will check all of them again");
        return Ok(());
    }
    write_run(shard, root).await
}

/// Refuses a directory that holds something and no broker's identity, before anything is made in it.
async fn refuse_foreign<S: Sys>(sys: &S, root: &Path) -> Result<(), StartError> {
    let entries = sys.list(root.to_owned()).await.map_err(|error| failed(root, "cannot be listed", &error))?;
    if entries.iter().any(|entry| entry.name == META_PROPERTIES) {
        return Ok(());
    }
    // A crash at the very first start leaves no more than these; so does mkfs.
    let ours = |name: &str| name == LOCK || name == "lost+found" || name.ends_with(".tmp");
    match entries.iter().find(|entry| !ours(&entry.name)) {
        None => Ok(()),
        Some(foreign) => Err(StartError(format!(
            "{} has no {META_PROPERTIES} and is not empty (it holds {}); name an empty directory, or that of a broker, with log.dirs",
            root.display(),
            foreign.name
        ))),
    }
}

/// Reads who this directory belongs to, or makes it ours if it is empty.
async fn claim_identity<S: Sys>(shard: &Rc<Shard<S>>, root: &Path) -> Result<MetaProperties, StartError> {
    let sys = &shard.sys;
    let node_id = shard.settings.config.node_id;
    let path = root.join(META_PROPERTIES);
    let random = || u128::from(sys.random()) << 64 | u128::from(sys.random());
    let bytes = sys.read_file(path.clone()).await.map_err(|error| failed(&path, "cannot be read", &error))?;
    if let Some(bytes) = bytes {
        let meta = MetaProperties::parse(&String::from_utf8_lossy(&bytes))
            .map_err(|error| StartError(format!("{}: {error}", path.display())))?;
        if meta.node_id != node_id {
            return Err(StartError(format!(
                "{} belongs to node {}, and this is node {node_id}; set node.id={} or name another directory with log.dirs",
                root.display(),
                meta.node_id,
                meta.node_id
            )));
        }
        if meta.directory_id.is_some() {
            return Ok(meta);
        }
        // Written by a Kafka from before directories had ids; as there, it draws one.
        let meta = MetaProperties { directory_id: Some(Uuid::from_random(random())), ..meta };
        let text = Bytes::from(meta.to_text());
        sys.replace_file(&path, text).await.map_err(|error| failed(&path, "cannot be written", &error))?;
        return Ok(meta);
    }
    // The directory and those above it may be new, made by this start or by one that was killed: nothing that is synced
    // in it would survive a loss of power if its own name did not.
    for parent in root.ancestors().skip(1) {
        match sys.sync_directory(parent.to_owned()).await {
            // We cannot have made a name in a directory that we may not even open.
            Err(error) if error.kind() != io::ErrorKind::PermissionDenied => {
                return Err(failed(parent, "cannot be synced", &error));
            }
            _ => {}
        }
    }
    let cluster_id = Uuid::from_random(random()).to_string();
    let meta = MetaProperties { cluster_id, node_id, directory_id: Some(Uuid::from_random(random())) };
    let text = Bytes::from(meta.to_text());
    sys.replace_file(&path, text).await.map_err(|error| failed(&path, "cannot be written", &error))?;
    Ok(meta)
}

/// A listener that is open.
struct OpenListener<S: Sys> {
    name: String,
    /// One, or on a core-direct listener one for each shard.
    doors: Vec<Door<S>>,
}

/// A port of a listener.
struct Door<S: Sys> {
    /// Where connections go; without it, to whoever has the fewest.
    to: Option<ShardId>,
    /// One for each address that the host stands for.
    sockets: Vec<S::Listener>,
}

impl<S: Sys> OpenListener<S> {
    fn ports(&self, shard: &Shard<S>) -> Vec<u16> {
        let port = |door: &Door<S>| door.sockets.first().map_or(0, |socket| shard.sys.local_address(socket).port());
        self.doors.iter().map(port).collect()
    }

    fn addresses(&self, shard: &Shard<S>) -> Vec<SocketAddr> {
        self.doors.iter().flat_map(|door| &door.sockets).map(|socket| shard.sys.local_address(socket)).collect()
    }
}

fn listen<S: Sys>(shard: &Rc<Shard<S>>) -> Result<Vec<OpenListener<S>>, StartError> {
    let settings = &shard.settings;
    let mut all = Vec::new();
    for (index, (listener, addresses)) in settings.config.listeners.iter().zip(&settings.addresses).enumerate() {
        let doors = if settings.config.is_core_direct(index) {
            let last = listener.port.checked_add(shard.sys.shards() - 1);
            if listener.port != 0 && last.is_none() {
                return Err(StartError(format!(
                    "listener {} needs a port for each of {} shards, and there are none after 65535: \
                     begin with a lower one in listeners",
                    listener.name,
                    shard.sys.shards()
                )));
            }
            let shards = shard.everybody();
            shards.map(|to| open_door(shard, &listener.name, addresses, Some(to))).collect::<Result<_, _>>()?
        } else {
            vec![open_door(shard, &listener.name, addresses, None)?]
        };
        all.push(OpenListener { name: listener.name.clone(), doors });
    }
    Ok(all)
}

/// Listens on one port of each address. The ports of a core-direct listener follow each other, if it names any.
fn open_door<S: Sys>(
    shard: &Rc<Shard<S>>,
    name: &str,
    addresses: &[SocketAddr],
    to: Option<ShardId>,
) -> Result<Door<S>, StartError> {
    let nth = to.map_or(0, |to| to.0);
    let mut sockets: Vec<S::Listener> = Vec::new();
    for address in addresses {
        // With port 0 the first address draws one, and the others join it there.
        let asked = if address.port() == 0 { 0 } else { address.port().saturating_add(nth) };
        let port = sockets.first().map_or(asked, |first| shard.sys.local_address(first).port());
        let address = SocketAddr::new(address.ip(), port);
        let listening = shard.sys.listen(address);
        if let Err(error) = &listening
            && address.is_ipv6()
            && !sockets.is_empty()
            && error.kind() != io::ErrorKind::AddrInUse
        {
            tracing::info!(%address, %error, "not listening there: the machine has no IPv6");
            continue;
        }
        let listening = listening.map_err(|error| {
            let remedy = match error.kind() {
                io::ErrorKind::AddrInUse => {
                    "another process listens there; stop it, or choose another port with listeners"
                }
                io::ErrorKind::PermissionDenied => "ports below 1024 need privileges; choose another with listeners",
                io::ErrorKind::AddrNotAvailable => "the machine has no such address; change listeners",
                _ => "change listeners",
            };
            StartError(format!("cannot listen on {address} ({name}): {error}: {remedy}"))
        })?;
        sockets.push(listening);
    }
    Ok(Door { to, sockets })
}

/// Removes what topics that were deleted before a crash left.
async fn remove_deleted<S: Sys>(shard: &Rc<Shard<S>>, root: &Path) -> io::Result<()> {
    for entry in shard.sys.list(root.to_owned()).await? {
        let stage = PartitionDirectory::parse(&entry.name).map(|directory| directory.stage);
        if entry.is_directory && matches!(stage, Some(DirectoryStage::Deleted(_))) {
            remove_tree(&shard.sys, root.join(entry.name)).await?;
        }
    }
    Ok(())
}

/// Renames directories of partitions that the metadata does not know, as Kafka does: a topic whose deletion was recorded
/// and not finished before a crash, or something that was copied here. They are kept for a person to look at.
async fn put_strays_aside<S: Sys>(shard: &Rc<Shard<S>>, root: &Path) -> io::Result<()> {
    let catalog = shard.catalog();
    for entry in shard.sys.list(root.to_owned()).await? {
        let Some(directory) = PartitionDirectory::parse(&entry.name).filter(|_| entry.is_directory) else { continue };
        let known = directory.topic == METADATA_TOPIC_NAME
            || catalog
                .topic_by_name(&directory.topic)
                .is_some_and(|t| t.image.partition(directory.partition).is_some());
        if known || directory.stage != DirectoryStage::Live {
            continue;
        }
        let unique = format!("{:016x}{:016x}", shard.sys.random(), shard.sys.random());
        let aside = PartitionDirectory { stage: DirectoryStage::Stray(unique), ..directory }.name();
        tracing::warn!(
            directory = entry.name,
            aside,
            "the metadata does not know this partition; its directory is put aside"
        );
        shard.sys.rename(root.join(&entry.name), root.join(aside)).await?;
    }
    shard.sys.sync_directory(root.to_owned()).await
}

/// Accepts connections and hands each to shard `to`, or to the one that has the fewest.
async fn accept<S: Sys>(shard: Rc<Shard<S>>, listener: S::Listener, index: usize, to: Option<ShardId>) {
    loop {
        let (socket, peer) = match shard.sys.accept(&listener).await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Mostly a limit on open files: connections that end make room.
                tracing::warn!(%error, "connection could not be accepted");
                shard.sys.sleep_until(shard.sys.now().plus_ms(100)).await;
                continue;
            }
        };
        if shard.stopping.get() {
            return;
        }
        let to = to.unwrap_or_else(|| shard.least_connected());
        let connections = shard.connections.borrow()[usize::from(to.0)];
        if connections >= CONNECTIONS_MAX {
            tracing::warn!(%peer, "connection refused: shard {} has {CONNECTIONS_MAX}, and none has fewer that may take it", to.0);
            continue;
        }
        shard.connections.borrow_mut()[usize::from(to.0)] += 1;
        let origin = Origin { listener: index, peer: peer.ip() };
        let handover = Handover::new(socket, origin, shard.sys.now());
        if to == shard.sys.shard() {
            connection::adopt(&shard, handover);
        } else {
            shard.hop.post(to, Mail::Adopt(Box::new(handover))).await;
        }
    }
}

/// Writes the checkpoints now and then, so that a start after a crash of the machine has less to check.
async fn write_checkpoints<S: Sys>(shard: Rc<Shard<S>>) {
    while !shard.stopping.get() {
        shard.sys.sleep_until(shard.sys.now().plus_ms(CHECKPOINT_INTERVAL_MS)).await;
        if let Err(error) = shard.write_checkpoints().await
            && !shard.stopping.get()
        {
            tracing::warn!(%error, "checkpoints could not be written; a recovery will take longer");
        }
    }
}

/// Tries to open what could not be opened, as on a disk that was full.
async fn open_unopened<S: Sys>(shard: Rc<Shard<S>>) {
    while !shard.stopping.get() {
        shard.sys.sleep_until(shard.sys.now().plus_ms(RESUME_INTERVAL_MS)).await;
        shard.open_unopened().await;
    }
}

/// Syncs what has waited as long as its topic allows, forgets producers that are silent, and looks how busy the shard is.
async fn keep_house<S: Sys>(shard: Rc<Shard<S>>) {
    loop {
        shard.sys.sleep_until(shard.sys.now().plus_ms(HOUSEKEEPING_INTERVAL_MS)).await;
        for log in shard.partitions() {
            log.keep_house();
        }
        let controller = shard.controller.borrow().clone();
        if let Some(controller) = controller {
            controller.keep_house();
        }
        shard.look_at_load();
    }
}

/// Stops: no new connections, no new requests, then everything made durable.
async fn close<S: Sys>(shard: &Rc<Shard<S>>, root: &Path, controller: &Rc<Controller<S>>) -> io::Result<()> {
    let everybody: Vec<ShardId> = shard.everybody().collect();
    let deadline = shard.sys.now().plus_ms(STOP_WAIT_MS_MAX);
    let stopped = all_of(everybody.iter().map(|to| shard.ask(*to, Call::StopServing)).collect());
    if let Either::Second(()) = first_of(stopped, shard.sys.sleep_until(deadline)).await {
        tracing::warn!("requests were still in progress after {STOP_WAIT_MS_MAX} ms; they go unanswered");
    }
    let _turn = shard.checkpoints_turn.take().await;
    let closed = all_of(everybody.iter().map(|to| shard.ask(*to, Call::CloseLogs)).collect()).await;
    let mut marks: Vec<PartitionMarks> = Vec::new();
    for reply in closed {
        let Reply::CloseLogs(result) = reply else { unreachable!("a reply has the name of its call") };
        marks.extend(result.map_err(io::Error::other)?);
    }
    let missing = shard.catalog().partitions().count().saturating_sub(marks.len());
    if missing > 0 {
        // Nobody has recovered them since the crash before, and a clean stop would say that there is no need to.
        return Err(io::Error::other(format!("{missing} logs could not be opened; the next start will recover them")));
    }
    marks.push(controller.close().await?);
    checkpoints::write(&shard.sys, root, &marks).await?;
    let clean = CleanShutdown { broker_epoch: controller.broker_epoch(shard.settings.config.node_id).0 };
    shard.sys.replace_file(&root.join(CLEAN_SHUTDOWN), Bytes::from(clean.to_text())).await
}

/// The metadata log's partition.
pub(crate) const METADATA_PARTITION: PartitionIndex = PartitionIndex(0);

impl Catalog {
    /// Host and port that clients of a listener are told: of its `nth` door, if it is core-direct.
    pub(crate) fn advertised(&self, settings: &Settings, listener: usize, nth: u16) -> Option<(String, u16)> {
        let advertised = settings.config.advertised.get(listener)?;
        let port = match advertised.port {
            0 => self.start.ports.get(listener)?.get(usize::from(nth)).copied()?,
            first => first.checked_add(nth)?,
        };
        Some((advertised.host.clone(), port))
    }
}
