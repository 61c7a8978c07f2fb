//! `corelane transactions`: list, describe and end transactions, and the producers behind them.

use std::collections::{BTreeMap, BTreeSet};

use clap::{Args, Subcommand};
use corelane_core::base::NodeId;
use corelane_core::client::{Destination, ErrorCode};
use corelane_core::protocol::KafkaString;
use corelane_core::protocol::messages::describe_producers_request::TopicRequest;
use corelane_core::protocol::messages::describe_producers_response::ProducerState;
use corelane_core::protocol::messages::describe_transactions_response::TransactionState;
use corelane_core::protocol::messages::metadata_response::MetadataResponseTopic;
use corelane_core::protocol::messages::write_txn_markers_request::{WritableTxnMarker, WritableTxnMarkerTopic};
use corelane_core::protocol::messages::{
    DescribeProducersRequest, DescribeTransactionsRequest, DescribeTransactionsResponse, InitProducerIdRequest,
    InitProducerIdResponse, ListTransactionsRequest, ListTransactionsResponse, WriteTxnMarkersRequest,
};
use corelane_perf::report::wall_clock;
use serde::Serialize;

use crate::admin::{Admin, TopicPartition, by_topic};
use crate::arguments::ClusterArguments;
use crate::failure::{Failure, first_of};
use crate::groups::parse_topics;
use crate::output::{OutputArguments, line, print_json, table};

/// Milliseconds that the broker waits before it aborts what a producer leaves open that ends a transaction here: it never
/// begins one.
const TERMINATION_TIMEOUT_MS: i32 = 1;
const MINUTE_MS: i64 = 60_000;

/// Arguments of `corelane transactions`.
#[derive(Args, Debug)]
pub(crate) struct Transactions {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Print transactional ids, their producers and states.
    List {
        #[command(flatten)]
        cluster: ClusterArguments,
        #[command(flatten)]
        output: OutputArguments,
        /// Only those in one of these states.
        #[arg(long, value_name = "STATE", value_delimiter = ',')]
        state: Vec<String>,
        /// Only those of these producers.
        #[arg(long, value_name = "ID", value_delimiter = ',')]
        producer_id: Vec<i64>,
        /// Only those that have been open for longer.
        #[arg(long, value_name = "MS", value_parser = clap::value_parser!(i64).range(0..))]
        duration_ms: Option<i64>,
        /// Only those that match this regular expression as a whole; brokers before Kafka 4.2 do not know it.
        #[arg(long, value_name = "PATTERN")]
        pattern: Option<String>,
    },
    /// Print what the coordinators know of transactional ids, with the partitions of open transactions.
    Describe {
        #[command(flatten)]
        cluster: ClusterArguments,
        #[command(flatten)]
        output: OutputArguments,
        /// Transactional ids.
        #[arg(value_name = "ID", required = true)]
        ids: Vec<String>,
    },
    /// Print the producers that partitions know, and where those have transactions open.
    Producers {
        #[command(flatten)]
        cluster: ClusterArguments,
        #[command(flatten)]
        output: OutputArguments,
        /// Topics, or some partitions of them, as orders:0,1.
        #[arg(value_name = "TOPIC[:PARTITIONS]", required = true)]
        topics: Vec<String>,
        /// Ask this broker, which has a replica, instead of the leaders.
        #[arg(long, value_name = "ID")]
        broker_id: Option<i32>,
    },
    /// Print transactions that are open in a partition and that no coordinator will ever end.
    Hanging {
        #[command(flatten)]
        cluster: ClusterArguments,
        #[command(flatten)]
        output: OutputArguments,
        /// Topics, or some partitions of them, as orders:0,1.
        #[arg(value_name = "TOPIC[:PARTITIONS]", required_unless_present = "broker_id")]
        topics: Vec<String>,
        /// Only where this broker has a replica, which it is asked about; in all topics if none are named.
        #[arg(long, value_name = "ID")]
        broker_id: Option<i32>,
        /// Minutes that a transaction may be open; use the broker's transaction.max.timeout.ms and some more.
        #[arg(long, value_name = "MINUTES", default_value_t = 20, value_parser = clap::value_parser!(i64).range(0..))]
        minutes: i64,
    },
    /// Abort in one partition what no coordinator will end. Whatever the coordinator says of the transaction is ignored: ask
    /// for those that are hanging first.
    Abort {
        #[command(flatten)]
        cluster: ClusterArguments,
        /// The partition, as orders:0.
        #[arg(value_name = "TOPIC:PARTITION")]
        partition: String,
        /// Offset at which the transaction begins there, as `producers` prints it.
        #[arg(long, value_name = "OFFSET", value_parser = clap::value_parser!(i64).range(0..))]
        #[arg(required_unless_present = "producer_id")]
        start_offset: Option<i64>,
        /// Its producer, instead of the offset; with the two epochs.
        #[arg(long, value_name = "ID", conflicts_with = "start_offset")]
        #[arg(requires_all = ["producer_epoch", "coordinator_epoch"])]
        producer_id: Option<i64>,
        /// Epoch of the producer.
        #[arg(long, value_name = "EPOCH", requires = "producer_id")]
        producer_epoch: Option<i16>,
        /// Epoch of the coordinator that ends it; not below the one that `producers` prints.
        #[arg(long, value_name = "EPOCH", requires = "producer_id")]
        coordinator_epoch: Option<i32>,
    },
    /// Abort the open transaction of a transactional id, wherever it has written, and fence its producer.
    Terminate {
        #[command(flatten)]
        cluster: ClusterArguments,
        /// The transactional id.
        #[arg(value_name = "ID")]
        id: String,
    },
}

