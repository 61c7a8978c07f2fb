//! Fetch: have the owners find what is there, wait for more if it is too little, then read it here.
//!
//! What comes back from an owner is a plan: file, position, length. The bytes are read on the shard of the socket, at
//! the last moment, so that nothing but the plan crosses shards.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use corelane_core::base::{FilePosition, LeaderEpoch, Monotonic, Offset, PartitionIndex, ShardId, Uuid};
use corelane_core::config::FetchPath;
use corelane_core::log::aborted::AbortedTransaction as Aborted;
use corelane_core::log::read_plan::{ReadLimits, Walked};
use corelane_core::protocol::ErrorCode;
use corelane_core::protocol::messages::fetch_response::{
    AbortedTransaction, EpochEndOffset, FetchableTopicResponse, LeaderIdAndEpoch, NodeEndpoint, PartitionData,
};
use corelane_core::protocol::messages::{FetchRequest, FetchResponse};
use corelane_core::protocol::wire::{WrittenPiece, stand_in};
use corelane_core::record::header::HEADER_BYTES;
use corelane_core::record::legacy::Format;
use corelane_core::record::{Codec, CompressionRule};
use corelane_core::session::{Outcome, SessionFetch, SessionRequest, Wanted};

use super::by_owner::ByOwner;
use super::described::{Broker, leading_brokers, wants_leader};
use super::k01_down_conversion::{convert, error_code};
use super::{Broken, READ_COMMITTED, Request, Served};
use crate::answers::{Answer, Piece};
use crate::budget::Reservation;
use crate::catalog::Catalog;
use crate::hop::{Call, LongPoll, Reply};
use crate::local::{Either, first_of};
use crate::shard::{SessionKey, Shard};
use crate::storage::PartitionKey;
use crate::storage::read::{Range, ReadItem, ReadResult, is_enough};
use crate::sys::Sys;

/// First version that names topics by id.
const VERSION_WITH_TOPIC_IDS: i16 = 13;
/// First version whose clients know zstd (KIP-110).
const VERSION_WITH_ZSTD: i16 = 10;
/// First version whose clients know KAFKA_STORAGE_ERROR.
const VERSION_WITH_STORAGE_ERROR: i16 = 6;
/// First version whose answer has a limit of its own, besides those of the partitions.
const VERSION_WITH_BYTES_MAX: i16 = 3;
/// First version whose answer may say who leads (KIP-951); before 12 there is not even a field for it.
const VERSION_WITH_LEADER_HINTS: i16 = 16;

pub(super) async fn serve<S: Sys>(shard: &Rc<Shard<S>>, request: &Request) -> Served<S> {
    let asked: FetchRequest = request.decode()?;
    let by_id = request.version >= VERSION_WITH_TOPIC_IDS;
    let now = shard.sys.now();
    let begun = shard.sessions.borrow_mut().begin(session_request(&asked, by_id), now);
    let mut fetch = match begun {
        Ok(fetch) => fetch,
        Err(code) => return request.answer(&FetchResponse { error_code: code.0, ..Default::default() }),
    };

    let deadline = now.plus_ms(u64::try_from(asked.max_wait_ms).unwrap_or(0));
    let bytes_min = u64::try_from(asked.min_bytes).unwrap_or(0);
    let bytes_max = usize::try_from(asked.max_bytes).unwrap_or(0).min(shard.settings.fetch_bytes_max());
    let committed_only = asked.isolation_level == READ_COMMITTED;
    let (read, reservation) = loop {
        let found = find(shard, request, &fetch, (deadline, bytes_min), committed_only).await;
        let (read, reservation) = read_found(shard, &fetch, found, bytes_max, request.version).await;
        if !go_on(&mut fetch, &read) {
            break (read, reservation);
        }
    };
    answer(shard, request, &asked, &fetch, read, reservation)
}

/// Moves partitions beyond batches with nothing in them that an old client could be told: it would ask for them for
/// ever. True if there was one.
fn go_on<S: Sys>(fetch: &mut SessionFetch<SessionKey>, read: &[Partition<S>]) -> bool {
    let mut any = false;
    for ((_, wanted), partition) in fetch.wanted.iter_mut().zip(read) {
        if let Some(next) = partition.go_on_at.filter(|next| *next > wanted.offset) {
            wanted.offset = next;
            any = true;
        }
    }
    any
}

