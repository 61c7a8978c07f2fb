//! What shards say to each other.
//!
//! A call goes from the shard of a connection to the shard that owns the data, its reply comes back: ownership of
//! received bytes travels forward, and for a fetch only a plan of what to read travels back. Between two shards
//! everything arrives in the order in which it was posted, and a call is begun in the order of its arrival; that is
//! what keeps the batches of one connection in order across a hop.
//!
//! Bounds: the rings hold `MAILBOX_MESSAGES_MAX` messages each way. Before a request is read from a socket its shard
//! waits until every ring has room, and a request posts at most one call to each owner before it first waits, so
//! [`Hop::call`] normally finds room at once and order holds. A reply that finds none waits in a task; the number of
//! these is bounded by the calls in progress. So does a connection that is handed on, of which there are no more than there
//! are connections, and what a shard says of its load, which it does once a second at most.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use corelane_core::base::{Offset, PartitionIndex, ShardId};
use corelane_core::group::{self, RequestContext};
use corelane_core::protocol::ErrorCode;
use corelane_core::protocol::messages::list_transactions_response::TransactionState;
use corelane_core::protocol::messages::{ListGroupsRequest, ListGroupsResponse};
use corelane_core::transaction::{self, ListFilter};

use crate::catalog::Catalog;
use crate::controller::{Command, Outcome};
use crate::local::{Signal, Slot};
use crate::placement::Handover;
use crate::storage::PartitionKey;
use crate::storage::append::{AppendItem, AppendResult, MarkerItem};
use crate::storage::checkpoints::PartitionMarks;
use crate::storage::read::{EpochEndItem, EpochEndResult, ListItem, ListResult, ReadItem, ReadResult};
use crate::storage::records::{ActiveProducer, DeleteRecordsItem};
use crate::storage::segment_times::SegmentsItem;
use crate::sys::Sys;

/// Names a call among those of the shard that made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket(u64);

/// Names a watch among those of the shard that set it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WatchId(pub(crate) u64);

/// How a connection came.
#[derive(Clone, Copy, Debug)]
pub struct Origin {
    /// Which of the node's listeners accepted it: answers name addresses of that one.
    pub listener: usize,
    /// Address of the client.
    pub peer: IpAddr,
}

/// A message from one shard to another.
pub enum Mail<S: Sys> {
    /// A connection for the receiving shard to adopt.
    Adopt(Box<Handover<S>>),
    /// A connection that the receiving shard had handed over is to be handed to another one.
    Moves(ShardId, Box<Handover<S>>),
    /// A connection that the receiving shard had handed over has ended.
    Ended,
    /// Whether the posting shard is busy, which has changed.
    Busy(bool),
    /// A question.
    Call(Ticket, Call),
    /// The answer to the question of that ticket.
    Reply(Ticket, Reply<S>),
    /// What that watch waits for has happened; it is gone.
    Notice(WatchId),
    /// That watch is no longer wanted.
    Unwatch(WatchId),
    /// The node has stopped; the shard ends.
    Exit,
}

/// What a read leaves behind if it finds too little.
#[derive(Clone, Copy, Debug)]
pub struct LongPoll {
    /// Gets one notice when one of the partitions grows.
    pub watch: WatchId,
    /// With so many bytes found, no watch is left.
    pub bytes_min: u64,
}

/// A request to the coordinator of a group.
pub struct GroupCall {
    /// The partition of `__consumer_offsets` that the group maps to.
    pub partition: PartitionIndex,
    /// Who asks.
    pub context: RequestContext,
    /// What.
    pub request: group::Request,
}

/// A request to the coordinator of a transactional id.
pub struct TransactionCall {
    /// The partition of `__transaction_state` that the transactional id maps to.
    pub partition: PartitionIndex,
    /// What.
    pub request: transaction::Request,
}

/// A question to the owner of something.
pub enum Call {
    /// Append batches, in order.
    Append(Vec<AppendItem>),
    /// Find what can be read.
    Read(Vec<ReadItem>, Option<LongPoll>),
    /// Look offsets up by timestamp.
    List(Vec<ListItem>),
    /// Look offsets up by when segments were last written to.
    Segments(Vec<SegmentsItem>),
    /// Look up where leader epochs end.
    EpochEnds(Vec<EpochEndItem>),
    /// Decide and record a change of the metadata; asked of shard 0.
    Control(Command),
    /// Take over a new state of the metadata: make the partitions that are new, drop those that are gone.
    Publish(Arc<Catalog>),
    /// Move the starts of logs forward.
    DeleteRecords(Vec<DeleteRecordsItem>),
    /// Ask the coordinator of a group; this may take minutes.
    Group(Box<GroupCall>),
    /// List the groups of every coordinator.
    ListGroups(Box<RequestContext>, ListGroupsRequest),
    /// Ask the coordinator of a transactional id.
    Transaction(Box<TransactionCall>),
    /// List the transactions of every coordinator.
    ListTransactions(ListFilter),
    /// Write markers that end transactions.
    WriteMarkers(Vec<MarkerItem>),
    /// Say which producers a partition knows.
    Producers(Vec<PartitionKey>),
    /// Say where the logs stand.
    Marks,
    /// Write down where all logs stand; asked of shard 0.
    WriteCheckpoints,
    /// Answer what was asked, then end every connection.
    StopServing,
    /// Say in the log what the shard does.
    Tell,
    /// Finish all appends, sync everything and close the logs.
    CloseLogs,
}