impl Transactions {
    /// Does what is asked.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        match &self.action {
            Action::List { cluster, output, state, producer_id, duration_ms, pattern } => {
                let request = ListTransactionsRequest {
                    state_filters: state.iter().map(|name| KafkaString::copied(name)).collect(),
                    producer_id_filters: producer_id.clone(),
                    duration_filter: duration_ms.unwrap_or(-1),
                    transactional_id_pattern: pattern.as_deref().map(KafkaString::copied),
                };
                list(&mut cluster.admin(), &request, output.json)
            }
            Action::Describe { cluster, output, ids } => describe(&mut cluster.admin(), ids, output.json),
            Action::Producers { cluster, output, topics, broker_id } => {
                let admin = &mut cluster.admin();
                let partitions = parse_topics(admin, topics)?;
                let places = places(admin, &partitions, broker_id.map(NodeId))?;
                print_producers(&producers(admin, &places)?, output.json)
            }
            Action::Hanging { cluster, output, topics, broker_id, minutes } => {
                let admin = &mut cluster.admin();
                let named = parse_topics(admin, topics)?;
                let places = match broker_id {
                    None => places(admin, &named, None)?,
                    Some(broker) => {
                        let mut places = places_on(admin, NodeId(*broker))?;
                        if !named.is_empty() {
                            places.values_mut().for_each(|here| here.retain(|at| named.contains(at)));
                        }
                        places
                    }
                };
                let found = hanging(admin, &places, minutes.saturating_mul(MINUTE_MS))?;
                print_producers(&found, output.json)
            }
            Action::Abort { cluster, partition, start_offset, producer_id, producer_epoch, coordinator_epoch } => {
                let admin = &mut cluster.admin();
                let at = one_partition(admin, partition)?;
                let ids = producer_id.zip(*producer_epoch).zip(*coordinator_epoch);
                let (producer, what) = match (ids, start_offset) {
                    (Some(((id, epoch), coordinator_epoch)), _) => {
                        (Ended { id, epoch, coordinator_epoch }, format!("of producer {id}"))
                    }
                    (None, Some(offset)) => (who_began(admin, &at, *offset)?, format!("that began at offset {offset}")),
                    (None, None) => return Err(Failure::new("say which: --start-offset, or --producer-id")),
                };
                abort(admin, &at, &producer)?;
                line(format!("{at}: the transaction {what} is aborted"))
            }
            Action::Terminate { cluster, id } => terminate(&mut cluster.admin(), id),
        }
    }
}

