//! `corelane cluster`: what a cluster is and has: brokers, versions, features, quorum, log directories. Each can be printed
//! in the layout of the kafka-*.sh tool that tells the same.

use std::collections::BTreeSet;

use clap::{Args, Subcommand};
use corelane_core::base::{NodeId, Uuid};
use corelane_core::client::{Destination, ErrorCode};
use corelane_core::protocol::messages::describe_log_dirs_request::DescribableLogDirTopic;
use corelane_core::protocol::messages::describe_quorum_request::{PartitionData, TopicData};
use corelane_core::protocol::messages::describe_quorum_response::{PartitionData as QuorumPartition, ReplicaState};
use corelane_core::protocol::messages::{
    ApiVersionsRequest, ApiVersionsResponse, DescribeClusterRequest, DescribeClusterResponse, DescribeLogDirsRequest,
    DescribeQuorumRequest, DescribeQuorumResponse,
};
use corelane_core::protocol::{ApiKey, KafkaString};
use serde::Serialize;

use crate::admin::Admin;
use crate::arguments::ClusterArguments;
use crate::failure::Failure;
use crate::output::{OutputArguments, line, print_json, table};
use corelane_perf::report::wall_clock;

/// Kafka's name of each level of `metadata.version`, from 7 on.
const METADATA_VERSIONS: &[&str] = &[
    "3.3-IV3", "3.4-IV0", "3.5-IV0", "3.5-IV1", "3.5-IV2", "3.6-IV0", "3.6-IV1", "3.6-IV2", "3.7-IV0", "3.7-IV1",
    "3.7-IV2", "3.7-IV3", "3.7-IV4", "3.8-IV0", "3.9-IV0", "4.0-IV0", "4.0-IV1", "4.0-IV2", "4.0-IV3", "4.1-IV0",
    "4.1-IV1", "4.2-IV0", "4.2-IV1", "4.3-IV0",
];
const FIRST_METADATA_VERSION: i16 = 7;

/// Arguments of `corelane cluster`.
#[derive(Args, Debug)]
pub(crate) struct Cluster {
    #[command(subcommand)]
    action: Action,
}

#[derive(Args, Debug)]
struct Common {
    #[command(flatten)]
    cluster: ClusterArguments,
    #[command(flatten)]
    output: OutputArguments,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Print the cluster's id, its controller and its brokers.
    Describe(Common),
    /// Print which versions of each API every broker serves.
    ApiVersions(Common),
    /// Print the features of the cluster and their levels.
    Features(Common),
    /// Print who leads the metadata log and who follows it.
    Quorum {
        #[command(flatten)]
        common: Common,
        /// Print how far each replica is.
        #[arg(long)]
        replication: bool,
    },
    /// Print how many bytes partitions take in the log directories.
    LogDirs {
        #[command(flatten)]
        common: Common,
        /// Only these topics.
        #[arg(long, value_name = "TOPIC", value_delimiter = ',')]
        topic_list: Vec<String>,
        /// Only these brokers.
        #[arg(long, value_name = "ID", value_delimiter = ',')]
        broker_list: Vec<i32>,
    },
}

impl Cluster {
    /// Does what is asked.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let (Action::Describe(common)
        | Action::ApiVersions(common)
        | Action::Features(common)
        | Action::Quorum { common, .. }
        | Action::LogDirs { common, .. }) = &self.action;
        let (admin, json) = (&mut common.cluster.admin(), common.output.json);
        match &self.action {
            Action::Describe(_) => describe(admin, json),
            Action::ApiVersions(_) => api_versions(admin, json),
            Action::Features(_) => features(admin, json),
            Action::Quorum { replication: false, .. } => quorum_status(admin, json),
            Action::Quorum { .. } => quorum_replication(admin, false, json),
            Action::LogDirs { topic_list, broker_list, .. } => log_dirs(admin, topic_list, broker_list, json),
        }
    }
}

fn refused(code: i16, message: Option<&KafkaString>) -> Result<(), Failure> {
    match ErrorCode(code) {
        ErrorCode::NONE => Ok(()),
        code => Err(Failure::new(format!("{code}: {}", message.map_or(code.message(), |text| text.as_str())))),
    }
}

