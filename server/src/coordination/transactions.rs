//! Coordinators of transactions, and the markers that they have written.

use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

use corelane_core::base::{LeaderEpoch, Monotonic, Offset, PartitionIndex, ProducerId, ShardId};
use corelane_core::coordinator::{AppendId, Claim, Now, RequestId};
use corelane_core::group::OFFSETS_TOPIC_NAME;
use corelane_core::metadata::TRANSACTION_VERSION;
use corelane_core::protocol::ErrorCode;
use corelane_core::protocol::messages::list_transactions_response;
use corelane_core::record::{Batch, EndMarker};
use corelane_core::transaction::{
    Answer, Effect, ListFilter, Mark, Marked, ProducerIdAndEpoch, Request, TRANSACTION_TOPIC_NAME, TopicPartition,
    TransactionCoordinator, TransactionLoadReport, TransactionLoader, TransactionSettings, TransactionVersion,
};

use super::{Coordinator, Machine, Step};
use crate::catalog::Topic;
use crate::hop::{Call, Reply, TransactionCall};
use crate::local::all_of;
use crate::shard::Shard;
use crate::storage::PartitionKey;
use crate::storage::append::MarkerItem;
use crate::sys::Sys;

impl<S: Sys> Machine<S> for TransactionCoordinator {
    const KIND: &'static str = "transactions";
    type Settings = TransactionSettings;
    type Loader = TransactionLoader;
    type Report = TransactionLoadReport;
    type Context = ();
    type Request = Request;
    type Answer = Answer;
    type Effect = Effect;
    type Other = Mark;

    fn settings(shard: &Shard<S>, topic: &Topic) -> TransactionSettings {
        let catalog = shard.catalog();
        let version = TransactionVersion::of_level(catalog.image.feature_level(TRANSACTION_VERSION));
        TransactionSettings::of(&catalog.broker, version, topic.append.max_message_bytes)
    }

    fn loader(settings: TransactionSettings, epoch: LeaderEpoch) -> TransactionLoader {
        TransactionLoader::new(settings, epoch.0)
    }

    fn load(loader: &mut TransactionLoader, batch: &Batch) -> io::Result<()> {
        loader.batch(batch).map_err(io::Error::other)
    }

    fn finish(loader: TransactionLoader, now: Now) -> (Self, TransactionLoadReport, Vec<Effect>) {
        loader.finish(now)
    }

    fn set_settings(&mut self, settings: TransactionSettings) {
        Self::set_settings(self, settings);
    }

    fn handle(
        &mut self,
        now: Now,
        id: RequestId,
        (): &(),
        request: Request,
        ids: &mut dyn FnMut() -> Option<ProducerId>,
    ) -> Vec<Effect> {
        Self::handle(self, now, id, &request, ids)
    }

    fn refuse((): &(), request: &Request, code: ErrorCode) -> Answer {
        request.refuse(code)
    }

    fn on_append(&mut self, now: Now, id: AppendId, result: Result<Offset, ErrorCode>) -> Vec<Effect> {
        Self::on_append(self, now, id, result)
    }

    fn next_deadline(&self) -> Option<Monotonic> {
        Self::next_deadline(self)
    }

    fn on_time(&mut self, now: Now, ids: &mut dyn FnMut() -> Option<ProducerId>) -> Vec<Effect> {
        Self::on_time(self, now, ids)
    }

    fn resign(self, _: Now) -> Vec<Effect> {
        Self::resign(self)
    }

    fn step(effect: Effect) -> Step<Answer, Mark> {
        match effect {
            Effect::Append(append) => Step::Append(append),
            Effect::Answer(id, answer) => Step::Answer(id, answer),
            Effect::Mark(mark) => Step::Other(mark),
        }
    }

    fn perform(coordinator: &Rc<Coordinator<S, Self>>, mark: Mark) {
        let this = Rc::clone(coordinator);
        coordinator.sys.spawn("markers", this.mark(mark));
    }
}

impl<S: Sys> Coordinator<S, TransactionCoordinator> {
    /// Has the owners of the partitions write their markers, and tells the machine of each.
    async fn mark(self: Rc<Self>, mark: Mark) {
        let Some(shard) = self.shard.upgrade() else { return };
        let Mark { transactional_id, producer, committed, coordinator_epoch, version, partitions } = mark;
        let catalog = shard.catalog();
        let mut gone = Vec::new();
        let mut by_owner: BTreeMap<ShardId, (Vec<TopicPartition>, Vec<MarkerItem>)> = BTreeMap::new();
        for partition in partitions {
            let topic = catalog.topic_by_name(&partition.topic).map(|topic| topic.image.id);
            let key = topic.map(|topic| PartitionKey { topic, index: partition.index });
            let Some(key) = key.filter(|key| catalog.has_partition(*key)) else {
                gone.push(partition);
                continue;
            };
            let item = MarkerItem {
                partition: key,
                producer: producer.id,
                epoch: producer.epoch,
                marker: EndMarker { committed, coordinator_epoch },
                raises_epoch: version.raises_epoch(),
            };
            let (names, items) = by_owner.entry(shard.owner_of(key)).or_default();
            names.push(partition);
            items.push(item);
        }
        let asked = by_owner.into_iter().map(|(owner, (names, items))| {
            let shard = Rc::clone(&shard);
            async move {
                // Boxed: a shard that asks itself does so from within a call.
                let reply = Box::pin(shard.ask(owner, Call::WriteMarkers(items))).await;
                let Reply::WriteMarkers(results) = reply else { unreachable!("a reply has the name of its call") };
                names.into_iter().zip(results).collect::<Vec<_>>()
            }
        });
        let results = all_of(asked.collect()).await;
        let marked = results.into_iter().flatten().map(|(partition, result)| (partition, marked(result)));
        for (partition, marked) in gone.into_iter().map(|partition| (partition, Marked::Gone)).chain(marked) {
            self.advance(|machine, now| machine.on_marked(now, &transactional_id, &partition, marked));
        }
    }
}

