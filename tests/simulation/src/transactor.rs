//! A client that does what exactly-once promises: in each transaction a record for each of two partitions, and how far it
//! has come. After a crash it goes on from what was committed, as a successor that knows nothing else would.
//!
//! | told | survives a kill |
//! | --- | --- |
//! | a transaction was committed | its records are read in both partitions, its offset is the group's |
//! | a transaction was aborted, or its end was never asked for | none of its records is read, its offset is not the group's |
//! | an end was asked for and not answered | one or the other, in all three alike |
//!
//! Whatever happened: each number is read once in each partition, in order, and nothing stays open.

use std::collections::BTreeSet;

use bytes::Bytes;
use corelane_core::base::{ProducerEpoch, ProducerId, Sequence, Timestamp};
use corelane_core::protocol::ErrorCode;
use corelane_core::protocol::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, EndTxnRequest, FetchRequest, FindCoordinatorRequest,
    InitProducerIdRequest, OffsetFetchRequest, ProduceRequest, TxnOffsetCommitRequest, add_partitions_to_txn_request,
    fetch_request, fetch_response, offset_fetch_request, produce_request, txn_offset_commit_request,
};
use corelane_core::protocol::wire::KafkaString;
use corelane_core::record::{Batch, BatchBuilder, BatchOptions};

use crate::client::{Link, Lost};
use crate::promises::Durability;
use crate::random::Random;
use crate::workload::{Clients, TopicPlan};

/// What it writes to.
const TOPIC: &str = "copied";
const PARTITIONS: i32 = 2;
/// Name of its group and of its transactions.
const NAME: &str = "copying";
const GROUP_COORDINATOR: i8 = 0;
const TRANSACTION_COORDINATOR: i8 = 1;
const READ_COMMITTED: i8 = 1;
/// How often it looks whether what is open has been ended.
const LOOKS_MAX: usize = 400;
/// Share of the transactions that it aborts, in thousandths.
const ABORTED_PER_MILLE: u64 = 300;

/// Why a transaction does not go on.
enum Broken {
    /// The connection is gone.
    Lost,
    /// The broker has refused, and a successor is to see what has become of it.
    Refused,
}

impl From<Lost> for Broken {
    fn from(_: Lost) -> Self {
        Self::Lost
    }
}

/// The client.
pub(crate) struct Transactor {
    pub(crate) clients: Clients,
    pub(crate) random: Random,
    /// It leaves it to the broker to have partitions take part, and gets a new epoch with each end (KIP-890).
    pub(crate) is_new: bool,
}

/// A producer of one life, with the next sequence number of each partition.
struct Identity {
    id: i64,
    epoch: i16,
    sequences: [i32; PARTITIONS as usize],
}

impl Transactor {
    /// So many transactions that are committed.
    pub(crate) async fn run(mut self, transactions: i64) {
        let topic =
            TopicPlan { name: TOPIC, partitions: PARTITIONS, durability: Durability::Plain, configs: Vec::new() };
        if !self.clients.create_unpromised(&topic).await {
            return;
        }
        loop {
            let mut session = self.clients.connect().await;
            match self.live(&mut session.link, transactions).await {
                Ok(()) => return,
                Err(Broken::Lost) => {}
                Err(Broken::Refused) => self.clients.pause().await,
            }
        }
    }

    /// One life: who it is, how far it has come, and on from there.
    async fn live(&mut self, link: &mut Link, transactions: i64) -> Result<(), Broken> {
        for kind in [GROUP_COORDINATOR, TRANSACTION_COORDINATOR] {
            let coordinator_keys = vec![NAME.into()];
            let request = FindCoordinatorRequest { key_type: kind, coordinator_keys, ..Default::default() };
            let answer = link.call(6, &request).await?;
            self.expect("FindCoordinator", answer.coordinators[0].error_code)?;
        }
        let mut identity = self.identity(link).await?;
        let mut number = self.committed(link).await?;
        while number < transactions {
            let commits = !self.random.chance(ABORTED_PER_MILLE);
            self.transact(link, &mut identity, number, commits).await?;
            number += i64::from(commits);
        }
        // The last one may still be being ended.
        if self.committed(link).await? != transactions {
            self.violation("the group has not come as far as it was told");
        }
        Ok(())
    }