fn ask_cluster(admin: &mut Admin) -> Result<DescribeClusterResponse, Failure> {
    let mut response = admin.call(Destination::Any, DescribeClusterRequest::default())?;
    refused(response.error_code, response.error_message.as_ref())?;
    response.brokers.sort_by_key(|broker| broker.broker_id);
    Ok(response)
}

fn describe(admin: &mut Admin, json: bool) -> Result<(), Failure> {
    #[derive(Serialize)]
    struct Broker {
        id: i32,
        host: String,
        port: i32,
        rack: Option<String>,
    }
    #[derive(Serialize)]
    struct Row {
        cluster_id: String,
        controller: i32,
        brokers: Vec<Broker>,
    }
    let response = ask_cluster(admin)?;
    let brokers = response.brokers.iter().map(|broker| Broker {
        id: broker.broker_id,
        host: broker.host.to_string(),
        port: broker.port,
        rack: broker.rack.as_ref().map(ToString::to_string),
    });
    if json {
        let (cluster_id, controller) = (response.cluster_id.to_string(), response.controller_id);
        return print_json([Row { cluster_id, controller, brokers: brokers.collect() }]);
    }
    line(format!("Cluster ID: {}", response.cluster_id))?;
    line(format!("Controller: {}", response.controller_id))?;
    let rows: Vec<Vec<String>> = brokers
        .map(|broker| {
            vec![
                broker.id.to_string(),
                broker.host,
                broker.port.to_string(),
                broker.rack.unwrap_or_else(|| "-".to_owned()),
            ]
        })
        .collect();
    table(&["ID", "HOST", "PORT", "RACK"], &[10, 9, 10, 10], &rows).iter().try_for_each(line)
}

/// Prints the id, as `kafka-cluster.sh cluster-id` does.
pub(crate) fn cluster_id(admin: &mut Admin) -> Result<(), Failure> {
    line(format!("Cluster ID: {}", ask_cluster(admin)?.cluster_id))
}

/// Prints brokers, as `kafka-cluster.sh list-endpoints` does.
pub(crate) fn list_endpoints(admin: &mut Admin) -> Result<(), Failure> {
    let rows = ask_cluster(admin)?.brokers.into_iter().map(|broker| {
        let state = if broker.is_fenced { "fenced" } else { "unfenced" };
        vec![
            broker.broker_id.to_string(),
            broker.host.to_string(),
            broker.port.to_string(),
            broker.rack.map_or_else(|| "null".to_owned(), |rack| rack.to_string()),
            state.to_owned(),
            "broker".to_owned(),
        ]
    });
    let header = ["ID", "HOST", "PORT", "RACK", "STATE", "ENDPOINT_TYPE"];
    table(&header, &[10, 9, 10, 10, 10, 15], &rows.collect::<Vec<_>>()).iter().try_for_each(line)
}

fn ask_versions(admin: &mut Admin, destination: Destination) -> Result<ApiVersionsResponse, Failure> {
    let request = ApiVersionsRequest {
        client_software_name: KafkaString::from_static("corelane"),
        client_software_version: KafkaString::from_static(env!("CARGO_PKG_VERSION")),
    };
    let response = admin.call(destination, request)?;
    refused(response.error_code, None)?;
    Ok(response)
}

/// Prints what each broker serves, as kafka-broker-api-versions.sh does.
pub(crate) fn api_versions(admin: &mut Admin, json: bool) -> Result<(), Failure> {
    #[derive(Serialize)]
    struct Row {
        broker: i32,
        key: i16,
        api: Option<&'static str>,
        min_version: i16,
        max_version: i16,
        usable: Option<i16>,
    }
    let metadata = admin.metadata(Some(&[]))?;
    for broker in metadata.brokers {
        let mut served = ask_versions(admin, Destination::Node(NodeId(broker.node_id)))?.api_keys;
        served.sort_by_key(|api| api.api_key);
        let rows: Vec<Row> = served
            .iter()
            .map(|api| {
                let known = ApiKey::from_i16(api.api_key);
                let usable = known.map(ApiKey::versions).and_then(|ours| {
                    let version = api.max_version.min(*ours.end());
                    (version >= api.min_version.max(*ours.start())).then_some(version)
                });
                Row {
                    broker: broker.node_id,
                    key: api.api_key,
                    api: known.map(ApiKey::name),
                    min_version: api.min_version,
                    max_version: api.max_version,
                    usable,
                }
            })
            .collect();
        if json {
            print_json(rows)?;
            continue;
        }
        let rack = broker.rack.as_ref().map_or("null", |rack| rack.as_str());
        line(format!("{}:{} (id: {} rack: {rack} isFenced: false) -> (", broker.host, broker.port, broker.node_id))?;
        let last = rows.len().saturating_sub(1);
        for (number, row) in rows.iter().enumerate() {
            let name = row.api.map_or_else(|| format!("UNKNOWN({})", row.key), |name| format!("{name}({})", row.key));
            let range = match row.min_version == row.max_version {
                true => row.min_version.to_string(),
                false => format!("{} to {}", row.min_version, row.max_version),
            };
            let usable = row
                .usable
                .map_or_else(|| "unusable: we know no such version".to_owned(), |version| format!("usable: {version}"));
            line(format!("\t{name}: {range} [{usable}]{}", if number < last { "," } else { "" }))?;
        }
        line(")")?;
    }
    Ok(())
}