/// Reads what was found as far as the answer may hold it.
async fn read_found<S: Sys>(
    shard: &Rc<Shard<S>>,
    fetch: &SessionFetch<SessionKey>,
    found: Vec<ReadResult<S>>,
    bytes_max: usize,
    version: i16,
) -> (Vec<Partition<S>>, Reservation) {
    let format = Format::of_fetch(version);
    // The first batch is sent whatever the limit is.
    let whole = |result: &ReadResult<S>| result.range.as_ref().map_or(0, |range| range.whole_bytes);
    let first = found.iter().map(whole).find(|bytes| *bytes > 0).unwrap_or(0);
    let needed = found.iter().map(whole).sum::<u64>().min(bytes_max as u64).max(first);
    let needed = usize::try_from(needed).unwrap_or(usize::MAX);
    // What readers do not take off their sockets stays in memory. Once there is too much of it, answers are sent from
    // their files, whatever that costs: those hold nothing.
    let mut reservation = shard.answer_budget.reserve_up_to(needed);
    let way = Way {
        file_bytes_min: match shard.settings.config.fetch_path {
            // What is converted goes through memory.
            _ if format.is_some() => u64::MAX,
            _ if reservation.bytes() < needed => 0,
            FetchPath::Sendfile => 0,
            FetchPath::Auto | FetchPath::Copy => FILE_BYTES_MIN,
        },
        may_copy: reservation.bytes() == needed,
        format,
        // Without a limit on the whole answer, the first batch of each partition is sent whatever its size.
        each_is_first: version < VERSION_WITH_BYTES_MAX,
    };
    let read = read(shard, fetch, found, bytes_max, way).await;
    reservation.settle(read.iter().filter(|partition| partition.file.is_none()).map(|p| p.records.len()).sum());
    (read, reservation)
}

/// Puts the answer together, and tells the session what was told.
fn answer<S: Sys>(
    shard: &Rc<Shard<S>>,
    request: &Request,
    asked: &FetchRequest,
    fetch: &SessionFetch<SessionKey>,
    mut read: Vec<Partition<S>>,
    reservation: Reservation,
) -> Served<S> {
    let told: Vec<(SessionKey, Outcome)> =
        fetch.wanted.iter().zip(&read).map(|((key, _), partition)| (key.clone(), partition.outcome())).collect();
    let random_id = i32::try_from(shard.sys.random() >> 33).unwrap_or(1);
    let (session_id, mentioned) = shard.sessions.borrow_mut().finish(fetch, &told, shard.sys.now(), random_id);
    request.peer.fetch_session.set(session_id);

    let mentioned_files = read.iter_mut().zip(&mentioned).filter(|(_, mentioned)| **mentioned);
    let files: Vec<_> = mentioned_files.filter_map(|(partition, _)| partition.file.take()).collect();
    let read_committed = asked.isolation_level == READ_COMMITTED;
    let mut responses: Vec<FetchableTopicResponse> = Vec::new();
    let mentioned = fetch.wanted.iter().zip(read).zip(mentioned).filter(|(_, mentioned)| *mentioned);
    for (((name, key), _), partition) in mentioned.map(|(pair, _)| pair) {
        let same = |topic: &FetchableTopicResponse| *topic.topic == **name && topic.topic_id == key.topic.0;
        if !responses.last().is_some_and(same) {
            responses.push(FetchableTopicResponse {
                topic: name.to_string().into(),
                topic_id: key.topic.0,
                ..Default::default()
            });
        }
        if let Some(topic) = responses.last_mut() {
            topic.partitions.push(partition.answer(key.index, request.version, read_committed));
        }
    }
    let told = responses.iter().flat_map(|topic| &topic.partitions);
    let leaders = told.map(|partition| partition.current_leader.leader_id).filter(|id| *id >= 0);
    let node_endpoints = leading_brokers(shard, request, leaders)
        .into_iter()
        .map(|Broker { id: node_id, host, port, rack }| NodeEndpoint { node_id, host, port, rack })
        .collect();
    let response = FetchResponse { session_id, responses, node_endpoints, ..Default::default() };
    let frame = request.encode(request.version, &response)?.into_frame_pieces().map_err(Broken::Answer)?;
    let mut files = files.into_iter();
    let pieces = frame.into_iter().map(|piece| match piece {
        WrittenPiece::Bytes(bytes) => Piece::Bytes(bytes),
        WrittenPiece::StandIn { length } => {
            let (file, position, len) = files.next().expect("each stand-in stands for a piece of a file");
            assert_eq!(length, len as usize, "and for all of it");
            Piece::File { file, position, len }
        }
    });
    Ok(Answer::Frame(pieces.collect(), Some(reservation)))
}