    async fn identity(&self, link: &mut Link) -> Result<Identity, Broken> {
        let request = InitProducerIdRequest {
            transactional_id: Some(NAME.into()),
            transaction_timeout_ms: 60_000,
            ..Default::default()
        };
        loop {
            let answer = link.call(5, &request).await?;
            match ErrorCode(answer.error_code) {
                // What the one before has left open is being aborted.
                ErrorCode::CONCURRENT_TRANSACTIONS => self.clients.pause().await,
                code => {
                    self.expect("InitProducerId", code.0)?;
                    let sequences = [0; PARTITIONS as usize];
                    return Ok(Identity { id: answer.producer_id, epoch: answer.producer_epoch, sequences });
                }
            }
        }
    }

    /// How far it has come.
    async fn committed(&self, link: &mut Link) -> Result<i64, Broken> {
        let asked = offset_fetch_request::OffsetFetchRequestTopics {
            name: TOPIC.into(),
            partition_indexes: vec![0],
            ..Default::default()
        };
        let groups = vec![offset_fetch_request::OffsetFetchRequestGroup {
            group_id: NAME.into(),
            topics: Some(vec![asked]),
            ..Default::default()
        }];
        let request = OffsetFetchRequest { groups, require_stable: true, ..Default::default() };
        loop {
            let answer = link.call(9, &request).await?;
            let group = &answer.groups[0];
            self.expect("OffsetFetch", group.error_code)?;
            let part = &group.topics[0].partitions[0];
            match ErrorCode(part.error_code) {
                ErrorCode::UNSTABLE_OFFSET_COMMIT => self.clients.pause().await,
                code => {
                    self.expect("OffsetFetch", code.0)?;
                    return Ok(part.committed_offset.max(0));
                }
            }
        }
    }

    /// One transaction, from its first record to the answer that it has ended.
    async fn transact(
        &self,
        link: &mut Link,
        identity: &mut Identity,
        number: i64,
        commits: bool,
    ) -> Result<(), Broken> {
        if !self.is_new {
            self.announce(link, identity).await?;
        }
        for index in 0..PARTITIONS {
            self.produce(link, identity, index, number).await?;
        }
        self.commit_offset(link, identity, number + 1).await?;
        let version = if self.is_new { 5 } else { 4 };
        let request = EndTxnRequest {
            transactional_id: NAME.into(),
            producer_id: identity.id,
            producer_epoch: identity.epoch,
            committed: commits,
        };
        let answer = link.call(version, &request).await?;
        self.expect("EndTxn", answer.error_code)?;
        if self.is_new {
            let sequences = [0; PARTITIONS as usize];
            *identity = Identity { id: answer.producer_id, epoch: answer.producer_epoch, sequences };
        }
        Ok(())
    }

    /// Says what it will write to, as clients did before KIP-890.
    async fn announce(&self, link: &mut Link, identity: &Identity) -> Result<(), Broken> {
        let request = AddPartitionsToTxnRequest {
            v3_and_below_transactional_id: NAME.into(),
            v3_and_below_producer_id: identity.id,
            v3_and_below_producer_epoch: identity.epoch,
            v3_and_below_topics: vec![add_partitions_to_txn_request::AddPartitionsToTxnTopic {
                name: TOPIC.into(),
                partitions: (0..PARTITIONS).collect(),
            }],
            ..Default::default()
        };
        self.until_ended(link, 3, &request, "AddPartitionsToTxn", |answer| {
            answer.results_by_topic_v3_and_below[0].results_by_partition[0].partition_error_code
        })
        .await?;
        let request = AddOffsetsToTxnRequest {
            transactional_id: NAME.into(),
            producer_id: identity.id,
            producer_epoch: identity.epoch,
            group_id: NAME.into(),
        };
        self.until_ended(link, 3, &request, "AddOffsetsToTxn", |answer| answer.error_code).await
    }