fn level_name(feature: &str, level: i16) -> String {
    let place = usize::try_from(level - FIRST_METADATA_VERSION).ok();
    let name = place.filter(|_| feature == "metadata.version").and_then(|place| METADATA_VERSIONS.get(place));
    name.map_or_else(|| level.to_string(), ToString::to_string)
}

/// Prints features, as `kafka-features.sh describe` does.
pub(crate) fn features(admin: &mut Admin, json: bool) -> Result<(), Failure> {
    #[derive(Serialize)]
    struct Row {
        feature: String,
        min_level: i16,
        max_level: i16,
        finalized_level: i16,
        epoch: i64,
    }
    let versions = ask_versions(admin, Destination::Any)?;
    let level = |name: &KafkaString| {
        let finalized = versions.finalized_features.iter().find(|feature| feature.name == *name);
        finalized.map_or(0, |feature| feature.max_version_level)
    };
    let mut rows: Vec<Row> = versions
        .supported_features
        .iter()
        .map(|feature| Row {
            feature: feature.name.to_string(),
            min_level: feature.min_version,
            max_level: feature.max_version,
            finalized_level: level(&feature.name),
            epoch: versions.finalized_features_epoch,
        })
        .collect();
    rows.sort_by(|a, b| a.feature.cmp(&b.feature));
    if json {
        return print_json(rows);
    }
    rows.iter().try_for_each(|row| {
        let [min, max, finalized] = [row.min_level, row.max_level, row.finalized_level].map(|level| level_name(&row.feature, level));
        line(format!(
            "Feature: {}\tSupportedMinVersion: {min}\tSupportedMaxVersion: {max}\tFinalizedVersionLevel: {finalized}\tEpoch: {}",
            row.feature, row.epoch
        ))
    })
}

fn ask_quorum(admin: &mut Admin) -> Result<(QuorumPartition, DescribeQuorumResponse), Failure> {
    let request = DescribeQuorumRequest {
        topics: vec![TopicData {
            topic_name: KafkaString::from_static("__cluster_metadata"),
            partitions: vec![PartitionData { partition_index: 0 }],
        }],
    };
    let mut response = admin.call(Destination::Controller, request)?;
    refused(response.error_code, response.error_message.as_ref())?;
    let partition = response.topics.first_mut().and_then(|topic| topic.partitions.pop());
    let Some(partition) = partition else { return Err(Failure::new("the controller says nothing about its quorum")) };
    refused(partition.error_code, partition.error_message.as_ref())?;
    Ok((partition, response))
}

fn leader_state(quorum: &QuorumPartition) -> Option<&ReplicaState> {
    quorum.current_voters.iter().chain(&quorum.observers).find(|replica| replica.replica_id == quorum.leader_id)
}