#[derive(Serialize)]
struct ListRow<'a> {
    transactional_id: &'a str,
    coordinator: i32,
    producer_id: i64,
    state: &'a str,
}

fn list(admin: &mut Admin, request: &ListTransactionsRequest, json: bool) -> Result<(), Failure> {
    let mut found: Vec<(NodeId, ListTransactionsResponse)> = Vec::new();
    for node in admin.brokers()? {
        let verdict = |response: &ListTransactionsResponse| ErrorCode(response.error_code);
        let response = admin.call_until(Destination::Node(node), request.clone(), i16::MAX, verdict)?;
        match ErrorCode(response.error_code) {
            ErrorCode::NONE => {}
            ErrorCode::INVALID_REGULAR_EXPRESSION => {
                let pattern = request.transactional_id_pattern.as_deref().unwrap_or_default();
                return Err(Failure::new(format!("--pattern {pattern}: it is no regular expression")));
            }
            code => return Err(Failure::new(format!("broker {node}: {} ({})", code.message(), code.name()))),
        }
        if let Some(unknown) = response.unknown_state_filters.first() {
            return Err(Failure::new(format!("--state {unknown}: there is no such state")).remedy(
                "States are Empty, Ongoing, PrepareCommit, PrepareAbort, CompleteCommit, CompleteAbort, Dead and \
                 PrepareEpochFence.",
            ));
        }
        found.push((node, response));
    }
    let mut rows: Vec<ListRow<'_>> = found
        .iter()
        .flat_map(|(node, response)| response.transaction_states.iter().map(move |state| (node, state)))
        .map(|(node, state)| ListRow {
            transactional_id: &state.transactional_id,
            coordinator: node.0,
            producer_id: state.producer_id,
            state: &state.transaction_state,
        })
        .collect();
    rows.sort_by_key(|row| row.transactional_id);
    if json {
        return print_json(rows);
    }
    let cells = rows.iter().map(|row| {
        vec![
            row.transactional_id.to_owned(),
            row.coordinator.to_string(),
            row.producer_id.to_string(),
            row.state.to_owned(),
        ]
    });
    print_table(&["TRANSACTIONAL-ID", "COORDINATOR", "PRODUCER-ID", "STATE"], &cells.collect::<Vec<_>>())
}

/// What the coordinator of a transactional id knows of it.
fn state_of(admin: &mut Admin, id: &str) -> Result<TransactionState, Failure> {
    let request = DescribeTransactionsRequest { transactional_ids: vec![KafkaString::copied(id)] };
    let verdict = |response: &DescribeTransactionsResponse| {
        ErrorCode(response.transaction_states.first().map_or(0, |state| state.error_code))
    };
    let response = admin.call_until(Destination::Transaction(id.to_owned()), request, i16::MAX, verdict)?;
    let state = response.transaction_states.into_iter().next().unwrap_or_default();
    match ErrorCode(state.error_code) {
        ErrorCode::NONE => Ok(state),
        code => Err(failure_of(id, code)),
    }
}

fn failure_of(id: &str, code: ErrorCode) -> Failure {
    let failure = Failure::new(format!("transactional id {id}: {} ({})", code.message(), code.name()));
    match code {
        ErrorCode::TRANSACTIONAL_ID_NOT_FOUND => {
            failure.remedy("`corelane transactions list` prints those that there are.")
        }
        _ => failure,
    }
}

#[derive(Serialize)]
struct DescribeRow {
    transactional_id: String,
    producer_id: i64,
    producer_epoch: i16,
    state: String,
    timeout_ms: i32,
    /// Milliseconds since 1970; null if nothing is open.
    started: Option<i64>,
    open_for_ms: Option<i64>,
    partitions: Vec<String>,
}

