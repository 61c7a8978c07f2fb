//! What a group wants done: answers and appends, gathered while it handles one fact.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::classic::Protocol;
use super::consumer::RecordKey;
use super::log_record::CommittedOffset;
use super::message::{Answer, Request};
use super::settings::GroupSettings;
use crate::base::{PartitionIndex, ProducerEpoch, ProducerId};
use crate::coordinator::{LogRecord, Now, RequestId};
use crate::metadata::MetadataImage;
use crate::protocol::wire::EncodeError;
use crate::protocol::{ErrorCode, KafkaString};
use crate::record::header::HEADER_BYTES;

/// One fact being handled, and what came of it so far.
pub(super) struct Turn<'a> {
    pub(super) now: Now,
    pub(super) settings: &'a GroupSettings,
    pub(super) metadata: &'a MetadataImage,
    pub(super) steps: Vec<Step>,
}

/// Something to be done, in order.
#[derive(Debug)]
pub(super) enum Step {
    Answer(RequestId, Answer),
    Append(Draft),
    /// This is answered when everything of the group that is on its way is in the log.
    AnswerWhenWritten(Waiting),
}

/// An answer that must not be lost, as long as what it tells is on its way to the log.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) request: RequestId,
    pub(super) answer: Box<Answer>,
    asked: Box<Request>,
    version: i16,
}

impl Waiting {
    /// The answer that refuses it.
    pub(super) fn refusal(&self, code: ErrorCode) -> Answer {
        self.asked.refuse(self.version, code)
    }
}

/// An append that is not numbered yet.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) records: Result<Vec<LogRecord>, EncodeError>,
    pub(super) producer: Option<(ProducerId, ProducerEpoch)>,
    /// What the records do to the group's offsets, in the order of the records.
    pub(super) changes: Vec<OffsetChange>,
    pub(super) then: Then,
}

/// What becomes of an offset when its record counts.
#[derive(Debug)]
pub(super) struct OffsetChange {
    pub(super) topic: KafkaString,
    pub(super) partition: PartitionIndex,
    /// `None` deletes.
    pub(super) committed: Option<CommittedOffset>,
}

/// What happens when the fate of an append is known.
#[derive(Debug)]
pub(super) enum Then {
    /// Nothing more: the record of a group that became empty, whose loss is made good later.
    Emptied,
    /// Nothing more: offsets are gone.
    Removed,
    /// The group exists. If it could not be written, the group is as if it had never been.
    Created,
    /// The assignment of this generation counts: its members are answered.
    Assigned { generation: i32, assignments: Vec<(KafkaString, Bytes)> },
    /// A static member has its new id. If that could not be written, it has the old one again.
    Replaced(Box<Replacement>),
    /// The request is answered; if the append failed, it is refused.
    Answer { id: RequestId, answer: Box<Answer>, request: Box<Request>, version: i16 },
    /// These parts of the group are in the log.
    Written(BTreeSet<RecordKey>),
    /// The group is deleted: because it expired, or for this request.
    Deleted { request: Option<RequestId> },
}

/// A static member that came back under a new id while its group was stable.
#[derive(Debug)]
pub(super) struct Replacement {
    pub(super) request: RequestId,
    pub(super) version: i16,
    pub(super) instance_id: KafkaString,
    pub(super) old_id: KafkaString,
    pub(super) new_id: KafkaString,
    pub(super) old_leader: Option<KafkaString>,
    pub(super) old: Wishes,
}

/// What a member asks for when it joins.
#[derive(Clone, Debug)]
pub(super) struct Wishes {
    pub(super) protocols: Vec<Protocol>,
    pub(super) session_timeout_ms: i32,
    pub(super) rebalance_timeout_ms: i32,
}

impl<'a> Turn<'a> {
    pub(super) fn new(now: Now, settings: &'a GroupSettings, metadata: &'a MetadataImage) -> Self {
        Self { now, settings, metadata, steps: Vec::new() }
    }

    pub(super) fn answer(&mut self, request: RequestId, answer: Answer) {
        self.steps.push(Step::Answer(request, answer));
    }

    pub(super) fn append(&mut self, record: Result<LogRecord, EncodeError>, then: Then) {
        let records = record.map(|record| vec![record]);
        self.steps.push(Step::Append(Draft { records, producer: None, changes: Vec::new(), then }));
    }

    /// Gives an answer when everything of the group that is on its way is in the log. `asked` is what is refused if that
    /// fails; of it no more need be known than its answer takes.
    pub(super) fn answer_when_written(&mut self, request: RequestId, answer: Answer, asked: Request, version: i16) {
        let (answer, asked) = (Box::new(answer), Box::new(asked));
        self.steps.push(Step::AnswerWhenWritten(Waiting { request, answer, asked, version }));
    }

    /// Appends parts of a group, in as many batches as it takes: whichever of them a crash leaves, the group can go on.
    pub(super) fn append_parts(&mut self, parts: Vec<(RecordKey, Result<LogRecord, EncodeError>)>) {
        let mut parts = parts.into_iter().peekable();
        while parts.peek().is_some() {
            let (mut bytes, mut keys, mut records) = (HEADER_BYTES, BTreeSet::new(), Ok(Vec::new()));
            while let Some((_, record)) = parts.peek() {
                bytes += record.as_ref().map_or(0, LogRecord::size_bytes_max);
                if bytes > self.settings.batch_bytes_max && !keys.is_empty() {
                    break;
                }
                let Some((key, record)) = parts.next() else { break };
                keys.insert(key);
                match (records.as_mut(), record) {
                    (Ok(records), Ok(record)) => records.push(record),
                    (Ok(_), Err(error)) => records = Err(error),
                    (Err(_), _) => {}
                }
            }
            let then = Then::Written(keys);
            self.steps.push(Step::Append(Draft { records, producer: None, changes: Vec::new(), then }));
        }
    }

    /// Whether anything goes to the log.
    pub(super) fn appends(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, Step::Append(_)))
    }
}