/// Names a partition in the session: the name is empty where the client names ids, the id zero where it names names.
fn session_key(name: &str, id: [u8; 16], index: i32, by_id: bool) -> SessionKey {
    let topic = if by_id { Uuid(id) } else { Uuid::ZERO };
    (Arc::from(if by_id { "" } else { name }), PartitionKey { topic, index: PartitionIndex(index) })
}

fn session_request(asked: &FetchRequest, by_id: bool) -> SessionRequest<SessionKey> {
    let mut wanted = Vec::new();
    for topic in &asked.topics {
        for partition in &topic.partitions {
            let wishes = Wanted {
                offset: Offset(partition.fetch_offset),
                bytes_max: partition.partition_max_bytes,
                current_epoch: LeaderEpoch(partition.current_leader_epoch),
                last_fetched_epoch: LeaderEpoch(partition.last_fetched_epoch),
            };
            wanted.push((session_key(&topic.topic, topic.topic_id, partition.partition, by_id), wishes));
        }
    }
    let mut forgotten = Vec::new();
    for topic in &asked.forgotten_topics_data {
        for index in &topic.partitions {
            forgotten.push(session_key(&topic.topic, topic.topic_id, *index, by_id));
        }
    }
    SessionRequest { id: asked.session_id, epoch: asked.session_epoch, by_id, wanted, forgotten }
}

/// Asks the owners until enough is there, something is wrong, the time is up, or the client has ended its side.
async fn find<S: Sys>(
    shard: &Rc<Shard<S>>,
    request: &Request,
    fetch: &SessionFetch<SessionKey>,
    (deadline, bytes_min): (Monotonic, u64),
    committed_only: bool,
) -> Vec<ReadResult<S>> {
    loop {
        let catalog = shard.catalog();
        let may_wait = shard.sys.now() < deadline
            && !fetch.wanted.is_empty()
            && !shard.stopping.get()
            && !request.peer.has_ended();
        if !may_wait {
            return ask_owners(shard, request, &catalog, fetch, (None, committed_only)).await.0;
        }
        let (watch, signal) = shard.hop.watch();
        let notice = signal.next();
        let poll = LongPoll { watch, bytes_min };
        let (found, left_on) = ask_owners(shard, request, &catalog, fetch, (Some(poll), committed_only)).await;
        if is_enough(&found, bytes_min) {
            shard.end_watch(watch, &left_on);
            return found;
        }
        let notice = first_of(notice, request.peer.ended());
        let waited = first_of(notice, shard.sys.sleep_until(deadline)).await;
        shard.end_watch(watch, &left_on);
        if matches!(waited, Either::Second(())) {
            return found;
        }
    }
}

