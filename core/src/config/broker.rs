//! The broker's own settings: read from its file and the command line, checked, and turned into values.

use super::broker_table::{BROKER, GROUPS};
use super::definition::{Effect, elements, find, nearest, normalize};
use super::describe::{ConfigSource, SET_BY};
use super::dynamic;
use super::listener::Listener;
use super::properties::{Place, Setting};
use crate::base::NodeId;
use crate::metadata::SnapshotRules;
use std::collections::BTreeMap;
use std::fmt;

/// Largest `node.id` of a node with core-direct listeners: there the ids of brokers are made of it and of a shard's number.
pub const CORE_DIRECT_NODE_ID_MAX: NodeId = NodeId(90_000);

/// A setting that cannot be accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Where it was given.
    pub place: Place,
    /// What is wrong, and how to mend it.
    pub message: String,
}

impl ConfigError {
    pub(super) fn new(place: Place, message: String) -> Self {
        Self { place, message }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

impl std::error::Error for ConfigError {}

/// A setting that was accepted and that the user should know does not act.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Where it was given.
    pub place: Place,
    /// What does not act, and why.
    pub message: String,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

/// The settings of one broker. The default is that of an empty file.
#[derive(Clone, Debug)]
pub struct BrokerConfig {
    set: BTreeMap<String, (String, Place)>,
    /// Set at run time for this broker.
    dynamic: BTreeMap<String, String>,
    /// Set at run time for every broker.
    dynamic_default: BTreeMap<String, String>,

    // Who this is.
    /// This broker's id (`node.id`).
    pub node_id: NodeId,
    /// Its rack (`broker.rack`).
    pub rack: Option<String>,

    // Where clients reach it.
    /// Endpoints to open (`listeners`), without the controller's.
    pub listeners: Vec<Listener>,
    /// What clients are told (`advertised.listeners`), one for each of `listeners`; an empty host stands for the
    /// machine's own name.
    pub advertised: Vec<Listener>,

    // Where it keeps its data.
    /// The data directory (`log.dirs`, `log.dir`).
    pub log_dir: String,

    // Topics.
    /// Partitions of a topic that does not say (`num.partitions`).
    pub num_partitions: i32,
    /// Replicas of a topic that does not say (`default.replication.factor`).
    pub default_replication_factor: i16,
    /// Naming an unknown topic creates it (`auto.create.topics.enable`).
    pub auto_create_topics: bool,
    /// Topics can be deleted (`delete.topic.enable`).
    pub delete_topics: bool,

    // Bounds.
    /// Bytes of the largest request (`socket.request.max.bytes`).
    pub request_max_bytes: u32,
    /// Bytes of the largest answer to a fetch (`fetch.max.bytes`).
    pub fetch_max_bytes: u32,
    /// Fetch sessions that are kept (`max.incremental.fetch.session.cache.slots`).
    pub fetch_sessions_max: u32,
    /// Milliseconds after its last write that an idempotent producer is remembered (`producer.id.expiration.ms`).
    pub producer_id_expiration_ms: i64,
    /// A transaction begins in a partition only once its coordinator has said that it may
    /// (`transaction.partition.verification.enable`).
    pub verifies_transactions: bool,

    // The metadata log.
    /// Bytes at which a segment of it is full (`metadata.log.segment.bytes`, or `internal.metadata.log.segment.bytes`,
    /// which goes below its minimum).
    pub metadata_segment_bytes: u32,
    /// Milliseconds after which a segment of it is full (`metadata.log.segment.ms`).
    pub metadata_segment_ms: i64,
    /// Its snapshots, and what is kept beside the newest (`metadata.log.max.*`, `metadata.max.retention.*`).
    pub metadata_snapshots: SnapshotRules,

    // Our own.
    /// How appended records get to their files (`corelane.append.engine`).
    pub append_engine: AppendEngine,
    /// Whether connections move to the shard that owns what they ask for (`corelane.connections.move`).
    pub connections_move: bool,
    /// Names of those of `listeners` on which each shard is a broker of its own (`corelane.core.direct.listeners`).
    core_direct: Vec<String>,
    /// How records get from the page cache to a socket (`corelane.fetch.path`).
    pub fetch_path: FetchPath,
    /// Microseconds for which a shard that has nothing to do looks around before it sleeps (`corelane.spin.us`).
    pub spin_us: u32,
}

/// How appended records get to their files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AppendEngine {
    /// What was measured to be best: [`Direct`](Self::Direct), on every file system that can.
    #[default]
    Auto,
    /// Into the page cache by a positioned write of the shard's own; a sync, where the topic wants one, follows.
    Inline,
    /// Into the page cache by the shard's ring.
    Ring,
    /// Topics with `flush.messages=1` go past the page cache by the shard's ring and are on the device when that is done;
    /// all others as [`Inline`](Self::Inline).
    Direct,
}

impl AppendEngine {
    /// Whether topics with `flush.messages=1` are written past the page cache.
    #[must_use]
    pub fn goes_past_the_cache(self) -> bool {
        matches!(self, Self::Auto | Self::Direct)
    }
}

/// How records get from the page cache to a socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FetchPath {
    /// Pieces from 64 KiB on go by `sendfile(2)`; others are copied.
    #[default]
    Auto,
    /// Always through memory of the broker's.
    Copy,
    /// By `sendfile(2)` whenever whole batches are sent as they lie.
    Sendfile,
}