    async fn produce(&self, link: &mut Link, identity: &mut Identity, index: i32, number: i64) -> Result<(), Broken> {
        let sequence = &mut identity.sequences[usize::try_from(index).expect("is small")];
        let options = BatchOptions {
            producer_id: ProducerId(identity.id),
            producer_epoch: ProducerEpoch(identity.epoch),
            base_sequence: Sequence(*sequence),
            transactional: true,
            ..BatchOptions::default()
        };
        let mut builder = BatchBuilder::new(options);
        builder.append(Timestamp(1_750_000_000_000), None, Some(number.to_string().as_bytes()), &[]);
        let records = builder.build().expect("can be built").bytes().clone();
        let request = ProduceRequest {
            transactional_id: Some(NAME.into()),
            acks: -1,
            timeout_ms: 30_000,
            topic_data: vec![produce_request::TopicProduceData {
                name: TOPIC.into(),
                partition_data: vec![produce_request::PartitionProduceData { index, records: Some(records) }],
                ..Default::default()
            }],
        };
        let version = if self.is_new { 12 } else { 11 };
        self.until_ended(link, version, &request, "Produce", |answer| {
            answer.responses[0].partition_responses[0].error_code
        })
        .await?;
        *sequence += 1;
        Ok(())
    }

    async fn commit_offset(&self, link: &mut Link, identity: &Identity, offset: i64) -> Result<(), Broken> {
        let partition = txn_offset_commit_request::TxnOffsetCommitRequestPartition {
            partition_index: 0,
            committed_offset: offset,
            committed_metadata: Some(KafkaString::EMPTY),
            ..Default::default()
        };
        let request = TxnOffsetCommitRequest {
            transactional_id: NAME.into(),
            group_id: NAME.into(),
            producer_id: identity.id,
            producer_epoch: identity.epoch,
            generation_id: -1,
            topics: vec![txn_offset_commit_request::TxnOffsetCommitRequestTopic {
                name: TOPIC.into(),
                partitions: vec![partition],
            }],
            ..Default::default()
        };
        let version = if self.is_new { 5 } else { 4 };
        self.until_ended(link, version, &request, "TxnOffsetCommit", |answer| answer.topics[0].partitions[0].error_code)
            .await
    }

    /// Asks until the transaction before has ended.
    async fn until_ended<R: corelane_core::protocol::Request>(
        &self,
        link: &mut Link,
        version: i16,
        request: &R,
        what: &str,
        code: impl Fn(&R::Response) -> i16,
    ) -> Result<(), Broken> {
        loop {
            let answer = link.call(version, request).await?;
            match ErrorCode(code(&answer)) {
                ErrorCode::CONCURRENT_TRANSACTIONS | ErrorCode::NOT_ENOUGH_REPLICAS => self.clients.pause().await,
                code => return self.expect(what, code.0),
            }
        }
    }

    /// Goes on after success; after what only a start explains, a successor goes on.
    fn expect(&self, what: &str, code: i16) -> Result<(), Broken> {
        match ErrorCode(code) {
            code if code.is_none() => Ok(()),
            ErrorCode::COORDINATOR_LOAD_IN_PROGRESS
            | ErrorCode::COORDINATOR_NOT_AVAILABLE
            | ErrorCode::NOT_COORDINATOR
            | ErrorCode::NOT_LEADER_OR_FOLLOWER
            | ErrorCode::UNKNOWN_TOPIC_OR_PARTITION => Err(Broken::Refused),
            code => {
                self.violation(&format!("{what}: {code}"));
                Err(Broken::Refused)
            }
        }
    }