/// Asks each owner once; results come in the order of the session, and with them the owners that have kept the watch.
async fn ask_owners<S: Sys>(
    shard: &Rc<Shard<S>>,
    request: &Request,
    catalog: &Catalog,
    fetch: &SessionFetch<SessionKey>,
    (long_poll, committed_only): (Option<LongPoll>, bool),
) -> (Vec<ReadResult<S>>, Vec<ShardId>) {
    let version = request.version;
    let view = shard.view(request.origin);
    let mut results: Vec<ReadResult<S>> = Vec::with_capacity(fetch.wanted.len());
    let mut questions = ByOwner::new();
    for (place, ((name, key), wanted)) in fetch.wanted.iter().enumerate() {
        let topic = if version >= VERSION_WITH_TOPIC_IDS {
            catalog.topic_by_id(key.topic).ok_or(ErrorCode::UNKNOWN_TOPIC_ID)
        } else {
            catalog.topic_by_name(name).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
        };
        let partition = topic.and_then(|topic| match topic.append.compression {
            CompressionRule::Topic(target) if target.codec == Codec::Zstd && version < VERSION_WITH_ZSTD => {
                Err(ErrorCode::UNSUPPORTED_COMPRESSION_TYPE)
            }
            _ => Ok(PartitionKey { topic: topic.image.id, index: key.index }),
        });
        match partition {
            Ok(partition) if catalog.has_partition(partition) => {
                let route = view.route(partition);
                let item = ReadItem { partition, wanted: *wanted, committed_only };
                results.push(match questions.add_routed(route, (place, partition), item) {
                    // Until the owner's answer takes its place.
                    ErrorCode::NONE => ReadResult::failed(ErrorCode::UNKNOWN_SERVER_ERROR),
                    elsewhere => ReadResult { leader: view.leader(partition), ..ReadResult::failed(elsewhere) },
                });
            }
            Ok(_) => results.push(ReadResult::failed(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)),
            Err(code) => results.push(ReadResult::failed(code)),
        }
    }
    request.peer.errands.note(questions.owners());
    let left_on = RefCell::new(Vec::new());
    let ask = async |owner, items| match shard.ask(owner, Call::Read(items, long_poll)).await {
        Reply::Read(found, is_watched) => {
            left_on.borrow_mut().extend(is_watched.then_some(owner));
            found
        }
        _ => unreachable!("a reply has the name of its call"),
    };
    for ((place, partition), result) in questions.ask(ask).await {
        if let Some(slot) = results.get_mut(place) {
            let leader = result.leader.map(|(node, epoch)| (view.replica(partition, node), epoch));
            *slot = ReadResult { leader, ..result };
        }
    }
    (results, left_on.into_inner())
}

/// One partition of the answer.
struct Partition<S: Sys> {
    result: ReadResult<S>,
    /// The records, or what stands for those in `file`.
    records: Bytes,
    /// Records that are sent from their file.
    file: Option<(S::File, FilePosition, u32)>,
    /// Nothing of what was read can be told to this client; what comes behind it begins here.
    go_on_at: Option<Offset>,
}

/// How the records of one answer get to the socket.
#[derive(Clone, Copy)]
struct Way {
    /// From so many bytes on they are sent from their file.
    file_bytes_min: u64,
    /// There is memory for what cannot go that way.
    may_copy: bool,
    /// What the client reads, if that is not what is stored.
    format: Option<Format>,
    /// The first batch of every partition is sent whole, not only that of the first one.
    each_is_first: bool,
}

/// From this size on, sending from the file costs less than to put the records into an answer's own memory first.
const FILE_BYTES_MIN: u64 = 64 * 1024;

/// What stands for the whole batches of a range that are sent from their file; `None` if they are to be copied.
fn from_file<S: Sys>(range: &Range<S>, limit: usize, is_first: bool, way: Way) -> Option<(Bytes, u32)> {
    let fits = is_first || range.whole_bytes <= limit as u64;
    let is_large = range.whole_bytes >= way.file_bytes_min;
    let bytes = u32::try_from(range.whole_bytes).ok().filter(|_| fits && is_large)?;
    Some((stand_in(bytes as usize)?, bytes))
}