/// The answer to a [`Call`], of the same name.
pub enum Reply<S: Sys> {
    /// One result for each item.
    Append(Vec<AppendResult>),
    /// One result for each item, and whether the watch is left there.
    Read(Vec<ReadResult<S>>, bool),
    /// One result for each item.
    List(Vec<ListResult>),
    /// One result for each item.
    Segments(Vec<Result<Vec<Offset>, ErrorCode>>),
    /// One result for each item.
    EpochEnds(Vec<EpochEndResult>),
    /// What came of the command.
    Control(Outcome),
    /// Done.
    Publish,
    /// For each item the first offset that is left, or why nothing moved.
    DeleteRecords(Vec<Result<Offset, ErrorCode>>),
    /// The coordinator's answer.
    Group(Box<group::Answer>),
    /// One list for each coordinator.
    ListGroups(Vec<ListGroupsResponse>),
    /// The coordinator's answer.
    Transaction(Box<transaction::Answer>),
    /// What all coordinators have; the error is that of one which has not read its log yet.
    ListTransactions(Result<Vec<TransactionState>, ErrorCode>),
    /// One result for each item.
    WriteMarkers(Vec<Result<(), ErrorCode>>),
    /// For each partition its producers; `None` if it is not here.
    Producers(Vec<Option<Vec<ActiveProducer>>>),
    /// For each log.
    Marks(Vec<PartitionMarks>),
    /// Done; `Err` says why not.
    WriteCheckpoints(Result<(), String>),
    /// Done.
    StopServing,
    /// It has.
    Tell,
    /// Where each log ended; `Err` names what could not be synced.
    CloseLogs(Result<Vec<PartitionMarks>, String>),
}

/// The calls and watches of one shard that are in progress.
pub(crate) struct Hop<S: Sys> {
    sys: S,
    next: Cell<u64>,
    calls: RefCell<BTreeMap<u64, Rc<Slot<Reply<S>>>>>,
    watches: RefCell<BTreeMap<u64, Watch>>,
}

/// A watch of this shard.
#[derive(Default)]
struct Watch {
    signal: Rc<Signal>,
    /// Shards that have given notice: they have forgotten it.
    noticed: Vec<ShardId>,
}

impl<S: Sys> Hop<S> {
    pub(crate) fn new(sys: S) -> Self {
        Self { sys, next: Cell::new(0), calls: RefCell::default(), watches: RefCell::default() }
    }

    fn number(&self) -> u64 {
        let number = self.next.get();
        self.next.set(number + 1);
        number
    }

    /// Whether a message can be posted to every other shard now.
    pub(crate) fn has_room(&self) -> bool {
        let others = (0..self.sys.shards()).map(ShardId).filter(|shard| *shard != self.sys.shard());
        others.into_iter().all(|shard| self.sys.room(shard) > 0)
    }

    /// Waits until every ring has room for one more message of each request that may be read meanwhile.
    pub(crate) async fn room(&self) {
        for shard in (0..self.sys.shards()).map(ShardId) {
            while shard != self.sys.shard() && self.sys.room(shard) == 0 {
                self.sys.room_freed(shard).await;
            }
        }
    }

    /// Asks another shard. The call is posted at the first poll if its ring has room.
    pub(crate) async fn call(&self, to: ShardId, call: Call) -> Reply<S> {
        let ticket = self.number();
        let slot = Rc::new(Slot::default());
        self.calls.borrow_mut().insert(ticket, Rc::clone(&slot));
        self.post(to, Mail::Call(Ticket(ticket), call)).await;
        slot.take().await
    }

    /// Posts a message, waiting while the ring is full.
    pub(crate) async fn post(&self, to: ShardId, mail: Mail<S>) {
        let mut mail = mail;
        while let Err(back) = self.sys.post(to, mail) {
            mail = back;
            self.sys.room_freed(to).await;
        }
    }

    /// Takes a reply to the one who waits for it.
    pub(crate) fn replied(&self, ticket: Ticket, reply: Reply<S>) {
        let slot = self.calls.borrow_mut().remove(&ticket.0).expect("a reply answers a call");
        slot.fill(reply);
    }

    /// A new watch; the signal is raised when its notice comes.
    pub(crate) fn watch(&self) -> (WatchId, Rc<Signal>) {
        let id = self.number();
        let watch = Watch::default();
        let signal = Rc::clone(&watch.signal);
        self.watches.borrow_mut().insert(id, watch);
        (WatchId(id), signal)
    }

    /// A notice came from a shard.
    pub(crate) fn noticed(&self, from: ShardId, watch: WatchId) {
        // Late notices of a watch that was given up are normal.
        if let Some(watch) = self.watches.borrow_mut().get_mut(&watch.0) {
            watch.noticed.push(from);
            watch.signal.raise();
        }
    }

    /// Wakes every long poll, when the node stops.
    pub(crate) fn notice_all(&self) {
        for watch in self.watches.borrow().values() {
            watch.signal.raise();
        }
    }

    /// Forgets a watch on this side. Who has forgotten it already.
    pub(crate) fn unwatch(&self, watch: WatchId) -> Vec<ShardId> {
        self.watches.borrow_mut().remove(&watch.0).map(|watch| watch.noticed).unwrap_or_default()
    }
}