    fn violation(&self, what: &str) {
        self.clients.promises.borrow_mut().violation(format!("transactions: {what}"));
    }
}

/// What is wrong with what readers of committed data are shown, once nothing is open any more.
pub(crate) async fn check(clients: &Clients, link: &mut Link, transactions: i64) -> Result<Option<String>, Lost> {
    for index in 0..PARTITIONS {
        let mut looks = 0;
        let read = loop {
            match read_committed(link, index).await? {
                Ok(read) => break read,
                Err(fault) if looks == LOOKS_MAX => return Ok(Some(format!("{TOPIC}-{index}: {fault}"))),
                Err(_) => {
                    looks += 1;
                    clients.pause().await;
                }
            }
        };
        let expected: Vec<String> = (0..transactions).map(|number| number.to_string()).collect();
        if read != expected {
            return Ok(Some(format!("{TOPIC}-{index} has {read:?} where {expected:?} was committed")));
        }
    }
    Ok(None)
}

/// All that is committed in a partition, as a client picks it out; or what is not as it should be yet.
async fn read_committed(link: &mut Link, index: i32) -> Result<Result<Vec<String>, String>, Lost> {
    let mut values = Vec::new();
    let mut offset = 0;
    let mut aborted = BTreeSet::new();
    loop {
        let part = fetch(link, index, offset).await?;
        if part.error_code != 0 {
            return Ok(Err(format!("fetch at {offset} says {}", ErrorCode(part.error_code))));
        }
        let mut beginnings: Vec<(i64, i64)> = part
            .aborted_transactions
            .iter()
            .flatten()
            .map(|transaction| (transaction.first_offset, transaction.producer_id))
            .collect();
        beginnings.sort_unstable();
        let mut beginnings = beginnings.into_iter().peekable();
        let mut run = part.records.unwrap_or_default();
        if run.is_empty() {
            let is_all = part.last_stable_offset == part.high_watermark && offset == part.high_watermark;
            let stands = format!("{} of {} are stable", part.last_stable_offset, part.high_watermark);
            return Ok(if is_all { Ok(values) } else { Err(stands) });
        }
        while !run.is_empty() {
            let Ok(batch) = Batch::split_from(&mut run) else { return Ok(Err("no batch".to_owned())) };
            let header = batch.header();
            while let Some((_, producer)) = beginnings.next_if(|(first, _)| *first <= header.last_offset().0) {
                aborted.insert(producer);
            }
            let producer = header.producer_id().0;
            offset = header.last_offset().0 + 1;
            if header.attributes().is_control() {
                aborted.remove(&producer);
            } else if !aborted.contains(&producer) {
                let opened: Bytes = batch.payload();
                for record in batch.records(&opened) {
                    let value = record.expect("was checked when it was appended").value.unwrap_or_default();
                    values.push(String::from_utf8_lossy(value).into_owned());
                }
            }
        }
    }
}

async fn fetch(link: &mut Link, index: i32, offset: i64) -> Result<fetch_response::PartitionData, Lost> {
    let partition = fetch_request::FetchPartition {
        partition: index,
        fetch_offset: offset,
        // So little that a transaction is read in parts.
        partition_max_bytes: 150,
        ..Default::default()
    };
    let topic = fetch_request::FetchTopic { topic: TOPIC.into(), partitions: vec![partition], ..Default::default() };
    let request = FetchRequest {
        isolation_level: READ_COMMITTED,
        min_bytes: 1,
        max_wait_ms: 1,
        topics: vec![topic],
        ..Default::default()
    };
    let answer = link.call(12, &request).await?;
    let part = answer.responses.into_iter().next().and_then(|topic| topic.partitions.into_iter().next());
    Ok(part.unwrap_or(fetch_response::PartitionData { error_code: answer.error_code, ..Default::default() }))
}