fn describe(admin: &mut Admin, ids: &[String], json: bool) -> Result<(), Failure> {
    let (mut rows, mut failures) = (Vec::new(), Vec::new());
    let now = wall_clock().0;
    for id in ids {
        match state_of(admin, id) {
            Err(failure) => failures.push(failure),
            Ok(state) => {
                let started = (state.transaction_start_time_ms >= 0).then_some(state.transaction_start_time_ms);
                let partitions = state.topics.iter().flat_map(|topic| {
                    topic.partitions.iter().map(|index| TopicPartition::new(&topic.topic, *index).to_string())
                });
                rows.push(DescribeRow {
                    transactional_id: id.clone(),
                    producer_id: state.producer_id,
                    producer_epoch: state.producer_epoch,
                    state: state.transaction_state.to_string(),
                    timeout_ms: state.transaction_timeout_ms,
                    started,
                    open_for_ms: started.map(|started| now.saturating_sub(started).max(0)),
                    partitions: partitions.collect(),
                });
            }
        }
    }
    if json {
        print_json(&rows)?;
        return first_of(failures);
    }
    let cells = rows.iter().map(|row| {
        let open = row.open_for_ms.map_or_else(|| "-".to_owned(), |ms| ms.to_string());
        vec![
            row.transactional_id.clone(),
            row.producer_id.to_string(),
            row.producer_epoch.to_string(),
            row.state.clone(),
            row.timeout_ms.to_string(),
            open,
            row.partitions.join(","),
        ]
    });
    let header = ["TRANSACTIONAL-ID", "PRODUCER-ID", "EPOCH", "STATE", "TIMEOUT-MS", "OPEN-FOR-MS", "PARTITIONS"];
    if !rows.is_empty() {
        print_table(&header, &cells.collect::<Vec<_>>())?;
    }
    first_of(failures)
}

type Producers = Vec<(TopicPartition, ProducerState)>;

/// Partitions, by the broker that is asked about them.
type Places = BTreeMap<NodeId, Vec<TopicPartition>>;

/// Whom to ask about partitions: this broker, or else those that lead them.
fn places(admin: &mut Admin, partitions: &[TopicPartition], broker: Option<NodeId>) -> Result<Places, Failure> {
    if let Some(broker) = broker {
        known_broker(admin, broker)?;
        return Ok(BTreeMap::from([(broker, partitions.to_vec())]));
    }
    let (led, leaderless) = admin.by_leader(partitions)?;
    match leaderless.first() {
        Some((at, code)) => Err(Failure::new(format!("{at}: {} ({})", code.message(), code.name()))),
        None => Ok(led),
    }
}

/// Every partition of which a broker has a replica.
fn places_on(admin: &mut Admin, broker: NodeId) -> Result<Places, Failure> {
    known_broker(admin, broker)?;
    let topics = admin.topics(None)?;
    let partitions = topics.iter().flat_map(|topic| topic.partitions.iter().map(move |each| (topic, each)));
    let here = partitions.filter(|(_, each)| each.replica_nodes.contains(&broker.0));
    let name = |topic: &MetadataResponseTopic| topic.name.as_deref().unwrap_or_default().to_owned();
    let here = here.map(|(topic, each)| TopicPartition::new(&name(topic), each.partition_index));
    Ok(BTreeMap::from([(broker, here.collect())]))
}

fn known_broker(admin: &mut Admin, broker: NodeId) -> Result<(), Failure> {
    match admin.brokers()?.contains(&broker) {
        true => Ok(()),
        false => Err(Failure::new(format!("--broker-id {broker}: the cluster has no such broker"))
            .remedy("`corelane cluster describe` prints those that there are.")),
    }
}

/// The producers that partitions know.
fn producers(admin: &mut Admin, places: &Places) -> Result<Producers, Failure> {
    let mut found = Vec::new();
    for (node, partitions) in places {
        let topics = by_topic(partitions.iter().map(|at| (at, ()))).into_iter();
        let topics = topics.map(|(name, partitions)| TopicRequest {
            name: KafkaString::copied(name),
            partition_indexes: partitions.iter().map(|(index, ())| *index).collect(),
        });
        let request = DescribeProducersRequest { topics: topics.collect() };
        for topic in admin.call(Destination::Node(*node), request)?.topics {
            for part in topic.partitions {
                let at = TopicPartition::new(&topic.name, part.partition_index);
                let code = ErrorCode(part.error_code);
                if !code.is_none() {
                    return Err(Failure::new(format!("{at}: {} ({})", code.message(), code.name())));
                }
                found.extend(part.active_producers.into_iter().map(|producer| (at.clone(), producer)));
            }
        }
    }
    found.sort_by(|a, b| (&a.0, a.1.producer_id).cmp(&(&b.0, b.1.producer_id)));
    Ok(found)
}