/// Prints who leads, as `kafka-metadata-quorum.sh describe --status` does.
pub(crate) fn quorum_status(admin: &mut Admin, json: bool) -> Result<(), Failure> {
    #[derive(Serialize)]
    struct Node {
        id: i32,
        #[serde(rename = "directoryId")]
        directory_id: String,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        endpoints: Vec<String>,
    }
    #[derive(Serialize)]
    struct Row {
        cluster_id: String,
        leader_id: i32,
        leader_epoch: i32,
        high_watermark: i64,
        max_follower_lag: i64,
        max_follower_lag_time_ms: i64,
        current_voters: Vec<Node>,
        current_observers: Vec<Node>,
    }
    let cluster_id = ask_cluster(admin)?.cluster_id.to_string();
    let (quorum, response) = ask_quorum(admin)?;
    let leader = leader_state(&quorum).cloned().unwrap_or_default();
    let followers = || quorum.current_voters.iter().filter(|replica| replica.replica_id != quorum.leader_id);
    let node = |replica: &ReplicaState, with_endpoints: bool| {
        let listeners = response.nodes.iter().filter(|node| with_endpoints && node.node_id == replica.replica_id);
        let endpoint = |name: &str, host: &str, port: u16| match host.contains(':') {
            true => format!("{name}://[{host}]:{port}"),
            false => format!("{name}://{host}:{port}"),
        };
        Node {
            id: replica.replica_id,
            directory_id: Uuid(replica.replica_directory_id).to_string(),
            endpoints: listeners
                .flat_map(|node| &node.listeners)
                .map(|listener| endpoint(&listener.name, &listener.host, listener.port))
                .collect(),
        }
    };
    let row = Row {
        cluster_id,
        leader_id: quorum.leader_id,
        leader_epoch: quorum.leader_epoch,
        high_watermark: quorum.high_watermark,
        max_follower_lag: followers().map(|each| leader.log_end_offset - each.log_end_offset).max().unwrap_or(0),
        max_follower_lag_time_ms: followers()
            .map(|each| leader.last_caught_up_timestamp - each.last_caught_up_timestamp)
            .max()
            .unwrap_or(0),
        current_voters: quorum.current_voters.iter().map(|replica| node(replica, true)).collect(),
        current_observers: quorum.observers.iter().map(|replica| node(replica, false)).collect(),
    };
    if json {
        return print_json([row]);
    }
    let nodes = |nodes: &[Node]| -> String {
        let one = |node: &Node| {
            let endpoints: Vec<String> = node.endpoints.iter().map(|endpoint| format!("\"{endpoint}\"")).collect();
            let endpoints = match endpoints.is_empty() {
                true => String::new(),
                false => format!(", \"endpoints\": [{}]", endpoints.join(", ")),
            };
            format!("{{\"id\": {}, \"directoryId\": \"{}\"{endpoints}}}", node.id, node.directory_id)
        };
        format!("[{}]", nodes.iter().map(one).collect::<Vec<_>>().join(", "))
    };
    for (name, value) in [
        ("ClusterId:", row.cluster_id.clone()),
        ("LeaderId:", row.leader_id.to_string()),
        ("LeaderEpoch:", row.leader_epoch.to_string()),
        ("HighWatermark:", row.high_watermark.to_string()),
        ("MaxFollowerLag:", row.max_follower_lag.to_string()),
        ("MaxFollowerLagTimeMs:", row.max_follower_lag_time_ms.to_string()),
        ("CurrentVoters:", nodes(&row.current_voters)),
        ("CurrentObservers:", nodes(&row.current_observers)),
    ] {
        line(format!("{name:23} {value}"))?;
    }
    Ok(())
}

/// Prints how far each replica is, as `kafka-metadata-quorum.sh describe --replication` does.
pub(crate) fn quorum_replication(admin: &mut Admin, human_readable: bool, json: bool) -> Result<(), Failure> {
    #[derive(Serialize)]
    struct Row {
        node_id: i32,
        directory_id: String,
        log_end_offset: i64,
        lag: i64,
        last_fetch_timestamp: i64,
        last_caught_up_timestamp: i64,
        status: &'static str,
    }
    let (quorum, _) = ask_quorum(admin)?;
    let leader_end = leader_state(&quorum).map_or(0, |leader| leader.log_end_offset);
    let row = |replica: &ReplicaState, status: &'static str| Row {
        node_id: replica.replica_id,
        directory_id: Uuid(replica.replica_directory_id).to_string(),
        log_end_offset: replica.log_end_offset,
        lag: leader_end - replica.log_end_offset,
        last_fetch_timestamp: replica.last_fetch_timestamp,
        last_caught_up_timestamp: replica.last_caught_up_timestamp,
        status,
    };
    let is_leader = |replica: &&ReplicaState| replica.replica_id == quorum.leader_id;
    let leaders = quorum.current_voters.iter().filter(is_leader).map(|replica| row(replica, "Leader"));
    let followers =
        quorum.current_voters.iter().filter(|each| !is_leader(each)).map(|replica| row(replica, "Follower"));
    let observers = quorum.observers.iter().map(|replica| row(replica, "Observer"));
    let rows: Vec<Row> = leaders.chain(followers).chain(observers).collect();
    if json {
        return print_json(rows);
    }
    let now = wall_clock().0;
    let time = |ms: i64| match (human_readable, ms) {
        (true, -1) => "unknown".to_owned(),
        (true, ms) => format!("{} ms ago", now - ms),
        (false, ms) => ms.to_string(),
    };
    let header =
        ["NodeId", "DirectoryId", "LogEndOffset", "Lag", "LastFetchTimestamp", "LastCaughtUpTimestamp", "Status"];
    line(header.join("\t"))?;
    for row in rows {
        line(
            [
                row.node_id.to_string(),
                row.directory_id,
                row.log_end_offset.to_string(),
                row.lag.to_string(),
                time(row.last_fetch_timestamp),
                time(row.last_caught_up_timestamp),
                row.status.to_owned(),
            ]
            .join("\t"),
        )?;
    }
    Ok(())
}

