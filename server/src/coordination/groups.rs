//! Coordinators of groups.

use std::convert::Infallible;
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use corelane_core::base::{LeaderEpoch, Monotonic, Offset, ProducerEpoch, ProducerId, TopicId};
use corelane_core::coordinator::{AppendId, Claim, Now, RequestId};
use corelane_core::group::{
    Answer, Effect, GroupCoordinator, GroupLoader, GroupSettings, LoadReport, Request, RequestContext,
};
use corelane_core::metadata::MetadataImage;
use corelane_core::protocol::{ErrorCode, KafkaString};
use corelane_core::record::Batch;

use super::{Coordinator, Machine, Step};
use crate::catalog::Topic;
use crate::shard::Shard;
use crate::sys::Sys;

impl<S: Sys> Machine<S> for GroupCoordinator {
    const KIND: &'static str = "groups";
    type Settings = (GroupSettings, Arc<MetadataImage>);
    type Loader = GroupLoader;
    type Report = LoadReport;
    type Context = RequestContext;
    type Request = Request;
    type Answer = Answer;
    type Effect = Effect;
    type Other = Infallible;

    fn settings(shard: &Shard<S>, topic: &Topic) -> (GroupSettings, Arc<MetadataImage>) {
        let catalog = shard.catalog();
        (GroupSettings::of(&catalog.broker, topic.append.max_message_bytes), Arc::clone(&catalog.image))
    }

    fn loader((settings, metadata): (GroupSettings, Arc<MetadataImage>), _: LeaderEpoch) -> GroupLoader {
        GroupLoader::new(settings, metadata)
    }

    fn load(loader: &mut GroupLoader, batch: &Batch) -> io::Result<()> {
        loader.batch(batch).map_err(io::Error::other)
    }

    fn finish(loader: GroupLoader, now: Now) -> (Self, LoadReport, Vec<Effect>) {
        let (machine, report) = loader.finish(now);
        (machine, report, Vec::new())
    }

    fn set_settings(&mut self, (settings, metadata): (GroupSettings, Arc<MetadataImage>)) {
        Self::set_settings(self, settings);
        self.set_metadata(metadata);
    }

    fn handle(
        &mut self,
        now: Now,
        id: RequestId,
        context: &RequestContext,
        request: Request,
        _: &mut dyn FnMut() -> Option<ProducerId>,
    ) -> Vec<Effect> {
        Self::handle(self, now, id, context, request)
    }

    fn refuse(context: &RequestContext, request: &Request, code: ErrorCode) -> Answer {
        request.refuse(context.version, code)
    }

    fn on_append(&mut self, now: Now, id: AppendId, result: Result<Offset, ErrorCode>) -> Vec<Effect> {
        Self::on_append(self, now, id, result)
    }

    fn next_deadline(&self) -> Option<Monotonic> {
        Self::next_deadline(self)
    }

    fn on_time(&mut self, now: Now, _: &mut dyn FnMut() -> Option<ProducerId>) -> Vec<Effect> {
        Self::on_time(self, now)
    }

    fn resign(self, now: Now) -> Vec<Effect> {
        Self::resign(self, now)
    }

    fn step(effect: Effect) -> Step<Answer, Infallible> {
        match effect {
            Effect::Append(append) => Step::Append(append),
            Effect::Answer(id, answer) => Step::Answer(id, answer),
        }
    }

    fn perform(_: &Rc<Coordinator<S, Self>>, other: Infallible) {
        match other {}
    }
}

/// First version of TxnOffsetCommit whose clients leave it to the broker to have the partition of the offsets take part
/// (KIP-890).
const VERSION_WITH_ADDING: i16 = 5;
/// First version of TxnOffsetCommit whose clients know TRANSACTION_ABORTABLE.
const VERSION_WITH_ABORTABLE: i16 = 4;

impl<S: Sys> Coordinator<S, GroupCoordinator> {
    /// As [`ask`](Self::ask). What commits in a transaction waits before the coordinator hears of it, until the partition is
    /// known to take part: commits of others are answered in the order of the log, and must not wait with it.
    pub(crate) async fn ask_in_turn(self: &Rc<Self>, context: &RequestContext, request: Request) -> Answer {
        if let Request::TxnOffsetCommit(asked) = &request
            && !asked.group_id.is_empty()
        {
            let claim = Claim {
                transactional_id: KafkaString::copied(&asked.transactional_id),
                producer: ProducerId(asked.producer_id),
                epoch: ProducerEpoch(asked.producer_epoch),
                adds: context.version >= VERSION_WITH_ADDING,
            };
            if let Err(code) = self.log().make_sure_of(claim).await {
                let code = match code {
                    ErrorCode::TRANSACTION_ABORTABLE if context.version < VERSION_WITH_ABORTABLE => {
                        ErrorCode::INVALID_TXN_STATE
                    }
                    code => code,
                };
                return request.refuse(context.version, code);
            }
        }
        self.ask(context, request).await
    }

    /// Says that there is another state of the metadata.
    pub(crate) fn metadata_changed(self: &Rc<Self>, metadata: &Arc<MetadataImage>) {
        self.advance(|machine, _| {
            machine.set_metadata(Arc::clone(metadata));
            Vec::new()
        });
    }

    /// Says that topics were deleted: what was committed for them goes too.
    pub(crate) fn topics_deleted(self: &Rc<Self>, topics: &[(KafkaString, TopicId)]) {
        self.advance(|machine, now| machine.on_topics_deleted(now, topics));
    }

    /// Says that the end of a transaction stands in the partition at `offset`.
    pub(crate) fn transaction_ended(self: &Rc<Self>, producer: ProducerId, committed: bool, offset: Offset) {
        self.advance(|machine, _| {
            machine.on_end_marker(producer, committed, offset);
            Vec::new()
        });
    }
}