#[derive(Serialize)]
struct ProducerRow<'a> {
    topic: &'a str,
    partition: i32,
    producer_id: i64,
    producer_epoch: i32,
    /// Null if a coordinator has not ended anything of it there yet.
    coordinator_epoch: Option<i32>,
    last_sequence: i32,
    /// Milliseconds since 1970.
    last_timestamp: i64,
    /// Offset of the first record of the open transaction; null if none is open.
    transaction_start_offset: Option<i64>,
}

fn print_producers(found: &Producers, json: bool) -> Result<(), Failure> {
    let rows: Vec<ProducerRow<'_>> = found
        .iter()
        .map(|(at, producer)| ProducerRow {
            topic: &at.topic,
            partition: at.partition,
            producer_id: producer.producer_id,
            producer_epoch: producer.producer_epoch,
            coordinator_epoch: (producer.coordinator_epoch >= 0).then_some(producer.coordinator_epoch),
            last_sequence: producer.last_sequence,
            last_timestamp: producer.last_timestamp,
            transaction_start_offset: (producer.current_txn_start_offset >= 0)
                .then_some(producer.current_txn_start_offset),
        })
        .collect();
    if json {
        return print_json(rows);
    }
    let or_none = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    let cells = rows.iter().map(|row| {
        vec![
            row.topic.to_owned(),
            row.partition.to_string(),
            row.producer_id.to_string(),
            row.producer_epoch.to_string(),
            or_none(row.coordinator_epoch.map(|epoch| epoch.to_string())),
            row.last_sequence.to_string(),
            row.last_timestamp.to_string(),
            or_none(row.transaction_start_offset.map(|offset| offset.to_string())),
        ]
    });
    let header = [
        "TOPIC",
        "PARTITION",
        "PRODUCER-ID",
        "EPOCH",
        "COORDINATOR-EPOCH",
        "LAST-SEQUENCE",
        "LAST-TIMESTAMP",
        "TRANSACTION-START",
    ];
    print_table(&header, &cells.collect::<Vec<_>>())
}

/// The open transactions in these partitions that are older than `age_ms` and that their coordinators do not know to be open
/// there (KIP-664).
fn hanging(admin: &mut Admin, places: &Places, age_ms: i64) -> Result<Producers, Failure> {
    let now = wall_clock().0;
    let is_old = |producer: &ProducerState| now.saturating_sub(producer.last_timestamp) >= age_ms;
    let mut candidates = producers(admin, places)?;
    candidates.retain(|(_, producer)| producer.current_txn_start_offset >= 0 && is_old(producer));
    if candidates.is_empty() {
        return Ok(candidates);
    }
    let ids: BTreeSet<i64> = candidates.iter().map(|(_, producer)| producer.producer_id).collect();
    let mut transactional_ids: BTreeMap<i64, String> = BTreeMap::new();
    for node in admin.brokers()? {
        let request = ListTransactionsRequest {
            producer_id_filters: ids.iter().copied().collect(),
            duration_filter: -1,
            ..ListTransactionsRequest::default()
        };
        let verdict = |response: &ListTransactionsResponse| ErrorCode(response.error_code);
        let response = admin.call_until(Destination::Node(node), request, i16::MAX, verdict)?;
        for state in response.transaction_states {
            transactional_ids.insert(state.producer_id, state.transactional_id.to_string());
        }
    }
    let mut found = Vec::new();
    for (at, producer) in candidates {
        let known = match transactional_ids.get(&producer.producer_id) {
            None => None,
            Some(id) => Some(state_of(admin, id)?),
        };
        let is_known = known.is_some_and(|state| {
            let takes_part =
                state.topics.iter().any(|topic| *topic.topic == *at.topic && topic.partitions.contains(&at.partition));
            state.producer_id == producer.producer_id && takes_part
        });
        if !is_known {
            found.push((at, producer));
        }
    }
    Ok(found)
}