#[derive(Serialize)]
struct DirPartition {
    partition: String,
    size: i64,
    #[serde(rename = "offsetLag")]
    offset_lag: i64,
    #[serde(rename = "isFuture")]
    is_future: bool,
}

#[derive(Serialize)]
struct Dir {
    partitions: Vec<DirPartition>,
    error: Option<&'static str>,
    #[serde(rename = "logDir")]
    log_dir: String,
}

#[derive(Serialize)]
struct BrokerDirs {
    broker: i32,
    #[serde(rename = "logDirs")]
    log_dirs: Vec<Dir>,
}

/// Prints log directories as JSON, as kafka-log-dirs.sh does; with `json`, without the words around it.
pub(crate) fn log_dirs(admin: &mut Admin, topics: &[String], brokers: &[i32], json: bool) -> Result<(), Failure> {
    let there: BTreeSet<i32> = admin.brokers()?.into_iter().map(|node| node.0).collect();
    let wanted: BTreeSet<i32> = if brokers.is_empty() { there.clone() } else { brokers.iter().copied().collect() };
    let join = |ids: &mut dyn Iterator<Item = &i32>| ids.map(ToString::to_string).collect::<Vec<_>>().join(",");
    if !wanted.is_subset(&there) {
        let missing = join(&mut wanted.difference(&there));
        let there = join(&mut there.iter());
        return Err(Failure::new(format!("there is no broker {missing}; there are {there}")));
    }
    let ids = join(&mut wanted.iter());
    if !json {
        line("Querying brokers for log directories information")?;
    }
    let request = match topics {
        [] => None,
        topics => {
            let partitions = admin.partitions_of(topics)?;
            let topic = |name: &String| DescribableLogDirTopic {
                topic: KafkaString::copied(name),
                partitions: partitions.iter().filter(|at| at.topic == *name).map(|at| at.partition).collect(),
            };
            Some(topics.iter().map(topic).collect())
        }
    };
    let mut found = Vec::new();
    for broker in wanted {
        let request = DescribeLogDirsRequest { topics: request.clone() };
        let response = admin.call(Destination::Node(NodeId(broker)), request)?;
        refused(response.error_code, None)?;
        let dir = |result: &corelane_core::protocol::messages::describe_log_dirs_response::DescribeLogDirsResult| Dir {
            partitions: result
                .topics
                .iter()
                .flat_map(|topic| topic.partitions.iter().map(move |partition| (topic, partition)))
                .map(|(topic, partition)| DirPartition {
                    partition: format!("{}-{}", topic.name, partition.partition_index),
                    size: partition.partition_size,
                    offset_lag: partition.offset_lag,
                    is_future: partition.is_future_key,
                })
                .collect(),
            error: (result.error_code != 0).then(|| ErrorCode(result.error_code).name()),
            log_dir: result.log_dir.to_string(),
        };
        found.push(BrokerDirs { broker, log_dirs: response.results.iter().map(dir).collect() });
    }
    if json {
        return print_json(found);
    }
    #[derive(Serialize)]
    struct All {
        brokers: Vec<BrokerDirs>,
        version: i32,
    }
    line(format!("Received log directory information from brokers {ids}"))?;
    print_json([All { brokers: found, version: 1 }])
}