impl Default for BrokerConfig {
    fn default() -> Self {
        match Self::from_settings(&[]) {
            Ok((config, _)) => config,
            Err(errors) => unreachable!("the defaults are not valid: {errors:?}"),
        }
    }
}

/// The one broker setting with a value of its own here that may change at run time.
const PRODUCER_ID_EXPIRATION: &str = "producer.id.expiration.ms";
const TRANSACTION_VERIFICATION: &str = "transaction.partition.verification.enable";

/// Names that Kafka 3 had or that belong to plug-ins, with what to do about them.
const KNOWN_ELSEWHERE: &[(&str, &str)] = &[
    ("zookeeper.connect", "there is no ZooKeeper; remove the line"),
    ("zookeeper.connection.timeout.ms", "there is no ZooKeeper; remove the line"),
    ("inter.broker.protocol.version", "Kafka 4 removed it; remove the line"),
    ("log.message.format.version", "Kafka 4 removed it; remove the line"),
    (
        "log.message.timestamp.difference.max.ms",
        "Kafka 4 replaced it by log.message.timestamp.before.max.ms and .after.max.ms",
    ),
    ("port", "use listeners=PLAINTEXT://host:port"),
    ("host.name", "use listeners=PLAINTEXT://host:port"),
    ("advertised.host.name", "use advertised.listeners=PLAINTEXT://host:port"),
    ("advertised.port", "use advertised.listeners=PLAINTEXT://host:port"),
    ("super.users", "authorization is not there yet; remove the line"),
    ("allow.everyone.if.no.acl.found", "authorization is not there yet; remove the line"),
];

impl BrokerConfig {
    /// Checks `settings`, a later one of the same name taking the place of an earlier one, and derives the values.
    ///
    /// # Errors
    /// Everything that is wrong, in the order of the settings.
    pub fn from_settings(settings: &[Setting]) -> Result<(Self, Vec<Notice>), Vec<ConfigError>> {
        let mut reader = Reader::default();
        for setting in settings {
            reader.take(setting);
        }
        let config = reader.build();
        if reader.errors.is_empty() { Ok((config, reader.notices)) } else { Err(reader.errors) }
    }

    /// For how long a partition may wait to take part in a transaction, while the one before is being ended.
    #[must_use]
    pub fn claim_patience_ms(&self) -> u64 {
        let value = self.value("add.partitions.to.txn.retry.backoff.max.ms");
        value.and_then(|text| text.parse().ok()).unwrap_or_default()
    }

    /// Whether each shard is a broker of its own for the clients of a listener, which is named by its place in `listeners`.
    #[must_use]
    pub fn is_core_direct(&self, listener: usize) -> bool {
        self.listeners.get(listener).is_some_and(|listener| self.core_direct.contains(&listener.name))
    }