/// Reads the records themselves, in order, up to what the answer may hold: whole batches, and of the first partition
/// that has any at least one, whatever its size, so that a consumer always gets on.
async fn read<S: Sys>(
    shard: &Rc<Shard<S>>,
    fetch: &SessionFetch<SessionKey>,
    found: Vec<ReadResult<S>>,
    bytes_max: usize,
    way: Way,
) -> Vec<Partition<S>> {
    let mut left = bytes_max;
    let mut none_yet = true;
    let mut partitions = Vec::with_capacity(found.len());
    for (mut result, (_, wanted)) in found.into_iter().zip(&fetch.wanted) {
        let mut records = Bytes::new();
        let mut file = None;
        let mut go_on_at = None;
        let is_first = none_yet || (way.each_is_first && way.may_copy && left > 0);
        let range = result.range.take();
        let limit = usize::try_from(wanted.bytes_max).unwrap_or(0).min(left);
        let whole = range.as_ref().and_then(|range| from_file(range, limit, is_first, way));
        if let (Some(range), Some((stand_in, bytes))) = (&range, whole) {
            records = stand_in;
            file = Some((range.file.clone(), range.position, bytes));
        } else if let Some(range) = range.filter(|_| (limit > 0 && way.may_copy) || is_first) {
            match copy(shard, &range, limit, is_first).await {
                Ok(bytes) => match way.format {
                    None => records = bytes,
                    Some(format) => {
                        let limit = limit.max(bytes.len());
                        match convert(&shard.sys, bytes, format, wanted.offset, limit).await {
                            Ok(converted) if converted.messages.is_empty() => go_on_at = converted.next,
                            Ok(converted) => records = converted.messages.into(),
                            Err(error) => {
                                tracing::info!(%error, "records could not be converted for an old client");
                                result = ReadResult::failed(error_code(error));
                            }
                        }
                    }
                },
                Err(error) => {
                    tracing::error!(%error, "records could not be read");
                    result = ReadResult::failed(ErrorCode::KAFKA_STORAGE_ERROR);
                }
            }
        }
        if !records.is_empty() {
            none_yet = false;
            left = left.saturating_sub(records.len());
        }
        partitions.push(Partition { result, records, file, go_on_at });
    }
    partitions
}

/// Reads the whole batches of a range that fit `limit`; the first one in any case if nothing came before it.
async fn copy<S: Sys>(shard: &Shard<S>, range: &Range<S>, limit: usize, is_first: bool) -> io::Result<Bytes> {
    let available = usize::try_from(range.bytes).unwrap_or(usize::MAX);
    let wanted = limit.max(HEADER_BYTES).min(available);
    let chunk = shard.sys.read_at(&range.file, range.position, wanted).await?;
    let limits = ReadLimits {
        start: range.position,
        bytes_max: limit as u64,
        // What is visible ends with the range.
        readable_end: Offset(i64::MAX),
        is_first_batch_whole: is_first,
    };
    let (Walked::Found(end) | Walked::ReadAt(end)) = limits
        .find_end(&chunk, range.position)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "no batch where one should begin"))?;
    let whole = usize::try_from(end.0 - range.position.0).map_err(io::Error::other)?;
    if whole <= chunk.len() {
        return Ok(chunk.slice(..whole));
    }
    // One batch alone is larger than the limit.
    shard.sys.read_at(&range.file, range.position, whole.min(available)).await
}

impl<S: Sys> Partition<S> {
    fn outcome(&self) -> Outcome {
        Outcome {
            high_watermark: self.result.high_watermark,
            log_start: self.result.log_start,
            has_records: !self.records.is_empty(),
            must_tell: self.result.error != ErrorCode::NONE || self.result.diverging.is_some(),
        }
    }

    fn answer(self, index: PartitionIndex, version: i16, read_committed: bool) -> PartitionData {
        let Self { result, records, .. } = self;
        let error = match result.error {
            // Clients of old versions take an error that they do not know for one that lasts.
            ErrorCode::KAFKA_STORAGE_ERROR if version < VERSION_WITH_STORAGE_ERROR => ErrorCode::NOT_LEADER_OR_FOLLOWER,
            error => error,
        };
        let hints = version >= VERSION_WITH_LEADER_HINTS && wants_leader(result.error);
        PartitionData {
            partition_index: index.0,
            error_code: error.0,
            high_watermark: result.high_watermark.0,
            last_stable_offset: result.last_stable_offset.0,
            log_start_offset: result.log_start.0,
            diverging_epoch: result
                .diverging
                .map(|(epoch, end)| EpochEndOffset { epoch: epoch.0, end_offset: end.0 })
                .unwrap_or_default(),
            current_leader: result
                .leader
                .filter(|_| hints)
                .map(|(id, epoch)| LeaderIdAndEpoch { leader_id: id.0, leader_epoch: epoch.0 })
                .unwrap_or_default(),
            aborted_transactions: (read_committed && result.error == ErrorCode::NONE).then(|| {
                let entry = |aborted: &Aborted| AbortedTransaction {
                    producer_id: aborted.producer.0,
                    first_offset: aborted.first_offset.0,
                };
                result.aborted.iter().map(entry).collect()
            }),
            records: Some(records),
            ..Default::default()
        }
    }
}