/// What a shard does for transactions.
impl<S: Sys> Shard<S> {
    /// Ends transactions in partitions. Committed offsets count before this is answered.
    pub(crate) async fn write_markers(&self, items: Vec<MarkerItem>) -> Vec<Result<(), ErrorCode>> {
        let now = self.sys.wall();
        let written = items.into_iter().map(|item| {
            let log = self.served_partition(item.partition);
            let appended = log.and_then(|log| match item.incoming(now) {
                Ok(incoming) => Ok((log.append(incoming), log.topic == OFFSETS_TOPIC_NAME)),
                Err(_) => Err(ErrorCode::UNKNOWN_SERVER_ERROR),
            });
            async move {
                let (appended, is_of_groups) = appended?;
                let appended = appended.await.map_err(|error| error.code)?;
                if let Some(coordinator) = self.groups.get(item.partition.index).filter(|_| is_of_groups) {
                    coordinator.transaction_ended(item.producer, item.marker.committed, appended.base_offset);
                }
                Ok(())
            }
        });
        all_of(written.collect()).await
    }

    pub(crate) async fn list_transactions(
        &self,
        filter: ListFilter,
    ) -> Result<Vec<list_transactions_response::TransactionState>, ErrorCode> {
        let mut listed = Vec::new();
        for coordinator in self.transactions.all() {
            match coordinator.ask(&(), Request::List(filter.clone())).await {
                Answer::List(found) => listed.extend(found?),
                _ => unreachable!("an answer has the name of its request"),
            }
        }
        Ok(listed)
    }

    /// Asks the coordinator of a transactional id, wherever it is.
    pub(crate) async fn ask_transaction(self: &Rc<Self>, transactional_id: &str, request: Request) -> Answer {
        let Some((partition, owner)) = self.transaction_coordinator(transactional_id) else {
            return request.refuse(ErrorCode::COORDINATOR_NOT_AVAILABLE);
        };
        let call = Call::Transaction(Box::new(TransactionCall { partition, request }));
        let Reply::Transaction(answer) = Box::pin(self.ask(owner, call)).await else {
            unreachable!("a reply has the name of its call")
        };
        *answer
    }

    /// The partition that a transactional id maps to, and the shard that coordinates it; none before somebody has asked for
    /// a coordinator.
    pub(crate) fn transaction_coordinator(&self, transactional_id: &str) -> Option<(PartitionIndex, ShardId)> {
        self.coordinator_of(TRANSACTION_TOPIC_NAME, transactional_id)
    }

    /// Whether a partition takes part in a transaction, or, if the client leaves that to us, has it take part.
    pub(crate) async fn check_claim(self: Rc<Self>, claim: Claim, partition: PartitionKey) -> Result<(), ErrorCode> {
        let Claim { transactional_id, producer, epoch, adds } = claim;
        let catalog = self.catalog();
        let topic = catalog.topic_by_id(partition.topic).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        let partition = TopicPartition { topic: topic.image.name.to_string().into(), index: partition.index };
        let producer = ProducerIdAndEpoch { id: producer, epoch };
        let id = transactional_id.clone();
        let request = if adds {
            let patience_ms = catalog.broker.claim_patience_ms();
            Request::ClaimPartition { transactional_id, producer, partition, patience_ms }
        } else {
            Request::VerifyPartition { transactional_id, producer, partition }
        };
        match self.ask_transaction(&id, request).await {
            Answer::ClaimPartition(answer) | Answer::VerifyPartition(answer) => answer,
            _ => unreachable!("an answer has the name of its request"),
        }
    }
}

/// What an owner's answer means for the transaction.
fn marked(result: Result<(), ErrorCode>) -> Marked {
    match result {
        Ok(()) => Marked::Written,
        // A later generation of the producer has written there, which it can only after this one's end.
        Err(ErrorCode::INVALID_PRODUCER_EPOCH) => Marked::Written,
        Err(ErrorCode::TRANSACTION_COORDINATOR_FENCED) => Marked::Fenced,
        // Its owner may not have opened it yet, too. What is no more, the metadata says.
        Err(_) => Marked::NotYet,
    }
}