    /// These settings with what the metadata says was set at run time: for this broker, and for every broker. What
    /// does not act, or does not fit, as another broker may have stored it, counts as absent.
    #[must_use]
    pub fn with_dynamic(&self, own: &BTreeMap<String, String>, of_all: &BTreeMap<String, String>) -> Self {
        let fitting = |settings: &BTreeMap<String, String>| {
            let checked =
                |(name, value): (&String, &String)| Some((name.clone(), dynamic::acting(name)?.check(value).ok()?));
            settings.iter().filter_map(checked).collect()
        };
        let mut changed = Self { dynamic: fitting(own), dynamic_default: fitting(of_all), ..self.clone() };
        changed.producer_id_expiration_ms =
            changed.value(PRODUCER_ID_EXPIRATION).and_then(|text| text.parse().ok()).unwrap_or_default();
        changed.verifies_transactions = changed.value(TRANSACTION_VERIFICATION) == Some("true");
        changed
    }

    /// Value of `name` if anybody set it, as Kafka would show it: at run time for this broker, else for every broker,
    /// else in the file or on the command line.
    #[must_use]
    pub fn set(&self, name: &str) -> Option<&str> {
        SET_BY.iter().find_map(|source| self.set_by(*source, name))
    }

    /// Value of `name` that this source set.
    #[must_use]
    pub(super) fn set_by(&self, source: ConfigSource, name: &str) -> Option<&str> {
        match source {
            ConfigSource::DynamicBroker => self.dynamic.get(name).map(String::as_str),
            ConfigSource::DynamicDefaultBroker => self.dynamic_default.get(name).map(String::as_str),
            ConfigSource::StaticBroker => self.set.get(name).map(|(value, _)| value.as_str()),
            ConfigSource::Topic | ConfigSource::Default | ConfigSource::Group => None,
        }
    }

    /// Value of `name`, set or default; none if it is null or unknown.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&str> {
        self.set(name).or_else(|| find(BROKER, name).and_then(|definition| definition.default))
    }
}

#[derive(Default)]
struct Reader {
    set: BTreeMap<String, (String, Place)>,
    notices: Vec<Notice>,
    errors: Vec<ConfigError>,
}

impl Reader {
    /// Checks one setting by itself and keeps it.
    fn take(&mut self, setting: &Setting) {
        let Setting { name, value, place } = setting;
        let mut fail = |message| self.errors.push(ConfigError::new(place.clone(), message));
        let Some(definition) = find(BROKER, name) else {
            return fail(unknown(name));
        };
        let value = match definition.check(value) {
            Ok(value) => value,
            Err(expected) => return fail(format!("{name}={value}: must be {expected}")),
        };
        let default = definition.default.map(|text| normalize(definition, text));
        let at_default = default.as_deref().unwrap_or_default() == value;
        let notice = match definition.effect {
            Effect::Acts => None,
            Effect::Idle(reason) => Some(reason.to_owned()),
            Effect::DefaultOnly if at_default => {
                Some("this version does not implement it; the value is Kafka's default".to_owned())
            }
            Effect::DefaultOnly => {
                let accepted = default.map_or_else(String::new, |text| format!(", or set it to its default {text}"));
                return fail(format!("{name}: this version does not implement it; remove the line{accepted}"));
            }
        };
        if let Some(reason) = notice {
            self.notices.push(Notice { place: place.clone(), message: format!("{name} does not act: {reason}") });
        }
        if let Some((_, earlier)) = self.set.insert(name.clone(), (value, place.clone()))
            && matches!((&earlier, place), (Place::File { .. }, Place::File { .. }))
        {
            let message = format!("{name} is set again; the value given at {earlier} is dropped");
            self.notices.push(Notice { place: place.clone(), message });
        }
    }

    fn text(&self, name: &str) -> &str {
        match self.set.get(name) {
            Some((value, _)) => value,
            None => find(BROKER, name).and_then(|definition| definition.default).unwrap_or_default(),
        }
    }

    fn number(&self, name: &str) -> i64 {
        self.text(name).parse().unwrap_or_default()
    }

    fn bytes(&self, name: &str) -> u32 {
        u32::try_from(self.number(name)).unwrap_or_default()
    }

    fn flag(&self, name: &str) -> bool {
        self.text(name) == "true"
    }

    fn fail(&mut self, name: &str, message: String) {
        let place = self.set.get(name).map_or(Place::BuiltIn, |(_, place)| place.clone());
        self.errors.push(ConfigError::new(place, format!("{name}: {message}")));
    }