fn one_partition(admin: &mut Admin, text: &str) -> Result<TopicPartition, Failure> {
    let partitions = parse_topics(admin, &[text.to_owned()])?;
    match partitions.as_slice() {
        [at] => Ok(at.clone()),
        _ => Err(Failure::new(format!("{text} is not one partition")).remedy("Write it as TOPIC:PARTITION.")),
    }
}

/// Whose transaction is ended, and in whose name.
struct Ended {
    id: i64,
    epoch: i16,
    coordinator_epoch: i32,
}

/// Whose transaction begins at an offset.
fn who_began(admin: &mut Admin, at: &TopicPartition, offset: i64) -> Result<Ended, Failure> {
    let places = places(admin, std::slice::from_ref(at), None)?;
    let found = producers(admin, &places)?;
    let begins_there = |(_, producer): &&(_, ProducerState)| producer.current_txn_start_offset == offset;
    let Some((_, producer)) = found.iter().find(begins_there) else {
        return Err(Failure::new(format!("{at}: no open transaction begins at offset {offset}")).remedy(format!(
            "`corelane transactions producers {}:{}` prints those that are open.",
            at.topic, at.partition
        )));
    };
    Ok(Ended {
        id: producer.producer_id,
        epoch: i16::try_from(producer.producer_epoch).unwrap_or(-1),
        // No coordinator has ended anything of it there yet: any may.
        coordinator_epoch: producer.coordinator_epoch.max(0),
    })
}

fn abort(admin: &mut Admin, at: &TopicPartition, producer: &Ended) -> Result<(), Failure> {
    let marker = WritableTxnMarker {
        producer_id: producer.id,
        producer_epoch: producer.epoch,
        transaction_result: false,
        topics: vec![WritableTxnMarkerTopic {
            name: KafkaString::copied(&at.topic),
            partition_indexes: vec![at.partition],
        }],
        coordinator_epoch: producer.coordinator_epoch,
        transaction_version: 0,
    };
    let (led, _) = admin.by_leader(std::slice::from_ref(at))?;
    let node = led.keys().next().copied().ok_or_else(|| Failure::new(format!("{at} has no leader")))?;
    let response = admin.call(Destination::Node(node), WriteTxnMarkersRequest { markers: vec![marker] })?;
    let parts = response.markers.iter().flat_map(|marker| &marker.topics).flat_map(|topic| &topic.partitions);
    match parts.map(|part| ErrorCode(part.error_code)).find(|code| !code.is_none()) {
        Some(code) => Err(Failure::new(format!("{at}: {} ({})", code.message(), code.name()))),
        None => Ok(()),
    }
}

fn terminate(admin: &mut Admin, id: &str) -> Result<(), Failure> {
    // Not one that nobody knows: the request would make it.
    state_of(admin, id)?;
    let request = InitProducerIdRequest {
        transactional_id: Some(KafkaString::copied(id)),
        transaction_timeout_ms: TERMINATION_TIMEOUT_MS,
        producer_id: -1,
        producer_epoch: -1,
        ..InitProducerIdRequest::default()
    };
    // While the transaction is being aborted it says so, and is asked again.
    let verdict = |response: &InitProducerIdResponse| ErrorCode(response.error_code);
    let response = admin.call_until(Destination::Transaction(id.to_owned()), request, i16::MAX, verdict)?;
    match ErrorCode(response.error_code) {
        ErrorCode::NONE => line(format!("{id}: nothing is open, and its producer is fenced")),
        code => Err(failure_of(id, code)),
    }
}

fn print_table(header: &[&str], rows: &[Vec<String>]) -> Result<(), Failure> {
    for text in table(header, &[], rows) {
        line(text)?;
    }
    Ok(())
}