    fn notice(&mut self, name: &str, message: String) {
        let place = self.set.get(name).map_or(Place::BuiltIn, |(_, place)| place.clone());
        self.notices.push(Notice { place, message });
    }

    /// Checks what concerns several settings, and derives the values.
    fn build(&mut self) -> BrokerConfig {
        let node_id = self.node_id();
        self.check_roles(node_id);
        let (listeners, advertised) = self.listeners();
        let core_direct = self.core_direct(node_id, &listeners);
        let log_dir = self.log_dir();
        self.check_groups();
        let default_replication_factor = i16::try_from(self.number("default.replication.factor")).unwrap_or_default();
        if default_replication_factor != 1 {
            self.fail(
                "default.replication.factor",
                "this broker runs alone and keeps one replica; set it to 1".to_owned(),
            );
        }
        BrokerConfig {
            set: self.shown(node_id),
            dynamic: BTreeMap::new(),
            dynamic_default: BTreeMap::new(),
            node_id,
            rack: self.set.get("broker.rack").map(|(rack, _)| rack.clone()),
            listeners,
            advertised,
            core_direct,
            log_dir,
            num_partitions: i32::try_from(self.number("num.partitions")).unwrap_or(1),
            default_replication_factor,
            auto_create_topics: self.flag("auto.create.topics.enable"),
            delete_topics: self.flag("delete.topic.enable"),
            request_max_bytes: self.bytes("socket.request.max.bytes"),
            fetch_max_bytes: self.bytes("fetch.max.bytes"),
            fetch_sessions_max: self.bytes("max.incremental.fetch.session.cache.slots"),
            producer_id_expiration_ms: self.number(PRODUCER_ID_EXPIRATION),
            verifies_transactions: self.flag(TRANSACTION_VERIFICATION),
            metadata_segment_bytes: match self.bytes("internal.metadata.log.segment.bytes") {
                0 => self.bytes("metadata.log.segment.bytes"),
                internal => internal,
            },
            metadata_segment_ms: self.number("metadata.log.segment.ms"),
            metadata_snapshots: self.metadata_snapshots(),
            append_engine: match self.text("corelane.append.engine") {
                "inline" => AppendEngine::Inline,
                "ring" => AppendEngine::Ring,
                "direct" => AppendEngine::Direct,
                _ => AppendEngine::Auto,
            },
            connections_move: self.flag("corelane.connections.move"),
            fetch_path: match self.text("corelane.fetch.path") {
                "copy" => FetchPath::Copy,
                "sendfile" => FetchPath::Sendfile,
                _ => FetchPath::Auto,
            },
            spin_us: self.bytes("corelane.spin.us"),
        }
    }

    fn metadata_snapshots(&self) -> SnapshotRules {
        let bytes = |name| u64::try_from(self.number(name)).ok();
        SnapshotRules {
            bytes_between: bytes("metadata.log.max.record.bytes.between.snapshots").unwrap_or(u64::MAX),
            interval_ms: bytes("metadata.log.max.snapshot.interval.ms").filter(|interval_ms| *interval_ms > 0),
            retention_bytes: bytes("metadata.max.retention.bytes"),
            retention_ms: Some(self.number("metadata.max.retention.ms")).filter(|age_ms| *age_ms >= 0),
        }
    }

    /// What is set, with what goes without saying here and must be written in Kafka's file, where tools look for it.
    fn shown(&self, node_id: NodeId) -> BTreeMap<String, (String, Place)> {
        let mut set = self.set.clone();
        for (name, value) in [
            ("node.id", node_id.to_string()),
            ("broker.id", node_id.to_string()),
            ("process.roles", "broker,controller".to_owned()),
        ] {
            set.entry(name.to_owned()).or_insert((value, Place::BuiltIn));
        }
        set
    }

    /// `node.id`, or its older name `broker.id`, or 1 as in Kafka's own example file.
    fn node_id(&mut self) -> NodeId {
        let given = |name: &str| self.set.contains_key(name).then(|| self.number(name));
        let (node, broker) = (given("node.id"), given("broker.id").filter(|id| *id >= 0));
        if let (Some(node), Some(broker)) = (node, broker)
            && node != broker
        {
            self.fail("broker.id", format!("is {broker}, but node.id is {node}; remove broker.id"));
        }
        NodeId(i32::try_from(node.or(broker).unwrap_or(1)).unwrap_or(1))
    }

    /// What is set for groups of the consumer protocol must go together, and the classic protocol cannot be taken away.
    fn check_groups(&mut self) {
        let protocols = "group.coordinator.rebalance.protocols";
        if !self.text(protocols).split(',').any(|protocol| protocol.trim().eq_ignore_ascii_case("classic")) {
            self.fail(protocols, "the classic protocol cannot be disabled; add classic to the list".to_owned());
        }
        // Kafka's default names one that is not there.
        let default = find(BROKER, protocols).and_then(|definition| definition.default);
        if self.set.contains_key(protocols) && default != Some(self.text(protocols)) {
            let named = elements(self.text(protocols));
            let absent: Vec<&str> = named.filter(|name| !matches!(*name, "classic" | "consumer")).collect();
            if !absent.is_empty() {
                let message = format!("{} in {protocols} does not act: {GROUPS}", absent.join(" and "));
                self.notice(protocols, message);
            }
        }
        for what in ["session.timeout.ms", "heartbeat.interval.ms", "assignment.interval.ms"] {
            let name = |bound: &str| format!("group.consumer.{bound}{what}");
            let (least, most) = (self.number(&name("min.")), self.number(&name("max.")));
            let value = self.number(&name(""));
            if most < least {
                self.fail(&name("max."), format!("must be at least {}, which is {least}", name("min.")));
            } else if !(least..=most).contains(&value) {
                let (min, max) = (name("min."), name("max."));
                self.fail(&name(""), format!("must be from {least} ({min}) to {most} ({max})"));
            }
        }
        let (session, heartbeat) = ("group.consumer.session.timeout.ms", "group.consumer.heartbeat.interval.ms");
        if self.number(heartbeat) >= self.number(session) {
            let message = format!("must be less than {session}, which is {}", self.number(session));
            self.fail(heartbeat, message);
        }
    }

    /// This broker is its own controller, alone.
    fn check_roles(&mut self, node_id: NodeId) {
        let mut roles: Vec<&str> = elements(self.text("process.roles")).collect();
        roles.sort_unstable();
        if !roles.is_empty() && roles != ["broker", "controller"] {
            self.fail("process.roles", "a single node is both; set it to broker,controller".to_owned());
        }
        let voters: Vec<String> = elements(self.text("controller.quorum.voters")).map(str::to_owned).collect();
        let alone = match voters.as_slice() {
            [] => true,
            [only] => only.split_once('@').is_some_and(|(id, _)| id.parse() == Ok(node_id.0)),
            _ => false,
        };
        if !alone {
            let message = format!("this node is the only controller; name it alone, as {node_id}@host:port");
            self.fail("controller.quorum.voters", message);
        }
        if elements(self.text("controller.quorum.bootstrap.servers")).count() > 1 {
            let message = "this node is the only controller; name one address".to_owned();
            self.fail("controller.quorum.bootstrap.servers", message);
        }
    }

    /// Names of the core-direct ones among the listeners that are opened.
    fn core_direct(&mut self, node_id: NodeId, listeners: &[Listener]) -> Vec<String> {
        const NAME: &str = "corelane.core.direct.listeners";
        let named: Vec<String> = elements(self.text(NAME)).map(str::to_ascii_uppercase).collect();
        if let Some(unknown) = named.iter().find(|name| listeners.iter().all(|listener| listener.name != **name)) {
            self.fail(NAME, format!("{unknown} is not among `listeners`; add one like {unknown}://localhost:9192"));
        }
        if !named.is_empty() && node_id > CORE_DIRECT_NODE_ID_MAX {
            let message = format!(
                "with core-direct listeners node.id can be at most {CORE_DIRECT_NODE_ID_MAX}, and it is {node_id}"
            );
            self.fail(NAME, message);
        }
        named
    }

    fn listeners(&mut self) -> (Vec<Listener>, Vec<Listener>) {
        let controllers: Vec<String> =
            elements(self.text("controller.listener.names")).map(str::to_ascii_uppercase).collect();
        let (own, mut listeners): (Vec<_>, Vec<_>) =
            self.parse_listeners("listeners").into_iter().partition(|listener| controllers.contains(&listener.name));
        if let Some(controller) = own.first() {
            let message = format!("listener {controller} is not opened: a single node talks to its controller inside");
            self.notice("listeners", message);
        }
        if listeners.is_empty() && self.errors.is_empty() {
            self.fail("listeners", "none is left for clients; add one like PLAINTEXT://localhost:9092".to_owned());
        }
        listeners.dedup();
        self.check_security(&listeners);
        let mut told = self.parse_listeners("advertised.listeners");
        told.retain(|listener| !controllers.contains(&listener.name));
        if let Some(wrong) = told.iter().find(|l| matches!(l.host.as_str(), "0.0.0.0" | "::")) {
            self.fail("advertised.listeners", format!("{wrong} is no address that a client can connect to"));
        }
        if let Some(wrong) = told.iter().find(|l| listeners.iter().all(|own| own.name != l.name)) {
            self.fail("advertised.listeners", format!("{wrong} names a listener that `listeners` does not have"));
        }
        let advertised = listeners
            .iter()
            .map(|own| match told.iter().find(|l| l.name == own.name) {
                Some(listener) => listener.clone(),
                None if matches!(own.host.as_str(), "0.0.0.0" | "::") => {
                    Listener { host: String::new(), ..own.clone() }
                }
                None => own.clone(),
            })
            .collect();
        if let Some((name, _)) = self.set.get("inter.broker.listener.name")
            && listeners.iter().all(|l| l.name != name.to_ascii_uppercase())
        {
            let message = format!("{name} is not among `listeners`");
            self.fail("inter.broker.listener.name", message);
        }
        (listeners, advertised)
    }

    fn parse_listeners(&mut self, name: &str) -> Vec<Listener> {
        let mut listeners: Vec<Listener> = Vec::new();
        for text in elements(self.text(name)).map(str::to_owned).collect::<Vec<_>>() {
            match Listener::parse(&text) {
                Ok(listener) if listeners.iter().any(|l| l.name == listener.name) => {
                    self.fail(name, format!("{} is named twice; give each listener a name of its own", listener.name));
                }
                Ok(listener) => listeners.push(listener),
                Err(message) => self.fail(name, message),
            }
        }
        listeners
    }

    /// Every listener that is opened is a plain one.
    fn check_security(&mut self, listeners: &[Listener]) {
        let map: BTreeMap<String, String> = elements(self.text("listener.security.protocol.map"))
            .filter_map(|entry| entry.rsplit_once(':'))
            .map(|(name, protocol)| (name.to_ascii_uppercase(), protocol.to_ascii_uppercase()))
            .collect();
        for listener in listeners {
            match map.get(&listener.name).map(String::as_str) {
                Some("PLAINTEXT") => {}
                Some(protocol) => {
                    let message = format!("{listener} asks for {protocol}; this version has PLAINTEXT only");
                    self.fail("listeners", message);
                }
                None => {
                    let message = format!(
                        "{} has no protocol; add {}:PLAINTEXT to listener.security.protocol.map",
                        listener, listener.name
                    );
                    self.fail("listeners", message);
                }
            }
        }
    }

    fn log_dir(&mut self) -> String {
        let name = if self.set.contains_key("log.dirs") { "log.dirs" } else { "log.dir" };
        let mut directories = elements(self.text(name)).map(str::to_owned).collect::<Vec<_>>().into_iter();
        let first = directories.next();
        if first.is_none() {
            self.fail(name, "name a directory for the data".to_owned());
        } else if directories.next().is_some() {
            self.fail(name, "this version keeps its data in one directory; name one".to_owned());
        }
        first.unwrap_or_default()
    }
}

fn unknown(name: &str) -> String {
    if let Some((_, remedy)) = KNOWN_ELSEWHERE.iter().find(|(known, _)| *known == name) {
        return format!("{name}: {remedy}");
    }
    if name.starts_with("listener.name.") {
        return format!("{name}: settings of a single listener are not there yet; remove the line");
    }
    match nearest(BROKER.iter().map(|definition| definition.name), name) {
        Some(near) => format!("{name}: there is no setting of this name; did you mean {near}?"),
        None => format!("{name}: there is no setting of this name"),
    }
}
